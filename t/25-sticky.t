use TestPointsman;

# A browser: keeps the cookies of one host, name by name.
my $BROWSER = <<'_EOC_';
    local function browser(host)
        local jar, n_set = {}, 0
        local function get(path, ...)
            local pairs_of = { }
            for name, value in pairs(jar) do
                pairs_of[#pairs_of + 1] = name .. "=" .. value
            end
            table.sort(pairs_of)
            local headers = { ... }
            if pairs_of[1] then
                headers[#headers + 1] =
                    "Cookie: " .. table.concat(pairs_of, "; ")
            end
            local response = t.get(host, path or "/", { headers = headers })
            for _, cookie in ipairs(response.cookies) do
                local name, value = cookie:match("^([^=]+)=([^;]*)")
                n_set = n_set + 1
                jar[name] = not cookie:find("Max-Age=0;", 1, true) and value
                            or nil
            end
            return response.headers["x-instance"]
        end
        return get, jar, function() return n_set end
    end
_EOC_
add_block_preprocessor(sub {
    my $block = shift;
    my $lua = $block->lua;
    $block->set_value(lua => "$BROWSER$lua") if $lua =~ /\bbrowser\(/;
});

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
--- config
# As from a trusted proxy; what other clients say does not count.
if ($http_x_trusted) {
    set $pointsman_scheme $http_x_forwarded_proto;
}
location / {
    include pointsman/location.conf;
}
--- lua
for _, trusted in ipairs { "X-Trusted: 1", "X-Other: 1" } do
    local response = t.get("shop.test", "/",
        { headers = { "X-Forwarded-Proto: https", trusted } })
    t.say((response.headers["set-cookie"]:gsub("=[%w_-]+;", "=TOKEN;", 1)))
end
--- response_body
sid=TOKEN; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure
sid=TOKEN; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax



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



=== the session moves when its instance is gone, refuses, is draining, or has weight 0
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
                          "inst shop %s %s draining=1",
                          "inst shop %s %s weight=0" } do
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
-- Also when all of them drain: new clients get none, the session stays.
local other = id == "a" and "b" or "a"
t.change("inst shop " .. other .. " @" .. other .. " draining=1")
t.say(t.show("shop.test"), ", ",
      t.show("shop.test", "/", { headers = { "Cookie: " .. cookie } }) == "200 " .. id)
--- response_body
503 no_instance, true



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



=== two sticky apps on one host, each with its own cookie
--- records
rules shop.test [{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
policy web {"sticky":{}}
policy api {"sticky":{}}
inst web a @a
inst web b @b
inst api b @b
inst api c @c
--- lua
local get, jar, n_set = browser("shop.test")
local web, api = get("/"), get("/api")
for _ = 1, 8 do
    assert(get("/") == web)
    assert(get("/api") == api)
end
t.say(n_set(), " cookies set")
local names = {}
for name in pairs(jar) do
    names[#names + 1] = name:gsub("[%w_-]+$", function(text)
        return (text:gsub("%-[%w_-]+$", "-TAG"))
    end)
end
t.say(table.concat(names, " "))
--- response_body
2 cookies set
pointsman-TAG pointsman-TAG



=== a session begun under the plain name is kept when a second app comes, and goes
--- records
route shop.test web
policy web {"sticky":{}}
policy api {"sticky":{}}
inst web a @a
inst web b @b
inst api a @a
inst api b @b
--- lua
local rules = [[rules shop.test [{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}] ]]
local get, jar, n_set = browser("shop.test")
local web = get("/")
t.say(jar.pointsman ~= nil, " ", n_set())
t.change(rules)
local api = get("/api")
for _ = 1, 6 do
    assert(get("/") == web)
    assert(get("/api") == api)
end
t.say(n_set())
t.change("route shop.test api")
for _ = 1, 6 do
    assert(get("/") == api)
end
t.say(n_set())
--- response_body
true 1
2
2



=== an app with a cookie name that no other app of the host has keeps that name
--- records
rules shop.test [{"path":"/plain","to":[{"app":"plain"}]},{"path":"/api","to":[{"app":"api"}]},{"path":"/","to":[{"app":"web"}]}]
policy web {"sticky":{}}
policy api {"sticky":{"cookie":"api-session"}}
inst web a @a
inst api b @b
inst plain c @c
--- lua
local get, jar = browser("shop.test")
get("/")
get("/api")
get("/plain")
local names = {}
for name in pairs(jar) do
    names[#names + 1] = name
end
table.sort(names)
t.say(table.concat(names, " "))
--- response_body
api-session pointsman



=== a session stays on its side of a split, also when the weights change
--- workers: 2
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":50},{"app":"green","weight":50}]}]
policy blue {"sticky":{}}
policy green {"sticky":{}}
inst blue a @a
inst blue b @b
inst green c @c
--- lua
local clients, ids = {}, {}
for i = 1, 16 do
    local n_set
    clients[i], _, n_set = browser("shop.test")
    ids[i] = clients[i]("/")
    for _ = 1, 6 do
        assert(clients[i]("/") == ids[i])
    end
    assert(n_set() == 1)
end
local weights = [[rules shop.test [{"path":"/","to":[{"app":"blue","weight":%d},{"app":"green","weight":%d}]}] ]]
for _, weight in ipairs { 1, 65535 } do
    t.change(weights:format(weight, 65536 - weight))
    for i = 1, 16 do
        assert(clients[i]("/") == ids[i])
    end
end
t.say("stayed")
--- response_body
stayed



=== at weight 0 a side keeps no session; it does not come back with the weight
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":1},{"app":"green","weight":0}]}]
policy blue {"sticky":{}}
policy green {"sticky":{}}
inst blue a @a
inst green b @b
--- lua
local weights = [[rules shop.test [{"path":"/","to":[{"app":"blue","weight":%d},{"app":"green","weight":%d}]}] ]]
local get, jar = browser("shop.test")
t.say(get("/"), get("/"))
t.change(weights:format(0, 1))
t.say(get("/"), get("/"))
t.change(weights:format(65535, 1))
t.say(get("/"), get("/"), get("/"), get("/"))
local n = 0
for _ in pairs(jar) do
    n = n + 1
end
t.say(n)
--- response_body
aa
bb
bbbb
1



=== a forced request goes to its side, and takes its session along
--- records
rules shop.test [{"path":"/","to":[{"app":"main","weight":65535},{"app":"canary","weight":1,"force":{"header":"X-Canary","exact":"always"}}]}]
policy main {"sticky":{}}
policy canary {"sticky":{}}
inst main a @a
inst canary b @b
--- lua
local get = browser("shop.test")
t.say(get("/"), get("/"), get("/", "X-Canary: always"), get("/"), get("/"))
--- response_body
aabbb



=== an instance that drains keeps its side of the session, and the session if it may
--- records
rules shop.test [{"path":"/","to":[{"app":"blue","weight":1},{"app":"green","weight":1}]}]
policy blue {"sticky":{"drain":"keep"}}
policy green {"sticky":{}}
inst blue a @a
inst green b @b
inst green c @c
--- lua
local function client_of(ids)
    while true do
        local get = browser("shop.test")
        local id = get("/")
        if ids[id] then
            return get, id
        end
    end
end
local get = client_of { a = true }
t.change("inst blue a @a draining=1")
for _ = 1, 8 do
    assert(get("/") == "a")
end
t.change("inst blue a @a")
local id
get, id = client_of { b = true, c = true }
t.change("inst green " .. id .. " @" .. id .. " draining=1")
local other = id == "b" and "c" or "b"
for _ = 1, 8 do
    assert(get("/") == other)
end
-- Without an instance its app has no sessions.
t.change("del inst green b\ndel inst green c")
t.say(get("/"))
--- response_body
a



=== same_site and path of the cookie; none implies Secure
--- records
route strict.test strict
route none.test none
policy strict {"sticky":{"same_site":"strict","path":"/app/"}}
policy none {"sticky":{"same_site":"none","ttl_ms":60000}}
inst strict a @a
inst none a @a
--- lua
for _, host in ipairs { "strict.test", "none.test" } do
    t.say((t.get(host).headers["set-cookie"]:gsub("=[%w_-]+;", "=TOKEN;", 1)))
end
--- response_body
pointsman=TOKEN; Path=/app/; HttpOnly; SameSite=Strict
pointsman=TOKEN; Path=/; Max-Age=60; HttpOnly; SameSite=None; Secure



=== of several cookies of one name, as with two paths, the one that is known counts
--- records
route shop.test shop
policy shop {"sticky":{}}
inst shop a @a
inst shop b @b
--- lua
local first = t.get("shop.test")
local cookie = first.headers["set-cookie"]:match("^[^;]+")
local id = first.headers["x-instance"]
for _ = 1, 6 do
    for _, lines in ipairs {
        { "Cookie: pointsman=stale; " .. cookie },
        { "Cookie: pointsman=stale", "Cookie: x=1; " .. cookie },
        { "Cookie: POINTSMAN=stale; " .. cookie },
    } do
        local response = t.get("shop.test", "/", { headers = lines })
        assert(response.headers["x-instance"] == id)
        assert(not response.headers["set-cookie"])
    end
end
t.say("kept")
--- response_body
kept
