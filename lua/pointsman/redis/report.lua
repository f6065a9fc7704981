-- What an edge writes to Redis: its report. For phases that can yield.
--
-- It goes to the Redis that the edge reads from, or to the one that the setting
-- `report` names, over a connection of its own.

local servers = require("pointsman.redis.server")

local ipairs = ipairs
local ngx_null = ngx.null
local setmetatable = setmetatable
local type = type

-- Who is not heard for so long is missing.
local LIFE_MS = 10000

-- ARGV: prefix, name, id. Another nginx of this name keeps its report.
local GOODBYE = [[
local key = ARGV[1] .. 'edge:' .. ARGV[2]
if redis.call('HGET', key, 'id') ~= ARGV[3] then
    return 0
end
redis.call('DEL', key)
redis.call('PUBLISH', ARGV[1] .. 'edges', '-' .. ARGV[2])
return 1
]]

local server, prefix

local _M = {}
local REPORTER = { __index = _M }


-- syntax: report.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    prefix = settings.prefix
    server = servers.new(settings.report or settings.redis,
                         settings.sentinel_login)
end


-- syntax: reporter, err = report.open()
function _M.open()
    local red, err = server:connect()
    if not red then
        return nil, err
    end
    return setmetatable({ red = red }, REPORTER)
end


-- syntax: ok, err = reporter:write(name, fields)
-- fields = a flat list of names and values. Returns true, and the id that the
-- report of before had, if there was one; or nil and the error. After an error
-- it is closed.
function _M:write(name, fields)
    local red, key = self.red, prefix .. "edge:" .. name
    red:init_pipeline(4)
    red:hget(key, "id")
    red:hset(key, unpack(fields))
    red:pexpire(key, LIFE_MS)
    red:publish(prefix .. "edges", name)
    local replies, err = red:commit_pipeline()
    if not replies then
        self:close()
        server:forget()
        return nil, "failed to write: " .. err
    end
    for _, reply in ipairs(replies) do
        if type(reply) == "table" and reply[1] == false then
            self:close()
            server:forget()
            return nil, "Redis refuses: " .. reply[2]
        end
    end
    local id = replies[1]
    return true, id ~= ngx_null and id or nil
end


-- syntax: ok, err = reporter:goodbye(name, id)
function _M:goodbye(name, id)
    local ok, err = self.red:eval(GOODBYE, 0, prefix, name, id)
    if not ok then
        return nil, "failed to say goodbye: " .. err
    end
    return true
end


-- syntax: reporter:close()
function _M:close()
    self.red:close()
end


return _M
