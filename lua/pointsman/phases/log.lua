-- The log phase: ends a request's record, and counts. For log_by_lua.

local app_metrics = require("pointsman.metrics.apps")
local metrics = require("pointsman.metrics")
local records = require("pointsman.request.record")
local verdict = require("pointsman.health.verdict")

local close = records.close
local count_answer = app_metrics.answered
local count_request = app_metrics.ended
local ended = verdict.ended
local match = string.match
local max = math.max
local ngx = ngx
local now = ngx.now
local pcall = pcall
local open_record = records.open
local start_time = ngx.req.start_time
local statuses = metrics.statuses
local tonumber = tonumber
local var = ngx.var

local FAILURE_SECONDS = 1
local CLIENT_GONE = 499
-- Whatever took no longer belongs in the first bucket of a histogram.
local LEAST = app_metrics.LEAST

-- The rule of a host that has no others.
local PLAIN_RULE = "1 /"

-- Whether nginx's configuration has the variables of pointsman/log_format.conf;
-- nil: it was not looked.
local has_format


local function assign(name, value)
    var[name] = value
end


-- How long the last attempt took until its response's header; nil if there was
-- none.
local function header_seconds()
    return tonumber(match(var.upstream_header_time or "", "([%d.]+)$"))
end


-- How long a WebSocket stays is no measure of an instance, nor is how fast it
-- fails: a failure counts as an answer that took a second.
local function observe(picker, peer)
    local seconds = header_seconds()
    local status = tonumber(match(var.upstream_status or "", "(%d+)$"))
    if seconds and status and status >= 200 then
        if status >= 500 then
            seconds = max(seconds, FAILURE_SECONDS)
        end
        picker:observe(peer.id, seconds, now())
    end
end


-- The instance cannot have taken longer than the request. nginx's own measure
-- is asked for only where that says too little, since it is a text.
local function count_wait(record, status, seconds)
    if seconds > LEAST or status >= CLIENT_GONE or record.n_tried > 0 then
        seconds = header_seconds()
        if not seconds then
            return
        end
    end
    return count_answer(record.app, seconds)
end


-- For the access-log format of pointsman/log_format.conf.
local function describe(record, was_sent)
    if has_format == nil then
        has_format = pcall(assign, "pointsman_tries", "0")
        if not has_format then
            return
        end
    end
    local app, rule = record.app, record.rule
    if app then
        var.pointsman_app = app.name
    end
    if app or rule then
        var.pointsman_rule = rule and rule.name or PLAIN_RULE
    end
    if was_sent then
        var.pointsman_instance = record.peer.id
        var.pointsman_tries = record.n_tried + 1
    end
end


local _M = {}


-- syntax: log.run()
-- The hot path.
function _M.run()
    local status = ngx.status
    local n = statuses[status]
    if n then
        statuses[status] = n + 1
    end
    local record, was_sent = open_record()
    if not record then
        return
    end
    local app, time = record.app, now()
    if app then
        count_request(app, status, time - start_time())
    end
    if has_format ~= false then
        describe(record, was_sent)
    end
    if was_sent then
        count_wait(record, status, time - record.began)
        ended(record, status)
        local picker = app.picker
        if picker.observe then
            observe(picker, record.peer)
        end
    end
    close(record)
end


return _M
