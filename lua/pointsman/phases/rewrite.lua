-- The rewrite phase: decides which app a request goes to, or answers it. For
-- rewrite_by_lua; a host that is not cached waits for Redis here.
--
-- A decision is kept in the request's record. A plain app is used from there if
-- the balancer phase follows at once; otherwise the balancer looks again.

local cache = require("pointsman.cache.routes")
local choice = require("pointsman.request.choice")
local decision = require("pointsman.request.decision")
local headers = require("pointsman.request.headers")
local metrics = require("pointsman.metrics")
local miss = require("pointsman.miss.fetch")
local paused = require("pointsman.request.paused")
local records = require("pointsman.request.record")
local refresh = require("pointsman.miss.refresh")
local respond = require("pointsman.request.respond")
local rules = require("pointsman.routing.rules")
local variables = require("pointsman.request.variables")
local view = require("pointsman.request.view")
local wake = require("pointsman.request.wake")

local begin_headers = headers.begin
local counts = metrics.counts
local fail = respond.fail
local ffi_string = require("ffi").string
local find_at = cache.find_at
local is_subrequest = variables.is_subrequest
local keep = records.route
local ngx = ngx
local now = ngx.now
local read_host = variables.host
local set_uri = ngx.req.set_uri
local var = ngx.var

-- Of an app that was woken in vain.
local WAKE_RETRY_SECONDS = 5


-- A main request counts once; subrequests have no log phase, and do not count.
local function count_hit(level)
    if not is_subrequest() then
        counts[level] = counts[level] + 1
    end
end


-- Answers instead of an app, whose errors it counts as.
local function refuse(app, rule, reason, retry_after)
    if rule and rule.response_headers then
        headers.announce(rule.response_headers)
    end
    records.answer(app, rule)
    return fail(reason, retry_after)
end


-- A host that is not cached. Returns its target, or nil and the reason of an
-- error; with the target, whether the balancer phase will find it in the cache.
-- Then where it came from.
local function fetch(host)
    local target, reason = miss.fetch(host)
    local level = "hits_redis"
    if not target and reason ~= "no_route" then
        target = cache.find_stale(host)
        level = target and "hits_stale" or "hits_none"
    end
    if not target then
        return nil, reason, level
    end
    -- It may be newer than what Redis has said.
    local cached = cache.find(host)
    return cached or target, cached ~= nil, level
end


-- The same of a host that is cached or not, for a request that has waited.
local function find_again(host)
    local target, how = cache.find(host)
    if target then
        return target, true
    elseif how == "no_route" then
        return nil, how
    end
    return fetch(host)
end


-- A request that an error page of the user's leads back here has waited enough.
local function has_failed()
    return not is_subrequest() and var.pointsman_error ~= ""
end


-- Where requests to a paused host go once it is resumed, or nil and the reason
-- of an error.
local function resume(target, host)
    local deadline = paused.deadline()
    while not has_failed() and paused.wait(host, target, deadline) do
        local found, is_kept = find_again(host)
        if not found or not found.pause then
            return found, is_kept
        end
        target = found
    end
    return nil, "paused"
end


local function apply(record, app, rule, must_normalise)
    if must_normalise or rule and rule.rewrite then
        local path = rule and rules.path(rule, var.uri) or var.uri
        -- Control characters, too: nginx escapes them again.
        set_uri(path, false, true)
    end
    if rule then
        if rule.request_headers then
            headers.edit_request(rule.request_headers)
        end
        if rule.response_headers then
            headers.announce(rule.response_headers)
        end
    end
    if app.policy.server_name then
        var.pointsman_server_name = app.policy.server_name
    end
    record.uri = var.uri
    if record.location then
        records.hand_over(record)
        return ngx.exec(record.location)
    end
end


-- Returns instead the app that the request may wait for, and the rule.
local function decide(target, is_upgrade)
    local app, rule, reason, empty = decision.make(target)
    if app then
        reason, empty = choice.refusal(app), app
    end
    if reason == "no_instance" and empty and empty.policy.wake then
        return empty, rule
    elseif reason then
        return refuse(app, rule, reason)
    elseif app then
        local record = records.decide(app, rule)
        record.is_upgrade = is_upgrade
        -- Before a rule edits the headers that these go by.
        choice.note(record)
        record.location = decision.location(record)
        apply(record, app, rule, decision.must_normalise(target))
        return nil
    end
    records.answer(nil, rule)
    if rule.redirect then
        return ngx.redirect(rules.location(rule, view), rule.redirect.status)
    end
    respond.maintenance(rule.maintenance)
    return nil
end


-- Sends a request on to where its host leads to, or answers it. A paused host,
-- or an app that must be woken, is waited for.
local function serve(target, is_kept, host, len, is_upgrade)
    local name, since
    while true do
        if target and target.pause then
            name = name or ffi_string(host, len)
            target, is_kept = resume(target, name)
        end
        if not target then
            return fail(is_kept)
        end
        local empty, rule = target, nil
        if not target.plain then
            empty, rule = decide(target, is_upgrade)
        elseif target.live > 0 then
            if is_kept and not is_upgrade then
                return is_subrequest() or keep(target, now())
            end
            empty = decide(target, is_upgrade)
        elseif not target.policy.wake then
            return refuse(target, nil, "no_instance")
        end
        if not empty then
            return
        end
        since = since or now()
        name = name or ffi_string(host, len)
        if has_failed() or not wake.wait(empty, name, since) then
            return refuse(empty, rule, "no_instance", WAKE_RETRY_SECONDS)
        end
        target, is_kept = find_again(name)
    end
end


-- All but a hit of the plainest kind.
local function route_on(target, how, host, len, is_upgrade)
    local is_kept = true
    if not target then
        if how == "no_route" then
            count_hit("hits_negative")
            return fail("no_route")
        elseif how == "bad_host" then
            return fail(how)
        end
        local level
        target, is_kept, level = fetch(ffi_string(host, len))
        count_hit(level)
        if not target then
            return fail(is_kept)
        end
    elseif how == "stale" then
        count_hit("hits_l1")
        refresh.ask(ffi_string(host, len))
    else
        count_hit(how == "l1" and "hits_l1" or "hits_l2")
    end
    return serve(target, is_kept, host, len, is_upgrade)
end


local _M = {}


-- syntax: return rewrite.route()
-- In rewrite_by_lua of a location that proxies to an upstream of Pointsman's.
-- The hot path.
function _M.route()
    local host, len = read_host()
    local is_main = not is_subrequest()
    local is_upgrade = is_main and begin_headers(host, len)
    local target, how = find_at(host, len)
    if how == "l1" and target.plain and target.live > 0 and is_main
            and is_upgrade == false then
        counts.hits_l1 = counts.hits_l1 + 1
        return keep(target, now())
    elseif is_upgrade == nil then
        return fail("bad_host")
    end
    return route_on(target, how, host, len, is_upgrade)
end


-- syntax: return rewrite.enter()
-- In rewrite_by_lua of our named locations.
function _M.enter()
    if not records.receive() then
        ngx.log(ngx.ERR, "a request has come to a location of Pointsman's, ",
                "and not by route(): these locations are not meant for ",
                "error_page or try_files")
        return ngx.exit(500)
    end
end


return _M
