-- Requests under way that need more than a pick: which rule, app and instance
-- each one has. All phases that have a request.
--
-- ngx.ctx is lost when a request jumps to a named location, and costs every
-- request that looks. A seat is found by the address of nginx's request, which
-- stays; the log phase gives it up. Edges whose log_by_lua does not call
-- pointsman.log() would keep them for ever: MAX_SEATS is for them. Nor has a
-- subrequest a log phase: its seat stays until another request has its address,
-- and its instance is not counted as busy.
--
-- A seat may be used by the location that it was made for (`fresh`), once; a
-- request that comes back, by an error page of the user's, is decided anew.

local flight = require("pointsman.request.in_flight")
local metrics = require("pointsman.metrics")

local base = require("resty.core.base")
local ffi = require("ffi")

local cast = ffi.cast
local get_request = base.get_request
local ngx = ngx
local ngx_log = ngx.log
local pairs = pairs
local start_time = ngx.req.start_time
local tonumber = tonumber
local watched = metrics.watched

local MAX_SEATS = 65536

local seats, seats_n = {}, 0


local function key()
    return tonumber(cast("uintptr_t", get_request()))
end


local function count(by)
    seats_n = seats_n + by
    watched.n = watched.n + by
end


-- The instance of the seat is busy with it no longer.
local function leave(seat)
    local busy = seat.flight
    if busy then
        seat.flight = nil
        flight.finish(busy)
    end
end


local _M = {
    -- syntax: seats.leave(seat)
    leave = leave,
}


-- syntax: seats.take(seat, peer)
-- Gives it an instance, which is busy from now on.
function _M.take(seat, peer)
    leave(seat)
    local app = seat.app
    local picker = app.picker
    local part = picker.parts and picker.parts[picker.part]
    seat.peer, seat.picker = peer, picker
    seat.part, seat.shown = part, part and part.seen
    if app.counts_flights and not ngx.is_subrequest then
        seat.flight = peer.key
        flight.begin(peer.key)
    end
end


-- syntax: seat = seats.get()
-- nil if this request has none.
function _M.get()
    if seats_n == 0 then
        return nil
    end
    local at = key()
    local seat = seats[at]
    if seat and seat.start ~= start_time() then
        -- Of a request that is gone, at the same address.
        leave(seat)
        seats[at] = nil
        count(-1)
        return nil
    end
    return seat
end


-- syntax: seat = seats.put(seat)
function _M.put(seat)
    if seats_n >= MAX_SEATS then
        ngx_log(ngx.ERR, "forgets ", seats_n, " requests under way: no ",
                "log_by_lua seems to call pointsman.log()")
        for _, old in pairs(seats) do
            leave(old)
        end
        seats = {}
        count(-seats_n)
    end
    local at = key()
    local old = seats[at]
    if not old then
        count(1)
    elseif old ~= seat then
        leave(old)
    end
    seat.start = start_time()
    seats[at] = seat
    return seat
end


-- syntax: seats.give_up()
-- In log_by_lua: this request has no seat from now on.
function _M.give_up()
    local at = key()
    local seat = seats[at]
    if seat then
        leave(seat)
        seats[at] = nil
        count(-1)
    end
end


return _M
