use TestPointsman;

run_edge_tests();

__DATA__

=== a host with a route gets an answer from its app
--- request
GET /
--- more_headers
Host: shop.test
--- response_body
a



=== the second request for a host asks Redis nothing
--- lua
t.say(t.show("shop.test"), ", ", t.show("shop.test"), ", ", t.lookups())
--- response_body
200 a, 200 a, 1



=== before the feed has begun, a host is served, and not cached
--- at_once
--- hook
    -- the feed never comes
    require("pointsman.redis.client").follow = function()
        return nil, "not today"
    end
--- lua
for _ = 1, 2 do
    t.say(t.show("shop.test"), ", ", t.show("unknown.test"))
end
t.say(t.lookups())
--- no_error_log
[alert]
--- response_body
200 a, 404 no_route
200 a, 404 no_route
4



=== the second request is answered from the worker's own table
--- lua
t.show("shop.test")
local before = t.metric('pointsman_hits_total{level="l1"}')
t.show("shop.test")
t.show("shop.test")
t.say(t.metric('pointsman_hits_total{level="l1"}') - before)
t.say(t.metric('pointsman_hits_total{level="redis"}'))
--- response_body
2
1



=== what one worker has looked up, the other one finds in the shared dict
--- workers: 2
--- lua
local one, two = unpack(t.connect_each(2))
t.say(one:request("shop.test").body == "a\n")
t.say(two:request("shop.test").body == "a\n")
t.say(one:request("shop.test").headers["x-worker"]
      ~= two:request("shop.test").headers["x-worker"])
-- each worker adds up what it counted once a second
t.wait("the counts of both workers", function()
    local l1 = t.metric('pointsman_hits_total{level="l1"}')
    return l1 >= 2, l1
end)
t.say(t.metric('pointsman_hits_total{level="redis"}'))
--- response_body
true
true
true
1



=== upper case, a port and a trailing dot in the Host header do not matter
--- lua
t.say(t.show("SHOP.Test"))
t.say(t.show("shop.test:8080"))
t.say(t.show("shop.test."))
--- response_body
200 a
200 a
200 a



=== instances take turns
--- records
route shop.test shop
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local counts = {}
for _ = 1, 30 do
    local name = t.get("shop.test").headers["x-instance"]
    counts[name] = (counts[name] or 0) + 1
end
t.say(counts.a, " ", counts.b, " ", counts.c)
--- response_body
10 10 10



=== an instance gets requests by its weight, and none by weight 0
--- records
route shop.test shop
inst shop a @a weight=50
inst shop b @b weight=25
inst shop c @c weight=0
--- lua
local counts = { c = 0 }
for _ = 1, 30 do
    local name = t.get("shop.test").headers["x-instance"]
    counts[name] = (counts[name] or 0) + 1
end
t.say(counts.a, " ", counts.b, " ", counts.c)
--- response_body
20 10 0



=== workers do not all start at the same instance
--- workers: 4
--- lua
-- Eight apps, each with a picker of its own in each worker: that four workers
-- begin alike in all of them by chance happens once in 3 ^ 24 runs.
local text = {}
for i = 1, 8 do
    text[#text + 1] = "route h" .. i .. ".test app" .. i
    for _, id in ipairs { "a", "b", "c" } do
        text[#text + 1] = "inst app" .. i .. " " .. id .. " @" .. id
    end
end
t.change(table.concat(text, "\n"))
local beginnings, n = {}, 0
for _, connection in ipairs(t.connect_each(4)) do
    local names = {}
    for i = 1, 8 do
        names[i] = connection:request("h" .. i .. ".test").headers["x-instance"]
    end
    local beginning = table.concat(names)
    n = n + (beginnings[beginning] and 0 or 1)
    beginnings[beginning] = true
end
t.say(n > 1 and "they differ" or "all the same")
--- response_body
they differ



=== two hosts of one app share its round
--- records
route one.test shop
route two.test shop
inst shop a @a
inst shop b @b
--- lua
local names = {}
for i = 1, 3 do
    names[i] = t.get("one.test").headers["x-instance"]
             .. t.get("two.test").headers["x-instance"]
end
t.say(names[1] == names[2] and names[2] == names[3]
      and names[1]:sub(1, 1) ~= names[1]:sub(2, 2))
--- response_body
true



=== connections to an instance are kept
--- lua
t.show("shop.test")
local ports = {}
for _ = 1, 5 do
    ports[t.get("shop.test", "/port").body] = true
end
local n = 0
for _ in pairs(ports) do
    n = n + 1
end
t.say(n)
--- response_body
1



=== an IP address is a host like any other
--- records
route 10.1.2.3 shop
route [2001:db8::1] shop
inst shop a @a
--- lua
t.say(t.show("10.1.2.3"))
t.say(t.show("10.1.2.3:80"))
t.say(t.show("[2001:db8::1]"))
t.say(t.show("[2001:DB8::1]:80"))
t.say(t.show("10.1.2.4"))
--- response_body
200 a
200 a
200 a
200 a
404 no_route



=== a large answer arrives byte for byte
--- lua
local response = t.get("shop.test", "/big/5000000")
t.say(#response.body, " ", ngx.md5(response.body))
t.say(ngx.md5(("0123456789"):rep(6554):rep(77):sub(1, 5000000)))
--- response_body_like chomp
^5000000 (\w+)
\1
$
