-- Which rule and which app a request gets, and which named location must serve
-- it. For the rewrite and balancer phases; nothing here yields.

local rules = require("pointsman.routing.rules")
local sticky = require("pointsman.request.sticky")
local view = require("pointsman.request.view")

local find_rule = rules.find
local find_target = rules.target

-- Methods that nginx does not repeat once a request was sent. (LOCK is the
-- third, but no client sends it with an Idempotency-Key.)
local UNSAFE = { POST = true, PATCH = true }


local function is_repeatable(policy)
    return policy.retry_idempotency_key and UNSAFE[view.method()]
           and view.header("Idempotency-Key") ~= nil
end


local _M = {}


-- syntax: app, rule, reason, empty = decision.make(target)
-- `target` is what cache.find_at gave. `rule` is nil if the host has but one
-- app. Without an app, the rule answers by itself, or there is the reason of an
-- error; `empty` is an app of the rule that has no instance, then.
function _M.make(target)
    if not target.rules then
        return target
    end
    local rule = find_rule(target.rules, view)
    if not rule then
        return nil, nil, "no_route"
    elseif rule.redirect or rule.maintenance then
        return nil, rule
    end
    local apps = target.apps
    local name = find_target(rule, view, target.is_usable, sticky.app_of, apps)
    if not name then
        return nil, rule, "no_instance", apps[find_target(rule, view)]
    end
    -- For sticky.tell: the other apps of the host.
    rule.apps = apps
    return apps[name], rule
end


-- syntax: name = decision.location(record)
-- The named location whose directives the request needs; false if the one that
-- it is in will do.
function _M.location(record)
    local policy, rule = record.app.policy, record.rule
    if policy.scheme == "grpc" then
        return "@pointsman_grpc"
    end
    local name = policy.scheme == "https" and "@pointsman_https" or "@pointsman"
    if policy.buffering == false then
        return name .. "_unbuffered"
    end
    local suffix = (policy.retry_5xx and "_5xx" or "")
                   .. (is_repeatable(policy) and "_idempotent" or "")
    if suffix == "" and name == "@pointsman"
            and not (rule and rule.response_headers)
            and not (policy.sticky and not record.session) then
        return false
    end
    return name .. suffix
end


return _M
