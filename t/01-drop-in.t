use TestPointsman;

run_edge_tests();

__DATA__

=== the README's lines do what it says
--- without: setup start log
--- http_config eval: TestPointsman::readme_config()
--- user_files
>>> my-404.html
nothing here, says the user
>>> static/x
the user's
--- lua
for _ = 1, 2 do
    for _, at in ipairs {
        "shop.test /", "unknown.test /", "unknown.test /my-404.html",
        "unknown.test /static/x",
    } do
        local host, path = at:match("(%S+) (%S+)")
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.20", t.port))
        sock:send("GET " .. path .. " HTTP/1.0\r\nHost: " .. host .. "\r\n\r\n")
        local answer = sock:receive("*a")
        t.say(answer:match("^%S+ (%d+)"), " ",
              answer:match("\r\n\r\n(.-)\n?$"))
    end
end
t.wait("the user's own handlers", function()
    return t.counts:get("my_own_start") and t.counts:get("my_own_log")
end)
--- response_body
200 a
404 nothing here, says the user
404 nothing here, says the user
200 the user's
200 a
404 nothing here, says the user
404 nothing here, says the user
200 the user's



=== it runs beside an init_worker_by_lua of the user's
--- without: start
--- http_config
    init_worker_by_lua_block {
        require("pointsman").init_worker()
        ngx.shared.testkit:set("mine", "ran")
    }
--- lua
t.say(t.show("shop.test"))
t.say(t.counts:get("mine"))
--- response_body
200 a
ran



=== settings can be given in init_worker_by_lua
--- without: start setup
--- http_config
    init_worker_by_lua_block {
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
        require("pointsman").init_worker()
    }
--- lua
t.say(t.show("shop.test"))
--- response_body
200 a



=== it counts from a log_by_lua of the user's
--- without: log
--- http_config
    log_by_lua_block {
        require("pointsman").log()
        ngx.shared.testkit:incr("logged", 1, 0)
    }
--- lua
t.show("shop.test")
t.wait("the log phase", function()
    return t.metric('pointsman_requests_total{code="2xx"}') > 0
           and t.counts:get("logged")
end)
t.say("counted")
--- response_body
counted



=== without a log handler it routes, and says what is missing
--- without: log
--- lua
t.say(t.show("unknown.test"))
for _ = 1, 50 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.wait("the status to say so", function()
    local state = t.status().log_handler
    return state ~= "ok" and state
end))
--- error_log
requests end without pointsman.log()
--- response_body
404 no_route
missing



=== a location of the user's own beside it is left alone
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /mine {
        return 200 "the user's\n";
    }
--- lua
t.say(t.show("shop.test", "/mine"))
t.say(t.show("shop.test", "/mine/not"))
--- response_body
200 the user's
200 a



=== it can serve one path of a site
--- config
    location / {
        return 200 "the user's\n";
    }
    location /apps/ {
        include pointsman/location.conf;
    }
--- lua
t.say(t.show("shop.test"))
t.say(t.show("shop.test", "/apps/x?y=1"))
--- response_body
200 the user's
200 a



=== a rewrite of the user's is done once, cold and warm
--- config
    location /api/ {
        rewrite ^/api/(.*)$ /$1 break;
        include pointsman/location.conf;
    }
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test", "/api/echo/api/x?y=%20")
    t.say(response.body:match("^[^\n]*"))
end
--- response_body
GET /echo/api/x?y=%20 HTTP/1.1
GET /echo/api/x?y=%20 HTTP/1.1



=== several servers share one http include
--- http_config
    server {
        listen 127.0.0.20:$TEST_NGINX_SERVER_PORT;
        include pointsman/server.conf;
        location / {
            include pointsman/location.conf;
        }
    }
--- lua
local function ask(address)
    local sock = ngx.socket.tcp()
    assert(sock:connect(address, t.port))
    sock:send("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n")
    local answer = sock:receive("*a")
    return answer:match("\r\n\r\n(.*)$")
end
ngx.print(ask("127.0.0.20"), ask("127.0.0.1"))
--- response_body
a
a



=== an error_page of the user's is shown for a host without a route
--- http_config
    error_page 404 /404.html;
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /404.html {
        internal;
        return 404 "nothing here, says the user\n";
    }
--- lua
-- asked of Redis, then known
for _ = 1, 2 do
    local response = t.get("unknown.test")
    ngx.print(response.status, " ", response.headers["x-pointsman-error"],
              " ", response.body)
end
--- response_body
404 no_route nothing here, says the user
404 no_route nothing here, says the user



=== an error_page of the user's is shown for an app without instances
--- records
route shop.test shop
--- config
    error_page 503 /503.html;
    location / {
        include pointsman/location.conf;
    }
    location = /503.html {
        internal;
        return 503 "closed, says the user\n";
    }
--- lua
for _ = 1, 2 do
    local response = t.get("shop.test")
    ngx.print(response.status, " ", response.headers["x-pointsman-error"],
              " ", response.body)
end
--- response_body
503 no_instance closed, says the user
503 no_instance closed, says the user


=== an error_page of the user's is shown when no instance accepts
--- records
route shop.test shop
inst shop gone @refused
--- config
    error_page 502 504 /50x.html;
    location / {
        include pointsman/location.conf;
    }
    location = /50x.html {
        internal;
        return 502 "broken, says the user\n";
    }
--- lua
t.say(t.show("shop.test"))
t.say(t.show("shop.test"))
--- no_error_log
[alert]
--- response_body
502 broken, says the user
502 broken, says the user


=== an error_page of the user's is shown for a body that is too large
--- config
    error_page 413 /413.html;
    location / {
        client_max_body_size 10;
        include pointsman/location.conf;
    }
    location = /413.html {
        internal;
        return 413 "too much, says the user\n";
    }
--- lua
t.say(t.show("shop.test", "/", { body = ("x"):rep(11) }))
--- no_error_log
[alert]
--- response_body
413 too much, says the user


=== an error_page of the user's that leads back to Pointsman goes round once
--- config
    error_page 404 503 /error.html;
    location / {
        include pointsman/location.conf;
    }
--- lua
for _ = 1, 2 do
    t.say(t.show("unknown.test"))
    t.say(t.show("shop.test", "/status/404"))
end
--- no_error_log
[alert]
--- response_body
404 no_route
404 the app says 404
404 no_route
404 the app says 404



=== an error_page of the user's does not hide the answers of an app
--- config
    error_page 404 500 502 503 /sorry.html;
    location / {
        include pointsman/location.conf;
    }
    location = /sorry.html {
        internal;
        return 200 "sorry, says the user\n";
    }
--- lua
for _, code in ipairs { 404, 500, 502, 503 } do
    t.say(t.show("shop.test", "/status/" .. code))
end
--- response_body
404 the app says 404
500 the app says 500
502 the app says 502
503 the app says 503



=== the access log can name the reason of an error
--- http_config
    log_format reasons '[$pointsman_error]';
    access_log $TEST_NGINX_SERVER_ROOT/logs/reasons.log reasons;
--- lua
t.get("shop.test")
t.get("unknown.test")
t.get("unknown.test")
t.wait("three lines", function()
    local file = io.open(os.getenv("POINTSMAN_TEST_DIR")
                         .. "/nginx/logs/reasons.log")
    local text = file:read("*a")
    file:close()
    local last = text:match("(%[[%l_]*%]\n%[[%l_]*%]\n%[[%l_]*%]\n)$")
    return last and ngx.print(last), text
end)
--- response_body
[]
[no_route]
[no_route]



=== settings come from the environment, too
--- without: setup
--- main_config
    env POINTSMAN_REDIS=redis://127.0.0.1:$TEST_NGINX_REDIS_PORT;
    env POINTSMAN_PREFIX=test:;
--- lua
t.say(t.show("shop.test"))
--- response_body
200 a
