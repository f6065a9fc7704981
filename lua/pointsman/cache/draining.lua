-- Which instances are draining, by what this edge has applied, whether their
-- apps are cached or not. The feed's worker has the list; all workers may read
-- its text in the state dict. All phases; nothing here yields.
--
-- What was draining before the feed began, or since a gap in the stream, is on
-- the list only if it has requests in flight here: see feed/drains.lua.

local dicts = require("pointsman.cache.dicts")

local concat = table.concat
local dict_get = dicts.get
local find = string.find
local gmatch = string.gmatch
local ipairs = ipairs
local match = string.match
local pairs = pairs

-- Lines of "<app>/<id> <addr>", each with a line end before it and after it.
local NAME = "draining"

-- "<app>/<id>" -> address
local list = {}
local has_changed = false


local _M = {}


-- syntax: draining.load()
-- When a worker becomes the feed's: what the one before has left.
function _M.load()
    list = {}
    for name, addr in gmatch(dict_get(NAME) or "", "(%S+) (%S+)\n") do
        list[name] = addr
    end
end


-- syntax: draining.set(app_name, id, addr?)
-- The instance is draining at this address; nil: it is not, or is gone.
function _M.set(app, id, addr)
    local name = app .. "/" .. id
    if list[name] ~= addr then
        list[name], has_changed = addr, true
    end
end


-- syntax: draining.replace(app_names, found)
-- What is known of these apps is what `found` has, in the form of the list.
function _M.replace(app_names, found)
    local apps = {}
    for _, name in ipairs(app_names) do
        apps[name] = true
    end
    for name in pairs(list) do
        if apps[match(name, "^[^/]*")] and not found[name] then
            list[name], has_changed = nil, true
        end
    end
    for name, addr in pairs(found) do
        if list[name] ~= addr then
            list[name], has_changed = addr, true
        end
    end
end


-- syntax: draining.show()
-- Shows the other workers what has changed. Before the version counters move.
function _M.show()
    if not has_changed then
        return
    end
    has_changed = false
    local lines, n = { "\n" }, 1
    for name, addr in pairs(list) do
        n = n + 1
        lines[n] = name .. " " .. addr .. "\n"
    end
    dicts.set(NAME, n > 1 and concat(lines) or nil)
end


-- syntax: list = draining.all()
-- "<app>/<id>" -> address. In the feed's worker; to be read only.
function _M.all()
    return list
end


-- syntax: yes = draining.has(app_name, peer)
-- In any worker. Slow: for apps that cannot be brought up to date.
function _M.has(app, peer)
    local line = "\n" .. app .. "/" .. peer.id .. " " .. peer.addr .. "\n"
    return find(dict_get(NAME) or "", line, 1, true) ~= nil
end


return _M
