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



=== draining instances are reported with what is in flight to them, 0 included
--- setup: edge = "e",
--- records
route shop.test shop
inst shop a @a
inst shop b @b
inst other x @c draining=1
--- lua
local worker = t.connect()
local busy
t.together(function()
    local response = t.get("shop.test", "/drip")
    busy = response.headers["x-instance"]
end, function()
    t.wait("the slow request", function()
        return t.requests("a") + t.requests("b") == 1
    end)
    t.change("inst shop a @a draining=1\ninst shop b @b draining=1\n"
             .. "inst unknown x @c draining=1\ninst shop c @c")
    local report = t.wait_report("e", function(now)
        return now.applied == "1002"
    end)
    t.say(t.requests("a") == 1 and report.draining
          or report.draining:gsub("a\":0", "a\":1"):gsub("b\":1", "b\":0"))
    t.counts:set("drip", true)
end)
t.say(t.wait_report("e", function(now)
    return not now.draining:find(":1")
end).draining)
-- One that is gone, or is not draining any more, is not reported.
t.change("inst shop a @a\ndel inst shop b\ndel inst unknown x")
t.say(t.wait_report("e", function(now)
    return now.applied == "1003"
end).draining)
worker:close()
--- response_body
{"shop/a":1,"shop/b":0,"unknown/x":0}
{"shop/a":0,"shop/b":0,"unknown/x":0}
{}



=== requests of all workers, of all protocols, and of workers that exit
--- workers: 2
--- setup: edge = "e",
--- records
route shop.test shop
inst shop a @a
--- lua
local sockets = {}
for i, worker in ipairs(t.connect_each(2)) do
    sockets[i] = worker
    worker:request("shop.test", "/ws", { headers = {
        "Connection: Upgrade", "Upgrade: websocket" } })
end
local upload = t.connect()
upload.sock:send("POST /echo HTTP/1.1\r\nHost: shop.test\r\n"
                 .. "Content-Length: 10\r\n\r\n12345")
t.change("inst shop a @a draining=1\ninst shop b @b")
t.say(t.wait_report("e", function(now)
    return now.applied == "1002"
end).draining)
t.reload()
local seq = t.report("e").seq
t.say(t.wait_report("e", function(now)
    return now.draining ~= '{"shop/a":2}' or tonumber(now.seq) > seq + 1
end).draining)
sockets[1]:close()
t.say(t.wait_report("e", function(now)
    return now.draining == '{"shop/a":1}'
end).draining)
sockets[2]:close()
t.say(t.wait_report("e", function(now)
    return now.draining == '{"shop/a":0}'
end).draining)
-- The upload was not sent to it yet, and is not sent there any more.
upload.sock:send("67890")
t.say(upload:response().headers["x-instance"])
--- response_body
{"shop/a":2}
{"shop/a":2}
{"shop/a":1}
{"shop/a":0}
b



=== what a worker that was killed had in flight does not count for ever
--- workers: 2
--- setup: edge = "e",
--- records
route shop.test shop
inst shop a @a
--- no_error_log
[emerg]
--- lua
local killed
for _, worker in ipairs(t.connect_each(2)) do
    local response = worker:request("localhost", "/worker")
    local pid = response.headers["x-worker"]
    if tonumber(pid) ~= ngx.worker.pid() then
        killed = pid
        worker:request("shop.test", "/ws", { headers = {
            "Connection: Upgrade", "Upgrade: websocket" } })
    end
end
t.change("inst shop a @a draining=1\ninst shop b @b")
t.say(t.wait_report("e", function(now)
    return now.applied == "1002"
end).draining)
t.shell("kill -KILL " .. killed)
t.say(t.wait_report("e", function(now)
    return now.draining == '{"shop/a":0}'
end).draining)
--- response_body
{"shop/a":1}
{"shop/a":0}



=== a worker that is stopped in the middle of its choice holds up the report
--- setup: edge = "e",
--- lua
-- As if this worker were about to choose an instance by what it has seen.
local workers = require("pointsman.request.workers")
t.report("e")
local leave = workers.leave
workers.leave = function() end
workers.enter()
t.publish("inst shop a @a draining=1\ninst shop b @b")
t.wait("the change to be applied", function()
    return ngx.shared.pointsman_state:get("applied") == 1002
end)
local seq = t.report("e").seq
local report = t.wait_report("e", function(now)
    return tonumber(now.seq) > tonumber(seq) + 1 or now.applied == "1002"
end)
t.say(report.applied, " ", report.draining)
leave()
t.say(t.wait_report("e", function(now)
    return now.applied == "1002"
end).draining)
--- response_body
1001 {"shop/a":0}
{"shop/a":0}



=== one that was killed there does not
--- workers: 2
--- setup: edge = "e",
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /enter {
        content_by_lua_block {
            local workers = require("pointsman.request.workers")
            workers.leave = function() end
            workers.enter()
        }
    }
--- no_error_log
[emerg]
--- lua
local killed
for _, worker in ipairs(t.connect_each(2)) do
    local response = worker:request("localhost", "/worker")
    local pid = response.headers["x-worker"]
    if tonumber(pid) ~= ngx.worker.pid() then
        killed = pid
        worker:request("localhost", "/enter")
    end
end
t.publish("inst shop b @b")
t.wait("the change to be applied", function()
    return ngx.shared.pointsman_state:get("applied") == 1002
end)
t.say(t.report("e").applied)
t.shell("kill -KILL " .. killed)
t.say(t.wait_report("e", function(now)
    return now.applied == "1002"
end).applied)
--- response_body
1001
1002



=== no request that waited goes to an instance that drains, cached app or not
--- setup: edge = "e",
--- records
route shop.test shop
policy shop {"balance":"least_conn"}
inst shop a @a
--- lua
t.get("shop.test")
local function upload()
    local connection = t.connect()
    connection.sock:send("POST / HTTP/1.1\r\nHost: shop.test\r\n"
                         .. "Content-Length: 10\r\n\r\n12345")
    return function()
        connection.sock:send("67890")
        return connection:response().headers["x-instance"]
    end
end
local first, others = upload(), {}
for i = 1, 6 do
    others[i] = upload()
end
-- Another request shows that all have been routed.
t.get("shop.test")
t.change("inst shop a @a draining=1\ninst shop b @b\ninst shop c @c")
t.wait_report("e", function(now) return now.applied == "1002" end)
t.say(first() ~= "a")
-- The app leaves the cache; what it was does not say that another one drains.
ngx.shared.pointsman_apps:delete("shop")
t.change("inst shop b @b draining=1")
t.wait_report("e", function(now) return now.applied == "1003" end)
local got = {}
for i = 1, 6 do
    got[i] = others[i]()
end
t.say(table.concat(got))
--- response_body
true
cccccc



=== one that was routed a moment ago does not either
--- setup: edge = "e",
--- config
    location / {
        access_by_lua_block {
            -- Between the two phases the feed of another worker applies this.
            local apply = require("pointsman.feed.apply")
            local versions = require("pointsman.cache.versions")
            if ngx.var.arg_drain then
                local plan = apply.plan()
                apply.add(plan, { { id = "1002-1", to = 1002,
                                    changes = ngx.shared.testkit:get("changes") } })
                apply.run(plan, versions.read(versions.REVAL))
                versions.advance()
            end
        }
        include pointsman/location.conf;
    }
--- records
route shop.test shop
inst shop a @a
--- lua
t.get("shop.test")
local function record(addr, extras)
    return require("cjson").encode({ "1002", addr .. ":" .. t.port, 100, extras })
end
t.counts:set("changes", require("cjson").encode {
    { "inst:shop", "a", record("127.0.0.2", { draining = 1 }) },
    { "inst:shop", "b", record("127.0.0.3") },
})
t.say(t.get("shop.test", "/?drain=1").headers["x-instance"])
--- response_body
b



=== a session that stays with a draining instance is reported
--- setup: edge = "e",
--- records
route shop.test shop
policy shop {"sticky":{"cookie":"s","drain":"keep"}}
inst shop a @a
--- lua
local cookie = t.get("shop.test").headers["set-cookie"]:match("^[^;]+")
t.change("inst shop a @a draining=1\ninst shop b @b")
-- As if the edge had started since.
t.wait_report("e", function(now) return now.applied == "1002" end)
ngx.shared.pointsman_state:delete("draining")
t.reload()
t.wait_report("e", function(now) return now.draining == "{}" end)
t.together(function()
    local response = t.get("shop.test", "/drip", { headers = {
        "Cookie: " .. cookie } })
    t.say(response.headers["x-instance"])
end, function()
    t.say(t.wait_report("e", function(now)
        return now.draining:find(":1", 1, true)
    end).draining)
    t.counts:set("drip", true)
end)
--- response_body
{"shop/a":1}
a



=== after a gap in the stream, what drains and is in flight is asked for
--- setup: edge = "e",
--- records
route shop.test shop
inst shop a @a
--- lua
local connection = t.connect()
connection:request("shop.test", "/ws", { headers = {
    "Connection: Upgrade", "Upgrade: websocket" } })
t.publish("inst shop a @a draining=1\ninst shop b @b", "lost")
t.publish("inst other x @c")
t.say(t.wait_report("e", function(now)
    return now.applied == "1003"
end).draining)
connection:close()
t.say(t.wait_report("e", function(now)
    return now.draining == '{"shop/a":0}'
end).draining)
--- response_body
{"shop/a":1}
{"shop/a":0}



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



=== under load, no request comes after the report that says so
--- workers: 2
--- setup: edge = "e",
--- records
route shop.test shop
policy shop {"retries":1}
inst shop a @a
inst shop b @b
--- lua
local is_done, failed = false, 0
local function load()
    local connection = t.connect()
    while not is_done do
        local response = connection:request("shop.test", "/sleep/0.001")
        if not response then
            -- The worker that had the connection exits.
            connection = t.connect()
        elseif response.status ~= 200 then
            failed = failed + 1
        end
    end
end
local late = 0
local function drain()
    for round = 1, 60 do
        local out, other = "a", "b"
        if round % 2 == 0 then
            out, other = other, out
        end
        local rev = t.publish("inst shop " .. other .. " @" .. other
                              .. "\ninst shop " .. out .. " @" .. out
                              .. " draining=1")
        t.wait_report("e", function(now)
            return tonumber(now.applied) >= rev
                   and now.draining == '{"shop/' .. out .. '":0}'
        end)
        local before = t.requests(out)
        ngx.sleep(0.02)
        late = late + t.requests(out) - before
        if round == 30 then
            t.reload()
        end
    end
    is_done = true
end
t.together(load, load, load, load, load, load, drain)
t.say(late, " late, ", failed, " failed, ",
      t.requests("a") + t.requests("b") > 300)
--- response_body
0 late, 0 failed, true
