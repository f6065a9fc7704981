use TestPointsman;

run_edge_tests();

__DATA__

=== no route: 404 with a reason
--- request
GET /
--- more_headers
Host: unknown.test
--- error_code: 404
--- response_headers
X-Pointsman-Error: no_route
! Retry-After
--- response_body_like: 404 Not Found



=== a route to an app without instances: 503
--- records
route shop.test shop
--- request
GET /
--- more_headers
Host: shop.test
--- error_code: 503
--- response_headers
X-Pointsman-Error: no_instance
--- response_body_like: 503 Service Temporarily Unavailable



=== an app whose instances all have weight 0 has no live instance
--- records
route shop.test shop
inst shop a @a weight=0
--- lua
t.say(t.show("shop.test"))
t.say(t.show("shop.test"))
--- response_body
503 no_instance
503 no_instance



=== an app that comes to life is served at once
--- records
route shop.test shop
--- lua
t.say(t.show("shop.test"))
t.say(t.show("shop.test"))
t.change("inst shop a @a")
t.say(t.show("shop.test"))
t.change("del inst shop a")
t.say(t.show("shop.test"))
--- response_body
503 no_instance
503 no_instance
200 a
503 no_instance



=== cold or cached, an error looks the same
--- lua
local first = t.get("unknown.test")
local second = t.get("unknown.test")
for _, name in ipairs { "content-type", "content-length",
                        "x-pointsman-error" } do
    assert(first.headers[name] == second.headers[name], name)
end
t.say(first.body == second.body)
--- response_body
true



=== HEAD gets the headers alone, and the connection goes on
--- lua
local connection = t.connect()
for _ = 1, 2 do
    local response = connection:request("unknown.test", "/",
                                        { method = "HEAD" })
    t.say(response.status, " ", response.headers["x-pointsman-error"], " ",
          response.headers["content-length"])
end
t.say(connection:request("shop.test").status)
--- response_body
404 no_route 153
404 no_route 153
200



=== a POST with a body gets the error, and the connection goes on
--- lua
local connection = t.connect()
for _, size in ipairs { 10, 200000 } do
    for _ = 1, 2 do
        local response = connection:request("unknown.test", "/",
                                            { body = ("x"):rep(size) })
        t.say(response.status, " ", response.headers["x-pointsman-error"])
    end
end
t.say(connection:request("shop.test").status)
--- response_body
404 no_route
404 no_route
404 no_route
404 no_route
200



=== HTTP/1.0 gets the error, and the end of the connection
--- lua
local connection = t.connect()
local response = connection:request("unknown.test", "/", { version = "1.0" })
t.say(response.status, " ", response.headers.connection, " ",
      response.body:match("<h1>[^<]*"))
t.say(connection.sock:receive())
--- response_body
404 close <h1>404 Not Found
nilclosed



=== gzip of the user's does not spoil an error
--- config
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    location / {
        include pointsman/location.conf;
    }
--- lua
local response = t.get("unknown.test", "/",
                       { headers = { "Accept-Encoding: gzip" } })
t.say(response.status, " ", response.headers["content-encoding"],
      " ", #response.body > 0)
--- response_body
404 gzip true



=== errors are counted by their reason
--- records
route shop.test shop
--- lua
for _ = 1, 2 do
    t.get("shop.test")
    t.get("unknown.test")
end
t.say(t.metric('pointsman_errors_total{reason="no_route"}'))
t.say(t.metric('pointsman_errors_total{reason="no_instance"}'))
t.say(t.metric('pointsman_errors_total{reason="unavailable"}'))
--- response_body
2
2
0



=== a client cannot make the edge take a reason from it
--- lua
local response = t.get("shop.test", "/status/502",
                       { headers = { "X-Pointsman-Error: no_route" } })
t.say(response.status, " ", response.headers["x-pointsman-error"])
--- response_body
502 nil
