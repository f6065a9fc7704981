-- Look-ups in Redis: for each host and each app one at a time, and what gathers
-- while they are under way goes out together. For phases that can yield.
--
-- They are made by timers, the *lookers*, as a request may be aborted while
-- others wait for what it has asked. A looker takes all that waits, asks, and
-- takes what has come meanwhile: one that finds Redis idle waits for nothing,
-- and a flood costs Redis and the edge one look-up for dozens of hosts.

local answers = require("pointsman.miss.answers")
local fill = require("pointsman.miss.fill")
local match = require("pointsman.routing.match")

local semaphore = require("ngx.semaphore")

local candidates = match.candidates
local exiting = ngx.worker.exiting
local ipairs = ipairs
local max = math.max
local knows = fill.knows
local new_semaphore = semaphore.new
local ngx_log = ngx.log
local now = ngx.now
local pcall = pcall
local timer_at = ngx.timer.at

local MAX_LOOKERS = 4
-- Hosts of one look-up, and about as many patterns as they may have together.
local MAX_HOSTS = 64
local MAX_PATTERNS = 512
-- A flood of names that nobody knows must not take up the worker, which has
-- known hosts to serve: so many in so many seconds turn out to be unknown at
-- most, the others wait.
local TURN_STRANGERS = 32
local TURN_SECONDS = 0.005
-- How often a looker waits for more, and how long each time, in seconds: to
-- start one costs a miss some 60 us. A worker that quits waits for one time.
local WAITS = 40
local WAIT_SECONDS = 0.25
-- A run of a timer takes a little memory for each connection; it is given back
-- at the end.
local MAX_ROUNDS = 1000
-- nginx may never run a timer that it has taken: it has no connection left for
-- it, or runs too many. After so many seconds another one is tried.
local START_SECONDS = 0.1

local strangers, max_strangers = 0, 4096
-- When the turn began, and how many may still go out in it.
local turn, left = 0, TURN_STRANGERS
local timeout, patience = 1, 3
local lookers, idle = 0, 0
-- Timers that have not begun, and when the last one was set.
local starting, started = 0, 0
local more


local function new_queue()
    return { first = 1, last = 0 }
end


local function push(queue, flight)
    flight.since = now()
    local last = queue.last + 1
    queue.last, queue[last] = last, flight
end


local function pop(queue)
    local first = queue.first
    local flight = queue[first]
    if flight then
        queue.first, queue[first] = first + 1, nil
    end
    return flight
end


local hosts, apps = {}, {}
-- What is known to be there goes first: apps, and hosts that had a route. A
-- flood of names that nobody knows does not hold them up.
local app_queue, known_queue, stranger_queue =
    new_queue(), new_queue(), new_queue()


local function land(flight)
    if flight.done then
        return
    end
    flight.done = true
    if flight.patterns then
        hosts[flight.name] = nil
    else
        apps[flight.name] = nil
    end
    if flight.is_stranger then
        strangers = strangers - 1
        local found = flight.found
        if left < TURN_STRANGERS and not (found and not found.route) then
            left = left + 1
        end
    end
    if flight.waiters > 0 then
        flight.wait:post(flight.waiters)
    end
end


local function pop_stranger()
    local flight = left > 0 and pop(stranger_queue)
    if flight then
        left = left - 1
    end
    return flight
end


-- An app, or as many hosts as may go out together; or nil. `at_once` if no
-- stranger may wait for the next turn.
local function next_batch(at_once)
    local app = pop(app_queue)
    if app then
        return { app }
    end
    local time = now()
    if at_once or time - turn >= TURN_SECONDS or time < turn then
        turn, left = time, TURN_STRANGERS
    end
    local batch, n, n_patterns = {}, 0, 0
    while n < MAX_HOSTS and n_patterns < MAX_PATTERNS do
        local flight = pop(known_queue) or pop_stranger()
        if not flight then
            break
        end
        n, n_patterns = n + 1, n_patterns + #flight.patterns
        batch[n] = flight
    end
    return n > 0 and batch or nil
end


local function is_waiting()
    return app_queue[app_queue.first] or known_queue[known_queue.first]
           or stranger_queue[stranger_queue.first]
end


-- The same for what need not wait for the next turn.
local function is_urgent()
    return app_queue[app_queue.first] or known_queue[known_queue.first]
           or left > 0 and stranger_queue[stranger_queue.first]
end


-- Who has waited in vain for as long as Redis is given is not let wait as long
-- again.
local function fail_old(queue)
    local oldest = now() - timeout
    local flight = queue[queue.first]
    while flight and flight.since <= oldest do
        pop(queue)
        flight.reason = "unavailable"
        land(flight)
        flight = queue[queue.first]
    end
end


local function look_up(batch)
    local answer = batch[1].patterns and answers.hosts or answers.app
    local ok, reached = pcall(answer, batch)
    if not ok then
        ngx_log(ngx.ERR, "failed to look up ", batch[1].name, ": ", reached)
    end
    for _, flight in ipairs(batch) do
        if not flight.found and not flight.reason then
            flight.reason = "unavailable"
        end
        land(flight)
    end
    if ok and not reached then
        fail_old(app_queue)
        fail_old(known_queue)
        fail_old(stranger_queue)
    end
end


-- Returns whether something came.
local function linger()
    local posted = false
    idle = idle + 1
    for _ = 1, WAITS do
        if exiting() then
            break
        end
        local is_over = left == 0
        posted = more:wait(is_over and TURN_SECONDS or WAIT_SECONDS)
                 or is_waiting()
        -- One of them is enough for what comes now and then.
        if posted or idle > 1 and not is_over then
            break
        end
    end
    idle = idle - 1
    return posted
end


local start_looker


local function look(premature)
    local rounds = 0
    repeat
        local batch, posted = next_batch(premature or exiting()), false
        if batch then
            rounds = rounds + 1
            if idle == 0 and is_urgent() then
                start_looker()
            end
            look_up(batch)
        elseif not premature then
            posted = linger()
        end
    until rounds >= MAX_ROUNDS or not batch and not posted
end


local function run(premature)
    starting = max(0, starting - 1)
    lookers = lookers + 1
    look(premature)
    lookers = lookers - 1
    if is_waiting() then
        start_looker()
    end
end


function start_looker()
    local time = now()
    if time - started >= START_SECONDS or time < started then
        starting = 0
    end
    if lookers + starting >= MAX_LOOKERS then
        return
    end
    starting, started = starting + 1, time
    if not timer_at(0, run) then
        -- This worker is about to quit, or has no timers left. The request that
        -- looks instead may be aborted: it does not count.
        starting = starting - 1
        look(true)
    end
end


local function take_off(queue, flight)
    push(queue, flight)
    if idle > 0 then
        -- Who waits for the next turn comes by itself.
        if left > 0 or queue ~= stranger_queue then
            more:post(1)
        end
    else
        start_looker()
    end
    return flight
end


-- A look-up that is under way, to be joined. One that has taken too long has
-- been forgotten: whoever looked was aborted.
local function under_way(flights, name)
    local flight = flights[name]
    if not flight then
        return nil
    end
    if now() - flight.since > patience then
        flight.reason = "unavailable"
        land(flight)
        return nil
    end
    if lookers == 0 then
        start_looker()
    end
    return flight
end


local function wait_for(flight)
    if not flight.done then
        if not flight.wait then
            local err
            flight.wait, err = new_semaphore(0)
            if not flight.wait then
                ngx_log(ngx.ERR, "failed to create a semaphore: ", err)
                return nil, "unavailable"
            end
        end
        flight.waiters = flight.waiters + 1
        flight.wait:wait(patience)
    end
    return flight.found, flight.reason or not flight.done and "unavailable"
end


local _M = {}


-- syntax: lookups.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    max_strangers = settings.max_misses
    timeout = settings.redis_timeout
    patience = 2 * timeout + 1
    more = new_semaphore(0)
end


-- syntax: found, reason = lookups.host(host)
-- found = { keep = whether it may be cached, again = whether it has changed
-- since, route =, pattern =, both nil if there is none, apps = { [name] = app }
-- as far as they came along }.
-- Reasons: "unavailable", "behind", "busy".
function _M.host(host)
    local flight = under_way(hosts, host)
    if not flight then
        local is_stranger = not knows(host)
        if is_stranger then
            if strangers >= max_strangers then
                return nil, "busy"
            end
            strangers = strangers + 1
        end
        flight = { name = host, patterns = candidates(host), waiters = 0,
                   is_stranger = is_stranger }
        hosts[host] = flight
        take_off(is_stranger and stranger_queue or known_queue, flight)
    end
    return wait_for(flight)
end


-- syntax: found, reason = lookups.app(name)
-- found = { app =, again = }, as for hosts.
function _M.app(name)
    local flight = under_way(apps, name)
    if not flight then
        flight = { name = name, waiters = 0 }
        apps[name] = flight
        take_off(app_queue, flight)
    end
    return wait_for(flight)
end


return _M
