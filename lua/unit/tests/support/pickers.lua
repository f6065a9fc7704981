-- luacheck: ignore 211
-- Helpers that stand before the tests of the pickers.

-- peers { a = 1, … }: by id, as the pickers are given them
local function peers(weights)
    local list = {}
    for id, weight in pairs(weights) do
        list[#list + 1] = { id = id, weight = weight, addr = id .. ":80" }
    end
    table.sort(list, function(a, b) return a.id < b.id end)
    return list
end

-- n instances of one weight
local function many(n, weight)
    local weights = {}
    for i = 1, n do
        weights[string.format("i%04d", i)] = weight or 100
    end
    return peers(weights)
end

-- requests in flight: flight.n[id], and what the pickers ask
local function flights()
    local n = {}
    return { n = n, of = function(peer) return n[peer.id] or 0 end }
end

-- who got how many of n picks, each with a key of its own
local function count(picker, n, skip, request)
    local counts = {}
    request = request or { now = 0 }
    for i = 1, n do
        request.key = "key " .. i
        local id = picker:pick(skip, request).id
        counts[id] = (counts[id] or 0) + 1
    end
    return counts
end

-- Each share within five standard deviations of what the weights say: a right
-- picker fails once in two million of them.
local function near_shares(counts, n, weights)
    local total = 0
    for _, weight in pairs(weights) do
        total = total + weight
    end
    for id, weight in pairs(weights) do
        local p = weight / total
        local off = math.abs((counts[id] or 0) - n * p)
        local bound = 5 * math.sqrt(n * p * (1 - p))
        if off > bound then
            error(string.format("%s got %d of %d, not %.0f +- %.0f", id,
                                counts[id] or 0, n, n * p, bound), 2)
        end
    end
    for id in pairs(counts) do
        assert(weights[id], id .. " was not to be picked")
    end
end

local compose = require "pointsman.balance.compose"
local ALL = { "round_robin", "least_conn", "ewma", "random", "hash" }

-- a picker by the policy's name for it, with nothing in flight unless told
local function new(balance, list, previous, flight)
    return compose.new({ balance = balance }, list, previous,
                       { flight = flight or flights(), seed = 0.5 })
end
