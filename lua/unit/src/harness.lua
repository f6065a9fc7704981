-- What a test chunk finds in its globals; called once for each Lua state.

local json, golden = ...


local function show(value)
    if type(value) == "string" then
        return string.format("%q", value)
    end
    if type(value) ~= "table" then
        return tostring(value)
    end
    local parts = {}
    for key, item in pairs(value) do
        parts[#parts + 1] = tostring(key) .. "=" .. show(item)
    end
    table.sort(parts)
    return "{" .. table.concat(parts, ", ") .. "}"
end


local function equal(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for key in pairs(a) do
        if not equal(a[key], b[key]) then
            return false
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false
        end
    end
    return true
end


-- Raises unless `got` equals `want`, tables by content.
local function same(got, want, about)
    if not equal(got, want) then
        error((about or "not the same") .. "\n   got " .. show(got)
              .. "\n  want " .. show(want), 2)
    end
end


-- Raises unless a call returned nil and an error's text.
local function fails(about, value, err)
    if value ~= nil or type(err) ~= "string" or err == "" then
        error(about .. ": accepted as " .. show(value) .. ", "
              .. show(err), 2)
    end
end


_G.json, _G.golden, _G.same, _G.fails = json, golden, same, fails

setmetatable(_G, {
    __newindex = function(_, name)
        error("a new global: " .. tostring(name), 2)
    end,
    __index = function(_, name)
        error("no such global: " .. tostring(name), 2)
    end,
})
