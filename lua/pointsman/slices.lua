-- Long work of a timer in slices: between two of them the worker serves what
-- has come in. For one timer of a worker, the feed's.
--
-- ngx.sleep(0) would do between them, but it logs a warning each time where
-- nginx lacks OpenResty's patches, and ngx.sleep(0.001) takes a millisecond and
-- more. A timer that is due at once runs after nginx has handled the events
-- that were there; that takes 2 us where there were none.

local semaphore = require("ngx.semaphore")

local ffi = require("ffi")

local new_semaphore = semaphore.new
local ngx_now = ngx.now
local timer_at = ngx.timer.at
local tonumber = tonumber
local update_time = ngx.update_time

-- In seconds, as all times here.
local SLICE = 50e-6
-- A timer that nginx has taken may never run, where too many do. Then the work
-- goes on after so long.
local PATIENCE = 1
local CLOCK_MONOTONIC = 1       -- on Linux

local C = ffi.C
local is_linux = ffi.os == "Linux"

ffi.cdef [[
int pointsman_clock_gettime(int clock, void *timespec)
    __asm__("clock_gettime");
]]

local timespec = ffi.new("struct { long seconds, nanoseconds; }")
local due
-- When the slice began.
local since = 0


-- nginx's own clock has milliseconds.
local function clock()
    if not is_linux then
        update_time()
        return ngx_now()
    end
    C.pointsman_clock_gettime(CLOCK_MONOTONIC, timespec)
    return tonumber(timespec.seconds) + tonumber(timespec.nanoseconds) * 1e-9
end


local function post(_, waiting)
    waiting:post(1)
end


-- Where there are too many timers already, it does not.
local function yield()
    due = due or new_semaphore(0)
    if due and timer_at(0, post, due) and not due:wait(PATIENCE) then
        -- It may be posted yet, which must not count for another time.
        due = nil
    end
end


local _M = {}


-- syntax: slices.begin()
-- Work begins, as what it waited for has come.
function _M.begin()
    since = clock()
end


-- syntax: slices.turn()
-- A little of it is done. Yields if the slice is over.
function _M.turn()
    if clock() - since > SLICE then
        yield()
        since = clock()
    end
end


return _M
