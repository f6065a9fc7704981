-- The balancer phase: the one owner of ngx.balancer. For balancer_by_lua.
--
-- It cannot yield, so it cannot ask Redis. On a miss it declines: the upstream
-- has no other peer, so nginx finalises the request with 502, and error_page
-- leads to a location where Redis is asked. Three things make that safe:
--   * the upstream's only server is `down`, so that no tries are left. With a
--     try left, or in a retry, declining would call the balancer for ever.
--   * $pointsman_why says that it was a miss. A real 502 has no why.
--   * ngx.exit does not end a balancer handler: it must be returned.

local cache = require("pointsman.cache")
local health = require("pointsman.health")
local metrics = require("pointsman.metrics")
local ngx_balancer = require("ngx.balancer")

local counts = metrics.counts
local exit = ngx.exit
local find = cache.find
local get_last_failure = ngx_balancer.get_last_failure
local ngx = ngx
local ngx_log = ngx.log
local now = ngx.now
local set_current_peer = ngx_balancer.set_current_peer
local set_more_tries = ngx_balancer.set_more_tries
local var = ngx.var
local was_tried = health.was_tried

local DECLINED = ngx.DECLINED
local ERROR = ngx.ERROR
local NO_LIVE_PEER = -3     -- NGX_BUSY

-- What the skip functions below look at: a closure for each request would be
-- garbage for each request.
local asides, attempts, time


local function is_aside(peer)
    local till = asides[peer.id]
    return till and till > time
end


local function is_tried(peer)
    return was_tried(attempts, peer.addr)
end


local function is_tried_or_aside(peer)
    return is_tried(peer) or asides and is_aside(peer)
end


-- If all instances are set aside, all are used.
local function pick(app)
    if not app.asides then
        return app.picker:pick()
    end
    asides, time = app.asides, now()
    return app.picker:pick(is_aside) or app.picker:pick()
end


local function send_to(peer)
    local ok, err = set_current_peer(peer.host, peer.port)
    if not ok then
        ngx_log(ngx.ERR, "failed to set the peer ", peer.addr, ": ", err)
        return exit(ERROR)
    end
end


-- An instance that was not tried, if need be one that is set aside. If there is
-- none left, one that was: app.tries has made sure that nginx only comes here
-- then because an idle connection was closed, which it does not count as a try.
local function retry()
    local addrs = var.upstream_addr
    local app = find(var.host) or ngx.ctx.pointsman_app
    if not app then
        return exit(NO_LIVE_PEER)
    end
    health.judge(app, addrs, var.upstream_connect_time)

    asides, time = app.asides, now()
    attempts = health.attempts(addrs)
    local picker = app.picker
    local peer = picker:pick(is_tried_or_aside) or picker:pick(is_tried)
                 or picker:pick()
    if not peer then
        return exit(NO_LIVE_PEER)
    end
    counts.retries = counts.retries + 1
    return send_to(peer)
end


local function decline(app, why)
    if not app then
        app = ngx.ctx.pointsman_app
        local peer = app and pick(app)
        if peer then
            set_more_tries(app.tries)
            return send_to(peer)
        end
    else
        why = "no_instance"
    end
    if why == "no_route" then
        counts.hits_negative = counts.hits_negative + 1
    end
    var.pointsman_why = why
    return exit(DECLINED)
end


local _M = {}


-- syntax: balancer.run()
function _M.run()
    if get_last_failure() then
        return retry()
    end

    local app, how = find(var.host)
    if not app then
        return decline(nil, how)
    end
    local peer = pick(app)
    if not peer then
        return decline(app)
    end
    if how == "l1" then
        counts.hits_l1 = counts.hits_l1 + 1
    else
        counts.hits_l2 = counts.hits_l2 + 1
    end
    set_more_tries(app.tries)
    return send_to(peer)
end


return _M
