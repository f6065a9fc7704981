use TestPointsman;

# The access-log format, and traces. Here instances fail on purpose.
run_edge_tests(trouble => 1);

__DATA__

=== each request is a line of JSON that says where it went
--- http_config
    include pointsman/log_format.conf;
--- config
    access_log logs/access.json pointsman;
    location / {
        include pointsman/location.conf;
    }
--- records
route plain.test plain
rules rules.test [{"path":"/down","maintenance":{"retry_after_s":9}},{"path":"/old","redirect":{"status":301,"host":"www.test"}},{"path":"/","to":[{"app":"ruled"}]}]
policy ruled {"retries":1,"fail_timeout_ms":0}
inst plain a @a
inst ruled b @b
inst ruled gone @refused
route empty.test empty
inst empty a @a draining=1
--- lua
t.get("plain.test", "/status/404?q=%22a%22", { headers = {
    'User-Agent: "x"\t\\', "X-Request-Id: mine" } })
t.get("rules.test", "/old")
t.get("rules.test", "/down")
for _ = 1, 2 do
    t.get("rules.test", "/")
end
t.get("empty.test")
t.get("unknown.test")
local cjson = require("cjson")
local path = os.getenv("POINTSMAN_TEST_DIR") .. "/nginx/logs/access.json"
local lines = t.wait("seven lines", function()
    local lines = {}
    for line in io.lines(path) do
        if not line:find("/pointsman/status", 1, true)
                and not line:find('"/t"', 1, true) then
            lines[#lines + 1] = cjson.decode(line)
        end
    end
    return #lines == 7 and lines, #lines
end)
local retried = false
for _, line in ipairs(lines) do
    if line.app == "ruled" and line.tries == 2 then
        retried, line.tries = true, 1
    end
    t.say(line.host, " ", line.status, " [", line.error, "] [", line.app, "] [",
          line.instance, "] [", line.rule, "] ", line.tries)
end
local first = lines[1]
t.say(retried, " ", first.uri, " ", first.user_agent, " ", first.request_id, " ",
      first.method, " ", #first.trace_id, " ", type(first.request_time), " ",
      first.upstream_status, " ", first.client)
--- response_body
plain.test 404 [] [plain] [a] [1 /] 1
rules.test 301 [] [] [] [2 /old] 0
rules.test 503 [maintenance] [] [] [1 /down] 0
rules.test 200 [] [ruled] [b] [3 /] 1
rules.test 200 [] [ruled] [b] [3 /] 1
empty.test 503 [no_instance] [empty] [] [1 /] 0
unknown.test 404 [no_route] [] [] [] 0
true /status/404?q=%22a%22 "x"	\ mine GET 32 number 404 127.0.0.1



=== a trace goes on; without one, or with one that is malformed, it begins
--- lua
local function trace(...)
    local lines = {}
    for i, value in ipairs { ... } do
        lines[i] = "Traceparent: " .. value
    end
    local body = t.get("shop.test", "/echo", { headers = lines }).body
    return body:match("\ntraceparent: ([^\n]*)")
end
local id, span = ("a1"):rep(16), ("b2"):rep(8)
local given = "00-" .. id .. "-" .. span .. "-00"
t.say(trace(given) == given, " ", trace(given:gsub("^00", "01") .. "-more")
      == "01-" .. id .. "-" .. span .. "-00-more")
local new = "^00%-(%x+)%-706f696e74736d6e%-01$"
local seen = {}
for _, value in ipairs { "", "00-" .. ("0"):rep(32) .. "-" .. span .. "-00",
                         "00-" .. id .. "-" .. ("0"):rep(16) .. "-00",
                         "ff-" .. id .. "-" .. span .. "-00",
                         given:upper(), given .. "x", "nonsense" } do
    local got = trace(value ~= "" and value or nil):match(new)
    t.say(#got == 32 and not seen[got] and got ~= id)
    seen[got] = true
end
--- response_body
true true
true
true
true
true
true
true
true
