use TestPointsman;

run_edge_tests();

__DATA__

=== the most specific route wins, and wildcards span any number of labels
--- records
route * all deeper=1
route *.test wide deeper=1
route *.shop.test narrow deeper=1
route eu.shop.test exact
inst all a @a
inst wide b @b
inst narrow c @c
inst exact d @a
--- lua
for _ = 1, 2 do
    for _, host in ipairs { "eu.shop.test", "us.shop.test", "x.us.shop.test",
                            "shop.test", "x.y.test", "test", "other.org",
                            "10.0.0.1", "[::1]" } do
        ngx.print(t.get(host).headers["x-instance"], " ")
    end
    t.say("")
end
--- response_body
a c c b b a a a a 
a c c b b a a a a 



=== a host that no route could be bound to fits a wildcard all the same
--- records
route *.test shop deeper=0
inst shop a @a
--- lua
t.say(t.show("my_shop.test"))
t.say(t.show("-.test"))
t.say(t.show("test"))
--- response_body
200 a
200 a
404 no_route



=== hosts beneath a wildcard with nothing deeper cost no look-up
--- records
route *.test shop deeper=0
inst shop a @a
--- lua
for i = 1, 20 do
    assert(t.show("random" .. i .. ".test") == "200 a")
end
t.say(t.lookups())
--- response_body
1



=== beneath a wildcard with something deeper, a host is asked for once
--- records
route *.test shop deeper=1
route one.test shop
inst shop a @a
--- lua
for _ = 1, 3 do
    assert(t.show("x.test") == "200 a")
    assert(t.show("y.test") == "200 a")
end
t.say(t.lookups())
--- response_body
2



=== a route that appears takes its host from the wildcard at once
--- records
route *.test wild deeper=0
inst wild a @a
inst own b @b
--- lua
t.say(t.show("shop.test"), ", ", t.show("x.shop.test"))
t.change("route shop.test own\nroute *.test wild deeper=1")
t.say(t.show("shop.test"), ", ", t.show("x.shop.test"))
t.change("route *.shop.test own deeper=0\nroute *.test wild deeper=1")
t.say(t.show("shop.test"), ", ", t.show("x.shop.test"))
t.change("del route shop.test\ndel route *.shop.test\n"
         .. "route *.test wild deeper=0")
t.say(t.show("shop.test"), ", ", t.show("x.shop.test"))
--- response_body
200 a, 200 a
200 b, 200 a
200 b, 200 b
200 a, 200 a



=== a route that appears takes its host from a wildcard that stays as it is
--- workers: 2
--- records
route *.test wild deeper=1
route other.test wild
inst wild a @a
inst own b @b
--- lua
local workers = t.connect_each(2)
local function all(host)
    for _, worker in ipairs(workers) do
        ngx.print(host, " ", worker:request(host).body)
    end
end
all("shop.test")
t.change("route shop.test own")
all("shop.test")
all("x.test")
t.change("del route shop.test")
all("shop.test")
--- response_body
shop.test a
shop.test a
shop.test b
shop.test b
x.test a
x.test a
shop.test a
shop.test a



=== every worker follows a route that appears beneath a wildcard
--- workers: 2
--- records
route *.test wild deeper=0
inst wild a @a
inst own b @b
--- lua
local workers = t.connect_each(2)
for _, worker in ipairs(workers) do
    ngx.print(worker:request("shop.test").body)
end
t.change("route shop.test own\nroute *.test wild deeper=1")
for _, worker in ipairs(workers) do
    ngx.print(worker:request("shop.test").body)
end
--- response_body
a
a
b
b



=== a wildcard that goes leaves its hosts to the next one, or to none
--- records
route *.test wide deeper=1
route *.shop.test narrow deeper=0
inst wide a @a
inst narrow b @b
--- lua
t.say(t.show("x.shop.test"))
t.change("del route *.shop.test\nroute *.test wide deeper=0")
t.say(t.show("x.shop.test"))
t.change("del route *.test")
t.say(t.show("x.shop.test"))
t.change("route * wide deeper=0")
t.say(t.show("x.shop.test"))
--- response_body
200 b
200 a
404 no_route
200 a



=== a wildcard's new app takes over for all of its hosts
--- records
route *.test one deeper=0
inst one a @a
inst two b @b
--- lua
t.say(t.show("x.test"), ", ", t.show("y.test"))
t.change("route *.test two deeper=0")
t.say(t.show("x.test"), ", ", t.show("y.test"), ", ", t.show("z.test"))
--- response_body
200 a, 200 a
200 b, 200 b, 200 b



=== a flood of random subdomains takes no room in the shared dict
--- records
route *.test shop deeper=0
inst shop a @a
--- lua
t.show("x.test")
local before = t.status().dicts
local connection = t.connect()
for i = 1, 900 do
    assert(connection:request("host-" .. i .. ".deep.test").status == 200)
end
local after = t.status().dicts
for _, name in ipairs { "pointsman_routes", "pointsman_negatives" } do
    t.say(name, " ", after[name].entries - before[name].entries)
end
--- response_body
pointsman_routes 0
pointsman_negatives 0



=== a host of many labels costs a dozen patterns, one that is too long none
--- records
route *.test shop
inst shop a @a
--- config
    large_client_header_buffers 4 16k;
    location / {
        include pointsman/location.conf;
    }
--- lua
local function negatives()
    return t.status().dicts.pointsman_negatives.entries
end
t.say(t.show(("a."):rep(117) .. "other"), " ", negatives())
t.say(t.show(("a."):rep(3000) .. "test"), " ", negatives())
t.say(t.show(("a."):rep(117) .. "test"))
--- response_body
404 no_route 12
400 bad_host 12
200 a
