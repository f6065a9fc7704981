-- Addresses and host names, in the canonical form that an agent writes. Checks
-- as those of check.lua.

local find = string.find
local gmatch = string.gmatch
local match = string.match
local sub = string.sub
local tonumber = tonumber
local type = type


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


local _M = {}


-- syntax: host, port = address.read(value)
-- balancer.set_current_peer would take "unix:/path" and look a name up in DNS:
-- only an address literal with a port gets through here. An IPv6 host keeps its
-- brackets, as set_current_peer wants it.
function _M.read(value)
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
