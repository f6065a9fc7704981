use TestPointsman;

# Here instances refuse connections on purpose, which nginx logs as errors.
run_edge_tests(trouble => 1);

__DATA__

=== an instance that refuses is left out by the requests that follow
--- records
route shop.test shop
inst shop a @a
inst shop b @b
inst shop gone @refused
--- lua
local refused = 0
for _ = 1, 30 do
    local response = t.get("shop.test")
    assert(response.status == 200)
    if response.headers["x-tried"]:find("127.0.0.1:1", 1, true) then
        refused = refused + 1
    end
end
t.say(refused, " ", t.metric("pointsman_ejections_total"))
t.say(t.requests("a"), " ", t.requests("b"))
--- response_body
1 1
15 15



=== all workers leave it out
--- workers: 2
--- records
route shop.test shop
inst shop a @a
inst shop gone @refused
--- lua
local workers = t.connect_each(2)
local function refused(worker)
    local n = 0
    for _ = 1, 10 do
        local response = worker:request("shop.test")
        if response.headers["x-tried"]:find("127.0.0.1:1", 1, true) then
            n = n + 1
        end
    end
    return n
end
t.say(refused(workers[1]), " ", refused(workers[2]))
--- response_body
1 0



=== it is tried again when its time is over
--- records
route shop.test shop
app shop fail_timeout_ms=300
inst shop a @a
inst shop gone @refused
--- lua
local function refused()
    local tried = t.get("shop.test").headers["x-tried"]
    return tried:find("127.0.0.1:1", 1, true) ~= nil, tried
end
t.wait("the first refusal", refused)
ngx.update_time()
local start = ngx.now()
t.wait("the second refusal", refused)
ngx.update_time()
local passed = ngx.now() - start
t.say(passed >= 0.29 and passed < 2 and "in time" or passed)
--- response_body
in time



=== an instance that moves to an address that accepts is used at once
--- records
route shop.test shop
inst shop a @a
inst shop b @refused
--- lua
for _ = 1, 4 do
    t.get("shop.test")
end
t.change("inst shop b @b")
local seen = {}
for _ = 1, 4 do
    seen[t.get("shop.test").headers["x-instance"]] = true
end
t.say(seen.a, " ", seen.b)
--- response_body
true true



=== the only instance is never ejected
--- records
route shop.test shop
inst shop gone @refused
--- lua
for _ = 1, 3 do
    t.say(t.show("shop.test"):sub(1, 3))
end
t.say(t.metric("pointsman_ejections_total"))
t.change("inst shop gone @a")
t.say(t.show("shop.test"))
--- response_body
502
502
502
0
200 a



=== when all are ejected, all are used
--- records
route shop.test shop
app shop retries=0
inst shop a @refused
inst shop b 127.0.0.2:1
--- lua
local seen = {}
for _ = 1, 6 do
    local tried = t.get("shop.test").headers["x-tried"]
    seen[tried:match("127.0.0.%d:1")] = true
end
t.say(seen["127.0.0.1:1"], " ", seen["127.0.0.2:1"])
t.say(t.metric("pointsman_ejections_total"))
--- response_body
true true
2



=== an answer whose header is too long ejects nobody
--- records
route shop.test shop
policy shop {"retries":0}
inst shop a @a
inst shop b @b
--- lua
local bad = 0
for _ = 1, 8 do
    bad = bad + (t.get("shop.test", "/long_header").status == 502 and 1 or 0)
end
t.say(bad, " ", t.metric("pointsman_ejections_total"))
--- response_body
8 0



=== a client that goes away ejects nobody
--- records
route shop.test shop
policy shop {"fail_on":["connect","timeout","5xx"]}
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 4 do
    local connection = t.connect(0.05)
    connection:request("shop.test", "/sleep/0.3")
    connection:close()
end
t.wait("the aborts", function()
    local n = t.metric('pointsman_requests_total{code="4xx"}')
    return n >= 4, n
end)
t.say(t.metric("pointsman_ejections_total"))
--- response_body
0



=== an instance that answers 500 or 502 is not ejected
--- records
route shop.test shop
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 4 do
    t.get("shop.test", "/status/502")
    t.get("shop.test", "/status/500")
end
t.say(t.metric("pointsman_ejections_total"))
t.say(t.requests("a"), " ", t.requests("b"))
--- response_body
0
4 4



=== the last attempt of a request is judged, too
--- records
route shop.test shop
app shop retries=0
inst shop a @a
inst shop gone @refused
--- lua
local bad = 0
for _ = 1, 10 do
    bad = bad + (t.get("shop.test").status == 502 and 1 or 0)
end
t.say(bad, " ", t.metric("pointsman_ejections_total"))
--- response_body
1 1



=== ejected in one app is not ejected in another
--- records
route one.test one
route two.test two
inst one x @a
inst one gone @refused
inst two x @b
inst two gone @a
--- lua
for _ = 1, 4 do
    t.get("one.test")
end
local seen = {}
for _ = 1, 4 do
    seen[t.get("two.test").headers["x-instance"]] = true
end
t.say(seen.a, " ", seen.b)
--- response_body
true true



=== the status page says who is ejected
--- records
route shop.test shop
inst shop a @a
inst shop gone @refused
--- lua
for _ = 1, 2 do
    t.get("shop.test")
end
local gone = t.status().ejected.shop.gone
t.say(gone.state, " ", gone.till > ngx.now())
--- response_body
ejected true



=== no log handler: refusals before the last attempt still count
--- without: log
--- records
route shop.test shop
inst shop a @a
inst shop gone @refused
--- lua
for _ = 1, 10 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
1



=== an instance that is registered again starts fresh, whatever its address
--- records
route shop.test shop
inst shop a @a
inst shop b @refused
--- lua
for _ = 1, 4 do
    t.get("shop.test")
end
assert(t.status().ejected.shop.b)
t.change("inst shop b @refused")
for _ = 1, 4 do
    t.get("shop.test")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
2



=== a failure counts although the user's error page is served by an app
--- config
    error_page 502 /sorry;
    location / {
        include pointsman/location.conf;
    }
--- records
rules shop.test [{"path":"/sorry","to":[{"app":"sorry"}]},{"path":"/","to":[{"app":"shop"}]}]
inst shop closing @closing
inst shop b @b
inst sorry c @c
--- lua
local n = { b = 0, c = 0 }
for _ = 1, 6 do
    local response = t.get("shop.test", "/", { body = "pay" })
    local id = response.headers["x-instance"]
    n[id] = n[id] + 1
end
t.say(n.b, " ", n.c, " ", t.metric("pointsman_ejections_total"))
--- response_body
5 1 1



=== a retry on 5xx goes to no ejected instance: the app's own answer is kept
--- records
route shop.test shop
policy shop {"retry_5xx":true,"retries":2,"retry_budget":1000}
inst shop a @a
inst shop b @closing
--- lua
t.wait("an ejection", function()
    t.get("shop.test")
    return t.status().ejected ~= ngx.null and t.status().ejected
end)
for _ = 1, 4 do
    local response = t.get("shop.test", "/status/503")
    t.say(response.status, " ", response.headers["x-app"])
end
--- response_body
503 said so
503 said so
503 said so
503 said so
