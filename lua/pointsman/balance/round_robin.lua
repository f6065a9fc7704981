-- Round robin over the live instances of an app. Pure Lua, all phases.
--
-- Equal weights, the common case, cost one step of an index. Unequal ones use
-- smooth weighted round robin as nginx's own upstreams do it ("Upstream: smooth
-- weighted round-robin balancing", nginx 1.3.1, 2012): each peer gains its
-- weight, the highest one is picked and gives back the sum of all. Weights
-- 5, 1, 1 give a a b a c a a, where a plain wheel would give a a a a a b c.

local floor = math.floor
local ipairs = ipairs
local max = math.max
local setmetatable = setmetatable
local type = type

-- The picks that a weighted picker is wound forward by to start at a random
-- place, at most: each of them walks all peers.
local MAX_WIND = 64


local _Even = {}
local _Weighted = {}
local _Parted = {}
local EVEN = { __index = _Even }
local WEIGHTED = { __index = _Weighted }
local PARTED = { __index = _Parted }


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


-- syntax: peer = picker:pick(skip?, request?)
-- `request` is for the picker that may have taken the place of this one.
function _Parted:pick(skip, request)
    local parts, part, at = self.parts, self.part, self.at
    local is_due, live = self.is_due, parts[part].live
    if is_due and at < #live and is_due(self.app, parts[part]) then
        local picker, its_request = self.enter(self.app, part)
        if picker ~= self then
            return picker:pick(skip, request or its_request)
        end
    end
    for _ = 1, self.n do
        while at >= #live do
            part = part < #parts and part + 1 or 1
            live, at = parts[part].live, 0
            if is_due and is_due(self.app, parts[part]) then
                local picker, its_request = self.enter(self.app, part)
                if picker ~= self then
                    return picker:pick(skip, request or its_request)
                end
            end
        end
        at = at + 1
        local peer = parts[part]:peer(live[at])
        if not skip or not skip(peer) then
            self.part, self.at = part, at
            return peer
        end
    end
    return nil
end


-- syntax: peer = picker:last()
function _Parted:last()
    local part = self.parts[self.part]
    local number = part.live[self.at]
    return number and part:peer(number)
end


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


local function first_of(parts, i)
    return parts[i].first
end


local function id_of(peers, i)
    return peers[i].id
end


local function live_id_of(part, i)
    return part:peer(part.live[i]).id
end


-- The last one of n whose id is not greater than this one, or 0: they are
-- sorted, and `get(list, i)` is the id of one.
local function place_of(list, n, get, id)
    local low, high = 0, n
    while low < high do
        local middle = floor((low + high + 1) / 2)
        if get(list, middle) <= id then
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
    return last and place_of(peers, n, id_of, last.id) or 0
end


-- The peers of a round in their order, and the place of the last one picked.
local function flat(previous)
    if not previous.parts then
        return previous.peers, previous.at
    end
    local peers, n, at = {}, 0, 0
    for i, part in ipairs(previous.parts) do
        if i == previous.part then
            at = n + previous.at
        end
        for _, number in ipairs(part.live) do
            n = n + 1
            peers[n] = part:peer(number)
        end
    end
    return peers, at
end


-- By instance id: what a peer is owed, in picks (below 0: it had more than its
-- share). In an even round, the longer ago its turn was, the more.
local function owed(previous)
    local by_id = {}
    local peers, at = flat(previous)
    local n = previous.n
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


local _M = {}


-- syntax: picker = round_robin.new(peers, previous)
-- `peers` is sorted by id. `previous` is the picker of the list before this
-- one, whose state is taken over (it stays usable), or a random number: one of
-- [0, 1) as math.random() gives, or a whole one. Else all workers would start
-- at the same instance.
function _M.new(peers, previous)
    local live, n, total = {}, 0, 0
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


-- syntax: picker = round_robin.in_parts(parts, n, previous)
-- Over n peers of equal weight in a list of { first =, live = { number, ... }
-- }, both sorted by id: part:peer(number) is a peer. `first` is no greater than
-- the ids of a part's peers, and greater than those of the part before. When a
-- part changes, the others need not be looked at.
--
-- If picker.is_due is set, parts may be out of date: before an instance of one
-- is picked for which picker.is_due(picker.app, part), picker.enter(picker.app,
-- its place) brings it up to date if it can, and returns the picker that goes
-- on: this one, or another one in its place, with what that one may want to
-- know of the request.
function _M.in_parts(parts, n, previous)
    local self = { parts = parts, n = n, part = 1, at = 0 }
    if type(previous) == "table" then
        local last = previous:last()
        -- Nobody, where all of a part have gone.
        local id = last and last.id or previous.parts
                   and previous.parts[previous.part].first
        if id then
            self.part = max(1, place_of(parts, #parts, first_of, id))
            local chosen = parts[self.part]
            if last then
                self.at = place_of(chosen, #chosen.live, live_id_of, id)
            else
                self.at = chosen.first == id and 0 or #chosen.live
            end
        end
    else
        local left = previous < 1 and floor(previous * n) or floor(previous) % n
        while left > #parts[self.part].live do
            left = left - #parts[self.part].live
            self.part = self.part + 1
        end
        self.at = left
    end
    return setmetatable(self, PARTED)
end


return _M
