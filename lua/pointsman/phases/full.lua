-- What the balancer phase cannot do: answers of a rule's own, other paths and
-- headers, cookies, and the way to the location whose directives an app asks
-- for. For the access and header filter phases of the named locations.

local lane = require("pointsman.request.lane")
local metrics = require("pointsman.metrics")
local respond = require("pointsman.request.respond")
local routing = require("pointsman.request.decision")
local rules = require("pointsman.routing.rules")
local seats = require("pointsman.request.seats")
local sticky = require("pointsman.request.sticky")
local view = require("pointsman.request.view")

local clear_header = ngx.req.clear_header
local counts = metrics.counts
local find = string.find
local ipairs = ipairs
local lower = string.lower
local ngx = ngx
local set_header = ngx.req.set_header
local set_uri = ngx.req.set_uri
local var = ngx.var


local function fail(why)
    counts["errors_" .. why] = counts["errors_" .. why] + 1
    return respond.fail(why)
end


-- `set` is a list of names and values in turn.
local function set_request_headers(edits)
    for _, name in ipairs(edits.remove) do
        clear_header(name)
    end
    local set = edits.set
    for i = 1, #set, 2 do
        local name, value = set[i], set[i + 1]
        if lower(name) == "host" then
            var.pointsman_upstream_host = value
        else
            set_header(name, value)
        end
    end
end


local function set_response_headers(edits)
    for _, name in ipairs(edits.remove) do
        ngx.header[name] = nil
    end
    local set = edits.set
    for i = 1, #set, 2 do
        ngx.header[set[i]] = set[i + 1]
    end
end


local _M = {}


-- syntax: full.prepare(seat)
-- In the access phase of the location that serves the request.
function _M.prepare(seat)
    local rule = seat.rule
    local why = lane.seat(seat)
    if why then
        seat.is_fresh = false
        return fail(why)
    end
    seat.is_fresh = true
    if rule and rule.rewrite then
        -- Control characters, too: nginx escapes them again.
        set_uri(rules.path(rule, var.uri), false, true)
    end
    if rule and rule.request_headers then
        set_request_headers(rule.request_headers)
    end
    if seat.app.policy.server_name then
        var.pointsman_server_name = seat.app.policy.server_name
    end
end


-- syntax: full.enter(found, here?)
-- In an access phase: decides, then answers, or goes to the location that
-- serves the request, unless `here` is its name.
function _M.enter(found, here)
    local seat, why = routing.decide(found)
    if not seat then
        return fail(why)
    end
    local rule = seat.rule
    if rule and rule.redirect then
        return ngx.redirect(rules.location(rule, view), rule.redirect.status)
    elseif rule and rule.maintenance then
        return respond.maintenance(rule.maintenance)
    end
    local location = routing.location(seat.app)
    if location == here then
        return _M.prepare(seat)
    end
    seat.is_fresh = true
    seats.put(seat)
    var.pointsman_why = location == routing.FULL and "full" or ""
    return ngx.exec(location)
end


-- syntax: full.header()
-- In header_filter_by_lua of those locations.
function _M.header()
    local seat = seats.get()
    if not seat then
        return
    end
    local rule = seat.rule
    if rule and rule.response_headers then
        set_response_headers(rule.response_headers)
    end
    local app = seat.app
    -- Not with nginx's own errors, which no instance has sent.
    if app and app.policy.sticky and seat.peer and not seat.pinned
            and find(var.upstream_header_time or "", "%d$")
            and sticky.find(app) ~= seat.peer then
        sticky.tell(app, seat.peer)
    end
end


return _M
