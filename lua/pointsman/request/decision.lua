-- Which rule and which app a request gets, and which named location must serve
-- it. For the rewrite and balancer phases; nothing here yields.

local paths = require("pointsman.routing.paths")
local rules = require("pointsman.routing.rules")
local sticky = require("pointsman.request.sticky")
local variables = require("pointsman.request.variables")
local view = require("pointsman.request.view")

local ambiguity = paths.ambiguity
local find_rule = rules.find
local find_target = rules.target
local is_subrequest = variables.is_subrequest

-- Methods that nginx does not repeat once a request was sent. (LOCK is the
-- third, but no client sends it with an Idempotency-Key.)
local UNSAFE = { POST = true, PATCH = true }

local ambiguous_paths = "refuse"


local function is_repeatable(policy)
    return policy.retry_idempotency_key and UNSAFE[view.method()]
           and view.header("Idempotency-Key") ~= nil
end


-- What must be done about an ambiguous path of a host that has rules for paths:
-- "refuse" or "normalise". (A subrequest sends the path that nginx has.)
local function precaution(target)
    if not target.has_paths or ambiguous_paths == "pass" then
        return nil
    end
    local kind = ambiguity(view.uri())
    if kind and not is_subrequest() then
        return kind == "hidden" and "refuse" or ambiguous_paths
    end
end


local _M = {}


-- syntax: decision.init(settings)
-- In init_worker_by_lua.
function _M.init(settings)
    ambiguous_paths = settings.ambiguous_paths
end


-- syntax: yes = decision.must_normalise(target)
-- Whether the app must get the path that the rules are matched against.
function _M.must_normalise(target)
    return precaution(target) == "normalise"
end


-- syntax: app, rule, reason, empty = decision.make(target)
-- `target` is what cache.find_at gave. `rule` is nil if the host has but one
-- app. Without an app, the rule answers by itself, or there is the reason of an
-- error; `empty` is an app of the rule that has no instance, then.
function _M.make(target)
    if not target.rules then
        return target
    elseif precaution(target) == "refuse" then
        return nil, nil, "ambiguous_path"
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
