use TestPointsman;

run_edge_tests();

__DATA__

=== a plain host: where its requests go, from which cache, and who is next
--- records
route shop.test shop
inst shop a @a
inst shop b @b weight=100
inst shop c @c draining=1
--- lua
local function show(out)
    t.say(out.cache, " ", out.host, " ", out.route, " ", out.revision, " ",
          out.rule.number, " ", #out.rules, " ", out.app, " ", out.algorithm,
          " ", tostring(out.answer), " ", tostring(out.split))
end
local out, text = t.explain("http://shop.test/x")
show(out)
local status = t.status()
t.say(out.edge == status.report.edge, " ", out.epoch == status.epoch, " ",
      out.applied == status.applied, " ", out.worker.pid == status.worker.pid)
-- Every field of the contract is there, null or not.
for _, name in ipairs { "edge", "epoch", "applied", "cache", "host", "route",
                        "revision", "rule", "rules", "app", "split",
                        "directives", "answer", "algorithm", "instances",
                        "next" } do
    if not text:find('"' .. name .. '":', 1, true) then
        t.say("no ", name)
    end
end
t.get("shop.test")
show(t.explain("https://SHOP.test.:8443/x?y#z"))
for _, peer in ipairs(out.instances) do
    t.say(peer.id, " ", peer.addr:match("^[%d.]+"), " ", peer.weight, " ",
          peer.state, " ", peer.in_flight)
end
local condition = out.rule.conditions[1]
t.say(condition.on, " ", condition.is, " ", condition.value, " ",
      tostring(condition.matches))
t.say(out.directives.scheme, " ", tostring(out.directives.location), " ",
      out.directives.path)
--- response_body
redis shop.test shop.test 1001 1 0 shop round_robin nil nil
true true true true
l1 shop.test shop.test 1001 1 0 shop round_robin nil nil
a 127.0.0.2 100 live 0
b 127.0.0.3 100 live 0
c 127.0.0.4 100 draining 0
path / /x true
http nil /x


=== who is next is who the next request gets, whatever the algorithm
--- records
route shop.test shop
inst shop a @a
inst shop b @b weight=50
inst shop c @c weight=20
--- lua
for _, policy in ipairs {
        '{}', '{"balance":"least_conn"}', '{"balance":"ewma"}',
        '{"balance":"random"}', '{"slow_start_ms":60000}',
        '{"balance":"least_conn","slow_start_ms":60000,"prefer_zone":true}',
        '{"balance":"hash","hash_by":{"header":"X-User"}}' } do
    t.change("policy shop " .. policy)
    t.change("inst shop c @c weight=2" .. #policy % 10)
    local wrong = 0
    for i = 1, 30 do
        local headers = { "X-User: " .. i }
        local out
        for _ = 1, 1 + i % 3 do
            out = t.explain("http://shop.test/", { headers = headers })
        end
        local got = t.get("shop.test", "/", { headers = headers })
        if got.headers["x-instance"] ~= out.next then
            wrong = wrong + 1
        end
        for _, peer in ipairs(out.instances) do
            assert(peer.next == (peer.id == out.next))
        end
    end
    t.say(policy, " ", wrong)
end
--- response_body
{} 0
{"balance":"least_conn"} 0
{"balance":"ewma"} 0
{"balance":"random"} 0
{"slow_start_ms":60000} 0
{"balance":"least_conn","slow_start_ms":60000,"prefer_zone":true} 0
{"balance":"hash","hash_by":{"header":"X-User"}} 0


=== the first request to an app in a worker gets who was said to be next
--- workers: 2
--- records
route one.test one
route two.test two
inst one a @a
inst one b @b
inst one c @c
inst two a @a
inst two b @b weight=30
inst two c @c weight=20
--- lua
local wrong = 0
for _, connection in ipairs(t.connect_each(2)) do
    for _, host in ipairs { "one.test", "two.test" } do
        local out = t.explain("http://" .. host, { connection = connection })
        local got = connection:request(host)
        if got.headers["x-instance"] ~= out.next then
            wrong = wrong + 1
        end
        assert(out.worker.pid == tonumber(got.headers["x-worker"]))
    end
end
t.say(wrong)
--- response_body
0


=== explaining changes nothing
--- records
route shop.test shop
rules rules.test [{"path":"/","to":[{"app":"shop","weight":1},{"app":"other","weight":1}]}]
policy shop {"max_conns":5,"sticky":{}}
inst shop a @a
inst shop b @b
inst other c @c
--- lua
t.get("shop.test")
local function state()
    local parts = {}
    for _, name in ipairs { "hits", "ejected", "dicts", "bad_records" } do
        parts[#parts + 1] = require("cjson").encode(t.status()[name])
    end
    local page = t.get("localhost", "/pointsman/metrics").body
    for line in page:gmatch("[^\n]+") do
        -- Those of this test's own pages come and go.
        if not line:find("^#") and not line:find("requests_total")
                and not line:find("feed_entries") then
            parts[#parts + 1] = line
        end
    end
    local keys = ngx.shared.pointsman_flights:get_keys(0)
    table.sort(keys)
    parts[#parts + 1] = table.concat(keys, " ")
    table.sort(parts)
    return table.concat(parts, "\n")
end
local before = state()
for _ = 1, 5 do
    for _, url in ipairs { "http://shop.test", "http://rules.test/",
                           "http://unknown.test", "http://x.unknown.test" } do
        t.explain(url)
    end
end
t.say(t.lookups() > 5)
local after = state()
t.say(before == after or before .. "\n---\n" .. after)
-- Nothing was cached.
t.say(t.explain("http://rules.test").cache, " ",
      t.explain("http://unknown.test").cache)
t.get("unknown.test")
t.say(t.explain("http://unknown.test").cache)
t.say(t.requests("a") + t.requests("b") + t.requests("c"))
--- response_body
true
true
redis redis
negative
1


=== the states of instances
--- records
route shop.test shop
policy shop {"max_conns":1,"max_fails":1,"fail_timeout_ms":60000,"slow_start_ms":60000,"retries":5}
inst shop a @a
inst shop b @refused
inst shop d @b draining=1
inst shop e @b down=1
inst shop f @b weight=0
--- no_error_log
[emerg]
--- lua
local function states()
    local list = {}
    for i, peer in ipairs(t.explain("http://shop.test").instances) do
        list[i] = peer.id .. " " .. peer.state .. " " .. peer.in_flight
    end
    return table.concat(list, ", ")
end
t.say(states())
for _ = 1, 3 do
    t.get("shop.test")
end
t.change("inst shop g @c")
t.together(function()
    return t.show("shop.test", "/slow_if/a/0.5")
end, function()
    return t.show("shop.test", "/slow_if/a/0.5")
end, function()
    t.wait("a to be full", function()
        local text = states()
        return text:find("a full 1", 1, true), text
    end)
    t.say(states())
end)
--- response_body
a live 0, b live 0, d draining 0, e unhealthy 0, f standby 0
a full 1, b ejected 0, d draining 0, e unhealthy 0, f standby 0, g slow_start 0


=== an instance that is half-open: the probe is not taken
--- records
route shop.test shop
policy shop {"fail_timeout_ms":300,"retries":1}
inst shop a @a
inst shop b @refused
--- no_error_log
[emerg]
--- lua
t.get("shop.test")
t.get("shop.test")
local out = t.wait("half-open", function()
    local out = t.explain("http://shop.test")
    return out.instances[2].state == "half_open" and out, out.instances[2]
end)
t.say(out.instances[2].state)
local before = t.status().ejected.shop.b
for _ = 1, 5 do
    t.explain("http://shop.test")
end
t.say(t.status().ejected.shop.b.till == before.till, " ",
      #ngx.shared.pointsman_state:get_keys(0) > 0)
for _, key in ipairs(ngx.shared.pointsman_state:get_keys(0)) do
    if key:find("^p shop b") then
        t.say("a lease")
    end
end
--- response_body
half_open
true true


=== a session is followed, and no cookie is set
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local got = t.get("shop.test")
local cookie = got.cookies[1]:match("^[^;]+")
t.get("shop.test")
local out = t.explain("http://shop.test", { headers = { "Cookie: " .. cookie } })
t.say(out.next == got.headers["x-instance"], " ",
      out.directives.session == out.next, " ",
      tostring(out.directives.location))
t.say(t.explain("http://shop.test").directives.location)
local response = t.get("localhost",
                       "/pointsman/explain?url=http%3A%2F%2Fshop.test")
t.say(#response.cookies, " ", response.headers["content-type"], " ",
      response.headers["cache-control"])
--- response_body
true true nil
@pointsman
0 application/json no-store


=== a paused host, and an app that would be woken: nothing waits, nobody is called
--- records
route shop.test shop pause=7
route idle.test idle
policy idle {"wake":{"url":"http://127.0.0.1:1/","max":3}}
inst shop a @a
--- lua
local out = t.explain("http://shop.test")
t.say(out.waits_for, " ", out.pause.max, " ", out.app, " ", out.next)
out = t.explain("http://idle.test")
t.say(out.waits_for, " ", out.directives.wake.timeout, " ",
      out.directives.wake.max, " ", tostring(out.answer), " ", #out.instances)
t.say(#ngx.shared.pointsman_flights:get_keys(0) > 0)
for _, key in ipairs(ngx.shared.pointsman_flights:get_keys(0)) do
    if key:find("pause") or key:find("wak") then
        t.say(key)
    end
end
--- response_body
resume 7 shop a
wake 30 3 nil 0
true


=== while Redis is away, what is cached is explained
--- no_error_log
[emerg]
--- lua
t.get("shop.test")
t.redis_stop()
local out = t.explain("http://shop.test")
t.say(out.cache, " ", out.next)
out = t.explain("http://unknown.test")
t.say(tostring(out.cache), " ", out.answer.status, " ", out.answer.reason)
t.redis_start()
--- response_body
l1 a
nil 503 unavailable
