use TestPointsman;

# The edge's report to the agents. Here workers are killed, and Redis refuses, on
# purpose.
$ENV{TEST_NGINX_BESIDE_PORT} = free_port();
$ENV{TEST_NGINX_REPLICA_PORT} = start_server('replica', <<"_EOC_");
save ''
replicaof 127.0.0.1 $ENV{TEST_NGINX_REDIS_PORT}
repl-diskless-sync-delay 0
_EOC_
run_edge_tests(trouble => 1);

__DATA__

=== an edge reports what it is and what it has applied, and publishes its name
--- setup
    edge = "edge-1.test", status_url = "http://10.0.0.1:8082/pointsman/status",
--- lua
local report = t.report("edge-1.test")
t.say(report.epoch == t.redis("HGET", t.prefix .. "meta", "epoch"))
t.say(report.applied, " ", report.workers, " ", report.status, " ",
      report.draining, " [", report.via, "]")
t.say(report.version:find("^%d+%.%d+%.%d+$") ~= nil, " ",
      math.abs(tonumber(report.started) - ngx.time()) < 60, " ",
      #report.id)
local life = t.redis("PTTL", t.prefix .. "edge:edge-1.test")
t.say(life > 7000 and life <= 10000)
t.change("inst shop b @b")
local later = t.wait_report("edge-1.test", function(now)
    return now.applied == "1002"
end)
t.say(tonumber(later.seq) > tonumber(report.seq), " ",
      tonumber(report.seq) > 1.7e12)
local state = t.status().report
t.say(state.edge, " ", state.state, " ", state.error == ngx.null)
--- response_body
true
1001 1 http://10.0.0.1:8082/pointsman/status {} []
true true 32
true
true true
edge-1.test ok true



=== without a name of its own an edge has that of its host
--- lua
local name = t.output("uname -n"):gsub("%s+$", "")
t.say(t.report(name).applied == "1001" and t.status().report.edge == name)
--- response_body
true



=== the version is that of Cargo.toml
--- lua
local text = io.open(os.getenv("POINTSMAN_TEST_LIB") .. "/../../Cargo.toml"):read("*a")
t.say(text:match('\nversion = "([^"]+)"') == require("pointsman.version"))
--- response_body
true



=== names that cannot be told apart in a message are refused
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup { edge = "-edge", status_url = "here",
                                     report = "redis//x" }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
edge must be up to 128 of the characters A-Z a-z 0-9 . _ - and not begin with -
status_url must be like "http://
report must be like



=== each report is told on the channel
--- setup: edge = "e",
--- lua
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", t.redis_port))
sock:send("SUBSCRIBE " .. t.prefix .. "edges\r\n")
for _ = 1, 6 do
    assert(sock:receive())
end
t.publish("inst shop b @b")
local lines = {}
for i = 1, 7 do
    lines[i] = assert(sock:receive())
end
t.say(lines[7])
--- response_body
e



=== an idle edge reports every two seconds
--- setup: edge = "e",
--- lua
local first = t.report("e")
local second = t.wait_report("e", function(now)
    return now.seq ~= first.seq
end)
local began = ngx.now()
t.wait_report("e", function(now)
    return now.seq ~= second.seq
end)
ngx.update_time()
local passed = ngx.now() - began
t.say(passed > 1.5 and passed < 3.5 or passed)
--- response_body
true



=== while cached records may be stale, no revision counts as applied
--- setup: edge = "e",
--- records
route shop.test shop
inst shop a @a
route other.test other
inst other a @a
--- lua
t.get("shop.test")
t.report("e")
-- The request goes by what was cached before the gap, and is in flight when the
-- window closes.
t.publish("inst shop a @a draining=1\ninst shop b @b", "lost")
t.publish("inst other x @c")
t.wait("the window", function()
    return ngx.shared.pointsman_state:get("held")
end)
t.together(function()
    t.get("shop.test", "/drip")
end, function()
    t.wait("the request", function()
        return t.requests("a") + t.requests("b") == 2
    end)
    local report = t.wait_report("e", function(now)
        return now.applied == "1003"
    end)
    local n = tonumber(report.draining:match('"shop/a":(%d)') or 0)
    t.say(n == t.requests("a") - 1)
    t.counts:set("drip", true)
end)
--- response_body
true



=== two edges of one name are told apart, and neither counts as up to date
--- setup: edge = "e",
--- lua
t.report("e")
-- The other one writes.
local key = t.prefix .. "edge:e"
t.redis("HSET", key, "id", "another", "applied", "5000")
t.wait("the conflict", function()
    local report = t.status().report
    return report.state == "conflict", report
end)
t.say(t.wait_report("e", function(now)
    return now.id ~= "another" and now.applied == "0"
end).applied)
--- error_log
report conflict: another edge reports as e, too
--- response_body
0



=== one that has the name of an edge that is gone has no conflict
--- setup: edge = "e",
--- redis
HSET test:edge:e id another applied 5
--- lua
t.wait_report("e", function(now) return now.applied == "1001" end)
t.say(t.status().report.state)
--- response_body
ok



=== an edge that may not write says so once, goes on, and reports when it may
--- setup: edge = "e",
--- lua
t.report("e")
t.redis("ACL", "SETUSER", "default", "-hset")
t.redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
t.wait("the failure", function()
    local report = t.status().report
    return report.state == "failing" and report.error:find("NOPERM"), report
end)
local since = t.status().report.since
t.say(t.show("shop.test"), " ", math.abs(since - ngx.now()) < 20)
t.redis("ACL", "SETUSER", "default", "+@all")
t.change("inst shop b @b")
t.wait("reports", function()
    return t.status().report.state == "ok"
end)
t.wait_report("e", function(now) return now.applied == "1002" end)
t.say("again")
--- error_log
report failing: Redis refuses: NOPERM
--- response_body
200 a true
again



=== reports can be switched off
--- setup: edge = "e", report = "off",
--- lua
t.change("inst shop b @b")
t.say(t.redis("EXISTS", t.prefix .. "edge:e"), " ", t.status().report.state)
--- response_body
0 off



=== an nginx that quits says goodbye once its last request has ended
--- setup: edge = "e",
--- lua
-- Not this nginx, which runs the test: one beside it.
local signal = t.start_beside("quits", $TEST_NGINX_BESIDE_PORT)
t.report("quits")
local sock = ngx.socket.tcp()
assert(sock:connect("127.0.0.1", $TEST_NGINX_BESIDE_PORT))
sock:send("GET /drip HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
t.wait("the slow request", function() return t.requests("a") == 1 end)
local listener = ngx.socket.tcp()
listener:settimeout(8000)
assert(listener:connect("127.0.0.1", t.redis_port))
listener:send("SUBSCRIBE " .. t.prefix .. "edges\r\n")
signal("QUIT")
-- It goes on following the table.
t.publish("inst shop b @b")
t.wait_report("quits", function(now) return now.applied == "1002" end)
t.publish("inst shop a @a draining=1")
t.say(t.wait_report("quits", function(now)
    return now.applied == "1003"
end).draining)
t.counts:set("drip", true)
sock:receive("*a")
t.wait("the goodbye", function()
    return t.redis("EXISTS", t.prefix .. "edge:quits") == 0
end)
local line
repeat
    line = assert(listener:receive())
until line == "-quits"
t.say(line)
--- response_body
{"shop/a":1}
-quits



=== one that cannot report quits all the same
--- lua
local signal, is_there = t.start_beside("mute", $TEST_NGINX_BESIDE_PORT, 1)
t.wait("it to start", is_there)
signal("QUIT")
t.wait("it to quit", function() return not is_there() end)
t.say("gone")
--- response_body
gone



=== an edge that a reload gives another name takes leave of the old one
--- setup: edge = "e",
--- lua
local before = t.report("e")
t.shell("sed -i 's/edge = \"e\"/edge = \"f\"/' "
        .. "$POINTSMAN_TEST_DIR/nginx/conf/nginx.conf")
t.reload()
t.say(t.report("f").id == before.id, " ", t.status().report.edge)
t.wait("the goodbye", function()
    return t.redis("EXISTS", t.prefix .. "edge:e") == 0
end)
--- response_body
true f



=== a reload is no goodbye, and the edge stays who it is
--- setup: edge = "e",
--- lua
local before = t.report("e")
local pid = t.status().worker.pid
local listener = ngx.socket.tcp()
assert(listener:connect("127.0.0.1", t.redis_port))
listener:send("SUBSCRIBE " .. t.prefix .. "edges\r\n")
t.reload()
t.wait("the new worker to have the feed", function()
    local holder = ngx.shared.pointsman_state:get("feed_lease")
    return holder and holder ~= pid, holder
end)
t.change("inst shop b @b")
local report = t.wait_report("e", function(now) return now.applied == "1002" end)
t.say(report.id == before.id, " ", report.started == before.started, " ",
      tonumber(report.seq) > tonumber(before.seq))
t.redis("PUBLISH", t.prefix .. "edges", "end")
local line
repeat
    line = assert(listener:receive())
until line == "end" or line == "-e"
t.say(line, " ", t.redis("EXISTS", t.prefix .. "edge:e"), " ",
      t.status().report.state)
--- response_body
true true true
end 1 ok



=== an edge that reads from a replica says that it cannot report there
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REPLICA_PORT",
            prefix = "test:", edge = "e",
        }
    }
--- lua
t.wait("the failure", function()
    local report = t.status().report
    return report.state == "failing" and report.error:find("READONLY"), report
end)
t.say(t.show("shop.test"))
--- error_log
report failing: Redis refuses: READONLY
--- response_body
200 a



=== with the primary's address, it reports to that
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REPLICA_PORT",
            report = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:", edge = "e",
        }
    }
--- lua
local report = t.report("e")
t.say(report.applied, " ", report.via, " ", t.status().report.state)
--- response_body
1001 replica ok
