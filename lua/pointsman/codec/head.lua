-- What the cache's texts of apps begin with: whose it is, of when, and the
-- policy. Pure Lua; see codec.lua.
--
--     <kind> <asof> <v> <name> <rev> <balance> <retries> <fail_timeout_ms>\n
--     <JSON>\n                of a policy that has other fields than those

local bytes = require("pointsman.codec.bytes")
local policies = require("pointsman.codec.policy")

local byte = string.byte
local find = string.find
local floor = math.floor
local format = string.format
local match = string.match
local read_number = bytes.number
local same_bytes = bytes.same
local sub = string.sub
local tonumber = tonumber
local type = type

local BRACE = byte("{")
local NEWLINE = byte("\n")

local HEAD = "^(%l) (%d+) (%d+)() (%S+) (%d+) (%S+) (%d+) (%d+)\n()"


-- Of policies that need no JSON.
local function is_same(a, b)
    return not b.json and a.rev == b.rev and a.balance == b.balance
           and a.retries == b.retries and a.fail_timeout == b.fail_timeout
end


local function read_json(json, line, before)
    if not json then
        return nil, "no decoder for this app"
    end
    if before and before.json == line then
        return before
    end
    return policies.read(json, line)
end


local function plain(before, ...)
    local policy = policies.new(...)
    return before and is_same(policy, before) and before or policy
end


local _M = {}


-- syntax: yes = head.ends_well(text)
-- As all texts of the cache do.
local function ends_well(text)
    return type(text) == "string" and byte(text, -1) == NEWLINE
end
_M.ends_well = ends_well


-- syntax: text = head.of(kind, name, policy, asof, v)
function _M.of(kind, name, policy, asof, v)
    local text = format("%s %.0f %.0f %s %.0f %s %.0f %.0f\n", kind, asof, v,
                        name, policy.rev, policy.balance, policy.retries,
                        floor(policy.fail_timeout * 1000 + 0.5))
    if policy.json then
        return text .. policy.json .. "\n"
    end
    return text
end


-- syntax: head, err = head.read(text, kind, json, before?)
-- head = { name =, policy =, asof =, v =, rest = the place behind these two,
-- at = the place behind it all }. The policy is the one before, if it is the
-- same.
function _M.read(text, kind, json, before)
    local its_kind, asof, v, rest, name, rev, balance, retries,
          fail_timeout_ms, at
    if ends_well(text) then
        its_kind, asof, v, rest, name, rev, balance, retries, fail_timeout_ms,
            at = match(text, HEAD)
    end
    if its_kind ~= kind then
        return nil, "not a packed app"
    end

    local policy, err
    if byte(text, at) == BRACE then
        local stop = find(text, "\n", at, true)
        policy, err = read_json(json, sub(text, at, stop - 1), before)
        if not policy then
            return nil, err
        end
        at = stop + 1
    else
        policy = plain(before, tonumber(rev), balance, tonumber(retries),
                       tonumber(fail_timeout_ms) / 1000)
    end
    return { name = name, policy = policy, asof = tonumber(asof),
             v = tonumber(v), rest = rest, at = at }
end


-- syntax: asof, v, rest, at = head.again(text, kind, old, old_rest, old_at)
-- The same of a text whose head differs from that of `old` in the stamps at
-- most; else nil.
function _M.again(text, kind, old, old_rest, old_at)
    local size = old_at - old_rest
    if not ends_well(text) or byte(text) ~= byte(kind) then
        return nil
    end
    local asof, behind = read_number(text, #"a 1")
    local v, rest = read_number(text, behind + 1)
    if rest + size <= #text + 1
            and same_bytes(text, rest, old, old_rest, size)
            and byte(text, rest + size) ~= BRACE then
        return asof, v, rest, rest + size
    end
end


-- syntax: front, kept, from = head.renew(text, kind, policy?, asof, v)
-- A text's head with other stamps and, if one is given, another policy: it is
-- `front`, and what stands from `kept` on up to `from`, where the head ends.
-- Nil if the text has no such head.
function _M.renew(text, kind, policy, asof, v)
    if not ends_well(text) or byte(text) ~= byte(kind) then
        return nil
    end
    local kept = find(text, " ", #"a 1", true)
    kept = kept and find(text, " ", kept + 1, true)
    local from = kept and find(text, "\n", kept, true)
    if not from then
        return nil
    end
    from = from + 1
    if byte(text, from) == BRACE then
        from = find(text, "\n", from, true) + 1
    end
    if policy then
        local name = match(text, "^ (%S+)", kept)
        return _M.of(kind, name, policy, asof, v), from, from
    end
    return format("%s %.0f %.0f", kind, asof, v), kept, from
end


return _M
