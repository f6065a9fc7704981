//! `pointsman.codec`: the cache's text form of what is not plain, and changes
//! in an app's text.

use pointsman_lua_tests::check;

fn check_text(chunk: &str) {
    check(&format!(
        "{}\n{chunk}",
        r#"
        local codec = require "pointsman.codec.records"
        local function peer(id, rev, extras)
            return codec.instance(json, id, string.format(
                '["%d","10.0.0.1:80",100%s]', rev,
                extras and "," .. extras or ""))
        end
        local function app_of(n, raw)
            local peers = {}
            for i = 1, n do
                peers[i] = peer(string.format("i%03d", i), i)
            end
            return { name = "shop", policy = codec.policy(json, raw),
                     peers = peers }
        end
        local line_of = require("pointsman.codec.instance").line
        local function edit(text, policy, edits, asof, v)
            local by_line = {}
            for id, one in pairs(edits) do
                by_line[id] = one and line_of(one)
            end
            return codec.edit_app(text, policy, by_line, asof, v)
        end
        local function never() error("JSON was read") end
        -- without what unpack_app keeps for the next time
        local function bare(app)
            return { name = app.name, policy = app.policy, peers = app.peers }
        end
        "#
    ));
}

#[test]
fn a_plain_route_has_no_json() {
    check_text(
        r#"
        local route = codec.route(json,
            '{"rev":"7","deeper":1,"rules":[{"path":"/","to":[{"app":"a"}]}]}')
        same(codec.pack_route(route, 9, 2), "r 9 2 1 a 1\n")
        local got, asof, v = codec.unpack_route("r 9 2 1 a 1\n", never)
        route.rev = nil
        same(got, route)
        same({ asof, v }, { 9, 2 })
        "#,
    );
}

#[test]
fn an_app_is_its_policy_and_a_line_for_each_instance() {
    check_text(
        r#"
        local app = app_of(2, '{"rev":"3",\n"retries":2}')
        local text = 'a 9 2 shop\n{"rev":"3", "retries":2}\n'
                     .. "i001 1 10.0.0.1:80 100\ni002 2 10.0.0.1:80 100\n"
        same(codec.pack_app(app, 9, 2), text)
        same(bare(codec.unpack_app(text, json)), app)
        app.policy = codec.policy(json)
        text = "a 9 2 shop\n-\n" .. text:match("\n.-\n(.*)$")
        same(codec.pack_app(app, 9, 2), text)
        same(bare(codec.unpack_app(text, never)), app)
        for _, broken in ipairs { "", "a 9 2 shop\n", text:sub(1, -2),
                                  text .. "\n", text .. "i003\n",
                                  "r 9 2 1 a 1\n" } do
            fails("broken", codec.unpack_app(broken, never))
        end
        "#,
    );
}

#[test]
fn others_carry_their_json_on_one_line() {
    check_text(
        r#"
        local raw = '{"rev":"7","deeper":0,\n\t"rules":[{"path":"/a",\r\n"to":'
            .. '[{"app":"a"}]},{"path":"/","maintenance":{"body":"x\\ny"}}]}'
        local route = codec.route(json, raw)
        local text = codec.pack_route(route, 9, 2)
        same(select(2, text:gsub("\n", "")), 1)
        local got, asof, v = codec.unpack_route(text, json)
        same(got, route)
        same({ asof, v }, { 9, 2 })
        same(got.rules[2].maintenance.body, "x\ny")

        local app = app_of(3, '{"rev":"7",\n"max_conns":5,"fail_on":[]}')
        text = codec.pack_app(app, 9, 2)
        got, asof, v = codec.unpack_app(text, json)
        same(bare(got), app)
        same({ asof, v, got.policy.max_conns }, { 9, 2, 5 })
        "#,
    );
}

#[test]
fn zones_and_flags_survive_the_cache() {
    check_text(
        r#"
        local app = app_of(0)
        for i, extras in ipairs {
            '{}', '{"draining":1}', '{"down":1}', '{"draining":1,"down":1}',
            '{"zone":"z"}', '{"zone":"d","draining":1}', '{"zone":"x","down":1}',
            '{"zone":"dx","draining":1,"down":1}', '{"zone":"dx"}',
        } do
            app.peers[i] = assert(peer("i" .. i, i, extras))
        end
        same(bare(codec.unpack_app(codec.pack_app(app, 9, 2), never)), app)
        "#,
    );
}

/// Random changes, in the text and in the table: both must say the same.
#[test]
fn changes_in_the_text_are_as_reading_and_writing_all() {
    check_text(
        r#"
        math.randomseed(7)
        local random = math.random
        for round = 1, 400 do
            local raw = random(2) == 1 and '{"rev":"3","max_conns":5}' or nil
            local app = app_of(random(0, 40), raw)
            local text = codec.pack_app(app, 9, 2)
            local by_id = {}
            for _, one in ipairs(app.peers) do by_id[one.id] = one end

            local edits = {}
            for _ = 1, random(0, 6) do
                -- some are there, some are not, some are at the ends
                local id = ({ "a", "z", "i" .. random(100, 999),
                              string.format("i%03d", random(45)),
                              string.format("i%03d", random(45)) .. "x",
                              string.format("i%02d", random(9)),
                            })[random(6)]
                edits[id] = random(3) > 1
                            and peer(id, 100 + round, '{"zone":"z"}') or false
                by_id[id] = edits[id] or nil
            end
            local policy = random(3) == 1 and codec.policy(json,
                random(2) == 1 and '{"rev":"8","retry_budget":1}'
                or '{"rev":"8","retries":2}') or nil

            app.policy = policy or app.policy
            app.peers = {}
            for _, one in pairs(by_id) do
                app.peers[#app.peers + 1] = one
            end
            codec.sort_peers(app.peers)
            same(edit(text, policy, edits, 10, 3),
                 codec.pack_app(app, 10, 3))
        end
        "#,
    );
}

#[test]
fn what_is_no_id_takes_no_instance_out_of_the_text() {
    check_text(
        r#"
        local app = app_of(3)
        local text = codec.pack_app(app, 9, 2)
        same(codec.edit_app(text, nil, { ["i002 2"] = false, [""] = false,
             ["i002 2 10.0.0.1"] = false, ["i001\n"] = false }, 9, 2), text)
        "#,
    );
}

#[test]
fn what_did_not_change_is_not_read_again() {
    check_text(
        r#"
        local app = app_of(50, '{"rev":"3","max_conns":5}')
        local text = codec.pack_app(app, 9, 2)
        local first = codec.unpack_app(text, json)
        same(bare(first), app)

        local edits = { i007 = peer("i007", 100), i020 = false,
                        i020x = peer("i020x", 101), a = peer("a", 102),
                        z = peer("z", 103), i050 = false }
        text = edit(text, nil, edits, 10, 2)
        local second = codec.unpack_app(text, never, first)
        same(bare(second), bare(codec.unpack_app(text, json)))
        assert(second.policy == first.policy)
        local same_ones, old = 0, {}
        for _, one in ipairs(first.peers) do old[one] = true end
        for _, one in ipairs(second.peers) do
            same_ones = same_ones + (old[one] and 1 or 0)
        end
        -- three of fifty changed or went
        same(same_ones, 47)

        local policy = codec.policy(json, '{"rev":"5","max_conns":6}')
        local third = codec.unpack_app(
            codec.edit_app(text, policy, {}, 11, 2), json, second)
        same(third.policy, policy)
        same(third.peers, second.peers)

        -- another stamp alone changes nothing
        local fourth, asof, v = codec.unpack_app(
            codec.edit_app(text, policy, {}, 12, 3), never, third)
        assert(fourth == third and asof == 12 and v == 3)

        -- and nothing of the old one is left where all has changed
        local other = codec.pack_app(app_of(40, '{"rev":"4"}'), 11, 2)
        same(bare(codec.unpack_app(other, json, second)),
             app_of(40, '{"rev":"4"}'))
        "#,
    );
}

#[test]
fn an_app_without_instances_is_told() {
    check_text(
        r#"
        local policy = '{"rev":"7","max_conns":5}'
        assert(codec.is_empty(codec.pack_app(app_of(0), 9, 2)))
        assert(codec.is_empty(codec.pack_app(app_of(0, policy), 9, 2)))
        assert(not codec.is_empty(codec.pack_app(app_of(1), 9, 2)))
        local text = codec.pack_app(app_of(1, policy), 9, 2)
        assert(not codec.is_empty(text))
        assert(codec.is_empty(edit(text, nil, { i001 = false }, 10, 2)))
        "#,
    );
}

/// Reading with an older text in hand, whatever it is, changes nothing.
#[test]
fn what_was_before_does_not_show() {
    check_text(
        r#"
        math.randomseed(11)
        local random = math.random
        local before, peers
        for round = 1, 600 do
            local app = app_of(0)
            if round % 30 == 1 then
                peers = {}
                for i = 1, random(0, 200) do
                    peers[i] = peer(string.format("i%03d", i), 1)
                end
            end
            for _ = 1, random(0, 3) do
                local i = random(200)
                local id = string.format("i%03d", i)
                peers[i] = random(3) > 1 and peer(id, 1 + random(3),
                    ({ "{}", '{"zone":"z"}', '{"draining":1}', '{"down":1}'
                    })[random(4)]) or nil
                if peers[i] and random(9) == 1 then
                    peers[i].weight = random(0, 2)
                end
            end
            for i = 1, 200 do
                app.peers[#app.peers + 1] = peers[i]
            end
            local text = codec.pack_app(app, round, 2)
            before = codec.unpack_app(text, json, before)
            same(bare(before), app)
            same(before.even, codec.unpack_app(text, json).even)
            for i, one in ipairs(before.peers) do
                local at = before.starts[i]
                same(before.text:sub(at, at + #one.id), one.id .. " ")
            end
        end
        "#,
    );
}

#[test]
fn instances_that_are_all_alike_are_told() {
    check_text(
        r#"
        local function even(...)
            local app = app_of(0)
            app.peers = { ... }
            return codec.unpack_app(codec.pack_app(app, 9, 2), json).even
        end
        local function weighing(id, weight)
            local one = peer(id, 1)
            one.weight = weight
            return one
        end
        same(even(weighing("a", 3), weighing("b", 3)), 3)
        same(even(weighing("a", 3), weighing("b", 2)), nil)
        same(even(weighing("a", 0), weighing("b", 0)), nil)
        same(even(peer("a", 1), peer("b", 1, '{"draining":1}')), nil)
        same(even(peer("a", 1, '{"down":1}')), nil)
        same(even(), nil)
        "#,
    );
}

#[test]
fn the_stamp_of_any_text() {
    check_text(
        r#"
        local route = codec.route(json,
            '{"rev":"7","rules":[{"path":"/","maintenance":{}}]}')
        for _, text in ipairs {
            codec.pack_route(route, 9, 2), codec.pack_negative(9, 2),
            codec.pack_app(app_of(2), 9, 2),
        } do
            same({ codec.stamp(text) }, { 9, 2 })
        end
        for _, text in ipairs { "", "x 1 2\n", "r 1\n", "a 1 2", 12 } do
            same({ codec.stamp(text) }, {})
        end
        fails("edit", codec.edit_app("r 9 2 1 a 1\n", nil, {}, 1, 1))
        "#,
    );
}
