-- Which route a host belongs to: the patterns that fit it, most specific
-- first, and the choice among what is known of them. Pure Lua, all phases.

local byte = string.byte
local find = string.find
local gsub = string.gsub
local sub = string.sub

local BRACKET, DOT = byte("["), byte(".")
-- The longest host name.
local MAX_HOST = 253
-- So many parents of a host may be bound as wildcards, the shortest ones (see
-- agent/model/src/host.rs): what a client makes up costs no more than a dozen
-- patterns.
local MAX_PARENTS = 10


local _M = {}


-- syntax: yes = match.is_host(host)
-- Whether `host`, as nginx's $host gives it, can be the name of anything: nginx
-- lets pass what the Host header must not have, like "user@a.test" and ".a".
-- The empty name is that of a request without a Host header.
function _M.is_host(host)
    if byte(host) == BRACKET then
        return find(host, "^%[[%x:.]+%]$") ~= nil
    end
    return #host <= MAX_HOST and not find(host, "[^a-z0-9_.-]")
           and not find(host, "..", 1, true) and byte(host) ~= DOT
end


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

    local _, n_parents = gsub(host, "%.", "")
    local patterns, n = { host }, 1
    local dot = 0
    for i = 1, n_parents do
        dot = find(host, ".", dot + 1, true)
        if i > n_parents - MAX_PARENTS then
            n = n + 1
            patterns[n] = "*" .. sub(host, dot)
        end
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
