use TestPointsman;

# What is measured of each app. Here instances fail on purpose.
run_edge_tests(trouble => 1);

__DATA__

=== responses, their times, retries and ejections are counted for each app
--- records
route shop.test shop
route two.test two
inst shop a @a
inst two b @b
inst two gone @refused
--- lua
local function metric(name, app, more)
    return t.metric(string.format('pointsman_app_%s{app="%s"%s}', name, app,
                                  more or ""))
end
for _ = 1, 3 do
    t.get("shop.test")
    t.get("two.test")
end
t.get("shop.test", "/status/404")
t.get("shop.test", "/sleep/0.3")
t.get("unknown.test")
t.wait("the log phases", function()
    return pcall(metric, "request_seconds_count", "two")
           and metric("request_seconds_count", "shop") == 5
           and metric("request_seconds_count", "two") == 3
end)
t.say(metric("requests_total", "shop", ',code="2xx"'), " ",
      metric("requests_total", "shop", ',code="4xx"'), " ",
      metric("requests_total", "two", ',code="2xx"'))
t.say(metric("retries_total", "shop"), " ", metric("retries_total", "two"), " ",
      metric("ejections_total", "two"))
t.say(metric("request_seconds_count", "shop"), " ",
      metric("request_seconds_bucket", "shop", ',le="+Inf"') , " ",
      metric("request_seconds_bucket", "shop", ',le="0.5"')
      - metric("request_seconds_bucket", "shop", ',le="0.25"'))
t.say(metric("instance_seconds_count", "shop"), " ",
      metric("instance_seconds_bucket", "shop", ',le="0.5"')
      - metric("instance_seconds_bucket", "shop", ',le="0.25"'))
local sum = metric("instance_seconds_sum", "shop")
t.say(sum >= 0.3 and sum < 0.6 or sum)
--- response_body
4 1 3
0 1 1
5 5 1
5 1
true



=== an instance's time ends with the header of its response
--- lua
t.together(function()
    t.get("shop.test", "/drip")
end, function()
    t.wait("the request", function()
        return t.requests("a") == 1
    end)
    t.say(t.metric('pointsman_app_requests_in_flight{app="shop"}'))
    t.sleep(0.3)
    t.counts:set("drip", true)
end)
t.wait("the log phase", function()
    return t.metric('pointsman_app_requests_in_flight{app="shop"}') == 0
end)
t.say(t.metric('pointsman_app_request_seconds_sum{app="shop"}') >= 0.3, " ",
      t.metric('pointsman_app_instance_seconds_sum{app="shop"}') < 0.2, " ",
      t.metric('pointsman_app_requests_in_flight{app="shop"}'))
--- response_body
1
true true 0



=== errors that the edge answers for an app are the app's
--- records
route shop.test shop
inst shop a @a draining=1
route full.test full
policy full {"max_conns":1}
inst full a @a
--- lua
t.get("shop.test")
t.wait("the log phase", function()
    return pcall(t.metric, 'pointsman_app_requests_total{app="shop",code="5xx"}')
end)
t.say(t.metric('pointsman_app_requests_total{app="shop",code="5xx"}'), " ",
      t.metric('pointsman_app_request_seconds_count{app="shop"}'), " ",
      t.metric('pointsman_app_instance_seconds_count{app="shop"}'))
t.together(function()
    t.get("full.test", "/drip")
end, function()
    t.wait("the request", function()
        return t.requests("a") == 1
    end)
    t.say(t.show("full.test"))
    t.counts:set("drip", true)
end)
t.wait("the log phases", function()
    local name = 'pointsman_app_request_seconds_count{app="full"}'
    return pcall(t.metric, name) and t.metric(name) == 2
end)
t.say(t.metric('pointsman_app_requests_total{app="full",code="2xx"}'), " ",
      t.metric('pointsman_app_requests_total{app="full",code="5xx"}'))
--- response_body
1 1 0
503 overloaded
1 1



=== all workers count, and a reload loses nothing
--- workers: 2
--- lua
local name = 'pointsman_app_requests_total{app="shop",code="2xx"}'
for _, worker in ipairs(t.connect_each(2)) do
    for _ = 1, 5 do
        worker:request("shop.test")
    end
end
local function reach(n)
    t.wait("the log phases", function()
        local ok, value = pcall(t.metric, name)
        return ok and value == n, value
    end)
end
reach(10)
t.reload()
t.get("shop.test")
reach(11)
t.say("11")
--- response_body
11



=== a thousand apps are told apart, the rest together; idle ones make room
--- records
inst shop a @a
--- lua
local lines = {}
for i = 1, 1010 do
    lines[i] = "route h" .. i .. ".test app" .. i .. "\ninst app" .. i .. " a @a"
end
t.change(table.concat(lines, "\n"))
local connection
for i = 1, 1010 do
    -- nginx ends a connection after a thousand requests.
    connection = i % 500 == 1 and t.connect() or connection
    assert(connection:request("h" .. i .. ".test").status == 200)
end
local function read()
    local page = t.get("localhost", "/pointsman/metrics").body
    local sum, apps, other = 0, 0, 0
    for app, n in page:gmatch(
            'pointsman_app_requests_total{app="([^"]+)",code="2xx"} (%d+)') do
        sum, apps = sum + n, apps + 1
        other = app == "_other" and tonumber(n) or other
    end
    return sum .. " " .. apps .. " " .. other, page
end
t.wait("the log phases", function()
    local text = read()
    return text == "1010 1001 10", text
end)
-- A thousand have had no request for eleven minutes; app1 has.
local metrics = require("pointsman.metrics.apps")
local time = ngx.now()
metrics.forget(time + 100)
connection:request("h1.test")
metrics.forget(time + 700)
metrics.forget(time + 800)
t.wait("the workers to learn of it", function()
    local text, page = read()
    connection:request("h1010.test")
    return page:find('app="app1010"', 1, true) ~= nil, text
end)
local text, page = read()
t.say(text:match("^%d+ (%d+)"), " ",
      page:match('app_requests_total{app="app1",code="2xx"} (%d+)'), " ",
      page:find('app="app2"', 1, true), " ",
      page:find("%-%d") == nil)
--- timeout: 30
--- response_body
902 2 nil true



=== hits by level add up to the requests that were routed
--- records
route shop.test shop
inst shop a @a
route *.wild.test shop
--- config
    location / {
        include pointsman/location.conf;
    }
    location /auth/ {
        auth_request /shop;
        include pointsman/location.conf;
    }
    location = /shop {
        internal;
        include pointsman/location.conf;
    }
--- lua
local n = 0
local function get(...)
    n = n + 1
    return t.get(...)
end
for i = 1, 5 do
    get("shop.test")
    get("unknown" .. i % 2 .. ".test")
    get("a" .. i .. ".wild.test")
    get("shop.test", "/auth/")
end
t.redis_stop()
t.wait("the feed to notice", function()
    return t.status().feed.state == "down"
end)
get("shop.test")
t.say(get("never.test").status)
t.redis_start()
local hits, sum = t.status().hits, 0
for _, level in pairs(hits) do
    sum = sum + level
end
t.say(sum == n or sum .. " of " .. n, " ", hits.none)
--- response_body
503
true 1
