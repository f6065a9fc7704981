-- Draws instances by chance, in the shares of their weights, for the pickers
-- that compare two of them. Pure Lua, all phases.
--
-- "The Power of Two Choices in Randomized Load Balancing" (Mitzenmacher, 2001):
-- the better one of two is nearly as good as the best one of all, costs no look
-- at all of them, and does not send all workers to the same one.

local hash = require("pointsman.balance.hash")

local floor = math.floor
local random = hash.random
local hash_of = hash.of
local type = type

local RANGE = 2 ^ 32
-- How often a draw is repeated that hit an instance which is left out, before
-- the shares of those that are left are added up. Either way they are exact.
local MAX_DRAWS = 8


-- A whole number from 0 to n - 1.
local function below(self, n)
    local h
    self.state, h = random(self.state)
    return floor((h % RANGE) / RANGE * n)
end


local function any(self)
    if not self.sums then
        return self.peers[below(self, self.n) + 1]
    end
    local sums, low, high = self.sums, 1, self.n
    local at = below(self, self.total)
    while low < high do
        local middle = floor((low + high) / 2)
        if at < sums[middle] then
            high = middle
        else
            low = middle + 1
        end
    end
    return self.peers[low]
end


local function of_those_left(self, skip, except)
    local peers, left = self.peers, 0
    for i = 1, self.n do
        local peer = peers[i]
        if peer ~= except and not (skip and skip(peer)) then
            left = left + peer.weight
        end
    end
    if left == 0 then
        return nil
    end
    local at = below(self, left)
    for i = 1, self.n do
        local peer = peers[i]
        if peer ~= except and not (skip and skip(peer)) then
            at = at - peer.weight
            if at < 0 then
                return peer
            end
        end
    end
    return nil
end


local _M = {}


-- syntax: peer = draw.one(self, skip?, except?)
-- Neither `except` nor one that is left out; nil if there is no other.
function _M.one(self, skip, except)
    if self.n == 0 then
        return nil
    end
    for _ = 1, MAX_DRAWS do
        local peer = any(self)
        if peer ~= except and not (skip and skip(peer)) then
            return peer
        end
    end
    return of_those_left(self, skip, except)
end


-- syntax: self = draw.new(peers, previous)
-- What draw.one needs, of `peers` and of the picker before, or a random number.
function _M.new(peers, previous)
    local live, sums, n, total = {}, {}, 0, 0
    local even = true
    for i = 1, #peers do
        local peer = peers[i]
        if peer.weight > 0 then
            n, total = n + 1, total + peer.weight
            live[n], sums[n] = peer, total
            even = even and peer.weight == live[1].weight
        end
    end
    return {
        peers = live, n = n, total = total, sums = not even and sums or nil,
        state = type(previous) == "table" and previous.state
                or hash_of((previous or 0) .. ""),
    }
end


return _M
