-- The instance with the fewest requests in flight relative to its weight. Pure
-- Lua, all phases.
--
-- As nginx's least_conn does it: among those that have equally few, the round
-- goes on (see round_robin.lua), so that an idle app still has its shares.
--
-- To look at all instances of a large app costs more than the request itself.
-- Of many, the better one of two drawn ones is taken, see random.lua.

local random = require("pointsman.balance.random")
local round_robin = require("pointsman.balance.round_robin")

local max = math.max
local setmetatable = setmetatable
local type = type

-- LuaJIT gives up for ever on a loop that it saw end too soon, as that over two
-- instances does; the next app may have a thousand.
local MIN_STEPS = 16
-- The most instances that are all looked at.
local FEW = 32


local _Picker = {}
local PICKER = { __index = _Picker }

-- What not_least looks at: a closure for each pick would be garbage for each.
local fewest, weight_of_fewest, flight_of, also_skip


local function not_least(peer)
    return flight_of(peer) * weight_of_fewest ~= fewest * peer.weight
           or also_skip and also_skip(peer)
end


-- syntax: peer = picker:pick(skip?)
function _Picker:pick(skip)
    local peers, of = self.round.peers, self.flight.of
    local least, ties
    local flight, weight = 0, 1
    for i = 1, self.steps do
        local peer = peers[i]
        if peer then
            local its, its_weight = of(peer), peer.weight
            local more = least and its * weight - flight * its_weight or -1
            if more <= 0 and not (skip and skip(peer)) then
                ties = more == 0
                if not ties then
                    least, flight, weight = peer, its, its_weight
                end
            end
        end
    end
    if not ties then
        return least
    end
    fewest, weight_of_fewest, flight_of, also_skip = flight, weight, of, skip
    return self.round:pick(not_least)
end


local _M = {}


-- syntax: picker = least_conn.new(peers, previous, options)
-- As that of round_robin; `options.flight.of(peer)` says how many requests an
-- instance has in flight.
function _M.new(peers, previous, options)
    local before = previous
    if type(previous) == "table" then
        -- That of few instances has a round, that of many has none.
        local is_many = not previous.round
        if is_many ~= (#peers > FEW) then
            before = options.seed
        else
            before = previous.round or previous
        end
    end
    if #peers > FEW then
        return random.new(peers, before, options)
    end
    local round = round_robin.new(peers, before)
    return setmetatable({
        round = round, steps = max(round.n, MIN_STEPS),
        flight = options.flight,
    }, PICKER)
end


return _M
