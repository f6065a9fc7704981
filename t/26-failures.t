use TestPointsman;

# Here instances fail on purpose, which nginx logs as errors.
run_edge_tests(trouble => 1);

__DATA__

=== max_fails: as many failures within fail_timeout eject an instance
--- records
route shop.test shop
policy shop {"max_fails":3}
inst shop a @a
inst shop gone @refused
--- lua
for _ = 1, 40 do
    assert(t.get("shop.test").status == 200)
end
t.say(t.metric("pointsman_retries_total"), " ",
      t.metric("pointsman_ejections_total"))
--- response_body
3 1



=== answers that do not come count, unless the app says that only connecting does
--- records
route shop.test shop
route patient.test patient
policy shop {"read_timeout_ms":100}
policy patient {"read_timeout_ms":100,"fail_on":["connect"]}
inst shop a @a
inst shop slow @hanging
inst patient b @b
inst patient slow @hanging
--- lua
for _ = 1, 6 do
    assert(t.show("shop.test") == "200 a")
    assert(t.show("patient.test") == "200 b")
end
t.say(t.metric("pointsman_ejections_total"), " ", t.requests("hanging") > 2)
--- response_body
1 true



=== server errors count if the app says so
--- records
route shop.test shop
route lax.test lax
policy shop {"fail_on":["5xx"],"max_fails":2}
inst shop a @a
inst shop b @b
inst lax a @a
inst lax c @c
--- lua
local statuses = {}
for _ = 1, 12 do
    local response = t.get("shop.test", "/fail_if/a/500")
    statuses[#statuses + 1] = response.status
end
t.say(table.concat(statuses, " "))
for _ = 1, 8 do
    t.get("lax.test", "/fail_if/a/500")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body_like
^(?:500 200|200 500) (?:500 200|200 500)(?: 200){8}
1$



=== half-open: when its time is over, one request at a time tries an instance
--- workers: 2
--- records
route shop.test shop
policy shop {"fail_timeout_ms":300,"read_timeout_ms":400}
inst shop a @a
inst shop slow @hanging
--- lua
local workers = t.connect_each(2)
for i = 1, 6 do
    assert(workers[i % 2 + 1]:request("shop.test").status == 200)
end
local before = t.requests("hanging")
ngx.sleep(0.35)
-- A dozen at once: one of them is the probe.
local calls = {}
for i = 1, 12 do
    calls[i] = function()
        return t.get("shop.test").status
    end
end
t.together(unpack(calls))
t.say(before, " ", t.requests("hanging") - before)
--- response_body
1 1



=== half-open: a probe that is answered ends it for all workers
--- workers: 2
--- records
route shop.test shop
policy shop {"fail_timeout_ms":200,"fail_on":["5xx"]}
inst shop a @a
inst shop b @b
--- lua
local workers = t.connect_each(2)
for _ = 1, 4 do
    workers[1]:request("shop.test", "/fail_if/a/500")
end
ngx.sleep(0.25)
t.wait("the probe", function()
    return workers[2]:request("shop.test").headers["x-instance"] == "a"
end)
ngx.sleep(0.05)
local n = { a = 0, b = 0 }
for i = 1, 20 do
    local id = workers[i % 2 + 1]:request("shop.test").headers["x-instance"]
    n[id] = n[id] + 1
end
t.say(n.a, " ", n.b)
--- response_body
10 10



=== half-open: an instance that hangs gets nothing more while its probe waits
--- workers: 2
--- records
route shop.test shop
policy shop {"fail_timeout_ms":300,"read_timeout_ms":100}
inst shop a @a
inst shop slow @hanging
--- lua
for _ = 1, 4 do
    assert(t.get("shop.test").status == 200)
end
t.say(t.requests("hanging"))
-- From now on it may take its time.
t.change([[policy shop {"fail_timeout_ms":300}]])
ngx.sleep(0.35)
local calls = {}
for i = 1, 4 do
    calls[i] = function()
        local connection = t.connect(30)
        for _ = 1, 15 do
            connection.sock:settimeout(3000)
            if not connection:request("shop.test") then
                connection:close()
                return "waited"
            end
            ngx.sleep(0.2)
        end
        return "served"
    end
end
local ends = t.together(unpack(calls))
table.sort(ends)
t.say(table.concat(ends, " "), " ", t.requests("hanging"))
t.say(t.status().ejected.shop.slow.state)
--- response_body
1
served served served waited 2
half-open



=== half-open: who gave the probe up is no proof, and the next one waits
--- records
route shop.test shop
policy shop {"fail_timeout_ms":600,"read_timeout_ms":100}
inst shop a @a
inst shop slow @hanging
--- lua
for _ = 1, 4 do
    assert(t.get("shop.test").status == 200)
end
t.change([[policy shop {"fail_timeout_ms":600}]])
ngx.sleep(0.65)
-- The probe's client has no patience.
local before = t.requests("hanging")
local function ask()
    local connection = t.connect(0.1)
    connection:request("shop.test")
    connection:close()
end
for _ = 1, 6 do
    ask()
end
t.say(before, " ", t.requests("hanging") - before)
t.say(t.status().ejected.shop.slow.state, " ",
      t.metric("pointsman_ejections_total"))
t.wait("the next probe", function()
    ask()
    return t.requests("hanging") - before == 2
end)
--- response_body
1 1
half-open 1



=== half-open: a WebSocket is a probe that does not end; another one may follow
--- records
route shop.test shop
policy shop {"fail_timeout_ms":200,"fail_on":["5xx"]}
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 4 do
    t.get("shop.test", "/fail_if/a/500")
end
ngx.sleep(0.25)
local upgrade = { headers = { "Upgrade: websocket", "Connection: upgrade" } }
local sockets = {}
t.wait("the probe", function()
    local connection = t.connect()
    sockets[#sockets + 1] = connection
    local response = connection:request("shop.test", "/ws", upgrade)
    return response.headers["x-tried"]:find("127.0.0.2:", 1, true)
end)
-- (This one, and a probe of its own soon after it.)
t.wait("another probe, which ends", function()
    return t.status().ejected == ngx.null,
           t.get("shop.test").headers["x-instance"]
end, 3)
for _, connection in ipairs(sockets) do
    assert(connection.sock:send("x\n"))
    assert(connection.sock:receive() == "echo x")
    connection:close()
end
--- response_body



=== half-open: a probe whose worker is killed is not waited for
--- workers: 2
--- records
route shop.test shop
policy shop {"fail_timeout_ms":300,"read_timeout_ms":100}
inst shop a @a
inst shop slow @hanging
--- no_error_log
[emerg]
--- lua
for _ = 1, 4 do
    assert(t.get("shop.test").status == 200)
end
t.change([[policy shop {"fail_timeout_ms":300}]])
ngx.sleep(0.35)
local other, pid = t.other_worker()
local before = t.requests("hanging")
t.together(function()
    while other:request("shop.test") do end
end, function()
    t.wait("the probe", function()
        return t.requests("hanging") > before
    end)
    t.shell("kill -KILL " .. pid)
end)
local began = ngx.now()
t.wait("the next probe", function()
    local connection = t.connect(0.1)
    connection:request("shop.test")
    connection:close()
    return t.requests("hanging") == before + 2
end)
t.say(ngx.now() - began < 3)
--- response_body
true



=== half-open: a probe that fails ejects it again, whatever max_fails says
--- records
route shop.test shop
policy shop {"fail_timeout_ms":200,"max_fails":3}
inst shop a @a
inst shop gone @refused
--- lua
for _ = 1, 10 do
    t.get("shop.test")
end
local before = t.metric("pointsman_retries_total")
ngx.sleep(0.25)
for _ = 1, 10 do
    assert(t.get("shop.test").status == 200)
end
t.say(before, " ", t.metric("pointsman_retries_total"))
--- response_body
3 4



=== if all are ejected, all are used, and the only instance never is
--- records
route shop.test shop
route one.test one
policy shop {"fail_on":["5xx"],"retries":0}
policy one {"fail_on":["5xx"]}
inst shop a @a
inst shop b @b
inst one c @c
--- lua
for _ = 1, 6 do
    t.get("shop.test", "/status/500")
end
local seen = {}
for _ = 1, 4 do
    seen[t.show("shop.test")] = true
end
t.say(seen["200 a"], seen["200 b"])
for _ = 1, 3 do
    t.get("one.test", "/status/500")
end
t.say(t.show("one.test"), " ", t.metric("pointsman_ejections_total"))
--- response_body
truetrue
200 c 2



=== retry_5xx: server errors of idempotent requests are asked of another one
--- records
route shop.test shop
policy shop {"retry_5xx":true}
inst shop a @a
inst shop b @b
--- lua
for _, status in ipairs { 500, 502, 503, 504 } do
    for _ = 1, 4 do
        local response = t.get("shop.test", "/fail_if/a/" .. status)
        assert(response.status == 200 and response.headers["x-instance"] == "b")
    end
end
local n = t.requests("a") + t.requests("b")
local post = { 0, 0 }
for _ = 1, 4 do
    local response = t.get("shop.test", "/fail_if/a/503", { body = "pay" })
    post[response.status == 503 and 1 or 2] =
        post[response.status == 503 and 1 or 2] + 1
end
t.say(post[1], " ", post[2], " ", t.requests("a") + t.requests("b") - n)
t.say(t.show("shop.test", "/status/404"))
--- response_body
2 2 4
404 the app says 404



=== retry_idempotency_key: a POST with a key is as good as a GET
--- records
route shop.test shop
policy shop {"retry_idempotency_key":true,"retry_5xx":true}
inst shop a @a
inst shop b @b
--- lua
local function post(key)
    local n = {}
    for _ = 1, 4 do
        local response = t.get("shop.test", "/fail_if/a/503",
            { body = ("pay me"):rep(50000), headers = { key } })
        n[response.status] = (n[response.status] or 0) + 1
        assert(response.status == 503
               or response.body:find("300000", 1, true))
    end
    return n
end
t.say(post("Idempotency-Key: 7")[200], " ", post("X-Key: 7")[200])
--- response_body
4 2



=== attempts: no more than asked for, never the same instance twice
--- records
route shop.test shop
policy shop {"retries":2,"fail_on":[]}
inst shop a @closing
inst shop b @resetting
inst shop c @refused
inst shop d @a
--- lua
local worst = 0
for _ = 1, 12 do
    local tried = t.get("shop.test").headers["x-tried"]:match("([^:]*:%d+[^a-z]*)$")
    tried = tried:gsub("^.* : ", "")
    local seen, n = {}, 0
    for addr in tried:gmatch("[%d.]+:%d+") do
        assert(not seen[addr], tried)
        seen[addr], n = true, n + 1
    end
    worst = n > worst and n or worst
end
t.say(worst)
--- response_body
3



=== a deadline ends the attempts
--- records
route shop.test shop
policy shop {"retries":3,"deadline_ms":300,"fail_on":[]}
inst shop a @hanging
inst shop b @hanging
--- lua
local began = ngx.now()
local response = t.get("shop.test")
ngx.update_time()
local took = ngx.now() - began
t.say(response.status == 502 or response.status == 504, " ",
      took > 0.25 and took < 2 or took)
t.say(t.requests("hanging"))
--- response_body
true true
1



=== time-outs are the app's own
--- records
route quick.test quick
route slow.test slow
policy quick {"read_timeout_ms":100}
policy slow {"connect_timeout_ms":1000,"send_timeout_ms":1000,"read_timeout_ms":5000}
inst quick a @a
inst slow a @a
--- lua
t.say(t.get("quick.test", "/sleep/0.5").status, " ",
      t.show("slow.test", "/sleep/0.5"))
--- response_body
504 200 slept



=== the retry budget: an app that fails is not asked again and again
--- records
route shop.test shop
policy shop {"retries":1,"retry_budget":0,"fail_on":[]}
inst shop a @closing
inst shop b @closing
--- lua
-- The reserve is a hundred, and ten a second.
for _ = 1, 200 do
    t.get("shop.test")
end
local asked = t.requests("closing")
t.say(asked >= 300 and asked < 360 or asked)
--- response_body
true



=== one fails, one hangs, one refuses: all that is idempotent is answered
--- workers: 2
--- records
route shop.test shop
policy shop {"retries":3,"retry_5xx":true,"read_timeout_ms":300,"connect_timeout_ms":300,"fail_timeout_ms":1000,"fail_on":["connect","timeout","5xx"]}
inst shop good @a
inst shop failing @b
inst shop hanging @hanging
inst shop gone @refused
--- timeout: 60
--- lua
local statuses = {}
local function run()
    local connection = t.connect(30)
    for _ = 1, 250 do
        local response = assert(connection:request("shop.test",
                                                   "/fail_if/b/500"))
        statuses[response.status] = (statuses[response.status] or 0) + 1
    end
    connection:close()
end
local calls = {}
for i = 1, 20 do
    calls[i] = run
end
t.together(unpack(calls))
t.say(statuses[200])
t.say(t.requests("b") > 0, t.requests("hanging") > 0,
      t.metric("pointsman_ejections_total") > 2)
--- response_body
5000
truetruetrue
