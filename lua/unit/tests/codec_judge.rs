//! `pointsman.codec`: routes and policies are judged in full.

use pointsman_lua_tests::check;

/// Adds `route(rules)`, `policy(fields)`: what the codec makes of a record with
/// these.
fn check_judge(chunk: &str) {
    check(&format!(
        "{}\n{chunk}",
        r#"
        local codec = require "pointsman.codec.records"
        local function route(rules)
            return codec.route(json, '{"rev":"7","rules":' .. rules .. '}')
        end
        local function policy(fields)
            return codec.policy(json, '{"rev":"7"' .. fields .. '}')
        end
        local function bad_rule(text)
            fails(text, route('[{"path":"/",' .. text .. '}]'))
        end
        local function good_rule(text)
            local got, err = route('[{"path":"/",' .. text .. '}]')
            same(err, nil, text)
            return got.rules[1]
        end
        "#
    ));
}

#[test]
fn a_rule_with_everything_is_read_as_it_stands() {
    check_judge(
        r#"
        local got, err = route('[{"path":"/api/v1","when":[{"header":"X-Beta",'
            .. '"exact":"1"},{"cookie":"c","prefix":"v"},{"query":"q",'
            .. '"present":false},{"method":["GET","HEAD"]}],"to":[{"app":"a",'
            .. '"weight":90},{"app":"b","weight":10,"force":{"cookie":"canary",'
            .. '"present":true}}],"rewrite":"/","headers":{"request":{"set":'
            .. '{"X-A":"v","Host":"a.example"},"remove":["X-B"]},"response":'
            .. '{"remove":["Server"]}},"split_by":{"cookie":"uid"}},'
            .. '{"path":"/old","redirect":{"status":301,"scheme":"https",'
            .. '"host":"www.example.com:8443","path":"/n%C3%A4w"}},{"path":"/",'
            .. '"maintenance":{"retry_after_s":120,"body":"Bäck\\nsoon",'
            .. '"content_type":"text/plain; charset=utf-8"}}]')
        same(err, nil)
        got.json = nil
        same(got, { rev = 7, plain = false, rules = {
            { path = "/api/v1",
              when = { { header = "X-Beta", exact = "1" },
                       { cookie = "c", prefix = "v" },
                       { query = "q", present = false },
                       { method = { "GET", "HEAD" } } },
              to = { { app = "a", weight = 90 },
                     { app = "b", weight = 10,
                       force = { cookie = "canary", present = true } } },
              rewrite = "/",
              headers = { request = { set = { ["X-A"] = "v",
                                              Host = "a.example" },
                                      remove = { "X-B" } },
                          response = { remove = { "Server" } } },
              split_by = { cookie = "uid" } },
            { path = "/old", redirect = { status = 301, scheme = "https",
              host = "www.example.com:8443", path = "/n%C3%A4w" } },
            { path = "/", maintenance = { retry_after_s = 120,
              body = "Bäck\nsoon",
              content_type = "text/plain; charset=utf-8" } },
        } })
        "#,
    );
}

#[test]
fn a_weight_that_is_not_there_is_100_beside_others() {
    check_judge(
        r#"
        local to = good_rule('"to":[{"app":"a"},{"app":"b","weight":0}]').to
        same(to, { { app = "a", weight = 100 }, { app = "b", weight = 0 } })
        "#,
    );
}

#[test]
fn a_rule_that_is_not_to_the_letter_is_refused() {
    check_judge(
        r#"
        local to = '"to":[{"app":"a"}]'
        for _, text in ipairs {
            '"when":[]', to .. ',"maintenance":{}', to .. ',"later":1',
            to .. ',"when":[]', to .. ',"when":{"header":"a","exact":"1"}',
            to .. ',"when":[{"header":"a"}]', to .. ',"when":[{"exact":"a"}]',
            to .. ',"when":[{"header":"a","exact":"1","prefix":"1"}]',
            to .. ',"when":[{"header":"a","cookie":"b","exact":"1"}]',
            to .. ',"when":[{"header":"a b","exact":"1"}]',
            to .. ',"when":[{"header":"","exact":"1"}]',
            to .. ',"when":[{"header":"X_Beta","exact":"1"}]',
            to .. ',"when":[{"header":"X.Beta","present":true}]',
            to .. ',"split_by":{"header":"X_User"}',
            to .. ',"split_by":{"header":"X.User"}',
            '"to":[{"app":"a","force":{"header":"X_To","present":true}}]',
            to .. ',"when":[{"header":"a","exact":""}]',
            to .. ',"when":[{"header":"a","exact":" 1"}]',
            to .. ',"when":[{"header":"a","exact":"1\\n"}]',
            to .. ',"when":[{"header":"a","present":1}]',
            to .. ',"when":[{"header":"a","present":null}]',
            to .. ',"when":[{"header":"a","later":"1","exact":"1"}]',
            to .. ',"when":[{"query":"a=b","exact":"1"}]',
            to .. ',"when":[{"query":"a%62","exact":"1"}]',
            to .. ',"when":[{"method":"GET"}]', to .. ',"when":[{"method":[]}]',
            to .. ',"when":[{"method":["get"]}]',
            to .. ',"when":[{"method":["GET"],"present":true}]',
            to .. ',"when":[' .. ('{"method":["GET"]},'):rep(16)
                .. '{"method":["GET"]}]',
            to .. ',"rewrite":"x"', to .. ',"rewrite":"/x/"',
            to .. ',"strip_prefix":true', to .. ',"split_by":{}',
            to .. ',"split_by":{"client":false}', to .. ',"split_by":{"uri":true}',
            to .. ',"split_by":{"client":true,"cookie":"a"}',
            '"to":[]', '"to":{"app":"a"}', '"to":[{"weight":1}]',
            '"to":[{"app":"A"}]', '"to":[{"app":"a","weight":-1}]',
            '"to":[{"app":"a","weight":65536}]', '"to":[{"app":"a","weight":"1"}]',
            '"to":[{"app":"a","weight":0}]', '"to":[{"app":"a"},{"app":"a"}]',
            '"to":[{"app":"a","later":1}]', '"to":[{"app":"a"},null]',
            '"to":[{"app":"a","force":{"method":["GET"]}}]',
            '"to":[{"app":"a","force":{"query":"a","exact":"1"}}]',
            '"redirect":{}', '"redirect":{"status":302}',
            '"redirect":{"scheme":"https"}',
            '"redirect":{"status":303,"scheme":"https"}',
            '"redirect":{"status":"302","scheme":"https"}',
            '"redirect":{"status":302,"scheme":"ftp"}',
            '"redirect":{"status":302,"host":"a b"}',
            '"redirect":{"status":302,"host":"*.example.com"}',
            '"redirect":{"status":302,"host":"a.example:0"}',
            '"redirect":{"status":302,"host":"a.example\\r\\nX: y"}',
            '"redirect":{"status":302,"path":"x"}',
            '"redirect":{"status":302,"path":"/a%2"}',
            '"redirect":{"status":302,"path":"/a\\r\\nX: y"}',
            '"redirect":{"status":302,"path":"//evil.example"}',
            '"redirect":{"status":302,"path":"/x","later":1}',
            '"redirect":{"status":302,"path":"/x"},"rewrite":"/y"',
            '"maintenance":{},"headers":{}', '"maintenance":1',
            '"maintenance":{"retry_after_s":0}',
            '"maintenance":{"retry_after_s":1.5}',
            '"maintenance":{"retry_after":"2m"}',
            '"maintenance":{"body":1}', '"maintenance":{"content_type":"text"}',
            '"maintenance":{"body":"' .. ("x"):rep(4097) .. '"}',
            to .. ',"headers":{"request":{"set":{"Connection":"close"}}}',
            to .. ',"headers":{"request":{"set":{"x-forwarded-for":"1"}}}',
            to .. ',"headers":{"request":{"remove":["Host"]}}',
            to .. ',"headers":{"request":{"set":{"X-A":"a","x-a":"b"}}}',
            to .. ',"headers":{"request":{"set":{"X-A":"a"},"remove":["x-a"]}}',
            to .. ',"headers":{"request":{"set":{"X-A":"a\\r\\nX-B: b"}}}',
            to .. ',"headers":{"request":{"set":{"X A":"a"}}}',
            to .. ',"headers":{"request":{"set":{"X-A":1}}}',
            to .. ',"headers":{"request":{"set":["a"]}}',
            to .. ',"headers":{"response":{"set":{"X-Pointsman-Error":"a"}}}',
            to .. ',"headers":{"later":{}}',
        } do
            bad_rule(text)
        end
        "#,
    );
}

#[test]
fn paths_are_judged_as_an_agent_writes_them() {
    check_judge(
        r#"
        local function rule(path)
            return route('[{"path":"' .. path .. '","to":[{"app":"a"}]}]')
        end
        for _, path in ipairs {
            "", "api", "/api/", "//", "/a//b", "/a/../b", "/..", "/.", "/a/.",
            "/a?b", "/a#b", "/a b", "/a\\tb", "/a\\nb", "/\195\164", "/a%20b",
            "/" .. ("x"):rep(1024),
        } do
            fails(path, rule(path))
        end
        for _, path in ipairs {
            "/", "/api", "/a/b.c", "/...", "/a/..b", "/~x:y;z=1,2@!$&'()*+",
            "/" .. ("x"):rep(1023),
        } do
            same(select(2, rule(path)), nil, path)
        end
        fails("none", route('[{"to":[{"app":"a"}]}]'))
        "#,
    );
}

#[test]
fn rules_stand_longest_path_first_and_can_be_reached() {
    check_judge(
        r#"
        local function rules(...)
            return route("[" .. table.concat({ ... }, ",") .. "]")
        end
        local open = '{"path":"/a","to":[{"app":"a"}]}'
        local bound = '{"path":"/a","when":[{"method":["GET"]}],'
                      .. '"to":[{"app":"b"}]}'
        local last = '{"path":"/","to":[{"app":"a"}]}'
        local away = '{"path":"/a","redirect":{"status":302,"scheme":"https"}}'
        same(select(2, rules(bound, open, last)), nil)
        same(select(2, rules(bound, bound, last)), nil)
        same(select(2, rules(away, open)), nil)
        fails("out of reach", rules(open, bound))
        fails("out of reach", rules(open, open))
        fails("out of order", rules(last, open))
        fails("none", rules())
        local many = {}
        for i = 1, 65 do
            many[i] = string.format('{"path":"/%02d","to":[{"app":"a"}]}', i)
        end
        fails("65", rules(unpack(many)))
        same(select(2, rules(unpack(many, 1, 64))), nil)
        "#,
    );
}

#[test]
fn a_route_with_a_field_that_nobody_knows_is_refused() {
    check_judge(
        r#"
        fails("later", codec.route(json,
            '{"rev":"1","later":1,"rules":[{"path":"/","to":[{"app":"a"}]}]}'))
        fails("deeper", codec.route(json,
            '{"rev":"1","deeper":true,"rules":[{"path":"/","to":[{"app":"a"}]}]}'))
        "#,
    );
}

#[test]
fn only_the_simplest_route_is_plain() {
    check_judge(
        r#"
        local function plain(rules) return assert(route(rules)).plain end
        same(plain '[{"path":"/","to":[{"app":"a"}]}]', true)
        same(plain '[{"path":"/","to":[{"app":"a","weight":3}]}]', true)
        for _, rules in ipairs {
            '[{"path":"/a","to":[{"app":"a"}]}]',
            '[{"path":"/a","to":[{"app":"a"}]},{"path":"/","to":[{"app":"a"}]}]',
            '[{"path":"/","to":[{"app":"a"},{"app":"b"}]}]',
            '[{"path":"/","to":[{"app":"a"}],"rewrite":"/x"}]',
            '[{"path":"/","to":[{"app":"a"}],"headers":{}}]',
            '[{"path":"/","to":[{"app":"a"}],"when":[{"method":["GET"]}]}]',
            '[{"path":"/","to":[{"app":"a","force":{"header":"a",'
                .. '"present":true}}]}]',
            '[{"path":"/","maintenance":{}}]',
            '[{"path":"/","redirect":{"status":302,"scheme":"https"}}]',
        } do
            same(plain(rules), false, rules)
        end
        "#,
    );
}

#[test]
fn a_policy_with_everything_is_read_with_durations_in_seconds() {
    check_judge(
        r#"
        local got, err = policy(',"balance":"hash","hash_by":{"header":"X-U"},'
            .. '"retries":3,"retry_5xx":true,"retry_idempotency_key":true,'
            .. '"retry_budget":0,"deadline_ms":30000,"connect_timeout_ms":500,'
            .. '"send_timeout_ms":1,"read_timeout_ms":3600000,"max_fails":3,'
            .. '"fail_timeout_ms":1500,"fail_on":["timeout","5xx"],'
            .. '"slow_start_ms":60000,"prefer_zone":true,"max_conns":100,'
            .. '"sticky":{"ttl_ms":3600000,"with":"JSESSIONID","drain":"keep",'
            .. '"same_site":"none","path":"/app/"},"idle_timeout_ms":86400000,'
            .. '"pin_header":"X-Instance","scheme":"https",'
            .. '"server_name":"a.example"')
        same(err, nil)
        got.json = nil
        same(got, { rev = 7, plain = false, balance = "hash",
            hash_by = { header = "X-U" }, retries = 3, retry_5xx = true,
            retry_idempotency_key = true, retry_budget = 0, deadline = 30,
            connect_timeout = 0.5, send_timeout = 0.001, read_timeout = 3600,
            max_fails = 3, fail_timeout = 1.5,
            fail_on = { timeout = true, ["5xx"] = true }, slow_start = 60,
            prefer_zone = true, max_conns = 100,
            sticky = { cookie = "pointsman", ttl = 3600, with = "JSESSIONID",
                       drain = "keep", same_site = "none", path = "/app/" },
            idle_timeout = 86400,
            pin_header = "X-Instance", scheme = "https",
            server_name = "a.example" })
        same(policy(',"sticky":{}').sticky, { cookie = "pointsman" })
        same(policy(',"fail_on":[]').fail_on, {})
        same(policy(',"buffering":false').buffering, false)
        "#,
    );
}

#[test]
fn what_a_policy_does_not_say_reads_as_its_default() {
    check_judge(
        r#"
        for _, got in ipairs { policy(""), codec.policy(json, nil),
                               policy(',"pin_header":"X-I"') } do
            same(got.max_fails, 1)
            same(got.fail_on, { connect = true, timeout = true })
            same(got.retry_budget, 20)
            same(got.scheme, "http")
            same(got.buffering, true)
            same(got.idle_timeout, 3600)
            same(got.sticky, nil)
            same(got.deadline, nil)
        end
        "#,
    );
}

#[test]
fn a_policy_that_is_not_to_the_letter_is_refused() {
    check_judge(
        r#"
        for _, fields in ipairs {
            ',"later":1', ',"balance":"hash"', ',"hash_by":{"client":true}',
            ',"balance":"ewma","hash_by":{"client":true}',
            ',"balance":"hash","hash_by":{}',
            ',"balance":"hash","hash_by":{"client":1}',
            ',"balance":"hash","hash_by":{"client":true,"uri":true}',
            ',"retries":17', ',"retry_5xx":1', ',"retry_5xx":null',
            ',"retry_budget":1001', ',"retry_budget":-1',
            ',"deadline_ms":0', ',"deadline_ms":3600001', ',"deadline":"5s"',
            ',"connect_timeout_ms":1.5', ',"send_timeout_ms":"1"',
            ',"read_timeout_ms":{}', ',"max_fails":0', ',"max_fails":1001',
            ',"fail_timeout_ms":-1', ',"fail_on":["all"]', ',"fail_on":"5xx"',
            ',"fail_on":["5xx","5xx"]', ',"fail_on":{"a":"5xx"}',
            ',"slow_start_ms":999',
            ',"prefer_zone":"a"', ',"max_conns":0', ',"max_conns":65536',
            ',"sticky":true', ',"sticky":{"later":1}', ',"sticky":{"ttl_ms":999}',
            ',"sticky":{"cookie":"a b"}', ',"sticky":{"drain":"move"}',
            ',"sticky":{"with":"pointsman"}', ',"sticky":{"same_site":"Lax"}',
            ',"sticky":{"same_site":true}', ',"sticky":{"path":"app"}',
            ',"sticky":{"path":"/a;Domain=x"}', ',"sticky":{"path":"/a b"}',
            ',"sticky":{"path":"/../a"}', ',"sticky":{"path":""}',
            ',"idle_timeout_ms":999', ',"idle_timeout_ms":86400001',
            ',"idle_timeout":"1h"', ',"pin_header":"X_Instance"',
            ',"balance":"hash","hash_by":{"header":"X_User"}',
            ',"sticky":{"cookie":"a","with":"a"}', ',"pin_header":"a:b"',
            ',"scheme":"h2c"', ',"server_name":"a.example"',
            ',"scheme":"https","server_name":"10.1.2.3"',
            ',"scheme":"https","server_name":"*.example.com"',
            ',"scheme":"https","server_name":"A.example"',
            ',"buffering":0', ',"buffering":false,"retry_5xx":true',
            ',"scheme":"grpc","retry_5xx":true', ',"scheme":"grpc","sticky":{}',
            ',"scheme":"grpc","retry_idempotency_key":true',
            ',"scheme":"grpc","buffering":false',
            ',"health_check":{"type":"tcp"}',
        } do
            fails(fields, policy(fields))
        end
        "#,
    );
}

#[test]
fn only_a_round_with_nothing_that_concerns_the_pick_is_plain() {
    check_judge(
        r#"
        for _, fields in ipairs {
            "", ',"retries":0', ',"fail_timeout_ms":100', ',"max_fails":9',
            ',"fail_on":[]', ',"retry_budget":5', ',"balance":"round_robin"',
            ',"idle_timeout_ms":1000',
        } do
            same(assert(policy(fields)).plain, true, fields)
        end
        for _, fields in ipairs {
            ',"balance":"ewma"', ',"retry_5xx":true', ',"deadline_ms":1',
            ',"connect_timeout_ms":1', ',"slow_start_ms":1000',
            ',"prefer_zone":true', ',"max_conns":1', ',"sticky":{}',
            ',"pin_header":"a"', ',"scheme":"grpc"', ',"buffering":false',
            ',"retry_idempotency_key":true',
        } do
            same(assert(policy(fields)).plain, false, fields)
        end
        "#,
    );
}

#[test]
fn an_app_without_a_record_has_the_defaults_of_the_settings() {
    check_judge(
        r#"
        local defaults = '{"rev":"9","retries":4,"max_conns":5}'
        local got = codec.policy(json, nil, defaults)
        same({ got.rev, got.retries, got.max_conns }, { 9, 4, 5 })
        -- an own record is all: the agent has merged it
        got = codec.policy(json, '{"rev":"7"}', defaults)
        same({ got.rev, got.retries, got.max_conns }, { 7, 1 })
        fails("bad", codec.policy(json, nil, '{"rev":"9","later":1}'))
        "#,
    );
}

#[test]
fn an_instance_may_be_draining_or_down() {
    check_judge(
        r#"
        local function inst(extras)
            return codec.instance(json, "a",
                                  '["7","10.0.0.1:80",1,' .. extras .. ']')
        end
        local function two(peer) return { peer.draining, peer.down } end
        same(two(inst '{"draining":1,"down":1}'), { true, true })
        same(two(inst '{"draining":1}'), { true })
        same(two(inst '{"down":1,"zone":"z"}'), { nil, true })
        same(two(inst '{}'), {})
        for _, value in ipairs { "0", "2", "true", '"1"', "null", "[]" } do
            fails("draining", inst('{"draining":' .. value .. '}'))
            fails("down", inst('{"down":' .. value .. '}'))
        end
        "#,
    );
}

#[test]
fn a_pause_is_read_and_a_bad_one_is_left_out() {
    check_judge(
        r#"
        local function paused(pause)
            return codec.route(json, '{"rev":"7","rules":[{"path":"/","to":'
                .. '[{"app":"a"}]}],"pause":' .. pause .. "}")
        end
        local got = paused '{"max":5}'
        same({ got.pause, got.plain, got.ignored }, { { max = 5 }, false })
        same(codec.unpack_route(codec.pack_route(got, 9, 1), json).pause,
             { max = 5 })
        same(paused("{}").pause, { max = 1000 })
        for _, bad in ipairs { "1", "true", "null", '{"max":-1}',
                               '{"max":0.5}', '{"max":"5"}', '{"later":1}' } do
            got = paused(bad)
            same({ got.ignored, got.plain }, { "bad pause", true }, bad)
            same(got.pause, nil, bad)
        end
        same(route('[{"path":"/","to":[{"app":"a"}]}]').ignored, nil)
        "#,
    );
}

#[test]
fn a_wake_is_read_and_a_bad_one_is_left_out() {
    check_judge(
        r#"
        local got = policy ',"wake":{"url":"http://a.example:80/x?y"}'
        same({ got.wake, got.plain },
             { { url = "http://a.example:80/x?y", timeout = 30, max = 1000 },
               true })
        same(policy(',"wake":{"url":"https://[::1]:8","timeout":1.5,"max":0}')
                 .wake, { url = "https://[::1]:8", timeout = 1.5, max = 0 })
        for _, bad in ipairs { "1", "null", "{}", '{"timeout":3}',
                '{"url":"ftp://a"}', '{"url":"http://"}',
                '{"url":"http://a b"}', '{"url":"http://u:p@a/"}',
                '{"url":"http://a\\r\\nX: y"}',
                '{"url":"http://a/","timeout":0.9}',
                '{"url":"http://a/","timeout":301}',
                '{"url":"http://a/","timeout":"30s"}',
                '{"url":"http://a/","max":-1}',
                '{"url":"http://a/","later":1}' } do
            got = policy(',"retries":3,"wake":' .. bad)
            same({ got.ignored, got.retries, got.wake }, { "bad wake", 3 }, bad)
        end
        "#,
    );
}
