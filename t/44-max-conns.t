use TestPointsman;

run_edge_tests();

__DATA__

=== max_conns: an instance that is full is passed over, and all full is a 503
--- records
route shop.test shop
policy shop {"max_conns":1}
inst shop a @a
inst shop b @b
--- lua
local function slow()
    return t.show("shop.test", "/sleep/0.5")
end
local results = t.together(slow, slow, function()
    ngx.sleep(0.2)
    local response = t.get("shop.test")
    return response.status .. " " .. response.headers["x-pointsman-error"]
           .. " " .. response.headers["retry-after"]
end)
t.say(results[1], ", ", results[2], ", ", results[3])
t.say(t.show("shop.test") ~= t.show("shop.test"))
t.say(t.metric('pointsman_errors_total{reason="overloaded"}'))
--- response_body
200 slept, 200 slept, 503 overloaded 1
true
1



=== max_conns holds over all workers
--- workers: 2
--- records
route shop.test shop
policy shop {"max_conns":2}
inst shop a @a
--- lua
local workers = t.connect_each(2)
local more = t.connect_each(2)
local function slow(connection)
    return function()
        return connection:request("shop.test", "/sleep/0.5").status
    end
end
local results = t.together(slow(workers[1]), slow(workers[2]), function()
    ngx.sleep(0.2)
    return more[1]:request("shop.test").status
end, function()
    ngx.sleep(0.2)
    return more[2]:request("shop.test").status
end)
t.say(table.concat(results, " "))
--- response_body
200 200 503 503



=== max_conns: after a reload, what the old workers have in flight still counts
--- records
route shop.test shop
policy shop {"max_conns":1}
inst shop a @a
--- lua
local before = t.status().worker.pid
local results = t.together(function()
    return t.show("shop.test", "/drip")
end, function()
    t.wait("the slow request", function()
        return t.requests("a") == 1
    end)
    t.shell("kill -HUP $(cat $POINTSMAN_TEST_DIR/nginx/logs/nginx.pid)")
    t.wait("a new worker", function()
        local pid = t.status().worker.pid
        return pid ~= before, pid
    end)
    local response
    repeat      -- the old worker may accept for a moment more
        response = t.get("shop.test")
    until response.headers["x-worker"] ~= tostring(before)
    t.counts:set("drip", true)
    return response.status .. " "
           .. (response.headers["x-pointsman-error"] or response.body)
end)
t.say((results[1]:gsub("%s+", " ")), ", ", results[2])
t.say(t.show("shop.test"))
--- response_body
200 one two, 503 overloaded
200 a



=== least_conn: after a reload, what the old workers have in flight still counts
--- records
route shop.test shop
policy shop {"balance":"least_conn"}
inst shop a @a
inst shop b @b
--- lua
local before = t.status().worker.pid
local busy
t.together(function()
    busy = t.get("shop.test", "/drip").headers["x-instance"]
end, function()
    t.wait("the slow request", function()
        return t.requests("a") + t.requests("b") == 1
    end)
    t.shell("kill -HUP $(cat $POINTSMAN_TEST_DIR/nginx/logs/nginx.pid)")
    -- What a worker sees of others may be 50 ms old: only one is asked.
    local connection
    t.wait("a new worker", function()
        connection = t.connect()
        local pid = connection:request("localhost", "/worker")
                    .headers["x-worker"]
        return pid ~= tostring(before), pid
    end)
    for _ = 1, 12 do
        connection:request("shop.test")
    end
    t.counts:set("drip", true)
end)
local other = busy == "a" and "b" or "a"
t.say(t.requests(busy), " ", t.requests(other))
--- response_body
1 12



=== max_conns: a worker that is killed leaves no requests behind
--- workers: 2
--- records
route shop.test shop
policy shop {"max_conns":1}
inst shop a @a
inst shop b @hanging
--- no_error_log
[emerg]
--- lua
local other, pid = t.other_worker()
t.together(function()
    while other:request("shop.test") do end
end, function()
    t.wait("the hanging request", function()
        return t.requests("hanging") == 1
    end)
    t.shell("kill -KILL " .. pid)
end)
local began = ngx.now()
t.wait("the instance to be free again", function()
    local connection = t.connect(0.05)
    connection:request("shop.test")
    connection:close()
    return t.requests("hanging") > 1, t.requests("hanging")
end)
t.say(ngx.now() - began < 3)
--- response_body
true



=== max_conns holds for requests that name their instance
--- records
route shop.test shop
policy shop {"max_conns":2,"pin_header":"X-Instance-Id"}
inst shop a @a
inst shop b @b
--- lua
local function ask(path)
    local response = t.get("shop.test", path,
                           { headers = { "X-Instance-Id: a" } })
    return response.headers["x-pointsman-error"] or response.status
end
local function stay()
    return ask("/slow_if/a/0.5")
end
local function go_on()
    t.wait("the first two", function()
        return t.requests("a") == 2
    end)
    return ask("/") .. ", " .. t.show("shop.test")
end
t.say(table.concat(t.together(stay, stay, go_on), ", "))
t.say(ask("/"))
--- response_body
200, 200, overloaded, 200 b
200
