-- Runs inside Redis (EVAL): writes what an agent would write for one batch,
-- records and stream entry alike. Perl and Lua both call it.
--
-- ARGV: prefix, port of the test's instances, kind, text. Kinds:
--   batch   the next revision
--   repair  changes at the revision that is there already
--   reset   an entry that says: anything may have changed
--   lost    a batch whose entry never reaches the stream (as if trimmed)
-- Each line of the text is one change:
--   route <host> <app> [deeper=0|1] [pause=<max>]
--   app <app> [<field>=<number> ...]
--   rules <host> <the rules as JSON>
--   record <host> <a route's record as JSON, without its revision>
--   policy <app> <the policy as JSON, without its revision>; app `*`: defaults
--   inst <app> <id> <address | @name> [weight=<n>] [zone=<zone>] [draining=1]
--                                     [down=1]
--   del route <host> | del app <app> | del inst <app> <id>
-- @port in an address is that of the test's instances; @a, @b, … are instances
-- that the test's nginx plays (see app.lua); nothing listens at @refused.
-- luacheck: globals redis cjson ARGV

local prefix, port, kind, text = unpack(ARGV)
local meta = prefix .. "meta"

local HOSTS = {
    a = "127.0.0.2", b = "127.0.0.3", c = "127.0.0.4", closing = "127.0.0.5",
    resetting = "127.0.0.6", hanging = "127.0.0.7", stale = "127.0.0.8",
}

if redis.call("EXISTS", meta) == 0 then
    local now = redis.call("TIME")
    redis.call("HSET", meta, "format", "1", "epoch",
               string.format("e%d-%d", now[1], now[2]), "rev", "1000",
               "state", "ready", "claim", "0", "next", "0")
end

local from = tonumber(redis.call("HGET", meta, "rev"))
local to = (kind == "batch" or kind == "lost") and from + 1 or from
local rev = string.format("%.0f", to)
local changes = {}


local function set(key, value)
    changes[#changes + 1] = { key, value }
    if value == cjson.null then
        redis.call("DEL", prefix .. key)
    else
        redis.call("SET", prefix .. key, value)
    end
end


local function set_field(key, field, value)
    changes[#changes + 1] = { key, field, value }
    if value == cjson.null then
        redis.call("HDEL", prefix .. key, field)
    else
        redis.call("HSET", prefix .. key, field, value)
    end
end


local function address(name)
    if name == "@refused" then
        return "127.0.0.1:1"
    end
    local id = string.match(name, "^@(.+)$")
    if id then
        return HOSTS[id] .. ":" .. port
    end
    return (string.gsub(name, "@port", port))
end


local function change(words)
    local what, name, third, fourth = unpack(words)
    local fields = {}
    for i = 3, #words do
        local field, value = string.match(words[i], "^([%l_]+)=(.+)$")
        if field then
            fields[field] = value
        end
    end

    if what == "route" then
        local deeper = fields.deeper and '"deeper":' .. fields.deeper .. ","
                       or ""
        local pause = fields.pause
                      and ',"pause":{"max":' .. fields.pause .. "}" or ""
        set("route:" .. name, string.format(
            '{"rev":"%s",%s"rules":[{"path":"/","to":[{"app":"%s"}]}]%s}',
            rev, deeper, third, pause))
    elseif what == "app" then
        local parts = { string.format('"rev":"%s"', rev) }
        for field, value in pairs(fields) do
            parts[#parts + 1] = string.format('"%s":%s', field,
                tonumber(value) and value or '"' .. value .. '"')
        end
        set("app:" .. name, "{" .. table.concat(parts, ",") .. "}")
    elseif what == "inst" then
        local more = {}
        if fields.zone then
            more[1] = '"zone":"' .. fields.zone .. '"'
        end
        for _, flag in ipairs { "draining", "down" } do
            if fields[flag] then
                more[#more + 1] = '"' .. flag .. '":' .. fields[flag]
            end
        end
        local extras = #more > 0 and ",{" .. table.concat(more, ",") .. "}"
                       or ""
        set_field("inst:" .. name, third, string.format(
            '["%s","%s",%s%s]', rev, address(fourth), fields.weight or "100",
            extras))
    elseif what == "del" and name == "inst" then
        set_field("inst:" .. third, fourth, cjson.null)
    elseif what == "del" then
        set(name .. ":" .. third, cjson.null)
    else
        error("no such change: " .. table.concat(words, " "))
    end
end


local function change_json(what, name, json)
    if what == "rules" then
        set("route:" .. name,
            string.format('{"rev":"%s","rules":%s}', rev, json))
    else
        set((what == "record" and "route:" or "app:") .. name,
            (string.gsub(json, "^{", '{"rev":"' .. rev .. '",', 1)
                   :gsub(",}$", "}")))
    end
end


for line in string.gmatch(text, "[^\n]+") do
    local words = {}
    local what, name, json = string.match(line, "^%s*(%l+) (%S+) ([%[{].*)$")
    if json then
        change_json(what, name, json)
        line = ""
    end
    for word in string.gmatch(line, "%S+") do
        words[#words + 1] = word
    end
    if #words > 0 then
        change(words)
    end
end

if kind ~= "lost" then
    local lines = {}
    for i = 1, kind == "reset" and 0 or #changes do
        lines[i] = cjson.encode(changes[i])
    end
    local json = "[" .. table.concat(lines, ",\n") .. "]"
    redis.call("XADD", prefix .. "changes", rev .. "-*",
               "epoch", redis.call("HGET", meta, "epoch"),
               "from", string.format("%.0f", from),
               "kind", kind, "changes", json)
end
redis.call("HSET", meta, "rev", rev)
return rev
