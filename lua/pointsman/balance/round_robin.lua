-- Round robin over the live instances of an app. Pure Lua, all phases.
--
-- Equal weights, the common case, cost one step of an index. Unequal ones use
-- smooth weighted round robin as nginx's own upstreams do it ("Upstream: smooth
-- weighted round-robin balancing", nginx 1.3.1, 2012): each peer gains its
-- weight, the highest one is picked and gives back the sum of all. Weights
-- 5, 1, 1 give a a b a c a a, where a plain wheel would give a a a a a b c.

local new_table = require("table.new")

local floor = math.floor
local setmetatable = setmetatable
local type = type

-- The picks that a weighted picker is wound forward by to start at a random
-- place, at most: each of them walks all peers.
local MAX_WIND = 64


local _Even = {}
local _Weighted = {}
local EVEN = { __index = _Even }
local WEIGHTED = { __index = _Weighted }


-- syntax: peer = picker:pick(skip?)
-- `skip(peer)` true leaves that peer out. nil: no peer is left.
function _Even:pick(skip)
    local peers, n, at = self.peers, self.n, self.at
    for _ = 1, n do
        at = at < n and at + 1 or 1
        local peer = peers[at]
        if not skip or not skip(peer) then
            self.at = at
            return peer
        end
    end
    return nil
end


-- syntax: peer = picker:last()
-- The one that was picked last, or nil.
function _Even:last()
    return self.peers[self.at]
end
_Weighted.last = _Even.last


-- syntax: peer = picker:pick(skip?)
-- A peer that is left out gains nothing: it does not come back with a debt to
-- be paid in a burst.
function _Weighted:pick(skip)
    local peers, current = self.peers, self.current
    local total, best = 0, 0
    for i = 1, self.n do
        local peer = peers[i]
        if not skip or not skip(peer) then
            local weight = peer.weight
            total = total + weight
            current[i] = current[i] + weight
            if best == 0 or current[i] > current[best] then
                best = i
            end
        end
    end
    if best == 0 then
        return nil
    end
    current[best] = current[best] - total
    self.at = best
    return peers[best]
end


-- The last one of n whose id is not greater than this one, or 0: they are
-- sorted.
local function place_of(peers, n, id)
    local low, high = 0, n
    while low < high do
        local middle = floor((low + high + 1) / 2)
        if peers[middle].id <= id then
            low = middle
        else
            high = middle - 1
        end
    end
    return low
end


-- The place from which the first pick goes on where `previous` stopped: that
-- of the peer it picked last or, if that one is gone, of its nearest neighbour
-- below (peers are sorted by id).
local function resume_at(peers, n, previous)
    local last = previous:last()
    return last and place_of(peers, n, last.id) or 0
end


-- By instance id: what a peer is owed, in picks (below 0: it had more than its
-- share). In an even round, the longer ago its turn was, the more.
local function owed(previous)
    local by_id = {}
    local peers, n, at = previous.peers, previous.n, previous.at
    for i = 1, n do
        if previous.current then
            by_id[peers[i].id] = previous.current[i] / previous.total
        else
            local turns_ago = (at - i) % n
            by_id[peers[i].id] = (turns_ago + 1 - (n + 1) / 2) / n
        end
    end
    return by_id
end


-- Takes over what each peer is owed, in picks: weights may have changed. A peer
-- that is new is owed nothing. So neither updates nor instances that come and
-- go bend the shares of the others.
local function resume_current(self, previous)
    local by_id = owed(previous)
    for i = 1, self.n do
        self.current[i] = (by_id[self.peers[i].id] or 0) * self.total
    end
end


-- Those with a weight, how many there are, the sum of the weights, and whether
-- all have the same.
local function weigh(peers)
    local live, n, total = new_table(#peers, 0), 0, 0
    local even = true
    for i = 1, #peers do
        local peer = peers[i]
        if peer.weight > 0 then
            n = n + 1
            live[n] = peer
            total = total + peer.weight
            even = even and peer.weight == live[1].weight
        end
    end
    return live, n, total, even
end


local _M = {}


-- syntax: picker = round_robin.new(peers, previous, options?)
-- `peers` is sorted by id. `previous` is the picker of the list before this
-- one, whose state is taken over (it stays usable), or a random number: one of
-- [0, 1) as math.random() gives, or a whole one. Else all workers would start
-- at the same instance. `options.even`: all peers are known to have the same
-- weight, above 0.
function _M.new(peers, previous, options)
    local live, n, total, even = peers, #peers, nil, options and options.even
    if not even then
        live, n, total, even = weigh(peers)
    end

    local from = type(previous) == "table" and previous
    local random = not from and previous or 0
    local self = { peers = live, n = n, at = 0 }

    if even then
        setmetatable(self, EVEN)
        if from then
            self.at = resume_at(live, n, from)
        elseif n > 0 then
            self.at = random < 1 and floor(random * n) or floor(random) % n
        end
        return self
    end

    local current = {}
    for i = 1, n do
        current[i] = 0
    end
    self.current = current
    self.total = total
    setmetatable(self, WEIGHTED)
    if from then
        self.at = resume_at(live, n, from)
        resume_current(self, from)
    else
        local wind = total < MAX_WIND and total or MAX_WIND
        local steps = random < 1 and floor(random * wind)
                      or floor(random) % wind
        for _ = 1, steps do
            self:pick()
        end
    end
    return self
end


return _M
