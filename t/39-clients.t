use TestPointsman;

# What clients and the proxies in front may say of a request, and what an app is
# told. Some requests fail on purpose, which nginx logs.
run_edge_tests(trouble => 1);

__DATA__

=== the request line's host counts, and the app is told so
--- records
route a.test a
route b.test b
inst a one @a
inst b two @b
--- lua
local function ask(line, host)
    local connection = t.connect()
    assert(connection.sock:send("GET " .. line .. " HTTP/1.1\r\nHost: " .. host
                                .. "\r\nConnection: close\r\n\r\n"))
    local response = connection:response("GET")
    connection:close()
    t.say(response.headers["x-instance"] or response.status, " ",
          response.body:match("\nhost: [^\n]*"), " ",
          response.body:match("\nx%-forwarded%-host: [^\n]*"))
end
for _ = 1, 2 do
    ask("http://a.test/echo", "b.test")
    ask("http://a.test:81/echo", "b.test")
    ask("http://A.test/echo", "a.test:82")
    ask("/echo", "B.test:83")
    ask("/echo", "b.test.")
end
--- response_body eval
join("", "a \nhost: a.test \nx-forwarded-host: a.test\n"
. "a \nhost: a.test:81 \nx-forwarded-host: a.test:81\n"
. "a \nhost: a.test:82 \nx-forwarded-host: a.test:82\n"
. "b \nhost: B.test:83 \nx-forwarded-host: B.test:83\n"
. "b \nhost: b.test. \nx-forwarded-host: b.test.\n") x 2



=== headers that frameworks believe are the edge's own, or gone
--- lua
local headers = {}
for _, name in ipairs { "X-Forwarded-Proto", "X-Forwarded-Host",
        "X-Forwarded-Port", "X-Real-IP", "X-Forwarded-Scheme",
        "X-Forwarded-Ssl", "X-Forwarded-Prefix", "Forwarded",
        "Front-End-Https", "Proxy", "X-Original-URL", "X-Rewrite-URL" } do
    headers[#headers + 1] = name .. ": forged"
end
for _ = 1, 2 do
    local body = t.get("shop.test", "/echo", { headers = headers }).body
    t.say(body:find("forged", 1, true), " ",
          body:match("x%-forwarded%-proto: [^\n]*"), ", ",
          body:match("x%-forwarded%-host: [^\n]*"), ", ",
          body:match("x%-forwarded%-port: [^\n]*") == "x-forwarded-port: "
          .. t.port, ", ", body:match("x%-real%-ip: [^\n]*"))
end
--- response_body
nil x-forwarded-proto: http, x-forwarded-host: shop.test, true, x-real-ip: 127.0.0.1
nil x-forwarded-proto: http, x-forwarded-host: shop.test, true, x-real-ip: 127.0.0.1



=== a trusted proxy tells the scheme, the host and the port
--- trusted: 127.0.0.1/32
--- records
rules shop.test [{"path":"/","redirect":{"status":301,"scheme":"https"}},{"path":"/","to":[{"app":"shop"}]}]
rules www.test [{"path":"/","redirect":{"status":308,"path":"/new"}}]
inst shop a @a
--- lua
for _ = 1, 2 do
    t.say(t.get("shop.test", "/x").headers.location)
    local body = t.get("shop.test", "/echo", { headers = {
        "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test:8443",
        "X-Forwarded-Port: 8443", "Front-End-Https: on" } }).body
    for _, name in ipairs { "proto", "host", "port" } do
        ngx.print(body:match("x%-forwarded%-" .. name .. ": [^\n]*"), ", ")
    end
    t.say(body:find("front-end", 1, true))
    t.say(t.get("www.test", "/", { headers = {
        "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test:8443" }
        }).headers.location)
end
--- response_body
https://shop.test/x
x-forwarded-proto: https, x-forwarded-host: public.test:8443, x-forwarded-port: 8443, nil
https://public.test:8443/new
https://shop.test/x
x-forwarded-proto: https, x-forwarded-host: public.test:8443, x-forwarded-port: 8443, nil
https://public.test:8443/new



=== from anyone else a redirect to https comes again
--- trusted: 192.0.2.0/24
--- records
rules shop.test [{"path":"/","redirect":{"status":301,"scheme":"https"}},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
t.say(t.get("shop.test", "/x", { headers = {
    "X-Forwarded-Proto: https" } }).headers.location)
--- response_body
https://shop.test/x



=== an id for the request: the client's if it is harmless, and told to the client
--- http_config
    server {
        listen 127.0.0.21:$TEST_NGINX_SERVER_PORT;
        location / {
            include pointsman/location.conf;
        }
    }
--- lua
local function ask(id)
    local response = t.get("shop.test", "/echo", { address = "127.0.0.21",
                           headers = { id and "X-Request-Id: " .. id } })
    local told = response.headers["x-request-id"]
    t.say(told == response.body:match("\nx%-request%-id: ([^\n]*)"), " ",
          told == id, " ", #told)
end
for _ = 1, 2 do
    ask()
    ask("mine-42:a/b+c=,@.")
    ask(("x"):rep(128))
    ask(("x"):rep(129))
    ask("a b")
    ask('a"b')
    ask("<script>")
end
t.say(#t.get("unknown.test", "/", { address = "127.0.0.21" })
      .headers["x-request-id"])
--- response_body eval
join("", "true false 32\ntrue true 17\ntrue true 128\ntrue false 32\n"
. "true false 32\ntrue false 32\ntrue false 32\n") x 2 . "32\n"



=== an app's offer of HTTP/2 goes no further
--- http_config
    server {
        listen 127.0.0.21:$TEST_NGINX_SERVER_PORT http2;
        include pointsman/server.conf;
        location / {
            include pointsman/location.conf;
        }
    }
--- lua
local function curl(arguments)
    return t.output("curl -sS --max-time 5 --http2-prior-knowledge "
                    .. "-H 'Host: shop.test' " .. arguments)
end
local url = "http://127.0.0.21:" .. t.port
for _ = 1, 2 do
    local response = t.get("shop.test", "/offers")
    t.say(response.body:sub(1, -2), " ", response.headers.upgrade)
    ngx.print(curl(url .. "/offers"))
    ngx.print(curl("-H 'Upgrade: websocket' " .. url .. "/ws"))
end
--- response_body
offered nil
offered
no upgrade: nil, nil
offered nil
offered
no upgrade: nil, nil



=== a response header of 15,000 bytes passes
--- lua
for _ = 1, 2 do
    for _, size in ipairs { 4500, 15000 } do
        local response = t.get("shop.test", "/large/" .. size)
        ngx.print(response.status, " ", #response.headers["x-large"], ", ")
    end
end
t.say()
--- response_body
200 4500, 200 15000, 200 4500, 200 15000, 



=== response headers of a rule are on the edge's own errors, too
--- config
    error_page 502 /page;
    location = /page { return 502 "a page\n"; }
    location / {
        include pointsman/location.conf;
    }
--- records
rules none.test [{"path":"/","headers":{"response":{"set":{"Strict-Transport-Security":"max-age=1"}}},"to":[{"app":"none"}]}]
rules down.test [{"path":"/","headers":{"response":{"set":{"Strict-Transport-Security":"max-age=1"}}},"to":[{"app":"down"}]}]
rules up.test [{"path":"/","headers":{"response":{"set":{"Strict-Transport-Security":"max-age=1","X-App":"ours"}}},"to":[{"app":"up"}]}]
inst down gone @refused
inst up a @a
--- lua
for _ = 1, 2 do
    for _, host in ipairs { "none.test", "down.test", "up.test" } do
        local response = t.get(host, "/status/200")
        ngx.print(response.status, " ",
                  response.headers["strict-transport-security"], " ",
                  response.headers["x-app"] or "-", ", ")
    end
end
t.say()
--- response_body
503 max-age=1 -, 502 max-age=1 -, 200 max-age=1 ours, 503 max-age=1 -, 502 max-age=1 -, 200 max-age=1 ours, 



=== an idle WebSocket stays for the app's idle_timeout, an hour by default
--- config
    proxy_read_timeout 200ms;
    location / {
        include pointsman/location.conf;
    }
--- records
route long.test long
route short.test short
policy short {"idle_timeout_ms":1000}
inst long a @a
inst short b @b
--- lua
for _ = 1, 2 do
    for _, host in ipairs { "long.test", "short.test" } do
        local connection = t.connect()
        connection:request(host, "/ws", { headers = {
            "Connection: Upgrade", "Upgrade: websocket" } })
        local sock = connection.sock
        ngx.sleep(0.5)
        sock:send("still\n")
        ngx.print(sock:receive(), ", ")
        if host == "short.test" then
            sock:settimeout(5000)
            local _, err = sock:receive()
            ngx.print(err, ", ")
        end
        connection:close()
    end
end
t.say(t.get("long.test", "/sleep/1").status)
--- response_body
echo still, echo still, closed, echo still, echo still, closed, 504



=== a header of the user's beside the include arrives once
--- config
    location / {
        include pointsman/location.conf;
        proxy_set_header X-Mine yes;
    }
--- lua
for _ = 1, 2 do
    t.say(t.get("shop.test", "/echo").body:match("\nx%-mine: [^\n]*"):sub(2))
end
--- response_body
x-mine: yes
x-mine: yes



=== the app's own last answer is passed on where no retry is left
--- records
route shop.test shop
policy shop {"retry_5xx":true,"retries":2,"fail_on":[],"retry_budget":0}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
-- the reserve of a hundred retries is used up on the way
local bare = 0
for _ = 1, 150 do
    local response = t.get("shop.test", "/status/503")
    if response.body ~= "the app says 503\n"
            or response.headers["x-app"] ~= "said so" then
        bare = bare + 1
    end
end
t.say(bare, " ", t.metric("pointsman_retries_total") > 90)
--- response_body
0 true



=== a Host header that nobody can have is refused, whatever nginx makes of it
--- records
route a.test shop
route * all deeper=1
inst shop a @a
inst all b @b
--- lua
for _, host in ipairs {
    "a.test:80@evil.test", "a.test:abc", "A.TEST:80@evil.test", "a.test:65536",
    "a.test.:x", "a.test:80:80", "user@a.test", ".a.test", "a..test", "a.test%2e",
    "a.test:-1",
} do
    for _ = 1, 4 do
        local response = t.get(host)
        assert(response.status == 400, host)
        assert(response.headers["x-pointsman-error"] == "bad_host"
               or host == "a..test", host)
    end
end
for _, host in ipairs { "a.test", "A.Test", "a.test:80", "a.test.:8080", "a.test:",
                        "[::1]:80", "a_b.test", "10.0.0.1:65535" } do
    ngx.print(host, " ", t.show(host), ", ")
end
t.say(t.metric('pointsman_errors_total{reason="bad_host"}'))
--- response_body
a.test 200 a, A.Test 200 a, a.test:80 200 a, a.test.:8080 200 a, a.test: 200 a, [::1]:80 200 b, a_b.test 200 b, 10.0.0.1:65535 200 b, 40
