use TestPointsman;

# Access control of nginx, which must hold for every host: one with one app, and
# one with rules, both asked for cold and warm.
run_edge_tests(trouble => 1, plain_and_ruled => 1);

__DATA__

=== satisfy any at server level: no file of the server's root is an answer
--- user_files
>>> index.html
a file of the server's root
--- config
    root html;
    satisfy any;
    allow 127.0.0.1;
    deny all;
    location / {
        include pointsman/location.conf;
    }
--- records
route plain.test plain
rules rules.test [{"path":"/","to":[{"app":"ruled"}]}]
route down.test down
policy ruled {"retry_5xx":true}
inst plain a @a
inst ruled b @b
inst down gone @refused
--- lua
for _, host in ipairs { "plain.test", "rules.test", "down.test",
                        "unknown.test" } do
    for _ = 1, 2 do
        local response = t.get(host, "/")
        ngx.print(response.status, " ", response.headers["x-instance"] or "-",
                  ", ")
    end
end
t.say()
--- response_body
200 a, 200 a, 200 b, 200 b, 502 -, 502 -, 404 -, 404 -, 



=== auth_basic, limit_req and a limit of methods at server level hold for every host
--- http_config
    limit_req_zone $http_x_client zone=few:1m rate=1r/m;
    server {
        listen 127.0.0.21:$TEST_NGINX_SERVER_PORT;
        auth_basic "apps";
        auth_basic_user_file $TEST_NGINX_SERVER_ROOT/html/passwords;
        limit_req zone=few burst=2 nodelay;
        include pointsman/server.conf;
        location / {
            include pointsman/location.conf;
        }
    }
--- user_files
>>> passwords
user:{PLAIN}secret
--- lua
local function ask(host, ...)
    local response = t.get(host, "/", { address = "127.0.0.21",
                           headers = { "X-Client: " .. host, ... } })
    ngx.print(response.status, " ", response.headers["x-instance"] or "-", ", ")
end
local USER = "Authorization: Basic dXNlcjpzZWNyZXQ="
for _, host in ipairs { "plain.test", "rules.test", "unknown.test" } do
    ask(host)
    ask(host, USER)
    ask(host, USER)
    ask(host, USER)
    t.say()
end
--- response_body
401 -, 200 a, 200 a, 503 -, 
401 -, 200 b, 200 b, 503 -, 
404 -, 404 -, 404 -, 404 -, 



=== guarded.conf: a location's own access control and limits hold for every host, and come before the edge's answers
--- http_config
    limit_req_zone $http_x_client zone=once:1m rate=1r/m;
--- config
    location /basic/ {
        auth_basic "apps";
        auth_basic_user_file $TEST_NGINX_SERVER_ROOT/html/passwords;
        include pointsman/guarded.conf;
    }
    location ~ ^/any/.*\.html$ {
        satisfy any;
        deny all;
        auth_basic "apps";
        auth_basic_user_file $TEST_NGINX_SERVER_ROOT/html/passwords;
        include pointsman/guarded.conf;
    }
    location = /denied {
        deny all;
        include pointsman/guarded.conf;
    }
    location /methods/ {
        limit_except GET { deny all; }
        include pointsman/guarded.conf;
    }
    location /asked/ {
        auth_request /check;
        include pointsman/guarded.conf;
    }
    location = /check {
        internal;
        if ($http_x_ok) { return 204; }
        return 401;
    }
    location /lua/ {
        access_by_lua_block {
            if not ngx.var.http_x_ok then return ngx.exit(401) end
        }
        include pointsman/guarded.conf;
    }
    location /limited/ {
        limit_req zone=once;
        include pointsman/guarded.conf;
    }
--- user_files
>>> passwords
user:{PLAIN}secret
--- lua
local function ask(host, path, method, ...)
    local response = t.get(host, path, { method = method, headers = { ... } })
    ngx.print(response.status, response.headers["x-instance"] or "-", " ")
end
local USER, OK = "Authorization: Basic dXNlcjpzZWNyZXQ=", "X-OK: 1"
for _ = 1, 2 do
    for _, host in ipairs { "plain.test", "rules.test", "unknown.test" } do
        for _, path in ipairs { "/basic/", "/any/%61/x.html" } do
            ask(host, path, "GET")
            ask(host, path, "GET", USER)
        end
        ask(host, "/denied", "GET")
        ask(host, "/methods/", "GET")
        ask(host, "/methods/", "PUT")
        for _, path in ipairs { "/asked/", "/lua/" } do
            ask(host, path, "GET")
            ask(host, path, "GET", OK)
        end
        ask(host, "/limited/", "GET", "X-Client: " .. host)
        t.say()
    end
end
--- response_body
401- 200a 401- 200a 403- 200a 403- 401- 200a 401- 200a 200a 
401- 200b 401- 200b 403- 200b 403- 401- 200b 401- 200b 200b 
401- 404- 401- 404- 403- 404- 403- 401- 404- 401- 404- 404- 
401- 200a 401- 200a 403- 200a 403- 401- 200a 401- 200a 503- 
401- 200b 401- 200b 403- 200b 403- 401- 200b 401- 200b 503- 
401- 404- 401- 404- 403- 404- 403- 401- 404- 401- 404- 503- 



=== guarded.conf: the app sees what the client sent, body included
--- config
    location / {
        deny 127.0.0.99;
        include pointsman/guarded.conf;
    }
--- lua
for _, host in ipairs { "plain.test", "rules.test", "plain.test" } do
    local response = t.get(host, "/echo/a%2fb//c?d=%20e", {
        method = "POST", body = ("x"):rep(70000) })
    t.say(response.body:match("^[^\n]+"), " ", response.body:match("body [^\n]*"))
end
--- response_body
POST /echo/a%2fb//c?d=%20e HTTP/1.1 body 70000 bbe08e77a44b51de811b3d30272b9916
POST /echo/a%2fb//c?d=%20e HTTP/1.1 body 70000 bbe08e77a44b51de811b3d30272b9916
POST /echo/a%2fb//c?d=%20e HTTP/1.1 body 70000 bbe08e77a44b51de811b3d30272b9916
