-- The life of a request that needs more than the next instance of a round: from
-- its decision to the log phase. What the fast lane never comes through.

local budget = require("pointsman.budget")
local choice = require("pointsman.choice")
local flight = require("pointsman.flight")
local health = require("pointsman.health")
local routing = require("pointsman.routing")
local seats = require("pointsman.seats")

local choose = choice.peer
local match = string.match
local min = math.min
local now = ngx.now
local tonumber = tonumber
local var = ngx.var

-- What holds where an app has a deadline and no time-outs: nginx's own, but for
-- the connect time-out of our nginx.conf.
local CONNECT, SEND, READ = 2, 60, 60


local function take(seat, peer)
    seat.peer = peer
    if seat.app.counts_flights then
        seat.flight = peer.key
        flight.begin(peer.key)
    end
end


local function leave(seat)
    local key = seat.flight
    if key then
        seat.flight = nil
        flight.finish(key)
    end
end


local _M = {}


-- syntax: why = lane.seat(seat)
-- Gives the seat an instance; or the reason why there is none.
function _M.seat(seat)
    local app = seat.app
    local peer, why = choose(app)
    if not peer then
        return why
    end
    app.requests = app.requests + 1
    seat.tries = why == "pinned" and 1 or app.tries
    seats.put(seat)
    take(seat, peer)
    return nil
end


-- syntax: seat, why = lane.begin(found)
-- In the balancer phase of a location that has but the usual directives.
-- Besides the reasons of errors, "full": another location must serve it.
function _M.begin(found)
    local seat, why = routing.decide(found)
    if not seat then
        return nil, why
    end
    if routing.needs_full(seat) then
        return nil, "full"
    end
    why = _M.seat(seat)
    if why then
        return nil, why
    end
    return seat
end


-- syntax: again = lane.again(seat)
-- In the balancer phase, after an attempt has failed: whether there is another
-- instance that may be asked, which the seat has now.
function _M.again(seat, addrs)
    local app = seat.app
    leave(seat)
    local deadline, time = app.policy.deadline, now()
    if deadline and time >= seat.start + deadline
            or not budget.allows(app, time) then
        return false
    end
    local peer = choose(app, health.attempts(addrs)) or choose(app)
    if not peer then
        return false
    end
    take(seat, peer)
    return true
end


-- syntax: connect, send, read = lane.timeouts(seat)
-- In seconds, for the next attempt; nil where nginx's directives hold.
function _M.timeouts(seat)
    local policy = seat.app.policy
    local connect, send, read = policy.connect_timeout, policy.send_timeout,
                                policy.read_timeout
    if policy.deadline then
        local left = seat.start + policy.deadline - now()
        left = left > 0.001 and left or 0.001
        return min(left, connect or CONNECT), min(left, send or SEND),
               min(left, read or READ)
    end
    return connect, send, read
end


-- syntax: lane.finish(seat)
-- In log_by_lua: gives the seat up.
function _M.finish(seat)
    seats.give_up()
    if not seat.peer then
        return
    end
    leave(seat)
    local picker = seat.app.picker
    if picker.observe then
        local seconds = match(var.upstream_response_time or "", "([%d.]+)$")
        if seconds then
            picker:observe(seat.peer.id, tonumber(seconds), now())
        end
    end
end


return _M
