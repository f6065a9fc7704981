-- Slow start: an instance that joined gets a growing part of its share. Pure
-- Lua, all phases. Goes around any picker.
--
-- Its part grows with its age, from a tenth (as in Envoy's slow start) to all.
-- A pick of a young instance is only accepted with that probability; its
-- requests in flight weigh the more, so that a picker that compares them does
-- not fill it at once. With a consistent hash the key decides instead of
-- chance, so that a key that has come to an instance stays there.
--
-- Who is in the first list is not new: a worker that starts, or that sees an
-- app for the first time, does not know how old its instances are.

local hash = require("pointsman.balance.hash")

local bit = require("bit")

local bxor = bit.bxor
local hash_of = hash.of
local mix = hash.mix
local pairs = pairs
local random = hash.random
local setmetatable = setmetatable
local type = type
local unit = hash.unit

local LEAST = 0.1
-- The key's hash for this purpose has nothing to do with the one that picks.
local SEED = 0x77617264


local _Picker = {}
local PICKER = { __index = _Picker }

-- What refuses() looks at: a closure for each pick would be garbage for each.
local refused, turn, also_skip


local function refuses(peer)
    return refused[peer.id] == turn or also_skip and also_skip(peer)
end


local function part_of(self, id)
    local since = self.born[id]
    if not since then
        return 1
    end
    local part = (self.now - since) / self.slow_start
    return part > LEAST and part or LEAST
end


local function accepts(self, peer, request)
    local part = part_of(self, peer.id)
    if part >= 1 then
        return true
    end
    local h
    if self.by_key and request.key then
        h = mix(bxor(hash_of(request.key, SEED), hash_of(peer.id)))
    else
        self.state, h = random(self.state)
    end
    return unit(h) < part
end


-- syntax: peer = picker:pick(skip?, request)
-- `request.now` is the time in seconds, of the same clock as `options.now`.
-- If all that could be picked are young and refused, the first one is taken.
function _Picker:pick(skip, request)
    local now = request.now
    self.now = now
    if now >= self.all_grown then
        return self.inner:pick(skip, request)
    end

    local first
    self.turn = self.turn + 1
    local count = self.n_born
    for _ = 0, count do
        -- Set each time: the inner picker may be another one of these.
        refused, turn, also_skip = self.refused, self.turn, skip
        local peer = self.inner:pick(first and refuses or skip, request)
        if not peer or accepts(self, peer, request) then
            return peer or first
        end
        first = first or peer
        self.refused[peer.id] = self.turn
    end
    return first
end


-- syntax: picker:observe(id, seconds, now)
function _Picker:observe(id, seconds, now)
    local inner = self.inner
    if inner.observe then
        inner:observe(id, seconds, now)
    end
end


-- What the inner picker is told of requests in flight.
local function weighed(self, flight)
    return { of = function(peer)
        return flight.of(peer) / part_of(self, peer.id)
    end }
end


local function join(self, peers, from, now)
    for i = 1, #peers do
        local id = peers[i].id
        if peers[i].weight > 0 then
            self.seen[id] = true
            if from then
                self.born[id] = from.born[id]
                                or not from.seen[id] and now or nil
            end
        end
    end
    for id, since in pairs(self.born) do
        local grown = since + self.slow_start
        if grown <= now then
            self.born[id] = nil
        else
            self.n_born = self.n_born + 1
            self.all_grown = grown > self.all_grown and grown
                             or self.all_grown
        end
    end
end


local _M = {}


-- syntax: picker = warm.new(make, peers, previous, options)
-- `make(peers, previous, options)` makes the picker inside. Of the options
-- `slow_start` and `now` (seconds) are used here, and `by_key`: keys decide.
function _M.new(make, peers, previous, options)
    local from = type(previous) == "table" and previous
    local self = setmetatable({
        seen = {}, born = {}, n_born = 0, refused = {}, turn = 0,
        slow_start = options.slow_start, by_key = options.by_key,
        now = options.now, all_grown = 0,
        state = from and from.state or hash_of((previous or 0) .. ""),
    }, PICKER)
    join(self, peers, from, options.now)

    local inner = options
    if options.flight then
        inner = { flight = weighed(self, options.flight),
                  decay = options.decay }
    end
    self.inner = make(peers, from and from.inner or previous, inner)
    return self
end


return _M
