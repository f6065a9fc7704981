-- Passive health: judges each attempt of a request, and has instances ejected
-- that fail. For the balancer and log phases.
--
-- The app's policy says what counts as a failure: connections that are refused,
-- time out or, fresh, are closed without an answer ("connect"); answers that do
-- not come in time ("timeout"); answers of 5xx. A client that goes away is no
-- failure, nor is a time-out that the app's deadline has cut short, nor an idle
-- connection that the instance has closed.

local app_metrics = require("pointsman.metrics.apps")
local connections = require("pointsman.health.connections")
local dicts = require("pointsman.cache.dicts")
local ejection = require("pointsman.health.ejection")
local outcome = require("pointsman.health.outcome")
local variables = require("pointsman.request.variables")

local answered = connections.answered
local count = dicts.count
local count_ejection = app_metrics.ejected
local count_for = dicts.count_for
local format = string.format
local max = math.max
local min = math.min
local ngx_log = ngx.log
local read_upgrade = variables.upgrade
local var = ngx.var

local WORDS = {
    connect = "does not accept connections",
    closed = "closes new connections without an answer",
    timeout = "does not answer in time",
    ["5xx"] = "answers with server errors",
}
-- What nginx has where the app sets no time-out.
local TIMEOUT = 60

local seen = {}


-- (A lease of 0 seconds would last for ever.)
local function fail_timeout(policy)
    return max(policy.fail_timeout, 0.001)
end


-- How long an attempt that never gets an answer can last.
local function longest(policy)
    local seconds = (policy.connect_timeout or TIMEOUT)
                    + (policy.send_timeout or TIMEOUT)
                    + (policy.read_timeout or TIMEOUT)
    return max(fail_timeout(policy), min(seconds, policy.deadline or seconds))
end


-- Whether this failure is one too many.
local function is_enough(app, peer)
    local policy = app.policy
    if policy.max_fails < 2 or ejection.state(app, peer) then
        return true
    end
    local fails = count_for(format("f %s %s %.0f", app.name, peer.id, peer.rev),
                            policy.fail_timeout)
    return not fails or fails >= policy.max_fails
end


local function fail(app, peer, kind)
    local seconds = app.policy.fail_timeout
    local _, is_ejected = ejection.state(app, peer)
    if seconds == 0 or app.live < 2 or is_ejected
            or not is_enough(app, peer) then
        return
    end
    ejection.eject(app, peer)
    count("ejections")
    count_ejection(app)
    ngx_log(ngx.WARN, "instance ", peer.id, " of ", app.name, " at ",
            peer.addr, " ", WORDS[kind], ", ejected for ", seconds, " s")
end


-- Tells the instance's connections how the attempt ended. Returns its kind, and
-- whether it was a time-out.
local function observe(record)
    seen.addr = var.upstream_addr or ""
    seen.connect_time = var.upstream_connect_time or ""
    seen.header_time = var.upstream_header_time or ""
    seen.status = var.upstream_status or ""
    seen.received = var.upstream_bytes_received or ""
    local kind, timed_out = outcome.of(record.app.policy, record.peer.addr,
                                       seen)
    local load = record.load
    if not load then
        -- Of a subrequest: nobody knows which connections are idle.
        return kind ~= "closed" and kind or nil, timed_out
    end
    if kind == "closed" then
        if not connections.closed(load.connections) then
            return "stale"
        end
    elseif kind == "ok" or kind == "5xx" then
        answered(load.connections)
    elseif kind then
        connections.lost(load.connections)
    end
    return kind, timed_out
end


-- Of a probe: what it has proved.
local function settle(record, kind, is_failure)
    local app, peer, token = record.app, record.peer, record.probing
    record.probing = false
    if is_failure or kind == "stale" then
        ejection.release(app, peer, token)
    elseif kind == "ok" or kind == "5xx" then
        ejection.release(app, peer, token)
        ejection.restore(app, peer)
    else
        -- Nothing. The next probe follows later: clients must not wait for it.
        ejection.release(app, peer, token, fail_timeout(app.policy))
    end
end


local function judge(record)
    local app, cut = record.app, record.cut
    local kind, timed_out = observe(record)
    local counts_as = kind == "closed" and "connect" or kind
    local is_failure = kind and app.policy.fail_on[counts_as]
                       and not (timed_out and cut and cut[counts_as]) or false
    if record.probing then
        settle(record, kind, is_failure)
    end
    if is_failure then
        fail(app, record.peer, kind)
    end
end


local _M = {}


-- syntax: ok = verdict.picked(record)
-- In the balancer phase, when record.peer is set, of an app that has instances
-- ejected. Not ok: the instance is half-open, and another request probes it;
-- the next pick leaves it out. If there is no other instance, it may be used
-- all the same.
function _M.picked(record)
    local app, peer = record.app, record.peer
    record.probing = false
    -- How long a WebSocket lasts says nothing of the instance.
    local _, upgrade = read_upgrade()
    local seconds = upgrade > 0 and fail_timeout(app.policy)
                    or longest(app.policy)
    local ok
    ok, record.probing = ejection.claim(app, peer, seconds, record.is_sub)
    return ok
end


-- syntax: verdict.attempt_failed(record)
-- In the balancer's retry pass, before in_flight.finish(record.load).
_M.attempt_failed = judge


-- syntax: verdict.ended(record, status)
-- When the last attempt has ended: in log_by_lua, or where an error page of the
-- user's leads back to an upstream of ours. Before in_flight.finish(load).
function _M.ended(record, status)
    if status >= 500 or record.probing then
        if record.peer then
            judge(record)
        end
    elseif record.load then
        answered(record.load.connections)
    end
end


return _M
