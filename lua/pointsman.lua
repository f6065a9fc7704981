-- Pointsman's edge: one function for each phase of nginx, called by the files
-- in nginx/pointsman/.

local balancer = require("pointsman.phases.balancer")
local explain = require("pointsman.phases.explain")
local header_filter = require("pointsman.phases.header_filter")
local init_worker = require("pointsman.phases.init_worker")
local log = require("pointsman.phases.log")
local rewrite = require("pointsman.phases.rewrite")
local status = require("pointsman.phases.status")


local _M = {
    -- syntax: pointsman.setup{ redis = "redis://127.0.0.1:6379", ... }
    -- In init_by_lua, or in init_worker_by_lua before init_worker(); see
    -- pointsman/settings.lua. What is left out comes from the environment.
    setup = init_worker.setup,
    -- syntax: pointsman.init_worker()
    -- In init_worker_by_lua.
    init_worker = init_worker.run,
    -- syntax: return pointsman.route()
    -- In rewrite_by_lua of a location that proxies to an upstream of ours.
    route = rewrite.route,
    -- syntax: return pointsman.enter()
    -- In rewrite_by_lua of our named locations.
    enter = rewrite.enter,
    -- syntax: pointsman.balancer()
    -- In balancer_by_lua of our upstreams.
    balancer = balancer.run,
    -- syntax: pointsman.header_filter()
    -- In header_filter_by_lua of our named locations.
    header_filter = header_filter.run,
    -- syntax: pointsman.log()
    -- In log_by_lua, for every request.
    log = log.run,
    -- syntax: pointsman.status()
    -- In content_by_lua of the status listener.
    status = status.page,
    -- syntax: pointsman.metrics()
    -- The same, for Prometheus.
    metrics = status.metrics,
    -- syntax: pointsman.explain()
    -- The same: what would become of a request.
    explain = explain.page,
}


-- Handlers that run for each request find it without `require`, a call, and
-- without package.loaded, two tables more. Not by assignment: once nginx has
-- started, the Lua module warns of those to globals.
rawset(_G, "pointsman", _M)

return _M
