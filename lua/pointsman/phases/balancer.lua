-- The balancer phase: the one owner of ngx.balancer. For balancer_by_lua.
--
-- It cannot yield, so it cannot ask Redis. On a miss it declines: the upstream
-- has no other peer, so nginx finalises the request with 502, and error_page
-- leads to a location where Redis is asked. Three things make that safe:
--   * the upstream's only server is `down`, so that no tries are left. With a
--     try left, or in a retry, declining would call the balancer for ever.
--   * $pointsman_why says that it was a miss. A real 502 has no why.
--   * ngx.exit does not end a balancer handler: it must be returned.

local budget = require("pointsman.balance.budget")
local cache = require("pointsman.cache.routes")
local health = require("pointsman.health.ejection")
local lane = require("pointsman.request.lane")
local metrics = require("pointsman.metrics")
local refresh = require("pointsman.miss.refresh")
local request = require("pointsman.request.host")
local seats = require("pointsman.request.seats")

local ngx_balancer = require("ngx.balancer")

local counts = metrics.counts
local exit = ngx.exit
local find_at = cache.find_at
local get_seat = seats.get
local get_last_failure = ngx_balancer.get_last_failure
local host = request.host
local is_aside = health.is_aside
local ngx = ngx
local ngx_log = ngx.log
local now = ngx.now
local picked = health.picked
local set_current_peer = ngx_balancer.set_current_peer
local set_more_tries = ngx_balancer.set_more_tries
local set_timeouts = ngx_balancer.set_timeouts
local var = ngx.var
local was_tried = health.was_tried

local DECLINED = ngx.DECLINED
local ERROR = ngx.ERROR
local NO_LIVE_PEER = -3     -- NGX_BUSY

-- What the skip functions below look at: a closure for each request would be
-- garbage for each request.
local asides, attempts, time


local function skip_aside(peer)
    return is_aside(asides, peer, time)
end


local function skip_tried(peer)
    return was_tried(attempts, peer.addr)
end


local function skip_both(peer)
    return skip_tried(peer) or asides and skip_aside(peer)
end


local function decline(why)
    var.pointsman_why = why
    return exit(DECLINED)
end


-- If all instances are set aside, all are used.
local function pick(app)
    if not app.asides then
        return app.picker:pick()
    end
    asides, time = app.asides, now()
    local peer = app.picker:pick(skip_aside) or app.picker:pick()
    if peer then
        picked(app, peer)
    end
    return peer
end


local function send_to(peer)
    local ok, err = set_current_peer(peer.host, peer.port)
    if not ok then
        ngx_log(ngx.ERR, "failed to set the peer ", peer.addr, ": ", err)
        return exit(ERROR)
    end
end


local function send_seat(seat)
    local connect, send, read = lane.timeouts(seat)
    if connect or send or read then
        local ok, err = set_timeouts(connect, send, read)
        if not ok then
            ngx_log(ngx.ERR, "failed to set time-outs: ", err)
        end
    end
    return send_to(seat.peer)
end


-- A request whose rule or app asks for more than the next instance of a round.
-- It may have been decided on already, in another location. `found` is nil if
-- all that is known of the host is in the seat.
local function run_lane(found)
    local seat = get_seat()
    if seat and seat.is_fresh and seat.peer then
        seat.is_fresh = false
        local why = lane.refresh(seat)
        if why then
            return decline(why)
        end
    elseif found then
        local why
        seat, why = lane.begin(found)
        if not seat then
            return decline(why)
        end
    else
        return decline("miss")
    end
    set_more_tries(seat.tries)
    return send_seat(seat)
end


-- An instance that was not tried, if need be one that is set aside. If there is
-- none left, one that was: app.tries has made sure that nginx only comes here
-- then because an idle connection was closed, which it does not count as a try.
local function retry()
    local addrs = var.upstream_addr
    local seat = get_seat()
    if seat then
        health.judge(seat.app, seat.cut)
        if not lane.again(seat, health.attempts(addrs)) then
            return exit(NO_LIVE_PEER)
        end
        counts.retries = counts.retries + 1
        return send_seat(seat)
    end

    local app, how = find_at(host())
    if how == "miss" then
        app = ngx.ctx.pointsman_app
    end
    if not app or app.lane then
        -- The route or the policy has changed meanwhile.
        return exit(NO_LIVE_PEER)
    end
    health.judge(app)
    attempts, time = health.attempts(addrs), now()
    -- nginx does not count a try when an idle connection was closed. That is
    -- seen when it comes more often than it may; such a retry is free.
    if health.count(attempts) < app.tries and not budget.allows(app, time) then
        return exit(NO_LIVE_PEER)
    end

    asides = app.asides
    -- A pick may have put another picker there.
    local peer = app.picker:pick(skip_both) or app.picker:pick(skip_tried)
                 or app.picker:pick()
    if not peer then
        return exit(NO_LIVE_PEER)
    end
    counts.retries = counts.retries + 1
    return send_to(peer)
end


-- The access phase hands on what it has found: it may not be cached, or not any
-- more.
local function miss(how)
    local ctx = ngx.ctx
    local app = ctx.pointsman_app or how == "miss" and ctx.pointsman_found
    if not app and how ~= "miss" then
        counts.hits_negative = counts.hits_negative + 1
        return decline(how)
    elseif not app or app.lane then
        return run_lane(app)
    end
    local peer = pick(app)
    if not peer then
        return decline("no_instance")
    end
    app.requests = app.requests + 1
    set_more_tries(app.tries)
    return send_to(peer)
end


local _M = {}


-- syntax: balancer.run()
function _M.run()
    if get_last_failure() then
        return retry()
    end

    local app, how = find_at(host())
    if not app then
        return miss(how)
    elseif how == "doubt" then
        refresh.ask(var.host)
    end
    if app.lane then
        return run_lane(app)
    end
    local peer = pick(app)
    if not peer then
        return decline("no_instance")
    end
    app.requests = app.requests + 1
    if how == "l1" then
        counts.hits_l1 = counts.hits_l1 + 1
    else
        counts.hits_l2 = counts.hits_l2 + 1
    end
    set_more_tries(app.tries)
    return send_to(peer)
end


return _M
