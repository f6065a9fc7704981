-- The log phase: ends a request's record, and counts. For log_by_lua.

local metrics = require("pointsman.metrics")
local records = require("pointsman.request.record")
local verdict = require("pointsman.health.verdict")

local close = records.close
local ended = verdict.ended
local match = string.match
local max = math.max
local ngx = ngx
local now = ngx.now
local open_record = records.open
local statuses = metrics.statuses
local tonumber = tonumber
local var = ngx.var

local FAILURE_SECONDS = 1


-- How long a WebSocket stays is no measure of an instance, nor is how fast it
-- fails: a failure counts as an answer that took a second.
local function observe(picker, peer)
    local seconds = match(var.upstream_header_time or "", "([%d.]+)$")
    local status = tonumber(match(var.upstream_status or "", "(%d+)$"))
    if seconds and status and status >= 200 then
        seconds = tonumber(seconds)
        if status >= 500 then
            seconds = max(seconds, FAILURE_SECONDS)
        end
        picker:observe(peer.id, seconds, now())
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
    local record = open_record()
    if not record then
        return
    end
    ended(record, status)
    local picker = record.app.picker
    if picker.observe then
        observe(picker, record.peer)
    end
    close(record)
end


return _M
