-- Conditions on a request. Pure Lua; see rules.lua.

local sub = string.sub


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
    return {
        of = of, name = given[of], exact = given.exact,
        prefix = given.prefix, present = given.present,
    }
end


-- syntax: yes = test.holds(condition, req)
function _M.holds(condition, req)
    if condition.methods then
        return condition.methods[req.method()] == true
    end
    local value = req[condition.of](condition.name)
    if condition.present ~= nil then
        return (value ~= nil) == condition.present
    end
    if not value then
        return false
    end
    local prefix = condition.prefix
    if prefix then
        return sub(value, 1, #prefix) == prefix
    end
    return value == condition.exact
end


return _M
