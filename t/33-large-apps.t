use TestPointsman;

# The clock of the module that brings changes in can be stopped here: what comes
# while it stands still comes within the time that a large app is left alone.
our $Clock = <<'_EOC_';
    init_by_lua_block {
        local now = ngx.now
        ngx.now = function()
            return ngx.shared.testkit:get("clock") or now()
        end
        require("pointsman.feed.apply")
        ngx.now = now
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:", report = "off",
        }
        require("between")
    }
_EOC_

our $Large = <<'_EOC_';
-- All instances of a large app, or every so many of them.
local function all(line, step)
    local list = {}
    for i = 1, 1000, step or 1 do
        list[#list + 1] = line:format(i)
    end
    return table.concat(list, "\n")
end
_EOC_

run_edge_tests();

__DATA__

=== changes of a large app that come together are written together
--- without: setup
--- http_config eval: $::Clock
--- records
route shop.test shop
route other.test other
inst shop a @a
inst other a @a
--- lua eval
$::Large . <<'_EOC_'
local dicts = require("pointsman.cache.dicts")
local put, written = dicts.apps.put, 0
function dicts.apps.put(zone, key, ...)
    written = written + (key == "shop" and 1 or 0)
    return put(zone, key, ...)
end
t.say(t.show("shop.test"), " ", t.show("other.test"))
t.change(all("inst shop large-%05d @refused weight=0"))
t.counts:set("clock", ngx.now() + 1)
-- It was left alone for long enough, so it changes at once.
t.change("inst shop a @b")
t.say(t.show("shop.test"), " ", written)
local last_id, first = t.status().feed.last_id, nil
for i = 1, 20 do
    local revision = t.publish("inst shop x" .. i .. " @c")
    first = first or revision
end
-- Other apps' changes, and routes, do not wait for that.
t.publish("inst other a @b\nroute new.test other")
t.wait("the other app", function()
    return t.show("other.test") == "200 b"
end)
t.say(t.show("shop.test"), " ", t.show("new.test"), " ", written)
-- Nor does the edge say that it has applied what waits.
t.say(t.status().applied == first - 1, " ", t.status().feed.last_id == last_id)
t.counts:delete("clock")
t.applied()
t.say(written, " ", #require("pointsman.cache.routes").find("shop.test").peers,
      " ", t.status().feed.last_id ~= last_id)
dicts.apps.put = nil
_EOC_
--- response_body
200 a 200 a
200 b 3
200 b 200 b 3
true true
4 1021 true



=== what waits when the feed's worker goes is brought in by the next one
--- without: setup
--- http_config eval: $::Clock
--- records
route shop.test shop
route other.test other
inst shop a @a
inst other a @a
--- lua eval
$::Large . <<'_EOC_'
local state = ngx.shared.pointsman_state
t.say(t.show("shop.test"), " ", t.show("other.test"))
t.change(all("inst shop large-%05d @refused weight=0"))
t.counts:set("clock", ngx.now() + 1)
t.change("inst shop large-00001 @a weight=0")
t.publish("inst shop a @b")
t.publish("inst other a @b")
t.wait("the other app", function()
    return t.show("other.test") == "200 b"
end)
-- Another worker holds the lease for a moment: what this one has read is lost.
local function clients()
    return select(2, t.redis("CLIENT", "LIST"):gsub("\n", "\n"))
end
local before = clients()
state:set("feed_lease", 1)
t.wait("the feed to leave the stream", function()
    return clients() == before - 1
end)
t.say(t.show("shop.test"))
t.counts:delete("clock")
state:delete("feed_lease")
t.applied()
t.say(t.show("shop.test"), " ", t.show("other.test"), " ",
      t.status().feed.revalidations)
_EOC_
--- response_body
200 a 200 a
200 a
200 b 200 b 0



=== a feed that loses its lease and gets it back at once reads again what waited
--- without: setup
--- http_config eval: $::Clock
--- records
route shop.test shop
route other.test other
inst shop a @a
inst other a @a
--- lua eval
$::Large . <<'_EOC_'
local dicts = require("pointsman.cache.dicts")
t.say(t.show("shop.test"), " ", t.show("other.test"))
t.change(all("inst shop large-%05d @refused weight=0"))
t.counts:set("clock", ngx.now() + 1)
t.change("inst shop large-00001 @a weight=0")
t.publish("inst shop a @b")
t.publish("inst other a @b")
t.wait("the other app", function()
    return t.show("other.test") == "200 b"
end)
-- Another worker has it, for just one look.
local add, refused = dicts.add, false
function dicts.add(key, ...)
    if key == "feed_lease" and not refused then
        refused = true
        return false
    end
    return add(key, ...)
end
ngx.shared.pointsman_state:delete("feed_lease")
t.wait("the feed to look", function() return refused end)
dicts.add = add
t.counts:delete("clock")
t.applied()
t.say(t.show("shop.test"), " ", t.show("other.test"), " ",
      t.status().feed.revalidations)
_EOC_
--- response_body
200 a 200 a
200 b 200 b 0



=== a worker makes only those instances again that have changed
--- lua eval
$::Large . <<'_EOC_'
local routes = require("pointsman.cache.routes")
local versions = require("pointsman.cache.versions")
t.say(t.show("shop.test"))
t.change(all("inst shop large-%05d @refused weight=0"))
local app = routes.find("shop.test")
local before, picker = app.peers, app.picker
t.change(all("inst shop large-%05d @a weight=0", 100) .. "\ndel inst shop a\n"
         .. "inst shop z @b")
t.say(t.show("shop.test"))
local old, kept, ids = {}, 0, {}
for _, peer in ipairs(before) do
    old[peer] = true
end
for i, peer in ipairs(app.peers) do
    kept = kept + (old[peer] and 1 or 0)
    ids[i] = peer.id
end
t.say(routes.find("shop.test") == app, " ", #app.peers, " ", kept, " ",
      app.picker ~= picker)
local sorted = table.concat(ids, " ")
table.sort(ids)
t.say(table.concat(ids, " ") == sorted)
-- Another app of its stripe has changed.
before, picker = app.peers, app.picker
versions.count(versions.app_stripe("shop"))
versions.advance()
t.say(routes.find("shop.test").peers == before, " ", app.picker == picker)
_EOC_
--- response_body
200 a
200 b
true 1001 990 true
true
true true



=== a record is read when its route is looked up, not in a pick
--- lua eval
$::Large . <<'_EOC_'
local dicts = require("pointsman.cache.dicts")
local routes = require("pointsman.cache.routes")
t.say(t.show("shop.test"))
t.change(all("inst shop large-%05d @a"))
local app, get, reads = routes.find("shop.test"), dicts.apps.get, 0
function dicts.apps.get(zone, key)
    reads = reads + 1
    return get(zone, key)
end
t.change(all("inst shop large-%05d @b"))
reads = 0
for _ = 1, 2000 do
    app.picker:pick()
end
t.say(reads)
routes.find("shop.test")
routes.find("shop.test")
t.say(reads, " ", app.picker:pick().host)
dicts.apps.get = nil
_EOC_
--- response_body
200 a
0
1 127.0.0.3



=== a large app that needs revalidation is not read for each request
--- lua eval
$::Large . <<'_EOC_'
local codec = require("pointsman.codec.records")
local routes = require("pointsman.cache.routes")
local app = routes.find
t.say(t.show("shop.test"))
t.change(all("inst shop large-%05d @refused weight=0"))
t.say(t.show("shop.test"))
app = routes.find("shop.test")
local record = app.record
t.counts:set("hold_lookups", true)
t.publish("inst shop a @b", "lost")
t.publish("route other.test shop")
t.wait("the gap to be seen", function()
    return t.status().feed.revalidations == 1
end)
t.sleep(0.002)
local found, how = routes.find("shop.test")
t.say(found == app, " ", how, " ", app.record == record)
t.counts:delete("hold_lookups")
t.applied()
t.say(t.show("shop.test"), " ", app.record ~= record)
_EOC_
--- response_body
200 a
200 a
true stale true
200 b true



=== instances come and go in all parts of a large app, and all leave
--- lua eval
$::Large . <<'_EOC_'
local function answers()
    local seen = {}
    for _ = 1, 12 do
        seen[t.show("shop.test")] = true
    end
    local names = {}
    for name in pairs(seen) do
        names[#names + 1] = name
    end
    table.sort(names)
    return table.concat(names, ", ")
end
local function entries()
    return t.status().dicts.pointsman_apps.entries
end
t.change(all("inst shop i%05d @refused weight=0"))
t.say(answers())
for i = 1, 20 do
    t.change(all("inst shop i%05d-" .. i .. " @refused weight=0", 30))
end
t.change("inst shop i01000-x @b\ninst shop z @c\ninst shop 0 @a\ndel inst shop a")
t.say(answers(), " ", entries())
t.change(all("del inst shop i%05d"))
for i = 1, 20 do
    t.change(all("del inst shop i%05d-" .. i, 30))
end
t.say(answers(), " ", #require("pointsman.cache.routes").find("shop.test").peers)
t.change("del inst shop 0\ndel inst shop z\ndel inst shop i01000-x")
t.say(entries(), " ", answers())
t.change("inst shop new @b")
t.say(entries(), " ", answers())
_EOC_
--- response_body
200 a
200 a, 200 b, 200 c 1
200 a, 200 b, 200 c 3
1 503 no_instance
1 200 b



=== an app that becomes large and empty between two requests has no instances
--- lua eval
$::Large . <<'_EOC_'
t.say(t.show("shop.test"))
t.change(all("inst shop i%05d @refused weight=0"))
t.change("del inst shop a\n" .. all("del inst shop i%05d"))
t.say(t.show("shop.test"))
_EOC_
--- response_body
200 a
503 no_instance
