use TestPointsman;

run_edge_tests();

__DATA__

=== an app's own errors are passed on as they are
--- lua
for _, code in ipairs { 400, 404, 429, 500, 502, 503, 504 } do
    for _ = 1, 2 do
        local response = t.get("shop.test", "/status/" .. code)
        assert(response.status == code)
        assert(response.body == "the app says " .. code .. "\n")
        assert(response.headers["x-app"] == "said so")
        assert(not response.headers["x-pointsman-error"])
    end
end
t.say(t.requests("a"))
--- response_body
14



=== an app cannot send a request on to another location of the edge
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /secret {
        internal;
        return 200 "the edge's secret\n";
    }
--- lua
-- cold and warm, GET and POST
for _ = 1, 2 do
    t.say(t.show("shop.test", "/accel"))
    t.say(t.show("shop.test", "/accel", { body = "x" }))
end
t.say(t.requests("a"))
--- response_body
200 the app's own words
200 the app's own words
200 the app's own words
200 the app's own words
4



=== an app that redirects to itself by X-Accel-Redirect gets one request
--- lua
t.get("shop.test", "/accelself", { body = "x" })
t.get("shop.test", "/accelself", { body = "x" })
t.say(t.requests("a"))
--- response_body
2



=== an app cannot pass its error off as one of Pointsman's
--- config
    location / {
        include pointsman/location.conf;
    }
    location /unbuffered/ {
        rewrite ^/unbuffered/(.*)$ /$1 break;
        include pointsman/location.conf; proxy_request_buffering off;
    }
--- lua
-- cold and warm; with a body, the unbuffered location asks beforehand
for _ = 1, 2 do
    for _, path in ipairs { "/forged", "/unbuffered/forged" } do
        for _, body in ipairs { false, "x" } do
            local response = t.get("shop.test", path, { body = body or nil })
            ngx.print(response.status, " ",
                      response.headers["x-pointsman-error"], " ",
                      response.body)
        end
    end
end
--- response_body eval
"404 nil the app's own words\n" x 8



=== a body of 502 is not taken for a miss by the log either
--- lua
t.get("shop.test", "/status/502")
t.get("shop.test", "/status/502")
t.say(t.metric('pointsman_hits_total{level="redis"}'))
--- response_body
1



=== an answer without a body, and one to HEAD, keep the connection in step
--- lua
local connection = t.connect()
for _ = 1, 2 do
    t.say(connection:request("shop.test", "/status/204").status)
    t.say(connection:request("shop.test", "/big/1000",
                             { method = "HEAD" }).headers["content-length"])
    t.say(connection:request("shop.test", "/status/304").status)
    ngx.print(connection:request("shop.test").body)
end
--- response_body
204
1000
304
a
204
1000
304
a



=== an answer that an app streams arrives as it comes
--- lua
for _ = 1, 2 do
    local connection = t.connect(5)
    local sock = connection.sock
    sock:send("GET /drip HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    local first = sock:receiveuntil("one\n")()
    t.say(first and "one" or "nothing")
    -- the app waits for this before it goes on
    t.counts:set("drip", true)
    t.say(sock:receiveuntil("two\n")() and "two")
    t.counts:delete("drip")
    connection:close()
end
--- response_body
one
two
one
two
