-- Asks Redis again for hosts whose records need revalidation, while requests go
-- on with these. A timer, in each worker that is asked for such a host.

local cache = require("pointsman.cache.routes")
local miss = require("pointsman.miss.fetch")

local ceil = math.ceil
local exiting = ngx.worker.exiting
local find = cache.find
local max = math.max
local min = math.min
local ngx = ngx
local ngx_log = ngx.log
local now = ngx.now
local pcall = pcall
local sleep = ngx.sleep
local spawn = ngx.thread.spawn
local timer_at = ngx.timer.at
local wait = ngx.thread.wait

-- Nobody waits for it, and it takes the worker some tens of microseconds a
-- host: so few go out together, at intervals of so many seconds, or a part of
-- those that wait.
local SECONDS = 0.01
local MIN_HOSTS, MIN_SHARE = 8, 1 / 8
-- nginx may never run a timer that it has taken, see lookups.lua.
local START_SECONDS = 0.1
-- Beyond that a host waits until it is asked for once more.
local MAX_WAITING = 4096

local waiting, n = {}, 0
-- Those that wait, or are being asked for.
local under_way = {}
local running = false
-- When the timer was set that has not begun.
local started = 0


local function renew(host)
    local ok, err = true, nil
    -- Another host, or another worker, may have had it renewed.
    local _, how = find(host)
    if how == "stale" then
        ok, err = pcall(miss.renew, host)
    end
    under_way[host] = nil
    if not ok then
        ngx_log(ngx.ERR, "failed to ask anew for ", host, ": ", err)
    end
end


local function run()
    if running then
        return
    end
    running = true
    while n > 0 and not exiting() do
        sleep(SECONDS)
        local threads = {}
        for i = 1, min(n, max(MIN_HOSTS, ceil(n * MIN_SHARE))) do
            local host = waiting[n]
            n, waiting[n] = n - 1, nil
            threads[i] = spawn(renew, host)
        end
        for i = 1, #threads do
            wait(threads[i])
        end
    end
    running, started = false, 0
end


local _M = {}


-- syntax: refresh.ask(host)
-- In any phase; it does not wait.
function _M.ask(host)
    if not under_way[host] and n < MAX_WAITING then
        under_way[host] = true
        n = n + 1
        waiting[n] = host
    end
    local time = now()
    if not running and (time - started >= START_SECONDS or time < started) then
        -- A worker that quits runs none, and asks for nothing anew.
        started = time
        timer_at(0, run)
    end
end


return _M
