-- What would become of a request: a dry run of the code that routes requests,
-- which changes nothing. For phases that can yield; once the host is known,
-- nothing yields.

local answers = require("pointsman.miss.answers")
local cache = require("pointsman.cache.routes")
local choice = require("pointsman.request.choice")
local compose = require("pointsman.balance.compose")
local decision = require("pointsman.request.decision")
local ejection = require("pointsman.health.ejection")
local in_flight = require("pointsman.request.in_flight")
local known_apps = require("pointsman.cache.apps")
local match = require("pointsman.routing.match")
local respond = require("pointsman.request.respond")
local rules = require("pointsman.routing.rules")
local sticky = require("pointsman.request.sticky")
local view = require("pointsman.request.view")
local workers = require("pointsman.request.workers")

local ipairs = ipairs
local now = ngx.now

local MAINTENANCE = 503


local function app_at_redis(found, name)
    local app = found.apps[name]
    if not app and not known_apps.peek(name) then
        local lookup = { name = name }
        answers.app({ lookup }, true)
        app = lookup.found and lookup.found.app
        if not app then
            return nil, "unavailable"
        end
    end
    return app
end


-- What Redis has for a host, as cache.peek returns it.
local function ask_redis(host)
    local lookup = { name = host, patterns = match.candidates(host) }
    answers.hosts({ lookup }, true)
    local found = lookup.found
    if not found then
        return nil, "unavailable"
    elseif not found.route then
        return nil, "no_route", "redis"
    end
    local apps = {}
    for _, name in ipairs(rules.apps(found.route.rules)) do
        local app, reason = app_at_redis(found, name)
        if reason then
            return nil, reason
        end
        apps[#apps + 1] = app
    end
    local target = cache.transient(found.route, found.pattern, apps)
    return target and {
        target = target, record = found.route, pattern = found.pattern,
        asof = found.asof, how = "redis",
    }, "unavailable"
end


-- The same from wherever it can be had; or nil, the reason, and from where.
local function look_up(host)
    if not match.is_host(host) then
        return nil, "bad_host"
    end
    local found, how = cache.peek(host)
    if found then
        return found
    elseif how == "no_route" then
        return nil, how, "negative"
    end
    local reason, from
    found, reason, from = ask_redis(host)
    if found or reason == "no_route" then
        return found, reason, from
    end
    found, how = cache.peek(host, true)
    if not found and how == "no_route" then
        return nil, how, "negative"
    end
    return found, reason
end


local function state_of(app, peer, is_full)
    if peer.draining then
        return "draining"
    elseif peer.down then
        return "unhealthy"
    end
    local is_known, is_ejected = ejection.state(app, peer)
    return is_ejected and "ejected" or is_known and "half_open"
           or is_full and "full" or peer.weight == 0 and "standby"
           or compose.is_warming(app.picker, peer.id, now()) and "slow_start"
           or "live"
end


local function instances_of(app, next_peer)
    local list, limit = {}, app.policy.max_conns
    local counts = workers.in_flight()
    for i, peer in ipairs(app.peers) do
        local n = counts and (counts[in_flight.key(app.name, peer.id,
                                                   peer.addr)] or 0)
        list[i] = {
            id = peer.id, addr = peer.addr, weight = peer.weight,
            state = state_of(app, peer, limit and n and n >= limit),
            in_flight = n, next = peer == next_peer,
        }
    end
    return list
end


local function edits_of(edits)
    if not edits then
        return nil
    end
    local set = {}
    for i = 1, #edits.set, 2 do
        set[edits.set[i]] = edits.set[i + 1]
    end
    return {
        set = #edits.set > 0 and set or nil,
        remove = #edits.remove > 0 and edits.remove or nil,
    }
end


local function directives_of(record)
    local app, rule, policy = record.app, record.rule, record.app.policy
    return {
        location = decision.location(record) or nil,
        path = rule and rules.path(rule, view.path()) or view.path(),
        request_headers = rule and edits_of(rule.request_headers) or nil,
        response_headers = rule and edits_of(rule.response_headers) or nil,
        scheme = policy.scheme, server_name = policy.server_name,
        buffering = policy.buffering, tries = app.tries,
        max_conns = policy.max_conns,
        connect_timeout = policy.connect_timeout,
        send_timeout = policy.send_timeout,
        read_timeout = policy.read_timeout,
        idle_timeout = policy.idle_timeout, deadline = policy.deadline,
        pin = record.pin or nil, session = record.session or nil,
        hash_key = record.key or nil, wake = policy.wake,
    }
end


local function error_of(reason)
    return { status = respond.status(reason), reason = reason }
end


-- The rule's own answer.
local function answer_of(rule)
    if rule.redirect then
        return { status = rule.redirect.status, reason = "redirect",
                 location = rules.location(rule, view) }
    end
    return { status = MAINTENANCE, reason = "maintenance" }
end


local function describe_split(rule, target)
    local name, how = rules.target(rule, view, target.is_usable, sticky.app_of,
                                   target.apps)
    return name and rules.describe(rule, view, name, how, target.is_usable)
end


local function describe_app(out, app, rule)
    local record = { app = app, rule = rule or false, tried = {}, n_tried = 0,
                     is_unsure = false }
    choice.note(record)
    out.app, out.algorithm = app.name, app.policy.balance
    out.directives = directives_of(record)
    local reason, peer = choice.refusal(app), nil
    if reason == "no_instance" and app.policy.wake then
        out.waits_for = "wake"
    elseif reason then
        out.answer = error_of(reason)
    elseif out.algorithm ~= "hash" or record.key or record.pin
            or record.session then
        peer = choice.peek(record)
    end
    out.next = peer and peer.id
    out.instances = instances_of(app, peer)
end


-- Under view.of: in the order in which the rewrite and balancer phases go.
local function describe(out, found)
    local target = found.target
    out.route, out.revision, out.cache = found.pattern, found.asof, found.how
    local steps = rules.trace(target.rules
                              or rules.compile(found.record.rules), view)
    local last = steps[#steps]
    if last and last.matches then
        out.rule, steps[#steps] = last, nil
    end
    out.rules = steps
    local app, rule, reason, empty = decision.make(target)
    if app or empty then
        out.split = rule and describe_split(rule, target)
        describe_app(out, app or empty, rule)
    elseif reason then
        out.answer = error_of(reason)
    else
        out.answer = answer_of(rule)
    end
    if found.record.pause then
        out.waits_for = "resume"
        out.pause = found.record.pause
    end
    return out
end


local _M = {}


-- syntax: out = answer.find(request)
-- `request` as question.read returns it. For the fields, see
-- docs/operations.md ("Explain").
function _M.find(request)
    local host = request.vars.host
    local out = { host = host, instances = {}, rules = {} }
    local found, reason, from = look_up(host)
    if not found then
        out.cache, out.answer = from, error_of(reason)
        return out
    end
    return view.of(request, function() return describe(out, found) end)
end


return _M
