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



=== strip and rewrite keep the rest of the path encoded
--- setup: ambiguous_paths = "pass",
--- records
rules shop.test [{"path":"/api","rewrite":"/","to":[{"app":"shop"}]},{"path":"/old","rewrite":"/echo/new","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, rest in ipairs { "a%20b", "a%3Fb", "a%23b", "a%25b", "%C3%A4", "a;b=1",
                        "a+b", "a%5Cb", "a&b=c", "a%0Ab", "a%22b" } do
    ngx.print(t.get("shop.test", "/api/echo/" .. rest .. "?q=%20").body
              :match("^GET (%S+)"), " ",
              t.get("shop.test", "/old/" .. rest).body:match("^GET (%S+)"), "\n")
end
--- response_body
/echo/a%20b?q=%20 /echo/new/a%20b
/echo/a%3Fb?q=%20 /echo/new/a%3Fb
/echo/a%23b?q=%20 /echo/new/a%23b
/echo/a%25b?q=%20 /echo/new/a%25b
/echo/%C3%A4?q=%20 /echo/new/%C3%A4
/echo/a;b=1?q=%20 /echo/new/a;b=1
/echo/a+b?q=%20 /echo/new/a+b
/echo/a%5Cb?q=%20 /echo/new/a%5Cb
/echo/a&b=c?q=%20 /echo/new/a&b=c
/echo/a%0Ab?q=%20 /echo/new/a%0Ab
/echo/a%22b?q=%20 /echo/new/a%22b



=== a redirect to a path that browsers spell differently ends
--- records
rules brace.test [{"path":"/","redirect":{"status":302,"path":"/a{b}"}},{"path":"/","to":[{"app":"shop"}]}]
rules quote.test [{"path":"/","redirect":{"status":302,"path":"/a%22b"}},{"path":"/","to":[{"app":"shop"}]}]
rules dots.test [{"path":"/","redirect":{"status":302,"path":"/x/%2e%2e/y"}},{"path":"/","to":[{"app":"shop"}]}]
rules port.test [{"path":"/","redirect":{"status":302,"host":"port.test:80"}},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _, case in ipairs { { "brace.test", "/a%7Bb%7D" }, { "quote.test", '/a"b' },
                        { "dots.test", "/y" }, { "port.test", "/" } } do
    local first = t.get(case[1], "/start", { headers = {} })
    t.say(first.headers.location, " ", t.show(case[1], case[2]))
end
--- response_body
http://brace.test/a%7Bb%7D 200 a
http://quote.test/a%22b 200 a
http://dots.test/y 200 a
nil 200 a



=== a redirect to https ends behind a trusted proxy that terminates TLS
--- records
rules shop.test [{"path":"/","redirect":{"status":308,"scheme":"https"}},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- config
if ($http_x_trusted) {
    set $pointsman_scheme $http_x_forwarded_proto;
}
location / {
    include pointsman/location.conf;
}
--- lua
local function ask(...)
    return t.get("shop.test", "/", { headers = { ... } }).status
end
t.say(ask("X-Trusted: 1", "X-Forwarded-Proto: https"), " ",
      ask("X-Forwarded-Proto: https"))
--- response_body
200 308
