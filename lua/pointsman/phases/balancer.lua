-- The balancer phase: picks an instance and connects; on a retry, picks another
-- one. The one owner of ngx.balancer. For balancer_by_lua.
--
-- It cannot yield. What the rewrite phase has decided is in the request's
-- record; a plain app is looked up again. An app that has vanished in between
-- is a 502 with the reason in its headers and in the log, since stock nginx has
-- no other status for this phase. The same goes for one whose instances have
-- reached their limit meanwhile.
--
-- Three things to know of nginx here. The upstream's only server is `down`, so
-- that no tries are left but those that are granted here. A retry that nginx
-- makes because an idle connection was closed is not counted as a try. And
-- ngx.exit does not end a balancer handler: it must be returned.

local app_metrics = require("pointsman.metrics.apps")
local budget = require("pointsman.balance.budget")
local cache = require("pointsman.cache.routes")
local choice = require("pointsman.request.choice")
local decision = require("pointsman.request.decision")
local in_flight = require("pointsman.request.in_flight")
local metrics = require("pointsman.metrics")
local records = require("pointsman.request.record")
local respond = require("pointsman.request.respond")
local variables = require("pointsman.request.variables")
local verdict = require("pointsman.health.verdict")
local workers = require("pointsman.request.workers")

local ngx_balancer = require("ngx.balancer")

local begin = in_flight.begin
local count_retry = app_metrics.retried
local counts = metrics.counts
local enter = workers.enter
local exit = ngx.exit
local ffi_string = require("ffi").string
local find_at = cache.find_at
local first_pass = records.first_pass
local get_last_failure = ngx_balancer.get_last_failure
local inherit = records.inherit
local leave = workers.leave
local min = math.min
local ngx_log = ngx.log
local now = ngx.now
local read_host = variables.host
local renew = cache.renew
local sent = records.sent
local set_current_peer = ngx_balancer.set_current_peer
local set_more_tries = ngx_balancer.set_more_tries
local set_timeouts = ngx_balancer.set_timeouts
local take = choice.take
local tell = respond.tell

local ERROR = ngx.ERROR
local NO_LIVE_PEER = -3     -- NGX_BUSY
-- What holds where an app has a deadline and no time-outs: nginx's own, but for
-- the connect time-out of our nginx.conf. In seconds.
local CONNECT, SEND, READ = 2, 60, 60
-- nginx counts whole milliseconds.
local ROUNDING = 0.002

-- By whether the deadline is sooner than the time-out to connect, and to read.
local CUT = {
    [true] = { [true] = { connect = true, timeout = true },
               [false] = { connect = true } },
    [false] = { [true] = { timeout = true }, [false] = {} },
}


local function give_up(...)
    leave()
    ngx_log(ngx.ERR, ...)
    return exit(NO_LIVE_PEER)
end


-- Seconds for the next attempt; nil where nginx's directives hold. nginx has
-- one read time-out, so the wait for the answer to a WebSocket handshake is as
-- long as the connection may be idle afterwards.
local function timeouts(record)
    local policy = record.app.policy
    local connect, send, read = policy.connect_timeout, policy.send_timeout,
                                policy.read_timeout
    if record.is_upgrade then
        return connect, send, policy.idle_timeout
    elseif policy.deadline then
        local left = record.began + policy.deadline - now()
        left = left > 0.001 and left or 0.001
        connect, send, read = connect or CONNECT, send or SEND, read or READ
        -- An attempt that the deadline ends has not failed by its own time-out.
        record.cut = CUT[left < connect][left < read]
        return min(left, connect), min(left, send), min(left, read)
    end
    return connect, send, read
end


-- Sends the request to record.peer.
local function connect(record)
    local app, peer = record.app, record.peer
    if record.is_sub then
        in_flight.hide(app, peer)
    else
        record.load = begin(app, peer)
    end
    leave()
    if record.is_upgrade or not app.plain then
        local ok, err = set_timeouts(timeouts(record))
        if not ok then
            ngx_log(ngx.ERR, "failed to set time-outs: ", err)
        end
    end
    local ok, err = set_current_peer(peer.host, peer.port)
    if not ok then
        ngx_log(ngx.ERR, "failed to set the peer ", peer.addr, ": ", err)
        return exit(ERROR)
    end
end


-- Brings the record's app up to date.
local function update(record)
    local app, is_current = renew(record.app)
    record.app, record.is_unsure = app, not is_current
    return app
end


-- The app of a request that the rewrite phase has kept no decision for: a plain
-- one, or one of a location without route(), or nginx's own background update
-- of a cached page, which has no rewrite phase.
local function find_app(record)
    local target, how = find_at(read_host())
    if target and target.plain then
        return target
    elseif record.is_sub and inherit(record) then
        return update(record)
    elseif not target then
        return nil, how
    end
    local app, rule, reason = decision.make(target)
    if not app then
        return nil, reason or "an answer of a rule's own"
    end
    -- The table has changed since. Of all that a location is for, only the
    -- protocol cannot be done without.
    local scheme = app.policy.scheme
    if scheme == "https" or scheme == "grpc" then
        return nil, "an app that speaks " .. scheme
    end
    record.app, record.rule = app, rule or false
    choice.note(record)
    return app
end


local function retry(record)
    local app = record.app
    if not app or not record.peer then
        return give_up("a retry of a request without a record")
    end
    verdict.attempt_failed(record)
    local load = record.load
    record.load = false
    local time = now()
    if not record.pin then
        if load then
            in_flight.finish(load)
        end
        local deadline = app.policy.deadline
        if deadline and time >= record.began + deadline - ROUNDING then
            return exit(NO_LIVE_PEER)
        end
        record.n_tried = record.n_tried + 1
        record.tried[record.n_tried] = record.peer
        -- One that nginx does not count is free.
        if record.n_tried < record.tries then
            budget.allows(app, time)
        end
        record.probing = false
        enter()
        app = update(record)
        if app.live == 0 or not take(record) then
            leave()
            return exit(NO_LIVE_PEER)
        end
    end
    counts.retries = counts.retries + 1
    count_retry(app)
    local result = connect(record)
    if record.pin and load then
        -- Last: the same instance must not seem to have nothing in flight.
        in_flight.finish(load)
    end
    return result
end


local _M = {}


-- syntax: balancer.run()
-- The hot path.
function _M.run()
    if get_last_failure() then
        return retry(records.current())
    end
    local time = now()
    local record = first_pass(time)
    -- No request is sent by what is older than the version counters, and none
    -- that is sent is not counted, when this worker is seen to have left.
    enter()
    local app = record.app
    if app then
        app = update(record)
    else
        local reason
        app, reason = find_app(record)
        if not app then
            return give_up("no instance for ", ffi_string(read_host()), ": ",
                           reason, "; the routing table has changed, or its ",
                           "location has no rewrite handler of Pointsman's")
        end
        record.app = app
    end

    if app.plain and not app.ejected and not record.is_unsure then
        record.peer = app.picker:pick()
    else
        take(record)
    end
    if not record.peer then
        local reason = choice.refusal(app) or "no_instance"
        tell(reason)
        return give_up("no instance of ", app.name, " any more: ", reason)
    end
    -- Retries are promised beforehand: where none is left in the budget, the
    -- answer of the only attempt is passed on, whatever it is.
    local tries = app.tries
    if tries > 1 and (record.pin or not budget.has_left(app, time)) then
        tries = 1
    end
    app.requests = app.requests + 1
    record.tries = tries
    sent(record, time)
    set_more_tries(tries)
    return connect(record)
end


return _M
