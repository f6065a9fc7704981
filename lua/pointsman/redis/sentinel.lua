-- Which Redis is the master, by what Sentinels say. For phases that can yield.

local connection = require("pointsman.redis.connection")

local find = string.find
local insert = table.insert
local ipairs = ipairs
local ngx_now = ngx.now
local null = ngx.null
local open = connection.open
local remove = table.remove
local setmetatable = setmetatable
local tonumber = tonumber

-- How long an answer holds. A Sentinel answers in less than a millisecond.
local ANSWER_SECONDS = 1
-- When no Sentinel answers, the known master is used for so long: to ask all of
-- them takes one time-out each.
local SILENCE_SECONDS = 30
local IDLE_MS, POOL_SIZE = 60000, 2


local function ask(sentinel, name)
    local red, err = open(sentinel)
    if not red then
        return nil, err
    end
    local reply
    reply, err = red:sentinel("get-master-addr-by-name", name)
    if not reply then
        red:close()
        return nil, "failed to ask for the master: " .. err
    end
    red:set_keepalive(IDLE_MS, POOL_SIZE)
    if reply == null then
        return nil, 'knows no master called "' .. name .. '"'
    end
    return reply
end


local _M = {}
local SENTINELS = { __index = _M }


-- syntax: sentinels = sentinel.new(place, login)
-- place = what url.parse returns; `login` is that at the Sentinels.
function _M.new(place, login)
    local list = {}
    for i, one in ipairs(place.sentinels) do
        list[i] = { host = one.host, port = one.port, db = 0, login = login }
    end
    return setmetatable({
        list = list, name = place.master, db = place.db, login = place.login,
        ask_from = 0,
    }, SENTINELS)
end


-- The first one that knows the master; it is asked first from then on.
function _M:ask()
    local list, last = self.list, nil
    for i, sentinel in ipairs(list) do
        local reply, err = ask(sentinel, self.name)
        if reply then
            insert(list, 1, remove(list, i))
            return reply
        end
        last = sentinel.host .. ":" .. sentinel.port .. " " .. err
    end
    return nil, "no Sentinel names the master; the last one: " .. last
end


-- syntax: place, err = sentinels:master()
-- A place for connection.open; the same table as long as it is the same server.
function _M:master()
    local time = ngx_now()
    local left = self.ask_from - time
    local place = self.place
    -- More can only be left after the clock was set back.
    if place and left > 0 and left <= SILENCE_SECONDS then
        return place
    end

    local reply, err = self:ask()
    if not reply then
        if place and self.ask_from > 0 then
            self.ask_from = ngx_now() + SILENCE_SECONDS
            return place
        end
        return nil, err
    end
    local host, port = reply[1], tonumber(reply[2])
    if find(host, ":", 1, true) then
        host = "[" .. host .. "]"
    end
    self.ask_from = ngx_now() + ANSWER_SECONDS
    if not place or place.host ~= host or place.port ~= port then
        self.place = {
            host = host, port = port, db = self.db, login = self.login,
            is_master = true,
        }
    end
    return self.place
end


-- syntax: sentinels:forget()
-- The master did not answer, or is not one: ask again the next time.
function _M:forget()
    self.ask_from = 0
end


return _M
