-- Conditions on a request. Pure Lua; see rules.lua.

local find = string.find
local gmatch = string.gmatch
local concat = table.concat
local pairs = pairs
local sort = table.sort
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


-- syntax: facts = test.describe(condition, req)
-- { on = what is looked at, is = what it must be, value = what the request has,
-- matches = }
function _M.describe(condition, req)
    local matches = _M.holds(condition, req)
    if condition.methods then
        local names = {}
        for name in pairs(condition.methods) do
            names[#names + 1] = name
        end
        sort(names)
        return { on = "method", is = concat(names, ", "), value = req.method(),
                 matches = matches }
    end
    local of, name, text = condition.of, condition.name, condition.text
    local is = condition.wanted and "present" or "absent"
    if text then
        is = (condition.is_prefix and "prefix " or "exact ") .. text
    end
    return {
        on = of .. " " .. name, is = is, matches = matches,
        value = req[of](name, condition.accept, condition) or req[of](name),
    }
end


return _M
