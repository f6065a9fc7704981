-- The life of a request that needs more than the next instance of a round: from
-- its decision to the log phase. What the fast lane never comes through.

local board = require("pointsman.cache.versions")
local budget = require("pointsman.balance.budget")
local choice = require("pointsman.request.choice")
local health = require("pointsman.health.ejection")
local routing = require("pointsman.request.decision")
local seats = require("pointsman.request.seats")

local choose = choice.peer
local leave = seats.leave
local match = string.match
local max = math.max
local min = math.min
local now = ngx.now
local take = seats.take
local tonumber = tonumber
local var = ngx.var

-- What holds where an app has a deadline and no time-outs: nginx's own, but for
-- the connect time-out of our nginx.conf.
local CONNECT, SEND, READ = 2, 60, 60
local FAILURE = 1
-- nginx counts whole milliseconds.
local ROUNDING = 0.002

-- By whether the deadline is sooner than the time-out to connect, and to read.
local CUT = {
    [true] = { [true] = { connect = true, timeout = true },
               [false] = { connect = true } },
    [false] = { [true] = { timeout = true }, [false] = {} },
}


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
    seat.pinned = why == "pinned"
    -- Where no retry is granted any more, the app's own answer is passed on.
    seat.tries = (seat.pinned or not budget.has_left(app, now())) and 1
                 or app.tries
    seat.began = now()
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


-- syntax: why = lane.refresh(seat)
-- In the balancer phase, for a seat that another phase has given an instance: a
-- body may have been read since, and the app has changed.
function _M.refresh(seat)
    local app = seat.app
    local part = seat.part
    if seat.picker == app.picker
            and not (part and board.sheet(part.place) ~= seat.shown) then
        return nil
    end
    leave(seat)
    local peer, why = choose(app)
    if not peer then
        return why
    end
    take(seat, peer)
    return nil
end


-- syntax: again = lane.again(seat, attempts)
-- In the balancer phase, after an attempt has failed: whether there is another
-- instance that may be asked, which the seat has now. `attempts` is the text of
-- health.attempts.
function _M.again(seat, attempts)
    local app, peer = seat.app, seat.peer
    leave(seat)
    if not seat.pinned then
        local deadline, time = app.policy.deadline, now()
        if deadline and time >= seat.began + deadline - ROUNDING
                or health.count(attempts) < seat.tries
                   and not budget.allows(app, time) then
            return false
        end
        peer = choose(app, attempts) or choose(app)
    end
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
        local left = seat.began + policy.deadline - now()
        left = left > 0.001 and left or 0.001
        connect, send, read = connect or CONNECT, send or SEND, read or READ
        -- Whoever runs into the deadline has not failed by its own time-out.
        seat.cut = CUT[left < connect][left < read]
        return min(left, connect), min(left, send), min(left, read)
    end
    return connect, send, read
end


-- syntax: lane.finish(seat)
-- In log_by_lua: gives the seat up.
function _M.finish(seat)
    seats.give_up()
    local picker = seat.peer and seat.app.picker
    if picker and picker.observe then
        -- How long a WebSocket stays is no measure of an instance, nor is how
        -- fast it fails: that counts as an answer that took a second.
        local seconds = match(var.upstream_header_time or "", "([%d.]+)$")
        local status = tonumber(match(var.upstream_status or "", "(%d+)$"))
        if seconds and status and status >= 200 then
            seconds = tonumber(seconds)
            picker:observe(seat.peer.id,
                           status < 500 and seconds or max(seconds, FAILURE),
                           now())
        end
    end
end


return _M
