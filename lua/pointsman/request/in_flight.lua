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

local mine = {}
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


-- syntax: key = flight.key(app_name, instance_id)
function _M.key(app, id)
    return app .. "/" .. id
end


-- syntax: flight.begin(key)
function _M.begin(key)
    mine[key] = (mine[key] or 0) + 1
    flights.add(prefix .. key, 1)
end


-- syntax: flight.finish(key)
function _M.finish(key)
    local left = (mine[key] or 0) - 1
    mine[key] = left > 0 and left or nil
    flights.add(prefix .. key, -1)
end


-- syntax: n = flight.of(key)
-- Over all workers; what others have is up to 50 ms old.
function _M.of(key)
    return (mine[key] or 0) + others(key)
end


-- syntax: n = flight.of_now(key)
-- Over all workers, as the shared dict has it now.
function _M.of_now(key)
    return (mine[key] or 0) + add_up(key)
end


return _M
