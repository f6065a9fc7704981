use TestPointsman;

# Pointsman beside other modules of nginx, and in subrequests: a host with one app
# and a host with rules, both asked for cold and warm.
run_edge_tests(trouble => 1, plain_and_ruled => 1);

__DATA__

=== auth_request: what the app answers decides, and nothing else
--- records
route plain.test plain
rules rules.test [{"path":"/status","headers":{"response":{"set":{"X-A":"1"}}},"to":[{"app":"ruled"}]},{"path":"/","to":[{"app":"plain"}]}]
rules half.test [{"path":"/open","to":[{"app":"plain"}]}]
policy ruled {"retry_5xx":true,"sticky":{}}
inst plain a @a
inst ruled b @b
--- config
    error_page 404 =200 /empty;
    location = /empty { return 200 "let in\n"; }
    location /open/ {
        auth_request /status/200;
        include pointsman/location.conf;
    }
    location /denied/ {
        auth_request /status/403;
        include pointsman/location.conf;
    }
    location /failing/ {
        auth_request /status/404;
        include pointsman/location.conf;
    }
    location /status/ {
        internal;
        include pointsman/location.conf;
    }
--- lua
-- the last host has no rule for the checks
for _, host in ipairs { "plain.test", "rules.test", "half.test" } do
    for _ = 1, 2 do
        for _, path in ipairs { "/open/", "/denied/", "/failing/" } do
            local response = t.get(host, path)
            ngx.print(response.status, " ",
                      response.headers["x-instance"] or "-", ", ")
        end
    end
    -- What a client says of itself makes no difference to the check.
    for _, header in ipairs { "Accept: application/grpc",
                              "Content-Type: application/grpc" } do
        ngx.print(t.get(host, "/open/", { headers = { header } }).status, ", ")
    end
    t.say()
end
--- response_body
200 a, 403 -, 500 -, 200 a, 403 -, 500 -, 200, 200, 
200 a, 403 -, 500 -, 200 a, 403 -, 500 -, 200, 200, 
500 -, 200 -, 200 -, 500 -, 200 -, 200 -, 500, 500, 


=== auth_request: pipelined requests are each checked by their own host's app
--- config
    location / {
        auth_request /auth;
        include pointsman/location.conf;
    }
    location = /auth {
        internal;
        rewrite ^ /fail_if/a/403 break;
        include pointsman/location.conf;
    }
--- records
rules ruled.test [{"path":"/","when":[{"method":["GET"]}],"to":[{"app":"ruled"}]}]
route plain.test plain
policy plain {"fail_on":[],"retry_budget":1000}
inst ruled b @b
inst plain a @a
inst plain gone @refused
--- lua
-- an app that denies all, beside one that grants all
local let_in, wrong = 0, 0
for _ = 1, 300 do
    local connection = t.connect()
    assert(connection.sock:send(
        "GET /one HTTP/1.1\r\nHost: ruled.test\r\n\r\n"
        .. "GET /two HTTP/1.1\r\nHost: plain.test\r\n\r\n"))
    local first, second = connection:response("GET"), connection:response("GET")
    connection:close()
    if first.headers["x-instance"] ~= "b" then
        wrong = wrong + 1
    end
    if second.status ~= 403 then
        let_in = let_in + 1
    end
end
t.say("wrong ", wrong, ", let in ", let_in)
--- response_body
wrong 0, let in 0


=== pipelined requests keep their own app, also without a log handler
--- without: log
--- records
rules ruled.test [{"path":"/","when":[{"method":["GET"]}],"to":[{"app":"ruled"}]}]
route plain.test plain
policy plain {"fail_on":[],"retry_budget":1000}
inst ruled b @b
inst plain a @a
inst plain gone @refused
--- lua
local wrong = 0
for _ = 1, 300 do
    local connection = t.connect()
    assert(connection.sock:send(
        "GET /one HTTP/1.1\r\nHost: ruled.test\r\n\r\n"
        .. "GET /two HTTP/1.1\r\nHost: plain.test\r\n\r\n"))
    local first, second = connection:response("GET"), connection:response("GET")
    connection:close()
    if first.headers["x-instance"] ~= "b" or second.headers["x-instance"] ~= "a"
            then
        wrong = wrong + 1
    end
end
t.say("wrong ", wrong)
--- response_body
wrong 0


=== a mirrored POST is sent once, though the instance closes the connection
--- config
    location / {
        mirror /mirror;
        include pointsman/location.conf;
    }
    location = /mirror {
        internal;
        include pointsman/location.conf;
    }
--- records
route plain.test copy
rules rules.test [{"path":"/mirror","headers":{"response":{"set":{"X-A":"1"}}},"to":[{"app":"copy"}]},{"path":"/","to":[{"app":"main"}]}]
policy copy {"fail_on":[]}
inst copy one @closing
inst copy two @closing
inst main a @a
--- lua
for _, host in ipairs { "plain.test", "rules.test" } do
    for _ = 1, 10 do
        t.get(host, "/echo", { body = "x" })
    end
end
-- plain.test's main requests go to the same instances
t.wait("the mirrored requests", function()
    return t.requests("closing") >= 30, t.requests("closing")
end)
t.say(t.requests("closing"))
--- response_body
30


=== SSI and ngx.location.capture: each part comes from the app
--- config
    location = /page {
        default_type text/html;
        ssi on;
        return 200 '<!--# include virtual="/part" -->!';
    }
    location = /captured {
        content_by_lua_block {
            local answer = ngx.location.capture("/part")
            ngx.print(answer.status, " ", answer.body)
        }
    }
    location / {
        include pointsman/location.conf;
    }
--- lua
for _, host in ipairs { "plain.test", "rules.test", "unknown.test" } do
    for _ = 1, 2 do
        for _, path in ipairs { "/page", "/captured" } do
            ngx.print((t.get(host, path).body:gsub("\n", "")), ", ")
        end
    end
    t.say()
end
--- response_body
a!, 200 a, a!, 200 a, 
b!, 200 b, b!, 200 b, 
no route for this host!, 404 no route for this host, no route for this host!, 404 no route for this host, 


=== try_files, rewrite and if, each before the include
--- user_files
>>> file.txt
a file of the user's
--- config
    root html;
    location / {
        try_files $uri @apps;
    }
    location @apps {
        include pointsman/location.conf;
    }
    location /api/ {
        rewrite ^/api/(.*)$ /$1 break;
        include pointsman/location.conf;
    }
    location /if/ {
        if ($arg_a = 1) {
            rewrite ^ /echo/if;
        }
        if ($arg_b = 1) {
            set $unused 1;
        }
        include pointsman/location.conf;
    }
    location /echo/ {
        include pointsman/location.conf;
    }
--- lua
for _ = 1, 2 do
    for _, host in ipairs { "plain.test", "rules.test" } do
        for _, path in ipairs { "/file.txt", "/nothing", "/api/echo/x",
                                "/if/?a=1", "/if/?b=1" } do
            ngx.print(t.get(host, path).body:match("^[^\n]*"), ", ")
        end
        t.say()
    end
end
--- response_body
a file of the user's, a, GET /echo/x HTTP/1.1, GET /echo/if?a=1 HTTP/1.1, a, 
a file of the user's, b, GET /echo/x HTTP/1.1, GET /echo/if?a=1 HTTP/1.1, b, 
a file of the user's, a, GET /echo/x HTTP/1.1, GET /echo/if?a=1 HTTP/1.1, a, 
a file of the user's, b, GET /echo/x HTTP/1.1, GET /echo/if?a=1 HTTP/1.1, b, 


=== proxy_cache: a page of one host is no page of another
--- http_config
    proxy_cache_path $TEST_NGINX_SERVER_ROOT/cache keys_zone=pages:1m;
    proxy_cache pages;
    proxy_cache_valid any 1m;
--- config
    location / {
        include pointsman/location.conf;
        add_header X-Cache $upstream_cache_status;
        add_header X-Instance-Of $upstream_http_x_instance;
    }
--- lua
for _, host in ipairs { "plain.test", "rules.test", "unknown.test",
                        "plain.test", "rules.test", "unknown.test" } do
    local response = t.get(host, "/page")
    ngx.print(response.status, " ", response.body:match("^%l\n")
              and response.body:sub(1, 1) or "-", " ",
              response.headers["x-cache"] or "-", ", ")
end
t.say()
--- response_body
200 a MISS, 200 b -, 404 - -, 200 a HIT, 200 b -, 404 - -, 


=== proxy_cache: a page that is updated in the background stays its app's
--- http_config
    proxy_cache_path $TEST_NGINX_SERVER_ROOT/cache keys_zone=pages:1m;
    proxy_cache pages;
    proxy_cache_valid 200 1s;
    proxy_cache_use_stale updating;
    proxy_cache_background_update on;
--- config
    location / {
        include pointsman/location.conf;
    }
--- records
route plain.test plain
rules path.test [{"path":"/count/x","rewrite":"/count","to":[{"app":"plain"}]},{"path":"/","to":[{"app":"other"}]}]
rules head.test [{"path":"/","headers":{"response":{"set":{"X-A":"1"}}},"to":[{"app":"plain"}]}]
route again.test again
policy again {"retry_5xx":true}
inst plain a @a
inst other b @b
inst again c @c
--- lua
for _, host in ipairs { "plain.test", "path.test", "head.test", "again.test" } do
    local first = t.get(host, "/count/x").body
    local last = t.wait("an update of the page of " .. host, function()
        local body = t.get(host, "/count/x").body
        return body ~= first and body, body
    end)
    t.say(host, " ", first:match("^%l"), last:match("^%l"))
end
--- response_body
plain.test aa
path.test aa
head.test aa
again.test cc


=== HTTP/1.0, and HTTP/2
--- http_config
    server {
        listen 127.0.0.21:$TEST_NGINX_SERVER_PORT http2;
        include pointsman/server.conf;
        location / {
            include pointsman/location.conf;
        }
    }
--- lua
local function curl(host, path)
    local text = t.output("curl -sS --max-time 10 --http2-prior-knowledge -w "
        .. "' %{http_code} %{http_version}' -H 'Host: " .. host
        .. "' http://127.0.0.21:" .. t.port .. path)
    return (text:gsub("\n", ""))
end
for _, host in ipairs { "plain.test", "rules.test" } do
    for _ = 1, 2 do
        local old = t.get(host, "/", { version = "1.0" })
        ngx.print(old.status, " ", old.body:sub(1, 1), ", ", curl(host, "/"),
                  ", ")
    end
    t.say()
end
--- response_body
200 a, a 200 2, 200 a, a 200 2, 
200 b, b 200 2, 200 b, b 200 2, 


=== an error that a gRPC client asked for has a grpc-status and no body
--- config
    error_page 404 503 /page;
    location = /page { return 200 "a page\n"; }
    location / {
        include pointsman/location.conf;
    }
--- records
route down.test down
--- lua
for _, header in ipairs { "Content-Type: application/grpc+proto",
                          "Accept: application/grpc" } do
    for _, host in ipairs { "unknown.test", "down.test" } do
        local response = t.get(host, "/svc/Call",
                               { method = "POST", headers = { header } })
        t.say(response.status, " ", response.headers["content-type"], " ",
              response.headers["grpc-status"], " ",
              response.headers["x-pointsman-error"], " ", #response.body)
    end
end
--- response_body
200 application/grpc 12 no_route 0
200 application/grpc 14 no_instance 0
200 application/grpc 12 no_route 0
200 application/grpc 14 no_instance 0


=== an app that vanishes between two phases is a 502, and a line in the log
--- config
    location / {
        include pointsman/location.conf;
    }
--- records
route shop.test shop
inst shop a @a
--- lua
t.say(t.get("shop.test").status)
local response = t.get("shop.test", "/echo", { chunks = function()
    coroutine.yield("x")
    ngx.sleep(0.1)
    t.change("del inst shop a")
    coroutine.yield("y")
end })
t.say(response.status)
--- error_log
no instance of shop any more: no_instance
--- response_body
200
502
