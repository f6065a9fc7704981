use TestPointsman;

# Sessions; some instances fail on purpose, which nginx logs as errors.
run_edge_tests(trouble => 1);

__DATA__

=== a session stays with its instance; the cookie tells nothing
--- workers: 2
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop a @a
inst shop b @b
inst shop c @c
--- lua
local workers = t.connect_each(2)
local first = workers[1]:request("shop.test")
local cookie = first.headers["set-cookie"]
t.say((cookie:gsub("=[%w_-]+;", "=TOKEN;", 1)))
t.say(#cookie:match("=([%w_-]+);"))
for i = 1, 20 do
    local response = workers[i % 2 + 1]:request("shop.test", "/",
        { headers = { "Cookie: " .. cookie:match("^[^;]+") } })
    assert(response.headers["x-instance"] == first.headers["x-instance"])
    assert(not response.headers["set-cookie"])
end
-- Without it, all are asked in turn.
local seen = {}
for _ = 1, 9 do
    seen[t.get("shop.test").headers["x-instance"]] = true
end
t.say(seen.a, seen.b, seen.c)
--- response_body
pointsman=TOKEN; Path=/; HttpOnly; SameSite=Lax
22
truetruetrue



=== name and lifetime of the cookie; Secure behind TLS
--- records
route shop.test shop
policy shop {"sticky":{"cookie":"sid","ttl_ms":3600000}}
inst shop a @a
inst shop b @b
--- lua
local response = t.get("shop.test", "/",
                       { headers = { "X-Forwarded-Proto: https" } })
t.say((response.headers["set-cookie"]:gsub("=[%w_-]+;", "=TOKEN;", 1)))
--- response_body
sid=TOKEN; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure



=== a cookie that no edge has made is worth nothing
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop a @a
inst shop b @b
--- lua
local seen = {}
for _ = 1, 6 do
    for _, forged in ipairs { "b", "127.0.0.3", ("A"):rep(22), "" } do
        local response = t.get("shop.test", "/",
            { headers = { "Cookie: pointsman=" .. forged } })
        assert(response.headers["set-cookie"])
        seen[response.headers["x-instance"]] = true
    end
end
t.say(seen.a, seen.b)
--- response_body
truetrue



=== the session moves when its instance is gone, refuses, or is draining
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop a @a
inst shop b @b
--- lua
local function ask(cookie)
    local response = t.get("shop.test", "/",
        { headers = { cookie and "Cookie: " .. cookie or "X: 1" } })
    assert(response.status == 200)
    local set = response.headers["set-cookie"]
    return response.headers["x-instance"], set and set:match("^[^;]+")
end
local name = { a = "@a", b = "@b" }
for _, change in ipairs { "del inst shop %s", "inst shop %s @refused",
                          "inst shop %s %s draining=1" } do
    local id, cookie = ask()
    t.change(change:format(id, name[id]))
    local other, fresh = ask(cookie)
    t.say(other ~= id, " ", fresh ~= nil and fresh ~= cookie, " ",
          (ask(fresh or cookie)) == other)
    t.change("inst shop " .. id .. " " .. name[id])
end
--- response_body
true true true
true false true
true true true



=== an app may ask that sessions stay while their instance drains
--- records
route shop.test shop
policy shop {"sticky":{"drain":"keep"}}
inst shop a @a
inst shop b @b
--- lua
local response = t.get("shop.test")
local id = response.headers["x-instance"]
local cookie = response.headers["set-cookie"]:match("^[^;]+")
t.change("inst shop " .. id .. " @" .. id .. " draining=1")
for _ = 1, 6 do
    local again = t.get("shop.test", "/", { headers = { "Cookie: " .. cookie } })
    assert(again.headers["x-instance"] == id)
    assert(t.get("shop.test").headers["x-instance"] ~= id)
end
t.say("kept")
--- response_body
kept



=== by the app's own cookie: ours comes with it, and counts only beside it
--- records
route shop.test shop
policy shop {"sticky":{"with":"JSESSIONID"}}
inst shop a @a
inst shop b @b
--- lua
t.say(t.get("shop.test").headers["set-cookie"])
local response = t.get("shop.test", "/login")
local id = response.headers["x-instance"]
local cookie = response.cookies[2]:match("^[^;]+")
t.say(response.cookies[1], " ", cookie:match("^[^=]+"))
local seen = {}
for _ = 1, 8 do
    local again = t.get("shop.test", "/",
        { headers = { "Cookie: JSESSIONID=1; " .. cookie } })
    assert(again.headers["x-instance"] == id)
    again = t.get("shop.test", "/", { headers = { "Cookie: " .. cookie } })
    seen[again.headers["x-instance"]] = true
end
t.say(seen.a, seen.b)
--- response_body
nil
JSESSIONID=1; Path=/ pointsman
truetrue



=== a request is pinned to an instance by name, if the app lets it
--- records
route shop.test shop
route other.test other
policy shop {"pin_header":"X-Instance"}
inst shop a @a
inst shop b @b draining=1
inst other a @a
inst other c @c
--- lua
for _ = 1, 4 do
    t.say(t.show("shop.test", "/", { headers = { "X-Instance: b" } }), " ",
          t.show("shop.test", "/", { headers = { "X-Instance: c" } }), " ",
          t.show("shop.test"))
end
local seen = {}
for _ = 1, 4 do
    seen[t.show("other.test", "/", { headers = { "X-Instance: a" } })] = true
end
t.say(seen["200 a"], seen["200 c"])
--- response_body
200 b 503 no_such_instance 200 a
200 b 503 no_such_instance 200 a
200 b 503 no_such_instance 200 a
200 b 503 no_such_instance 200 a
truetrue
