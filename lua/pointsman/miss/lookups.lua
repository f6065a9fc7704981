-- Lookups in Redis. Each host and each app is looked up once at a time (single
-- flight), and each nginx worker has one script under way: what arrives
-- meanwhile goes out together with the next one. For phases that can yield;
-- the functions that do not wait are for all phases.
--
-- A timer, the lookup worker, asks on behalf of the requests, because a request
-- may be aborted while others wait for the same answer. It ends when no lookup
-- is left.

local answers = require("pointsman.miss.answers")
local fill = require("pointsman.miss.fill")
local match = require("pointsman.routing.match")

local semaphore = require("ngx.semaphore")

local candidates = match.candidates
local ipairs = ipairs
local knows = fill.knows
local max = math.max
local new_semaphore = semaphore.new
local ngx_log = ngx.log
local now = ngx.now
local on_abort = ngx.on_abort
local pcall = pcall
local sleep = ngx.sleep
local timer_at = ngx.timer.at

-- Hosts of one script, and about as many patterns as they may have together.
local MAX_HOSTS = 32
local MAX_PATTERNS = 512
-- A flood of unknown hosts must not take up the nginx worker, which has known
-- hosts to serve. After so many hosts that turned out to have no route, other
-- unknown hosts wait for so many seconds.
local MAX_ABSENT = 32
local ABSENT_SECONDS = 0.005
-- Lookups that nobody waits for are dropped beyond this number.
local MAX_QUEUED = 4096
-- A timer's memory grows with each connection that it opens, and is freed when
-- it ends.
local MAX_ROUNDS = 1000
-- nginx may accept a timer and never run it: no connection is left, or too many
-- timers run. After so many seconds another one is started.
local START_SECONDS = 0.1
-- Stock nginx logs a warning when it sleeps for less.
local SHORTEST_SLEEP = 0.001


local function new_queue()
    return { first = 1, last = 0 }
end


-- Known: apps, and hosts that have a route in the cache. They go first.
local known, unknown = new_queue(), new_queue()
-- Lookups that are queued or under way, by name.
local hosts, apps = {}, {}
local n_unknown, max_unknown = 0, 4096
local n_absent, unknown_from = 0, 0
local timeout, patience = 1, 3
local running, started = false, 0


local function push(queue, lookup)
    local last = queue.last + 1
    queue.last, queue[last] = last, lookup
end


local function drop_first(queue)
    local first = queue.first
    queue.first, queue[first] = first + 1, nil
end


local function finish(lookup, reason)
    lookup.is_done = true
    lookup.reason = lookup.reason or reason
    lookup.all[lookup.name] = nil
    if lookup.is_unknown then
        n_unknown = n_unknown - 1
    end
    if lookup.waiters > 0 then
        lookup.wait:post(lookup.waiters)
    end
end


-- For how long unknown hosts have to wait yet.
local function pause()
    local left = unknown_from - now()
    -- More can only be left after the clock was set back.
    return left <= 2 * ABSENT_SECONDS and left or 0
end


local function first_lookup()
    local lookup = known[known.first]
    if not lookup and pause() <= 0 then
        return unknown[unknown.first], unknown
    end
    return lookup, known
end


-- An app, or as many hosts as may go out together; or nil.
local function next_batch()
    local batch, n_patterns = {}, 0
    local oldest = now() - timeout
    while #batch < MAX_HOSTS and n_patterns < MAX_PATTERNS do
        local lookup, queue = first_lookup()
        if not lookup or batch[1] and not lookup.patterns then
            break
        end
        drop_first(queue)
        if lookup.since <= oldest then
            -- Its requests have waited for as long as Redis may take.
            finish(lookup, "unavailable")
        else
            batch[#batch + 1] = lookup
            if not lookup.patterns then
                break
            end
            n_patterns = n_patterns + #lookup.patterns
        end
    end
    return batch[1] and batch
end


local function count_absent(lookup)
    local found = lookup.found
    if lookup.is_unknown and found and not found.route then
        n_absent = n_absent + 1
        if n_absent >= MAX_ABSENT then
            n_absent, unknown_from = 0, now() + ABSENT_SECONDS
        end
    end
end


local function look_up(batch)
    local answer = batch[1].patterns and answers.hosts or answers.app
    local ok, err = pcall(answer, batch)
    if not ok then
        ngx_log(ngx.ERR, "failed to look up ", batch[1].name, ": ", err)
    end
    for _, lookup in ipairs(batch) do
        count_absent(lookup)
        finish(lookup, not lookup.found and "unavailable" or nil)
        if lookup.on_found and lookup.found then
            lookup.on_found(lookup.found)
        end
    end
end


local function work()
    for _ = 1, MAX_ROUNDS do
        local batch = next_batch()
        if batch then
            look_up(batch)
        elseif unknown[unknown.first] then
            sleep(max(SHORTEST_SLEEP, pause()))
        else
            return
        end
    end
end


local start


local function run()
    if running then
        return
    end
    running = true
    work()
    running, started = false, 0
    if known[known.first] or unknown[unknown.first] then
        start()
    end
end


-- Starts the lookup worker unless it runs; false if that is not possible, as
-- this nginx worker quits or has too many timers.
function start()
    local time = now()
    if running or time >= started and time - started < START_SECONDS then
        return true
    end
    if timer_at(0, run) then
        started = time
        return true
    end
    return false
end


local function new_lookup(all, name)
    local lookup = {
        name = name, all = all, since = now(), waiters = 0,
        patterns = all == hosts and candidates(name) or nil,
    }
    all[name] = lookup
    return lookup
end


local function ignore() end


local function wait_for(lookup)
    if not start() then
        -- The request itself asks, for others as well: it goes on if its
        -- client goes away.
        on_abort(ignore)
        work()
    end
    if not lookup.is_done then
        local err
        if not lookup.wait then
            lookup.wait, err = new_semaphore(0)
        end
        if not lookup.wait then
            ngx_log(ngx.ERR, "failed to create a semaphore: ", err)
            return nil, "unavailable"
        end
        lookup.waiters = lookup.waiters + 1
        lookup.wait:wait(patience)
    end
    return lookup.found,
           lookup.reason or not lookup.is_done and "unavailable" or nil
end


local _M = {}


-- syntax: lookups.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    max_unknown = settings.max_misses
    timeout = settings.redis_timeout
    -- To wait for the script under way, and for the next one.
    patience = 2 * timeout + 1
end


-- syntax: found, reason = lookups.host(host)
-- found = { keep = whether it may be cached, again = whether it has changed
-- since, route =, pattern =, both nil if there is none, apps = { [name] = app }
-- as far as the answer has them }.
-- Reasons: "unavailable", "behind", "busy".
function _M.host(host)
    local lookup = hosts[host]
    if not lookup then
        local is_unknown = not knows(host)
        if is_unknown and n_unknown >= max_unknown then
            return nil, "busy"
        end
        lookup = new_lookup(hosts, host)
        if is_unknown then
            lookup.is_unknown, n_unknown = true, n_unknown + 1
        end
        push(is_unknown and unknown or known, lookup)
    end
    return wait_for(lookup)
end


-- syntax: found, reason = lookups.app(name)
-- found = { app =, again = }, as for hosts.
function _M.app(name)
    local lookup = apps[name]
    if not lookup then
        lookup = new_lookup(apps, name)
        push(known, lookup)
    end
    return wait_for(lookup)
end


local function queue(all, name, on_found)
    if not all[name] and known.last - known.first < MAX_QUEUED then
        local lookup = new_lookup(all, name)
        lookup.on_found = on_found
        push(known, lookup)
    end
    start()
end


-- syntax: lookups.queue_host(host, on_found)
-- Does not wait. `on_found` gets what lookups.host returns; it must not yield.
function _M.queue_host(host, on_found)
    return queue(hosts, host, on_found)
end


-- syntax: lookups.queue_app(name)
function _M.queue_app(name)
    return queue(apps, name)
end


return _M
