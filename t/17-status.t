use TestPointsman;

run_edge_tests();

__DATA__

=== the status page tells what this edge has, and how it got it
--- lua
t.get("shop.test")
t.get("shop.test")
t.get("unknown.test")
t.get("unknown.test")
local status = t.status()
t.say(status.epoch == t.redis("HGET", t.prefix .. "meta", "epoch"))
t.say(status.applied)
t.say(status.feed.state, " ", status.feed.errors)
t.say(status.worker.pid > 1, " ", status.worker.id, " ", status.workers)
for _, name in ipairs { "routes", "apps", "negatives", "state" } do
    local dict = status.dicts["pointsman_" .. name]
    t.say(name, " ", dict.entries, " ", dict.free > 0 and dict.free <= dict.capacity)
end
local hits = status.hits
t.say(hits.l1, " ", hits.l2, " ", hits.redis, " ", hits.negative)
t.say(status.bad_records)
--- response_body
true
1001
live 0
true 0 1
routes 1 true
apps 1 true
negatives 3 true
state nil true
1 0 2 1
0



=== the status page is JSON that nobody should keep
--- request
GET /pointsman/status
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body_like
^\{.*\}$



=== the metrics page is what Prometheus reads
--- records
route shop.test shop
route two.test two
inst shop a @a
inst two b @b
--- lua
t.get("shop.test")
t.get("two.test")
t.get("shop.test", "/status/404")
t.get("unknown.test")
local response = t.get("localhost", "/pointsman/metrics")
t.say(response.headers["content-type"])
-- https://prometheus.io/docs/instrumenting/exposition_formats/
local families, current, seen, bad = {}, nil, {}, 0
local sums = {}
for line in response.body:gmatch("([^\n]*)\n") do
    local ok = false
    local help = line:match("^# HELP ([%a_][%w_]*) %S")
    local typed, kind = line:match("^# TYPE ([%a_][%w_]*) (%l+)$")
    local name, labels, value = line:match("^([%a_][%w_]*)(%b{}) (%-?[%d.]+)$")
    if not name then
        name, value = line:match("^([%a_][%w_]*) (%-?[%d.]+)$")
        labels = ""
    end
    if help then
        ok = not families[help]
        current, families[help] = help, "untyped"
    elseif typed then
        ok = typed == current and families[typed] == "untyped"
        families[typed] = kind
    elseif name then
        local family = families[name] and name
                       or name:gsub("_bucket$", ""):gsub("_sum$", "")
                              :gsub("_count$", "")
        ok = family == current and not seen[name .. labels]
             and labels:gsub('[{,]?[%a_]+="[%w_.+-]*"', "") :find("^}?$") ~= nil
             and (families[family] ~= "counter" or name:find("_total$"))
        seen[name .. labels] = true
        if name:find("_bucket$") then
            -- Cumulative, and the last one is the count.
            local app, le = labels:match('app="(.-)",le="(.-)"')
            ok = ok and tonumber(value) >= (sums[app] or 0)
            sums[app] = le ~= "+Inf" and tonumber(value) or nil
            seen[family .. app] = value
        elseif name:find("_count$") then
            ok = ok and seen[family .. labels:match('app="(.-)"')] == value
        end
    end
    if not ok then
        bad = bad + 1
        t.say("bad line: ", line)
    end
end
t.say(bad, " ", families.pointsman_hits_total, " ",
      families.pointsman_applied_revision, " ",
      families.pointsman_app_request_seconds)
t.say(t.metric("pointsman_applied_revision"), " ",
      t.metric("pointsman_feed_live"))
--- response_body
text/plain; version=0.0.4; charset=utf-8
0 counter gauge histogram
1001 1



=== responses are counted by class
--- lua
t.get("shop.test")
t.get("shop.test", "/status/302")
t.get("shop.test", "/status/404")
t.get("shop.test", "/status/404")
t.get("shop.test", "/status/500")
t.get("unknown.test")
t.wait("the log phases", function()
    local n = t.metric('pointsman_requests_total{code="5xx"}')
    return n == 1, n
end)
t.say(t.metric('pointsman_requests_total{code="3xx"}'), " ",
      t.metric('pointsman_requests_total{code="4xx"}'))
--- response_body
1 3



=== what all workers counted is added up
--- workers: 3
--- lua
t.get("shop.test")
local before = t.metric('pointsman_hits_total{level="l1"}')
for _, worker in ipairs(t.connect_each(3)) do
    for _ = 1, 5 do
        worker:request("shop.test")
    end
end
t.wait("the sum", function()
    local l1 = t.metric('pointsman_hits_total{level="l1"}')
               + t.metric('pointsman_hits_total{level="l2"}')
    return l1 - before == 15, l1 - before
end)
t.say("15")
--- response_body
15



=== the status listener can be a server of its own
--- at_once
--- without: status
--- http_config
    server {
        listen 127.0.0.22:$TEST_NGINX_SERVER_PORT;
        include pointsman/status.conf;
        location / {
            return 404;
        }
    }
--- lua
local function ask(address, path)
    local sock = ngx.socket.tcp()
    assert(sock:connect(address, t.port))
    sock:send("GET " .. path .. " HTTP/1.0\r\nHost: x\r\n\r\n")
    return sock:receive():match("%d%d%d")
end
t.say(ask("127.0.0.22", "/pointsman/status"))
t.say(ask("127.0.0.22", "/pointsman/metrics"))
t.say(ask("127.0.0.1", "/pointsman/status"))
--- response_body
200
200
404



=== a cache that is full still routes, and says so
--- without: http
--- http_config
    lua_shared_dict pointsman_routes 64k;
    lua_shared_dict pointsman_apps 12k;
    lua_shared_dict pointsman_negatives 64k;
    lua_shared_dict pointsman_state 2m;
    lua_shared_dict pointsman_flights 1m;
--- lua
local text = {}
for i = 1, 100 do
    text[#text + 1] = "route r" .. i .. ".test app" .. i
    for j = 1, 5 do
        text[#text + 1] = "inst app" .. i .. " i" .. j .. " @a"
    end
end
t.change(table.concat(text, "\n"))
for _ = 1, 2 do
    for i = 1, 100 do
        local shown = t.show("r" .. i .. ".test")
        assert(shown == "200 a", i .. ": " .. shown)
    end
end
local dicts = t.status().dicts
t.say(dicts.pointsman_apps.full > 0)
-- and changes are followed, cached or not
t.change("inst app1 i1 @b\ninst app100 i1 @b\n"
         .. "del inst app1 i2\ndel inst app1 i3\ndel inst app1 i4\n"
         .. "del inst app1 i5\ndel inst app100 i2\ndel inst app100 i3\n"
         .. "del inst app100 i4\ndel inst app100 i5")
t.say(t.show("r1.test"), " ", t.show("r100.test"))
--- error_log
pointsman_apps is full
--- response_body
true
200 b 200 b



=== a flood of unknown hosts drives no known one out of the cache
--- without: http
--- http_config
    lua_shared_dict pointsman_routes 64k;
    lua_shared_dict pointsman_apps 64k;
    lua_shared_dict pointsman_negatives 32k;
    lua_shared_dict pointsman_state 2m;
    lua_shared_dict pointsman_flights 1m;
--- lua
t.get("shop.test")
local connection = t.connect()
for i = 1, 900 do
    assert(connection:request("unknown" .. i .. ".test").status == 404)
end
local before = t.lookups()
t.say(t.show("shop.test"), " ", t.lookups() - before)
t.say(t.status().dicts.pointsman_negatives.evicted > 0)
t.say(t.status().dicts.pointsman_routes.evicted)
--- response_body
200 a 0
true
0



=== each request counts once, by where its route came from
--- config
    location / {
        include pointsman/location.conf;
    }
--- records
route plain.test plain
rules rules.test [{"path":"/","headers":{"response":{"set":{"X-A":"1"}}},"to":[{"app":"ruled"}]}]
policy ruled {"retry_5xx":true,"balance":"least_conn"}
inst plain a @a
inst ruled b @b
--- lua
for _ = 1, 3 do
    for _, host in ipairs { "plain.test", "rules.test", "unknown.test" } do
        t.get(host)
    end
end
for _, level in ipairs { "l1", "l2", "redis", "negative", "stale", "none" } do
    t.say(level, " ", t.metric('pointsman_hits_total{level="' .. level .. '"}'))
end
--- response_body
l1 4
l2 0
redis 3
negative 2
stale 0
none 0



=== requests in flight that find no room push none out that did
--- without: http
--- http_config
    lua_shared_dict pointsman_routes 1m;
    lua_shared_dict pointsman_apps 1m;
    lua_shared_dict pointsman_negatives 1m;
    lua_shared_dict pointsman_state 2m;
    lua_shared_dict pointsman_flights 64k;
--- lua
local flights = require("pointsman.cache.dicts").flights
flights.add("first", 1)
for i = 1, 5000 do
    flights.add("other " .. i, 1)
end
t.say(flights.get("first"), " ", flights.get("w1") == ngx.worker.pid())
for i = 1, 5000 do
    flights.add("other " .. i, -1)
end
local left = 0
for _, key in ipairs(ngx.shared.pointsman_flights:get_keys(0)) do
    left = left + (key:find("^other") and 1 or 0)
end
t.say(left)
--- no_error_log
[error]
--- error_log
failed to count requests in flight: no memory
--- response_body
1 true
0
