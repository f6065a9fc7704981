-- Requests under way that need more than a pick: which rule, app and instance
-- each one has. All phases that have a request.
--
-- ngx.ctx is lost when a request jumps to a named location, and costs every
-- request that looks. A seat is found by the address of nginx's request, which
-- stays; the log phase gives it up. Edges whose log_by_lua does not call
-- pointsman.log() would keep them for ever: MAX_SEATS is for them.

local base = require("resty.core.base")
local ffi = require("ffi")

local cast = ffi.cast
local get_request = base.get_request
local ngx_log = ngx.log
local start_time = ngx.req.start_time
local tonumber = tonumber

local MAX_SEATS = 65536

local seats, seats_n = {}, 0


local function key()
    return tonumber(cast("uintptr_t", get_request()))
end


local _M = {}


-- syntax: n = seats.taken()
-- Cheap: whether any request of this worker has a seat at all.
function _M.taken()
    return seats_n
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
        seats[at], seats_n = nil, seats_n - 1
        return nil
    end
    return seat
end


-- syntax: seat = seats.put(seat)
function _M.put(seat)
    if seats_n >= MAX_SEATS then
        ngx_log(ngx.ERR, "forgets ", seats_n, " requests under way: no ",
                "log_by_lua seems to call pointsman.log()")
        seats, seats_n = {}, 0
    end
    local at = key()
    if not seats[at] then
        seats_n = seats_n + 1
    end
    seat.start = start_time()
    seats[at] = seat
    return seat
end


-- syntax: seats.give_up()
-- In log_by_lua: this request has no seat from now on.
function _M.give_up()
    local at = key()
    if seats[at] then
        seats[at], seats_n = nil, seats_n - 1
    end
end


return _M
