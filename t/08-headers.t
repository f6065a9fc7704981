use TestPointsman;

run_edge_tests();

__DATA__

=== an app sees the client's Host, and who asked for what by which way
--- lua
local function seen(name, response)
    return name .. ": " .. (response.body:match("\n" .. name:gsub("%-", "%%-")
                            .. ": ([^\n]*)") or "(none)")
end
-- cold and cached: the two locations must not differ
for _ = 1, 2 do
    local response = t.get("Shop.test:8080", "/echo")
    for _, name in ipairs { "host", "x-forwarded-for", "x-forwarded-host",
                            "x-forwarded-proto" } do
        t.say(seen(name, response))
    end
end
--- response_body
host: Shop.test:8080
x-forwarded-for: 127.0.0.1
x-forwarded-host: Shop.test:8080
x-forwarded-proto: http
host: Shop.test:8080
x-forwarded-for: 127.0.0.1
x-forwarded-host: Shop.test:8080
x-forwarded-proto: http



=== X-Forwarded-For is added to what proxies before us have said
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo",
        { headers = { "X-Forwarded-For: 192.0.2.1, 192.0.2.2" } })
    t.say(response.body:match("x%-forwarded%-for: [^\n]*"))
end
--- response_body
x-forwarded-for: 192.0.2.1, 192.0.2.2, 127.0.0.1
x-forwarded-for: 192.0.2.1, 192.0.2.2, 127.0.0.1



=== what a client says of scheme and host is not believed
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo", { headers = {
        "X-Forwarded-Proto: https", "X-Forwarded-Host: other.test" } })
    t.say(response.body:match("x%-forwarded%-proto: [^\n]*"), ", ",
          response.body:match("x%-forwarded%-host: [^\n]*"))
end
--- response_body
x-forwarded-proto: http, x-forwarded-host: shop.test
x-forwarded-proto: http, x-forwarded-host: shop.test



=== X-Request-Id is the client's, else one of ours for each request
--- lua
local ids = {}
for i = 1, 4 do
    local response = t.get("shop.test", "/echo")
    ids[i] = response.body:match("x%-request%-id: (%x+)\n")
    t.say(#ids[i], " ", ids[i] ~= ids[i - 1])
end
local response = t.get("shop.test", "/echo",
                       { headers = { "X-Request-Id: mine-42" } })
t.say(response.body:match("x%-request%-id: [^\n]*"))
--- response_body
32 true
32 true
32 true
32 true
x-request-id: mine-42



=== headers, methods, paths and queries pass as they are
--- lua
local headers = { "X-Odd: a  b;c=\"d\"", "Cookie: a=1; b=2",
                  "Authorization: Basic eDp5" }
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo/%41%2f..//x?q=%20&q=+",
                           { method = "DELETE", headers = headers })
    t.say(response.body:match("^[^\n]*"))
    for _, name in ipairs { "x%-odd", "cookie", "authorization" } do
        t.say(response.body:match("\n(" .. name .. ": [^\n]*)"))
    end
end
--- response_body
DELETE /echo/%41%2f..//x?q=%20&q=+ HTTP/1.1
x-odd: a  b;c="d"
cookie: a=1; b=2
authorization: Basic eDp5
DELETE /echo/%41%2f..//x?q=%20&q=+ HTTP/1.1
x-odd: a  b;c="d"
cookie: a=1; b=2
authorization: Basic eDp5



=== an app is not asked to close its connection, whatever the client wants
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/echo",
                           { headers = { "Connection: close" } })
    t.say(response.body:match("\nconnection: [^\n]*"))
end
--- response_body
nil
nil



=== h2c is not passed on, nor any upgrade but WebSocket's
--- lua
for _ = 1, 2 do
    for _, protocol in ipairs { "h2c", "TLS/1.0", "websocket, h2c" } do
        local response = t.get("shop.test", "/echo", { headers = {
            "Connection: Upgrade, HTTP2-Settings", "Upgrade: " .. protocol,
            "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA" } })
        t.say(response.status, " ", response.body:match("\nupgrade: [^\n]*"),
              " ", response.body:match("\nconnection: [^\n]*"))
    end
end
--- response_body
200 nil nil
200 nil nil
200 nil nil
200 nil nil
200 nil nil
200 nil nil



=== HTTP/1.0 clients are served, too
--- lua
for _ = 1, 2 do
    local connection = t.connect()
    local response = connection:request("shop.test", "/echo",
                                        { version = "1.0" })
    t.say(response.status, " ", response.body:match("^[^\n]*"), " ",
          response.headers["transfer-encoding"])
end
--- response_body
200 GET /echo HTTP/1.1 nil
200 GET /echo HTTP/1.1 nil



=== the app's Location header is left as it is
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/moved")
    t.say(response.status, " ", response.headers.location)
end
--- response_body
302 http://pointsman/elsewhere
302 http://pointsman/elsewhere



=== HTTP/2 clients are served, cold and warm
--- workers: 2
--- http_config
    server {
        listen 127.0.0.21:$TEST_NGINX_SERVER_PORT http2;
        include pointsman/server.conf;
        location / {
            include pointsman/location.conf;
        }
    }
--- lua
for _ = 1, 2 do
    local text = t.output("curl -sS --max-time 5 --http2-prior-knowledge "
        .. "-w '%{http_version} %{http_code}' -H 'Host: shop.test' "
        .. "-d body http://127.0.0.21:" .. t.port .. "/echo")
    t.say(text:match("^[^\n]*"), ", ", text:match("\nhost: [^\n]*"):sub(2),
          ", ", text:match("\nbody %d+"):sub(2), ", ", text:match("[^\n]*$"))
end
--- response_body
POST /echo HTTP/1.1, host: shop.test, body 4, 2 200
POST /echo HTTP/1.1, host: shop.test, body 4, 2 200
