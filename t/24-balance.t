use TestPointsman;

run_edge_tests();

__DATA__

=== least_conn sends new requests to whoever has fewest under way
--- records
route shop.test shop
policy shop {"balance":"least_conn"}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local function slow()
    return t.get("shop.test", "/sleep/0.5").headers["x-instance"]
end
local function quick()
    ngx.sleep(0.15)
    local n = {}
    for _ = 1, 6 do
        local id = t.get("shop.test").headers["x-instance"]
        n[id] = (n[id] or 0) + 1
    end
    return n
end
local results = t.together(slow, slow, quick)
t.say(results[1] ~= results[2])
t.say(results[3][results[1]], " ", results[3][results[2]])
-- When all has ended, all count the same again.
local seen = {}
for _ = 1, 30 do
    seen[t.get("shop.test").headers["x-instance"]] = true
end
t.say(seen.a, seen.b, seen.c)
--- response_body
true
nil nil
truetruetrue



=== least_conn counts what other workers have under way
--- workers: 2
--- records
route shop.test shop
policy shop {"balance":"least_conn"}
inst shop a @a
inst shop b @b
--- lua
local workers = t.connect_each(2)
local results = t.together(
    function()
        return workers[1]:request("shop.test", "/sleep/0.5")
               .headers["x-instance"]
    end,
    function()
        ngx.sleep(0.2)
        local id
        for _ = 1, 6 do
            local now = workers[2]:request("shop.test").headers["x-instance"]
            assert(not id or id == now, "both were asked")
            id = now
        end
        return id
    end)
t.say(results[1] ~= results[2])
--- response_body
true



=== ewma prefers who answers sooner
--- records
route shop.test shop
policy shop {"balance":"ewma"}
inst shop a @a
inst shop b @b
--- lua
local n = { a = 0, b = 0 }
for i = 1, 40 do
    -- a takes its time
    local response = t.get("shop.test", "/slow_if/a/0.05")
    local id = response.headers["x-instance"]
    n[id] = n[id] + 1
end
t.say(n.b > 30 or n.b)
--- response_body
true



=== random spreads over all, and looks at what is under way
--- records
route shop.test shop
policy shop {"balance":"random"}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local n = { a = 0, b = 0, c = 0 }
for _ = 1, 300 do
    local id = t.get("shop.test").headers["x-instance"]
    n[id] = n[id] + 1
end
-- 100 expected, 5 standard deviations are 41
t.say(n.a > 59 and n.b > 59 and n.c > 59 or n)
--- response_body
true



=== hash keeps a key where it is; what moves when an instance goes are its keys
--- records
route shop.test shop
policy shop {"balance":"hash","hash_by":{"header":"X-User"}}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local function ask(user)
    return t.get("shop.test", "/", { headers = { "X-User: " .. user } })
           .headers["x-instance"]
end
local place, n = {}, { a = 0, b = 0, c = 0 }
for user = 1, 150 do
    place[user] = ask(user)
    n[place[user]] = n[place[user]] + 1
end
t.say(n.a > 20 and n.b > 20 and n.c > 20 or n)
t.change("del inst shop c")
local moved = 0
for user = 1, 150 do
    local id = ask(user)
    if place[user] ~= id then
        moved = moved + 1
        assert(place[user] == "c")
    end
end
t.say(moved == n.c)
t.change("inst shop c @c")
for user = 1, 150 do
    assert(ask(user) == place[user])
end
--- response_body
true
true



=== hash by cookie, by client and by URI
--- records
route cookie.test cookie
route client.test client
route uri.test uri
policy cookie {"balance":"hash","hash_by":{"cookie":"uid"}}
policy client {"balance":"hash","hash_by":{"client":true}}
policy uri {"balance":"hash","hash_by":{"uri":true}}
inst cookie a @a
inst cookie b @b
inst client a @a
inst client b @b
inst uri a @a
inst uri b @b
--- lua
local function kinds(host, option)
    local seen, n = {}, 0
    for i = 1, 40 do
        local id = option(i)
        id = t.get(host, id.path, id).headers["x-instance"]
        n, seen[id] = n + (seen[id] and 0 or 1), true
    end
    return n
end
t.say(kinds("cookie.test",
            function(i) return { headers = { "Cookie: uid=" .. i } } end))
t.say(kinds("cookie.test", function() return { headers = { "Cookie: uid=7" } } end))
t.say(kinds("client.test", function() return {} end))
t.say(kinds("uri.test", function(i) return { path = "/" .. i } end))
t.say(kinds("uri.test", function() return { path = "/7" } end))
--- response_body
2
1
1
2
1



=== the defaults of the registry are those of an app without a policy, and change
--- records
route shop.test shop
inst shop a @a
inst shop b @b
policy * {"balance":"hash","hash_by":{"uri":true}}
--- lua
local function seen()
    local a = t.get("shop.test", "/1").headers["x-instance"]
    local b = t.get("shop.test", "/1").headers["x-instance"]
    return a == b and "the same" or "another"
end
t.say(seen())
t.change([[policy * {"retries":2}]])
t.say(seen())
t.change([[policy shop {"balance":"hash","hash_by":{"uri":true}}]])
t.say(seen())
t.change("del app shop")
t.say(seen())
--- response_body
the same
another
the same
another



=== slow start: an instance that joins gets its share bit by bit
--- records
route shop.test shop
policy shop {"slow_start_ms":60000}
inst shop a @a
--- lua
local function share(id)
    local n = 0
    for _ = 1, 200 do
        n = n + (t.get("shop.test").headers["x-instance"] == id and 1 or 0)
    end
    return n
end
t.say(share("a"))
t.change("inst shop b @b")
-- A tenth of its half.
local b = share("b")
t.say(b > 0 and b < 40 or b)
--- response_body
200
true



=== zones: those of the edge's own first, the others when there is none
--- setup
zone = "here",
--- records
route shop.test shop
policy shop {"prefer_zone":true}
inst shop a @a zone=there
inst shop b @b zone=here
inst shop gone @refused zone=here
--- no_error_log
[alert]
--- lua
for _ = 1, 10 do
    assert(t.show("shop.test") == "200 b")
end
t.change("del inst shop b")
for _ = 1, 10 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.metric("pointsman_ejections_total"))
--- response_body
1



=== a draining instance gets no new requests; neither does one that failed its checks
--- records
route shop.test shop
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local function seen()
    local ids = {}
    for _ = 1, 12 do
        local response = t.get("shop.test")
        ids[response.headers["x-instance"] or response.status] = true
    end
    local list = {}
    for id in pairs(ids) do
        list[#list + 1] = id
    end
    table.sort(list)
    return table.concat(list, " ")
end
t.say(seen())
t.change("inst shop a @a draining=1")
t.say(seen())
t.change("inst shop b @b down=1")
t.say(seen())
-- Checks that none passes are not believed; draining is.
t.change("inst shop c @c down=1")
t.say(seen())
t.change("inst shop b @b draining=1")
t.change("inst shop c @c draining=1")
t.say(seen())
t.change("inst shop a @a")
t.say(seen())
--- response_body
a b c
b c
c
b c
503
a



=== an empty header or cookie is no key: the client's address counts
--- records
route h.test h
route c.test c
policy h {"balance":"hash","hash_by":{"header":"X-User"}}
policy c {"balance":"hash","hash_by":{"cookie":"uid"}}
inst h a @a
inst h b @b
inst h c @c
inst c a @a
inst c b @b
inst c c @c
--- http_config
set_real_ip_from 127.0.0.1;
real_ip_header X-Client;
--- lua
for host, header in pairs { ["h.test"] = "X-User:", ["c.test"] = "Cookie: uid=" } do
    local seen, n = {}, 0
    for i = 1, 40 do
        local function ask(line)
            local headers = { "X-Client: 10.0.0." .. i, line }
            return t.get(host, "/", { headers = headers }).headers["x-instance"]
        end
        local id = ask(header)
        assert(ask(nil) == id, "not as without it")
        n = n + (seen[id] and 0 or 1)
        seen[id] = true
    end
    t.say(n)
end
--- response_body
3
3



=== an instance of weight 0 gets no requests, under every algorithm
--- records
route rr.test rr
route least.test least
route ewma.test ewma
route random.test random
route hash.test hash
policy rr {"slow_start_ms":1000}
policy least {"balance":"least_conn"}
policy ewma {"balance":"ewma"}
policy random {"balance":"random"}
policy hash {"balance":"hash","hash_by":{"uri":true}}
inst rr a @a
inst rr b @b weight=0
inst least a @a
inst least b @b weight=0
inst ewma a @a
inst ewma b @b weight=0
inst random a @a
inst random b @b weight=0
inst hash a @a
inst hash b @b weight=0
--- lua
local names = { "rr", "least", "ewma", "random", "hash" }
for _, name in ipairs(names) do
    for i = 1, 20 do
        local response = t.get(name .. ".test", "/" .. i)
        assert(response.headers["x-instance"] == "a", name)
    end
end
-- Nor when it is the only one left.
for _, name in ipairs(names) do
    t.change("del inst " .. name .. " a")
    t.say(t.show(name .. ".test"))
end
--- response_body
503 no_instance
503 no_instance
503 no_instance
503 no_instance
503 no_instance
