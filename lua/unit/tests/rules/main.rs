//! `pointsman.rules`: which rule a request meets, and what becomes of it.

mod redirects;
mod splits;

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
