-- An app's policy: its record in Redis, judged in full. Pure Lua; see
-- codec.lua.

local address = require("pointsman.codec.address")
local check = require("pointsman.codec.check")
local record = require("pointsman.codec.record")

local find = string.find
local gsub = string.gsub
local next = next
local setmetatable = setmetatable
local type = type

local HOUR = 3600000
local MAX_WAITING, MOST_WAITING = 1000, 2 ^ 31
local YEAR = 365 * 24 * HOUR

-- What holds where a policy says nothing.
local DEFAULTS = {
    balance = "round_robin", retries = 1, fail_timeout = 10,
    max_fails = 1, fail_on = { connect = true, timeout = true },
    retry_budget = 20, scheme = "http", buffering = true,
    idle_timeout = 3600,
}
local POLICY = { __index = DEFAULTS }

-- What the balancer phase's shortest way does not look at, and need not.
local IN_PLAIN = {
    rev = true, balance = true, retries = true, fail_timeout_ms = true,
    max_fails = true, fail_on = true, retry_budget = true,
    idle_timeout_ms = true, wake = true,
}


local function boolean(value)
    if value ~= true and value ~= false then
        return nil
    end
    return value
end


local failures = check.list(check.one_of {
    connect = true, timeout = true, ["5xx"] = true,
}, 0, 3)


local function fail_on(value)
    local list = failures(value)
    if not list then
        return nil
    end
    local out = {}
    for i = 1, #list do
        if out[list[i]] then
            return nil
        end
        out[list[i]] = true
    end
    return out
end


local hash_by = check.only_one(check.object {
    client = check.yes, uri = check.yes, header = check.header,
    cookie = check.token,
}, { "client", "uri", "header", "cookie" })

-- A semicolon would end the cookie's attribute.
local function cookie_path(value)
    value = check.location_path(value)
    return value and not find(value, ";", 1, true) and value or nil
end


local sticky_fields = check.object {
    cookie = check.token, with = check.token,
    ttl_ms = check.seconds(1000, YEAR),
    drain = check.one_of { keep = true },
    same_site = check.one_of { lax = true, strict = true, none = true },
    path = cookie_path,
}


local function sticky(value)
    local out, err = sticky_fields(value)
    if not out then
        return nil, err
    end
    out.cookie = out.cookie or "pointsman"
    if out.with == out.cookie then
        return nil, "the edge's own cookie"
    end
    out.ttl, out.ttl_ms = out.ttl_ms, nil
    return out
end


-- Without a user: the slash or question mark ends the host.
local any_url = check.text("^https?://[%w.%-:%[%]]+/[!-~]*$", 2048)


local function url(value)
    return type(value) == "string"
           and any_url((gsub(value, "^(%a+://[^/?]*)", "%1/", 1))) and value
           or nil
end


local wake_fields = check.object {
    url = url,
    timeout = function(value)
        return type(value) == "number" and value >= 1 and value <= 300 and value
               or nil
    end,
    max = check.integer(0, MOST_WAITING),
}


local function wake(value)
    local out = wake_fields(value)
    if not out or not out.url then
        return nil
    end
    out.timeout, out.max = out.timeout or 30, out.max or MAX_WAITING
    return out
end


local policy = check.object {
    rev = check.rev,
    balance = check.one_of {
        round_robin = true, least_conn = true, ewma = true, random = true,
        hash = true,
    },
    hash_by = hash_by,
    retries = check.integer(0, 16),
    retry_5xx = boolean,
    retry_idempotency_key = boolean,
    retry_budget = check.integer(0, 1000),
    deadline_ms = check.seconds(1, HOUR),
    connect_timeout_ms = check.seconds(1, HOUR),
    send_timeout_ms = check.seconds(1, HOUR),
    read_timeout_ms = check.seconds(1, HOUR),
    max_fails = check.integer(1, 1000),
    -- An agent writes 100 or more; 0 ejects nobody.
    fail_timeout_ms = check.seconds(0, HOUR),
    fail_on = fail_on,
    slow_start_ms = check.seconds(1000, HOUR),
    prefer_zone = boolean,
    max_conns = check.integer(1, 65535),
    sticky = sticky,
    pin_header = check.header,
    scheme = check.one_of { http = true, https = true, grpc = true },
    server_name = address.name,
    buffering = boolean,
    idle_timeout_ms = check.seconds(1000, 24 * HOUR),
    wake = check.optional(wake),
}

-- A field of a record, and what it is called here: seconds.
local SECONDS = {
    deadline_ms = "deadline", connect_timeout_ms = "connect_timeout",
    send_timeout_ms = "send_timeout", read_timeout_ms = "read_timeout",
    fail_timeout_ms = "fail_timeout", slow_start_ms = "slow_start",
    idle_timeout_ms = "idle_timeout",
}


-- Two fields that contradict each other, if there are any.
local function contradiction(out)
    if (out.balance == "hash") ~= (out.hash_by ~= nil) then
        return "hash and hash_by"
    end
    if out.buffering == false and out.retry_5xx then
        return "buffering and retry_5xx"
    end
    if out.server_name and out.scheme ~= "https" then
        return "server_name and scheme"
    end
    if out.scheme == "grpc" and (out.retry_5xx or out.retry_idempotency_key
            or out.sticky or out.buffering == false) then
        return "grpc and what it excludes"
    end
    return nil
end


local function has_only(value, fields)
    for field in next, value do
        if not fields[field] then
            return false
        end
    end
    return true
end


local _M = {}


-- syntax: policy, err = policy.read(json, raw?, default_raw?)
-- policy.json is what it was read from, nil for the defaults.
function _M.read(json, raw, default_raw)
    if raw == nil then
        raw = default_raw
    end
    if raw == nil then
        return setmetatable({
            rev = 0, balance = DEFAULTS.balance, retries = DEFAULTS.retries,
            fail_timeout = DEFAULTS.fail_timeout, plain = true,
        }, POLICY)
    end
    local value, err = record.decode(json, raw, "app")
    if not value then
        return nil, err
    end
    local out
    out, err = policy(value)
    if not out then
        return nil, "bad app: " .. err
    end
    if not out.rev then
        return nil, "bad app: no rev"
    end
    err = contradiction(out)
    if err then
        return nil, "bad app: " .. err .. " contradict each other"
    end

    for field, name in next, SECONDS do
        out[name], out[field] = out[field], nil
    end
    if out.wake == false then
        out.wake, out.ignored = nil, "bad wake"
    end
    out.balance = out.balance or DEFAULTS.balance
    out.retries = out.retries or DEFAULTS.retries
    out.fail_timeout = out.fail_timeout or DEFAULTS.fail_timeout
    out.plain = out.balance == DEFAULTS.balance and has_only(value, IN_PLAIN)
    out.json = record.line(raw)
    return setmetatable(out, POLICY)
end


return _M
