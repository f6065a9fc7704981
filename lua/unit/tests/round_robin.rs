//! `pointsman.picker.round_robin`: shares, state, and what is left out.

use pointsman_lua_tests::check;

/// Puts helpers before a test: `peers{a = 1, …}`, `count(picker, n, skip)`.
fn check_picker(chunk: &str) {
    check(&format!(
        r#"
        local round_robin = require "pointsman.balance.round_robin"
        local function peers(weights)
            local list = {{}}
            for id, weight in pairs(weights) do
                list[#list + 1] = {{ id = id, weight = weight }}
            end
            table.sort(list, function(a, b) return a.id < b.id end)
            return list
        end
        local function count(picker, n, skip)
            local counts = {{}}
            for _ = 1, n do
                local id = picker:pick(skip).id
                counts[id] = (counts[id] or 0) + 1
            end
            return counts
        end
        local function order(picker, n, skip)
            local ids = {{}}
            for i = 1, n do
                ids[i] = picker:pick(skip).id
            end
            return table.concat(ids)
        end
        {chunk}
        "#
    ));
}

#[test]
fn equal_weights_take_turns() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 100, b = 100, c = 100 }, 0)
        same(order(picker, 7), "abcabca")
        same(count(picker, 9999), { a = 3333, b = 3333, c = 3333 })
        "#,
    );
}

#[test]
fn ten_thousand_picks_follow_the_weights_within_one_pick() {
    check_picker(
        r#"
        local sets = {
            { a = 1, b = 2 }, { a = 5, b = 1, c = 1 },
            { a = 100, b = 99, c = 1 }, { a = 65535, b = 1 },
            { a = 7, b = 11, c = 13, d = 17, e = 19 },
        }
        for _, weights in ipairs(sets) do
            local total, n = 0, 0
            for _, weight in pairs(weights) do
                total, n = total + weight, n + 1
            end
            -- at the start of a round, and wherever the random start falls
            for _, start in ipairs { 0, 0.5, 0.999 } do
                local picker = round_robin.new(peers(weights), start)
                local counts = count(picker, 10000)
                for id, weight in pairs(weights) do
                    local off = (counts[id] or 0) - 10000 * weight / total
                    -- one pick for the round begun, one for the one ended
                    assert(math.abs(off) <= (start == 0 and 1 or 2),
                           id .. " is off by " .. off)
                end
            end
        end
        "#,
    );
}

#[test]
fn a_heavy_instance_gets_no_burst() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 5, b = 1, c = 1 }, 0)
        same(order(picker, 14), "aabacaaaabacaa")
        "#,
    );
}

#[test]
fn weight_zero_is_never_picked() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 0, b = 1, c = 1 }, 0.7)
        same(count(picker, 100), { b = 50, c = 50 })
        picker = round_robin.new(peers { a = 0, b = 1, c = 2 }, 0.7)
        same(count(picker, 300), { b = 100, c = 200 })
        "#,
    );
}

#[test]
fn no_live_instance_gives_nil() {
    check_picker(
        r#"
        for _, start in ipairs { 0, 0.5, 17 } do
            same(round_robin.new({}, start):pick(), nil)
            same(round_robin.new(peers { a = 0 }, start):pick(), nil)
        end
        local function all() return true end
        same(round_robin.new(peers { a = 1, b = 1 }, 0):pick(all), nil)
        same(round_robin.new(peers { a = 1, b = 2 }, 0):pick(all), nil)
        "#,
    );
}

#[test]
fn an_instance_that_is_left_out_leaves_its_share_to_all_others() {
    check_picker(
        r#"
        local function skip(peer) return peer.id == "a" end
        local picker = round_robin.new(
            peers { a = 1, b = 1, c = 1, d = 1 }, 0)
        same(count(picker, 9999, skip), { b = 3333, c = 3333, d = 3333 })
        picker = round_robin.new(peers { a = 50, b = 2, c = 1 }, 0)
        same(count(picker, 9999, skip), { b = 6666, c = 3333 })
        "#,
    );
}

#[test]
fn an_instance_that_comes_back_is_not_flooded() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 2, b = 1, c = 1 }, 0)
        count(picker, 10000, function(peer) return peer.id == "a" end)
        -- four picks are one round: two of them are its own
        local counts = count(picker, 40)
        assert(counts.a >= 19 and counts.a <= 21, counts.a)
        "#,
    );
}

#[test]
fn a_retry_gets_another_instance_whatever_was_tried() {
    check_picker(
        r#"
        for _, weights in ipairs { { a = 1, b = 1, c = 1 },
                                   { a = 9, b = 3, c = 1 } } do
            local picker = round_robin.new(peers(weights), 0)
            for _ = 1, 1000 do
                local tried = {}
                local function skip(peer) return tried[peer.id] end
                for _ = 1, 3 do
                    local peer = picker:pick(skip)
                    assert(not tried[peer.id])
                    tried[peer.id] = true
                end
                same(picker:pick(skip), nil)
            end
        end
        "#,
    );
}

#[test]
fn workers_start_at_different_instances() {
    check_picker(
        r#"
        local list = peers { a = 1, b = 1, c = 1, d = 1 }
        local first = {}
        for i = 0, 99 do
            local id = round_robin.new(list, i / 100):pick().id
            first[id] = (first[id] or 0) + 1
        end
        same(first, { a = 25, b = 25, c = 25, d = 25 })
        -- a whole random number does as well
        first = {}
        for i = 1, 100 do
            local id = round_robin.new(list, i):pick().id
            first[id] = (first[id] or 0) + 1
        end
        same(first, { a = 25, b = 25, c = 25, d = 25 })

        list = peers { a = 3, b = 2, c = 1 }
        first = {}
        for i = 0, 599 do
            local id = round_robin.new(list, i / 600):pick().id
            first[id] = (first[id] or 0) + 1
        end
        same(first, { a = 300, b = 200, c = 100 })
        "#,
    );
}

#[test]
fn an_update_goes_on_where_the_list_before_it_stopped() {
    check_picker(
        r#"
        local picker = round_robin.new(
            peers { a = 1, b = 1, c = 1, d = 1 }, 0)
        same(order(picker, 2), "ab")
        -- one joins, before and behind
        local new = round_robin.new(
            peers { a = 1, aa = 1, b = 1, c = 1, d = 1, e = 1 }, picker)
        same(order(new, 5), "cdeaaa")
        -- the one picked last goes: its neighbour is next
        picker = round_robin.new(peers { a = 1, b = 1, c = 1, d = 1 }, 0)
        same(order(picker, 2), "ab")
        new = round_robin.new(peers { a = 1, c = 1, d = 1 }, picker)
        same(order(new, 3), "cda")
        -- the last of the list goes
        picker = round_robin.new(peers { a = 1, b = 1, c = 1 }, 0)
        same(order(picker, 3), "abc")
        new = round_robin.new(peers { a = 1, b = 1 }, picker)
        same(order(new, 3), "aba")
        -- weights become unequal, by a hair
        picker = round_robin.new(peers { a = 100, b = 100, c = 100 }, 0)
        same(order(picker, 2), "ab")
        new = round_robin.new(peers { a = 101, b = 100, c = 100 }, picker)
        same(order(new, 3), "cab")
        "#,
    );
}

#[test]
fn updates_at_every_request_do_not_bend_the_shares() {
    check_picker(
        r#"
        -- an update at every pick (a heartbeat storm) must not restart the
        -- round each time, or the first instance would get everything
        local counts = { a = 0, b = 0, c = 0 }
        local picker = round_robin.new(peers { a = 1, b = 1, c = 1 }, 0)
        for _ = 1, 3000 do
            picker = round_robin.new(peers { a = 1, b = 1, c = 1 }, picker)
            local id = picker:pick().id
            counts[id] = counts[id] + 1
        end
        same(counts, { a = 1000, b = 1000, c = 1000 })

        counts = { a = 0, b = 0, c = 0 }
        picker = round_robin.new(peers { a = 3, b = 2, c = 1 }, 0)
        for _ = 1, 6000 do
            picker = round_robin.new(peers { a = 3, b = 2, c = 1 }, picker)
            local id = picker:pick().id
            counts[id] = counts[id] + 1
        end
        same(counts, { a = 3000, b = 2000, c = 1000 })
        "#,
    );
}

#[test]
fn instances_that_come_and_go_do_not_bend_the_shares_of_the_others() {
    check_picker(
        r#"
        local counts = { a = 0, b = 0, x = 0 }
        local picker = round_robin.new(peers { a = 2, b = 1 }, 0)
        for round = 1, 5000 do
            local weights = { a = 2, b = 1 }
            if round % 2 == 0 then
                weights.x = 7          -- a new one each time: it was gone
            end
            picker = round_robin.new(peers(weights), picker)
            for _ = 1, 3 do
                local id = picker:pick().id
                counts[id] = counts[id] + 1
            end
        end
        assert(math.abs(counts.a / counts.b - 2) < 0.1,
               counts.a .. " to " .. counts.b)
        assert(counts.x > 4000 and counts.x < 6000, counts.x)
        "#,
    );
}

#[test]
fn what_others_left_behind_does_not_starve_one_that_joins() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 2, b = 1 }, 0)
        for _ = 1, 490 do
            -- one comes, takes its share at once, and is gone
            picker = round_robin.new(peers { a = 2, b = 1, x = 1000 }, picker)
            picker:pick()
            picker = round_robin.new(peers { a = 2, b = 1 }, picker)
        end
        picker = round_robin.new(peers { a = 2, b = 1, c = 1 }, picker)
        same(count(picker, 4), { a = 2, b = 1, c = 1 })
        "#,
    );
}

#[test]
fn an_instance_that_joins_is_neither_starved_nor_flooded() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 5, b = 3, c = 1 }, 0)
        count(picker, 10007)
        picker = round_robin.new(peers { a = 5, b = 3, c = 1, d = 9 }, picker)
        local counts = count(picker, 18)
        assert(counts.d >= 8 and counts.d <= 10, counts.d)
        "#,
    );
}

#[test]
fn a_change_of_weight_takes_effect_at_once() {
    check_picker(
        r#"
        local picker = round_robin.new(peers { a = 60000, b = 1, c = 2 }, 0)
        count(picker, 12345)
        picker = round_robin.new(peers { a = 1, b = 1, c = 2 }, picker)
        local counts = count(picker, 400)
        assert(math.abs(counts.a - 100) <= 3, counts.a)
        assert(math.abs(counts.c - 200) <= 3, counts.c)
        -- and from unequal to equal and back
        picker = round_robin.new(peers { a = 1, b = 1, c = 1 }, picker)
        same(count(picker, 300), { a = 100, b = 100, c = 100 })
        picker = round_robin.new(peers { a = 2, b = 1, c = 1 }, picker)
        counts = count(picker, 400)
        assert(math.abs(counts.a - 200) <= 1, counts.a)
        "#,
    );
}

#[test]
fn the_picker_before_an_update_stays_usable() {
    check_picker(
        r#"
        for _, weights in ipairs { { a = 1, b = 1, c = 1 },
                                   { a = 2, b = 1, c = 1 } } do
            local old = round_robin.new(peers(weights), 0)
            old:pick()
            local twin = round_robin.new(peers(weights), 0)
            twin:pick()
            order(round_robin.new(peers { a = 1, z = 2 }, old), 50)
            same(order(old, 50), order(twin, 50))
        end
        "#,
    );
}

#[test]
fn a_pick_allocates_nothing() {
    check_picker(
        r#"
        for _, weights in ipairs { { a = 1, b = 1, c = 1 },
                                   { a = 5, b = 3, c = 1 } } do
            local picker = round_robin.new(peers(weights), 0)
            local function skip(peer) return peer.id == "b" end
            local function burn()
                for _ = 1, 20000 do
                    picker:pick()
                    picker:pick(skip)
                end
            end
            burn()                     -- traces are compiled here
            collectgarbage()
            collectgarbage("stop")
            local before = collectgarbage("count")
            burn()
            local grown = collectgarbage("count") - before
            collectgarbage("restart")
            -- 40,000 picks: one byte for each would be 39 KiB
            assert(grown < 16, grown .. " KiB")
        end
        "#,
    );
}
