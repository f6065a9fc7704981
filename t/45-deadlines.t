use TestPointsman;

# Deadlines, budgets, and attempts that count as none. Many requests fail on
# purpose, which nginx logs.
run_edge_tests(trouble => 1);

__DATA__

=== a slow upload does not use up the deadline, nor is it the instances' fault
--- records
route shop.test shop
policy shop {"deadline_ms":300}
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 3 do
    local response = t.get("shop.test", "/echo", { chunks = function()
        for _ = 1, 8 do
            coroutine.yield("x")
            ngx.sleep(0.06)
        end
    end })
    ngx.print(response.status, " ")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
200 200 200 0



=== who is cut off by the deadline has not failed
--- records
route shop.test shop
policy shop {"deadline_ms":300,"read_timeout_ms":250,"retries":1}
inst shop slow @hanging
inst shop b @b
--- lua
for _ = 1, 2 do
    t.get("shop.test", "/slow_if/b/0.2")
end
local aside = t.status().ejected
t.say(aside.shop.slow ~= nil, " ", aside.shop.b)
--- response_body
true nil



=== the attempt that nginx makes up when none is left is no failure
--- records
route shop.test shop
route again.test again
policy shop {"deadline_ms":200,"retries":2,"fail_on":["connect"]}
policy again {"retry_5xx":true,"retry_budget":0}
inst shop slow @hanging
inst shop b @b
inst again a @a
inst again b @b
--- lua
for _ = 1, 2 do
    t.get("shop.test", "/sleep/5")
end
for _ = 1, 130 do
    t.get("again.test", "/status/503")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
0



=== with the budget spent, the app's own answer is passed on
--- records
route shop.test shop
policy shop {"retry_5xx":true,"retry_budget":0}
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 130 do
    local response = t.get("shop.test", "/status/503")
    assert(response.status == 503 and response.headers["x-app"] == "said so")
end
t.say(t.requests("a") + t.requests("b") < 250)
--- response_body
true



=== closed idle connections are no retries that a budget counts
--- records
route shop.test shop
inst shop s @stale
--- lua
local connection = t.connect()
for _ = 1, 500 do
    assert(connection:request("shop.test").status == 200)
end
t.say("all")
--- response_body
all



=== a pinned request stays with its instance when an idle connection was closed
--- records
route shop.test shop
policy shop {"pin_header":"X-Pin"}
inst shop s @stale
inst shop b @b
--- lua
for _ = 1, 6 do
    ngx.print(t.show("shop.test", "/", { headers = { "X-Pin: s" } }), " ")
end
t.say("")
--- response_body
200 stale 200 stale 200 stale 200 stale 200 stale 200 stale 
