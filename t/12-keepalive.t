use TestPointsman;

run_edge_tests();

__DATA__

=== a connection that went stale costs the only instance of an app no request
--- records
route shop.test shop
inst shop a @stale
--- lua
for _ = 1, 6 do
    t.say(t.show("shop.test"))
end
--- no_error_log
[alert]
--- response_body
200 stale
200 stale
200 stale
200 stale
200 stale
200 stale



=== nor does it cost an app with several instances any, or set one aside
--- records
route shop.test shop
inst shop a @stale
inst shop b @a
--- lua
for _ = 1, 6 do
    ngx.print(t.get("shop.test").status, " ")
end
t.say(t.metric("pointsman_ejections_total"))
--- no_error_log
[alert]
--- response_body
200 200 200 200 200 200 0



=== a stale connection fails no POST that could not be sent
--- records
route shop.test shop
inst shop a @a
--- lua
-- nginx itself would rather fail than send it twice: a POST on a connection
-- that the app closed meanwhile is not tried again
t.say(t.show("shop.test", "/", { body = "x" }))
t.say(t.show("shop.test", "/", { body = "x" }))
--- response_body
200 a
200 a



=== many requests at once use as many connections, and keep them
--- lua
local calls = {}
for i = 1, 20 do
    calls[i] = function() return t.show("shop.test", "/sleep/0.1") end
end
for _, shown in ipairs(t.together(unpack(calls))) do
    assert(shown == "200 slept", shown)
end
t.say(t.requests("a"))
--- response_body
20



=== a client's connection serves hosts of several apps
--- records
route one.test one
route two.test two
inst one a @a
inst two b @b
--- lua
local connection = t.connect()
for _ = 1, 2 do
    ngx.print(connection:request("one.test").body)
    ngx.print(connection:request("two.test").body)
end
t.say(connection:request("three.test").status)
ngx.print(connection:request("one.test").body)
--- response_body
a
b
a
b
404
a
