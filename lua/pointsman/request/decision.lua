-- Which rule and which app a request gets, and which location must serve it.
-- For the balancer and access phases; nothing here yields.

local choice = require("pointsman.request.choice")
local rules = require("pointsman.routing.rules")
local view = require("pointsman.request.view")

local find_rule = rules.find
local find_target = rules.target
local var = ngx.var

-- Methods that nginx does not repeat once a request was sent. (LOCK is the
-- third, but no client sends it with an Idempotency-Key.)
local UNSAFE = { POST = true, PATCH = true }

-- Directives that are fixed for a location make the difference.
local FULL = "@pointsman_full"
local HTTPS = "@pointsman_https"
local GRPC = "@pointsman_grpc"


local function is_repeatable(policy)
    return policy.retry_idempotency_key and UNSAFE[view.method()]
           and var.http_idempotency_key ~= nil
end


local _M = {
    FULL = FULL,
}


-- syntax: seat, why = routing.decide(found)
-- `found` is what cache.find gave: an app, or rules and the apps they name.
-- seat = { rule =, app = }: `rule` is nil if the host has but one app, `app` if
-- the rule answers by itself. Or nil and the reason of an error.
function _M.decide(found)
    local app, rule = found, nil
    if found.rules then
        app, rule = nil, find_rule(found.rules, view)
        if not rule then
            return nil, "no_route"
        end
        if not rule.redirect and not rule.maintenance then
            local name = find_target(rule, view, found.is_usable)
            if not name then
                return nil, "no_instance"
            end
            app = found.apps[name]
        end
    end
    return { rule = rule, app = app }
end


-- syntax: name = routing.location(app)
-- The named location whose directives the app asks for.
function _M.location(app)
    local policy = app and app.policy
    if not policy or policy.plain then
        return FULL
    elseif policy.scheme == "grpc" then
        return GRPC
    end
    local name = policy.scheme == "https" and HTTPS or FULL
    if policy.buffering == false then
        return name .. "_unbuffered"
    end
    return name .. (policy.retry_5xx and "_5xx" or "")
           .. (is_repeatable(policy) and "_idempotent" or "")
end


-- syntax: yes = routing.needs_full(seat)
-- Whether the balancer phase alone cannot serve the request.
function _M.needs_full(seat)
    local rule, app = seat.rule, seat.app
    if rule and rule.full then
        return true
    end
    local policy = app.policy
    return policy.sticky and not choice.has_session(app)
           or _M.location(app) ~= FULL
end


return _M
