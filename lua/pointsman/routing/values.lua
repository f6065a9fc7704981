-- The values of a cookie or query parameter, of which a request may have
-- several. Pure Lua, all phases.
--
-- `accept(value, by)` says whether a value will do; without it, any value does.

local byte = string.byte
local char = string.char
local find = string.find
local gsub = string.gsub
local sub = string.sub
local tonumber = tonumber

local SEMICOLON = byte(";")
local SPACE, TAB = byte(" \t", 1, 2)


-- The first position at or before `at` with no blank.
local function skip_back(text, at)
    local c = byte(text, at)
    while c == SPACE or c == TAB do
        at = at - 1
        c = byte(text, at)
    end
    return at, c
end


local function decode_byte(digits)
    return char(tonumber(digits, 16))
end


-- application/x-www-form-urlencoded: a plus sign is a space.
local function decode(text)
    if not find(text, "[%%+]") then
        return text
    end
    return (gsub(gsub(text, "+", " "), "%%(%x%x)", decode_byte))
end


local _M = {}


-- syntax: yes = values.is_not_empty(value)
-- To be used as `accept`.
function _M.is_not_empty(value)
    return value ~= ""
end


-- syntax: value = values.cookie(text, name, accept?, by?)
-- `text` is the Cookie header. The first value that is accepted; nil if there
-- is none. Names are compared with regard to case (RFC 6265).
function _M.cookie(text, name, accept, by)
    local mark = name .. "="
    local from, to = find(text, mark, 1, true)
    while from do
        local at, before = skip_back(text, from - 1)
        if at < 1 or before == SEMICOLON then
            local stop = find(text, ";", to + 1, true) or #text + 1
            local value = sub(text, to + 1, (skip_back(text, stop - 1)))
            if not accept or accept(value, by) then
                return value
            end
        end
        from, to = find(text, mark, to + 1, true)
    end
    return nil
end


-- syntax: value = values.query(text, name, accept?, by?)
-- `text` is the query string. The first value that is accepted, decoded; nil if
-- there is none. A parameter without a "=" has an empty value.
function _M.query(text, name, accept, by)
    local at, length = 1, #text
    while at <= length do
        local _, name_end, key = find(text, "^([^&=]*)", at)
        local _, stop, value = find(text, "^=?([^&]*)", name_end + 1)
        if decode(key) == name then
            value = decode(value)
            if not accept or accept(value, by) then
                return value
            end
        end
        at = stop + 2
    end
    return nil
end


return _M
