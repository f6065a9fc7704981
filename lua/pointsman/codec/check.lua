-- What a value in a record may be. Pure Lua, for the codec's parts.
--
-- A check takes a value and returns it as the edge uses it, or nil if it is not
-- one of those that are allowed. Strings that hold what the cache's text form
-- separates by (blanks, tabs, newlines) get through none of them.

local find = string.find
local gmatch = string.gmatch
local match = string.match
local pairs = pairs
local sub = string.sub
local tonumber = tonumber
local type = type

local MAX_REV = 2 ^ 53
-- RFC 9110's token: names of headers, cookies, methods.
local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"
local PRINTABLE = "^[ -~]+$"
local VISIBLE = "^[!-~]+$"


local _M = {}


-- A revision, as Redis has it: decimal digits.
function _M.rev(value)
    if type(value) ~= "string" or not find(value, "^[1-9]%d*$") then
        return nil
    end
    local rev = tonumber(value)
    return rev <= MAX_REV and rev or nil
end


-- syntax: check = check.integer(least, most)
function _M.integer(least, most)
    return function(value)
        if type(value) ~= "number" or value % 1 ~= 0 or value < least
                or value > most then
            return nil
        end
        return value
    end
end


-- syntax: check = check.seconds(least, most)
-- Of whole milliseconds in a range.
function _M.seconds(least, most)
    local integer = _M.integer(least, most)
    return function(value)
        value = integer(value)
        return value and value / 1000
    end
end


-- syntax: check = check.text(pattern, longest)
function _M.text(pattern, longest)
    return function(value)
        if type(value) ~= "string" or #value > longest
                or not find(value, pattern) then
            return nil
        end
        return value
    end
end


-- syntax: check = check.one_of { value = true, ... }
function _M.one_of(words)
    return function(value)
        return words[value] and value or nil
    end
end


-- A field that is true or not there.
function _M.yes(value)
    return value == true or nil
end


_M.app = _M.text("^[a-z0-9._-]+$", 128)
_M.id = _M.text("^[A-Za-z0-9._:-]+$", 256)
_M.token = _M.text(TOKEN, 128)
_M.zone = _M.text(VISIBLE, 64)
_M.weight = _M.integer(0, 65535)


-- syntax: check = check.printable(longest)
function _M.printable(longest)
    local text = _M.text(PRINTABLE, longest)
    return function(value)
        if not text(value) or find(value, "^ ") or find(value, " $") then
            return nil
        end
        return value
    end
end


-- syntax: check = check.list(check, least, most)
-- Of an array of `least` to `most` elements and nothing else; returns another
-- one of what `check(element)` returned.
function _M.list(check, least, most)
    return function(value)
        if type(value) ~= "table" or #value < least or #value > most then
            return nil
        end
        local count = 0
        for _ in pairs(value) do
            count = count + 1
        end
        if count ~= #value then
            return nil
        end
        local out = {}
        for i = 1, count do
            local item, err = check(value[i])
            if item == nil then
                return nil, err
            end
            out[i] = item
        end
        return out
    end
end


-- syntax: check = check.object { field = check, ... }
-- Fields other than those are refused: a record means what it says in full, or
-- it is not used. Returns the object of what the checks returned.
function _M.object(fields)
    return function(value)
        if type(value) ~= "table" then
            return nil, "not an object"
        end
        local out = {}
        for field, item in pairs(value) do
            local check = fields[field]
            if not check then
                return nil, "unknown field"
            end
            local got, err = check(item)
            if got == nil then
                return nil, "bad " .. field .. (err and ": " .. err or "")
            end
            out[field] = got
        end
        return out
    end
end


-- syntax: check = check.only_one(check, fields)
-- Of an object that has exactly one of the fields.
function _M.only_one(check, fields)
    return function(value)
        local out, err = check(value)
        if not out then
            return nil, err
        end
        local found = 0
        for i = 1, #fields do
            found = found + (out[fields[i]] ~= nil and 1 or 0)
        end
        if found ~= 1 then
            return nil, "not exactly one of its fields"
        end
        return out
    end
end


-- A path, as rules have it: decoded, no slash at its end but for "/".
function _M.path(value)
    if type(value) ~= "string" or #value > 1024
            or not find(value, "^/[!-~]*$") or find(value, "[?#%%]")
            or find(value, "//", 1, true) then
        return nil
    end
    if value ~= "/" and sub(value, -1) == "/" then
        return nil
    end
    for segment in gmatch(value, "[^/]+") do
        if segment == "." or segment == ".." then
            return nil
        end
    end
    return value
end


-- A path as it is sent to a client: percent-encoded where it must be.
function _M.location_path(value)
    if type(value) ~= "string" or #value > 1024
            or not find(value, "^/[!-~]*$") or find(value, "[?#]")
            or find(value, "//", 1, true)
            or find((value:gsub("%%%x%x", "")), "%", 1, true) then
        return nil
    end
    for segment in gmatch(value, "[^/]+") do
        if segment == "." or segment == ".." then
            return nil
        end
    end
    return value
end


local function is_decimal(text, most)
    return #text <= 5 and (text == "0" or sub(text, 1, 1) ~= "0")
           and tonumber(text) <= most
end


local function is_ipv4(host)
    local a, b, c, d = match(host, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    return a and is_decimal(a, 255) and is_decimal(b, 255)
           and is_decimal(c, 255) and is_decimal(d, 255)
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


local function port_of(text)
    return is_decimal(text, 65535) and text ~= "0" and tonumber(text) or nil
end


-- syntax: host, port = check.address(value)
-- balancer.set_current_peer would take "unix:/path" and look a name up in DNS:
-- only an address literal with a port gets through here. An IPv6 host keeps its
-- brackets, as set_current_peer wants it.
function _M.address(value)
    if type(value) ~= "string" then
        return nil
    end
    local host, digits = match(value, "^(.+):(%d+)$")
    local port = host and port_of(digits)
    if not port then
        return nil
    end
    local inner = match(host, "^%[(.*)%]$")
    if inner and is_ipv6(inner)
            or not inner and is_ipv4(host) and host ~= "0.0.0.0" then
        return host, port
    end
    return nil
end


-- A host name in canonical form: no IP literal, no wildcard.
function _M.name(value)
    if type(value) ~= "string" or #value > 253 or value == ""
            or find(value, "%.$") or find(value, "^%.") then
        return nil
    end
    local last
    for label in gmatch(value .. ".", "([^.]*)%.") do
        if #label > 63 or not find(label, "^[a-z0-9][a-z0-9-]*$")
                or sub(label, -1) == "-" then
            return nil
        end
        last = label
    end
    return not find(last, "^%d+$") and value or nil
end


-- A host, or host:port, that a client is sent to.
function _M.authority(value)
    if type(value) ~= "string" then
        return nil
    end
    local host, digits = match(value, "^(.-):(%d+)$")
    if not host or find(host, "^%[") and not find(host, "%]$") then
        host, digits = value, nil
    end
    if digits and not port_of(digits) then
        return nil
    end
    local inner = match(host, "^%[(.*)%]$")
    if inner then
        return is_ipv6(inner) and value or nil
    end
    return (_M.name(host) or is_ipv4(host)) and value or nil
end


return _M
