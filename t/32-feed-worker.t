use TestPointsman;

# Every connection is a new one; counts the answers of each worker.
our $Ask = <<'_EOC_';
local function ask(times, port)
    local counts, n = {}, 0
    for _ = 1, times do
        local sock = ngx.socket.tcp()
        assert(sock:connect("127.0.0.1", port or t.port))
        assert(sock:send("GET /worker HTTP/1.0\r\nHost: x\r\n\r\n"))
        local pid = assert(sock:receive("*a")):match("X%-Worker: (%d+)")
        n = n + (counts[pid] and 0 or 1)
        counts[pid] = (counts[pid] or 0) + 1
    end
    return n, counts
end
_EOC_

our $Port = free_port();

run_edge_tests();

__DATA__

=== a worker of the feed's own takes no requests, and brings the changes
--- workers: 3
--- setup: feed_worker = "own",
--- lua eval
$::Ask . <<'_EOC_'
t.say(ask(200) <= 2, " ", ngx.worker.id() > 0)
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
_EOC_
--- response_body
true true
200 a
200 b
--- error_log
this worker takes no requests
--- no_error_log
[warn]
[error]



=== when that worker dies, the next one takes no requests either
--- workers: 2
--- setup: feed_worker = "own",
--- lua eval
$::Ask . <<'_EOC_'
t.say(t.show("shop.test"))
local list = t.output("pgrep -P $(cat " .. os.getenv("POINTSMAN_TEST_DIR")
                      .. "/nginx/logs/nginx.pid)")
local own, other = tostring(ngx.worker.pid()), nil
for pid in list:gmatch("%d+") do
    other = pid ~= own and pid or other
end
t.shell("kill -KILL " .. other)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
local n, counts = ask(100)
t.say(n, " ", counts[own])
_EOC_
--- response_body
200 a
200 b
1 100
--- error_log
exited on signal 9
--- no_error_log
[warn]
[error]



=== with one worker it has requests to serve, and a line says so
--- setup: feed_worker = "own",
--- lua
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b
--- error_log
it takes requests as well: there is no other worker



=== with reuseport each worker has to accept its connections
--- workers: 2
--- setup: feed_worker = "own",
--- http_config eval
<<"_EOC_"
    server {
        listen 127.0.0.1:$::Port reuseport;
        add_header X-Worker \$pid always;
        location = /worker { return 204; }
    }
_EOC_
--- lua eval
"local port = $::Port\n" . $::Ask . <<'_EOC_'
-- The kernel chooses by address and port: that a hundred all go one way is as
-- likely as that many heads in a row.
local n = ask(100, port)
t.say(n)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
_EOC_
--- response_body
2
200 b
--- error_log
it takes requests as well: a listen directive has the parameter reuseport



=== another word is a mistake
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup { feed_worker = "mine" }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
feed_worker must be "shared" or "own"
