-- Requests that wait until a change lets them go on: those of a paused host
-- (paused.lua), and those of an app that is being woken (wake.lua). For phases
-- that can yield.
--
-- Those that wait for the same thing are a group, with one semaphore. A timer
-- of the worker, the watcher, looks after the groups every 20 ms: a thousand
-- requests that wait cost no more than one.
--
-- How many may wait is limited over all workers. Nobody has to give a place
-- back: how many wait is what the semaphores say, and a request that is aborted
-- has left the semaphore's queue. Each worker shows its numbers in the dict of
-- flights, under its process id, as in_flight.lua does; what a dead worker has
-- shown is removed.

local dicts = require("pointsman.cache.dicts")
local versions = require("pointsman.cache.versions")
local workers = require("pointsman.request.workers")

local semaphore = require("ngx.semaphore")

local flights = dicts.flights
local generation = versions.generation
local max = math.max
local new_semaphore = semaphore.new
local next = next
local ngx_log = ngx.log
local now = ngx.now
local other_workers = workers.others
local pairs = pairs
local pcall = pcall
local sleep = ngx.sleep
local timer_at = ngx.timer.at

local WATCH_SECONDS = 0.02
-- How long a group waits at least if only a lookup can tell: what Redis answers
-- may not be cacheable, and must not be asked for again at once.
local LOST_SECONDS = 0.5
-- A timer's memory is freed when it ends.
local MAX_ROUNDS = 10000
-- nginx may accept a timer and never run it, see miss/lookups.lua.
local START_SECONDS = 0.1

local prefix = ""
-- By what they wait for: { place =, sema =, since =, seen = the generation,
-- is_over =, about =, is_lost = }. Several may share the places of one name.
local groups = {}
-- How many wait, by the names of places, as the dict has it.
local shown = {}
local running, started = false, 0


local function count(group)
    return max(0, -group.sema:count())
end


local function count_at(place)
    local n = 0
    for _, group in pairs(groups) do
        if group.place == place then
            n = n + count(group)
        end
    end
    return n
end


local function show(place, n)
    if n == shown[place] then
        return
    elseif n > 0 then
        shown[place] = n
        flights.set(prefix .. place, n)
    else
        shown[place] = nil
        flights.drop(prefix .. place)
    end
end


-- Whether the requests of a group go on.
local function is_over(group)
    local moved = generation()
    local has_moved = moved ~= group.seen
    group.seen = moved
    local ok, yes = pcall(group.is_over, group.about, has_moved)
    if not ok then
        ngx_log(ngx.ERR, "failed to look after those that wait for ",
                group.place, ": ", yes)
        yes = nil
    end
    if yes == nil or has_moved then
        group.is_lost = yes == nil
    end
    return yes or group.is_lost and now() - group.since >= LOST_SECONDS
end


local function watch()
    for id, group in pairs(groups) do
        local n = count(group)
        if n == 0 or is_over(group) then
            groups[id] = nil
            if n > 0 then
                group.sema:post(n)
            end
        end
    end
    for place in pairs(shown) do
        show(place, count_at(place))
    end
end


local start


local function run()
    if running then
        return
    end
    running = true
    for _ = 1, MAX_ROUNDS do
        watch()
        if not next(groups) then
            break
        end
        sleep(WATCH_SECONDS)
    end
    running, started = false, 0
    start()
end


function start()
    local time = now()
    if next(groups) and not running
            and (time < started or time - started >= START_SECONDS)
            and timer_at(0, run) then
        started = time
    end
end


-- The request is shown first, and then the others are looked at: two workers at
-- once may both refuse one, but never both let one in too many.
local function has_place(place, most)
    local n = count_at(place)
    show(place, n + 1)
    local total, others, others_n = n + 1, other_workers()
    for i = 1, others_n do
        total = total + (flights.get(others[i] .. place) or 0)
    end
    if total > most then
        show(place, n)
        return false
    end
    return true
end


local _M = {
    -- syntax: waiting.start()
    -- From a timer, each second: the watcher, should it not have started.
    start = start,
}


-- syntax: waiting.init(prefix)
-- In init_worker_by_lua, with what workers.init() returned.
function _M.init(own_prefix)
    prefix = own_prefix
end


-- syntax: is_over = waiting.wait(id, place, most, seconds, is_over, about)
-- False: so many seconds have passed, or `most` requests wait at this place, in
-- all workers. The watcher asks `is_over(about, has_moved)` every 20 ms;
-- `has_moved`: the generation has moved since it last asked. It must not yield,
-- and returns nil where only a lookup can tell. Whoever goes on has to look for
-- itself what holds now.
function _M.wait(id, place, most, seconds, is_group_over, about)
    local group = groups[id]
    if not group then
        local sema, err = new_semaphore(0)
        if not sema then
            ngx_log(ngx.ERR, "failed to create a semaphore: ", err)
            return false
        end
        group = { place = place, sema = sema, since = now(), seen = -1,
                  is_over = is_group_over, about = about, is_lost = false }
    end
    if seconds <= 0 or not has_place(place, most) then
        return false
    end
    groups[id] = group
    start()
    return group.sema:wait(seconds) == true
end


return _M
