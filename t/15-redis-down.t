use TestPointsman;

# For the blocks about TLS.
$ENV{TEST_NGINX_TLS_PORT} = free_port();
add_block_preprocessor(sub {
    my ($block) = @_;
    return unless $block->name =~ /TLS|certificate/;
    my $dir = $ENV{TEST_NGINX_TLS};
    # This runs before the harness's own.
    TestPointsman::start_redis();
    redis('CONFIG', 'SET', 'tls-auth-clients', 'no');
    redis('CONFIG', 'SET', 'tls-cert-file', "$dir/app.pem",
          'tls-key-file', "$dir/app.key", 'tls-ca-cert-file', "$dir/ca.pem");
    redis('CONFIG', 'SET', 'tls-port', $ENV{TEST_NGINX_TLS_PORT});
});

# Redis is missing here at times, and nginx may say so.
run_edge_tests(trouble => 1);

__DATA__

=== Redis is down when nginx starts: 503 until it is there
--- without: redis
--- lua
local response = t.get("shop.test")
t.say(response.status, " ", response.headers["x-pointsman-error"], " ",
      response.headers["retry-after"])
t.redis_start()
t.publish("route shop.test shop\ninst shop a @a")
t.wait("the feed", function()
    local state = t.status().feed.state
    return state == "live", state
end)
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
503 unavailable 1
200 a
200 b



=== Redis goes away: what is cached is served on, the rest is unavailable
--- lua
t.say(t.show("shop.test"))
t.say(t.show("absent.test"))
t.redis_stop()
t.wait("the feed to notice", function()
    local state = t.status().feed.state
    return state == "down", state
end)
t.say(t.show("shop.test"))
t.say(t.show("absent.test"))
t.say(t.show("unknown.test"))
--- response_body
200 a
404 no_route
200 a
404 no_route
503 unavailable



=== an error of Redis is not taken for an absent route
--- lua
t.redis_stop()
t.say(t.show("shop.test"))
t.redis_start()
t.publish("route shop.test shop\ninst shop a @a")
t.wait("the route", function()
    local shown = t.show("shop.test")
    return shown == "200 a", shown
end)
t.say("served")
--- response_body
503 unavailable
served



=== Redis comes back as it was: nothing was lost, and changes follow
--- lua
t.say(t.show("shop.test"))
-- what Redis holds outlives it
t.redis("CONFIG", "SET", "save", "3600 1")
t.redis("SAVE")
t.redis_stop()
t.wait("the feed to notice", function()
    return t.status().feed.state == "down"
end)
t.redis_start()
t.change("inst shop a @b")
t.say(t.show("shop.test"))
t.say(t.status().feed.state)
t.redis("CONFIG", "SET", "save", "")
os.remove(os.getenv("POINTSMAN_TEST_DIR") .. "/dump.rdb")
--- response_body
200 a
200 b
live



=== Redis comes back empty: what is cached is served, nothing becomes a 404
--- lua
t.say(t.show("shop.test"))
t.redis_stop()
t.redis_start()
t.wait("the feed to wait", function()
    local state = t.status().feed.state
    return state == "waiting", state
end)
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
-- an agent fills it again, with another instance
t.publish("route shop.test shop\ninst shop a @b")
t.wait("the new table", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say(t.show("unknown.test"))
--- response_body
200 a
200 a
503 unavailable
404 no_route



=== while the table is being built, what is found is served, and no 404 given
--- at_once
--- records
route shop.test shop
inst shop a @a
--- redis
HSET test:meta state building next 1
--- lua
t.say(t.show("shop.test"))
t.say(t.show("unknown.test"))
t.redis("HSET", t.prefix .. "meta", "state", "ready")
t.wait("the end of it", function()
    local shown = t.show("unknown.test")
    return shown == "404 no_route", shown
end)
t.say(t.show("shop.test"))
--- response_body
200 a
503 unavailable
200 a



=== a rebuild while nginx runs: served throughout, then by the new table
--- lua
t.say(t.show("shop.test"))
local meta = t.prefix .. "meta"
t.redis("HSET", meta, "state", "building", "claim", "5", "next", "0")
t.redis("DEL", t.prefix .. "route:shop.test", t.prefix .. "inst:shop")
t.wait("the feed to wait", function()
    local state = t.status().feed.state
    return state == "waiting", state
end)
t.say(t.show("shop.test"))
t.publish("route shop.test shop\ninst shop a @b", "lost")
t.redis("HSET", meta, "state", "ready")
t.wait("the new table", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say(t.show("unknown.test"))
--- response_body
200 a
200 a
404 no_route



=== Redis hangs: a miss waits no longer than its time-out, a hit not at all
--- setup
    redis_timeout = 0.3,
--- lua
t.say(t.show("shop.test"))
t.redis("CLIENT", "PAUSE", "1500", "ALL")
ngx.update_time()
local start = ngx.now()
t.say(t.show("shop.test"))
ngx.update_time()
local hit = ngx.now()
t.say(t.show("unknown.test"))
ngx.update_time()
t.say(hit - start < 0.2, " ", ngx.now() - hit < 1)
t.wait("Redis to go on", function()
    local shown = t.show("unknown.test")
    return shown == "404 no_route", shown
end)
--- response_body
200 a
200 a
503 unavailable
true true



=== a suspect record is served when Redis fails to replace it
--- hook
    local redis = require("pointsman.redis.client")
    local lookup = redis.lookup
    redis.lookup = function(...)
        if ngx.shared.testkit:get("failing") then
            return nil, "failed on purpose"
        end
        return lookup(...)
    end
--- lua
t.say(t.show("shop.test"))
t.counts:set("failing", true)
-- a gap: all that is cached comes under suspicion
t.publish("inst shop a @b", "lost")
t.change("route other.test shop")
t.say(t.show("shop.test"))
t.say(t.metric('pointsman_hits_total{level="stale"}') > 0)
t.counts:delete("failing")
t.say(t.show("shop.test"))
--- response_body
200 a
200 a
true
200 b



=== a password and a database number are used
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://:open%20sesame@127.0.0.1:$TEST_NGINX_REDIS_PORT/3",
            prefix = "test:",
        }
    }
--- redis
CONFIG SET requirepass 'open sesame'
--- lua
t.login = { "open sesame", 3 }
t.say(t.show("shop.test"))
t.publish("route shop.test shop\ninst shop a @a")
t.wait("the table in database 3", function()
    local shown = t.show("shop.test")
    return shown == "200 a", shown
end)
t.change("inst shop a @b")
t.say(t.show("shop.test"))
t.redis("CONFIG", "SET", "requirepass", "")
t.login = nil
--- response_body
503 unavailable
200 b



=== Redis is reached by a socket, too
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "unix:" .. os.getenv("POINTSMAN_TEST_DIR") .. "/redis.sock",
            prefix = "test:",
        }
    }
--- no_error_log
[error]
--- lua
t.say(t.show("shop.test"))
t.change("inst shop a @b")
t.say(t.show("shop.test"))
--- response_body
200 a
200 b



=== a wrong password is told, and nothing is served from nowhere
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://:wrong@127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- error_log
failed to authenticate
--- response_body
503 unavailable



=== a password that is rotated is read from its file again
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        local path = os.getenv("POINTSMAN_TEST_DIR") .. "/password"
        local file = assert(io.open(path, "w"))
        file:write("first\n")
        file:close()
        require("kit").shell("chmod 666 " .. path)
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            redis_password_file = path,
            prefix = "test:",
        }
    }
--- redis
CONFIG SET requirepass first
--- lua
t.login = { "first", 0 }
t.say(t.show("shop.test"))
t.redis("CONFIG", "SET", "requirepass", "second")
t.login = { "second", 0 }
local file = io.open(os.getenv("POINTSMAN_TEST_DIR") .. "/password", "w")
file:write("second\n")
file:close()
t.redis("CLIENT", "KILL", "TYPE", "normal")
t.publish("inst shop a @b\nroute cold.test shop")
t.wait("the change", function()
    local shown = t.show("shop.test")
    return shown == "200 b", shown
end)
t.say(t.show("cold.test"))
t.wait("the feed", function()
    local state = t.status().feed.state
    return state == "live", state
end)
t.redis("CONFIG", "SET", "requirepass", "")
t.login = nil
--- error_log
read a new password from
--- response_body
200 a
200 b



=== TLS to Redis is verified against the authority that nginx trusts
--- without: setup
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_TLS/ca.pem;
    init_by_lua_block {
        require("pointsman").setup {
            redis = "rediss://127.0.0.1:$TEST_NGINX_TLS_PORT",
            redis_tls_name = "app.test",
            prefix = "test:",
        }
    }
--- no_error_log
[error]
--- lua
t.say(t.show("shop.test"))
t.change("inst shop a @b\nroute cold.test shop")
t.say(t.show("shop.test"), ", ", t.show("cold.test"))
--- response_body
200 a
200 b, 200 b



=== a certificate of another name is refused
--- at_once
--- without: setup
--- http_config
    lua_ssl_trusted_certificate $TEST_NGINX_TLS/ca.pem;
    init_by_lua_block {
        require("pointsman").setup {
            redis = "rediss://127.0.0.1:$TEST_NGINX_TLS_PORT",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- error_log
failed to open TLS
--- response_body
503 unavailable



=== without an authority no certificate of Redis is trusted
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "rediss://127.0.0.1:$TEST_NGINX_TLS_PORT",
            redis_tls_name = "app.test",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- error_log
failed to open TLS
--- response_body
503 unavailable



=== the status and the metrics show for how long no agent was heard
--- redis
SET test:heard 1 EX 86341
--- lua
t.wait("the probe", function()
    local seconds = t.status().agent_silence_seconds
    return type(seconds) == "number" and seconds >= 59 and seconds < 70, seconds
end)
local seconds = t.metric("pointsman_agent_silence_seconds")
t.say(seconds >= 59 and seconds < 70)
-- an agent is there again
t.redis("SET", t.prefix .. "heard", 1, "EX", 86400)
t.wait("it to be heard", function()
    local now = t.status().agent_silence_seconds
    return now < 5, now
end)
-- and goes; the edge stays live
t.redis("SET", t.prefix .. "heard", 1, "EX", 86300)
t.wait("its silence", function()
    local now = t.status().agent_silence_seconds
    return now >= 100, now
end)
t.say(t.status().feed.state)
--- response_body
true
live



=== an edge that never heard an agent says so
--- lua
t.say(t.status().agent_silence_seconds, " ",
      pcall(t.metric, "pointsman_agent_silence_seconds"))
--- response_body_like: ^null false
