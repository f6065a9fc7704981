-- Which instance of its app a request gets. For the rewrite and balancer
-- phases; nothing here yields.

local ejection = require("pointsman.health.ejection")
local in_flight = require("pointsman.request.in_flight")
local sticky = require("pointsman.request.sticky")
local values = require("pointsman.routing.values")
local verdict = require("pointsman.health.verdict")
local view = require("pointsman.request.view")

local is_not_empty = values.is_not_empty
local is_out = ejection.is_out
local ipairs = ipairs
local now = ngx.now
local picked = verdict.picked

-- Instances that turn out to be probed by somebody else at that moment.
local MAX_PICKS = 4

-- What the skip functions look at: a closure for each request would be garbage
-- for each.
local app, ejected, tried, n_tried, time, limit, keeps_drained


local function was_tried(peer)
    for i = 1, n_tried do
        if tried[i].addr == peer.addr then
            return true
        end
    end
    return false
end


local function at_limit(peer)
    return limit and in_flight.of(app, peer) >= limit
           and in_flight.of_now(app, peer) >= limit
end


local function skip(peer)
    return was_tried(peer) or ejected and is_out(ejected, peer, time)
           or at_limit(peer)
end


-- If all instances are ejected, all are used.
local function skip_but_ejected(peer)
    return was_tried(peer) or at_limit(peer)
end


local function prepare(its_app, record)
    app, ejected, time = its_app, its_app.ejected, now()
    limit = its_app.policy.max_conns
    if record then
        tried, n_tried = record.tried, record.n_tried
    else
        n_tried = 0
    end
end


local function with_id(id)
    for _, peer in ipairs(app.peers) do
        if peer.id == id then
            return peer
        end
    end
end


-- The instance that the request asks for, and whether it asks for one.
local function pinned()
    local name = app.policy.pin_header
    local id = name and view.header(name)
    if id then
        return with_id(id), true
    end
    return nil, false
end


-- What a consistent hash goes by: the client's address if the request has no
-- such header or cookie, or an empty one.
local function key_of(by)
    local key
    if by.header then
        key = view.header(by.header, is_not_empty)
    elseif by.cookie then
        key = view.cookie(by.cookie, is_not_empty)
    elseif by.uri then
        key = view.request_uri()
    end
    return key or view.client()
end


local function keeps_session(peer)
    return not (skip(peer) or peer.down or peer.weight == 0
                or peer.draining and not keeps_drained)
end


-- The instance of the session, if it may still be used.
local function of_session()
    keeps_drained = app.policy.sticky.drain == "keep"
    return sticky.find(app, keeps_session)
end


local function pick()
    local policy = app.policy
    local peer = policy.sticky and of_session()
    if peer then
        return peer
    end
    view.now = time
    view.key = policy.hash_by and key_of(policy.hash_by)
    return app.picker:pick(skip, view)
           or app.picker:pick(skip_but_ejected, view)
end


local _M = {}


-- syntax: yes = choice.has_session(app)
-- Whether the request belongs to a session whose instance may still be used.
function _M.has_session(its_app)
    prepare(its_app)
    return of_session() ~= nil
end


-- syntax: reason = choice.refusal(app)
-- In rewrite_by_lua: why no instance of the app may have the request; nil if
-- one may.
function _M.refusal(its_app)
    prepare(its_app)
    local peer, is_pinned = pinned()
    if is_pinned then
        return not peer and "no_such_instance" or nil
    elseif its_app.live == 0 then
        -- A session may stay with an instance that drains.
        return not (its_app.policy.sticky and of_session()) and "no_instance"
               or nil
    elseif not limit then
        return nil
    end
    for _, other in ipairs(its_app.peers) do
        if other.weight > 0 and not other.draining and not at_limit(other) then
            return nil
        end
    end
    return "overloaded"
end


-- syntax: peer = choice.take(record)
-- In balancer_by_lua: an instance of record.app that was not tried, if need be
-- one that was; it is record.peer from then on. Nil if there is none.
function _M.take(record)
    prepare(record.app, record)
    local peer, is_pinned
    if n_tried == 0 then
        peer, is_pinned = pinned()
        record.pinned = is_pinned
    end
    if is_pinned then
        record.peer = peer or false
        return peer
    end
    for _ = 1, MAX_PICKS do
        peer = pick()
        if not peer and n_tried > 0 then
            n_tried = 0
            peer = pick()
        end
        record.peer = peer or false
        if not peer or not ejected or picked(record) then
            return peer
        end
    end
    return peer
end


return _M
