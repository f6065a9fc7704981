-- Long work of a timer in slices: between two of them the worker serves what
-- has come in. For one timer of a worker, the feed's.
--
-- The shortest pause of nginx's timers is a millisecond, forty slices long, and
-- ngx.sleep(0), which lets the worker turn to its events once, needs a patch of
-- OpenResty's. A timer that is due at once does the same: it runs after the
-- events that were there, and before nginx looks for others. Where there are
-- none that takes 2 us. (And a worker that is to quit does so when no timer is
-- left, so not in the middle of the work.)

local metrics = require("pointsman.metrics")

local semaphore = require("ngx.semaphore")

local ffi = require("ffi")

local counts = metrics.counts
local max = math.max
local min = math.min
local new_semaphore = semaphore.new
local ngx_now = ngx.now
local sleep = ngx.sleep
local timer_at = ngx.timer.at
local tonumber = tonumber
local update_time = ngx.update_time

-- In seconds, as all times here.
local SLICE, MAX_SLICE = 25e-6, 5e-3
-- Where the worker is with its requests for longer than four slices, the next
-- one may take so much of that time: the work gets a fifth of a worker that is
-- as busy as it can be.
local SHARE = 0.25
-- Changes that come after a while are not to wait for requests in between:
-- after so much time without work, so much of it is not cut.
local QUIET, BURST = 0.02, 5e-3
-- nginx may never run a timer that it has taken, where too many do; and takes
-- none, where too many wait.
local PATIENCE, SHORTEST_SLEEP = 0.02, 0.001
local CLOCK_MONOTONIC = 1       -- on Linux

local C = ffi.C
local is_linux = ffi.os == "Linux"

ffi.cdef [[
int pointsman_clock_gettime(int clock, void *timespec)
    __asm__("clock_gettime");
]]

local timespec = ffi.new("struct { long seconds, nanoseconds; }")
-- The semaphore that pauses wait for, and the last one that was late.
local waits = {}
-- When the slice began, how long it may be, when it was looked at last; what is
-- left of the burst.
local since, allowed, last, credit = 0, SLICE, 0, 0
-- How many requests the worker had sent on when that was last asked.
local sent = 0


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


local function yield()
    local due = waits[1] or new_semaphore(0)
    waits[1] = due
    if not due or not timer_at(0, post, due) then
        sleep(SHORTEST_SLEEP)
    elseif not due:wait(PATIENCE) then
        -- It may be posted yet, which must not count for another time; nor may
        -- it be collected meanwhile.
        waits[1], waits[2] = nil, due
    end
end


-- Whether requests were sent on since this was asked last: those of the
-- plainest kind, whose count is at hand. It begins at 0 again once a second.
local function has_sent()
    local before = sent
    sent = counts.hits_l1 + counts.hits_l2
    return sent ~= before
end


-- Ends a slice, and begins the next one. Where a request was sent on meanwhile,
-- its answer may be there by now, and need not wait for a slice. (Nor does the
-- work wait for the request after it: it has its share.)
local function pause()
    yield()
    if has_sent() then
        yield()
        has_sent()
    end
    local time = clock()
    allowed = min(MAX_SLICE, max(SLICE, (time - last) * SHARE))
    since, last, credit = time, time, 0
end


local _M = {}


-- syntax: slices.begin()
-- Work begins, as what it waited for has come. To take that in was a slice.
-- Yields, unless there was no work for a while.
function _M.begin()
    credit = min(BURST, max(0, credit - (last - since)))
    local time = clock()
    if time - last > QUIET then
        credit = BURST
    end
    since, last, allowed = time, time, SLICE + credit
    if credit == 0 then
        -- A reply is there before timers are due: the first turn leads to
        -- these only, and no further.
        yield()
        pause()
    end
end


-- syntax: slices.turn()
-- A little of it is done. Yields if the slice is over.
function _M.turn()
    last = clock()
    if last - since > allowed then
        pause()
    end
end


return _M
