use TestPointsman;

# What is in Redis may be anything. The edge says so in its log, serves what it
# has or a clear error, and goes on.
run_edge_tests(trouble => 1);

__DATA__

=== every golden record is understood
--- without: records
--- lua
-- the routes and apps as they are; for each app an instance that answers
local text, hosts = {}, {}
for _, record in ipairs(t.golden().good) do
    local redis = record.redis
    local app = redis.key:match("^inst:(.*)$")
    if app then
        text[app] = true
    else
        t.redis("SET", t.prefix .. redis.key, redis.value)
    end
    local host = redis.key:match("^route:(.*)$")
    if host then
        hosts[#hosts + 1] = host == "*" and "any.host.at.all"
                            or (host:gsub("^%*", "one"))
        text[record.edge.rules[1].to[1].app] = true
    end
end
for app in pairs(text) do
    t.publish("inst " .. app .. " one @a", "batch")
end
t.redis("HSET", t.prefix .. "meta", "rev", string.format("%.0f", 2 ^ 53))
for _, host in ipairs(hosts) do
    local shown = t.show(host)
    if shown ~= "200 a" then
        t.say(host, " ", shown)
    end
end
t.say(#hosts > 10, " ", t.status().bad_records)
--- response_body
true 0



=== no bad route is followed
--- lua
local n = 0
for _, bad in ipairs(t.golden().bad_redis) do
    if bad.key:find("^route:") then
        n = n + 1
        local host = "bad" .. n .. ".test"
        t.redis("SET", t.prefix .. "route:" .. host, bad.value)
        for _ = 1, 2 do
            local shown = t.show(host)
            if shown ~= "503 unavailable" then
                t.say(bad.name, ": ", shown)
            end
        end
    end
end
t.say(n > 10, " ", t.status().bad_records >= n)
t.say(t.show("shop.test"))
--- response_body
true true
200 a



=== no bad instance is asked, and the good ones beside it are
--- lua
local n = 0
for _, bad in ipairs(t.golden().bad_redis) do
    if bad.field then
        n = n + 1
        local id = bad.field == "bad-1" and "bad-" .. n or bad.field
        t.redis("HSET", t.prefix .. "inst:shop", id, bad.value)
    end
end
t.applied()
for _ = 1, 5 do
    assert(t.show("shop.test") == "200 a")
end
t.say(n > 10, " ", t.status().bad_records == n)
--- no_error_log
connect() failed
--- response_body
true true



=== nor is a bad instance taken from the stream
--- lua
t.say(t.show("shop.test"))
local changes = {}
for _, bad in ipairs(t.golden().bad_redis) do
    if bad.field then
        changes[#changes + 1] = { "inst:shop", bad.field, bad.value }
    end
end
t.entry(changes)
for _ = 1, 5 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.status().bad_records >= #changes)
--- no_error_log
connect() failed
--- response_body
200 a
true



=== an instance whose new value is bad keeps its last good one
--- lua
t.say(t.show("shop.test"))
t.entry { { "inst:shop", "a", '["1002","unix:/tmp/x",100]' } }
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a
200 b



=== a route whose new value is bad keeps its last good one
--- lua
t.say(t.show("shop.test"))
t.entry { { "route:shop.test", '{"rev":"1002","rules":[]}' } }
t.say(t.show("shop.test"))
t.change("route shop.test other\ninst other b @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a
200 b



=== a policy whose new value is bad keeps its last good one
--- records
route shop.test shop
app shop retries=0
inst shop a @closing
inst shop b @closing
--- lua
t.show("shop.test")
t.entry { { "app:shop", '{"rev":"1002","retries":"many"}' } }
local before = t.requests("closing")
t.show("shop.test")
t.say(t.requests("closing") - before)
--- response_body
1



=== for an app with a bad policy none is guessed
--- redis
SET test:app:shop 'garbage'
--- lua
t.say(t.show("shop.test"))
t.say(t.status().bad_records)
t.change("app shop retries=1")
t.say(t.show("shop.test"))
--- error_log
failed to use what Redis has for app shop: bad app
--- response_body
503 unavailable
1
200 a



=== records of a wrong type are errors, not absent routes
--- lua
local p = t.prefix
t.redis("RPUSH", p .. "route:list.test", "x")
t.say(t.show("list.test"))
t.publish("route string.test string")
t.redis("SET", p .. "inst:string", "x")
t.say(t.show("string.test"))
t.publish("route policy.test policy\ninst policy a @a")
t.redis("HSET", p .. "app:policy", "a", "b")
t.say(t.show("policy.test"))
t.say(t.show("shop.test"))
--- response_body
503 unavailable
503 unavailable
503 unavailable
200 a



=== a meta of a wrong type is waited for
--- lua
t.say(t.show("shop.test"))
local meta = t.prefix .. "meta"
local fields = t.redis("HGETALL", meta)
t.redis("DEL", meta)
t.redis("SET", meta, "garbage")
t.wait("the feed to notice", function()
    local state = t.status().feed.state
    return state ~= "live", state
end)
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
t.redis("DEL", meta)
t.redis("HSET", meta, unpack(fields))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a
503 unavailable
200 b



=== a meta with garbage in its fields is waited for
--- lua
t.say(t.show("shop.test"))
local meta = t.prefix .. "meta"
local rev = t.redis("HGET", meta, "rev")
for _, garbage in ipairs { "", "x", "-1", "1e400", "nan" } do
    t.redis("HSET", meta, "rev", garbage)
    t.say(t.show("shop.test"), ", ", t.show("unknown.test"))
end
t.redis("HSET", meta, "rev", rev)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a, 503 unavailable
200 a, 503 unavailable
200 a, 503 unavailable
200 a, 503 unavailable
200 a, 503 unavailable
200 b



=== a table of a newer format is not read
--- lua
t.say(t.show("shop.test"))
t.redis("HSET", t.prefix .. "meta", "format", "99")
t.wait("the feed to notice", function()
    local state = t.status().feed.state
    return state == "waiting", state
end)
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
t.redis("HSET", t.prefix .. "meta", "format", "1")
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- error_log
has format 99
--- response_body
200 a
200 a
503 unavailable
200 b



=== entries of the stream that are garbage are survived, and nothing is lost
--- lua
t.say(t.show("shop.test"))
local stream = t.prefix .. "changes"
local epoch = t.redis("HGET", t.prefix .. "meta", "epoch")
local rev = tonumber(t.redis("HGET", t.prefix .. "meta", "rev"))
local instances = { "@b", "@c", "@a", "@b", "@c", "@a" }
for i, fields in ipairs {
    { "a", "b" },
    { "epoch", epoch, "from", rev, "kind", "batch", "changes", "garbage" },
    { "epoch", epoch, "from", "x", "kind", "batch", "changes", "[]" },
    { "epoch", epoch, "from", rev, "kind", "batch", "changes", "12" },
    { "epoch", epoch, "from", rev, "kind", "batch",
      "changes", '[1,null,[],[null],["route:x"],["inst:shop"],["x",{}]]' },
    { "epoch", epoch, "kind", "psychic" },
} do
    t.redis("XADD", stream, rev .. "-*", unpack(fields))
    rev = t.publish("inst shop a " .. instances[i])
    t.applied(rev)
    t.say(t.show("shop.test"))
end
--- response_body
200 a
200 b
200 c
200 a
200 b
200 c
200 a



=== a stream of a wrong type does not stop the edge
--- lua
t.say(t.show("shop.test"))
t.redis("DEL", t.prefix .. "changes")
t.redis("SET", t.prefix .. "changes", "garbage")
t.say(t.show("shop.test"))
t.wait("the feed to notice", function()
    local status = t.status().feed
    return status.state ~= "live", status
end)
t.say(t.show("shop.test"))
t.redis("DEL", t.prefix .. "changes")
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a
200 a
200 b



=== an app's name that would break the cache's text is refused
--- lua
t.redis("SET", t.prefix .. "route:x.test", '{"rev":"1","rules":'
        .. '[{"path":"/","to":[{"app":"shop=1\\tother"}]}]}')
t.redis("SET", t.prefix .. "route:y.test", '{"rev":"1","rules":'
        .. '[{"path":"/","to":[{"app":""}]}]}')
t.say(t.show("x.test"))
t.say(t.show("y.test"))
--- response_body
503 unavailable
503 unavailable



=== an app that lost its policy serves on when the table cannot be read
--- records
route shop.test shop
app shop retries=0
inst shop a @a
--- lua
t.say(t.show("shop.test"))
t.change("del app shop\ninst shop a @b")
t.redis("DEL", t.prefix .. "meta")
t.redis("SET", t.prefix .. "meta", "not a hash")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b
