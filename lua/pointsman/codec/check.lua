-- What a value in a record may be. Pure Lua, for the codec's parts.
--
-- A check takes a value and returns it as the edge uses it, or nil if it is not
-- one of those that are allowed. Strings that hold what the cache's text form
-- separates by (blanks, tabs, newlines) get through none of them.

local find = string.find
local gmatch = string.gmatch
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
-- A request header that a rule or policy may name: nginx drops all others.
_M.header = _M.text("^[A-Za-z0-9-]+$", 128)
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


-- syntax: check = check.optional(check)
-- Of a field whose record is better used without it than not at all: false for
-- what the check refuses.
function _M.optional(check)
    return function(value)
        return check(value) or false
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


return _M
