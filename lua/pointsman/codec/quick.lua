-- Lines of instances straight from their records, where these have the form
-- that nearly all have: an IPv4 address, and no extras but a zone. Pure Lua
-- with LuaJIT's FFI; see lines.lua.
--
-- To decode a record, to judge what is in it and to put that together again
-- makes some twenty strings and tables. This makes one string.

local check = require("pointsman.codec.check")

local found, ffi = pcall(require, "ffi")


local _M = {}


-- syntax: line = quick.line(id, raw)
-- Nil if the record is of another form, or is none: instance.read judges it.
function _M.line()
    return nil
end


if not found then
    return _M
end

-- It declares memcmp and strtoll.
require("pointsman.codec.bytes")

ffi.cdef [[
const char *pointsman_memchr(const char *text, int c, size_t n)
    __asm__("memchr");
size_t pointsman_strspn(const char *text, const char *accepted)
    __asm__("strspn");
int pointsman_inet_pton(int family, const char *text, void *address)
    __asm__("inet_pton");
]]

local C = ffi.C
local byte = string.byte
local cast = ffi.cast
local check_id = check.id
local concat = table.concat
local copy = ffi.copy
local to_string = ffi.string
local tonumber = tonumber
local type = type

local ZERO, ONE, NINE = byte("0"), byte("1"), byte("9")
local QUOTE, COMMA, COLON, BLANK = byte('"'), byte(","), byte(":"), byte(" ")
local OPEN, CLOSE = byte("["), byte("]")
local ZONE, ZONE_END = ',{"zone":"', '"}]'
local AF_INET = 2               -- everywhere
-- Up to MAX_REV all are exact as a number.
local MAX_REV, MAX_NUMBER, MAX_ZONE = 1e15, 65535, 64
local MIN_HOST, MAX_HOST = #"1.1.1.1", #"255.255.255.255"
-- As long as it can be, and an id.
local MAX_RECORD, MAX_ID = 256, 256

-- What a zone may have, and JSON has as it is.
local visible = {}
for char = byte("!"), byte("~") do
    if char ~= QUOTE and char ~= byte("\\") then
        visible[#visible + 1] = string.char(char)
    end
end
visible = concat(visible)

local line = ffi.new("char[?]", MAX_RECORD + MAX_ID)
local host = ffi.new("char[?]", MAX_HOST + 1)
local address = ffi.new("uint32_t[1]")
local number_end = ffi.new("char *[1]")


-- The number at a place, and the place behind it; nil if it is none that an
-- agent writes, or greater.
local function number_at(text, at, least, most)
    local first = text[at]
    if first < least or first > NINE then
        return nil
    end
    local number = tonumber(C.pointsman_strtoll(text + at, number_end, 10))
    local behind = tonumber(number_end[0] - text)
    if number > most or first == ZERO and behind > at + 1 then
        return nil
    end
    return number, behind
end


-- The place behind the IPv4 address at a place.
local function host_end(text, at, size)
    local colon = C.pointsman_memchr(text + at, COLON, size - at)
    if colon == nil then
        return nil
    end
    local length = tonumber(colon - text) - at
    if length < MIN_HOST or length > MAX_HOST then
        return nil
    end
    copy(host, text + at, length)
    host[length] = 0
    if C.pointsman_memchr(host, 0, length) ~= nil
            or C.pointsman_inet_pton(AF_INET, host, address) ~= 1
            or address[0] == 0 then
        return nil
    end
    return at + length
end


-- Where the zone is that begins behind the weight, and its length.
local function zone_at(text, at, size)
    if text[at] == CLOSE and at + 1 == size then
        return at, 0
    end
    local length = size - at - #ZONE - #ZONE_END
    if length < 1 or length > MAX_ZONE
            or C.pointsman_memcmp(text + at, ZONE, #ZONE) ~= 0
            or C.pointsman_memcmp(text + size - #ZONE_END, ZONE_END,
                                  #ZONE_END) ~= 0
            or C.pointsman_strspn(text + at + #ZONE, visible) ~= length then
        return nil
    end
    return at + #ZONE, length
end


local function put(to, from, length)
    copy(line + to, from, length)
    line[to + length] = BLANK
    return to + length + 1
end


function _M.line(id, raw)
    if type(raw) ~= "string" or #raw > MAX_RECORD or not check_id(id) then
        return nil
    end
    local text, size = cast("const char *", raw), #raw
    if size < 2 or text[0] ~= OPEN or text[1] ~= QUOTE then
        return nil
    end
    local rev, rev_end = number_at(text, 2, ONE, MAX_REV)
    if not rev or text[rev_end] ~= QUOTE or text[rev_end + 1] ~= COMMA
            or text[rev_end + 2] ~= QUOTE then
        return nil
    end
    local host_at = rev_end + 3
    local colon = host_end(text, host_at, size)
    local port, port_end
    if colon then
        port, port_end = number_at(text, colon + 1, ONE, MAX_NUMBER)
    end
    if not port or text[port_end] ~= QUOTE or text[port_end + 1] ~= COMMA then
        return nil
    end
    local weight_at = port_end + 2
    local weight, weight_end = number_at(text, weight_at, ZERO, MAX_NUMBER)
    if not weight then
        return nil
    end
    local zone, zone_size = zone_at(text, weight_end, size)
    if not zone then
        return nil
    end

    local at = put(0, id, #id)
    at = put(at, text + 2, rev_end - 2)
    at = put(at, text + host_at, colon - host_at)
    at = put(at, text + colon + 1, port_end - colon - 1)
    at = put(at, text + weight_at, weight_end - weight_at)
    copy(line + at, text + zone, zone_size)
    return to_string(line, at + zone_size)
end


return _M
