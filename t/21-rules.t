use TestPointsman;

run_edge_tests();

__DATA__

=== the longest path prefix wins, on segment borders
--- records
rules shop.test [{"path":"/api/v2","to":[{"app":"v2"}]},{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
inst v2 a @a
inst api b @b
inst web c @c
--- lua
for _ = 1, 2 do
    for _, path in ipairs { "/", "/apix", "/api", "/api/", "/api/x", "/api?q=1",
                            "/api/v2", "/api/v2x", "/api/v2/x", "/a/../api",
                            "/%61pi/x", "//api/v2" } do
        ngx.print(t.get("shop.test", path).headers["x-instance"], " ")
    end
    t.say("")
end
--- response_body
c c b b b b a b a b b a 
c c b b b b a b a b b a 



=== without a rule that fits there is no route
--- records
rules shop.test [{"path":"/api","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
for _ = 1, 2 do
    t.say(t.show("shop.test", "/"), ", ", t.show("shop.test", "/api"))
end
t.say(t.metric('pointsman_errors_total{reason="no_route"}'))
--- response_body
404 no_route, 200 a
404 no_route, 200 a
2



=== conditions: header, cookie, query, method; the first rule that fits wins
--- records
rules shop.test [{"path":"/","when":[{"header":"X-Beta","exact":"1"},{"method":["GET","PUT"]}],"to":[{"app":"a"}]},{"path":"/","when":[{"cookie":"group","prefix":"b-"}],"to":[{"app":"b"}]},{"path":"/","when":[{"query":"c","present":true}],"to":[{"app":"c"}]},{"path":"/","when":[{"header":"X-Plain","present":false}],"to":[{"app":"d"}]}]
inst a a @a
inst b b @b
inst c c @c
inst d d @a
--- lua
local function ask(path, ...)
    local response = t.get("shop.test", path, { headers = { ... } })
    ngx.print(response.headers["x-instance"]
              or response.headers["x-pointsman-error"], " ")
end
ask("/", "X-Beta: 1", "X-Plain: 1")
ask("/", "X-Beta: 12", "X-Plain: 1")
ask("/", "Cookie: x=1; group=b-7", "X-Plain: 1")
ask("/", "Cookie: group=ab-7", "X-Plain: 1")
ask("/?c", "X-Plain: 1")
ask("/?b=c&c=", "X-Plain: 1")
ask("/?cc=1", "X-Plain: 1")
ask("/")
t.say("")
local post = t.get("shop.test", "/", { method = "POST", body = "x",
                   headers = { "X-Beta: 1", "X-Plain: 1" } })
t.say(post.headers["x-pointsman-error"])
--- response_body
a no_route b no_route c c no_route a 
no_route



=== a catch-all host and IP literals take rules, too
--- records
rules * [{"path":"/x","to":[{"app":"x"}]},{"path":"/","to":[{"app":"all"}]}]
rules 10.1.2.3 [{"path":"/","to":[{"app":"vip"}]}]
inst all a @a
inst x b @b
inst vip c @c
--- lua
t.say(t.show("any.test"), ", ", t.show("any.test", "/x"), ", ",
      t.show("10.1.2.3"), ", ", t.show("10.1.2.4"))
--- response_body
200 a, 200 b, 200 c, 200 a



=== a change of the rules, or of one of their apps, is followed
--- records
rules shop.test [{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
inst web a @a
inst api b @b
--- lua
t.say(t.show("shop.test", "/api"))
t.change("inst api b @c")
t.say(t.show("shop.test", "/api"))
t.change([[rules shop.test [{"path":"/","to":[{"app":"web"}]}] ]])
t.say(t.show("shop.test", "/api"))
t.change("route shop.test api")
t.say(t.show("shop.test", "/"))
t.change("del route shop.test")
t.say(t.show("shop.test", "/"))
t.say(t.lookups())
--- response_body
200 b
200 c
200 a
200 c
404 no_route
2



=== an app that rules bring in is only asked for once Redis has it
--- records
rules shop.test [{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
inst web a @a
--- lua
t.say(t.show("shop.test", "/api"), ", ", t.show("shop.test", "/"))
t.change("inst api b @b")
t.say(t.show("shop.test", "/api"))
--- response_body
503 no_instance, 200 a
200 b



=== a route that this edge does not understand is not used, nor anything in its place
--- records
rules shop.test [{"path":"/","colour":"red","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
t.say(t.show("shop.test"))
--- error_log
failed to use what Redis has for shop.test
--- response_body
503 unavailable



=== all values of a header, cookie or query parameter are compared, decoded, by the case of their names
--- records
rules shop.test [{"path":"/h","when":[{"header":"X-Beta","exact":"1"}],"to":[{"app":"yes"}]},{"path":"/p","when":[{"header":"X-Beta","prefix":"b-"}],"to":[{"app":"yes"}]},{"path":"/c","when":[{"cookie":"beta","exact":"1"}],"to":[{"app":"yes"}]},{"path":"/q","when":[{"query":"beta","exact":"a b"}],"to":[{"app":"yes"}]},{"path":"/","to":[{"app":"no"}]}]
inst yes a @a
inst no b @b
--- lua
local function ask(path, ...)
    local response = t.get("shop.test", path, { headers = { ... } })
    ngx.print(response.headers["x-instance"] == "a" and "yes " or "no ")
end
ask("/h", "X-Beta: 1")
ask("/h", "x-beta:   1  ")
ask("/h", "X-Beta: 0", "X-Beta: 1")
ask("/h", "X-Beta: 1", "X-Beta: 0")
ask("/h", "X-Beta: 0, 1")
ask("/h", "X-Beta: 0", "X-Beta: 2")
ask("/h", "X_Beta: 1")
ask("/h", "X-Beta:")
t.say("")
ask("/p", "X-Beta: a-1", "X-Beta: b-1")
ask("/p", "X-Beta: a-b-1")
t.say("")
ask("/c", "Cookie: a=2; beta=1")
ask("/c", "Cookie: a=2", "Cookie: beta=1")
ask("/c", "Cookie: BETA=0; beta=1")
ask("/c", "Cookie: beta=0; beta=1")
ask("/c", "Cookie: BETA=1")
ask("/c", "Cookie: xbeta=1")
ask("/c", "Cookie: a=beta=1")
t.say("")
ask("/q?beta=a+b")
ask("/q?x&b%65ta=a%20b")
ask("/q?beta=x&beta=a%20b&beta=y")
ask("/q?BETA=a+b")
ask("/q?a;beta=a+b")
ask("/q?xbeta=a+b")
ask("/q")
--- response_body chomp
yes yes yes yes yes no no no 
yes no 
yes yes yes yes no no no 
yes yes yes no no no no 



=== a rule on a header that nginx drops is refused, not ignored
--- records
rules shop.test [{"path":"/","when":[{"header":"X_Beta","exact":"1"}],"to":[{"app":"shop"}]},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
t.say(t.show("shop.test"))
--- error_log
failed to use what Redis has for shop.test
--- response_body
503 unavailable



=== the path that decides is decoded, as apps decode the one that they get
--- setup: ambiguous_paths = "pass",
--- records
rules shop.test [{"path":"/echo/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
inst api a @a
inst web b @b
--- lua
for _, path in ipairs {
    "/echo/api/..%2fx", "/echo/x/..%2fapi", "/echo/%61pi", "/echo/%61%70%69/x",
    "/echo//api", "//echo/api//x", "/echo/api;x", "/echo/api;x/y",
    "/echo/api%5cx", "/echo%5capi", "/echo/api/%2e%2e/x", "/echo/ap%69%2fx",
    "/echo/api%3bx", "/echo/api%00",
} do
    local response = t.get("shop.test", path)
    local instance = response.headers["x-instance"]
    t.say(path, " ", response.status == 200 and instance or response.status,
          " ", response.status == 200 and response.body:match("^%S+ (%S+)"))
end
--- response_body
/echo/api/..%2fx b /echo/api/..%2fx
/echo/x/..%2fapi a /echo/x/..%2fapi
/echo/%61pi a /echo/%61pi
/echo/%61%70%69/x a /echo/%61%70%69/x
/echo//api a /echo//api
//echo/api//x a //echo/api//x
/echo/api;x b /echo/api;x
/echo/api;x/y b /echo/api;x/y
/echo/api%5cx b /echo/api%5cx
/echo%5capi b /echo%5capi
/echo/api/%2e%2e/x b /echo/api/%2e%2e/x
/echo/ap%69%2fx a /echo/ap%69%2fx
/echo/api%3bx b /echo/api%3bx
/echo/api%00 400 false



=== a path that an app may read in another way is refused where rules go by paths
--- records
rules shop.test [{"path":"/maint","maintenance":{}},{"path":"/","to":[{"app":"web"}]}]
route plain.test web
rules methods.test [{"path":"/","when":[{"method":["DELETE"]}],"maintenance":{}},{"path":"/","to":[{"app":"web"}]}]
inst web b @b
--- lua
local function ask(host, path)
    local response = t.get(host, path)
    local reason = response.headers["x-pointsman-error"]
    t.say(path, " ", response.status, " ",
          reason or response.body:match("^%S+ (%S+)"))
end
for _, path in ipairs {
    "/maint/..%2fecho", "/echo/..%2Fmaint/x", "/echo/%2e%2e/maint",
    "/maint/.%2E/echo", "/echo/..;/maint", "/echo/..;a=b/maint",
    "/echo/.;/x", "/echo%5c..%5cmaint", "/echo\\x", "/maint%2fx",
    "/maint/x", "/echo/../echo", "/echo//x", "/echo/x;a=..", "/echo/%61?x=..%2f",
    "/echo/...%20",
} do
    ask("shop.test", path)
end
ask("plain.test", "/echo/..%2fecho")
ask("methods.test", "/echo/..%2fecho")
--- response_body
/maint/..%2fecho 400 ambiguous_path
/echo/..%2Fmaint/x 400 ambiguous_path
/echo/%2e%2e/maint 400 ambiguous_path
/maint/.%2E/echo 400 ambiguous_path
/echo/..;/maint 400 ambiguous_path
/echo/..;a=b/maint 400 ambiguous_path
/echo/.;/x 400 ambiguous_path
/echo%5c..%5cmaint 400 ambiguous_path
/echo\x 400 ambiguous_path
/maint%2fx 400 ambiguous_path
/maint/x 503 maintenance
/echo/../echo 200 /echo/../echo
/echo//x 200 /echo//x
/echo/x;a=.. 200 /echo/x;a=..
/echo/%61?x=..%2f 200 /echo/%61?x=..%2f
/echo/...%20 200 /echo/...%20
/echo/..%2fecho 200 /echo/..%2fecho
/echo/..%2fecho 200 /echo/..%2fecho



=== or it is sent as it was matched, if that leaves one way to read it
--- setup: ambiguous_paths = "normalise",
--- records
rules shop.test [{"path":"/maint","maintenance":{}},{"path":"/","to":[{"app":"web"}]}]
inst web b @b
--- lua
for _, path in ipairs {
    "/maint/..%2fecho/x?q=%2f", "/echo/%2e%2e/maint", "/echo/a%2fb%20c",
    "/echo/%61", "/echo/..;/maint", "/echo%5cx",
} do
    local response = t.get("shop.test", path)
    local reason = response.headers["x-pointsman-error"]
    t.say(response.status, " ", reason or response.body:match("^%S+ (%S+)"))
end
--- response_body
200 /echo/x?q=%2f
503 maintenance
200 /echo/a/b%20c
200 /echo/%61
400 ambiguous_path
400 ambiguous_path



=== a subrequest sends the path that nginx has, whatever its request's own is
--- config
    location / {
        auth_request /auth;
        content_by_lua_block { ngx.say("let in") }
    }
    location = /auth {
        internal;
        rewrite ^ /echo/auth break;
        include pointsman/location.conf;
    }
--- records
rules shop.test [{"path":"/none","to":[{"app":"none"}]},{"path":"/","to":[{"app":"web"}]}]
inst web b @b
--- lua
t.say((t.get("shop.test", "/echo/..%2fecho").body:gsub("\n", "")))
--- response_body
let in
