-- Two random choices: of two instances, drawn in the shares of their weights,
-- the one with fewer requests in flight relative to its weight. Pure Lua, all
-- phases. See draw.lua; nginx calls it `random two least_conn`.

local draw = require("pointsman.balance.draw")

local draw_one = draw.one
local setmetatable = setmetatable


local _Picker = {}
local PICKER = { __index = _Picker }


-- syntax: peer = picker:pick(skip?)
-- With nothing in flight the first choice wins: the shares are the weights.
function _Picker:pick(skip)
    local a = draw_one(self, skip)
    if not a then
        return nil
    end
    local b = draw_one(self, skip, a)
    local of = self.flight.of
    if b and of(b) * a.weight < of(a) * b.weight then
        return b
    end
    return a
end


local _M = {}


-- syntax: picker = random.new(peers, previous, options)
-- As that of round_robin; `options.flight.of(peer)` says how many requests an
-- instance has in flight.
function _M.new(peers, previous, options)
    local self = draw.new(peers, previous)
    self.flight = options.flight
    return setmetatable(self, PICKER)
end


return _M
