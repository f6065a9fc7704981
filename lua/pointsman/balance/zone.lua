-- Zone preference: instances of the edge's own zone as long as one of them can
-- be used, the others else. Pure Lua, all phases. Goes around any picker.

local setmetatable = setmetatable
local type = type


local _Picker = {}
local PICKER = { __index = _Picker }


-- syntax: peer = picker:pick(skip?, request?)
function _Picker:pick(skip, request)
    return self.near:pick(skip, request) or self.far:pick(skip, request)
end


-- syntax: picker:observe(id, seconds, now)
function _Picker:observe(id, seconds, now)
    local picker = self.is_near[id] and self.near or self.far
    if picker.observe then
        picker:observe(id, seconds, now)
    end
end


local _M = {}


-- syntax: picker = zone.new(make, peers, previous, options)
-- `make(peers, previous, options)` makes the two pickers inside, `options.zone`
-- is the edge's own zone.
function _M.new(make, peers, previous, options)
    local from = type(previous) == "table" and previous
    local near, far, is_near = {}, {}, {}
    for i = 1, #peers do
        local peer = peers[i]
        if peer.zone == options.zone then
            near[#near + 1], is_near[peer.id] = peer, true
        else
            far[#far + 1] = peer
        end
    end
    return setmetatable({
        is_near = is_near,
        near = make(near, from and from.near or previous, options),
        far = make(far, from and from.far or previous, options),
    }, PICKER)
end


return _M
