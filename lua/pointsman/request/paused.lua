-- Requests to a paused host wait until a change of its route ends the pause.
-- For phases that can yield.

local cache = require("pointsman.cache.routes")
local waiting = require("pointsman.request.waiting")

local find = cache.find
local now = ngx.now
local wait = waiting.wait

local timeout = 60


local function is_over(host, has_moved)
    if not has_moved then
        return false
    end
    local target, how = find(host)
    if target or how == "no_route" then
        return not (target and target.pause)
    end
    return nil
end


local _M = {}


-- syntax: paused.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    timeout = settings.pause_timeout
end


-- syntax: deadline = paused.deadline()
-- Of a request that begins to wait now: seconds, of ngx.now's clock.
function _M.deadline()
    return now() + timeout
end


-- syntax: is_over = paused.wait(host, target, deadline)
-- `target` is what cache.find gave, with `pause`. False: the time is over, or
-- too many wait. The hosts of a wildcard share its places, and are looked at
-- each by itself, as another route may come to fit one of them.
function _M.wait(host, target, deadline)
    return wait("paused " .. host, "paused " .. target.pattern,
                target.pause.max, deadline - now(), is_over, host)
end


return _M
