use TestPointsman;

run_edge_tests();

__DATA__

=== an instance that joins gets requests, one that leaves gets none
--- lua
t.say(t.show("shop.test"))
t.change("inst shop b @b")
local seen = {}
for _ = 1, 4 do
    seen[t.get("shop.test").headers["x-instance"]] = true
end
t.say(seen.a, " ", seen.b)
t.change("del inst shop a")
for _ = 1, 4 do
    ngx.print(t.get("shop.test").body)
end
--- response_body
200 a
true true
b
b
b
b



=== an instance that moves is followed
--- lua
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b



=== a route can go, come back, and lead to another app
--- records
route shop.test shop
inst shop a @a
inst other b @b
--- lua
t.say(t.show("shop.test"))
t.change("route shop.test other")
t.say(t.show("shop.test"))
t.change("del route shop.test")
t.say(t.show("shop.test"))
t.change("route shop.test shop")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b
404 no_route
200 a



=== every worker follows every change
--- workers: 2
--- lua
local workers = t.connect_each(2)
local function all()
    for _, worker in ipairs(workers) do
        ngx.print(worker:request("shop.test").status, " ")
    end
    t.say("")
end
all()
t.change("del route shop.test")
all()
t.change("route shop.test shop")
all()
t.change("inst shop a @refused\ninst shop b @b")
t.change("del inst shop a")
all()
t.change("del inst shop b")
all()
--- response_body
200 200 
404 404 
200 200 
200 200 
503 503 



=== a change of one record leaves what others have cached
--- records
route shop.test shop
route other.test other
inst shop a @a
inst other b @b
--- lua
t.show("shop.test")
t.show("other.test")
local before = t.lookups()
for i = 1, 10 do
    t.publish("inst shop x" .. i .. " @a\nroute r" .. i .. ".test other")
end
t.applied()
t.say(t.show("shop.test"), ", ", t.show("other.test"))
t.say(t.lookups() - before)
--- response_body
200 a, 200 b
0



=== a batch of many changes is applied whole
--- lua
t.show("shop.test")
local text = {}
for i = 1, 400 do
    text[i] = "inst shop x" .. i .. " @b"
end
text[401] = "del inst shop a"
t.change(table.concat(text, "\n"))
t.say(t.show("shop.test"))
local gone = {}
for i = 2, 400 do
    gone[i - 1] = "del inst shop x" .. i
end
gone[400] = "inst shop x1 @c"
t.change(table.concat(gone, "\n"))
t.say(t.show("shop.test"))
--- response_body
200 b
200 c



=== an app of 5,000 instances is looked up, and followed one by one
--- lua
for i = 0, 9 do
    local text = {}
    for j = 1, 500 do
        text[j] = string.format("inst big i%d-%d @a", i, j)
    end
    t.publish(table.concat(text, "\n"))
end
t.change("route big.test big")
t.say(t.show("big.test"))
for i = 1, 20 do
    t.publish("del inst big i0-" .. i .. "\ninst big j" .. i .. " @a")
end
t.applied()
t.say(t.show("big.test"), " ", t.lookups(), " ", t.status().bad_records)
--- response_body
200 a
200 a 1 0



=== entries that came in while the feed was reading are not lost
--- lua
t.show("shop.test")
for i = 1, 300 do
    t.publish("inst shop x" .. i .. " @b")
end
t.change("del inst shop a")
t.say(t.show("shop.test"))
t.say(t.status().applied == tonumber(t.redis("HGET", t.prefix .. "meta", "rev")))
--- response_body
200 b
true



=== a gap in the stream is seen, and what was lost is asked for
--- lua
t.say(t.show("shop.test"))
t.publish("inst shop a @b", "lost")
t.change("route other.test shop")
t.say(t.show("shop.test"))
t.say(t.status().feed.revalidations)
--- response_body
200 a
200 b
1



=== a gap also lets go of a host that was absent, and of one that was there
--- records
route old.test shop
inst shop a @a
--- lua
t.say(t.show("old.test"), ", ", t.show("new.test"))
t.publish("route new.test shop\ndel route old.test", "lost")
t.change("inst shop b @a")
t.say(t.show("old.test"), ", ", t.show("new.test"))
--- response_body
200 a, 404 no_route
404 no_route, 200 a



=== a gap is seen by every worker
--- workers: 2
--- lua
local workers = t.connect_each(2)
for _, worker in ipairs(workers) do
    ngx.print(worker:request("shop.test").body)
end
t.publish("inst shop a @b", "lost")
t.change("route other.test shop")
for _, worker in ipairs(workers) do
    ngx.print(worker:request("shop.test").body)
end
--- response_body
a
a
b
b



=== a change that no entry ever tells is found within seconds
--- lua
t.say(t.show("shop.test"))
t.change("inst shop a @b", "lost")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b



=== a stream that was deleted and began again is noticed
--- lua
t.say(t.show("shop.test"))
t.redis("DEL", t.prefix .. "changes")
t.change("inst shop a @b")
t.say(t.show("shop.test"))
t.change("inst shop a @c")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b
200 c



=== a reset entry makes the edge ask for what it holds
--- lua
t.say(t.show("shop.test"))
t.redis("HSET", t.prefix .. "inst:shop", "a",
        '["1001","127.0.0.3:' .. t.port .. '",100]')
t.publish("", "reset")
t.wait("the new instance", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say("followed")
--- response_body
200 a
followed



=== a rebuild whose reset entry was lost is noticed by its claim
--- lua
t.say(t.show("shop.test"))
t.redis("HSET", t.prefix .. "inst:shop", "a",
        '["1001","127.0.0.3:' .. t.port .. '",100]')
t.redis("HSET", t.prefix .. "meta", "claim", "77")
t.wait("the new instance", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say("followed")
--- response_body
200 a
followed



=== another epoch means another table
--- lua
t.say(t.show("shop.test"))
t.redis("FLUSHALL")
t.publish("route shop.test shop\ninst shop a @b")
local epoch = t.redis("HGET", t.prefix .. "meta", "epoch")
t.wait("the epoch", function()
    local seen = t.status().epoch
    return seen == epoch, seen
end)
t.sleep(0.002)
t.say(t.show("shop.test"))
t.change("inst shop a @c")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b
200 c



=== an epoch at a lower revision is followed, too
--- lua
for _ = 1, 20 do
    t.publish("inst shop a @a")
end
t.applied()
t.say(t.show("shop.test"))
t.redis("FLUSHALL")
local revision = t.publish("route shop.test shop\ninst shop a @b")
t.wait("the lower revision", function()
    local applied = t.status().applied
    return applied == revision, applied
end)
t.sleep(0.002)
t.say(t.show("shop.test"))
--- response_body
200 a
200 b



=== a replica that went back is waited for, and nothing is forgotten
--- records
route shop.test shop
inst shop a @a
--- lua
t.publish("inst shop a @b")
t.applied()
t.say(t.show("shop.test"))
-- as after a fail-over: an older table of the same epoch
local meta = t.prefix .. "meta"
t.redis("DEL", t.prefix .. "changes")
t.redis("HSET", t.prefix .. "inst:shop", "a",
        '["1001","127.0.0.2:' .. t.port .. '",100]')
t.redis("HINCRBY", meta, "rev", -1)
t.wait("the feed to wait", function()
    local state = t.status().feed.state
    return state == "waiting", state
end)
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
-- and it catches up, with one change more
t.redis("HINCRBY", meta, "rev", 1)
t.change("inst shop a @c")
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
--- no_error_log
[error]
--- response_body
200 b
200 b
503 unavailable
200 c
404 no_route



=== a repair at rest is applied like a batch
--- lua
t.say(t.show("shop.test"))
t.publish("inst shop a @b", "repair")
t.wait("the repair", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say(t.status().feed.revalidations)
--- response_body
200 a
0



=== an entry that is older than what a miss has filled in does not undo it
--- lua
t.counts:set("hold_feed", true)
local first = t.publish("inst shop a @c")
t.publish("inst shop a @b")
t.say(t.show("shop.test"), " ", t.status().applied < first)
t.counts:incr("let", 1, 0)
t.applied(first)
t.say(t.show("shop.test"), " ", t.status().applied == first)
t.counts:delete("hold_feed")
t.applied()
t.say(t.show("shop.test"))
--- response_body
200 b true
200 b true
200 b



=== nor does it undo a route, or the absence of one
--- records
route shop.test shop
inst shop a @a
inst other b @b
--- lua
t.counts:set("hold_feed", true)
local first = t.publish("del route shop.test\nroute gone.test shop")
t.publish("route shop.test other\ndel route gone.test")
t.say(t.show("shop.test"), ", ", t.show("gone.test"))
t.counts:incr("let", 1, 0)
t.applied(first)
t.say(t.show("shop.test"), ", ", t.show("gone.test"))
t.counts:delete("hold_feed")
t.applied()
t.say(t.show("shop.test"), ", ", t.show("gone.test"))
--- response_body
200 b, 404 no_route
200 b, 404 no_route
200 b, 404 no_route



=== the policy of an app is followed
--- records
route shop.test shop
app shop retries=0
inst shop a @closing
inst shop b @closing
--- lua
t.say(t.show("shop.test"):sub(1, 3), " ", t.requests("closing"))
t.change("app shop retries=1")
t.say(t.show("shop.test"):sub(1, 3), " ", t.requests("closing"))
t.change("del app shop\ninst shop c @closing\ninst shop d @closing")
t.say(t.show("shop.test"):sub(1, 3), " ", t.requests("closing"))
--- no_error_log
[alert]
--- response_body
502 1
502 3
502 5



=== a reload keeps what is cached, and follows on
--- lua
t.say(t.show("shop.test"))
t.reload()
local lookups = t.metric('pointsman_hits_total{level="redis"}')
t.say(t.show("shop.test"))
t.say(t.metric('pointsman_hits_total{level="redis"}') - lookups)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
t.say(t.status().feed.revalidations)
--- response_body
200 a
200 a
0
200 b
0



=== workers of before and after a reload see the generation in the same place
--- lua
local state = ngx.shared.pointsman_state
local versions = require("pointsman.cache.versions")
local page = state:get("versions")
t.reload()
t.say(page ~= nil, " ", state:get("versions") == page)
-- This request is still with the old worker, whose timers have ended.
t.change("inst shop a @b")
local number = state:get("gen")
t.say(t.show("shop.test"), " ", versions.generation() == number)
local stripe = versions.app_stripe("shop")
t.say(versions.read(stripe) == state:get("s" .. stripe - 8), " ",
      versions.read(stripe) > 0)
--- response_body
true true
200 b true
true true



=== an idle feed logs nothing and loses nothing
--- lua
local entries = t.status().feed.entries
t.redis("XREAD", "BLOCK", "2500", "STREAMS", t.prefix .. "changes", "$")
t.change("inst shop a @b")
t.say(t.show("shop.test"), " ", t.status().feed.entries - entries)
--- response_body
200 b 1
