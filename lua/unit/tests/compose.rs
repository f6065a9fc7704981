//! `pointsman.picker.compose`, and what goes around a picker: `warm`, `zone`.

use pointsman_lua_tests::check;

fn check_pickers(chunk: &str) {
    check(&format!("{}\n{chunk}", include_str!("support/pickers.lua")));
}

#[test]
fn an_app_with_nothing_but_a_round_has_the_bare_picker() {
    check_pickers(
        r#"
        local round_robin = require "pointsman.balance.round_robin"
        local picker = new("round_robin", many(3), 0)
        same(getmetatable(picker),
             getmetatable(round_robin.new(many(3), 0)))
        "#,
    );
}

#[test]
fn draining_and_failed_instances_get_no_new_requests() {
    check_pickers(
        r#"
        local a = { id = "a", weight = 1 }
        local b = { id = "b", weight = 1, draining = true }
        local c = { id = "c", weight = 1, down = true }
        local d = { id = "d", weight = 0 }
        local function ids(list)
            local live, n = compose.live(list)
            same(#live, n)
            local out = ""
            for _, peer in ipairs(live) do out = out .. peer.id end
            return out
        end
        same(ids { a, b, c, d }, "a")
        same(ids { b, c, d }, "c", "all failed: the checks are not believed")
        same(ids { b, d }, "", "draining is somebody's word")
        same(ids {}, "")
        "#,
    );
}

#[test]
fn the_own_zone_first_and_the_others_when_none_of_it_can_be_used() {
    check_pickers(
        r#"
        for _, balance in ipairs(ALL) do
            local list = peers { a = 1, b = 1, c = 1, d = 1, e = 0 }
            for i, peer in ipairs(list) do
                peer.zone = i <= 2 and "west" or "east"
            end
            list[5].zone = "west"
            local policy = { balance = balance, prefer_zone = true }
            local options = { flight = flights(), zone = "west", seed = 0.1 }
            local picker = compose.new(policy, list, 0.2, options)
            near_shares(count(picker, 1000), 1000, { a = 1, b = 1 })

            local aside = { a = true }
            local function skip(peer) return aside[peer.id] end
            same(count(picker, 100, skip), { b = 100 })
            aside.b = true
            near_shares(count(picker, 1000, skip), 1000, { c = 1, d = 1 })

            picker = compose.new(policy, list, picker, options)
            near_shares(count(picker, 1000), 1000, { a = 1, b = 1 })
            -- a zone that has no instance, and an edge without a zone
            options.zone = "north"
            picker = compose.new(policy, list, picker, options)
            near_shares(count(picker, 1000), 1000,
                        { a = 1, b = 1, c = 1, d = 1 })
            options.zone = nil
            picker = compose.new(policy, list, picker, options)
            near_shares(count(picker, 1000), 1000,
                        { a = 1, b = 1, c = 1, d = 1 })
        end
        "#,
    );
}

#[test]
fn a_round_goes_on_in_its_zone_over_an_update() {
    check_pickers(
        r#"
        local list = peers { a = 1, b = 1, c = 1, d = 1 }
        for _, peer in ipairs(list) do peer.zone = "z" end
        local policy = { balance = "round_robin", prefer_zone = true }
        local options = { zone = "z", seed = 0 }
        local picker = compose.new(policy, list, 0, options)
        local order = ""
        for _ = 1, 8 do
            order = order .. picker:pick().id
            picker = compose.new(policy, list, picker, options)
        end
        same(order, "abcdabcd")
        "#,
    );
}

const SLOW: &str = r#"
local function slow(balance, list, previous, now, flight)
    return compose.new({ balance = balance, slow_start = 100 }, list, previous,
                       { flight = flight or flights(), now = now, seed = 0.5 })
end
"#;

fn check_slow(chunk: &str) {
    check_pickers(&format!("{SLOW}\n{chunk}"));
}

/// At age t of s, t/s of its share; 10,000 picks, five standard deviations.
#[test]
fn a_new_instance_gets_a_growing_part_of_its_share() {
    check_slow(
        r#"
        for _, balance in ipairs(ALL) do
            local picker = slow(balance, many(9), 0.3, 1000)
            local before = count(picker, 9000, nil, { now = 1000 })
            near_shares(before, 9000, { i0001 = 1, i0002 = 1, i0003 = 1,
                i0004 = 1, i0005 = 1, i0006 = 1, i0007 = 1, i0008 = 1,
                i0009 = 1 })
            picker = slow(balance, many(10), picker, 1000)
            local last = 0
            for _, age in ipairs { 0, 5, 25, 50, 75, 100, 500 } do
                local counts = count(picker, 10000, nil, { now = 1000 + age })
                local p = math.max(0.1, math.min(1, age / 100)) / 10
                local off = math.abs(counts.i0010 - 10000 * p)
                assert(off <= 5 * math.sqrt(10000 * p * (1 - p)),
                       balance .. " at " .. age .. ": " .. counts.i0010)
                -- an update does not begin it again
                picker = slow(balance, many(10), picker, 1000 + age)
            end
        end
        "#,
    );
}

#[test]
fn the_first_list_of_a_worker_is_not_new() {
    check_slow(
        r#"
        for _, balance in ipairs(ALL) do
            local list = peers { a = 1, b = 1 }
            local picker = slow(balance, list, 0.3, 1000)
            near_shares(count(picker, 1000, nil, { now = 1000 }), 1000,
                        { a = 1, b = 1 })
        end
        "#,
    );
}

#[test]
fn new_instances_are_used_in_full_where_there_is_no_other() {
    check_slow(
        r#"
        for _, balance in ipairs(ALL) do
            local picker = slow(balance, peers { a = 1 }, 0.3, 1000)
            picker = slow(balance, peers { b = 1, c = 1 }, picker, 1000)
            near_shares(count(picker, 10000, nil, { now = 1001 }), 10000,
                        { b = 1, c = 1 })
            picker = slow(balance, peers { b = 1, c = 1, d = 1 }, picker, 1050)
            local function skip(peer) return peer.id ~= "d" end
            same(count(picker, 50, skip, { now = 1050 }), { d = 50 })
        end
        "#,
    );
}

#[test]
fn a_key_that_has_come_to_a_new_instance_stays_there() {
    check_slow(
        r#"
        local picker = slow("hash", many(4), 0.3, 0)
        local before = {}
        for i = 1, 2000 do
            before[i] = picker:pick(nil, { key = "k" .. i, now = 0 }).id
        end
        picker = slow("hash", many(5), picker, 0)
        for now = 0, 100, 5 do
            for i = 1, 2000 do
                local id = picker:pick(nil, { key = "k" .. i, now = now }).id
                if id ~= before[i] then
                    same(id, "i0005")
                    before[i] = id
                end
            end
        end
        "#,
    );
}

#[test]
fn a_new_instance_is_not_filled_as_full_as_the_others() {
    check_slow(
        r#"
        for _, balance in ipairs { "least_conn", "random", "ewma" } do
            local flight = flights()
            local picker = slow(balance, many(4), 0.3, 0, flight)
            picker = slow(balance, many(5), picker, 0, flight)
            for i = 1, 4 do flight.n[string.format("i%04d", i)] = 40 end
            for _ = 1, 1000 do
                -- what others have in flight is answered and sent again
                local id = picker:pick(nil, { now = 10 }).id
                if id == "i0005" then flight.n[id] = (flight.n[id] or 0) + 1 end
            end
            -- a tenth of the way: four of forty, and one that goes over
            assert(flight.n.i0005 >= 1 and flight.n.i0005 <= 5,
                   balance .. " " .. flight.n.i0005)
        end
        "#,
    );
}

#[test]
fn a_peek_is_what_the_next_pick_will_be_and_changes_nothing() {
    check_pickers(
        r#"
        local function snapshot(value, seen)
            if type(value) ~= "table" or seen[value] then
                return value
            end
            seen[value] = true
            local copy = {}
            for key, field in pairs(value) do
                copy[key] = snapshot(field, seen)
            end
            return copy
        end
        local request = { now = 100 }
        for _, balance in ipairs(ALL) do
            for n = 2, 40, 38 do
                local list = many(n)
                for i, peer in ipairs(list) do
                    peer.weight, peer.zone = i % 7 + 1, i % 2 == 0 and "w" or "e"
                end
                local policy = { balance = balance, slow_start = 60,
                                 prefer_zone = true }
                local options = { flight = flights(), zone = "w", seed = 0.5,
                                  now = 90 }
                local picker = compose.new(policy, list, 0.3, options)
                -- young ones, too
                list = many(n + 5)
                picker = compose.new(policy, list, picker, options)
                for i = 1, 50 do
                    request.key = "key " .. i
                    local function pick() return picker:pick(nil, request) end
                    local before = snapshot(picker, {})
                    local peeked
                    for _ = 1, 3 do
                        peeked = compose.peek(picker, pick)
                        same(snapshot(picker, {}), before, balance)
                    end
                    same(pick().id, peeked.id, balance)
                end
                same(pcall(compose.peek, picker, function()
                    picker:pick(nil, request)
                    error("x")
                end), false)
            end
        end
        "#,
    );
}

#[test]
fn who_is_warming_is_known_through_zones() {
    check_pickers(
        r#"
        for _, zone in ipairs { false, "w" } do
            local policy = { balance = "round_robin", slow_start = 10,
                             prefer_zone = zone and true or nil }
            local options = { flight = flights(), zone = zone or nil,
                              seed = 0.5, now = 5 }
            local list = peers { a = 1 }
            list[1].zone = "w"
            local picker = compose.new(policy, list, 0.1, options)
            list = peers { a = 1, b = 1 }
            list[1].zone = "w"
            picker = compose.new(policy, list, picker, options)
            same(compose.is_warming(picker, "a", 6), false)
            same(compose.is_warming(picker, "b", 6), true)
            same(compose.is_warming(picker, "b", 16), false)
        end
        local bare = new("round_robin", peers { a = 1 }, 0.1)
        same(compose.is_warming(bare, "a", 1), false)
        "#,
    );
}
