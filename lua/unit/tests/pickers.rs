//! What all pickers promise alike, whatever they balance by.

use pointsman_lua_tests::check;

fn check_pickers(chunk: &str) {
    check(&format!("{}\n{chunk}", include_str!("support/pickers.lua")));
}

#[test]
fn ten_thousand_picks_follow_the_weights_when_nothing_is_in_flight() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            for _, weights in ipairs {
                { a = 1, b = 2 }, { a = 5, b = 1, c = 1 },
                { a = 100, b = 100, c = 100, d = 100 },
                { a = 65535, b = 1 }, { a = 7, b = 11, c = 13, d = 17 },
            } do
                for _, seed in ipairs { 0, 0.25, 0.99, 4711 } do
                    local picker = new(balance, peers(weights), seed)
                    near_shares(count(picker, 10000), 10000, weights)
                end
            end
        end
        "#,
    );
}

#[test]
fn a_hundred_instances_get_their_shares() {
    check_pickers(
        r#"
        local weights = {}
        for i = 1, 100 do
            weights[string.format("i%03d", i)] = i % 7 + 1
        end
        for _, balance in ipairs(ALL) do
            local picker = new(balance, peers(weights), 0.1)
            near_shares(count(picker, 10000), 10000, weights)
        end
        "#,
    );
}

#[test]
fn weight_zero_is_never_picked() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local picker = new(balance, peers { a = 0, b = 1, c = 1 }, 0.7)
            near_shares(count(picker, 10000), 10000, { b = 1, c = 1 })
            picker = new(balance, peers { a = 3, b = 0, c = 0 }, 0.7)
            same(count(picker, 100), { a = 100 })
        end
        "#,
    );
}

#[test]
fn no_instance_that_is_left_gives_nil() {
    check_pickers(
        r#"
        local function all() return true end
        for _, balance in ipairs(ALL) do
            local request = { now = 0, key = "k" }
            same(new(balance, {}, 0.3):pick(nil, request), nil)
            same(new(balance, peers { a = 0 }, 0.3):pick(nil, request), nil)
            for _, weights in ipairs {
                { a = 1 }, { a = 1, b = 1 }, { a = 1, b = 2, c = 3 },
            } do
                local picker = new(balance, peers(weights), 0.3)
                same(picker:pick(all, request), nil, balance)
            end
        end
        "#,
    );
}

#[test]
fn the_share_of_an_instance_that_is_left_out_goes_to_all_others() {
    check_pickers(
        r#"
        local function skip(peer) return peer.id == "a" end
        for _, balance in ipairs(ALL) do
            local picker = new(balance, peers { a = 9, b = 1, c = 2 }, 0.2)
            near_shares(count(picker, 10000, skip), 10000, { b = 1, c = 2 })
            picker = new(balance, peers { a = 5, b = 5, c = 5 }, 0.2)
            near_shares(count(picker, 10000, skip), 10000, { b = 1, c = 1 })
        end
        "#,
    );
}

#[test]
fn the_only_one_that_is_left_of_a_thousand_is_found() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local picker = new(balance, many(1000), 0.2)
            for _, left in ipairs { "i0001", "i0500", "i1000" } do
                local function skip(peer) return peer.id ~= left end
                same(count(picker, 5, skip), { [left] = 5 }, balance)
            end
        end
        "#,
    );
}

#[test]
fn an_update_at_each_request_does_not_bend_the_shares() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local weights = { a = 5, b = 1, c = 1, d = 3 }
            local list = peers(weights)
            local counts, request = {}, { now = 0 }
            local picker = new(balance, list, 0.2)
            for i = 1, 10000 do
                request.key = "key " .. i
                local id = picker:pick(nil, request).id
                counts[id] = (counts[id] or 0) + 1
                picker = new(balance, list, picker)
            end
            near_shares(counts, 10000, weights)
        end
        "#,
    );
}

#[test]
fn instances_that_come_and_go_leave_the_others_their_shares() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local with = peers { a = 1, b = 1, c = 2, x = 1 }
            local without = peers { a = 1, b = 1, c = 2 }
            local counts, request = {}, { now = 0 }
            local picker = new(balance, with, 0.2)
            for i = 1, 20000 do
                request.key = "key " .. i
                local id = picker:pick(nil, request).id
                counts[id] = (counts[id] or 0) + 1
                picker = new(balance, i % 2 == 0 and with or without, picker)
            end
            counts.x = nil
            local n = counts.a + counts.b + counts.c
            near_shares(counts, n, { a = 1, b = 1, c = 2 })
        end
        "#,
    );
}

#[test]
fn workers_do_not_pick_in_step() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local seen, n = {}, 0
            for worker = 1, 50 do
                local picker = new(balance, many(20), worker / 51)
                -- no key: any instance will do
                local id = picker:pick(nil, { now = 0 }).id
                n = n + (seen[id] and 0 or 1)
                seen[id] = true
            end
            assert(n >= 10, balance .. " starts at only " .. n)
        end
        "#,
    );
}

#[test]
fn another_balancing_begins_afresh_and_the_same_one_goes_on() {
    check_pickers(
        r#"
        local list = peers { a = 1, b = 1, c = 1 }
        for _, from in ipairs(ALL) do
            for _, to in ipairs(ALL) do
                local picker = new(from, list, 0.2)
                count(picker, 10)
                picker = new(to, list, picker)
                near_shares(count(picker, 3000), 3000, { a = 1, b = 1, c = 1 })
            end
        end
        "#,
    );
}

#[test]
fn murmur_has_its_published_values() {
    check(
        r#"
        local hash = require "pointsman.balance.hash"
        local function hex(h) return string.format("%08x", h % 2 ^ 32) end
        same(hex(hash.of("")), "00000000")
        same(hex(hash.of("", 1)), "514e28b7")
        same(hex(hash.of("test")), "ba6bd213")
        same(hex(hash.of("Hello, world!")), "c0363e43")
        same(hex(hash.of("aaa", 0x9747b28c)), "283e0130")
        same(hex(hash.of("aa", 0x9747b28c)), "5d211726")
        same(hex(hash.of("a", 0x9747b28c)), "7fa09ea6")
        "#,
    );
}
