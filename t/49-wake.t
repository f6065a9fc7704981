use TestPointsman;

# Plays what scales apps; what it was asked is in the shared dict.
add_block_preprocessor(sub {
    my $block = shift;
    $block->set_value(http_config => ($block->http_config // '') . <<'_EOC_');
    server {
        listen 127.0.0.40:$TEST_NGINX_SERVER_PORT;
        access_log off;
        log_by_lua_block { return }
        location / {
            content_by_lua_block {
                local counts = ngx.shared.testkit
                counts:incr("wakes", 1, 0)
                ngx.req.read_body()
                local headers = ngx.req.get_headers()
                counts:set("wake", table.concat({
                    ngx.req.get_method(), ngx.var.request_uri,
                    tostring(ngx.req.get_body_data()), headers["Content-Length"],
                    headers["X-Pointsman-App"], headers["X-Pointsman-Host"],
                }, " "))
                ngx.status = tonumber(ngx.var.arg_status) or 202
                ngx.say("ok")
            }
        }
    }
_EOC_
});

run_edge_tests();

__DATA__

=== a request that finds no instance wakes the app, waits, and is served
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port
         .. '/up?app=shop"}}')
local came
local results = t.together(function()
    local shown = t.show("shop.test", "/echo", { body = "x" })
    ngx.update_time()
    return shown:match("^%d+ %S+") .. " " .. tostring(ngx.now() - came < 1)
end, function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("waking shop", 2)
    t.wait("the call", function() return t.counts:get("wakes") == 1 end)
    t.say(t.counts:get("wake"))
    -- Another change is no instance.
    t.change("inst other b @b")
    t.publish("inst shop a @a")
    ngx.update_time()
    came = ngx.now()
    return "-"
end)
t.say(results[1], ", ", results[2], ", ", t.counts:get("wakes"))
t.say(t.show("shop.test"), " ", t.counts:get("wakes"))
t.wait_waiting("waking shop", 0)
--- response_body
POST /up?app=shop nil 0 shop shop.test
200 POST true, 200 a, 1
200 a 1



=== the call is one for all workers, and is repeated after five seconds
--- workers: 2
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
local workers = t.connect_each(2)
local began = ngx.now()
local results = t.together(function()
    return workers[1]:request("shop.test").status
end, function()
    return workers[2]:request("shop.test").status
end, function()
    t.wait_waiting("waking shop", 2)
    local least = 2
    t.wait("the second call", function()
        least = math.min(least, t.waiting("waking shop"))
        return t.counts:get("wakes") == 2, t.counts:get("wakes")
    end)
    -- Meanwhile both have kept their places.
    t.say(least)
    ngx.update_time()
    local seconds = ngx.now() - began
    t.say(seconds > 4.9 and seconds < 7 or seconds)
    t.publish("inst shop a @a")
    return "-"
end)
t.say(table.concat(results, " "), " ", t.counts:get("wakes"))
--- response_body
2
true
200 200 - 2



=== at the time-out, and beyond `max`, it is a 503 with Retry-After
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port
         .. '/","timeout":1,"max":1}}')
local function ask()
    local began = ngx.now()
    local response = t.get("shop.test")
    ngx.update_time()
    return response.status .. " " .. response.headers["x-pointsman-error"]
           .. " " .. response.headers["retry-after"] .. " "
           .. (ngx.now() - began > 0.9 and "late" or "at once")
end
local results = t.together(ask, function()
    t.wait_waiting("waking shop", 1)
    return ask()
end)
t.say(results[1])
t.say(results[2])
t.say(t.metric('pointsman_errors_total{reason="no_instance"}'))
--- response_body
503 no_instance 5 late
503 no_instance 5 at once
2



=== an app beneath rules is woken, as is one of the defaults
--- records
rules shop.test [{"path":"/x","to":[{"app":"one","weight":1},{"app":"two","weight":0}]},{"path":"/","to":[{"app":"shop"}]}]
inst shop a @a
--- lua
t.change('policy * {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
local results = t.together(function()
    return t.show("shop.test", "/x")
end, function()
    t.wait_waiting("waking one", 1)
    local shown = t.show("shop.test")
    t.publish("inst one b @b")
    return shown
end)
t.say(table.concat(results, ", "))
t.say(t.counts:get("wakes"), " ", t.counts:get("wake"))
--- response_body
200 b, 200 a
1 POST / nil 0 one shop.test



=== instances that are draining do not count
--- records
route shop.test shop
inst shop a @a draining=1
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
t.say(t.show_after("waking shop", "inst shop b @b"))
--- response_body
200 b



=== an app that loses its wake while requests wait
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
t.say(t.show_after("waking shop", 'policy shop {"retries":1}'))
--- response_body
503 no_instance



=== a client that goes away gives its place back
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
local gone = t.connect(0.05)
t.together(function()
    pcall(gone.request, gone, "shop.test")
end, function()
    t.wait_waiting("waking shop", 1)
end)
gone:close()
t.wait_waiting("waking shop", 0)
t.say("free")
--- response_body
free



=== the app leaves the cache meanwhile, as one without instances does
--- records
route shop.test shop
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port .. '"}}')
local results = t.together(function()
    return t.show("shop.test")
end, function()
    t.wait_waiting("waking shop", 1)
    ngx.shared.pointsman_apps:delete("shop")
    t.publish("inst shop b @b")
    return "-"
end)
t.say(results[1])
--- response_body
200 b



=== a URL that fails is in the log, and the request waits all the same
--- no_error_log
[emerg]
--- records
route shop.test shop
route down.test down
--- lua
t.change('policy shop {"wake":{"url":"http://127.0.0.40:' .. t.port
         .. '/?status=500","timeout":1}}\n'
         .. 'policy down {"wake":{"url":"http://127.0.0.1:1","timeout":1}}')
t.say(table.concat(t.together(function()
    return t.show("shop.test")
end, function()
    return t.show("down.test")
end), ", "))
--- error_log eval
[qr/failed to wake app shop by a POST to http:\S+: the answer is HTTP\/1.1 500/,
 qr/failed to wake app down by a POST to http:\S+: connection refused/]
--- response_body
503 no_instance, 503 no_instance



=== a broken wake does not take the app down
--- no_error_log
[emerg]
--- lua
t.say(t.show("shop.test"))
for _, wake in ipairs { "7", '"http://x"', "{}", '{"url":"ftp://x"}',
                        '{"url":"http://x y"}', '{"url":"http://user@x"}',
                        '{"url":"http://x","timeout":0}',
                        '{"url":"http://x","timeout":"30s"}',
                        '{"url":"http://x","max":-1}',
                        '{"url":"http://x","more":1}' } do
    t.change('policy shop {"wake":' .. wake .. '}\nroute one.test one\n'
             .. 'inst one b @b\npolicy one {"wake":' .. wake .. '}')
    t.say(t.show("shop.test"), " ", t.show("one.test"))
    t.change("del route one.test\ndel app one")
end
t.change("del inst shop a")
t.say(t.show("shop.test"))
--- error_log eval
["used what Redis has for app one without its bad wake",
 "failed to use a change of app shop: bad wake"]
--- response_body eval
"200 a\n" . "200 a 200 b\n" x 10 . "503 no_instance\n"
