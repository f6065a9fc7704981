//! `pointsman.picker.chash`: which keys move, and how many.

use pointsman_lua_tests::check;

fn check_pickers(chunk: &str) {
    check(&format!("{}\n{chunk}", include_str!("support/pickers.lua")));
}

#[test]
fn a_key_stays_with_its_instance_in_all_workers_and_after_updates() {
    check_pickers(
        r#"
        local list = many(30)
        local one, other = new("hash", list, 0.1), new("hash", list, 0.9)
        local again = new("hash", many(30), one)
        for i = 1, 1000 do
            local request = { key = "user " .. i }
            local id = one:pick(nil, request).id
            same(other:pick(nil, request).id, id)
            same(again:pick(nil, request).id, id)
            same(one:pick(nil, request).id, id)
        end
        "#,
    );
}

/// Of 10,000 keys: who joins takes its share, 1/n of them within five standard
/// deviations, and no other key moves; and the same backwards.
#[test]
fn only_the_share_of_who_joins_or_leaves_moves() {
    check_pickers(
        r#"
        local N = 10000
        for _, weigh in ipairs {
            function() return 100 end,
            function(i) return i % 2 == 0 and 50 or 100 end,
            function(i) return i * 13 % 97 + 1 end,
        } do
            for _, n in ipairs { 2, 3, 10, 50, 200 } do
                for _, who in ipairs { 1, math.ceil(n / 2), n } do
                    local with, without, total = {}, {}, 0
                    for i = 1, n do
                        local peer = { id = string.format("shop-%d", i * 31),
                                       weight = weigh(i) }
                        with[i] = peer
                        total = total + peer.weight
                        if i ~= who then
                            without[#without + 1] = peer
                        end
                    end
                    local joins = with[who]
                    local after = new("hash", with, 0.1)
                    local before = new("hash", without, after)
                    local moved, request = 0, {}
                    for i = 1, N do
                        request.key = "10.0." .. i
                        local a = before:pick(nil, request)
                        local b = after:pick(nil, request)
                        if a ~= b then
                            same(b.id, joins.id, "moved to another")
                            moved = moved + 1
                        end
                    end
                    local p = joins.weight / total
                    local off = math.abs(moved - N * p)
                    assert(off <= 5 * math.sqrt(N * p * (1 - p)),
                           moved .. " of " .. N .. " keys moved, share " .. p)
                end
            end
        end
        "#,
    );
}

#[test]
fn a_greater_weight_moves_keys_to_that_instance_only() {
    check_pickers(
        r#"
        local before = new("hash", peers { a = 100, b = 100, c = 40 }, 0)
        local after = new("hash", peers { a = 100, b = 150, c = 40 }, 0)
        local moved, request = 0, {}
        for i = 1, 10000 do
            request.key = "k" .. i
            local a, b = before:pick(nil, request), after:pick(nil, request)
            if a.id ~= b.id then
                same(b.id, "b")
                moved = moved + 1
            end
        end
        -- from 100 of 240 to 150 of 290: a tenth of all
        assert(moved > 850 and moved < 1150, moved)
        "#,
    );
}

#[test]
fn without_the_best_one_the_next_best_is_taken() {
    check_pickers(
        r#"
        for _, list in ipairs { many(20), peers { a = 3, b = 2, c = 9 } } do
            local all = new("hash", list, 0)
            for i = 1, 500 do
                local request = { key = "k" .. i }
                local best = all:pick(nil, request)
                local rest = {}
                for _, peer in ipairs(list) do
                    if peer ~= best then rest[#rest + 1] = peer end
                end
                local left = new("hash", rest, 0):pick(nil, request)
                same(all:pick(function(peer) return peer == best end,
                              request).id, left.id)
            end
        end
        "#,
    );
}

/// The short cut by hash must not change who wins.
#[test]
fn the_winner_is_the_one_that_the_formula_names() {
    check_pickers(
        r#"
        local hash = require "pointsman.balance.hash"
        local bit = require "bit"
        for _, weigh in ipairs {
            function() return 7 end, function(i) return i end,
            function(i) return i == 17 and 65535 or 1 end,
        } do
            local list = {}
            for i = 1, 60 do
                list[i] = { id = "i" .. i, weight = weigh(i) }
            end
            local picker = new("hash", list, 0)
            for i = 1, 2000 do
                local best, highest
                for _, peer in ipairs(list) do
                    local h = hash.mix(bit.bxor(hash.of("k" .. i),
                                                hash.of(peer.id)))
                    local u = (h + 2 ^ 31 + 0.5) / 2 ^ 32
                    local score = -peer.weight / math.log(u)
                    if not best or score > highest then
                        best, highest = peer, score
                    end
                end
                same(picker:pick(nil, { key = "k" .. i }).id, best.id)
            end
        end
        "#,
    );
}

#[test]
fn few_instances_are_asked_about_for_each_pick() {
    check_pickers(
        r#"
        local picker, asked = new("hash", many(1000), 0), 0
        for i = 1, 100 do
            picker:pick(function() asked = asked + 1 end, { key = "k" .. i })
        end
        assert(asked / 100 < 20, asked)
        "#,
    );
}
