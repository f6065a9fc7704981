use TestPointsman;

run_edge_tests();

__DATA__

=== a miss leaves no trace in the log, and keeps the client's connection
--- lua
local connection = t.connect()
for _ = 1, 2 do
    local response = connection:request("shop.test")
    t.say(response.status, " ", response.headers.connection)
end
t.say(connection:request("unknown.test").status)
t.say(connection:request("shop.test").status)
--- response_body
200 keep-alive
200 keep-alive
404
200
--- no_error_log eval
[qr/\[(?:warn|error)\]/, "no live upstreams"]



=== a miss tells the app nothing but what the client sent
--- lua
local cold = t.get("shop.test", "/echo?x=1", { headers = { "X-A: b" } })
local warm = t.get("shop.test", "/echo?x=1", { headers = { "X-A: b" } })
local function bare(response)
    return (response.body:gsub("x%-request%-id: %x+\n", "")
                         :gsub("traceparent: [%x-]+\n", ""))
end
t.say(bare(cold) == bare(warm) and "alike" or bare(cold) .. bare(warm))
--- response_body
alike



=== the body of a POST to a cold host arrives whole, once
--- lua
local body = ("0123456789"):rep(30000)
local response = t.get("shop.test", "/echo", { body = body })
t.say(response.body:match("^POST /echo HTTP/1.1\n") and "POST")
t.say(response.body:match("body (%d+ %x+)") == #body .. " " .. ngx.md5(body))
t.say(t.requests("a"))
--- response_body
POST
true
1



=== a thousand requests for one cold host ask Redis once
--- lua
t.counts:set("hold_lookups", true)
local calls, waiting, right = {}, 0, 0
for i = 1, 1000 do
    calls[i] = function()
        local connection = t.connect()
        connection.last = true
        waiting = waiting + 1
        local response = connection:request("shop.test")
        connection:close()
        right = right + (response.body == "a\n" and 1 or 0)
    end
end
calls[1001] = function()
    t.wait("all to wait", function() return waiting == 1000, waiting end)
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
end
t.together(unpack(calls))
t.say(right, " right, ", t.lookups(), " look-up")
--- response_body
1000 right, 1 look-up



=== a host without a route is asked for once
--- lua
for _ = 1, 3 do
    t.say(t.show("unknown.test"))
end
t.say(t.lookups())
t.say(t.metric('pointsman_hits_total{level="negative"}'))
-- the first of them was answered by Redis
t.say(t.metric('pointsman_hits_total{level="redis"}'))
--- response_body
404 no_route
404 no_route
404 no_route
1
2
1



=== a host that is absent gets its route as soon as there is one
--- lua
t.say(t.show("new.test"))
t.change("route new.test shop")
t.say(t.show("new.test"))
--- response_body
404 no_route
200 a



=== many unknown hosts at once are turned away while known ones are served
--- setup
    max_misses = 3,
--- lua
t.show("shop.test")
t.counts:set("hold_lookups", true)
local calls = {}
for i = 1, 6 do
    calls[i] = function()
        local response = t.get("host" .. i .. ".test")
        return response.status .. " " .. response.headers["x-pointsman-error"]
               .. " " .. (response.headers["retry-after"] or "-")
    end
end
calls[7] = function()
    local shown = t.show("shop.test")
    t.wait("three to be turned away", function()
        return t.metric('pointsman_errors_total{reason="busy"}') == 3
    end)
    t.counts:delete("hold_lookups")
    return shown
end
local results = t.together(unpack(calls))
table.sort(results)
t.say(table.concat(results, "\n"))
--- response_body
200 a
404 no_route -
404 no_route -
404 no_route -
503 busy 1
503 busy 1
503 busy 1



=== a client that goes away does not leave the others waiting
--- http_config
    lua_check_client_abort on;
--- lua
t.counts:set("hold_lookups", true)
local gone = t.connect()
gone.sock:send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
t.wait("the first look-up", function() return t.lookups() == 1 end)
local answers = t.together(
    function() return t.show("shop.test") end,
    function() return t.show("shop.test") end,
    function()
        t.sleep(0.05)
        gone:close()
        t.sleep(0.05)
        t.counts:delete("hold_lookups")
    end)
t.say(answers[1], ", ", answers[2])
--- response_body
200 a, 200 a



=== pipelined requests are answered in order, cold and warm
--- records
route one.test one
route two.test two
inst one a @a
inst two b @b
--- lua
for _ = 1, 2 do
    local connection = t.connect()
    local text = ""
    for _, host in ipairs { "one.test", "two.test", "no.test", "one.test" } do
        text = text .. "POST / HTTP/1.1\r\nHost: " .. host
               .. "\r\nContent-Length: 4\r\n\r\nbody"
    end
    connection.sock:send(text)
    for _ = 1, 4 do
        local response = connection:response("POST")
        ngx.print(response.headers["x-instance"] or response.status, " ")
    end
end
--- response_body chomp
a b 404 a a b 404 a 



=== a request without a Host header is routed by the server's name
--- lua
local connection = t.connect()
connection.last = true
t.say(connection:request(nil, "/", { version = "1.0" }).status)
t.change("route localhost shop")
connection = t.connect()
connection.last = true
local response = connection:request(nil, "/echo", { version = "1.0" })
t.say(response.status, " ", response.body:match("host: [^\n]+"))
--- response_body
404
200 host: localhost
