-- The edge's settings: defaults, environment, checks. For init_by_lua and
-- init_worker_by_lua.

local code_cache = require("pointsman.phases.code_cache")
local secrets = require("pointsman.redis.secret")
local url = require("pointsman.redis.url")

local ffi = require("ffi")

local find = string.find
local getenv = os.getenv
local concat = table.concat
local floor = math.floor
local pairs = pairs
local sort = table.sort
local tonumber = tonumber
local type = type

local HUGE = math.huge

ffi.cdef [[
int pointsman_gethostname(char *name, size_t len) __asm__("gethostname");
]]


local function text(value)
    if type(value) ~= "string" then
        return nil, "must be a string"
    end
    return value
end


local function place(value)
    if type(value) ~= "string" then
        return nil, "must be a string"
    end
    return url.parse(value)
end


local function place_or_off(value)
    if value == "off" then
        return value
    end
    return place(value)
end


local function edge_name(value)
    if type(value) ~= "string" or #value > 128
            or not find(value, "^[A-Za-z0-9._][A-Za-z0-9._-]*$") then
        return nil, "must be up to 128 of the characters A-Z a-z 0-9 . _ - and "
                    .. "not begin with -"
    end
    return value
end


local function http_url(value)
    if type(value) ~= "string" or #value > 512
            or not find(value, "^https?://[!-~]+$") then
        return nil, 'must be like "http://10.0.0.1:8082/pointsman/status"'
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


local PRECAUTIONS = { refuse = true, normalise = true, pass = true }


local function precaution(value)
    if not PRECAUTIONS[value] then
        return nil, 'must be "refuse", "normalise" or "pass"'
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
    -- See redis/url.lua.
    redis = { default = "redis://127.0.0.1:6379", check = place },
    -- A file that holds the password, instead of one in `redis`.
    redis_password_file = { check = text },
    -- The name that Redis's certificate must have (rediss://); default: the
    -- host of `redis`.
    redis_tls_name = { check = text },
    -- The password of the Sentinels themselves, or a file that holds it.
    sentinel_password = { check = text },
    sentinel_password_file = { check = text },
    prefix = { default = "pointsman:", check = prefix },
    -- This edge's name, see feed/report.lua; default: the name of the host.
    edge = { check = edge_name },
    -- The primary, if `redis` is a replica that cannot be written to; "off": no
    -- reports.
    report = { check = place_or_off },
    -- Where agents reach this edge's status page.
    status_url = { check = http_url },
    -- Seconds to connect to Redis, and for each of its answers.
    redis_timeout = { default = 1, check = number(0.01, 60) },
    -- Hosts without a cached route that wait for Redis at once in a worker.
    max_misses = { default = 4096, check = number(1, HUGE, true) },
    -- Seconds that a request to a paused host waits, at most.
    pause_timeout = { default = 60, check = number(0.1, 3600) },
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
    -- What becomes of a path that an app may read in another way than the
    -- edge, at a host that has rules for paths; see routing/paths.lua.
    ambiguous_paths = { default = "refuse", check = precaution },
}


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
        value, from = known.default, name
    end
    if value == nil then
        return nil
    end

    local checked, err = known.check(value)
    if checked == nil then
        mistakes[#mistakes + 1] = from .. " " .. err
    end
    return checked
end


-- Completes a login by the password in a file.
local function read_password(login, name, file, mistakes)
    if not file then
        return
    elseif login.password then
        mistakes[#mistakes + 1] = name .. " must not be set beside a password"
        return
    end
    local err
    login.file = file
    login.password, err = secrets.read(file)
    if err then
        mistakes[#mistakes + 1] = name .. " cannot be used (nginx's workers "
                                  .. "read it, too): " .. err
    end
end


local function resolve_edge(resolved, given, mistakes)
    if resolved.edge or given.edge ~= nil or getenv("POINTSMAN_EDGE") then
        return
    end
    local buffer = ffi.new("char[?]", 256)
    ffi.C.pointsman_gethostname(buffer, 255)
    local name = ffi.string(buffer)
    resolved.edge = edge_name(name)
    if not resolved.edge then
        mistakes[#mistakes + 1] = 'edge must be set: the host is called "'
                                  .. name .. '", which cannot be the name of '
                                  .. "an edge"
    end
end


local function resolve_logins(resolved, mistakes)
    local redis, report = resolved.redis, resolved.report
    if not redis then
        return
    end
    read_password(redis.login, "redis_password_file",
                  resolved.redis_password_file, mistakes)
    if redis.login.user and not redis.login.password then
        mistakes[#mistakes + 1] = "redis must have a password for its user, "
                                  .. "or redis_password_file be set"
    end
    redis.tls_name = resolved.redis_tls_name
    if report and report ~= "off" and not report.login.password then
        report.login = redis.login
    end

    local login = { password = resolved.sentinel_password }
    read_password(login, "sentinel_password_file",
                  resolved.sentinel_password_file, mistakes)
    if login.password and not redis.sentinels
            and not (report and report.sentinels) then
        mistakes[#mistakes + 1] = "sentinel_password is only for "
                                  .. "redis+sentinel://"
    end
    resolved.sentinel_login = login
end


local _M = {}


-- syntax: settings, err = settings.resolve(given)
-- What `given` leaves out comes from the environment (nginx hands a variable
-- to its workers only if the main configuration has an `env` line for it),
-- otherwise from the defaults. `err` names all mistakes at once.
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

    resolve_edge(resolved, given, mistakes)
    resolve_logins(resolved, mistakes)
    mistakes[#mistakes + 1] = code_cache.check()

    if #mistakes > 0 then
        sort(mistakes)
        return nil, "bad settings of pointsman: " .. concat(mistakes, "; ")
    end
    return resolved
end


return _M
