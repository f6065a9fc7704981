use TestPointsman;

# Pointsman beside Lua handlers of the user's own, at each level.
run_edge_tests(trouble => 1, plain_and_ruled => 1);

__DATA__

=== handlers of the user's at http level
--- without: log
--- http_config
    access_by_lua_block {
        if ngx.var.uri == "/page" and ngx.var.server_addr == "127.0.0.1" then
            ngx.shared.testkit:incr("access", 1, 0)
        end
    }
    header_filter_by_lua_block {
        if ngx.var.server_addr == "127.0.0.1" then
            ngx.header["X-Mine"] = "yes"
        end
    }
    log_by_lua_block {
        ngx.shared.testkit:incr("log", 1, 0)
        require("pointsman").log()
    }
--- config
    location / {
        include pointsman/location.conf;
    }
--- lua
for _, host in ipairs { "plain.test", "rules.test" } do
    for _ = 1, 2 do
        local before = t.counts:get("access") or 0
        local response = t.get(host, "/page")
        ngx.print(response.status, " ", response.headers["x-mine"] or "-", " ",
                  (t.counts:get("access") or 0) - before, ", ")
    end
end
t.wait("the log phases", function()
    return (t.counts:get("log") or 0) >= 4
end)
t.say(t.status().log_handler)
--- response_body
200 yes 1, 200 yes 1, 200 - 1, 200 - 1, ok


=== handlers of the user's in the server and the location
--- config
    rewrite_by_lua_block { ngx.shared.testkit:incr("server", 1, 0) }
    access_by_lua_block {
        if ngx.var.uri == "/page" then
            ngx.shared.testkit:incr("access", 1, 0)
        end
    }
    location / {
        include pointsman/proxy.conf;
        proxy_pass http://pointsman;
        rewrite_by_lua_block {
            ngx.shared.testkit:incr("location", 1, 0)
            return require("pointsman").route()
        }
        header_filter_by_lua_block { ngx.header["X-Mine"] = "yes" }
        log_by_lua_block {
            ngx.shared.testkit:incr("log", 1, 0)
            require("pointsman").log()
        }
    }
--- lua
for _, host in ipairs { "plain.test", "rules.test", "unknown.test" } do
    for _ = 1, 2 do
        local response = t.get(host, "/page")
        ngx.print(response.status, " ", response.headers["x-instance"] or "-",
                  " ", response.headers["x-mine"] or "-", ", ")
    end
end
t.wait("the log phases", function()
    -- the location's for one host, ours at http level for the other
    return (t.counts:get("log") or 0) >= 4
end)
t.say(t.counts:get("location"), " ", t.counts:get("access"), " ",
      t.status().log_handler)
--- response_body
200 a yes, 200 a yes, 200 b -, 200 b -, 404 - yes, 404 - yes, 6 4 ok


=== a handler of the user's whose server has Pointsman's location
--- config
    rewrite_by_lua_block { return require("pointsman").route() }
    location / {
        include pointsman/proxy.conf;
        proxy_pass http://pointsman;
    }
    location = /t { rewrite_by_lua_block { return }
        content_by_lua_block { require("kit").run(function(t)
            for _, host in ipairs { "plain.test", "rules.test",
                                    "unknown.test" } do
                for _ = 1, 2 do
                    local response = t.get(host)
                    ngx.print(response.status, " ",
                              response.headers["x-instance"] or "-", ", ")
                end
            end
        end) }
    }
--- request
GET /t
--- response_body chomp
200 a, 200 a, 200 b, 200 b, 404 -, 404 -, 
