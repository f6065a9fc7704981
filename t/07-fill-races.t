use TestPointsman;

# In each block Redis's answer to a miss is held back while a change passes by:
# it is older than what the feed has applied by the time that it is cached.

run_edge_tests();

__DATA__

=== a route that goes while it is looked up is not cached
--- lua
t.race("shop.test", "del route shop.test")
t.say(t.show("shop.test"))
--- response_body
404 no_route



=== a route that appears while it is looked up does not become a negative
--- lua
t.race("new.test", "route new.test shop")
t.say(t.show("new.test"))
--- response_body
200 a



=== a route that changes its app while it is looked up leads to the new one
--- lua
t.race("shop.test", "route shop.test other\ninst other b @b")
t.say(t.show("shop.test"))
--- response_body
200 b



=== an instance that moves while its app is looked up is followed
--- lua
t.race("shop.test", "inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 b



=== an instance that goes while its app is looked up is gone
--- records
route shop.test shop
inst shop a @a
inst shop b @b
--- lua
t.race("shop.test", "del inst shop a")
local seen = {}
for _ = 1, 4 do
    seen[t.get("shop.test").headers["x-instance"]] = true
end
t.say(seen.a, " ", seen.b)
--- response_body
nil true



=== an app's policy that changes while it is looked up is followed
--- records
route shop.test shop
inst shop a @closing
inst shop b @closing
--- lua
t.race("shop.test", "app shop retries=0")
local before = t.requests("closing")
t.show("shop.test")
t.say(t.requests("closing") - before)
--- no_error_log
[alert]
--- response_body
1



=== a route that appears beneath a wildcard while that is looked up wins
--- records
route *.test wild deeper=0
inst wild a @a
inst own b @b
--- lua
t.race("shop.test", "route shop.test own\nroute *.test wild deeper=1")
t.say(t.show("shop.test"), ", ", t.show("other.test"))
--- response_body
200 b, 200 a



=== an app known by another host already is not set back
--- records
route one.test shop
route two.test shop
inst shop a @a
--- lua
t.show("one.test")
t.race("two.test", "inst shop a @b")
t.say(t.show("one.test"), ", ", t.show("two.test"))
--- response_body
200 b, 200 b



=== a race in one worker leaves nothing old in the other one
--- workers: 2
--- lua
local workers = t.connect_each(2)
t.race("shop.test", "inst shop a @b")
for _ = 1, 2 do
    for _, worker in ipairs(workers) do
        ngx.print(worker:request("shop.test").body)
    end
end
--- response_body
b
b
b
b



=== what other workers saw meanwhile does not stay with them
--- workers: 2
--- lua
local workers = t.connect_each(2)
local before = t.lookups()
t.counts:set("hold_lookups", true)
local done = false
t.together(
    function() t.show("shop.test") end,
    function()
        -- both workers ask all the time, whatever is in the shared dict; but
        -- not so often that nginx ends the connection (keepalive_requests)
        for _, worker in ipairs(workers) do
            t.together(function()
                while not done do
                    assert(worker:request("shop.test"))
                    t.sleep(0.001)
                end
            end)
        end
    end,
    function()
        t.wait("the look-up", function() return t.lookups() > before end)
        t.change("inst shop a @b")
        t.counts:delete("hold_lookups")
        t.wait("the answer", function() return t.show("shop.test") == "200 b" end)
        t.sleep(0.05)
        done = true
    end)
for _, worker in ipairs(workers) do
    ngx.print(worker:request("shop.test").body)
end
--- response_body
b
b



=== an answer older than what is applied is neither cached nor a 404
--- hook
    -- a replica that lags: it does not know of the newest revision
    local redis = require("pointsman.redis.client")
    local lookup = redis.lookup
    redis.lookup = function(patterns)
        local answer, err = lookup(patterns)
        if answer and ngx.shared.testkit:get("lagging") then
            answer.rev = answer.rev - 1
            answer.routes = { false, false, false }
            answer.app = nil
        end
        return answer, err
    end
--- lua
t.change("route new.test shop")
t.counts:set("lagging", true)
t.say(t.show("new.test"))
t.counts:delete("lagging")
t.say(t.show("new.test"))
--- response_body
503 unavailable
200 a



=== a replica that catches up within moments is waited for
--- hook
    local redis = require("pointsman.redis.client")
    local lookup = redis.lookup
    redis.lookup = function(patterns)
        local answer, err = lookup(patterns)
        if answer and ngx.shared.testkit:incr("asked", 1, 0) == 1 then
            answer.rev = answer.rev - 1
            answer.routes = { false, false, false }
            answer.app = nil
        end
        return answer, err
    end
--- lua
t.say(t.show("shop.test"))
--- response_body
200 a



=== under a storm of changes a host is served, and is right in the end
--- lua
local done, wrong = false, 0
t.together(
    function()
        for i = 1, 100 do
            t.publish("inst shop a " .. (i % 2 == 0 and "@a" or "@b")
                      .. "\nroute r" .. i .. ".test shop")
        end
        t.publish("inst shop a @c")
        done = true
    end,
    function()
        local i = 0
        while not done do
            i = i % 100 + 1
            local shown = t.show("r" .. i .. ".test")
            if not shown:find("^200 ") and shown ~= "404 no_route" then
                wrong = wrong + 1
            end
        end
    end)
t.applied()
for i = 1, 100 do
    local shown = t.show("r" .. i .. ".test")
    if shown ~= "200 c" then
        t.say(i, ": ", shown)
    end
end
t.say(wrong, " wrong")
--- response_body
0 wrong
