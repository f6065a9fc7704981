-- The facts of this edge, and the status page. For content_by_lua.

local app_metrics = require("pointsman.metrics.apps")
local dicts = require("pointsman.cache.dicts")
local health = require("pointsman.health.ejection")
local metrics = require("pointsman.metrics")
local report = require("pointsman.feed.report")
local revalidation = require("pointsman.cache.revalidation")
local versions = require("pointsman.cache.versions")

local cjson = require("cjson.safe")

local dict_get = dicts.get
local ngx = ngx
local total = metrics.total

local PAUSE_SECONDS = 0.001


local function usages()
    local capacity, free = dicts.state_space()
    return {
        pointsman_routes = dicts.routes:usage(),
        pointsman_apps = dicts.apps:usage(),
        pointsman_negatives = dicts.negatives:usage(),
        pointsman_state = { capacity = capacity, free = free },
    }
end


-- Seconds since anything was heard from an agent; nil if nothing ever was.
local function agent_silence()
    local heard = dict_get("heard")
    return heard and math.max(0, math.floor(ngx.now() - heard))
end


local _M = {}


-- syntax: status.page()
function _M.page()
    metrics.flush()
    local body, err = cjson.encode({
        epoch = dict_get("epoch") or cjson.null,
        applied = revalidation.applied(),
        feed = {
            state = dict_get("feed") or "starting",
            last_id = dict_get("last_id") or cjson.null,
            entries = total("feed_entries"),
            errors = total("feed_errors"),
            revalidations = total("revalidations"),
        },
        agent_silence_seconds = agent_silence() or cjson.null,
        report = report.facts(),
        worker = { pid = ngx.worker.pid(), id = ngx.worker.id() },
        workers = ngx.worker.count(),
        dicts = usages(),
        hits = {
            l1 = total("hits_l1"),
            l2 = total("hits_l2"),
            redis = total("hits_redis"),
            negative = total("hits_negative"),
            stale = total("hits_stale"),
            none = total("hits_none"),
        },
        log_handler = dict_get("log_handler_missing") and "missing" or "ok",
        bad_records = total("bad_records"),
        ejected = health.list() or cjson.null,
    })
    if not body then
        ngx.log(ngx.ERR, "failed to encode the status: ", err)
        return ngx.exit(500)
    end
    ngx.header.content_type = "application/json"
    ngx.header.cache_control = "no-store"
    ngx.say(body)
end


-- syntax: status.metrics()
-- The Prometheus page.
function _M.metrics()
    ngx.header.content_type = "text/plain; version=0.0.4; charset=utf-8"
    ngx.print(metrics.render({
        applied = revalidation.applied(),
        feed_live = versions.read(versions.LIVE) == 1,
        agent_silence = agent_silence(),
        dicts = usages(),
    }))
    local lines, n = {}, 0
    app_metrics.render(function(line)
        n = n + 1
        lines[n] = line
    end, function()
        ngx.print(lines)
        lines, n = {}, 0
        ngx.sleep(PAUSE_SECONDS)
    end)
    ngx.print(lines)
end


return _M
