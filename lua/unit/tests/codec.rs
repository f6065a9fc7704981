//! `pointsman.codec`: records from Redis, and the cache's text form.

use pointsman_lua_tests::check;

#[test]
fn golden_records_are_decoded_as_the_file_says() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local seen = { route = 0, app = 0, inst = 0 }
        for _, record in ipairs(golden.good) do
            local redis = record.redis
            local kind = redis.key:match("^(%l+):")
            local got, err
            if kind == "route" then
                got, err = codec.route(json, redis.value)
            elseif kind == "app" then
                got, err = codec.policy(json, redis.value)
            else
                got, err = codec.instance(json, redis.field, redis.value)
            end
            same(err, nil, record.name)
            if kind ~= "inst" then
                same(got.plain, true, record.name)
                got.plain = nil
                got.json = nil
            end
            same(got, record.edge, record.name)
            seen[kind] = seen[kind] + 1
        end
        for kind, n in pairs(seen) do
            assert(n > 2, "hardly any golden record of the kind " .. kind)
        end
        "#,
    );
}

/// `edge` has such a record's own fields; the codec calls durations by seconds.
#[test]
fn golden_records_that_are_not_plain_are_read_in_full() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local is
        function is(want, got, field)
            local name = field:match("^(.*)_ms$")
            if name then
                same(got[name] * 1000, want, field)
            elseif field == "fail_on" then
                local set = {}
                for _, failure in ipairs(want) do set[failure] = true end
                same(got.fail_on, set)
            elseif field == "sticky" then
                for inner, value in pairs(want) do
                    is(value, got.sticky, inner)
                end
                same(got.sticky.cookie, want.cookie or "pointsman")
            else
                same(got[field], want, field)
            end
        end
        local n, all = 0, {}
        for _, section in ipairs { "good_v2", "good_v3" } do
            for _, record in ipairs(golden[section]) do
                all[#all + 1] = record
            end
        end
        for _, record in ipairs(all) do
            local key, raw = record.redis.key, record.redis.value
            local got, err
            if key:find("^route:") then
                got, err = codec.route(json, raw)
                for _, rule in ipairs(record.edge.rules) do
                    for _, to in ipairs(rule.to or {}) do
                        to.weight = to.weight or 1
                    end
                end
            elseif key:find("^app:") then
                got, err = codec.policy(json, raw)
            else
                got, err = codec.instance(json, record.redis.field, raw)
            end
            same(err, nil, record.name)
            for field, want in pairs(record.edge) do
                is(want, got, field)
            end
            n = n + 1
        end
        assert(n > 25, n)
        "#,
    );
}

#[test]
fn bad_records_are_refused_with_a_reason() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        for _, bad in ipairs(golden.bad_redis) do
            if bad.field then
                fails(bad.name, codec.instance(json, bad.field, bad.value))
            elseif bad.key:find("^route:") then
                fails(bad.name, codec.route(json, bad.value))
            else
                fails(bad.name, codec.policy(json, bad.value))
            end
        end
        "#,
    );
}

#[test]
fn a_record_that_redis_holds_as_no_string_is_refused() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        -- what a Redis client hands over: nil, a status, a number, its null
        for _, raw in ipairs { 12, true, false, {}, print } do
            fails("route", codec.route(json, raw))
            fails("app", codec.policy(json, raw))
            fails("instance", codec.instance(json, "a", raw))
        end
        fails("route", codec.route(json, nil))
        fails("instance", codec.instance(json, "a", nil))
        fails("id", codec.instance(json, nil, '["1","10.0.0.1:80",1]'))
        "#,
    );
}

#[test]
fn extras_of_an_instance_that_an_edge_does_not_know_are_ignored() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local peer = codec.instance(json, "a",
            '["3","10.0.0.1:80",1,{"zone":"z","later":1},"later"]')
        same(peer.zone, "z")
        "#,
    );
}

#[test]
fn an_app_without_a_record_has_the_default_policy_and_its_own_copy() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local policy = codec.policy(json, nil)
        same(policy, { rev = 0, balance = "round_robin", retries = 1,
                       fail_timeout = 10, plain = true })
        policy.retries = 7
        same(codec.policy(json, nil).retries, 1)
        "#,
    );
}

#[test]
fn a_weight_of_a_target_is_kept() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local route = codec.route(json, '{"rev":"1","rules":'
            .. '[{"path":"/","to":[{"app":"shop","weight":3}]}]}')
        same(route.rules[1].to, { { app = "shop", weight = 3 } })
        "#,
    );
}

#[test]
fn golden_routes_survive_the_cache() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        for _, record in ipairs(golden.good) do
            if record.redis.key:find("^route:") then
                local text = codec.pack_route(record.edge, 77, 3)
                local route, asof, v = codec.unpack_route(text, json)
                same(route.plain, true)
                route.plain, route.rev = nil, record.edge.rev
                same(route, record.edge, record.name)
                same({ asof, v }, { 77, 3 })
            end
        end
        "#,
    );
}

#[test]
fn golden_apps_survive_the_cache_whole_and_sorted() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local apps = {}
        for _, record in ipairs(golden.good) do
            local name = record.redis.key:match("^inst:(.*)")
            if name then
                apps[name] = apps[name] or
                    { name = name, policy = codec.policy(json), peers = {} }
                table.insert(apps[name].peers, record.edge)
            end
            name = record.redis.key:match("^app:(.*)")
            if name then
                apps[name] = { name = name, peers = {},
                    policy = codec.policy(json, record.redis.value) }
            end
        end
        local n = 0
        for _, app in pairs(apps) do
            same(codec.sort_peers(app.peers), app.peers)
            for i = 2, #app.peers do
                assert(app.peers[i - 1].id < app.peers[i].id)
            end
            local text = codec.pack_app(app, 77, 3)
            local got, asof, v = codec.unpack_app(text, json)
            got.text, got.starts, got.even = nil, nil, nil
            same(got, app)
            same({ asof, v }, { 77, 3 })
            n = n + 1
        end
        assert(n >= 4, n)
        "#,
    );
}

#[test]
fn an_app_without_instances_survives_the_cache() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local app = { name = "shop", policy = codec.policy(json), peers = {} }
        local got = codec.unpack_app(codec.pack_app(app, 0, 0), json)
        same({ got.name, got.policy, got.peers }, { "shop", app.policy, {} })
        "#,
    );
}

#[test]
fn a_fail_timeout_survives_the_cache_to_the_millisecond() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        for ms = 0, 3000 do
            local raw = '{"rev":"1","fail_timeout_ms":' .. ms .. '}'
            local app = { name = "a", policy = codec.policy(json, raw),
                          peers = {} }
            local got = codec.unpack_app(codec.pack_app(app, 1, 1), json)
            same(got.policy.fail_timeout, ms / 1000)
        end
        "#,
    );
}

#[test]
fn negatives_survive_the_cache() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        same({ codec.stamp(codec.pack_negative(14, 2)) }, { 14, 2 })
        "#,
    );
}

#[test]
fn great_revisions_are_written_out_digit_by_digit() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        for _, n in ipairs { 1e14, 1e15, 2 ^ 53 - 1, 2 ^ 53 } do
            local route = { rev = n, plain = true, rules = {
                { path = "/", to = { { app = "shop", weight = 1 } } } } }
            local text = codec.pack_route(route, n, n)
            assert(not text:find("[eE]%+"), text)
            route.rev = nil
            same({ codec.unpack_route(text) }, { route, n, n })

            local app = { name = "shop", policy = codec.policy(json),
                peers = { codec.instance(json, "a", string.format(
                    '["%.0f","10.0.0.1:80",1]', n)) } }
            text = codec.pack_app(app, n, n)
            assert(not text:find("[eE]%+"), text)
            local got, asof, v = codec.unpack_app(text, json)
            got.text, got.starts, got.even = nil, nil, nil
            same({ got, asof, v }, { app, n, n })
            same({ codec.stamp(codec.pack_negative(n, n)) }, { n, n })
        end
        "#,
    );
}

#[test]
fn texts_of_one_kind_are_not_taken_for_another() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local texts = {
            route = codec.pack_route({ rev = 1, rules = {
                { path = "/", to = { { app = "a", weight = 1 } } } } }, 1, 1),
            app = codec.pack_app({ name = "a", policy = codec.policy(json),
                peers = { codec.instance(json, "i",
                    '["1","10.0.0.1:80",1]') } }, 1, 1),
            negative = codec.pack_negative(1, 1),
        }
        for made, text in pairs(texts) do
            for _, read in ipairs { "route", "app" } do
                if made ~= read then
                    fails(made .. " as " .. read,
                          codec["unpack_" .. read](text, json))
                end
            end
        end
        "#,
    );
}

#[test]
fn damaged_texts_never_raise() {
    check(
        r#"
        local codec = require "pointsman.codec.records"
        local texts = {
            codec.pack_route({ rev = 1, deeper = false, rules = {
                { path = "/", to = { { app = "a", weight = 1 } } } } }, 1, 1),
            codec.pack_app({ name = "a", policy = codec.policy(json), peers =
                { codec.instance(json, "i",
                    '["1","[2001:db8::1]:80",1,{"zone":"z"}]') } }, 1, 1),
            codec.pack_negative(1, 1),
        }
        local unpackers = { codec.unpack_route, codec.unpack_app }
        local refused = 0
        local function try(text)
            for _, unpacker in ipairs(unpackers) do
                codec.stamp(text)
                local value, err = unpacker(text, json)
                if value == nil then
                    assert(type(err) == "string")
                    refused = refused + 1
                end
            end
        end
        for _, text in ipairs(texts) do
            for i = 0, #text do
                try(text:sub(1, i))
                for _, c in ipairs { "", " ", "\n", "\t", "\0", "=", "9" } do
                    try(text:sub(1, i) .. c .. text:sub(i + 2))
                end
            end
        end
        for _, text in ipairs { "", "\n", "r", "a 1" } do
            try(text)
        end
        assert(refused > 500, refused)
        "#,
    );
}
