use TestPointsman;

# What the edge's report says of draining instances is exact. Here workers are
# killed on purpose.
run_edge_tests(trouble => 1);

__DATA__

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
local other, killed = t.other_worker()
other:request("shop.test", "/ws", { headers = {
    "Connection: Upgrade", "Upgrade: websocket" } })
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



=== of a choice that ends at that moment, nothing is waited for
--- workers: 2
--- config
    location / {
        include pointsman/location.conf;
    }
    location = /choose {
        content_by_lua_block {
            local workers = require("pointsman.request.workers")
            local finish = ngx.now() + 0.5
            while ngx.now() < finish do
                workers.enter()
                ngx.update_time()
                workers.leave()
            end
            ngx.say("chosen")
        }
    }
--- lua
local workers = require("pointsman.request.workers")
local other = t.other_worker()
local choosing = ngx.thread.spawn(function()
    return other:request("localhost", "/choose").body
end)
-- Compiled code merges two reads of one word.
jit.off(workers.passes)
local found, ended = 0, 0
local finish = ngx.now() + 0.5
while ngx.now() < finish do
    ngx.update_time()
    for _, pass in ipairs(workers.passes()) do
        found = found + 1
        ended = ended + (pass.word % 2 == 0 and 1 or 0)
    end
end
local _, answer = ngx.thread.wait(choosing)
t.say(answer, found > 10, " ", ended)
--- response_body
chosen
true 0



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
local other, killed = t.other_worker()
other:request("localhost", "/enter")
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
