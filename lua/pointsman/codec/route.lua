-- A route's record in Redis, judged in full: anyone may have written to that
-- Redis. Pure Lua; see codec.lua.

local address = require("pointsman.codec.address")
local check = require("pointsman.codec.check")
local record = require("pointsman.codec.record")

local find = string.find
local lower = string.lower
local next = next
local pairs = pairs
local type = type

local ACTIONS = { "to", "redirect", "maintenance" }
local MAX_HEADERS = 32
-- How many requests may wait for a paused host.
local MAX_WAITING, MOST_WAITING = 1000, 2 ^ 31
local YEAR = 365 * 24 * 3600

-- What the edge itself sets, so that a rule cannot.
local RESERVED = {
    request = {
        ["connection"] = true, ["upgrade"] = true,
        ["transfer-encoding"] = true, ["content-length"] = true,
        ["te"] = true, ["keep-alive"] = true, ["proxy-connection"] = true,
        ["x-forwarded-for"] = true, ["x-forwarded-host"] = true,
        ["x-forwarded-proto"] = true, ["x-request-id"] = true,
    },
    response = {
        ["content-length"] = true, ["transfer-encoding"] = true,
        ["connection"] = true, ["keep-alive"] = true, ["upgrade"] = true,
        ["x-pointsman-error"] = true,
    },
}


local function boolean(value)
    if type(value) ~= "boolean" then
        return nil
    end
    return value
end


local function deeper(value)
    if value == 1 then
        return true
    end
    if value == 0 then
        return false
    end
    return nil
end


local value_test = check.printable(1024)
local condition_fields = check.object {
    header = check.header, cookie = check.token,
    query = check.text("^[!\"$'()*,-./0-9:;<>@A-Z%[\\%]^_`a-z{|}~]+$", 128),
    method = check.list(check.text("^[A-Z-]+$", 32), 1, 16),
    exact = value_test, prefix = value_test, present = boolean,
}
local condition_of = check.only_one(condition_fields,
                                    { "header", "cookie", "query", "method" })


local function condition(value)
    local out, err = condition_of(value)
    if not out then
        return nil, err
    end
    local tests = (out.exact and 1 or 0) + (out.prefix and 1 or 0)
                  + (out.present ~= nil and 1 or 0)
    if tests ~= (out.method and 0 or 1) then
        return nil, "not the right number of tests"
    end
    return out
end


local function force(value)
    local out, err = condition(value)
    if not out then
        return nil, err
    end
    return (out.header or out.cookie) and out or nil
end


local target = check.object {
    app = check.app, weight = check.weight, force = force,
}
local target_list = check.list(target, 1, 16)


local function targets(value)
    local out, err = target_list(value)
    if not out then
        return nil, err
    end
    local seen, total = {}, 0
    for i = 1, #out do
        local to = out[i]
        if not to.app or seen[to.app] then
            return nil, "no app, or one app twice"
        end
        seen[to.app] = true
        -- A weight means nothing where there is no other target.
        to.weight = to.weight or #out > 1 and 100 or 1
        total = total + to.weight
    end
    if total == 0 then
        return nil, "no weight"
    end
    return out
end


local function edits(reserved, may_remove_host)
    local object = check.object {
        set = function(value)
            return type(value) == "table" and value or nil
        end,
        remove = check.list(check.token, 0, MAX_HEADERS),
    }
    return function(value)
        local out, err = object(value)
        if not out then
            return nil, err
        end
        local seen, n = {}, 0
        local function new(name)
            local key = check.token(name) and lower(name)
            n = n + 1
            if not key or seen[key] or reserved[key] or n > MAX_HEADERS then
                return false
            end
            seen[key] = true
            return true
        end
        for name, text in pairs(out.set or {}) do
            if not new(name) or not value_test(text) then
                return nil, "bad set"
            end
        end
        for _, name in pairs(out.remove or {}) do
            if not new(name) or not may_remove_host
                    and lower(name) == "host" then
                return nil, "bad remove"
            end
        end
        return out
    end
end


local headers = check.object {
    request = edits(RESERVED.request, false),
    response = edits(RESERVED.response, true),
}

local split_by = check.only_one(check.object {
    client = check.yes, header = check.header, cookie = check.token,
}, { "client", "header", "cookie" })

local redirect_fields = check.object {
    status = check.one_of { [301] = true, [302] = true, [307] = true,
                            [308] = true },
    scheme = check.one_of { http = true, https = true },
    host = address.authority, path = check.location_path,
}


local function redirect(value)
    local out, err = redirect_fields(value)
    if not out then
        return nil, err
    end
    if not out.status or not (out.scheme or out.host or out.path) then
        return nil, "no status, or nowhere to go"
    end
    return out
end


local media_type = check.printable(256)

local maintenance = check.object {
    retry_after_s = check.integer(1, YEAR),
    body = function(value)
        return type(value) == "string" and #value <= 4096 and value or nil
    end,
    content_type = function(value)
        return media_type(value) and find(value, "./.") and value or nil
    end,
}

local rule_fields = check.only_one(check.object {
    path = check.path, when = check.list(condition, 1, 16), to = targets,
    redirect = redirect, maintenance = maintenance, rewrite = check.path,
    headers = headers, split_by = split_by,
}, ACTIONS)


local function rule(value)
    local out, err = rule_fields(value)
    if not out then
        return nil, err
    end
    if not out.path then
        return nil, "no path"
    end
    if not out.to and (out.rewrite or out.headers or out.split_by) then
        return nil, "what is for rules with targets"
    end
    return out
end


local pause = check.object { max = check.integer(0, MOST_WAITING) }

local route = check.object {
    rev = check.rev, deeper = deeper, rules = check.list(rule, 1, 64),
    pause = check.optional(pause),
}


-- They are tried in the order in which they stand: the longest path first. A
-- redirect may be passed over (see rules.lua), so it hides no other rule.
local function are_in_order(rules)
    local open = {}
    for i = 1, #rules do
        local path = rules[i].path
        if open[path] or i > 1 and #path > #rules[i - 1].path then
            return false
        end
        open[path] = not rules[i].when and not rules[i].redirect
    end
    return true
end


local function is_plain(rules)
    local first = rules[1]
    local to = first.to
    if #rules > 1 or first.path ~= "/" or not to or #to > 1
            or to[1].force then
        return false
    end
    for field in next, first do
        if field ~= "path" and field ~= "to" then
            return false
        end
    end
    return true
end


local _M = {}


-- syntax: route, err = route.read(json, raw)
function _M.read(json, raw)
    local value, err = record.decode(json, raw, "route")
    if not value then
        return nil, err
    end
    local out
    out, err = route(value)
    if not out then
        return nil, "bad route: " .. err
    end
    if not out.rev or not out.rules then
        return nil, "bad route: no rev or no rules"
    end
    if not are_in_order(out.rules) then
        return nil, "bad route: rules out of order or out of reach"
    end
    if out.pause == false then
        out.pause, out.ignored = nil, "bad pause"
    elseif out.pause then
        out.pause.max = out.pause.max or MAX_WAITING
    end
    out.plain = is_plain(out.rules) and not out.pause
    if not out.plain then
        out.json = record.line(raw)
    end
    return out
end


return _M
