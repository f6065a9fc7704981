-- Revalidates hosts whose cached records are stale, while requests go on with
-- these records. All phases; nothing here yields.

local fill = require("pointsman.miss.fill")
local lookups = require("pointsman.miss.lookups")
local rules = require("pointsman.routing.rules")

local has_app = fill.has_app
local ipairs = ipairs
local queue_app = lookups.queue_app
local queue_host = lookups.queue_host


-- The apps that did not come along with the host.
local function queue_apps(found)
    if not found.route or not found.keep then
        return
    end
    for _, name in ipairs(rules.apps(found.route.rules)) do
        if not has_app(name) then
            queue_app(name)
        end
    end
end


local _M = {}


-- syntax: refresh.ask(host)
function _M.ask(host)
    return queue_host(host, queue_apps)
end


return _M
