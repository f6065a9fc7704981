-- The start of a worker, and what it does each second. For init_by_lua and
-- init_worker_by_lua.

local app_metrics = require("pointsman.metrics.apps")
local cache = require("pointsman.cache.routes")
local decision = require("pointsman.request.decision")
local dicts = require("pointsman.cache.dicts")
local ejection = require("pointsman.health.ejection")
local explain = require("pointsman.phases.explain")
local feed = require("pointsman.feed.follow")
local in_flight = require("pointsman.request.in_flight")
local known_apps = require("pointsman.cache.apps")
local metrics = require("pointsman.metrics")
local miss = require("pointsman.miss.fetch")
local paused = require("pointsman.request.paused")
local records = require("pointsman.request.record")
local redis = require("pointsman.redis.client")
local report = require("pointsman.feed.report")
local settings = require("pointsman.settings")
local sticky = require("pointsman.request.sticky")
local versions = require("pointsman.cache.versions")
local waiting = require("pointsman.request.waiting")
local workers = require("pointsman.request.workers")

local error = error
local ngx = ngx
local type = type

local SECONDS = 1
-- So many requests without a log phase are no accident.
local MIN_LOST = 10

local given = {}
local started = false


local function check_log_handler()
    if records.lost() >= MIN_LOST and dicts.add("log_handler_missing", 1) then
        ngx.log(ngx.ERR, "requests end without pointsman.log(): requests in ",
                "flight and failures are not counted; include ",
                "pointsman/log.conf, or call require(\"pointsman\").log() in ",
                "each log_by_lua of yours")
    end
end


local function tick(premature)
    metrics.flush()
    versions.show()
    if not premature then
        ejection.purge()
        cache.sweep()
        workers.tick()
        waiting.start()
        records.purge()
        check_log_handler()
        if app_metrics.have_moved() then
            known_apps.forget_counters()
        end
        if ngx.worker.id() == 0 then
            app_metrics.forget(ngx.now())
        end
    end
end


local _M = {}


-- syntax: init_worker.setup(options)
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


-- syntax: init_worker.run()
function _M.run()
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
    versions.init()
    local prefix, place = workers.init()
    in_flight.init(prefix)
    waiting.init(prefix)
    paused.init(resolved)
    explain.init(resolved)
    decision.init(resolved)
    app_metrics.init(place)
    sticky.init(resolved)
    cache.init(resolved)
    miss.init(resolved)
    dicts.drop("log_handler_missing")

    ngx.timer.every(SECONDS, tick)
    if id == 0 then
        report.init(resolved)
        feed.start()
    end
end


return _M
