-- Requests in flight, by instance: what least_conn, random, ewma and max_conns
-- go by, and what passive health knows of connections. All phases; nothing here
-- yields.
--
-- Each worker counts its own requests exactly. For apps that need the sum over
-- all workers, it also shows its counts in a shared dict, under its process id.
-- A worker that exits after a reload goes on showing what it has left. Its
-- process id stays in the dict until there is no such process: then what it has
-- left behind is removed.

local connections = require("pointsman.health.connections")
local dicts = require("pointsman.cache.dicts")

local ffi = require("ffi")

local began = connections.begin
local ended = connections.finish
local flights = dicts.flights
local ipairs = ipairs
local ngx_log = ngx.log
local now = ngx.now
local setmetatable = setmetatable

-- How old a sum over all workers may be.
local STALE_SECONDS = 0.05
-- How many workers may show their counts, those that are exiting included.
local SLOTS = 256
-- Instances that have come and gone before their counts are let go.
local SPARE = 16
-- Longer than it takes to remove what a dead worker has left behind.
local BURIAL_SECONDS = 10
local NO_SUCH_PROCESS = 3       -- ESRCH

local COMPARES = { least_conn = true, random = true, ewma = true }
local WEAK = { __mode = "v" }

ffi.cdef [[
int pointsman_kill(int pid, int signal) __asm__("kill");
]]

-- App name -> its loads; address -> connections. What nothing else refers to
-- any more, neither an app in the cache nor a request, goes by itself.
local by_app = setmetatable({}, WEAK)
local by_addr = setmetatable({}, WEAK)

local pid, prefix = 0, ""
-- Prefixes of the other workers' keys; the number of registrations and the time
-- when they were read.
local others, others_n = {}, 0
local registrations, looked_at = nil, 0


local function is_alive(process)
    return ffi.C.pointsman_kill(process, 0) == 0
           or ffi.errno() ~= NO_SUCH_PROCESS
end


-- One of the workers that find out removes what a dead one has left behind.
local function bury(slot, dead)
    if flights.claim("dead " .. dead, true, BURIAL_SECONDS) then
        flights.drop_all(dead .. " ")
        flights.drop(slot)
    end
end


local function scan()
    registrations = flights.get("registrations")
    local list, n = {}, 0
    for i = 1, SLOTS do
        local slot = "w" .. i
        local other = flights.get(slot)
        if other and other ~= pid then
            if is_alive(other) then
                n = n + 1
                list[n] = other .. " "
            else
                bury(slot, other)
            end
        end
    end
    others, others_n = list, n
end


local function sum_of_others(load, time)
    if time ~= looked_at then
        looked_at = time
        if flights.get("registrations") ~= registrations then
            scan()
        end
    end
    local total, key = 0, load.key
    for i = 1, others_n do
        total = total + (flights.get(others[i] .. key) or 0)
    end
    load.others, load.asked = total, time
    return total
end


local function connections_to(addr)
    local c = by_addr[addr]
    if not c then
        c = connections.new()
        by_addr[addr] = c
    end
    return c
end


-- Keeps those of the app's instances only.
local function prune(loads, peers)
    local kept, n = {}, 0
    for _, peer in ipairs(peers) do
        local load = loads.of[peer.id]
        if load then
            kept[peer.id], n = load, n + 1
        end
    end
    loads.of, loads.n = kept, n
end


-- The load of an instance at its address. Where an instance has moved, what is
-- in flight at its old address is none of the new one's.
local function load_of(app, peer)
    local loads = app.loads
    if not loads then
        loads = by_app[app.name]
        if not loads then
            loads = { of = {}, n = 0 }
            by_app[app.name] = loads
        end
        app.loads = loads
    end
    local load = loads.of[peer.id]
    if not load then
        local peers = app.peers
        if peers and loads.n >= 2 * #peers + SPARE then
            prune(loads, peers)
        end
        loads.n = loads.n + 1
    end
    if not load or load.addr ~= peer.addr then
        load = {
            n = 0, shown = 0, addr = peer.addr, loads = loads,
            key = app.name .. "/" .. peer.id .. " " .. peer.addr,
            connections = connections_to(peer.addr), others = 0, asked = 0,
        }
        loads.of[peer.id] = load
    end
    peer.load = load
    return load
end


local function is_needed(policy)
    return policy.max_conns ~= nil or COMPARES[policy.balance] or false
end


local _M = {
    -- syntax: yes = in_flight.is_needed(policy)
    -- Whether the app needs sums over all workers.
    is_needed = is_needed,
    -- syntax: yes = in_flight.is_alive(pid)
    is_alive = is_alive,
}


-- syntax: in_flight.init()
-- In init_worker_by_lua.
function _M.init()
    pid = ngx.worker.pid()
    prefix = pid .. " "
    local is_registered = false
    for i = 1, SLOTS do
        local slot = "w" .. i
        local other = flights.get(slot)
        if other == pid then
            -- Of a dead process that had the same id.
            flights.drop_all(prefix)
            is_registered = true
            break
        elseif not other and flights.claim(slot, pid) then
            is_registered = true
            break
        end
    end
    if not is_registered then
        ngx_log(ngx.WARN, "more than ", SLOTS, " workers: the other ones do ",
                "not see what this one has in flight")
    end
    flights.add("registrations", 1)
    scan()
end


-- syntax: in_flight.tick()
-- From a timer, each second: finds out who has died.
function _M.tick()
    scan()
end


-- syntax: load = in_flight.begin(app, peer)
-- A main request goes to this instance.
function _M.begin(app, peer)
    local load = peer.load or load_of(app, peer)
    load.n = load.n + 1
    began(load.connections)
    if is_needed(app.policy) then
        load.shown = load.shown + 1
        flights.add(prefix .. load.key, 1)
    end
    return load
end


-- syntax: in_flight.finish(load)
-- The attempt has ended, and health has judged it.
function _M.finish(load)
    load.n = load.n - 1
    ended(load.connections)
    if load.shown > 0 then
        load.shown = load.shown - 1
        flights.add(prefix .. load.key, -1)
    end
end


-- syntax: in_flight.hide(app, peer)
-- A subrequest goes to this instance. It is not counted, as it has no log
-- phase.
function _M.hide(app, peer)
    connections.hide((peer.load or load_of(app, peer)).connections)
end


-- syntax: n = in_flight.of(app, peer)
-- Over all workers; what others have is up to 50 ms old.
function _M.of(app, peer)
    local load = peer.load or load_of(app, peer)
    local time = now()
    local age = time - load.asked
    if age >= 0 and age < STALE_SECONDS then
        return load.n + load.others
    end
    return load.n + sum_of_others(load, time)
end


-- syntax: n = in_flight.of_now(app, peer)
-- Over all workers, as the shared dict has it now.
function _M.of_now(app, peer)
    local load = peer.load or load_of(app, peer)
    return load.n + sum_of_others(load, now())
end


return _M
