-- A Redis that is named by a URL, whether directly or by Sentinels. For phases
-- that can yield.

local connection = require("pointsman.redis.connection")
local sentinel = require("pointsman.redis.sentinel")

local setmetatable = setmetatable

local _M = {}
local SERVER = { __index = _M }


-- syntax: server = server.new(place, sentinel_login)
-- place = what url.parse returns.
function _M.new(place, sentinel_login)
    return setmetatable({
        place = place,
        sentinels = place.sentinels and sentinel.new(place, sentinel_login),
    }, SERVER)
end


-- syntax: place, err = server:find()
-- Where it is now; the same table as long as it is the same server.
function _M:find()
    if self.sentinels then
        return self.sentinels:master()
    end
    return self.place
end


-- syntax: red, place = server:connect()
-- Nil and an error if that fails.
function _M:connect()
    local place, err = self:find()
    if not place then
        return nil, err
    end
    local red
    red, err = connection.open(place)
    if not red then
        self:forget()
        return nil, err
    end
    return red, place
end


-- syntax: server:forget()
-- It did not answer, or is no master: Sentinels are asked again the next time.
function _M:forget()
    if self.sentinels then
        self.sentinels:forget()
    end
end


return _M
