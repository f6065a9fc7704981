-- Peak EWMA: of two instances, drawn in the shares of their weights, the one
-- that is likely to answer sooner. Pure Lua, all phases.
--
-- As in Finagle (com.twitter.finagle.loadbalancer.PeakEwma): an instance's cost
-- is a moving average of how long its answers took, that follows a peak at once
-- and forgets it by time, not by the number of answers; times the requests that
-- it has in flight, and the one to come. An instance that is not asked any more
-- since it was slow becomes cheap again, and is tried.
--
-- Who has not answered yet costs what an answer of this app has taken lately:
-- neither nothing, which would bring all requests to it at once, nor more than
-- the others, which would bring it none. That, too, is forgotten by time.

local draw = require("pointsman.balance.draw")

local draw_one = draw.one
local exp = math.exp
local setmetatable = setmetatable
local type = type

-- After so many seconds an answer counts for 37 %. Finagle's default.
local DECAY = 10
-- The part of each answer in what answers take lately.
local PART = 1 / 16
-- Costs below it are as good as none; and 0 times any number in flight is 0.
local FLOOR = 1e-6


local _Picker = {}
local PICKER = { __index = _Picker }


local function cost_of(self, peer, now)
    local id, times = peer.id, self.times
    local cost, time = self.costs[id] or self.typical, times[id]
    if not time then
        times[id] = now
    elseif now > time then
        cost = cost * exp((time - now) / self.decay)
    end
    if cost < FLOOR then
        cost = FLOOR
    end
    -- What is in flight is relative to the weight, the one to come is not: else
    -- the light ones of an idle app would get nothing.
    return cost * (self.flight.of(peer) * self.mean / peer.weight + 1)
end


-- syntax: peer = picker:pick(skip?, request)
-- `request.now` is the time in seconds.
function _Picker:pick(skip, request)
    local a = draw_one(self, skip)
    if not a then
        return nil
    end
    local b = draw_one(self, skip, a)
    local now = request.now
    if b and cost_of(self, b, now) < cost_of(self, a, now) then
        return b
    end
    return a
end


-- syntax: picker:observe(id, seconds, now)
-- An answer of an instance took `seconds`. A failure that came fast is no
-- answer: it would make the instance a favourite.
function _Picker:observe(id, seconds, now)
    local costs, times = self.costs, self.times
    if not self.known[id] then
        return
    end
    local cost = costs[id]
    if cost then
        local age = now - times[id]
        local old = age > 0 and exp(-age / self.decay) or 1
        local left = cost * old
        cost = seconds > left and seconds or left + seconds * (1 - old)
    else
        cost = seconds
    end
    costs[id], times[id] = cost, now
    self.typical = self.typical == 0 and seconds
                   or self.typical + (seconds - self.typical) * PART
end


local _M = {}


-- syntax: picker = ewma.new(peers, previous, options)
-- As that of round_robin; `options.flight.of(peer)` says how many requests an
-- instance has in flight; `options.decay` is the time constant in seconds.
function _M.new(peers, previous, options)
    local self = draw.new(peers, previous)
    local from = type(previous) == "table" and previous
    local known, costs, times = {}, {}, {}
    for i = 1, self.n do
        local id = self.peers[i].id
        known[id] = true
        if from then
            costs[id], times[id] = from.costs[id], from.times[id]
        end
    end
    self.known, self.costs, self.times = known, costs, times
    self.typical = from and from.typical or 0
    self.mean = self.n > 0 and self.total / self.n or 1
    self.flight = options.flight
    self.decay = options.decay or DECAY
    return setmetatable(self, PICKER)
end


return _M
