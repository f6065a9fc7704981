use TestPointsman;

run_edge_tests();

__DATA__

=== rules: what each of them wants, and what the request has
--- records
rules shop.test [{"path":"/api","when":[{"header":"X-Beta","exact":"1"},{"method":["GET","HEAD"]}],"to":[{"app":"beta"}]},{"path":"/api","when":[{"query":"q","prefix":"a"},{"cookie":"c","present":false}],"to":[{"app":"api"}],"rewrite":"/v2","headers":{"request":{"set":{"X-A":"b"}},"response":{"remove":["Server"]}}},{"path":"/","to":[{"app":"shop"}]}]
policy api {"read_timeout_ms":1500,"retry_5xx":true}
inst shop a @a
inst api b @b
inst beta c @c
--- lua
local function show(step)
    local parts = { step.number .. (step.matches and " yes" or " no") }
    for _, c in ipairs(step.conditions) do
        parts[#parts + 1] = c.on .. " [" .. c.is .. "] "
                            .. tostring(c.value) .. " " .. tostring(c.matches)
    end
    t.say(table.concat(parts, "; "))
end
local function explain(url, options)
    local out = t.explain(url, options)
    for _, step in ipairs(out.rules) do
        show(step)
    end
    show(out.rule)
    t.say(out.app, " ", out.next, " ", out.directives.path)
    return out
end
explain("http://shop.test/api", { headers = { "x-beta: 0, 1" } })
local out = explain("http://shop.test/%61pi//x/../y?q=abc",
                    { method = "POST", headers = { "X-Beta: 1" } })
local directives = out.directives
t.say(directives.location, " ", directives.read_timeout, " ",
      directives.request_headers.set["X-A"], " ",
      directives.response_headers.remove[1])
explain("http://shop.test/api?q=a", { headers = { "Cookie: b=1",
                                                  "Cookie: c=2" } })
--- response_body
1 yes; path [/api] /api true; header X-Beta [exact 1] 0, 1 true; method [GET, HEAD] GET true
beta c /api
1 no; path [/api] /api/y true; header X-Beta [exact 1] 1 true; method [GET, HEAD] POST false
2 yes; path [/api] /api/y true; query q [prefix a] abc true; cookie c [absent] nil true
api b /v2/y
@pointsman_5xx 1.5 b Server
1 no; path [/api] /api true; header X-Beta [exact 1] nil false; method [GET, HEAD] GET true
2 no; path [/api] /api true; query q [prefix a] a true; cookie c [absent] 2 false
3 yes; path [/] /api true
shop a /api


=== answers of the edge's own
--- records
rules shop.test [{"path":"/none","to":[{"app":"none"}]},{"path":"/full","rewrite":"/sleep","to":[{"app":"full"}]},{"path":"/old","redirect":{"status":308,"scheme":"https","host":"www.test"}},{"path":"/off","maintenance":{}}]
policy full {"max_conns":1}
inst full a @a
policy pinned {"pin_header":"X-Pin"}
route pinned.test pinned
inst pinned a @a
--- lua
local function show(url, options)
    local out = t.explain(url, options)
    local answer = out.answer or {}
    t.say(tostring(answer.status), " ", tostring(answer.reason), " ",
          tostring(answer.location), " ", tostring(out.app), " ",
          out.rule and out.rule.number or "-", " ", #out.rules, " ",
          tostring(out.next))
    return out
end
show("http://unknown.test/")
show("http://shop.test/")
show("http://shop.test/old/x?y=1")
show("https://www.test/old/x?y=1")
local out = show("https://shop.test/old", { headers = { "Host: www.test" } })
show("http://shop.test/off")
show("http://shop.test/none")
show("http://pinned.test/", { headers = { "X-Pin: z" } })
show("http://pinned.test/", { headers = { "X-Pin: a" } })
t.together(function()
    return t.get("shop.test", "/full/0.5")
end, function()
    t.wait("the request in flight", function()
        return t.requests("a") == 1
    end)
    show("http://shop.test/full")
end)
--- response_body
404 no_route nil nil - 0 nil
404 no_route nil nil - 4 nil
308 redirect https://www.test/old/x?y=1 nil 3 2 nil
404 no_route nil nil - 0 nil
308 redirect https://www.test/old nil 3 2 nil
503 maintenance nil nil 4 3 nil
503 no_instance nil none 1 0 nil
503 no_such_instance nil pinned 1 0 nil
nil nil nil pinned 1 0 a
503 overloaded nil full 2 1 nil


=== splits: by what, with which value and share
--- records
rules shop.test [{"path":"/id","split_by":{"header":"X-Request-Id"},"to":[{"app":"one","weight":50},{"app":"two","weight":50}]},{"path":"/c","split_by":{"client":true},"to":[{"app":"one","weight":3},{"app":"two","weight":1}]},{"path":"/","to":[{"app":"one","weight":90},{"app":"two","weight":10,"force":{"header":"X-Canary","exact":"yes"}},{"app":"none","weight":100}]}]
inst one a @a
inst two b @b
--- lua
local function show(url, options)
    local out = t.explain(url, options)
    local split = out.split
    t.say(split.app, " ", split.by, " ", tostring(split.value), " ",
          split.share, " ", split.shares.one, " ", split.shares.two, " ",
          tostring(split.shares.none), " ", out.app == split.app)
    return out
end
show("http://shop.test/")
show("http://shop.test/", { headers = { "X-Canary: yes" } })
show("http://shop.test/c", { client = "127.0.0.1" })
t.say(show("http://shop.test/c").split.by)
t.say(t.explain("http://shop.test/id").split.by)
--- response_body
one random nil 0.9 0.9 0.1 0 true
two force header X-Canary yes 0.1 0.9 0.1 0 true
one client 127.0.0.1 0.75 0.75 0.25 nil true
one random nil 0.75 0.75 0.25 nil true
random
random


=== what the access log has of a request gives the same answer again
--- http_config
    include pointsman/log_format.conf;
--- config
    access_log logs/explain.json pointsman;
    location / {
        include pointsman/location.conf;
    }
--- records
rules shop.test [{"path":"/q","when":[{"query":"b","exact":"1"},{"method":["POST"]}],"to":[{"app":"three"}]},{"path":"/c","split_by":{"client":true},"to":[{"app":"one","weight":3},{"app":"two","weight":1}]},{"path":"/","split_by":{"header":"X-Request-Id"},"to":[{"app":"one","weight":50},{"app":"two","weight":50}]}]
policy two {"balance":"hash","hash_by":{"header":"X-Request-Id"}}
policy three {"balance":"hash","hash_by":{"uri":true}}
inst one a @a
inst two b @b
inst two c @c
inst three a @a
inst three c @c
--- lua
for i = 1, 30 do
    local headers = i % 2 == 0 and { "X-Request-Id: client-" .. i } or {}
    t.get("shop.test", "/id?" .. i, { headers = headers })
    t.get("shop.test", "/c", { headers = headers })
    t.get("shop.test", "/q/%20//x?a=" .. i .. "&b=" .. i % 2,
          { method = "POST", headers = headers })
end
t.get("other.test")
local path = os.getenv("POINTSMAN_TEST_DIR") .. "/nginx/logs/explain.json"
local lines = t.wait("the lines", function()
    local lines = {}
    for line in io.lines(path) do
        if line:find('"host":"%w+.test"') then
            lines[#lines + 1] = require("cjson").decode(line)
        end
    end
    return #lines == 91 and lines, #lines
end)
local seen = {}
for _, line in ipairs(lines) do
    local out = t.explain("http://" .. line.host .. line.uri, {
        method = line.method, client = line.client,
        headers = { "X-Request-Id: " .. line.request_id } })
    local rule = out.rule and out.rule.number .. " "
                              .. out.rule.conditions[1].is or ""
    if (out.app or "") ~= line.app or rule ~= line.rule
            or (out.answer and out.answer.reason or "") ~= line.error
            or out.algorithm == "hash" and out.next ~= line.instance then
        t.say(line.uri, ": ", line.app, " ", line.rule, " ", line.instance,
              ", explained as ", tostring(out.app), " ", rule, " ",
              tostring(out.next))
    end
    seen[line.app .. " " .. line.rule .. " " .. line.instance] = true
end
local names = {}
for name in pairs(seen) do
    names[#names + 1] = name
end
table.sort(names)
t.say(table.concat(names, ", "))
--- response_body
  , one 2 /c a, one 3 / a, three 1 /q a, three 1 /q c, two 3 / b, two 3 / c


=== wildcards, and a host that is cached by its pattern
--- records
route *.shop.test shop
route * any
inst shop a @a
inst any b @b
--- lua
for _ = 1, 2 do
    for _, host in ipairs { "x.shop.test", "shop.test", "a.b.shop.test" } do
        local out = t.explain("http://" .. host)
        t.say(host, " ", out.route, " ", out.next, " ", out.cache)
    end
    t.get("y.shop.test")
end
--- response_body
x.shop.test *.shop.test a redis
shop.test * b redis
a.b.shop.test *.shop.test a redis
x.shop.test *.shop.test a redis
shop.test * b redis
a.b.shop.test *.shop.test a redis


=== the path is as nginx sees it
--- config
    location / {
        content_by_lua_block { ngx.print(ngx.var.uri) }
    }
--- records
rules shop.test [{"path":"/no","to":[{"app":"shop"}]}]
--- lua
for _, path in ipairs { "/", "/a//b", "/a/./b", "/a/b/../c", "/a/..", "/a/.",
                        "/a/../", "/a/./", "/%61%2fb", "/a%2F%2e%2e/b", "/a+b",
                        "/a%20b", "/a%3fb", "/a%23b", "/a%25b", "/...", "/a/..b",
                        "/.a", "/a;b=1", "//", "/a%2f%2fb/", "/\195\164", "/../a",
                        "/a/../../b", "/%00", "/%zz", "/%", "/%2", "/a%2e",
                        "/a/%2e/" } do
    local got = t.get("shop.test", path)
    local ok, out = pcall(t.explain, "http://shop.test" .. path)
    local uri = ok and out.rules[1].conditions[1].value
    if (got.status == 200 and got.body or false) ~= uri then
        t.say(path, ": ", got.status, " ", got.body, ", explained as ",
              tostring(uri), " ", ok and "" or tostring(out))
    end
end
t.say("done")
--- response_body
done


=== bad questions get an answer that says what is wrong
--- lua
for _, query in ipairs {
        "", "url=", "url=shop.test", "url=ftp://shop.test", "url=http://",
        "url=http://a&url=http://b", "url=http://a%20b/", "url=http://u@a/",
        "url=http://a:x/", "url=http://a:99999/", "url=http://a/%25zz",
        "url=http://a/&method=get", "url=http://a/&method=GET&method=PUT",
        "url=http://a/&header=X", "url=http://a/&header=X%20Y:%201",
        "url=http://a/&header", "url=http://a/&client=me",
        "url=http://a/&colour=red", "url=http://a/" .. ("&header=A:b"):rep(300) } do
    local response = t.get("localhost", "/pointsman/explain?" .. query)
    t.say(response.status, " ",
          require("cjson").decode(response.body).detail:sub(1, 36))
end
t.say(t.explain("http://[::1]:80/").host, " ",
      t.explain("http://a_b.test", { headers = { "X_Odd: 1", "Empty:" } }).host)
--- response_body
400 url must be given once, like http://
400 url must begin with http:// or https
400 url must begin with http:// or https
400 url must begin with http:// or https
400 url must have a host, and perhaps a 
400 url must be given once, like http://
400 url must not have blanks or control 
400 url must have a host, and perhaps a 
400 url must have a host, and perhaps a 
400 url must have a host, and perhaps a 
400 url must have a path that nginx acce
400 method must be given once, in upper 
400 method must be given once, in upper 
400 header must be like "Name: value"; "
400 header must be like "Name: value"; "
400 header must be like "Name: value"; "
400 client must be given once, an IP add
400 there is no parameter colour: url, m
400 there are more than 200 parameters
[::1] a_b.test
