-- How long a pick takes, and an update of the list. Few instances come first:
-- LuaJIT must still compile the loops for many.
--
--     cargo run --release -p pointsman-lua-tests --example run -- \
--         lua/unit/examples/pickers.lua

local compose = require "pointsman.balance.compose"

local KEYS = {}
for i = 1, 1024 do
    KEYS[i] = "user-" .. i * 7919
end


local function peers(n, weigh)
    local list = {}
    for i = 1, n do
        list[i] = {
            id = string.format("shop-%05d", i), weight = weigh(i),
            in_flight = 0,
        }
    end
    return list
end


local function best_of(times, run, n)
    local best = math.huge
    for _ = 1, times do
        local start = os.clock()
        run(n)
        best = math.min(best, (os.clock() - start) / n)
    end
    return best
end


local function measure(balance, n, name, weigh)
    local list = peers(n, weigh)
    local request = { now = 1 }
    local options = { seed = 0.3, flight = {
        of = function(peer) return peer.in_flight end,
    } }
    local policy = { balance = balance }
    local picker = compose.new(policy, list, 0.3, options)
    local pick = best_of(5, function(picks)
        for i = 1, picks do
            request.key = KEYS[i % 1024 + 1]
            -- as if each request were answered by the next of its instance
            local peer = picker:pick(nil, request)
            peer.in_flight = (peer.in_flight + 1) % 8
        end
    end, math.max(2000, 1e6 / n))
    local update = best_of(5, function(times)
        for _ = 1, times do
            picker = compose.new(policy, list, picker, options)
        end
    end, 10)
    print(string.format("%-12s %5d %-8s %9.0f ns a pick %8.3f ms an update",
                        balance, n, name, pick * 1e9, update * 1e3))
end


for _, balance in ipairs { "round_robin", "least_conn", "ewma", "random",
                           "hash" } do
    for _, n in ipairs { 2, 10, 100, 1000, 5000 } do
        measure(balance, n, "even", function() return 100 end)
        measure(balance, n, "uneven", function(i) return i % 97 + 1 end)
    end
end
