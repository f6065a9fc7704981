use TestPointsman;

# What changes after the access phase of @pointsman_full or one of its sisters
# has decided, and before the balancer phase does. Some requests fail on purpose,
# which nginx logs.
run_edge_tests(trouble => 1);

__DATA__

=== an app that loses all instances while a body comes in has none
--- config
    location / {
        include pointsman/location.unbuffered.conf;
    }
--- records
route again.test again
route least.test least
policy again {"retry_5xx":true}
policy least {"balance":"least_conn"}
inst again a @a
inst least b @b
--- lua
for _, app in ipairs { "again", "least" } do
    local response = t.get(app .. ".test", "/echo", { chunks = function()
        coroutine.yield("x")
        ngx.sleep(0.1)
        t.change("del inst " .. app .. " " .. (app == "again" and "a" or "b"))
        coroutine.yield("y")
    end })
    t.say(response.status, " ", response.headers["x-pointsman-error"])
end
--- response_body
503 no_instance
503 no_instance



=== what another worker changes between two phases is answered as what it is
--- hook
local edge = require("pointsman")
local apps = require("pointsman.cache.shared_apps")
local board = require("pointsman.cache.versions")
local codec = require("pointsman.codec.records")
local dicts = require("pointsman.cache.dicts")
local match = require("pointsman.routing.match")

local NEW = 9007199254740991
local balancer, full = edge.balancer, edge.full
local CHANGES = {
    ["shop.test"] = function()
        local text = apps.get("shop")
        local _, reval = codec.stamp(text)
        apps.edit("shop", text, nil, { a = false }, NEW, reval)
        board.count(board.app_stripe("shop"))
    end,
    ["gone.test"] = function(host)
        local _, reval = codec.stamp(dicts.routes:get(host))
        dicts.routes:drop(host)
        for _, pattern in ipairs(match.candidates(host)) do
            dicts.negatives:put(pattern, codec.pack_negative(NEW, reval))
        end
        board.count(board.route_stripe(host))
        board.count(board.TOPOLOGY)
    end,
    ["evicted.test"] = function(host)
        dicts.routes:drop(host)
        board.count(board.route_stripe(host))
    end,
}
local change
edge.full = function()
    local host = ngx.var.host
    change = CHANGES[host]
    -- It is cached by the time that it is looked at.
    require("pointsman.miss.fetch").fetch(host)
    return full()
end
edge.balancer = function()
    if change then
        change(ngx.var.host)
        board.advance()
        change = nil
    end
    return balancer()
end
--- records
route shop.test shop
route gone.test other
route evicted.test other
inst shop a @a
inst other b @b
--- lua
t.say(t.show("shop.test"), ", ", t.show("gone.test"), ", ",
      t.show("evicted.test"))
for _, reason in ipairs { "no_instance", "no_route", "unavailable" } do
    t.say(reason, " ", t.metric('pointsman_errors_total{reason="' .. reason
                                .. '"}'))
end
--- response_body
503 no_instance, 404 no_route, 200 b
no_instance 1
no_route 1
unavailable 0



=== an error page of the user's is there for it, too
--- config
    location / {
        include pointsman/location.unbuffered.conf;
    }
    error_page 502 503 /sorry;
    location = /sorry {
        return 200 "sorry $status $pointsman_error\n";
    }
--- records
route again.test again
route bad.test bad
policy again {"retry_5xx":true}
policy bad {"retry_5xx":true}
inst again a @a
inst bad gone @refused
--- lua
local response = t.get("again.test", "/echo", { chunks = function()
    coroutine.yield("x")
    ngx.sleep(0.1)
    t.change("del inst again a")
    coroutine.yield("y")
end })
ngx.print(response.status, " ", response.body)
response = t.get("bad.test")
ngx.print(response.status, " ", response.body)
--- response_body
503 sorry 503 no_instance
502 sorry 502 
