use TestPointsman;

# Here instances fail on purpose, which nginx logs as errors.
run_edge_tests(trouble => 1);

__DATA__

=== a refused connection is retried on another instance, for any method
--- records
route shop.test shop
policy shop {"fail_on":[]}
inst shop a @a
inst shop gone @refused
--- lua
for _, method in ipairs { "GET", "POST", "PUT", "DELETE", "PATCH" } do
    for _ = 1, 4 do
        local response = t.get("shop.test", "/echo",
            { method = method, body = method ~= "GET" and "x=1" or nil })
        assert(response.status == 200, method .. " " .. response.status)
        assert(response.body:find("^" .. method))
    end
end
t.say(t.requests("a"), " ", t.metric("pointsman_retries_total") >= 10)
--- response_body
20 true



=== a GET is retried when an instance closes without an answer
--- records
route shop.test shop
policy shop {"fail_on":["timeout"]}
inst shop a @a
inst shop closing @closing
--- lua
for _ = 1, 6 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.requests("closing") > 2)
--- response_body
true



=== a POST that was sent is not sent again
--- records
route shop.test shop
inst shop a @closing
inst shop b @closing
inst shop c @closing
--- lua
-- cold, and warm
for i = 1, 4 do
    local response = t.get("shop.test", "/", { body = "pay me" })
    t.say(response.status, " ", t.requests("closing") == i)
end
--- response_body
502 true
502 true
502 true
502 true



=== an app's own 502 to a POST is passed on, and not asked for twice
--- lua
for i = 1, 3 do
    t.say(t.show("shop.test", "/status/502", { body = "pay me" }), " ",
          t.requests("a") == i)
end
--- no_error_log
[error]
--- response_body
502 the app says 502 true
502 the app says 502 true
502 the app says 502 true



=== a retry never goes to an instance that was tried
--- records
route shop.test shop
app shop retries=3
inst shop a @closing
inst shop b @resetting
inst shop c @refused
inst shop d @a
--- lua
for _ = 1, 8 do
    local response = t.get("shop.test")
    assert(response.body == "a\n")
    local seen = {}
    for address in response.headers["x-tried"]:gmatch("[%d.]+:%d+") do
        assert(not seen[address], response.headers["x-tried"])
        seen[address] = true
    end
end
t.say("ok")
--- response_body
ok



=== however heavy an instance is, a retry goes to another one
--- records
route shop.test shop
policy shop {"fail_on":["timeout"]}
inst shop a @closing weight=1000
inst shop b @a weight=1
--- lua
for _ = 1, 6 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.requests("closing") >= 5)
--- response_body
true



=== no more instances are tried than the policy says
--- records
route shop.test shop
policy shop {"retries":2,"fail_on":[]}
inst shop a @refused
inst shop b 127.0.0.2:1
inst shop c 127.0.0.3:1
inst shop d 127.0.0.4:1
inst shop e 127.0.0.5:1
--- lua
for _ = 1, 3 do
    local response = t.get("shop.test")
    local _, n = response.headers["x-tried"]:gsub("[%d.]+:1", "")
    t.say(response.status, " ", n)
end
--- response_body
502 3
502 3
502 3



=== with retries 0 there is one attempt
--- records
route shop.test shop
policy shop {"retries":0,"fail_on":[]}
inst shop a @refused
inst shop b 127.0.0.2:1
--- lua
for _ = 1, 3 do
    local response = t.get("shop.test")
    local _, n = response.headers["x-tried"]:gsub("[%d.]+:1", "")
    t.say(response.status, " ", n)
end
--- response_body
502 1
502 1
502 1



=== the only instance is not asked twice on a connection of its own
--- records
route shop.test shop
inst shop a @closing
--- lua
for i = 1, 3 do
    t.say(t.show("shop.test"):sub(1, 3), " ", t.requests("closing") / i)
end
--- response_body
502 1
502 1
502 1



=== all refuse: 502, soon, and the worker is well
--- records
route shop.test shop
policy shop {"retries":5,"fail_on":[],"retry_budget":1000}
inst shop a @refused
inst shop b 127.0.0.2:1
inst shop c 127.0.0.3:1
route fine.test fine
inst fine a @a
--- lua
local before = collectgarbage("count")
for _ = 1, 100 do
    local response = t.get("shop.test")
    assert(response.status == 502)
    local _, n = response.headers["x-tried"]:gsub("[%d.]+:1", "")
    assert(n == 3, response.headers["x-tried"])
end
t.say(t.show("fine.test"), " ", collectgarbage("count") - before < 20000)
--- response_body
200 a true



=== an app that vanishes while a request is tried ends in 502, not for ever
--- records
route shop.test shop
app shop retries=3
inst shop a @hanging
inst shop b @hanging
--- config
    proxy_read_timeout 500ms;
    location / {
        include pointsman/location.conf;
    }
--- lua
-- cold, and warm
for i = 1, 2 do
    local statuses = t.together(
        function() return t.get("shop.test").status end,
        function()
            t.wait("the first attempt", function()
                return t.requests("hanging") == i
            end)
            t.change("del route shop.test\ndel inst shop a\ndel inst shop b")
        end)
    t.say(statuses[1], " ", t.requests("hanging"))
    t.change("route shop.test shop\ninst shop a @a")
    t.show("shop.test")
    t.change("inst shop a @hanging\ninst shop b @hanging")
end
--- response_body
502 1
502 2



=== a GET is retried when an instance hangs, within the user's time-out
--- records
route shop.test shop
inst shop a @hanging
inst shop b @a
--- config
    proxy_read_timeout 200ms;
    location / {
        include pointsman/location.conf;
    }
--- lua
for _ = 1, 4 do
    t.say(t.show("shop.test"))
end
--- response_body
200 a
200 a
200 a
200 a



=== an answer that breaks off half-way is not retried
--- records
route shop.test shop
inst shop a @a
inst shop b @b
--- lua
local connection = t.connect()
connection.last = true
local ok = pcall(connection.request, connection, "shop.test", "/half")
t.say(ok, " ", t.requests("a") + t.requests("b"))
--- response_body
false 1



=== a body too large for memory is sent again, whole, when nothing was sent
--- records
route shop.test shop
policy shop {"fail_on":[]}
inst shop a @a
inst shop gone @refused
--- lua
local body = ("0123456789abcdef"):rep(20000)
for _ = 1, 4 do
    local response = t.get("shop.test", "/echo", { body = body })
    t.say(response.body:match("body (%d+ %x+)") == #body .. " "
          .. ngx.md5(body))
end
--- response_body
true
true
true
true
