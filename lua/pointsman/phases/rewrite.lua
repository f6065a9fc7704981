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
local records = require("pointsman.request.record")
local refresh = require("pointsman.miss.refresh")
local respond = require("pointsman.request.respond")
local rules = require("pointsman.routing.rules")
local variables = require("pointsman.request.variables")
local view = require("pointsman.request.view")

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


-- A main request counts once; subrequests have no log phase, and do not count.
local function count_hit(level)
    if not is_subrequest() then
        counts[level] = counts[level] + 1
    end
end


-- Answers instead of an app, whose errors it counts as.
local function refuse(app, rule, reason)
    records.answer(app, rule)
    return fail(reason)
end


-- A host that is not cached. Returns its target, or nil and the reason of an
-- error; with the target, whether the balancer phase will find it in the cache.
local function fetch(host)
    local target, reason = miss.fetch(host)
    local level = "hits_redis"
    if not target and reason ~= "no_route" then
        target = cache.find_stale(host)
        level = target and "hits_stale" or "hits_none"
    end
    count_hit(level)
    if not target then
        return nil, reason
    end
    -- It may be newer than what Redis has said.
    local cached = cache.find(host)
    return cached or target, cached ~= nil
end


local function apply(record, app, rule)
    if rule then
        if rule.rewrite then
            -- Control characters, too: nginx escapes them again.
            set_uri(rules.path(rule, var.uri), false, true)
        end
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


local function decide(target, is_upgrade)
    local app, rule, reason = decision.make(target)
    if app then
        reason = choice.refusal(app)
    end
    if reason then
        if rule and rule.response_headers then
            headers.announce(rule.response_headers)
        end
        return refuse(app, rule, reason)
    elseif app then
        local record = records.decide(app, rule)
        record.is_upgrade = is_upgrade
        -- Before a rule edits the headers that these go by.
        choice.note(record)
        record.location = decision.location(record)
        return apply(record, app, rule)
    end
    records.answer(nil, rule)
    if rule.redirect then
        return ngx.redirect(rules.location(rule, view), rule.redirect.status)
    end
    return respond.maintenance(rule.maintenance)
end


-- All but a hit of the plainest kind.
local function route_on(target, how, host, len, is_upgrade)
    local is_kept = true
    if not target then
        if how == "no_route" then
            count_hit("hits_negative")
            return fail("no_route")
        end
        target, is_kept = fetch(ffi_string(host, len))
        if not target then
            return fail(is_kept)
        end
    elseif how == "stale" then
        count_hit("hits_l1")
        refresh.ask(ffi_string(host, len))
    else
        count_hit(how == "l1" and "hits_l1" or "hits_l2")
    end

    if target.plain then
        if target.live == 0 then
            return refuse(target, nil, "no_instance")
        elseif is_kept and not is_upgrade then
            return is_subrequest() or keep(target, now())
        end
    end
    return decide(target, is_upgrade)
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
            and not is_upgrade then
        counts.hits_l1 = counts.hits_l1 + 1
        return keep(target, now())
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
