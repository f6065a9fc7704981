-- The edge's settings: defaults, environment, checks. For init_by_lua and
-- init_worker_by_lua.

local find = string.find
local getenv = os.getenv
local match = string.match
local concat = table.concat
local floor = math.floor
local pairs = pairs
local sort = table.sort
local tonumber = tonumber
local type = type

local HUGE = math.huge


local function text(value)
    if type(value) ~= "string" then
        return nil, "must be a string"
    end
    return value
end


local function prefix(value)
    if type(value) ~= "string" or value == "" or find(value, "[%s%c]") then
        return nil, "must be a string without blanks"
    end
    return value
end


local function zone(value)
    if type(value) ~= "string" or #value > 64
            or not find(value, "^[!-~]+$") then
        return nil, "must be up to 64 visible ASCII characters"
    end
    return value
end


local function secret(value)
    if type(value) ~= "string" or #value < 16 then
        return nil, "must be a string of at least 16 characters"
    end
    return value
end


local function number(min, max, whole)
    return function(value)
        local n = tonumber(value)
        if not n or n ~= n or n < min or n > max
                or whole and n ~= floor(n) then
            return nil, "must be a " .. (whole and "whole " or "")
                        .. "number of at least " .. min
                        .. (max < HUGE and " and at most " .. max or "")
        end
        return n
    end
end


-- Each setting has the environment variable POINTSMAN_<NAME>.
local KNOWN = {
    redis = { default = "redis://127.0.0.1:6379", check = text },
    prefix = { default = "pointsman:", check = prefix },
    -- Seconds to connect to Redis, and for each of its answers.
    redis_timeout = { default = 1, check = number(0.01, 60) },
    -- Idle connections to Redis that a worker keeps for misses.
    redis_pool = { default = 32, check = number(1, 10000, true) },
    -- Hosts without a cached route that wait for Redis at once in a worker.
    max_misses = { default = 4096, check = number(1, HUGE, true) },
    -- Where this edge is; what an app with prefer_zone goes by.
    zone = { check = zone },
    -- What the cookies of sticky sessions are made with. The same for all
    -- edges; default: the registry's epoch.
    secret = { check = secret },
    -- What LuaJIT's collector does at a time, in each worker, for all of its
    -- Lua; 200 is LuaJIT's own default. With less, requests wait less while
    -- garbage is collected, and there is more of it.
    gc_stepmul = { default = 40, check = number(1, 1000, true) },
    -- Hosts that a worker keeps in its own table; never less than 8,000.
    max_hosts = { default = 1048576, check = number(256, HUGE, true) },
}


-- redis://[[user]:password@]host[:port][/db] or unix:/path[?db=n]
local function parse_redis(url)
    local path, query = match(url, "^unix:(/[^?]*)(.*)$")
    if path then
        local db = query == "" and "0" or match(query, "^%?db=(%d+)$")
        if not db then
            return nil, 'must be like "unix:/path" or "unix:/path?db=1"'
        end
        return { path = "unix:" .. path, db = tonumber(db) }
    end

    if find(url, "^rediss:") then
        return nil, "must not ask for TLS, which the edge does not speak"
    end
    local rest = match(url, "^redis://(.+)$")
    if not rest then
        return nil, 'must be like "redis://127.0.0.1:6379" or "unix:/path"'
    end

    local login, place = match(rest, "^(.*)@([^@]*)$")
    local user, password
    if login then
        user, password = match(login, "^([^:]*):(.*)$")
        if not password or password == "" then
            return nil, 'must have a password before the "@"'
        end
    end

    local authority, db = match(place or rest, "^([^/]+)/?(%d*)$")
    if not authority then
        return nil, "must end in a host, a port and a database number"
    end
    local host, port = match(authority, "^(%[[%x:.]+%]):?(%d*)$")
    if not host then
        host, port = match(authority, "^([^:%[%]]+):?(%d*)$")
    end
    port = tonumber(port ~= "" and port or 6379)
    if not host or not port or port < 1 or port > 65535 then
        return nil, "must name a host and a port"
    end

    local function unescape(escaped)
        return escaped and (escaped:gsub("%%(%x%x)", function(hex)
            return string.char(tonumber(hex, 16))
        end))
    end
    return {
        host = host, port = port, db = tonumber(db) or 0,
        user = user ~= "" and unescape(user) or nil,
        password = unescape(password),
    }
end


local function read(name, known, given, mistakes)
    local value, from = given, name
    if value == nil then
        local variable = "POINTSMAN_" .. name:upper()
        value, from = getenv(variable), variable
        if value == "" then
            value = nil
        end
    end
    if value == nil then
        return known.default
    end

    local checked, err = known.check(value)
    if checked == nil then
        mistakes[#mistakes + 1] = from .. " " .. err
    end
    return checked
end


local _M = {}


-- syntax: settings, err = settings.resolve(given)
-- What `given` leaves out comes from the environment (nginx hands a variable
-- to its workers only if the main configuration has an `env` line for it),
-- else from the defaults. `err` names all mistakes at once.
function _M.resolve(given)
    local mistakes, resolved = {}, {}
    for name in pairs(given) do
        if not KNOWN[name] then
            mistakes[#mistakes + 1] = "unknown setting " .. tostring(name)
        end
    end
    for name, known in pairs(KNOWN) do
        resolved[name] = read(name, known, given[name], mistakes)
    end

    if resolved.redis then
        local redis, err = parse_redis(resolved.redis)
        if not redis then
            mistakes[#mistakes + 1] = "redis " .. err
        end
        resolved.redis = redis
    end

    if #mistakes > 0 then
        sort(mistakes)
        return nil, "bad settings of pointsman: " .. concat(mistakes, "; ")
    end
    return resolved
end


return _M
