use TestPointsman;

run_edge_tests();

__DATA__

=== what needs revalidation serves for a moment, while Redis is asked
--- lua
t.say(t.show("shop.test"))
t.publish("inst shop a @b", "lost")
t.counts:set("hold_lookups", true)
local revision = t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.sleep(0.002)
local begin, before = ngx.now(), t.lookups()
t.say(t.show("shop.test"), " ", t.show("shop.test"))
ngx.update_time()
t.say(ngx.now() - begin < 0.4)
t.wait("the look-up", function()
    return t.lookups() > before
end)
t.say("behind: ", t.status().applied < revision)
t.counts:delete("hold_lookups")
t.wait("the new instance", function()
    return t.show("shop.test") == "200 b"
end)
ngx.update_time()
t.say("soon: ", ngx.now() - begin < 0.45)
t.say("look-ups: ", t.lookups() - before)
t.applied(revision)
t.say(t.show("shop.test"), " ", t.show("other.test"))
--- response_body
200 a
200 a 200 a
true
behind: true
soon: true
look-ups: 1
200 b 200 b



=== later on, a request waits for what Redis says
--- lua
t.say(t.show("shop.test"))
t.publish("inst shop a @b", "lost")
t.change("route other.test shop")
t.say(t.lookups(), " ", t.show("shop.test"), " ", t.lookups())
--- response_body
200 a
1 200 b 2



=== a route that was not there is asked for at once
--- lua
t.say(t.show("new.test"))
t.publish("route new.test shop", "lost")
t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.sleep(0.002)
t.say(t.show("new.test"))
--- response_body
404 no_route
200 a



=== what the feed brings meanwhile takes effect at once
--- lua
t.say(t.show("shop.test"))
t.counts:set("hold_lookups", true)
t.publish("inst shop b @b", "lost")
t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.publish("inst shop a @c")
t.wait("the entry", function()
    return t.show("shop.test") == "200 c"
end, 0.3)
t.counts:delete("hold_lookups")
t.applied()
local shown = { t.show("shop.test"), t.show("shop.test") }
table.sort(shown)
t.say(shown[1], " ", shown[2])
--- response_body
200 a
200 b 200 c



=== all apps of a route with rules, and one of many instances
--- lua
local list = {
    'rules rules.test [{"path":"/x","to":[{"app":"large"}]},'
        .. '{"path":"/","to":[{"app":"shop"}]}]',
    "inst large 000 @a",
}
for i = 1, 200 do
    list[i + 2] = string.format("inst large %03d @refused weight=0", i)
end
t.change(table.concat(list, "\n"))
t.say(t.show("rules.test", "/x"), " ", t.show("rules.test", "/"))
t.publish("inst large 000 @b\ninst shop a @c", "lost")
t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.sleep(0.002)
t.say(t.show("rules.test", "/x"))
t.wait("both apps", function()
    local shown = t.show("rules.test", "/x") .. t.show("rules.test", "/")
    return shown == "200 b200 c", shown
end, 0.3)
t.say(t.counts:get("app_lookups"))
--- response_body
200 a 200 a
200 a
2



=== what is cached of another registry does not serve any longer
--- lua
t.say(t.show("shop.test"))
t.publish("inst shop a @b", "lost")
t.counts:set("hold_lookups", true)
t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.redis("HSET", t.prefix .. "meta", "epoch", "other")
local revision = t.publish("inst shop a @c")
t.wait("the epoch", function()
    local status = t.status()
    return status.epoch == "other", status
end, 0.3)
t.counts:delete("hold_lookups")
t.sleep(0.002)
t.say(t.show("shop.test"), " ", t.status().applied == revision)
--- response_body
200 a
200 c true
