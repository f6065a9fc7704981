use TestPointsman;

run_edge_tests();

__DATA__

=== a path is taken off, or replaced; the query stays
--- records
rules shop.test [{"path":"/api","rewrite":"/","to":[{"app":"shop"}]},{"path":"/old","rewrite":"/new/place","to":[{"app":"shop"}]},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, path in ipairs { "/api/echo/x?q=1&r=%20", "/api/echo", "/echo/api/x" } do
    t.say(t.get("shop.test", path).body:match("^[^\n]+"))
end
for _, path in ipairs { "/api", "/old", "/old/x" } do
    local body = t.get("shop.test", path).body
    ngx.print(body)
end
--- response_body
GET /echo/x?q=1&r=%20 HTTP/1.1
GET /echo HTTP/1.1
GET /echo/api/x HTTP/1.1
a
a
a



=== what a rewritten path looks like to the app, body and all
--- records
rules shop.test [{"path":"/in","rewrite":"/echo","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _ = 1, 2 do
    local body = t.get("shop.test", "/in/a%20b", { body = ("x"):rep(100000) }).body
    t.say(body:match("^[^\n]+"), " ", body:match("body (%d+)"))
end
--- response_body
POST /echo/a%20b HTTP/1.1 100000
POST /echo/a%20b HTTP/1.1 100000



=== headers of the request are set and removed
--- records
rules shop.test [{"path":"/","headers":{"request":{"set":{"X-Tenant":"blue","Host":"inside.test"},"remove":["X-Secret"]}},"to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _ = 1, 2 do
    local body = t.get("shop.test", "/echo",
        { headers = { "X-Tenant: red", "X-Secret: 1", "X-Kept: 1" } }).body
    t.say(body:match("host: [^\n]+"), ", ",
          body:match("x%-forwarded%-host: [^\n]+"), ", ",
          body:match("x%-tenant: [^\n]+"), ", ", body:match("x%-secret"), ", ",
          body:match("x%-kept"))
end
--- response_body
host: inside.test, x-forwarded-host: shop.test, x-tenant: blue, nil, x-kept
host: inside.test, x-forwarded-host: shop.test, x-tenant: blue, nil, x-kept



=== headers of the response are set and removed
--- records
rules shop.test [{"path":"/plain","to":[{"app":"shop"}]},{"path":"/","headers":{"response":{"set":{"X-Frame-Options":"DENY"},"remove":["X-App"]}},"to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, path in ipairs { "/status/200", "/status/404", "/plain" } do
    local headers = t.get("shop.test", path).headers
    t.say(headers["x-frame-options"], " ", headers["x-app"])
end
--- response_body
DENY nil
DENY nil
nil nil



=== redirects: status, scheme, host, path; the rest stays as it was
--- records
rules shop.test [{"path":"/all","redirect":{"status":307,"scheme":"https","host":"www.test:8443","path":"/x"}},{"path":"/s","redirect":{"status":308,"scheme":"https"}},{"path":"/h","redirect":{"status":301,"host":"www.test"}},{"path":"/p","redirect":{"status":302,"path":"/else"}}]
--- lua
for _, path in ipairs { "/s/a%20b?q=1", "/h/x", "/p/x?q=1", "/all" } do
    local response = t.get("shop.test", path)
    t.say(response.status, " ", response.headers.location)
end
--- response_body
308 https://shop.test/s/a%20b?q=1
301 http://www.test/h/x
302 http://shop.test/else?q=1
307 https://www.test:8443/x




=== maintenance: 503 with a body and Retry-After, asked of no instance
--- records
rules shop.test [{"path":"/bare","maintenance":{}},{"path":"/api","maintenance":{"retry_after_s":120,"body":"{\"down\":true}","content_type":"application/json"}},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, path in ipairs { "/api/x", "/bare" } do
    local response = t.get("shop.test", path)
    t.say(response.status, " ", response.headers["retry-after"], " ",
          response.headers["content-type"], " ",
          response.headers["x-pointsman-error"], " ", response.body)
end
t.say(t.show("shop.test"), " ", t.requests("a"))
--- response_body
503 120 application/json maintenance {"down":true}
503 nil text/plain; charset=utf-8 maintenance down for maintenance

200 a 1



=== a redirect to where the request is already is passed over
--- records
rules shop.test [{"path":"/","redirect":{"status":308,"host":"www.test"}},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
rules www.test [{"path":"/","redirect":{"status":308,"host":"www.test"}},{"path":"/","to":[{"app":"shop"}]}]
--- lua
t.say(t.get("shop.test").status, " ", t.show("www.test"))
--- response_body
308 200 a



=== what a rule adds to answers is on nginx's own errors, too
--- records
rules shop.test [{"path":"/","headers":{"response":{"set":{"X-Rule":"yes"}}},"to":[{"app":"shop"}]}]
inst shop gone @refused
--- no_error_log
[alert]
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test")
    t.say(response.status, " ", response.headers["x-rule"])
end
--- response_body
502 yes
502 yes
