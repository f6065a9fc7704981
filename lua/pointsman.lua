-- Pointsman's edge: one function for each phase of nginx. See nginx/*.conf for
-- where each one is called.

local balancer = require("pointsman.phases.balancer")
local board = require("pointsman.cache.versions")
local cache = require("pointsman.cache.routes")
local dicts = require("pointsman.cache.dicts")
local feed = require("pointsman.feed.follow")
local flight = require("pointsman.request.in_flight")
local full = require("pointsman.phases.full")
local health = require("pointsman.health.ejection")
local lane = require("pointsman.request.lane")
local listeners = require("pointsman.feed.listeners")
local metrics = require("pointsman.metrics")
local miss = require("pointsman.miss.fetch")
local redis = require("pointsman.redis.client")
local respond = require("pointsman.request.respond")
local seats = require("pointsman.request.seats")
local settings = require("pointsman.settings")
local sticky = require("pointsman.request.sticky")
local status = require("pointsman.phases.status")

local collectgarbage = collectgarbage
local counts = metrics.counts
local error = error
local find = cache.find
local get_seat = seats.get
local ngx = ngx
local statuses = metrics.statuses
local type = type
local var = ngx.var
local watched = metrics.watched

local FLUSH_SECONDS = 1

local given = {}
local started = false


-- The app that this request went to; nil if it went to none, or to one of
-- several that cannot be told any more.
local function app_of(seat)
    if seat then
        return seat.app
    end
    local app = var.upstream_addr and find(var.host)
    return app and not app.rules and app or nil
end


-- What a response says of the instance that gave it.
local function settle(code)
    local seat = get_seat()
    local app = app_of(seat)
    if app and code >= 500 then
        health.judge(app, seat and seat.cut)
    end
    if app then
        health.settle(app)
    end
    if seat then
        lane.finish(seat)
    end
end


local function tick(premature)
    metrics.flush()
    board.show()
    if not premature then
        health.purge()
    end
end


-- Returns what cache.find gives for this request's host, or nil and the reason
-- of an error. What the balancer phase may not find again is handed on to it.
local function look_up(host)
    local app, why = find(host)
    if app then
        return app
    elseif why == "miss" then
        app, why = miss.fetch(host)
        if app then
            counts.hits_redis = counts.hits_redis + 1
        elseif why ~= "no_route" then
            app = cache.find_stale(host)
            if app then
                counts.hits_stale = counts.hits_stale + 1
            end
        end
    end
    if not app then
        return nil, why
    end

    local cached = find(host)
    if cached then
        -- The balancer will find it, too, and count that.
        counts.hits_l1 = counts.hits_l1 - 1
        -- Or another worker has taken it from the cache by then.
        ngx.ctx.pointsman_found = app
        -- It may be newer than what Redis has said.
        return cached
    end
    ngx.ctx.pointsman_app = app
    return app
end


local function fail(reason)
    counts["errors_" .. reason] = counts["errors_" .. reason] + 1
    return respond.fail(reason)
end


-- `here` is the name of the location, if it is one of ours.
local function route(host, here)
    local app, reason = look_up(host)
    if app and app.lane then
        return full.enter(app, here)
    end
    if app and here then
        ngx.ctx.pointsman_found = ngx.ctx.pointsman_found or app
    end
    if app and app.live == 0 then
        reason = "no_instance"
    end
    if reason then
        return fail(reason)
    end
end


-- This worker is to follow the stream, and to do nothing else.
local function keep_for_feed()
    local ok, err = listeners.close()
    if ok then
        ngx.log(ngx.NOTICE, "this worker takes no requests, it follows the ",
                "stream only")
    else
        ngx.log(ngx.WARN, "failed to keep a worker for the stream ",
                '(feed_worker is "own"), it takes requests as well: ', err)
    end
end


local _M = {
    -- balancer_by_lua of upstream pointsman.
    balancer = balancer.run,
    -- header_filter_by_lua of our locations that proxy.
    header = full.header,
    -- The phases of the location that answers our own errors.
    error_access = respond.access,
    error_header = respond.header,
    error_body = respond.body,
    -- access_by_lua and content_by_lua of the location that leads to the user's
    -- error pages.
    reraise = respond.reraise,
    -- content_by_lua of the status listener.
    status = status.page,
    metrics = status.metrics,
}


-- syntax: pointsman.setup{ redis = "redis://127.0.0.1:6379", ... }
-- In init_by_lua, or in init_worker_by_lua before init_worker(); see
-- pointsman/settings.lua. What is left out comes from the environment.
function _M.setup(options)
    if type(options) ~= "table" then
        error("pointsman.setup needs a table", 2)
    end
    local ok, err = settings.resolve(options)
    if not ok then
        error(err, 2)
    end
    given = options
end


-- syntax: pointsman.init_worker()
-- In init_worker_by_lua.
function _M.init_worker()
    local id = ngx.worker.id()
    if not id or started then
        return
    end
    local resolved, err = settings.resolve(given)
    err = err or dicts.prepare() or redis.init(resolved)
    if err then
        error(err, 2)
    end
    started = true
    collectgarbage("setstepmul", resolved.gc_stepmul)
    board.init()
    flight.init()
    sticky.init(resolved)
    cache.init(resolved)
    miss.init(resolved)

    ngx.timer.every(FLUSH_SECONDS, tick)
    if id == 0 then
        if resolved.feed_worker == "own" then
            keep_for_feed()
        end
        feed.start()
    end
end


-- syntax: pointsman.access()
-- In access_by_lua of a location that proxies to upstream pointsman: asks Redis
-- about the host if need be, and answers the request if it cannot be routed.
function _M.access()
    return route(var.host)
end


-- syntax: pointsman.full()
-- access_by_lua of @pointsman_full. All 502 of a location lead there: a miss
-- goes on, a real one does not (a POST would be sent twice).
function _M.full()
    local why = var.pointsman_why
    if why == "" then
        return ngx.exit(502)
    end
    var.pointsman_why = ""
    if why ~= "miss" and why ~= "full" then
        return fail(why)
    end
    local seat = get_seat()
    if seat and seat.is_fresh then
        return full.prepare(seat)
    end
    return route(var.host, "@pointsman_full")
end


-- syntax: pointsman.proxy()
-- access_by_lua of the locations that full() and access() go on to.
function _M.proxy()
    local seat = get_seat()
    if not seat or not seat.is_fresh then
        return respond.fail("unavailable")
    end
    return full.prepare(seat)
end


-- syntax: pointsman.late()
-- access_by_lua and content_by_lua of the location that errors of those lead
-- to. The table may have changed since their access phase, most of all while a
-- body came in.
function _M.late()
    local seat = get_seat()
    if seat then
        seat.is_fresh = false
    end
    local why = var.pointsman_why
    if why == "" or ngx.is_subrequest then
        return ngx.exit(ngx.status)
    end
    -- Nothing is decided a third time.
    return fail((why == "miss" or why == "full") and "unavailable" or why)
end


-- syntax: pointsman.unbuffered()
-- access_by_lua and content_by_lua of @pointsman_unbuffered, where the 502 of
-- an unbuffered location lead. A request whose body is on its way cannot go on
-- from here, nor can a subrequest.
function _M.unbuffered()
    if ngx.is_subrequest then
        return ngx.exit(502)
    end
    local why = var.pointsman_why
    if (why == "miss" or why == "full") and var.pointsman_body ~= "" then
        ngx.log(ngx.ERR, "pointsman/location.unbuffered.conf must come first ",
                "in its location: a rewrite has skipped its `if`")
        return respond.fail("unavailable")
    end
    return ngx.exec("@pointsman_full")
end


-- syntax: pointsman.log()
-- In log_by_lua: counts the response.
function _M.log()
    local code = ngx.status
    local n = statuses[code]
    if n then
        statuses[code] = n + 1
    end
    if code >= 500 or watched.n > 0 then
        settle(code)
    end
end


-- Handlers that run for each request find it without `require`, a call, and
-- without package.loaded, two tables more. Not by assignment: once nginx has
-- started, the Lua module warns of those to globals.
rawset(_G, "pointsman", _M)

return _M
