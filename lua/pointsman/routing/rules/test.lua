-- Conditions on a request. Pure Lua; see rules.lua.

local find = string.find
local gmatch = string.gmatch
local sub = string.sub


local function is_exact(value, condition)
    return value == condition.text
end


local function has_prefix(value, condition)
    local text = condition.text
    return sub(value, 1, #text) == text
end


local function fits(element, condition)
    return has_prefix(element, condition)
           and (condition.is_prefix
                or not find(element, "[^ \t]", #condition.text + 1))
end


-- A proxy may send repeated headers as one list (RFC 9110, section 5.3), so
-- each element of a list counts as a value, too.
local function is_in_line(value, condition)
    if fits(value, condition) then
        return true
    elseif find(value, ",", 1, true) then
        for element in gmatch(value, "[^, \t][^,]*") do
            if fits(element, condition) then
                return true
            end
        end
    end
    return false
end


local _M = {}


-- syntax: condition = test.compile(given)
function _M.compile(given)
    if given.method then
        local methods = {}
        for i = 1, #given.method do
            methods[given.method[i]] = true
        end
        return { methods = methods }
    end
    local of = given.header and "header" or given.cookie and "cookie"
               or "query"
    local text = given.exact or given.prefix
    local accept = text and (of == "header" and is_in_line
                             or given.exact and is_exact or has_prefix)
    return {
        of = of, name = given[of], accept = accept, text = text,
        is_prefix = given.prefix ~= nil, wanted = given.present ~= false,
    }
end


-- syntax: yes = test.holds(condition, req)
function _M.holds(condition, req)
    if condition.methods then
        return condition.methods[req.method()] == true
    end
    local value = req[condition.of](condition.name, condition.accept, condition)
    return (value ~= nil) == condition.wanted
end


return _M
