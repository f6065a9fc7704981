use TestPointsman;

# What is gone leaves: at once where it was deleted, and memory in the end.
# Redis is missing here at times, and nginx may say so.
run_edge_tests(trouble => 1);

__DATA__

=== a route that was deleted does not come back when Redis goes away
--- records
route one.test shop
route *.two.test shop
route *.three.test shop
route deep.three.test other
route live.test shop
route *.five.test shop
inst shop a @a
inst other b @b
--- lua
local hosts = { "one.test", "b.two.test", "x.three.test", "deep.three.test",
                "live.test", "b.five.test" }
for round = 1, 3 do
    for i, host in ipairs(hosts) do
        hosts[host] = t.show(host)
    end
end
t.say(hosts["one.test"], ", ", hosts["deep.three.test"])
t.change("del route one.test\ndel route *.two.test\ndel route deep.three.test")
t.redis_stop()
t.wait("the feed to notice", function()
    return t.status().feed.state == "down"
end)
for _, host in ipairs(hosts) do
    t.say(host, " ", t.show(host))
end
-- What was evicted meanwhile is still in the worker's table, and was not
-- deleted.
require("pointsman.cache.dicts").routes:drop("live.test")
t.say(t.show("live.test"))
-- By another worker's table of hosts, or none, it is the same.
local routes = require("pointsman.cache.routes")
for _, host in ipairs(hosts) do
    local app = routes.find_stale(host)
    t.say(app and app.name)
end
--- response_body
200 a, 200 b
one.test 503 unavailable
b.two.test 503 unavailable
x.three.test 200 a
deep.three.test 200 a
live.test 200 a
b.five.test 200 a
200 a
nil
nil
shop
shop
shop
shop



=== a flood of random names beneath a wildcard takes no memory of the worker
--- records
route *.wild.test shop deeper=0
inst shop a @a
--- timeout: 20
--- lua
local routes = require("pointsman.cache.routes")
t.say(t.show("first.wild.test"))
local function memory()
    collectgarbage()
    collectgarbage()
    return collectgarbage("count")
end
local before = memory()
for i = 1, 100000 do
    -- As in the rewrite and balancer phases of a request.
    local name = "a-name-of-some-length-" .. i .. ".wild.test"
    assert(routes.find(name).name == "shop" and routes.find(name))
end
local more = memory() - before
t.say(more < 2048 or more)
-- One that is asked for again has its place there.
local found = {}
for i = 1, 5 do
    found[i] = select(2, routes.find("again.wild.test"))
end
t.say(table.concat(found, " "))
--- response_body
200 a
true
l2 l2 l2 l1 l1



=== hosts and apps that appear once and go leave the worker and the shared dict
--- timeout: 20
--- lua
local apply = require("pointsman.feed.apply")
local known_apps = require("pointsman.cache.apps")
local hosts = require("pointsman.cache.hosts")
local routes = require("pointsman.cache.routes")
local N = 100
local function lines(plain, rules)
    local list = {}
    for i = 1, N do
        list[2 * i - 1], list[2 * i] = plain:format(i, i), rules:format(i, i)
    end
    return table.concat(list, "\n")
end
local function entries()
    return t.status().dicts.pointsman_apps.entries
end
local function targets()
    local n = 0
    for _, target in ipairs(hosts.targets) do
        n = n + (target and 1 or 0)
    end
    return n
end
local function sweep(rounds)
    for _ = 1, rounds * 256 do
        routes.sweep()
    end
end
for _ = 1, 3 do
    t.show("shop.test")
end
t.say(known_apps.count(), " ", targets(), " ", entries())
t.change(lines("inst app%d a @a", "inst ruled%d a @a"))
t.change(lines("route h%d.test app%d",
               'rules r%d.test [{"path":"/x","to":[{"app":"shop"}]},'
               .. '{"path":"/","to":[{"app":"ruled%d"}]}]'))
for i = 1, N do
    assert(t.show("h" .. i .. ".test") == "200 a")
    assert(t.show("r" .. i .. ".test") == "200 a")
end
t.say(known_apps.count(), " ", targets(), " ", entries())
t.change(lines("del route h%d.test", "del route r%d.test"))
t.change(lines("del inst app%d a", "del inst ruled%d a"))
-- The one that is used stays.
for _ = 1, 8 do
    sweep(1)
    assert(select(2, routes.find("shop.test")) == "l1")
end
t.say(known_apps.count(), " ", targets(), " ", entries())
-- (It has been a while.)
apply.purge(0)
t.say(entries())
-- Until it is not.
sweep(6)
t.say(known_apps.count(), " ", targets())
t.say(t.show("shop.test"), " ", t.lookups())
--- response_body
1 1 1
201 201 201
1 1 201
1
0 0
200 a 201



=== an app that has no instance is kept for a while
--- records
route shop.test shop
--- lua
t.say(t.show("shop.test"), " ", t.show("shop.test"), " ", t.lookups())
local dict = ngx.shared.pointsman_apps
local left = dict:ttl("shop")
t.say(left > 50 and left <= 60)
t.change("inst shop a @a")
t.say(t.show("shop.test"), " ", dict:ttl("shop"), " ", t.lookups())
t.change("del inst shop a")
left = dict:ttl("shop")
t.say(left > 50 and left <= 60)
t.say(t.show("shop.test"), " ", t.lookups())
-- One that has an instance again is not forgotten.
t.change("inst shop a @b")
require("pointsman.feed.apply").purge(0)
t.say(t.show("shop.test"), " ", dict:ttl("shop"), " ", t.lookups())
--- response_body
503 no_instance 503 no_instance 1
true
200 a 0 1
true
503 no_instance 1
200 b 0 1



=== what is put into an app that has no room is not there, and the log says so
--- without: http
--- http_config
    lua_shared_dict pointsman_routes    1m;
    lua_shared_dict pointsman_apps      64k;
    lua_shared_dict pointsman_negatives 1m;
    lua_shared_dict pointsman_state     2m;
    lua_shared_dict pointsman_flights   1m;
--- error_log
pointsman_apps is full: there is no room for shop
give lua_shared_dict more memory
--- lua
t.say(t.show("shop.test"))
local list = {}
for i = 1, 2000 do
    list[i] = ("inst shop i%05d @a"):format(i)
end
t.change(table.concat(list, "\n"))
t.say(t.show("shop.test"), " ", t.status().dicts.pointsman_apps.full > 0)
--- response_body
200 a
200 a true



=== where apps do not fit, those that were not used make room, and the log says so
--- without: http
--- http_config
    lua_shared_dict pointsman_routes    1m;
    lua_shared_dict pointsman_apps      64k;
    lua_shared_dict pointsman_negatives 1m;
    lua_shared_dict pointsman_state     2m;
    lua_shared_dict pointsman_flights   1m;
--- error_log
pointsman_apps is full: records that were not used for longest make room
--- lua
local list = {}
for i = 1, 500 do
    list[2 * i - 1] = ("inst app%d a @a zone=%s"):format(i, ("z"):rep(60))
    list[2 * i] = ("route h%d.test app%d"):format(i, i)
end
t.change(table.concat(list, "\n"))
for _ = 1, 2 do
    for i = 1, 500 do
        assert(t.show("h" .. i .. ".test") == "200 a")
    end
end
t.say(t.status().dicts.pointsman_apps.evicted > 0)
--- response_body
true
