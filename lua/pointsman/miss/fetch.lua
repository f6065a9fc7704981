-- The miss path: what Redis has for a host. For phases that can yield.

local cache = require("pointsman.cache.routes")
local fill = require("pointsman.miss.fill")
local lookups = require("pointsman.miss.lookups")
local rules = require("pointsman.routing.rules")

local ipairs = ipairs
local knows = fill.knows
local sleep = ngx.sleep

local MAX_FILLS = 4
-- How long a replica that lags may take to catch up, in seconds.
local CATCH_UP = 0.05


-- Asks until no change arrives in between. Returns the last answer even if one
-- did each time; or nil and the reason.
local function ask(look_up, name)
    local found, reason
    for _ = 1, MAX_FILLS do
        found, reason = look_up(name)
        if found then
            if not found.again then
                break
            end
        elseif reason ~= "behind" then
            return nil, reason
        else
            sleep(CATCH_UP)
        end
    end
    return found, "unavailable"
end


-- The apps of a route: those that came along with it, and the others, which are
-- looked up; or nil and the reason.
local function apps_of(found)
    local apps = {}
    for i, name in ipairs(rules.apps(found.route.rules)) do
        local app = found.apps[name]
        if not app then
            local its, reason = ask(lookups.app, name)
            if not its then
                return nil, reason
            end
            app = its.app
        end
        apps[i] = app
    end
    return apps
end


local _M = {}


-- syntax: miss.init(settings)
-- In init_worker_by_lua.
_M.init = lookups.init


-- syntax: app, reason = miss.fetch(host)
-- What cache.find gives, or nil and a reason: "no_route", "unavailable",
-- "busy".
function _M.fetch(host)
    local found, reason, apps
    for _ = 1, MAX_FILLS do
        found, reason = ask(lookups.host, host)
        if not found then
            return nil, reason
        elseif not found.route then
            return nil, "no_route"
        end
        local app = cache.find(host)
        if app then
            return app
        end

        -- An app is missing, because it has many instances or has just changed;
        -- or nothing of this may be cached.
        apps, reason = apps_of(found)
        if not apps then
            return nil, reason
        end
        app = cache.find(host)
        if app then
            return app
        elseif not found.keep or knows(found.pattern) then
            break
        end
        -- The route was deleted while its apps were looked up.
    end
    return cache.transient(found.route, found.pattern, apps)
end


return _M
