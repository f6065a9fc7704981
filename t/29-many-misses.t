use TestPointsman;

run_edge_tests();

__DATA__

=== cold hosts of one large app read its instances once
--- lua
local lines = {}
for i = 1, 2000 do
    lines[i] = "inst large i" .. i .. " @a"
end
for i = 1, 200 do
    lines[2000 + i] = "route cold" .. i .. ".test large"
end
t.change(table.concat(lines, "\n"))
t.redis("CONFIG", "RESETSTAT")
local calls = {}
for i = 1, 200 do
    calls[i] = function() return t.show("cold" .. i .. ".test") end
end
local right = 0
for _, shown in ipairs(t.together(unpack(calls))) do
    right = right + (shown == "200 a" and 1 or 0)
end
t.say(right, " right, ", t.calls("hgetall"), " HGETALL")
--- response_body
200 right, 1 HGETALL



=== a host of a large app that is cached already reads no instances
--- lua
local lines = {}
for i = 1, 300 do
    lines[i] = "inst large i" .. i .. " @a"
end
t.change(table.concat(lines, "\n")
         .. "\nroute one.test large\nroute two.test large")
t.say(t.show("one.test"))
t.redis("CONFIG", "RESETSTAT")
t.say(t.show("two.test"))
t.say(t.calls("hgetall"), " HGETALL, ", t.calls("evalsha"), " EVALSHA")
--- response_body
200 a
200 a
0 HGETALL, 1 EVALSHA



=== a miss for a host of a small app is one lookup
--- lua
t.show("unknown.test")
t.redis("CONFIG", "RESETSTAT")
t.say(t.show("shop.test"))
t.say(t.calls("evalsha"), " EVALSHA, ", t.calls("get"), " GET, ",
      t.calls("mget"), " MGET, ", t.calls("hgetall"), " HGETALL")
--- response_body
200 a
1 EVALSHA, 2 GET, 1 MGET, 1 HGETALL



=== hosts that wait for the lookup under way go out together
--- lua
t.counts:set("hold_lookups", true)
local calls, asked = {}, 0
for i = 1, 100 do
    calls[i] = function()
        local connection = t.connect()
        connection.last = true
        asked = asked + 1
        local response = connection:request("host" .. i .. ".test")
        connection:close()
        return response.status
    end
end
calls[101] = function()
    t.wait("all to ask", function() return asked == 100, asked end)
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
end
local absent = 0
for _, status in ipairs(t.together(unpack(calls))) do
    absent = absent + (status == 404 and 1 or 0)
end
-- one that was alone, and 99 in scripts of up to 32
t.say(absent, " absent, ", t.lookups(), " scripts")
--- response_body
100 absent, 5 scripts



=== hosts that go out together get each their own route
--- records
route one.test one
route two.test two
route *.test wild
inst one a @a
inst two b @b
inst wild c @c
--- lua
t.counts:set("hold_lookups", true)
local calls = { function() return t.show("other.test") end }
for i, host in ipairs { "one.test", "two.test", "three.test", "no.where" } do
    calls[1 + i] = function()
        t.wait("the first lookup", function() return t.lookups() == 1 end)
        return t.show(host)
    end
end
calls[6] = function()
    t.wait("the first lookup", function() return t.lookups() == 1 end)
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
end
t.say(table.concat(t.together(unpack(calls)), ", ", 2, 5))
t.say(t.lookups())
--- response_body
200 a, 200 b, 200 c, 404 no_route
2



=== an instance that moves while its large app is asked for is followed
--- lua
local lines = {}
for i = 1, 200 do
    lines[i] = "inst large i" .. i .. " @a"
end
t.change(table.concat(lines, "\n") .. "\nroute large.test large")
t.counts:set("hold_apps", true)
local shown = t.together(
    function() return t.show("large.test") end,
    function()
        t.wait("the app", function() return t.counts:get("app_lookups") end)
        for i = 1, 200 do
            lines[i] = "inst large i" .. i .. " @b"
        end
        t.change(table.concat(lines, "\n"))
        t.counts:delete("hold_apps")
    end)[1]
t.say(shown, ", ", t.show("large.test"), ", ", t.counts:get("app_lookups"))
--- response_body
200 b, 200 b, 2



=== a route that goes while its large app is asked for is gone
--- lua
local lines = {}
for i = 1, 200 do
    lines[i] = "inst large i" .. i .. " @a"
end
t.change(table.concat(lines, "\n") .. "\nroute large.test large")
t.counts:set("hold_apps", true)
t.say(t.together(
    function() return t.show("large.test") end,
    function()
        t.wait("the app", function() return t.counts:get("app_lookups") end)
        t.change("del route large.test")
        t.counts:delete("hold_apps")
    end)[1])
--- response_body
404 no_route



=== a replica that falls behind between a route and its large app is waited for
--- hook
    local redis = require("pointsman.redis.client")
    local read_app = redis.read_app
    redis.read_app = function(name)
        local answer, err = read_app(name)
        if answer and ngx.shared.testkit:incr("asked", 1, 0) == 1 then
            answer.rev = answer.rev - 1
            answer.apps[1].instances = {}
        end
        return answer, err
    end
--- lua
local lines = {}
for i = 1, 200 do
    lines[i] = "inst large i" .. i .. " @a"
end
t.change(table.concat(lines, "\n") .. "\nroute large.test large")
t.say(t.show("large.test"))
--- response_body
200 a



=== a flood of unknown hosts pushes no route out
--- without: http
--- http_config
    lua_shared_dict pointsman_routes    64k;
    lua_shared_dict pointsman_apps      64k;
    lua_shared_dict pointsman_negatives 64k;
    lua_shared_dict pointsman_state     1m;
    lua_shared_dict pointsman_flights   64k;
--- lua
t.show("shop.test")
local before = t.status().dicts
local calls = {}
for part = 1, 10 do
    calls[part] = function()
        local connection = t.connect()
        for i = 1, 200 do
            local host = "host" .. part .. "-" .. i .. ".nowhere.test"
            assert(connection:request(host).status == 404)
        end
        connection:close()
    end
end
t.together(unpack(calls))
local after = t.status().dicts
t.say(after.pointsman_negatives.evicted > 0)
for _, name in ipairs { "pointsman_routes", "pointsman_apps" } do
    t.say(after[name].evicted, " ", after[name].full, " ",
          after[name].entries - before[name].entries)
end
local lookups = t.lookups()
t.say(t.show("shop.test"), ", ", t.lookups() - lookups)
--- response_body
true
0 0 0
0 0 0
200 a, 0



=== a host that had a route goes before unknown hosts
--- hook
    local redis = require("pointsman.redis.client")
    local lookup = redis.lookup
    redis.lookup = function(patterns, ...)
        ngx.shared.testkit:rpush("firsts", patterns[1])
        return lookup(patterns, ...)
    end
--- lua
t.show("shop.test")
-- a gap in the stream; applied once stale records do not serve any more
t.publish("inst shop a @b", "lost")
t.change("route other.test shop")
t.counts:set("hold_lookups", true)
local before, calls, asked = t.lookups(), {}, 0
calls[1] = function() return t.show("host1.test") end
for i = 2, 5 do
    calls[i] = function()
        t.wait("the first", function() return t.lookups() == before + 1 end)
        local connection = t.connect()
        connection.last = true
        asked = asked + 1
        local host = i == 5 and "shop.test" or "host" .. i .. ".test"
        return connection:request(host).status
    end
end
calls[6] = function()
    t.wait("all to ask", function() return asked == 4, asked end)
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
end
t.say(t.together(unpack(calls))[5])
-- of the script before the test, and of the first host
t.counts:lpop("firsts")
t.counts:lpop("firsts")
t.say(t.counts:lpop("firsts"))
--- response_body
200
shop.test



=== a host that had a route is not turned away because of unknown hosts
--- setup
    max_misses = 3,
--- lua
t.show("shop.test")
t.publish("", "reset")
t.wait("the cache to be suspect", function()
    return t.metric("pointsman_revalidations_total") == 1
end)
t.change("inst shop a @b")
t.counts:set("hold_lookups", true)
local calls, asked = {}, false
local function is_busy()
    return t.metric('pointsman_errors_total{reason="busy"}') == 1
end
for i = 1, 4 do
    calls[i] = function() return t.show("host" .. i .. ".test") end
end
calls[5] = function()
    t.wait("one to be turned away", is_busy)
    asked = true
    return t.show("shop.test")
end
calls[6] = function()
    t.wait("the known host", function() return asked end)
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
end
local shown = t.together(unpack(calls))
t.say(table.remove(shown, 5))
table.sort(shown)
t.say(table.concat(shown, ", "))
--- response_body
200 b
404 no_route, 404 no_route, 404 no_route, 503 busy



=== a lookup that Redis does not answer does not fail a later one behind it
--- setup
    redis_timeout = 0.5,
--- no_error_log
[alert]
--- lua
t.redis("CLIENT", "PAUSE", 800, "ALL")
local begin = ngx.now()
local shown = t.together(
    function() return t.show("host.test") end,
    function()
        t.sleep(0.4)
        return t.show("shop.test")
    end)
t.say(table.concat(shown, ", "), ", ", ngx.now() - begin < 1.2)
--- response_body
503 unavailable, 200 a, true



=== no request waits longer than two time-outs while Redis hangs
--- setup
    redis_timeout = 0.4,
--- no_error_log
[alert]
--- lua
t.redis("CLIENT", "PAUSE", 2500, "ALL")
local begin, calls = ngx.now(), {}
for i = 1, 200 do
    calls[i] = function() return t.show("host" .. i .. ".test") end
end
local failed = 0
for _, shown in ipairs(t.together(unpack(calls))) do
    failed = failed + (shown == "503 unavailable" and 1 or 0)
end
t.say(failed, " ", ngx.now() - begin < 1.2)
--- response_body
200 true



=== a flood of unknown hosts leaves the worker time for known ones
--- without: setup
--- http_config
    init_by_lua_block {
        local sleep = ngx.sleep
        ngx.sleep = function(seconds)
            local source = debug.getinfo(2, "S").source
            if source:find("lookups.lua", 1, true) then
                ngx.shared.testkit:incr("slept", seconds, 0)
            end
            return sleep(seconds)
        end
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
    }
--- lua
local calls = {}
for i = 1, 320 do
    calls[i] = function() return t.show("host" .. i .. ".test") end
end
local absent = 0
for _, shown in ipairs(t.together(unpack(calls))) do
    absent = absent + (shown == "404 no_route" and 1 or 0)
end
-- 5 ms after each 32 of them; none after the last ones
local slept = t.counts:get("slept")
t.say(absent, " ", slept > 0.03 and slept < 0.05 or slept)
t.say(t.show("shop.test"))
--- response_body
320 true
200 a



=== timers that nginx takes and never runs are not waited for
--- without: setup
--- http_config
    init_by_lua_block {
        local timer_at, swallowed = ngx.timer.at, 0
        ngx.timer.at = function(delay, handler, ...)
            local source = debug.getinfo(handler, "S").source
            if swallowed < 6 and source:find("lookups.lua", 1, true) then
                swallowed = swallowed + 1
                ngx.shared.testkit:set("swallowed", swallowed)
                return true
            end
            return timer_at(delay, handler, ...)
        end
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
    }
--- lua
local calls = {}
for i = 1, 12 do
    calls[i] = function()
        ngx.sleep(0.15 * i)
        return t.show("shop.test")
    end
end
t.say(t.together(unpack(calls)))
t.say(ngx.shared.testkit:get("swallowed"))
--- response_body
200 a200 a200 a200 a200 a200 a200 a200 a200 a200 a200 a200 a
6



=== a worker that gets no timer any more looks up hosts in their requests
--- without: setup
--- http_config
    init_by_lua_block {
        local timer_at = ngx.timer.at
        ngx.timer.at = function(delay, handler, ...)
            local source = debug.getinfo(handler, "S").source
            if source:find("lookups.lua", 1, true) then
                ngx.shared.testkit:incr("refused", 1, 0)
                return nil, "process exiting"
            end
            return timer_at(delay, handler, ...)
        end
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"), ", ", t.show("no.where"))
t.say(t.counts:get("refused"))
--- response_body
200 a, 404 no_route
2



=== such a request goes on asking when its client goes away
--- without: setup
--- http_config
    init_by_lua_block {
        local timer_at = ngx.timer.at
        ngx.timer.at = function(delay, handler, ...)
            local source = debug.getinfo(handler, "S").source
            if source:find("lookups.lua", 1, true) then
                return nil, "process exiting"
            end
            return timer_at(delay, handler, ...)
        end
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
        require("between")
    }
--- lua
t.counts:set("hold_lookups", true)
local gone = t.connect(0.05)
pcall(gone.request, gone, "shop.test")
t.wait("the lookup", function() return t.lookups() == 1 end)
gone:close()
t.say(t.together(function()
    return t.show("shop.test")
end, function()
    t.sleep(0.1)
    t.counts:delete("hold_lookups")
    return "-"
end)[1])
--- response_body
200 a
