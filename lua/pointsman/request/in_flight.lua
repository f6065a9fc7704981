-- Requests in flight, by instance: what least_conn, random, ewma and max_conns
-- go by, and what passive health knows of connections. All phases; nothing here
-- yields.
--
-- Each worker counts its own requests exactly, and shows their number in the
-- memory that workers share (workers.lua), for the edge's report. For apps that
-- balance by sums over all workers, it also shows its counts in a shared dict,
-- under its process id, where one instance's are found at once.

local connections = require("pointsman.health.connections")
local dicts = require("pointsman.cache.dicts")
local workers = require("pointsman.request.workers")

local began = connections.begin
local ended = connections.finish
local flights = dicts.flights
local ipairs = ipairs
local new_tally = workers.tally
local now = ngx.now
local other_workers = workers.others
local setmetatable = setmetatable

-- How old a sum over all workers may be.
local STALE_SECONDS = 0.05
-- Instances that have come and gone before their counts are let go.
local SPARE = 16

local COMPARES = { least_conn = true, random = true, ewma = true }
local WEAK = { __mode = "v" }

-- App name -> its loads; address -> connections. What nothing else refers to
-- any more, neither an app in the cache nor a request, goes by itself.
local by_app = setmetatable({}, WEAK)
local by_addr = setmetatable({}, WEAK)

-- Of this worker's keys in the dict.
local prefix = ""
-- The prefixes of the other workers' keys, and when they were read.
local others, others_n, looked_at = {}, 0, 0


local function sum_of_others(load, time)
    if time ~= looked_at then
        looked_at = time
        others, others_n = other_workers()
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


local function key_of(app, id, addr)
    return app .. "/" .. id .. " " .. addr
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
            key = key_of(app.name, peer.id, peer.addr),
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
    -- syntax: key = in_flight.key(app_name, id, addr)
    -- What the load of an instance at its address is called.
    key = key_of,
}


-- syntax: in_flight.init(prefix)
-- In init_worker_by_lua, with what workers.init() returned.
function _M.init(own_prefix)
    prefix = own_prefix
end


-- syntax: load = in_flight.begin(app, peer)
-- A main request goes to this instance.
function _M.begin(app, peer)
    local load = peer.load or load_of(app, peer)
    local tally = load.tally or new_tally(load)
    load.n = load.n + 1
    tally.n = tally.n + 1
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
    local tally = load.tally
    load.n = load.n - 1
    tally.n = tally.n - 1
    ended(load.connections)
    if load.shown > 0 then
        load.shown = load.shown - 1
        flights.add(prefix .. load.key, -1)
    end
end


-- syntax: in_flight.keep(app, peer)
-- Before a request goes to an instance by name or by its session: whether it
-- goes to one that is draining.
function _M.keep(app, peer)
    local load = peer.load or load_of(app, peer)
    local tally = load.tally or new_tally(load)
    tally.is_kept = peer.draining and 1 or 0
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
