use TestPointsman;

run_edge_tests();

__DATA__

=== a split sends each app its share, and a change of weights is one change
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":90},{"app":"green","weight":10}]}]
inst blue a @a
inst green b @b
--- lua
local function share()
    local green = 0
    for _ = 1, 1000 do
        local response = t.get("shop.test")
        green = green + (response.headers["x-instance"] == "b" and 1 or 0)
    end
    return green
end
-- 100 expected; 5 standard deviations are 47
local green = share()
t.say(green > 50 and green < 150 or green)
t.change([[rules shop.test [{"path":"/","to":[{"app":"blue","weight":0},{"app":"green","weight":10}]}] ]])
t.say(share())
--- response_body
true
1000



=== a canary is forced by a header or a cookie, also at weight 0
--- records
rules shop.test [{"path":"/","to":[{"app":"main"},{"app":"canary","weight":0,"force":{"header":"X-Canary","exact":"always"}},{"app":"beta","weight":0,"force":{"cookie":"beta","present":true}}]}]
inst main a @a
inst canary b @b
inst beta c @c
--- lua
local function ask(...)
    return t.get("shop.test", "/", { headers = { ... } })
           .headers["x-instance"]
end
for _ = 1, 5 do
    t.say(ask(), ask("X-Canary: always"), ask("X-Canary: never"),
          ask("Cookie: beta=1"))
end
--- response_body
abac
abac
abac
abac
abac



=== a stable split keeps a user on one side
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":50},{"app":"green","weight":50}],"split_by":{"cookie":"uid"}}]
inst blue a @a
inst green b @b
--- lua
local sides, n = {}, { a = 0, b = 0 }
local function ask(uid)
    return t.get("shop.test", "/", { headers = { "Cookie: uid=" .. uid } })
           .headers["x-instance"]
end
for uid = 1, 200 do
    sides[uid] = ask(uid)
    n[sides[uid]] = n[sides[uid]] + 1
end
t.say(n.a > 60 and n.b > 60 or n)
for uid = 1, 200 do
    assert(ask(uid) == sides[uid], "moved")
end
-- More weight for one side moves users to it, and none away from it.
t.change([[rules shop.test [{"path":"/","to":[{"app":"blue","weight":80},{"app":"green","weight":20}],"split_by":{"cookie":"uid"}}] ]])
local away = 0
for uid = 1, 200 do
    away = away + (sides[uid] == "a" and ask(uid) == "b" and 1 or 0)
end
t.say(away)
--- response_body
true
0



=== a side without an instance is left out, a forced one is not
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":50},{"app":"green","weight":50,"force":{"header":"X-Green","present":true}}]}]
inst blue a @a
--- lua
for _ = 1, 20 do
    assert(t.show("shop.test") == "200 a")
end
t.say(t.show("shop.test", "/", { headers = { "X-Green: 1" } }))
t.change("del inst blue a")
t.say(t.show("shop.test"))
--- response_body
503 no_instance
503 no_instance



=== an empty value is no value to split by
--- records
rules shop.test [{"path":"/h","to":[{"app":"blue"},{"app":"green"}],"split_by":{"header":"X-User"}},{"path":"/","to":[{"app":"blue"},{"app":"green"}],"split_by":{"cookie":"uid"}}]
inst blue a @a
inst green b @b
--- lua
local function shares(path, header)
    local n = { a = 0, b = 0 }
    for _ = 1, 100 do
        local id = t.get("shop.test", path, { headers = { header } })
                   .headers["x-instance"]
        n[id] = n[id] + 1
    end
    return n.a > 20 and n.b > 20
end
t.say(shares("/h", "X-User:"), " ", shares("/", "Cookie: uid="), " ",
      shares("/h", "X-User: 7"), " ", shares("/", "Cookie: uid=7"))
--- response_body
true true false false
