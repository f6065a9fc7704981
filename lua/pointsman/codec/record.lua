-- What all records have in common. Pure Lua; see codec.lua.

local gsub = string.gsub
local type = type


local _M = {}


-- syntax: value, err = record.decode(json, raw, what)
-- `json(raw)` returns a value, or nil and an error, as cjson.safe.decode does.
function _M.decode(json, raw, what)
    if type(raw) ~= "string" then
        return nil, "bad " .. what .. ": not a string"
    end
    local value, err = json(raw)
    if type(value) ~= "table" then
        return nil, "bad " .. what .. ": " .. (err or "not an object")
    end
    return value
end


-- syntax: line = record.line(raw)
-- JSON on one line. It has control characters between its tokens only.
function _M.line(raw)
    return (gsub(raw, "%c", " "))
end


return _M
