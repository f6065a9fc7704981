-- Which route a host belongs to: the patterns that fit it, most specific
-- first, and the choice among what is known of them. Pure Lua, all phases.

local byte = string.byte
local find = string.find
local sub = string.sub

local BRACKET = byte("[")
-- The longest host name. A longer Host header fits no pattern but `*`, and
-- must not cost a look-up for each of its thousands of labels.
local MAX_HOST = 253


local _M = {}


-- syntax: patterns = match.candidates(host)
-- `host` as nginx's $host gives it: lower case, no port, no trailing dot.
-- An array: the host, `*.parent` for each parent from the longest, then `*`.
function _M.candidates(host)
    if host == "" or host == "*" or #host > MAX_HOST then
        return { "*" }
    end
    -- An IP literal has no parents; no host name ends in an all-digit label.
    if byte(host) == BRACKET or find(host, "^%d+$")
            or find(host, "%.%d+$") then
        return { host, "*" }
    end

    local patterns = { host }
    local n = 1
    local dot = find(host, ".", 1, true)
    while dot do
        n = n + 1
        patterns[n] = "*" .. sub(host, dot)
        dot = find(host, ".", dot + 1, true)
    end
    patterns[n + 1] = "*"
    return patterns
end


-- syntax: record, pattern = match.resolve(patterns, lookup)
-- `lookup(pattern)` returns a record, false (known to be absent) or nil (not
-- known). Returns the record and its pattern, false (no route), or nil (the
-- table must be asked).
--
-- A wildcard with nothing beneath it (`deeper` false) answers for the patterns
-- beneath it, known or not: so random subdomains cost no look-up.
function _M.resolve(patterns, lookup)
    local unknown = false
    for i = 1, #patterns do
        local pattern = patterns[i]
        local record = lookup(pattern)
        if record then
            if unknown and record.deeper ~= false then
                return nil
            end
            return record, pattern
        end
        if record == nil then
            unknown = true
        end
    end
    if unknown then
        return nil
    end
    return false
end


return _M
