use TestPointsman;

run_edge_tests();

__DATA__

=== requests to a paused host wait, and go on once it is resumed
--- records
route shop.test shop pause=1000
route other.test other
inst shop a @a
inst other b @b
--- lua
local resumed
local results = t.together(function()
    local shown = t.show("shop.test")
    return shown .. " " .. tostring(ngx.now() - resumed < 1)
end, function()
    return t.show("shop.test", "/echo", { body = "x" }):match("^%d+ %S+")
end, function()
    t.wait_waiting("paused shop.test", 2)
    -- Others are not held up, and nothing is in flight to an instance.
    local shown = t.show("other.test")
    t.say(shown, ", ", t.requests("a"))
    t.publish("route shop.test shop")
    ngx.update_time()
    resumed = ngx.now()
    return "-"
end)
t.say(results[1], ", ", results[2])
t.wait_waiting("paused shop.test", 0)
t.say(t.show("shop.test"))
--- response_body
200 b, 0
200 a true, 200 POST
200 a



=== a host is paused while it is cached, and again while requests go on
--- lua
t.say(t.show("shop.test"), " ", t.show("shop.test"))
t.change("route shop.test shop pause=5")
local results = t.together(function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
    -- Another change is no end of the pause.
    t.change("inst shop b @b\nroute shop.test other pause=5\ninst other b @b")
    -- (Time for a request that went on by mistake.)
    t.sleep(0.1)
    t.say(t.waiting("paused shop.test"))
    t.publish("route shop.test other")
    return "-"
end)
t.say(results[1])
--- response_body
200 a 200 a
1
200 b



=== a pause lets no more than `max` wait, in all workers together
--- workers: 2
--- records
route shop.test shop pause=3
inst shop a @a
--- lua
local workers, more = t.connect_each(2), t.connect_each(2)
local function ask(connection)
    return function()
        local response = connection:request("shop.test")
        local headers = response.headers
        return response.status .. " "
               .. (headers["x-pointsman-error"] or headers["x-instance"])
               .. " " .. (headers["retry-after"] or "-")
    end
end
local results = t.together(ask(workers[1]), ask(workers[2]), ask(more[1]),
                           function()
    t.wait_waiting("paused shop.test", 3)
    local result = ask(more[2])()
    local again = ask(t.connect())()
    t.publish("route shop.test shop")
    return result .. ", " .. again
end)
t.say(table.concat(results, ", "))
t.wait("the count of all workers", function()
    local n = t.metric('pointsman_errors_total{reason="paused"}')
    return n == 2, n
end)
--- response_body
200 a -, 200 a -, 200 a -, 503 paused 1, 503 paused 1



=== a request waits for pause_timeout at most
--- setup: pause_timeout = 0.3,
--- records
route shop.test shop pause=3
inst shop a @a
--- lua
local began = ngx.now()
t.say(t.show("shop.test"))
ngx.update_time()
local seconds = ngx.now() - began
t.say(seconds > 0.2 and seconds < 3 or seconds)
t.wait_waiting("paused shop.test", 0)
--- response_body
503 paused
true



=== an error page that leads back here does not wait again
--- setup: pause_timeout = 1,
--- config
    location / {
        error_page 503 @again;
        include pointsman/location.conf;
    }
    location @again {
        include pointsman/location.conf;
    }
--- records
route shop.test shop pause=3
inst shop a @a
--- lua
local began = ngx.now()
t.say(t.show("shop.test"))
ngx.update_time()
local seconds = ngx.now() - began
t.say(seconds > 0.9 and seconds < 1.9 or seconds)
--- response_body
503 paused
true



=== the hosts of a paused wildcard share its places
--- records
route *.shop.test shop pause=2
inst shop a @a
--- lua
local results = t.together(function()
    return t.show("one.shop.test")
end, function()
    return t.show("two.shop.test")
end, function()
    t.wait_waiting("paused *.shop.test", 2)
    local refused = t.show("three.shop.test")
    -- A route of its own is what counts for a host.
    t.publish("route one.shop.test own\ninst own b @b")
    t.wait_waiting("paused *.shop.test", 1)
    t.publish("route *.shop.test shop")
    return refused
end)
t.say(table.concat(results, ", "))
--- response_body
200 b, 200 a, 503 paused



=== a route that is deleted ends the wait with a 404
--- records
route shop.test shop pause=2
inst shop a @a
--- lua
t.say(t.show_after("paused shop.test", "del route shop.test"))
--- response_body
404 no_route



=== a client that goes away gives its place to another one
--- records
route shop.test shop pause=1
inst shop a @a
--- lua
local gone = t.connect(0.05)
t.together(function()
    pcall(gone.request, gone, "shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
end)
gone:close()
t.wait_waiting("paused shop.test", 0)
local results = t.together(function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
    t.publish("route shop.test shop")
    return "-"
end)
t.say(results[1], " ", t.requests("a"))
--- response_body
200 a 1



=== over HTTP/2, too: requests wait, and a stream that is reset gives its place
--- records
route shop.test shop pause=2
inst shop a @a
--- http_config
server {
    listen 127.0.0.30:$TEST_NGINX_SERVER_PORT http2;
    location / {
        include pointsman/location.conf;
    }
}
--- lua
local curl = "curl -s -m %s --http2-prior-knowledge --resolve shop.test:"
             .. t.port .. ":127.0.0.30 http://shop.test:" .. t.port .. "/ || true"
local results = t.together(function()
    return t.output(curl:format("5"))
end, function()
    t.shell("{ " .. curl:format("0.3") .. "; } &")
    t.wait_waiting("paused shop.test", 2)
    t.wait_waiting("paused shop.test", 1)
    t.publish("route shop.test shop")
    return "-"
end)
t.say((results[1]:gsub("%s", "")), " ", t.requests("a"))
--- response_body
a 1



=== a worker that is killed leaves no place taken
--- workers: 2
--- records
route shop.test shop pause=1
inst shop a @a
--- no_error_log
[emerg]
--- lua
local other, pid = t.other_worker()
t.together(function()
    other:request("shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
    t.shell("kill -KILL " .. pid)
end)
t.wait_waiting("paused shop.test", 0)
t.say(t.show_after("paused shop.test", "route shop.test shop"))
--- response_body
200 a



=== requests wait on over a reload, and count
--- records
route shop.test shop pause=1
inst shop a @a
--- lua
local results = t.together(function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
    local before = t.status().worker.pid
    t.reload()
    local response
    repeat      -- the old worker may accept for a moment more
        response = t.get("shop.test")
    until response.headers["x-worker"] ~= tostring(before)
    t.publish("route shop.test shop")
    return response.status .. " " .. response.headers["x-pointsman-error"]
end)
t.say(table.concat(results, ", "))
--- response_body
200 a, 503 paused



=== a WebSocket handshake, uploads and rules wait, too
--- records
record shop.test {"rules":[{"path":"/r","redirect":{"status":302,"path":"/to"}},{"path":"/","to":[{"app":"shop"}]}],"pause":{"max":9}}
inst shop a @a
--- config
    location / {
        proxy_request_buffering off;
        include pointsman/location.conf;
    }
--- lua
local results = t.together(function()
    local connection = t.connect()
    local response = connection:request("shop.test", "/ws", { headers = {
        "Connection: Upgrade", "Upgrade: websocket" } })
    connection.sock:send("one\n")
    return response.status .. " " .. connection.sock:receive()
end, function()
    return t.show("shop.test", "/echo", { body = ("x"):rep(3000000) })
           :match("body %d+")
end, function()
    return t.show("shop.test", "/echo", { chunks = function()
        for _ = 1, 30 do
            coroutine.yield(("y"):rep(100000))
        end
    end }):match("body %d+")
end, function()
    return t.show("shop.test", "/r"):match("^%d+")
end, function()
    t.wait_waiting("paused shop.test", 4)
    t.publish('record shop.test {"rules":[{"path":"/r","redirect":{"status":'
              .. '302,"path":"/to"}},{"path":"/","to":[{"app":"shop"}]}]}')
    return "-"
end)
t.say(table.concat(results, ", "))
--- response_body
101 echo one, body 3000000, body 3000000, 302, -



=== a host stays paused while Redis is away, and is resumed once it is back
--- records
route shop.test shop pause=9
inst shop a @a
--- no_error_log
[emerg]
--- lua
local results = t.together(function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("paused shop.test", 1)
    t.redis_stop()
    t.wait("the feed to notice", function()
        local state = t.status().feed.state
        return state ~= "live", state
    end)
    t.say(t.waiting("paused shop.test"))
    t.redis_start()
    t.publish("route shop.test shop\ninst shop b @b")
    return "-"
end)
t.say(results[1])
--- response_body
1
200 b



=== a subrequest waits like any other
--- records
route shop.test shop pause=5
inst shop a @a
--- http_config
server {
    listen 127.0.0.31:$TEST_NGINX_SERVER_PORT;
    location / {
        auth_request /guard;
        content_by_lua_block { ngx.say("granted") }
    }
    location = /guard {
        internal;
        include pointsman/location.conf;
    }
}
--- lua
local results = t.together(function()
    return t.show("shop.test", "/", { address = "127.0.0.31" })
end, function()
    t.wait_waiting("paused shop.test", 1)
    t.publish("route shop.test shop")
    return "-"
end)
t.say(results[1], " ", t.requests("a"))
--- response_body
200 granted 1



=== a thousand requests that wait cost next to nothing, and all go on
--- records
route shop.test shop pause=2000
inst shop a @a
--- lua
local connections = {}
for i = 1, 1000 do
    connections[i] = t.connect(20)
    connections[i].sock:send("GET / HTTP/1.1\r\nHost: shop.test\r\n"
                             .. "Connection: close\r\n\r\n")
end
t.wait_waiting("paused shop.test", 1000)
local function cpu()
    local stat = io.open("/proc/" .. ngx.worker.pid() .. "/stat")
    local text = stat:read("*a")
    stat:close()
    local user, system = text:match("%) %S" .. (" %S+"):rep(10)
                                    .. " (%d+) (%d+)")
    return tonumber(user) + tonumber(system)
end
local before, gen = cpu(), 0
local stop = ngx.now() + 1
while ngx.now() < stop do
    gen = gen + 1
    t.publish("route other" .. gen .. ".test shop")
    t.sleep(0.05)
end
-- In hundredths of a second, for this loop and the feed as well.
local used = cpu() - before
t.say(used < 50 or used)
t.publish("route shop.test shop")
local ok = 0
for i = 1, 1000 do
    ok = ok + (connections[i]:response("GET").status == 200 and 1 or 0)
end
t.say(ok)
--- response_body
true
1000



=== a broken pause does not take the route down
--- no_error_log
[emerg]
--- lua
t.say(t.show("shop.test"))
for _, pause in ipairs { "7", '"yes"', '{"max":-1}', '{"max":1.5}',
                         '{"most":1}', "null", "{}" } do
    local rules = '"rules":[{"path":"/","to":[{"app":"shop"}]}],"pause":'
    t.publish("record one.test {" .. rules .. pause .. "}")
    t.change("record shop.test {" .. rules .. pause .. "}")
    if pause ~= "{}" then
        t.say(pause, " ", t.show("shop.test"), " ", t.show("one.test"))
    end
end
-- Paused, as `max` has a default.
t.say(t.show_after("paused shop.test", "del route shop.test"))
--- error_log eval
["used what Redis has for one.test without its bad pause",
 "failed to use a change of route shop.test: bad pause"]
--- response_body
200 a
7 200 a 200 a
"yes" 200 a 200 a
{"max":-1} 200 a 200 a
{"max":1.5} 200 a 200 a
{"most":1} 200 a 200 a
null 200 a 200 a
404 no_route
