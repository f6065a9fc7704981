-- Which instance of its app a request gets, where that takes more than the next
-- one of a round. For the balancer and access phases; nothing here yields.

local flight = require("pointsman.request.in_flight")
local health = require("pointsman.health.ejection")
local sticky = require("pointsman.request.sticky")
local view = require("pointsman.request.view")

local ipairs = ipairs
local is_aside = health.is_aside
local now = ngx.now
local was_tried = health.was_tried

-- What `skip` looks at: a closure for each request would be garbage for each.
local asides, attempts, time, limit, full


local function is_full(peer)
    if limit and flight.of(peer.key) >= limit
            and flight.of_now(peer.key) >= limit then
        full = true
        return true
    end
    return false
end


local function skip(peer)
    return attempts and was_tried(attempts, peer.addr)
           or asides and is_aside(asides, peer, time)
           or is_full(peer)
end


local function skip_full(peer)
    return attempts and was_tried(attempts, peer.addr) or is_full(peer)
end


local function prepare(app, tried)
    asides, attempts, time = app.asides, tried, now()
    limit, full = app.policy.max_conns, false
end


local function pinned(app, id)
    for _, peer in ipairs(app.peers) do
        if peer.id == id then
            return peer, "pinned"
        end
    end
    return nil, "no_such_instance"
end


-- What a consistent hash goes by. A request that has no such header or cookie
-- is told by its client.
local function key_of(by)
    local key
    if by.header then
        key = view.header(by.header)
    elseif by.cookie then
        key = view.cookie(by.cookie)
    elseif by.uri then
        key = view.request_uri()
    end
    return key or view.client()
end


-- The instance of the session, if it may still be used.
local function of_session(app)
    local peer = sticky.find(app)
    if not peer or skip(peer) or peer.down
            or peer.draining and app.policy.sticky.drain ~= "keep" then
        return nil
    end
    return peer
end


local _M = {}


-- syntax: yes = choice.has_session(app)
-- Whether the request belongs to a session whose instance may still be used.
function _M.has_session(app)
    prepare(app)
    return of_session(app) ~= nil
end


-- syntax: peer, why = choice.peer(app, tried?)
-- `tried` is the text of health.attempts, for a retry: none of those is taken
-- again. Nil and the reason of an error if no instance is left. With the peer,
-- "pinned" if it is the only one that will do.
function _M.peer(app, tried)
    local policy = app.policy
    prepare(app, tried)
    if policy.pin_header and not tried then
        local id = view.header(policy.pin_header)
        if id then
            return pinned(app, id)
        end
    end

    local peer = policy.sticky and of_session(app)
    if peer then
        if asides then
            health.picked(app, peer)
        end
        return peer
    end
    view.now = time
    view.key = policy.hash_by and key_of(policy.hash_by)
    -- If all instances are set aside, all are used. A pick may have put another
    -- picker there.
    peer = app.picker:pick(skip, view) or app.picker:pick(skip_full, view)
    if not peer then
        return nil, full and "overloaded" or "no_instance"
    end
    if asides then
        health.picked(app, peer)
    end
    return peer
end


return _M
