-- Records: from Redis's JSON to tables, and to and from the cache's text form.
-- Pure Lua, for all phases; the caller hands in the JSON decoder.
--
-- Two forms of a record meet here. What an agent wrote is JSON, and is judged
-- in full: anyone may have written to that Redis, and an address taken from it
-- ends in connect(). What lies in the shared dict is text of our own, with a
-- header line and then a line for each element; a hit reads no JSON.
--
--     r <asof> <v> <rev> <deeper>\n
--       <path>\t<app>=<weight>\t...\n ...
--     a <asof> <v> <name> <rev> <balance> <retries> <fail_timeout_ms>\n
--       <id> <rev> <host> <port> <weight> <zone>\n ...
--     n <asof> <v>\n
--
-- Names hold neither blanks nor control characters, so that the separators
-- cannot occur in them; a zone, the only thing that may be absent, ends a line.

local find = string.find
local floor = math.floor
local format = string.format
local gmatch = string.gmatch
local match = string.match
local sort = table.sort
local sub = string.sub
local concat = table.concat
local tonumber = tonumber
local type = type

local MAX_REV = 2 ^ 53
local MAX_WEIGHT = 65535
local MAX_RETRIES = 16
local MAX_FAIL_TIMEOUT_MS = 3600000
local MAX_APP, MAX_ID, MAX_ZONE = 128, 256, 64
local APP = "^[a-z0-9._-]+$"
local ID = "^[A-Za-z0-9._:-]+$"
local ZONE = "^[!-~]+$"

local BALANCE = { round_robin = true }
local RULE_FIELDS = { path = true, to = true }
local TARGET_FIELDS = { app = true, weight = true }

local DEEPER_JSON = { [1] = true, [0] = false }
local DEEPER_TEXT = { [true] = "1", [false] = "0" }
local DEEPER = { ["1"] = true, ["0"] = false }


local function to_rev(value)
    if type(value) ~= "string" or not find(value, "^[1-9]%d*$") then
        return nil
    end
    local rev = tonumber(value)
    return rev <= MAX_REV and rev or nil
end


local function to_integer(value, max)
    if type(value) ~= "number" or value % 1 ~= 0 or value < 0
            or value > max then
        return nil
    end
    return value
end


local function is_name(value, pattern, max)
    return type(value) == "string" and #value <= max
           and find(value, pattern) ~= nil
end


-- A list of exactly `n` elements, and nothing else.
local function is_list(value, n)
    if type(value) ~= "table" or #value ~= n then
        return false
    end
    local count = 0
    for _ in pairs(value) do
        count = count + 1
    end
    return count == n
end


local function unknown_field(object, known)
    for field in pairs(object) do
        if not known[field] then
            return true
        end
    end
    return false
end


local function decode(json, raw, what)
    if type(raw) ~= "string" then
        return nil, "bad " .. what .. ": not a string"
    end
    local value, err = json(raw)
    if type(value) ~= "table" then
        return nil, "bad " .. what .. ": " .. (err or "not an object")
    end
    return value
end


local function is_decimal(text, max)
    return #text <= 5 and (text == "0" or sub(text, 1, 1) ~= "0")
           and tonumber(text) <= max
end


local function is_ipv4(host)
    local a, b, c, d = match(host, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    return a and is_decimal(a, 255) and is_decimal(b, 255)
           and is_decimal(c, 255) and is_decimal(d, 255)
           and host ~= "0.0.0.0"
end


-- Counts the groups of one side of a "::"; nil if one of them is none.
local function count_groups(text)
    if text == "" then
        return 0
    end
    local n = 0
    for group in gmatch(text .. ":", "([^:]*):") do
        if not find(group, "^[0-9a-f][0-9a-f]?[0-9a-f]?[0-9a-f]?$") then
            return nil
        end
        n = n + 1
    end
    return n
end


-- No dotted tail: an agent writes a mapped address as the IPv4 that it is.
local function is_ipv6(host)
    local at = find(host, "::", 1, true)
    if not at then
        return count_groups(host) == 8
    end
    local left = count_groups(sub(host, 1, at - 1))
    local right = count_groups(sub(host, at + 2))
    return left and right and left + right <= 7 and left + right > 0
end


-- balancer.set_current_peer would take "unix:/path" and look a name up in DNS:
-- only an address literal with a port gets through here.
local function split_addr(addr)
    if type(addr) ~= "string" then
        return nil
    end
    local host, port = match(addr, "^(.+):(%d+)$")
    if not host or not is_decimal(port, 65535) or port == "0" then
        return nil
    end
    local inner = match(host, "^%[(.*)%]$")
    if not (inner and is_ipv6(inner) or not inner and is_ipv4(host)) then
        return nil
    end
    return host, tonumber(port)
end


local function target(value)
    if type(value) ~= "table" or unknown_field(value, TARGET_FIELDS)
            or not is_name(value.app, APP, MAX_APP) then
        return nil
    end
    local weight = 1
    if value.weight ~= nil then
        weight = to_integer(value.weight, MAX_WEIGHT)
    end
    return weight and { app = value.app, weight = weight }
end


-- A field of a rule that we do not know makes the rule mean less than it says
-- (a condition, say), so such a rule is refused rather than read without it.
local function rule(value)
    if type(value) ~= "table" or unknown_field(value, RULE_FIELDS) then
        return nil, "unknown field in a rule"
    end
    if value.path ~= "/" or not is_list(value.to, 1) then
        return nil, "unsupported path or split"
    end
    local to = target(value.to[1])
    if not to then
        return nil, "bad target"
    end
    return { path = "/", to = { to } }
end


local function decimal(number)
    return format("%.0f", number)
end


local function lines(text)
    return gmatch(text, "([^\n]*)\n")
end


local function header(text, pattern)
    if type(text) ~= "string" or sub(text, -1) ~= "\n" then
        return nil
    end
    return match(text, pattern)
end


local _M = {}


-- syntax: route, err = codec.route(json, raw)
-- `json(raw)` returns a value, or nil and an error, as cjson.safe.decode does.
function _M.route(json, raw)
    local value, err = decode(json, raw, "route")
    if not value then
        return nil, err
    end

    local rev = to_rev(value.rev)
    if not rev then
        return nil, "bad route: bad rev"
    end

    local deeper = DEEPER_JSON[value.deeper]
    if deeper == nil and value.deeper ~= nil then
        return nil, "bad route: bad deeper"
    end

    if not is_list(value.rules, 1) then
        return nil, "bad route: not exactly one rule"
    end
    local first
    first, err = rule(value.rules[1])
    if not first then
        return nil, "bad route: " .. err
    end
    return { rev = rev, deeper = deeper, rules = { first } }
end


-- syntax: policy, err = codec.policy(json, raw?)
-- An app that has no record of its own has the default policy.
function _M.policy(json, raw)
    local policy = {
        rev = 0, balance = "round_robin", retries = 1, fail_timeout = 10,
    }
    if raw == nil then
        return policy
    end

    local value, err = decode(json, raw, "app")
    if not value then
        return nil, err
    end

    policy.rev = to_rev(value.rev)
    if not policy.rev then
        return nil, "bad app: bad rev"
    end
    if value.balance ~= nil then
        if not BALANCE[value.balance] then
            return nil, "bad app: unknown balance"
        end
        policy.balance = value.balance
    end
    if value.retries ~= nil then
        policy.retries = to_integer(value.retries, MAX_RETRIES)
        if not policy.retries then
            return nil, "bad app: bad retries"
        end
    end
    if value.fail_timeout_ms ~= nil then
        local ms = to_integer(value.fail_timeout_ms, MAX_FAIL_TIMEOUT_MS)
        if not ms then
            return nil, "bad app: bad fail_timeout_ms"
        end
        policy.fail_timeout = ms / 1000
    end
    return policy
end


-- syntax: peer, err = codec.instance(json, id, raw)
-- An IPv6 host keeps its brackets, as balancer.set_current_peer wants it.
function _M.instance(json, id, raw)
    if not is_name(id, ID, MAX_ID) then
        return nil, "bad instance: bad id"
    end
    local value, err = decode(json, raw, "instance")
    if not value then
        return nil, err
    end

    local rev = to_rev(value[1])
    if not rev then
        return nil, "bad instance: bad rev"
    end
    local host, port = split_addr(value[2])
    if not host then
        return nil, "bad instance: bad address"
    end
    local weight = to_integer(value[3], MAX_WEIGHT)
    if not weight then
        return nil, "bad instance: bad weight"
    end

    local zone
    local extras = value[4]
    if extras ~= nil then
        if type(extras) ~= "table" then
            return nil, "bad instance: bad extras"
        end
        zone = extras.zone
        if zone ~= nil and not is_name(zone, ZONE, MAX_ZONE) then
            return nil, "bad instance: bad zone"
        end
    end

    return {
        id = id, rev = rev, addr = value[2], host = host, port = port,
        weight = weight, zone = zone,
    }
end


-- syntax: peers = codec.sort_peers(peers)
-- The order that pickers and pack_app rely on: by id, bytewise.
function _M.sort_peers(peers)
    sort(peers, function(a, b) return a.id < b.id end)
    return peers
end


-- syntax: text = codec.pack_route(route, asof, v)
function _M.pack_route(route, asof, v)
    local out = {
        format("r %.0f %.0f %.0f %s", asof, v, route.rev,
               DEEPER_TEXT[route.deeper] or "-"),
    }
    for i, entry in ipairs(route.rules) do
        local line = { entry.path }
        for j, to in ipairs(entry.to) do
            line[j + 1] = to.app .. "=" .. decimal(to.weight)
        end
        out[i + 1] = concat(line, "\t")
    end
    out[#out + 1] = ""
    return concat(out, "\n")
end


-- syntax: route, asof, v = codec.unpack_route(text)
-- nil and an error for a text that pack_route did not make.
function _M.unpack_route(text)
    local asof, v, rev, deeper, body =
        header(text, "^r (%d+) (%d+) (%d+) ([01-])\n(.+)$")
    if not asof then
        return nil, "not a packed route"
    end

    local rules = {}
    for line in lines(body) do
        local path, rest = match(line, "^([^\t]+)(\t.+)$")
        if not path then
            return nil, "not a packed route"
        end
        local to = {}
        for app, weight in gmatch(rest, "\t([^\t=]+)=(%d+)") do
            to[#to + 1] = { app = app, weight = tonumber(weight) }
        end
        if #to == 0 then
            return nil, "not a packed route"
        end
        rules[#rules + 1] = { path = path, to = to }
    end

    local route = { rev = tonumber(rev), deeper = DEEPER[deeper],
                    rules = rules }
    return route, tonumber(asof), tonumber(v)
end


-- syntax: text = codec.pack_app(app, asof, v)
-- app = { name =, policy =, peers = { peer, ... } }, the peers sorted by id.
function _M.pack_app(app, asof, v)
    local policy = app.policy
    local out = {
        format("a %.0f %.0f %s %.0f %s %.0f %.0f", asof, v, app.name,
               policy.rev, policy.balance, policy.retries,
               floor(policy.fail_timeout * 1000 + 0.5)),
    }
    for i, peer in ipairs(app.peers) do
        out[i + 1] = format("%s %.0f %s %.0f %.0f %s", peer.id, peer.rev,
                            peer.host, peer.port, peer.weight,
                            peer.zone or "")
    end
    out[#out + 1] = ""
    return concat(out, "\n")
end


-- syntax: app, asof, v = codec.unpack_app(text)
-- nil and an error for a text that pack_app did not make.
function _M.unpack_app(text)
    local asof, v, name, rev, balance, retries, fail_timeout_ms, body =
        header(text, "^a (%d+) (%d+) (%S+) (%d+) (%S+) (%d+) (%d+)\n(.*)$")
    if not asof then
        return nil, "not a packed app"
    end

    local peers = {}
    local n = 0
    for line in lines(body) do
        local id, peer_rev, host, port, weight, zone =
            match(line, "^(%S+) (%d+) (%S+) (%d+) (%d+) (%S*)$")
        if not id then
            return nil, "not a packed app"
        end
        n = n + 1
        peers[n] = {
            id = id, rev = tonumber(peer_rev), addr = host .. ":" .. port,
            host = host, port = tonumber(port), weight = tonumber(weight),
            zone = zone ~= "" and zone or nil,
        }
    end

    local app = {
        name = name,
        policy = {
            rev = tonumber(rev), balance = balance,
            retries = tonumber(retries),
            fail_timeout = tonumber(fail_timeout_ms) / 1000,
        },
        peers = peers,
    }
    return app, tonumber(asof), tonumber(v)
end


-- syntax: text = codec.pack_negative(asof, v)
function _M.pack_negative(asof, v)
    return format("n %.0f %.0f\n", asof, v)
end


-- syntax: asof, v = codec.unpack_negative(text)
-- nil and an error for a text that pack_negative did not make.
function _M.unpack_negative(text)
    local asof, v = header(text, "^n (%d+) (%d+)\n$")
    if not asof then
        return nil, "not a packed negative"
    end
    return tonumber(asof), tonumber(v)
end


return _M
