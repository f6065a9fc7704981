-- What is in flight to draining instances, for the edge's report. In the feed's
-- worker.
--
-- The list of draining instances (cache/draining.lua) is complete while the
-- stream is followed. When the feed begins, or has missed something, Redis is
-- asked about the apps that have requests in flight: no other instance has any.

local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local draining = require("pointsman.cache.draining")
local redis = require("pointsman.redis.client")
local workers = require("pointsman.request.workers")

local cjson = require("cjson.safe")

local concat = table.concat
local decode = cjson.decode
local dict_get = dicts.get
local format = string.format
local match = string.match
local min = math.min
local pairs = pairs
local sort = table.sort

-- Apps that Redis is asked about at once.
local MAX_APPS = 500

-- The revalidation since which the list is complete.
local complete_since


-- Asks Redis which instances of these apps are draining. Returns true, or nil
-- and what is wrong.
local function ask_about(names)
    local answer, found = redis.draining(names)
    if not answer then
        return nil, found
    elseif answer.epoch ~= dict_get("epoch") or not answer.ready
            or answer.rev < dict_get("applied") then
        return nil, "Redis is behind this edge"
    end
    local list = {}
    for i = 1, #found, 3 do
        local peer = codec.instance(decode, found[i + 1], found[i + 2])
        if peer and peer.draining then
            list[found[i] .. "/" .. peer.id] = peer.addr
        end
    end
    draining.replace(names, list)
    return true
end


local _M = {}


-- syntax: drains.begin()
-- When a worker becomes the feed's.
function _M.begin()
    draining.load()
    complete_since = nil
end


-- syntax: ok, err = drains.complete(reval, is_closed)
-- Completes the list of draining instances, where that need be: as of this
-- revalidation. (Until its window is closed, requests may go to more of them.)
-- Yields.
function _M.complete(reval, is_closed)
    if complete_since == reval then
        return true
    end
    local sums, err = workers.in_flight()
    if not sums then
        return nil, err
    end
    local seen, names = {}, {}
    for _, all in pairs { sums, draining.all() } do
        for key in pairs(all) do
            local app = match(key, "^[^/]+")
            if not seen[app] then
                seen[app] = true
                names[#names + 1] = app
            end
        end
    end
    for at = 1, #names, MAX_APPS do
        local ok
        local last = min(at + MAX_APPS - 1, #names)
        ok, err = ask_about { unpack(names, at, last) }
        if not ok then
            return nil, err
        end
    end
    draining.show()
    complete_since = is_closed and reval or nil
    return true
end


-- syntax: json, is_busy = drains.count()
-- What is in flight to draining instances, and whether that is anything. Nil
-- and an error if it is not known.
function _M.count()
    local sums, kept, unnamed = workers.in_flight()
    if not sums then
        return nil, kept
    end
    local counts = {}
    for key in pairs(kept) do
        counts[match(key, "^%S+")] = sums[key] + unnamed
    end
    for instance, addr in pairs(draining.all()) do
        counts[instance] = (sums[instance .. " " .. addr] or 0) + unnamed
    end
    local parts, n_parts, is_busy = {}, 0, false
    for instance, n in pairs(counts) do
        n_parts = n_parts + 1
        parts[n_parts] = format('"%s":%.0f', instance, n)
        is_busy = is_busy or n > 0
    end
    sort(parts)
    return "{" .. concat(parts, ",") .. "}", is_busy
end


return _M
