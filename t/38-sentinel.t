use TestPointsman;

# A replica of the file's Redis, and a Sentinel that promotes it; see
# t/lib/sentinel.lua.
my $dir = $ENV{POINTSMAN_TEST_DIR};

$ENV{TEST_NGINX_REPLICA_PORT}
    = start_server('replica', "save ''\n");
$ENV{TEST_NGINX_SENTINEL_PORT} = start_server('sentinel', <<"_EOC_", '--sentinel');
requirepass sesame
_EOC_
$ENV{TEST_NGINX_DEAD_PORT} = free_port();

open my $out, '>', "$dir/sentinel/password" or die;
print {$out} "sesame\n";
close $out;
chmod 0755, "$dir/sentinel";

# Each block begins with the file's Redis as a master.
add_block_preprocessor(sub {
    # This runs before the harness's own.
    TestPointsman::start_redis();
    redis('REPLICAOF', 'NO', 'ONE');
});

# The Redis that a block ends is missed in nginx's log.
run_edge_tests(trouble => 1);

__DATA__

=== a replica that is promoted because the master died is followed
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_DEAD_PORT,"
                    .. "127.0.0.1:$TEST_NGINX_SENTINEL_PORT/table",
            sentinel_password_file = os.getenv("POINTSMAN_TEST_DIR")
                                     .. "/sentinel/password",
            prefix = "test:",
        }
    }
--- lua
local here, there = t.redis_port, $TEST_NGINX_REPLICA_PORT
local sentinel = require("sentinel").new(t, $TEST_NGINX_SENTINEL_PORT)
sentinel:watch(here, there)
t.say(t.show("shop.test"))
t.redis_stop()
t.redis_port = there
sentinel:promoted(there)
t.change("inst shop a @b\nroute cold.test shop\nroute *.test shop deeper=1")
t.say(t.show("shop.test"), ", ", t.show("cold.test"), ", ",
      t.show("other.test"))
t.redis_port = here
t.redis_start()
--- timeout: 60
--- response_body
200 a
200 b, 200 b, 200 b



=== a master that becomes a replica is left
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_DEAD_PORT,"
                    .. "127.0.0.1:$TEST_NGINX_SENTINEL_PORT/table",
            sentinel_password_file = os.getenv("POINTSMAN_TEST_DIR")
                                     .. "/sentinel/password",
            prefix = "test:",
        }
    }
--- lua
local here, there = t.redis_port, $TEST_NGINX_REPLICA_PORT
local sentinel = require("sentinel").new(t, $TEST_NGINX_SENTINEL_PORT)
sentinel:watch(here, there)
t.say(t.show("shop.test"))
sentinel:command("SENTINEL", "FAILOVER", "table")
t.redis_port = there
sentinel:promoted(there)
t.change("inst shop a @b\nroute cold.test shop")
t.say(t.show("shop.test"), ", ", t.show("cold.test"), ", ",
      t.status().feed.state)
--- timeout: 60
--- response_body
200 a
200 b, 200 b, live



=== the server that Sentinels name is followed, though the old one still answers
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_DEAD_PORT,"
                    .. "127.0.0.1:$TEST_NGINX_SENTINEL_PORT/table",
            sentinel_password_file = os.getenv("POINTSMAN_TEST_DIR")
                                     .. "/sentinel/password",
            prefix = "test:",
        }
    }
--- lua
local here, there = t.redis_port, $TEST_NGINX_REPLICA_PORT
local sentinel = require("sentinel").new(t, $TEST_NGINX_SENTINEL_PORT)
sentinel:watch(here, there)
t.say(t.show("shop.test"))
t.redis_port = there
t.redis("REPLICAOF", "NO", "ONE")
sentinel:monitor(there)
t.change("inst shop a @b\nroute cold.test shop")
t.say(t.show("shop.test"), ", ", t.show("cold.test"))
--- timeout: 60
--- response_body
200 a
200 b, 200 b



=== Sentinels that were silent are asked again once the master is gone
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_DEAD_PORT,"
                    .. "127.0.0.1:$TEST_NGINX_SENTINEL_PORT/table",
            sentinel_password_file = os.getenv("POINTSMAN_TEST_DIR")
                                     .. "/sentinel/password",
            prefix = "test:", redis_timeout = 0.3,
        }
    }
--- lua
local here, there = t.redis_port, $TEST_NGINX_REPLICA_PORT
local sentinel = require("sentinel").new(t, $TEST_NGINX_SENTINEL_PORT)
sentinel:watch(here, there)
t.say(t.show("shop.test"))
sentinel:signal("STOP")
-- the first lookup after a second asks them in vain; the known master is used
t.sleep(1.1)
t.say(t.show("unknown.test"))
sentinel:signal("CONT")
t.redis_port = there
t.redis("REPLICAOF", "NO", "ONE")
sentinel:monitor(there)
t.redis_port = here
t.redis_stop()
t.redis_port = there
t.change("inst shop a @b\nroute cold.test shop")
t.say(t.show("shop.test"), ", ", t.show("cold.test"))
t.redis_port = here
t.redis_start()
--- timeout: 60
--- response_body
200 a
404 no_route
200 b, 200 b



=== a wrong password of the Sentinel is told
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_SENTINEL_PORT/table",
            sentinel_password = "open",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- error_log
no Sentinel names the master
failed to authenticate
--- response_body
503 unavailable



=== a name that no Sentinel knows is told
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://127.0.0.1:$TEST_NGINX_SENTINEL_PORT/chair",
            sentinel_password = "sesame",
            prefix = "test:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- error_log
knows no master called "chair"
--- response_body
503 unavailable
