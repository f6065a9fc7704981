use TestPointsman;

# Requests that end, or go on, elsewhere than they were decided: jumps, error
# pages, subrequests, changes meanwhile. Many fail on purpose, which nginx logs.
run_edge_tests(trouble => 1);

__DATA__

=== subrequests, which have no end that is told, keep no instance busy
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /sub {
        content_by_lua_block {
            local answer = ngx.location.capture("/inner")
            ngx.say("inner ", answer.status)
        }
    }
--- records
route shop.test shop
policy shop {"max_conns":2}
inst shop a @a
--- lua
t.get("shop.test")
for _ = 1, 6 do
    local shown = t.show("shop.test", "/sub")
    assert(shown == "200 inner 200", shown)
end
t.say(t.show("shop.test"))
--- response_body
200 a



=== apps that need more are served while the table is being built, too
--- records
route again.test again
route events.test events
route least.test least
policy again {"retry_5xx":true}
policy events {"buffering":false}
policy least {"balance":"least_conn"}
inst again a @a
inst events b @b
inst least c @c
--- redis
HSET test:meta state building
--- at_once
--- lua
t.say(t.show("again.test"), ", ", t.show("events.test"), ", ",
      t.show("least.test"))
--- response_body
200 a, 200 b, 200 c



=== an error page of the user's that leads back is decided again
--- config
    error_page 502 503 /sorry;
    location / {
        include pointsman/location.conf;
    }
--- records
rules shop.test [{"path":"/sorry","to":[{"app":"sorry"}]},{"path":"/","to":[{"app":"shop"}]}]
rules bad.test [{"path":"/sorry","to":[{"app":"sorry"}]},{"path":"/","to":[{"app":"bad"}]}]
policy shop {"retry_5xx":true}
policy bad {"balance":"least_conn"}
inst sorry b @b
inst bad gone @refused
--- lua
for _ = 1, 2 do
    local none = t.get("shop.test")
    local bad = t.get("bad.test")
    t.say(none.status, " ", none.headers["x-instance"], ", ", bad.status,
          " ", bad.headers["x-instance"])
end
--- response_body
503 b, 502 b
503 b, 502 b



=== an error page of the user's that leads back keeps no instance busy
--- config
    error_page 502 503 /sorry;
    location / {
        include pointsman/location.conf;
    }
    location = /sorry {
        include pointsman/location.conf;
    }
--- records
route bad.test bad
policy bad {"max_conns":3}
inst bad c @closing
--- lua
local last
for _ = 1, 8 do
    last = t.get("bad.test").headers["x-pointsman-error"]
end
t.say(last)
--- response_body
nil



=== control characters in a rewritten path are encoded again
--- records
rules shop.test [{"path":"/api","rewrite":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, path in ipairs { "/api/echo/%0d%0aX:y", "/api/echo/%7f",
                        "/api/echo/%3Fx%23y%25z", "/api/echo/%C3%A4?q=%2F" } do
    t.say(t.get("shop.test", path).body:match("^[^\n]*"))
end
--- response_body
GET /echo/%0D%0AX:y HTTP/1.1
GET /echo/%7F HTTP/1.1
GET /echo/%3Fx%23y%25z HTTP/1.1
GET /echo/%C3%A4?q=%2F HTTP/1.1



=== a client that gives up does not end a trial
--- records
route shop.test shop
policy shop {"read_timeout_ms":300,"fail_timeout_ms":400,"retries":1}
inst shop slow @hanging
inst shop b @b
--- lua
local function give_up()
    local connection = t.connect()
    connection.sock:send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    ngx.sleep(0.02)
    connection:close()
end
for _ = 1, 3 do
    t.get("shop.test")
end
ngx.sleep(0.45)
local before = t.requests("hanging")
for _ = 1, 10 do
    give_up()
end
t.say(before, " ", t.requests("hanging") - before)
--- response_body
1 1



=== a session that lost its instance settles on another one
--- records
route shop.test shop
policy shop {"sticky":{"with":"JSESSIONID"}}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local response = t.get("shop.test", "/login")
local cookie = response.cookies[2]:match("^[^;]+")
t.change("del inst shop " .. response.headers["x-instance"])
local seen, n = {}, 0
for _ = 1, 6 do
    response = t.get("shop.test", "/",
        { headers = { "Cookie: JSESSIONID=1; " .. cookie } })
    cookie = response.cookies[1] and response.cookies[1]:match("^[^;]+")
             or cookie
    local id = response.headers["x-instance"]
    n, seen[id] = n + (seen[id] and 0 or 1), true
end
t.say(n)
--- response_body
1



=== an error of nginx's own begins no session
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop gone @refused
--- lua
local response = t.get("shop.test")
t.say(response.status, " ", response.headers["set-cookie"])
--- response_body
502 nil



=== a host that gets rules while an attempt hangs
--- config
    proxy_read_timeout 500ms;
    location / {
        include pointsman/location.conf;
    }
--- records
route shop.test shop
inst shop h @hanging
inst shop i @hanging
--- lua
local results = t.together(
    function()
        return t.get("shop.test").status
    end,
    function()
        ngx.sleep(0.1)
        t.change([[rules shop.test [{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"shop"}]}] ]])
    end)
t.say(results[1])
--- response_body
504



=== an instance that went while a body came in is not asked
--- config
    location / {
        include pointsman/location.conf; proxy_request_buffering off;
    }
--- records
route shop.test shop
policy shop {"retry_5xx":true}
inst shop a @a
--- lua
t.say(t.show("shop.test"))
local response = t.get("shop.test", "/echo", { chunks = function()
    coroutine.yield("x")
    ngx.sleep(0.1)
    t.change("inst shop b @b\ndel inst shop a")
    coroutine.yield("y")
end })
t.say(response.status, " ", response.headers["x-instance"])
--- response_body
200 a
200 b



=== hosts of a wildcard share its rules
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /memory {
        content_by_lua_block {
            collectgarbage()
            collectgarbage()
            ngx.print(collectgarbage("count"))
        }
    }
--- records
rules *.test [{"path":"/a","when":[{"header":"X-A","exact":"1"}],"to":[{"app":"shop"}]},{"path":"/b","when":[{"header":"X-A","exact":"1"}],"to":[{"app":"shop"}]},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
local connection = t.connect()
local function memory()
    return tonumber(t.get("localhost", "/memory").body)
end
connection:request("x.test")
local before = memory()
for i = 1, 3000 do
    if i % 900 == 0 then
        connection = t.connect()
    end
    assert(connection:request("h" .. i .. ".test").status == 200)
end
local bytes = (memory() - before) * 1024 / 3000
-- Rules of their own would take 4,000 bytes each.
t.say(bytes < 1500 or bytes)
--- response_body
true



=== ewma does not take failing fast for being fast
--- records
route shop.test shop
policy shop {"balance":"ewma"}
inst shop a @a
inst shop b @b
--- lua
local n = { a = 0, b = 0 }
for _ = 1, 60 do
    local response = t.get("shop.test", "/fail_if/a/500")
    local id = response.headers["x-instance"]
    n[id] = n[id] + 1
end
t.say(n.a < 45 or n.a)
--- response_body
true



=== a header's name keeps its underscores
--- records
rules shop.test [{"path":"/","headers":{"response":{"set":{"X_Foo":"v"}}},"to":[{"app":"shop"}]}]
inst shop a @a
--- lua
local headers = t.get("shop.test").headers
t.say(headers["x_foo"], " ", headers["x-foo"])
--- response_body
v nil



=== a subrequest that fails grants nothing
--- config
    error_page 404 =200 /page;
    location = /page {
        return 200 "the page\n";
    }
    location = / {
        auth_request /auth;
        content_by_lua_block { ngx.say("let in") }
    }
    location = /unbuffered {
        auth_request /auth_unbuffered;
        content_by_lua_block { ngx.say("let in") }
    }
    location = /auth {
        internal;
        include pointsman/location.conf;
    }
    location = /auth_unbuffered {
        internal;
        include pointsman/location.conf; proxy_request_buffering off;
    }
    location = /warm {
        include pointsman/location.conf;
    }
    proxy_read_timeout 100ms;
--- records
route known.test known
route gone.test gone
route slow.test slow
inst known a @a
inst gone refused @refused
inst slow hanging @hanging
--- lua
local function ask()
    for _, path in ipairs { "/", "/unbuffered" } do
        for _, host in ipairs { "known.test", "gone.test", "slow.test" } do
            ngx.print(t.get(host, path).status, " ")
        end
    end
    t.say("")
end
-- cold, then warm
ask()
for _, host in ipairs { "known.test", "gone.test", "slow.test" } do
    ngx.print(t.get(host, "/warm").status, " ")
end
t.say("")
ask()
--- response_body
200 500 500 200 500 500 
200 502 504 
200 500 500 200 500 500 



=== what an app asks for while a body is read is left out, not a 502
--- records
route shop.test shop
inst shop a @a
--- lua
local changes = {
    'policy shop {"retry_5xx":true}', 'policy shop {"sticky":{}}',
    'policy shop {"buffering":false}',
    'rules shop.test [{"path":"/","headers":{"response":{"set":{"X-A":"1"}}},"to":[{"app":"shop"}]}]',
}
for _, change in ipairs(changes) do
    t.change("route shop.test shop\npolicy shop {}")
    assert(t.show("shop.test") == "200 a")
    local response = t.connect():request("shop.test", "/", {
        chunks = function()
            coroutine.yield("x")
            t.change(change)
            coroutine.yield("x")
        end,
    })
    t.say(response.status)
end
--- response_body
200
200
200
200



=== an app that reaches its limit while a body is read says so
--- records
route shop.test shop
policy shop {"max_conns":1}
inst shop a @a
--- lua
local function stay()
    return t.get("shop.test", "/slow_if/a/0.5").status
end
local function send()
    local response = t.connect():request("shop.test", "/", {
        chunks = function()
            coroutine.yield("x")
            t.wait("the other one", function()
                return t.requests("a") == 1
            end)
            coroutine.yield("x")
        end,
    })
    return response.status .. " " .. response.headers["x-pointsman-error"]
           .. " " .. response.headers["retry-after"]
end
local answers = t.together(send, stay)
t.say(answers[1], ", ", answers[2])
t.say(t.metric('pointsman_errors_total{reason="overloaded"}'))
--- response_body
502 overloaded 1, 200
1
