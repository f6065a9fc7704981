use TestPointsman;

run_edge_tests();

__DATA__

=== setup names all mistakes at once, and nginx does not start
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "http://127.0.0.1", prefix = "", max_misses = 0,
            redis_timeout = "soon", surprise = 1, gc_stepmul = 0,
            feed_worker = "own",
        }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
gc_stepmul must be a whole number of at least 1 and at most 1000
max_misses must be
prefix must be
redis must be
redis_timeout must be
unknown setting feed_worker
unknown setting surprise



=== setup without a table is a mistake of the caller's
--- without: setup
--- http_config
    init_by_lua_block { require("pointsman").setup() }
--- config
--- must_die
--- suppress_stderr
--- error_log
):1: pointsman.setup needs a table



=== a mistake in the environment is told by its variable's name
--- without: setup
--- main_config
    env POINTSMAN_REDIS=redis://127.0.0.1:$TEST_NGINX_REDIS_PORT;
    env POINTSMAN_MAX_MISSES=many;
--- request
GET /worker
--- error_code: 204
--- error_log
POINTSMAN_MAX_MISSES must be



=== a forgotten http include is told in one clear line
--- without: http server status location
--- config
--- request
GET /worker
--- error_code: 204
--- error_log
there is no lua_shared_dict pointsman_routes: include pointsman/http.conf



=== mistakes in what leads to Redis are told together with the others
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis+sentinel://:hidden@127.0.0.1:1,127.0.0.1:70000/one",
            redis_tls_name = 1, prefix = "",
        }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
redis must name a host and a port
redis_tls_name must be
prefix must be
--- no_error_log
hidden



=== Sentinels without the name of a master are refused
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup { redis = "redis+sentinel://127.0.0.1" }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
redis must name the master



=== a password file that cannot be read is told
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis_password_file = "/nowhere/password",
            sentinel_password = "of no Sentinel",
        }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
redis_password_file cannot be used (nginx's workers read it, too): /nowhere/password: No such file
sentinel_password is only for redis+sentinel://



=== two passwords for one Redis are refused
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://:secret@127.0.0.1",
            redis_password_file = "/dev/null",
        }
    }
--- config
--- must_die
--- suppress_stderr
--- error_log
redis_password_file must not be set beside a password



=== lua_code_cache off is refused when nginx starts
--- http_config
    lua_code_cache off;
--- config
--- must_die
--- suppress_stderr
--- error_log
lua_code_cache must not be off



=== a location with lua_code_cache off says so at each request
--- config
    location /off {
        lua_code_cache off;
        content_by_lua_block { ngx.say("never") }
    }
--- request
GET /off
--- error_code: 500
--- error_log
lua_code_cache must not be off



=== the prefix sets apart what edges read from one Redis
--- at_once
--- without: setup
--- http_config
    init_by_lua_block {
        require("pointsman").setup {
            redis = "redis://127.0.0.1:$TEST_NGINX_REDIS_PORT",
            prefix = "another:",
        }
    }
--- lua
t.say(t.show("shop.test"))
--- response_body
503 unavailable



=== the worker's table is bounded, and what falls out comes back
--- setup
    max_hosts = 256,
--- records
route *.test shop deeper=0
inst shop a @a
--- lua
local connection = t.connect()
for round = 1, 2 do
    for i = 1, 450 do
        local response = connection:request("h" .. i .. ".test")
        assert(response.body == "a\n", i)
    end
end
t.say(t.lookups())
--- response_body
1



=== the collector takes small steps
--- lua
t.say(collectgarbage("setstepmul", 40))
--- response_body
40



=== or steps of another size
--- setup: gc_stepmul = 200,
--- lua
t.say(collectgarbage("setstepmul", 200))
--- response_body
200



=== docs/operations.md names every setting
--- lua
local function names(path, from, pattern)
    local found, is_there = {}, false
    for line in io.lines(os.getenv("POINTSMAN_TEST_LIB") .. "/../../" .. path) do
        is_there = line:find(from) ~= nil or is_there and line ~= ""
        found[#found + 1] = is_there and line:match(pattern) or nil
    end
    return table.concat(found, " ")
end
local function sorted(text)
    local words = {}
    for word in text:gmatch("%S+") do
        words[#words + 1] = word
    end
    table.sort(words)
    return table.concat(words, " ")
end
local known = sorted(names("lua/pointsman/settings.lua", "^local KNOWN",
                           "^    ([%l_]+) = {.*check = "))
local documented = sorted(names("docs/operations.md", "^| setting |",
                                "^| `([%l_]+)` | [^|]* | [^|]* |$"))
t.say(#known > 100, " ", known == documented or known .. "; " .. documented)
--- response_body
true true
