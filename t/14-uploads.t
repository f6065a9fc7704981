use TestPointsman;

# Cold and warm: a host's first request leaves the fast location by 502 and goes
# on in another one, and its body must come along.

add_block_preprocessor(sub {
    my $block = shift;
    return unless defined $block->unbuffered;
    $block->set_value(config => <<'_EOC_');
    location / {
        include pointsman/location.conf; proxy_request_buffering off;
    }
_EOC_
});

run_edge_tests();

__DATA__

=== a large body arrives byte for byte, cold and warm
--- config
    location / {
        include pointsman/location.conf;
        client_max_body_size 0;
    }
--- lua
local body = ("0123456789abcdef"):rep(1250000)
local expected = "body " .. #body .. " " .. ngx.md5(body)
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { body = body })
    t.say(response.status, " ", response.body:match("body %d+ %x+") == expected)
end
t.say(#body, " ", t.requests("a"))
--- response_body
200 true
200 true
20000000 2



=== the same, unbuffered
--- unbuffered
--- lua
local body = ("0123456789abcdef"):rep(1250000)
local expected = "body " .. #body .. " " .. ngx.md5(body)
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { body = body })
    t.say(response.status, " ", response.body:match("body %d+ %x+") == expected)
end
t.say(#body, " ", t.requests("a"))
--- response_body
200 true
200 true
20000000 2



=== a chunked body arrives whole, cold and warm
--- lua
local piece = ("0123456789"):rep(1000)
local body = piece:rep(50)
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { chunks = function()
        for _ = 1, 50 do
            coroutine.yield(piece)
        end
    end })
    t.say(response.body:match("^[^\n]*"), " ",
          response.body:match("body (%d+ %x+)") == #body .. " "
          .. ngx.md5(body))
end
--- response_body
POST /echo HTTP/1.1 true
POST /echo HTTP/1.1 true



=== a chunked body arrives whole, unbuffered
--- unbuffered
--- lua
local piece = ("0123456789"):rep(1000)
local body = piece:rep(50)
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { chunks = function()
        for _ = 1, 50 do
            coroutine.yield(piece)
        end
    end })
    t.say(response.body:match("^[^\n]*"), " ",
          response.body:match("body (%d+ %x+)") == #body .. " "
          .. ngx.md5(body))
end
--- response_body
POST /echo HTTP/1.1 true
POST /echo HTTP/1.1 true



=== a body that comes slowly arrives whole, cold and warm
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { chunks = function()
        for i = 1, 5 do
            coroutine.yield("piece " .. i .. ",")
            t.sleep(0.02)
        end
    end })
    t.say(response.body:match("body %d+"))
end
--- response_body
body 40
body 40



=== unbuffered, an app sees the beginning of a body before its end is sent
--- unbuffered
--- lua
-- cold, and warm
for i = 1, 2 do
    local connection = t.connect()
    local sock = connection.sock
    sock:send("POST /first HTTP/1.1\r\nHost: shop.test\r\n"
              .. "Content-Length: 14\r\n\r\nbeginning\n")
    t.wait("the app to read", function()
        return t.counts:get("first") == i
    end)
    sock:send("end\n")
    t.say(connection:response("POST").status)
    connection:close()
end
--- response_body
200
200



=== buffered, an app sees nothing of a body before all of it is there
--- lua
for i = 1, 2 do
    local response = t.get("shop.test", "/echo", { chunks = function()
        coroutine.yield("beginning\n")
        t.sleep(0.1)
        assert(t.requests("a") == i - 1)
        coroutine.yield("end\n")
    end })
    t.say(response.status, " ", response.body:match("body %d+"))
end
--- response_body
200 body 14
200 body 14



=== unbuffered, requests without a body go the fast way
--- unbuffered
--- lua
for _, method in ipairs { "GET", "HEAD", "GET" } do
    t.say(t.get("shop.test", "/", { method = method }).status)
end
t.say(t.show("unknown.test"), ", ", t.show("unknown.test"))
t.say(t.metric('pointsman_hits_total{level="redis"}'), " ",
      t.metric('pointsman_hits_total{level="l1"}'))
--- response_body
200
200
200
404 no_route, 404 no_route
2 2



=== unbuffered, a body for a host that is not routed gets the error
--- unbuffered
--- lua
local connection = t.connect()
for _ = 1, 2 do
    local response = connection:request("unknown.test", "/",
                                        { body = ("x"):rep(1000) })
    t.say(response.status, " ", response.headers["x-pointsman-error"])
end
t.say(connection:request("shop.test").status)
--- response_body
404 no_route
404 no_route
200



=== unbuffered, a GET with a body is looked after, too
--- unbuffered
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo",
                           { method = "GET", body = "question" })
    t.say(response.body:match("^[^\n]*"), " ", response.body:match("body %d+"))
end
--- response_body
GET /echo HTTP/1.1 body 8
GET /echo HTTP/1.1 body 8



=== unbuffered, hits are counted once
--- unbuffered
--- lua
for _ = 1, 3 do
    t.get("shop.test", "/", { body = "x" })
end
t.say(t.metric('pointsman_hits_total{level="redis"}'), " ",
      t.metric('pointsman_hits_total{level="l1"}'), " ",
      t.metric('pointsman_hits_total{level="l2"}'))
--- response_body
1 2 0



=== Expect: 100-continue is answered, cold and warm
--- lua
for _ = 1, 2 do
    local connection = t.connect()
    local sock = connection.sock
    sock:send("POST /echo HTTP/1.1\r\nHost: shop.test\r\n"
              .. "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    t.say(sock:receive())
    sock:receive()
    sock:send("body")
    local response = connection:response("POST")
    t.say(response.status, " ", response.body:match("body %d+"))
    connection:close()
end
--- response_body
HTTP/1.1 100 Continue
200 body 4
HTTP/1.1 100 Continue
200 body 4



=== a body over the user's limit is refused, cold and warm, and not sent
--- config
    location / {
        client_max_body_size 10;
        include pointsman/location.conf;
    }
--- lua
for _ = 1, 2 do
    t.say(t.get("shop.test", "/", { body = ("x"):rep(11) }).status)
    t.get("shop.test")
end
t.say(t.requests("a"))
--- no_error_log
[alert]
--- response_body
413
413
2
