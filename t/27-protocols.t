use TestPointsman;

# Apps behind TLS: played by this nginx on 127.0.0.9, with a certificate for
# app.test and secure.test.
my $TLS_APP = <<'_EOC_';
    proxy_ssl_trusted_certificate $TEST_NGINX_TLS/ca.pem;
    server {
        listen 127.0.0.9:$TEST_NGINX_SERVER_PORT ssl;
        ssl_certificate $TEST_NGINX_TLS/app.pem;
        ssl_certificate_key $TEST_NGINX_TLS/app.key;
        access_log off;
        log_by_lua_block { return }
        location / {
            content_by_lua_block {
                ngx.header["X-SNI"] = ngx.var.ssl_server_name
                require("app").run()
            }
        }
    }
_EOC_

add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => $TLS_APP);
    $block->set_value(config => <<'_EOC_');
        include pointsman/https.conf;
        location / {
            include pointsman/location.conf;
        }
_EOC_
});

run_edge_tests();

__DATA__

=== https: the certificate is verified for the request's host, which is the SNI
--- records
route secure.test shop
policy shop {"scheme":"https"}
inst shop a 127.0.0.9:@port
--- lua
for _ = 1, 3 do
    local response = t.get("secure.test", "/echo", { body = "x" })
    t.say(response.status, " ", response.headers["x-sni"], " ",
          response.body:match("host: [^\n]+"))
end
--- response_body
200 secure.test host: secure.test
200 secure.test host: secure.test
200 secure.test host: secure.test



=== https: another name, if the app gives one
--- records
route shop.test shop
policy shop {"scheme":"https","server_name":"app.test"}
inst shop a 127.0.0.9:@port
--- lua
local response = t.get("shop.test", "/echo")
t.say(response.status, " ", response.headers["x-sni"], " ",
      response.body:match("host: [^\n]+"))
--- response_body
200 app.test host: shop.test



=== https: a certificate for another name is refused
--- records
route wrong.test shop
policy shop {"scheme":"https"}
inst shop a 127.0.0.9:@port
--- lua
t.say(t.get("wrong.test").status, " ", t.requests("tls"))
--- no_error_log
[alert]
--- error_log
upstream SSL certificate does not match "wrong.test"
--- response_body
502 0



=== https with retries on server errors
--- records
route secure.test shop
policy shop {"scheme":"https","retry_5xx":true}
inst shop a 127.0.0.9:@port
--- lua
t.say(t.get("secure.test", "/status/503").status, " ",
      t.show("secure.test", "/status/200"))
--- response_body
503 200 the app says 200



=== server-sent events are passed on as they come
--- records
route shop.test shop
policy shop {"buffering":false}
inst shop a @a
--- lua
for _ = 1, 2 do
    t.counts:delete("drip")
    local connection = t.connect()
    local sock = connection.sock
    sock:send("GET /events HTTP/1.1\r\nHost: shop.test\r\n"
              .. "Accept: text/event-stream\r\n\r\n")
    local line
    repeat
        line = assert(sock:receive())
    until line == "data: one"
    t.counts:set("drip", true)
    repeat
        line = assert(sock:receive())
    until line == "data: two"
    connection:close()
end
t.say("both came, each in its time")
--- response_body
both came, each in its time



=== a WebSocket to an app that needs the full location
--- records
rules shop.test [{"path":"/in","rewrite":"/ws","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
local connection = t.connect()
connection.sock:send("GET /in HTTP/1.1\r\nHost: shop.test\r\n"
    .. "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
local response = connection:response("GET")
connection.sock:send("hello\n")
t.say(response.status, " ", connection.sock:receive())
--- response_body
101 echo hello
