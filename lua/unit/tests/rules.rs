//! `pointsman.rules`: which rule a request meets, and what becomes of it.

use pointsman_lua_tests::check;

/// Adds `compile(rules)`, of a record's JSON, which the codec has judged, and
/// `request { path = …, … }`.
fn check_rules(chunk: &str) {
    check(&format!(
        "{}\n{chunk}",
        r#"
        local codec = require "pointsman.codec.records"
        local rules = require "pointsman.routing.rules"
        local function compile(text)
            local route, err = codec.route(json,
                                           '{"rev":"7","rules":' .. text .. '}')
            return rules.compile(assert(route, err).rules)
        end
        local function request(given)
            -- a value, or an array of several
            local function of(field)
                return function(name, accept, by)
                    local value = given[field] and given[field][name]
                    if type(value) ~= "table" then
                        return value and (not accept or accept(value, by))
                               and value or nil
                    end
                    for _, one in ipairs(value) do
                        if not accept or accept(one, by) then return one end
                    end
                end
            end
            local function get(field, default)
                return function() return given[field] or default end
            end
            return {
                path = get("path", "/"), method = get("method", "GET"),
                header = of "headers", cookie = of "cookies",
                query = of "query", client = get("client", "10.0.0.1"),
                random = function() return math.random() end,
                scheme = get("scheme", "http"), uri = get("uri", "/"),
                host = get("host", "shop.example"),
                authority = get("authority", "shop.example:8080"),
                args = get("args"),
            }
        end
        local function app_of(compiled, given)
            local req = request(given)
            local rule = rules.find(compiled, req)
            return rule and rules.target(rule, req)
        end
        -- who got how many of n users
        local function shares(compiled, n, usable, users)
            local counts, req = {}, request {}
            local user
            req.cookie = function() return user end
            for i = 1, n do
                user = users and "user " .. i or nil
                local app = rules.target(compiled[1], req, usable)
                counts[app] = (counts[app] or 0) + 1
            end
            return counts
        end
        local function near(got, n, p)
            local bound = 5 * math.sqrt(n * p * (1 - p))
            if math.abs(got - n * p) > bound then
                error(got .. " of " .. n .. ", not " .. n * p .. " +- "
                      .. bound, 2)
            end
        end
        math.randomseed(5)
        "#
    ));
}

#[test]
fn a_path_matches_on_the_borders_of_segments_the_longest_first() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/api/v1","to":[{"app":"v1"}]},'
            .. '{"path":"/api","to":[{"app":"api"}]},'
            .. '{"path":"/","to":[{"app":"site"}]}]')
        for path, app in pairs {
            ["/"] = "site", ["/x"] = "site", ["/apix"] = "site",
            ["/ap"] = "site", ["/api"] = "api", ["/api/"] = "api",
            ["/api/x"] = "api", ["/api/v1"] = "v1", ["/api/v1/"] = "v1",
            ["/api/v10"] = "api", ["/api/v1/x/y"] = "v1", ["/API"] = "site",
            ["/x/api"] = "site", ["/api-v1"] = "site", [""] = "site",
        } do
            same(app_of(compiled, { path = path }), app, path)
        end
        compiled = compile '[{"path":"/api","to":[{"app":"api"}]}]'
        same(app_of(compiled, { path = "/" }), nil)
        "#,
    );
}

#[test]
fn all_conditions_must_hold_and_rules_are_tried_in_their_order() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","when":[{"header":"X-Beta",'
            .. '"exact":"1"},{"method":["GET","HEAD"]}],"to":[{"app":"a"}]},'
            .. '{"path":"/","when":[{"cookie":"c","prefix":"v2."}],'
            .. '"to":[{"app":"b"}]},'
            .. '{"path":"/","when":[{"query":"q","present":true}],'
            .. '"to":[{"app":"c"}]},'
            .. '{"path":"/","when":[{"query":"r","present":true},'
            .. '{"header":"X-No","present":false}],"to":[{"app":"d"}]}]')
        for _, case in ipairs {
            { {}, nil },
            { { headers = { ["X-Beta"] = "1" } }, "a" },
            { { headers = { ["X-Beta"] = "1" }, method = "HEAD" }, "a" },
            { { headers = { ["X-Beta"] = "1" }, method = "POST" }, nil },
            { { headers = { ["X-Beta"] = "12" } }, nil },
            { { cookies = { c = "v2.7" } }, "b" },
            { { cookies = { c = "v2." } }, "b" },
            { { cookies = { c = "v2" } }, nil },
            { { cookies = { c = "v1.v2." } }, nil },
            { { cookies = { c = "v2.7" }, headers = { ["X-Beta"] = "1" } },
              "a" },
            { { query = { q = "" } }, "c" },
            { { query = { q = "x", r = "y" } }, "c" },
            { { query = { r = "y" } }, "d" },
            { { query = { r = "y" }, headers = { ["X-No"] = "" } }, nil },
        } do
            same(app_of(compiled, case[1]), case[2])
        end
        "#,
    );
}

#[test]
fn a_condition_holds_if_one_of_several_values_fits() {
    check_rules(
        r#"
        local function holds(condition, given)
            local compiled = compile('[{"path":"/","when":[{' .. condition
                                     .. '}],"to":[{"app":"a"}]}]')
            return app_of(compiled, given) == "a"
        end
        for _, kind in ipairs { "header", "cookie", "query" } do
            for _, case in ipairs {
                { '"exact":"1"', { "0", "1" }, true },
                { '"exact":"1"', { "1", "0" }, true },
                { '"exact":"1"', { "0", "2" }, false },
                { '"exact":"1"', { "" }, false },
                { '"prefix":"b-"', { "a-1", "b-1" }, true },
                { '"prefix":"b-"', { "a-b-", "" }, false },
                { '"present":true', { "" }, true },
                { '"present":true', {}, false },
                { '"present":false', {}, true },
                { '"present":false', { "", "1" }, false },
            } do
                local field = ({ header = "headers", cookie = "cookies",
                                 query = "query" })[kind]
                local text = '"' .. kind .. '":"n",' .. case[1]
                same(holds(text, { [field] = { n = case[2] } }), case[3],
                     text .. " " .. table.concat(case[2], "|"))
            end
        end
        "#,
    );
}

#[test]
fn each_element_of_a_header_that_is_a_list_is_compared() {
    check_rules(
        r#"
        local function holds(test, value, kind)
            local compiled = compile('[{"path":"/","when":[{"'
                .. (kind or "header") .. '":"n",' .. test
                .. '}],"to":[{"app":"a"}]}]')
            local given = { headers = { n = value }, cookies = { n = value } }
            return app_of(compiled, given) == "a"
        end
        for value, fits in pairs {
            ["0, 1"] = true, ["0,1"] = true, ["1 ,0"] = true, ["0,\t1\t"] = true,
            ["1"] = true, [", ,1"] = true, ["0, 11"] = false, ["0 1"] = false,
            ["1 1, 0"] = false, [","] = false,
        } do
            same(holds('"exact":"1"', value), fits, value)
        end
        same(holds('"exact":"a, b"', "a, b"), true)
        same(holds('"prefix":"b-"', "a-1, b-1"), true)
        same(holds('"prefix":"b-"', "a-1 b-1"), false)
        same(holds('"exact":"1"', "0, 1", "cookie"), false)
        "#,
    );
}

#[test]
fn an_empty_key_of_a_split_is_no_key() {
    check_rules(
        r#"
        for kind, field in pairs { header = "headers", cookie = "cookies" } do
            local compiled = compile('[{"path":"/","to":[{"app":"a"},'
                .. '{"app":"b"}],"split_by":{"' .. kind .. '":"uid"}}]')
            local counts = {}
            for _ = 1, 400 do
                local app = app_of(compiled, { [field] = { uid = "" } })
                counts[app] = (counts[app] or 0) + 1
            end
            near(counts.a or 0, 400, 0.5)
            -- the first that is not empty
            local app = app_of(compiled, { [field] = { uid = "user 1" } })
            for _ = 1, 20 do
                same(app_of(compiled, { [field] = { uid = { "", "user 1" } } }),
                     app)
            end
        end
        "#,
    );
}

#[test]
fn ten_thousand_requests_are_split_by_weight() {
    check_rules(
        r#"
        for _, by in ipairs { "", ',"split_by":{"cookie":"uid"}' } do
            local compiled = compile('[{"path":"/","to":[{"app":"a",'
                .. '"weight":70},{"app":"b","weight":25},{"app":"c",'
                .. '"weight":5},{"app":"d","weight":0}]' .. by .. '}]')
            -- with a value that splits, and without one
            for _, users in ipairs { false, true } do
                local counts = shares(compiled, 10000, nil, users)
                near(counts.a, 10000, 0.70)
                near(counts.b, 10000, 0.25)
                near(counts.c, 10000, 0.05)
                same(counts.d, nil)
            end
        end
        "#,
    );
}

#[test]
fn a_user_stays_on_one_side_by_cookie_header_or_address() {
    check_rules(
        r#"
        for by, field in pairs {
            ['"cookie":"uid"'] = "cookies", ['"header":"uid"'] = "headers",
            ['"client":true'] = "client",
        } do
            local compiled = compile('[{"path":"/","to":[{"app":"a"},'
                .. '{"app":"b"}],"split_by":{' .. by .. '}}]')
            local seen = {}
            for i = 1, 200 do
                local value = "user " .. i
                local given = { [field] = field == "client" and value
                                          or { uid = value } }
                local app = app_of(compiled, given)
                seen[app] = true
                for _ = 1, 5 do
                    same(app_of(compiled, given), app)
                end
            end
            same(seen, { a = true, b = true })
        end
        "#,
    );
}

#[test]
fn when_weights_change_users_move_to_the_side_that_gained_only() {
    check_rules(
        r#"
        local function split(a, b, c)
            return compile(string.format('[{"path":"/","to":[{"app":"a",'
                .. '"weight":%d},{"app":"b","weight":%d},{"app":"c",'
                .. '"weight":%d}],"split_by":{"cookie":"u"}}]', a, b, c))
        end
        local before, after = split(80, 10, 10), split(70, 20, 10)
        local more = split(80, 10, 110)
        local n, moved = 10000, 0
        for i = 1, n do
            local given = { cookies = { u = "user " .. i } }
            local was, is = app_of(before, given), app_of(after, given)
            if was ~= is then
                moved = moved + 1
                assert(was == "a" or is == "b", was .. " to " .. is)
            end
            local third = app_of(more, given)
            if third ~= was then same(third, "c") end
        end
        -- a lost a tenth of all, b gained it; some of c's stayed c's
        assert(moved > 0.08 * n and moved < 0.13 * n, moved)
        "#,
    );
}

#[test]
fn apps_without_a_usable_instance_are_left_out_of_a_split() {
    check_rules(
        r#"
        for _, by in ipairs { "", ',"split_by":{"cookie":"uid"}' } do
            local compiled = compile('[{"path":"/","to":[{"app":"a",'
                .. '"weight":70},{"app":"b","weight":20},{"app":"c",'
                .. '"weight":10}]' .. by .. '}]')
            local function not_a(app) return app ~= "a" end
            local counts = shares(compiled, 10000, not_a, true)
            same(counts.a, nil)
            near(counts.b, 10000, 2 / 3)
            same(shares(compiled, 100, function(app) return app == "c" end,
                        true), { c = 100 })
            local req = request { cookies = { uid = "1" } }
            same(rules.target(compiled[1], req, function() return false end),
                 nil)
        end
        local one = compile '[{"path":"/x","to":[{"app":"a"}]}]'
        same(rules.target(one[1], request {}, function() return false end), nil)
        same(rules.target(one[1], request {}, function() return true end), "a")
        "#,
    );
}

#[test]
fn a_target_that_is_forced_comes_before_the_split_usable_or_not() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","to":[{"app":"a"},'
            .. '{"app":"b","weight":0,"force":{"header":"X-To","exact":"b"}},'
            .. '{"app":"c","weight":0,"force":{"cookie":"c","present":true}}],'
            .. '"split_by":{"cookie":"uid"}}]')
        local function none() return false end
        local function target(given, usable)
            return rules.target(compiled[1], request(given), usable)
        end
        same(target {}, "a")
        same(target { headers = { ["X-To"] = "b" } }, "b")
        same(target({ headers = { ["X-To"] = "b" } }, none), "b")
        same(target { headers = { ["X-To"] = "c" } }, "a")
        same(target { cookies = { c = "1" } }, "c")
        same(target { cookies = { c = "1" }, headers = { ["X-To"] = "b" } },
             "b")
        same(target({}, none), nil)
        same(target({}, function(app) return app ~= "a" end), nil)
        compiled = compile('[{"path":"/","to":[{"app":"a"},{"app":"b"},'
            .. '{"app":"c","weight":0}]}]')
        same(target({}, function(app) return app == "c" end), nil)
        "#,
    );
}

#[test]
fn the_side_of_a_session_comes_after_what_is_forced_and_before_the_split() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/x","to":[{"app":"d"}]},'
            .. '{"path":"/","to":[{"app":"a"},{"app":"b",'
            .. '"force":{"header":"X-To","exact":"b"}},{"app":"c",'
            .. '"weight":0}],"split_by":{"client":true}}]')
        local all = {}
        local function usable(app) return app ~= "none" end
        local side, asked
        local function session_of(targets, apps, is_usable)
            asked = {}
            for i, target in ipairs(targets) do asked[i] = target.app end
            assert(apps == all and is_usable == usable)
            return side
        end
        local function target(rule, given)
            asked = nil
            return rules.target(compiled[rule], request(given or {}), usable,
                                session_of, all)
        end
        local split = target(2)
        -- a target of weight 0 has no sessions
        same(asked, { "a", "b" })
        for _, app in ipairs { "a", "b" } do
            side = app
            same(target(2), app)
        end
        side = "a"
        same(target(2, { headers = { ["X-To"] = "b" } }), "b")
        same(target(1), "d")
        same(asked, nil)
        side = nil
        same(target(2), split)
        "#,
    );
}

#[test]
fn the_side_of_a_user_says_nothing_about_the_instance() {
    check_rules(
        r#"
        local chash = require "pointsman.balance.chash"
        local compiled = compile('[{"path":"/","to":[{"app":"i1"},'
            .. '{"app":"i2"}],"split_by":{"cookie":"u"}}]')
        local picker = chash.new({ { id = "i1", weight = 1 },
                                   { id = "i2", weight = 1 } }, 0)
        local both = 0
        for i = 1, 10000 do
            local user = "user " .. i
            local app = app_of(compiled, { cookies = { u = user } })
            local id = picker:pick(nil, { key = user }).id
            both = both + (app == id and 1 or 0)
        end
        near(both, 10000, 0.5)
        "#,
    );
}

#[test]
fn what_matched_is_stripped_or_replaced() {
    check_rules(
        r#"
        for _, case in ipairs {
            -- path of the rule, rewrite, path of the request, of the app
            { "/api", "/", "/api/x/y", "/x/y" }, { "/api", "/", "/api", "/" },
            { "/api", "/", "/api/", "/" }, { "/api", "/new", "/api", "/new" },
            { "/api", "/new", "/api/", "/new/" },
            { "/api", "/new", "/api/x", "/new/x" },
            { "/", "/new", "/", "/new/" }, { "/", "/new", "/x", "/new/x" },
            { "/api", "/api/v2", "/api/x", "/api/v2/x" },
        } do
            local compiled = compile(string.format('[{"path":"%s","to":'
                .. '[{"app":"a"}],"rewrite":"%s"}]', case[1], case[2]))
            same(rules.path(compiled[1], case[3]), case[4])
            same(compiled[1].full, true)
        end
        local plain = compile '[{"path":"/api","to":[{"app":"a"}]}]'
        same(rules.path(plain[1], "/api/x"), "/api/x")
        same(plain[1].full, false)
        "#,
    );
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    check_rules(
        r#"
        local given = { uri = "/a%20b", args = "x=1&y", scheme = "http" }
        local function to(redirect)
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. redirect .. '}}]')
            local rule = rules.find(compiled, request(given))
            same(rule.redirect.status, 301)
            same(rule.full, true)
            return rules.location(rule, request(given))
        end
        -- a port belongs to its scheme
        same(to '"scheme":"https"', "https://shop.example/a%20b?x=1&y")
        same(to '"host":"www.example"', "http://www.example/a%20b?x=1&y")
        same(to '"host":"www.example:81"', "http://www.example:81/a%20b?x=1&y")
        same(to '"path":"/new"', "http://shop.example:8080/new?x=1&y")
        same(to '"scheme":"https","host":"w.example","path":"/n"',
             "https://w.example/n?x=1&y")
        given.args = nil
        same(to '"path":"/new"', "http://shop.example:8080/new")
        "#,
    );
}

#[test]
fn a_redirect_to_where_the_request_came_from_is_passed_over() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","redirect":{"status":301,'
            .. '"scheme":"https","host":"www.example"}},'
            .. '{"path":"/","to":[{"app":"site"}]}]')
        local function leads(given)
            return rules.find(compiled, request(given)).redirect ~= nil
        end
        same(leads { scheme = "http", authority = "www.example" }, true)
        same(leads { scheme = "https", authority = "example" }, true)
        same(leads { scheme = "https", authority = "www.example" }, false)
        compiled = compile '[{"path":"/a","redirect":{"status":302,"path":"/a"}}]'
        same(rules.find(compiled, request { path = "/a", uri = "/a" }), nil)
        assert(rules.find(compiled, request { path = "/a/b", uri = "/a/b" }))
        "#,
    );
}

#[test]
fn a_path_is_compared_as_a_browser_would_send_it() {
    check_rules(
        r#"
        local function ends(path, uri)
            path = path:gsub('["\\]', "\\%0")
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. '"path":"' .. path .. '"}}]')
            return rules.find(compiled, request { uri = uri }) == nil
        end
        for _, case in ipairs {
            -- a redirect's path, and what browsers ask for then
            { "/a{b}", "/a%7Bb%7D" }, { '/a\"b', "/a%22b" }, { "/a<b>", "/a%3Cb%3E" },
            { "/a`b", "/a%60b" }, { "/a|b", "/a|b" }, { "/a^b", "/a%5Eb" },
            { "/a^b", "/a^b" }, { "/a%7bb", "/a%7bb" }, { "/a%7bb", "/a%7Bb" },
            { "/x/%2e%2E/y", "/y" }, { "/x/.%2e", "/" }, { "/x/%2e", "/x/" },
            { "/x/y/%2e%2e", "/x/" }, { "/%7Euser", "/%7Euser" },
            { "/%7Euser", "/~user" }, { "/%61", "/a" }, { "/a\\b", "/a/b" },
            { "/a%C3%A4", "/a%c3%a4" }, { "/a%C3%A4", "/a\195\164" },
            { "/.well-known/a", "/.well-known/a" }, { "/a/...", "/a/..." },
            { "/a%2Fb", "/a%2fb" }, { "/a%25b", "/a%25b" }, { "/", "/%2e%2e" },
            { "/a/", "/a/" },
        } do
            same(ends(case[1], case[2]), true, case[1] .. " by " .. case[2])
        end
        for _, case in ipairs {
            { "/a", "/a/" }, { "/a%2Fb", "/a/b" }, { "/a", "/A" }, { "/a", "/b" },
            { "/a%25b", "/a%b" }, { "/a;b", "/a" },
        } do
            same(ends(case[1], case[2]), false, case[1] .. " by " .. case[2])
        end
        "#,
    );
}

#[test]
fn the_location_is_written_as_a_browser_would_send_it() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                 .. '"path":"/x/%2e%2e/a{b}%7e"}}]')
        same(rules.location(compiled[1], request {}),
             "http://shop.example:8080/a%7Bb%7D~")
        "#,
    );
}

#[test]
fn a_host_is_compared_without_the_port_that_browsers_leave_out() {
    check_rules(
        r#"
        local function ends(redirect, scheme, authority)
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. redirect .. '}}]')
            return rules.find(compiled, request { scheme = scheme,
                              authority = authority }) == nil
        end
        local secure = '"scheme":"https","host":"w.example:443"'
        same(ends(secure, "https", "w.example"), true)
        same(ends(secure, "https", "w.example:443"), true)
        same(ends(secure, "https", "W.Example"), true)
        same(ends(secure, "http", "w.example"), false)
        same(ends(secure, "https", "w.example:8443"), false)
        same(ends('"host":"w.example:80"', "http", "w.example"), true)
        same(ends('"host":"w.example:443"', "http", "w.example"), false)
        same(ends('"host":"w.example"', "https", "w.example:443"), true)
        same(ends('"host":"[2001:db8::1]"', "http", "[2001:db8::1]:80"), true)
        same(ends('"host":"[2001:db8::80]"', "http", "[2001:db8::80]"), true)
        "#,
    );
}

#[test]
fn maintenance_and_headers_are_handed_on() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/m","maintenance":'
            .. '{"retry_after_s":120,"body":"soon"}},{"path":"/","to":'
            .. '[{"app":"a"}],"headers":{"request":{"set":{"X-B":"2",'
            .. '"X-A":"1"}},"response":{"remove":["Server"]}}}]')
        local rule = rules.find(compiled, request { path = "/m/x" })
        same(rule.maintenance, { retry_after_s = 120, body = "soon" })
        same(rule.full, true)
        rule = rules.find(compiled, request {})
        same(rule.request_headers,
             { set = { "X-A", "1", "X-B", "2" }, remove = {} })
        same(rule.response_headers, { set = {}, remove = { "Server" } })
        same(rule.full, true)
        "#,
    );
}

#[test]
fn a_request_makes_no_garbage() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/api/v1","when":[{"header":"X-B",'
            .. '"prefix":"1"},{"method":["GET"]}],"to":[{"app":"a"}]},'
            .. '{"path":"/api","to":[{"app":"a","force":{"cookie":"c",'
            .. '"exact":"1"}},{"app":"b"},{"app":"c"}],'
            .. '"split_by":{"cookie":"uid"}}]')
        local req = request { path = "/api/v1/x", cookies = { uid = "u" },
                              headers = { ["X-B"] = "2" } }
        local function usable(app) return app ~= "b" end
        jit.off()
        local function run(n)
            for _ = 1, n do
                assert(rules.target(rules.find(compiled, req), req, usable))
            end
        end
        run(10)
        collectgarbage()
        collectgarbage "stop"
        local before = collectgarbage "count"
        run(1000)
        local bytes = (collectgarbage "count" - before) * 1024
        collectgarbage "restart"
        assert(bytes < 1000, bytes .. " bytes in 1,000 requests")
        "#,
    );
}
