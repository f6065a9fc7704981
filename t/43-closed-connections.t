use TestPointsman;

# Which connections that instances close eject them. They refuse some on purpose,
# which nginx logs as errors.
run_edge_tests(trouble => 1);

__DATA__

=== an instance that closes fresh connections is ejected: GETs, which are retried
--- records
route shop.test shop
app shop retries=1
inst shop a @a
inst shop closing @closing
inst shop resetting @resetting
--- lua
for _ = 1, 12 do
    t.get("shop.test")
end
t.say(t.metric("pointsman_ejections_total"))
t.say(t.requests("closing"), " ", t.requests("resetting"))
--- response_body
2
1 1



=== an instance that closes fresh connections is ejected: POSTs, which are not
--- records
route shop.test shop
inst shop a @a
inst shop closing @closing
inst shop resetting @resetting
--- lua
local bad = 0
for _ = 1, 12 do
    bad = bad + (t.get("shop.test", "/", { body = "pay" }).status == 502
                 and 1 or 0)
end
t.say(bad, " ", t.metric("pointsman_ejections_total"))
--- response_body
2 2



=== an instance that has answered may close as many connections as can be idle
--- records
route shop.test shop
inst shop a @a
inst shop b @b
--- lua
local function ask(options)
    return t.get("shop.test", "/close_if/b", options).status
end
-- Two at once for each of them.
local calls = {}
for i = 1, 4 do
    calls[i] = function()
        return t.get("shop.test", "/sleep/0.2").status
    end
end
t.together(unpack(calls))
local bad = 0
for _ = 1, 20 do
    bad = bad + (ask({ body = "pay" }) == 502 and 1 or 0)
end
-- Two that may have been idle, and the fresh one.
t.say(bad, " ", t.metric("pointsman_ejections_total"))
--- response_body
3 1



=== the same with GETs, which find it out in the retry pass
--- records
route shop.test shop
inst shop a @a
inst shop b @b
--- lua
for _ = 1, 4 do
    t.get("shop.test")
end
for _ = 1, 20 do
    assert(t.get("shop.test", "/close_if/b").status == 200)
end
t.say(t.metric("pointsman_retries_total"), " ",
      t.metric("pointsman_ejections_total"))
--- response_body
2 1



=== an idle connection that was closed ejects nobody: GETs
--- records
route shop.test shop
policy shop {"retries":1}
inst shop a @a
inst shop stale @stale
--- lua
for _ = 1, 20 do
    assert(t.get("shop.test").status == 200)
end
t.say(t.metric("pointsman_ejections_total"), " ",
      t.requests("stale") > 5, " ", t.metric("pointsman_retries_total") > 3)
--- response_body
0 true true



=== an idle connection that was closed ejects nobody: POSTs
--- records
route shop.test shop
policy shop {"retries":1}
inst shop a @a
inst shop stale @stale
--- lua
local bad = 0
for _ = 1, 20 do
    bad = bad + (t.get("shop.test", "/", { body = "pay" }).status == 502
                 and 1 or 0)
end
t.say(t.metric("pointsman_ejections_total"), " ", bad > 3, " ", bad < 8)
--- response_body
0 true true



=== many idle connections that were closed at once eject nobody
--- records
route shop.test shop
policy shop {"retries":0}
inst shop a @a
inst shop b @b
--- lua
local function slow()
    return t.get("shop.test", "/sleep/0.2").status
end
for _ = 1, 3 do
    t.together(slow, slow, slow, slow, slow, slow, slow, slow)
    -- As the instance closes them, each request meets an idle one.
    local bad = 0
    for _ = 1, 8 do
        bad = bad + (t.get("shop.test", "/close_if/b", { body = "pay" }).status
                     == 502 and 1 or 0)
    end
    assert(bad == 4, bad)
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
0



=== subrequests: who refuses is ejected, who closes is not
--- config
    location = /checked {
        auth_request /auth;
        content_by_lua_block { ngx.exit(204) }
    }
    location = /auth {
        internal;
        proxy_pass_request_body off;
        include pointsman/location.conf;
    }
--- records
route one.test one
route two.test two
inst one a @a
inst one gone @refused
inst two b @b
inst two closing @closing
--- lua
for _ = 1, 8 do
    local connection = t.connect()
    for _, host in ipairs { "one.test", "two.test" } do
        local status = connection:request(host, "/checked").status
        assert(status == 204 or status == 403, status)
    end
    connection:close()
end
t.say(t.metric("pointsman_ejections_total"), " ", t.requests("closing") > 2)
--- response_body
1 true



=== subrequests: the idle connections that they leave eject nobody
--- config
    location = /composed {
        content_by_lua_block { ngx.location.capture("/part") }
    }
    location = /part {
        internal;
        include pointsman/location.conf;
    }
    location / {
        include pointsman/location.conf;
    }
--- records
route two.test two
policy two {"balance":"hash","hash_by":{"header":"X-Key"}}
inst two b @b
inst two stale @stale
--- lua
local key = 0
local function ask(path, body)
    return t.get("two.test", path, { headers = { "X-Key: " .. key },
                                     body = body })
end
repeat
    key = key + 1
    ask("/composed")
until t.requests("stale") == 1
t.say(ask("/", "pay").status, " ", t.metric("pointsman_ejections_total"))
--- response_body
502 0



=== subrequests: an instance that answers again comes back
--- config
    location = /bad {
        auth_request /slow_if/b/0.3;
        content_by_lua_block { ngx.exit(204) }
    }
    location = /good {
        auth_request /fine;
        content_by_lua_block { ngx.exit(204) }
    }
    location ~ ^/(?:slow_if|fine) {
        internal;
        include pointsman/location.conf;
    }
--- records
route one.test one
policy one {"fail_timeout_ms":200,"connect_timeout_ms":100,"send_timeout_ms":100,"read_timeout_ms":100}
inst one a @a
inst one b @b
--- lua
for _ = 1, 2 do
    assert(t.get("one.test", "/bad").status == 204)
end
assert(t.status().ejected.one.b)
-- Nobody sees an answer; that it has not failed by then is as good as one.
t.wait("the end of it", function()
    t.get("one.test", "/good")
    local ejected = t.status().ejected
    return ejected == ngx.null, ejected
end)
t.say(t.metric("pointsman_ejections_total"))
--- response_body
1
