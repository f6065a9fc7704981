-- Requests in flight, by instance: what least_conn, random, ewma and max_conns
-- go by. All phases; nothing here yields.
--
-- Each worker counts its own, exactly, and shows the counts in a shared dict
-- under its process id. What the other workers have is looked up there and
-- believed for a moment: a sum over all workers is up to STALE_SECONDS old.

local dicts = require("pointsman.cache.dicts")

local flights = dicts.flights
local now = ngx.now
local worker_count = ngx.worker.count

local STALE_SECONDS = 0.05
-- Sums of instances that nobody asks for any more are let go with all others.
local MAX_SUMS = 65536

local COMPARES = { least_conn = true, random = true, ewma = true }

local sums, sums_n = {}, 0
local prefix = ""


-- What all other workers have in flight to an instance.
local function add_up(key)
    local total = 0
    for id = 0, worker_count() - 1 do
        local pid = flights.get("w" .. id)
        if pid and pid ~= prefix then
            total = total + (flights.get(pid .. key) or 0)
        end
    end
    return total > 0 and total or 0
end


local function others(key)
    local time = now()
    local sum = sums[key]
    if sum and time - sum.at < STALE_SECONDS and time >= sum.at then
        return sum.total
    end
    if not sum then
        if sums_n >= MAX_SUMS then
            sums, sums_n = {}, 0
        end
        sum = {}
        sums[key], sums_n = sum, sums_n + 1
    end
    sum.total, sum.at = add_up(key), time
    return sum.total
end


local _M = {}


-- syntax: flight.init()
-- In init_worker_by_lua. What a dead predecessor left is cleared away.
function _M.init()
    prefix = ngx.worker.pid() .. " "
    local slot = "w" .. ngx.worker.id()
    local before = flights.get(slot)
    flights.put(slot, prefix)
    if before and before ~= prefix then
        flights.drop_all(before)
    end
end


-- syntax: yes = flight.is_needed(policy)
function _M.is_needed(policy)
    return policy.max_conns ~= nil or COMPARES[policy.balance] or false
end


-- syntax: load = in_flight.begin(app, peer)
function _M.begin(app, peer)
    local load = peer.load
    if not load then
        load = { key = app.name .. "/" .. peer.id, n = 0 }
        peer.load = load
    end
    load.n = load.n + 1
    if _M.is_needed(app.policy) then
        load.shared = true
        flights.add(prefix .. load.key, 1)
    end
    return load
end


function _M.finish(load)
    load.n = load.n - 1
    if load.shared then
        flights.add(prefix .. load.key, -1)
    end
end


function _M.of(_, peer)
    local load = peer.load
    return load and load.n + others(load.key) or 0
end


function _M.of_now(_, peer)
    local load = peer.load
    return load and load.n + add_up(load.key) or 0
end


function _M.tick()
end


return _M
