-- Which instance of its app a request gets. For the rewrite and balancer
-- phases; nothing here yields.

local compose = require("pointsman.balance.compose")
local draining = require("pointsman.cache.draining")
local ejection = require("pointsman.health.ejection")
local in_flight = require("pointsman.request.in_flight")
local sticky = require("pointsman.request.sticky")
local values = require("pointsman.routing.values")
local verdict = require("pointsman.health.verdict")
local view = require("pointsman.request.view")

local is_draining = draining.has
local is_not_empty = values.is_not_empty
local is_out = ejection.is_out
local ipairs = ipairs
local now = ngx.now
local picked = verdict.picked

-- Instances that turn out to be probed by somebody else at that moment.
local MAX_PICKS = 4

-- What the skip functions look at: a closure for each request would be garbage
-- for each.
local app, ejected, tried, n_tried, time, limit, keeps_drained, is_unsure
local is_dry = false


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


-- Of an app that may have changed.
local function has_drained(peer)
    return is_unsure and is_draining(app.name, peer)
end


local function skip(peer)
    return was_tried(peer) or ejected and is_out(ejected, peer, time, is_dry)
           or at_limit(peer) or has_drained(peer)
end


-- If all instances are ejected, all are used.
local function skip_but_ejected(peer)
    return was_tried(peer) or at_limit(peer) or has_drained(peer)
end


local function prepare(its_app, record)
    app, ejected, time, is_dry = its_app, its_app.ejected, now(), false
    limit = its_app.policy.max_conns
    if record then
        tried, n_tried = record.tried, record.n_tried
        is_unsure = record.is_unsure
    else
        n_tried, is_unsure = 0, false
    end
end


local function with_id(id)
    for _, peer in ipairs(app.peers) do
        if peer.id == id then
            return peer
        end
    end
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
local function find_session()
    keeps_drained = app.policy.sticky.drain == "keep"
    return sticky.find(app, keeps_session)
end


local function pick(record)
    local session = record.session and with_id(record.session)
    if session then
        keeps_drained = app.policy.sticky.drain == "keep"
        if keeps_session(session) then
            return session
        end
    end
    view.now, view.key = time, record.key or nil
    local picker = app.picker
    local peer = picker:pick(skip, view)
    if not peer and n_tried > 0 then
        -- One that was tried rather than one that is known to fail: the client
        -- gets what the last try has brought, if only a 503 of the app's own.
        local n = n_tried
        n_tried = 0
        peer = picker:pick(skip, view)
        n_tried = n
    end
    return peer or picker:pick(skip_but_ejected, view)
end


local _M = {}


-- syntax: reason = choice.refusal(app)
-- In rewrite_by_lua: why no instance of the app may have the request; nil if
-- one may.
function _M.refusal(its_app)
    prepare(its_app)
    local policy = its_app.policy
    local pin = policy.pin_header and view.header(policy.pin_header)
    if pin then
        local peer = with_id(pin)
        return not peer and "no_such_instance"
               or at_limit(peer) and "overloaded" or nil
    elseif its_app.live == 0 then
        -- A session may stay with an instance that drains.
        return not (policy.sticky and find_session()) and "no_instance" or nil
    elseif not limit then
        return nil
    end
    for _, peer in ipairs(its_app.peers) do
        if peer.weight > 0 and not peer.draining and not at_limit(peer) then
            return nil
        end
    end
    return "overloaded"
end


-- syntax: choice.note(record)
-- Keeps what the request itself says about the instance: `pin` and `session`,
-- ids of instances, and `key`, what a consistent hash goes by.
function _M.note(record)
    local policy = record.app.policy
    prepare(record.app)
    if policy.pin_header then
        record.pin = view.header(policy.pin_header) or false
    end
    if policy.sticky then
        local peer = find_session()
        record.session = peer and peer.id or false
    end
    if policy.hash_by then
        record.key = key_of(policy.hash_by)
    end
end


-- syntax: peer = choice.take(record)
-- In balancer_by_lua: an instance of record.app that was not tried, if need be
-- one that was; it is record.peer from then on. Nil if there is none.
function _M.take(record)
    prepare(record.app, record)
    local peer
    if record.pin then
        peer = with_id(record.pin)
        if peer and at_limit(peer) then
            peer = nil
        end
        if peer then
            in_flight.keep(app, peer)
        end
        record.peer = peer or false
        return peer
    end
    for _ = 1, MAX_PICKS do
        peer = pick(record)
        if not peer and n_tried > 0 then
            n_tried = 0
            peer = pick(record)
        end
        record.peer = peer or false
        if peer and peer.id == record.session then
            in_flight.keep(app, peer)
        end
        if not peer or not ejected or picked(record) then
            return peer
        end
    end
    return peer
end


-- syntax: peer = choice.peek(record)
-- What choice.take would return now, of a record without instances tried. It
-- changes nothing.
function _M.peek(record)
    prepare(record.app, record)
    if record.pin then
        local peer = with_id(record.pin)
        return peer and not at_limit(peer) and peer or nil
    end
    is_dry = true
    return compose.peek(app.picker, pick, record)
end


return _M
