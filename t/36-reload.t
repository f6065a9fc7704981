use TestPointsman;

# A reload: dicts of another size, and two workers that could each have a feed.
# Redis is missing here at times, and nginx may say so.
run_edge_tests(trouble => 1);

__DATA__

=== if the state dict is new, all that is cached counts as old
--- without: http
--- http_config
    lua_shared_dict pointsman_routes    1m;
    lua_shared_dict pointsman_apps      1m;
    lua_shared_dict pointsman_negatives 1m;
    lua_shared_dict pointsman_state     2m;
    lua_shared_dict pointsman_flights   1m;
--- records
route plain.test old
route moved.test moved
inst old a @a
inst new b @b
inst moved a @a
--- lua
t.say(t.show("plain.test"), ", ", t.show("moved.test"), ", ",
      t.show("absent.test"))
t.redis_stop()
t.wait("the feed to notice", function()
    return t.status().feed.state == "down"
end)
local before = t.status().worker.pid
local folder = os.getenv("POINTSMAN_TEST_DIR") .. "/nginx"
t.shell("sed -i 's/pointsman_state     2m/pointsman_state     3m/' "
        .. folder .. "/conf/nginx.conf && kill -HUP $(cat " .. folder
        .. "/logs/nginx.pid)")
t.wait("the old worker, which runs this, to take no more requests", function()
    return ngx.worker.exiting()
end)
t.say(t.status().worker.pid ~= before)
t.say(t.status().dicts.pointsman_state.capacity > 2 * 1048576)
-- While Redis is away, it is the best that there is.
t.say(t.show("plain.test"), ", ", t.show("moved.test"))
t.redis_start()
t.change("route plain.test new\nroute moved.test moved\nroute absent.test new\n"
         .. "inst old a @a\ninst new b @b\ninst moved a @b")
t.say(t.show("plain.test"), ", ", t.show("moved.test"), ", ",
      t.show("absent.test"))
--- response_body
200 a, 200 a, 404 no_route
true
true
200 a, 200 a
200 b, 200 b, 200 b



=== a worker that does not hold the lease leaves the changes to the one that does
--- lua
local state = ngx.shared.pointsman_state
local versions = require("pointsman.cache.versions")
t.say(t.show("shop.test"), " ", state:get("feed_lease") == t.status().worker.pid)
local before = t.status()
state:set("feed_lease", 1)
t.publish("inst shop a @b")
t.wait("the feed to leave the stream", function()
    return not t.redis("CLIENT", "LIST"):find("cmd=xread", 1, true)
end)
for _ = 1, 5 do
    assert(t.show("shop.test") == "200 a")
end
local status = t.status()
t.say(status.applied == before.applied, " ",
      status.feed.last_id == before.feed.last_id, " ", state:get("feed_lease"))
-- The other one has gone.
state:delete("feed_lease")
t.applied()
t.say(t.show("shop.test"), " ", state:get("feed_lease") == status.worker.pid,
      " ", t.status().feed.revalidations, " ", t.lookups())
--- response_body
200 a true
true true 1
200 b true 0 1



=== after a reload the new worker's feed takes over
--- lua
local state = ngx.shared.pointsman_state
t.say(t.show("shop.test"))
local before = t.status().worker.pid
t.reload()
t.wait("the new worker to hold the lease", function()
    local pid = t.status().worker.pid
    local holder = state:get("feed_lease")
    return pid ~= before and holder == pid, holder
end)
t.change("inst shop a @b")
t.say(t.show("shop.test"), " ", t.status().feed.revalidations)
--- response_body
200 a
200 b 0



=== one that died does not hold it for long
--- workers: 2
--- lua
local state = ngx.shared.pointsman_state
t.say(t.show("shop.test"))
local holder = state:get("feed_lease")
state:set("feed_lease", 1, 0.3)
t.change("inst shop a @b")
t.say(t.show("shop.test"), " ", state:get("feed_lease") == holder)
--- response_body
200 a
200 b true



=== the lease of a worker that was killed holds up no other worker's feed
--- lua
t.shell("sh -c 'echo $$' >$POINTSMAN_TEST_DIR/dead")
local file = assert(io.open(os.getenv("POINTSMAN_TEST_DIR") .. "/dead"))
local dead = file:read("*n")
file:close()
ngx.shared.pointsman_state:set("feed_lease", dead, 30)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 b
