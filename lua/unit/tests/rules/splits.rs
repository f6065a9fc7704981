//! Splits between apps.

use super::check_rules;

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
