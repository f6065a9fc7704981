-- Paths that an app may read in another way than the edge, which matches rules
-- against the decoded and normalised path: a request could get past the rule
-- for /admin to what the app takes for /admin. Pure Lua.

local find = string.find
local gmatch = string.gmatch
local gsub = string.gsub
local match = string.match

local _M = {}


-- syntax: kind = paths.ambiguity(path)
-- Of a path as it came. Nil: there is one way to read it. "encoded": slashes or
-- dot segments are encoded, and the normalised path is not ambiguous. "hidden":
-- backslashes, or dot segments with parameters ("/..;a=b/"), which normalising
-- leaves as they are.
function _M.ambiguity(path)
    if not find(path, "[%%;\\]") then
        return nil
    elseif find(path, "\\", 1, true) or find(path, "%%5[cC]") then
        return "hidden"
    end
    local kind = find(path, "%%2[fF]") and "encoded" or nil
    for segment in gmatch(gsub(path, "%%2[fF]", "/"), "[^/]+") do
        local plain = gsub(segment, "%%2[eE]", ".")
        local name = match(plain, "^[^;]*")
        if (name == "." or name == "..") and name ~= segment then
            if name ~= plain then
                return "hidden"
            end
            kind = "encoded"
        end
    end
    return kind
end


return _M
