//! Pickers that look at what is in flight or how long answers take:
//! `pointsman.picker.least_conn`, `.random` and `.ewma`.

use pointsman_lua_tests::check;

/// Adds `serve`: a closed loop of `clients`, each of which sends its next
/// request when the last one is answered. `takes[id]` is the seconds that an
/// instance needs for one. Returns who served how many of n, and the peak of
/// what was in flight.
fn check_pickers(chunk: &str) {
    check(&format!(
        "{}\n{}\n{chunk}",
        include_str!("support/pickers.lua"),
        r"
        local function serve(picker, flight, takes, clients, n, from)
            local now, done, counts, peak = from or 0, {}, {}, {}
            local request = {}
            local function send()
                request.now = now
                local id = picker:pick(nil, request).id
                flight.n[id] = (flight.n[id] or 0) + 1
                counts[id] = (counts[id] or 0) + 1
                peak[id] = math.max(peak[id] or 0, flight.n[id])
                done[#done + 1] = { now + takes[id], id }
            end
            for _ = 1, clients do
                send()
            end
            for _ = clients + 1, n + clients do
                local first = 1
                for i = 2, #done do
                    if done[i][1] < done[first][1] then first = i end
                end
                local answer = table.remove(done, first)
                now = answer[1]
                flight.n[answer[2]] = flight.n[answer[2]] - 1
                if picker.observe then
                    picker:observe(answer[2], takes[answer[2]], now)
                end
                if _ <= n then send() end
            end
            return counts, peak, now
        end
        "
    ));
}

#[test]
fn least_conn_takes_the_one_with_the_fewest_for_its_weight() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("least_conn",
                           peers { a = 1, b = 2, c = 1 }, 0, flight)
        flight.n = nil
        for _, case in ipairs {
            { { a = 2, b = 2, c = 2 }, "b" }, { { a = 1, b = 3, c = 2 }, "a" },
            { { a = 9, b = 19, c = 9 }, "ac" }, { { a = 5, b = 9, c = 0 }, "c" },
        } do
            flight.of = function(peer) return case[1][peer.id] end
            for _ = 1, 10 do
                local id = picker:pick().id
                assert(case[2]:find(id, 1, true), id .. " not " .. case[2])
            end
        end
        "#,
    );
}

#[test]
fn least_conn_breaks_ties_in_turn() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("least_conn", many(4), 0, flight)
        flight.n.i0002 = 1
        same(count(picker, 300), { i0001 = 100, i0003 = 100, i0004 = 100 })
        "#,
    );
}

#[test]
fn least_conn_keeps_all_equally_full() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("least_conn", many(5), 0, flight)
        local takes = { i0001 = 1, i0002 = 1, i0003 = 1, i0004 = 1,
                        i0005 = 10 }
        local counts, peak = serve(picker, flight, takes, 20, 10000)
        -- four places each: the slow one serves a tenth of what others do
        for id, n in pairs(peak) do
            assert(n <= 5, id .. " had " .. n)
        end
        local ratio = counts.i0001 / counts.i0005
        assert(ratio > 8 and ratio < 12, ratio)
        "#,
    );
}

#[test]
fn least_conn_looks_at_two_of_many() {
    check_pickers(
        r#"
        local asked = 0
        local flight = flights()
        local of = flight.of
        flight.of = function(peer) asked = asked + 1; return of(peer) end
        local list = many(5000)
        local picker = new("least_conn", list, 0, flight)
        for _ = 1, 1000 do picker:pick() end
        assert(asked <= 2000, asked)

        -- as many clients as instances: with one choice the fullest would have
        -- seven, with two it has three or four
        local takes = {}
        for _, peer in ipairs(list) do takes[peer.id] = 1 end
        local most = 0
        for _ = 1, #list do
            local id = picker:pick().id
            flight.n[id] = (flight.n[id] or 0) + 1
            most = math.max(most, flight.n[id])
        end
        assert(most <= 4, most)
        "#,
    );
}

#[test]
fn least_conn_goes_on_when_an_app_grows_large_and_shrinks() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("least_conn", many(32), 0.3, flight)
        for _, n in ipairs { 33, 32, 34, 35, 31, 30, 5000, 2 } do
            picker = new("least_conn", many(n), picker, flight)
            local counts, seen = count(picker, 20 * n), 0
            for _ in pairs(counts) do seen = seen + 1 end
            same(seen, n)
        end
        "#,
    );
}

#[test]
fn random_avoids_the_fuller_one_of_two() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("random", peers { a = 1, b = 1 }, 0, flight)
        flight.n.a = 1
        same(count(picker, 1000), { b = 1000 })
        picker = new("random", peers { a = 3, b = 1 }, 0, flight)
        flight.n.a, flight.n.b = 2, 1
        same(count(picker, 1000), { a = 1000 })
        "#,
    );
}

#[test]
fn random_gives_a_slow_instance_less() {
    check_pickers(
        r#"
        local flight = flights()
        local takes, list = {}, many(10)
        for _, peer in ipairs(list) do takes[peer.id] = 1 end
        takes.i0007 = 10
        local picker = new("random", list, 0, flight)
        local counts, peak = serve(picker, flight, takes, 40, 10000)
        local fair = (10000 + 40 - counts.i0007) / 9
        -- blind choice would send it as much as the others
        assert(counts.i0007 < fair / 4, counts.i0007 .. " of " .. fair)
        assert(peak.i0007 <= 20, peak.i0007)
        "#,
    );
}

#[test]
fn ewma_prefers_the_quick_ones_and_does_not_forget_the_slow_one() {
    check_pickers(
        r#"
        local flight = flights()
        local takes, list = {}, many(10)
        for _, peer in ipairs(list) do takes[peer.id] = 0.01 end
        takes.i0007 = 0.1
        local picker = new("ewma", list, 0, flight)
        local counts = serve(picker, flight, takes, 5, 10000)
        local fair = (10000 + 5 - counts.i0007) / 9
        assert(counts.i0007 < fair / 20, counts.i0007 .. " of " .. fair)
        -- and it is quick again, while hardly anything is sent to it
        takes.i0007 = 0.01
        local later = serve(picker, flight, takes, 5, 100000, 1000)
        assert(later.i0007 > 100000 / 10 / 2, later.i0007)
        "#,
    );
}

#[test]
fn ewma_follows_a_peak_at_once_and_forgets_it_by_time() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("ewma", peers { a = 1, b = 1 }, 0.3, flight)
        for i = 1, 100 do
            picker:observe("a", 0.010, i / 100)
            picker:observe("b", 0.012, i / 100)
        end
        same(count(picker, 100, nil, { now = 1 }), { a = 100 })
        picker:observe("a", 1, 1)
        same(count(picker, 100, nil, { now = 1 }), { b = 100 })
        -- b goes on answering, a is not asked: e^-4.5 is less than 0.012
        for t = 2, 60 do
            picker:observe("b", 0.012, t)
            local who = count(picker, 100, nil, { now = t })
            same(who, t < 46 and { b = 100 } or { a = 100 }, "at " .. t)
        end
        "#,
    );
}

#[test]
fn ewma_weighs_what_is_in_flight() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("ewma", peers { a = 1, b = 1 }, 0.3, flight)
        picker:observe("a", 0.010, 1)
        picker:observe("b", 0.015, 1)
        same(count(picker, 100, nil, { now = 1 }), { a = 100 })
        flight.n.a = 1
        same(count(picker, 100, nil, { now = 1 }), { b = 100 })
        flight.n.b = 1
        same(count(picker, 100, nil, { now = 1 }), { a = 100 })
        "#,
    );
}

#[test]
fn ewma_neither_floods_nor_starves_an_instance_that_joins() {
    check_pickers(
        r#"
        local flight = flights()
        local takes, list = {}, many(9)
        for i = 1, 10 do takes[string.format("i%04d", i)] = 0.02 end
        local picker = new("ewma", list, 0, flight)
        local _, _, now = serve(picker, flight, takes, 20, 10000)

        picker = new("ewma", many(10), picker, flight)
        local counts, peak = serve(picker, flight, takes, 20, 1000, now)
        local new_one = counts.i0010
        assert(new_one > 60 and new_one < 180, new_one)
        assert(peak.i0010 <= 5, peak.i0010)
        "#,
    );
}

#[test]
fn ewma_keeps_by_id_what_it_knows_over_an_update() {
    check_pickers(
        r#"
        local flight = flights()
        local picker = new("ewma", peers { b = 1, c = 1 }, 0.3, flight)
        picker:observe("b", 0.5, 1)
        picker:observe("c", 0.1, 1)
        picker = new("ewma", peers { a = 0, b = 1, c = 1, d = 0 }, picker,
                     flight)
        same(count(picker, 100, nil, { now = 1 }), { c = 100 })
        -- who is gone is forgotten, and a late answer of it is not kept
        picker = new("ewma", peers { c = 1 }, picker, flight)
        picker:observe("b", 0.5, 1)
        same(picker.costs, { c = 0.1 })
        "#,
    );
}

#[test]
fn ewma_does_not_pile_requests_on_one_that_has_not_answered_yet() {
    check_pickers(
        r#"
        local flight = flights()
        local takes, list = {}, many(9)
        for _, peer in ipairs(list) do takes[peer.id] = 0.02 end
        local picker = new("ewma", list, 0, flight)
        local _, _, now = serve(picker, flight, takes, 90, 10000)

        takes.i0010 = 1e9
        picker = new("ewma", many(10), picker, flight)
        local _, peak = serve(picker, flight, takes, 90, 10000, now)
        -- others have ten each
        assert(peak.i0010 >= 5 and peak.i0010 <= 20, peak.i0010)
        "#,
    );
}

#[test]
fn ewma_uses_all_instances_of_an_idle_app() {
    check_pickers(
        r#"
        local function idle(picker, now)
            local counts, request = {}, {}
            for i = 1, 1000 do
                request.now = now + i / 10
                local id = picker:pick(nil, request).id
                counts[id] = (counts[id] or 0) + 1
                picker:observe(id, 0.02, request.now + 0.02)
            end
            return counts
        end
        local picker = new("ewma", peers { a = 1, b = 1 }, 0)
        local counts = idle(picker, 0)
        assert(counts.a > 300 and counts.b > 300, counts.a)
        picker = new("ewma", peers { a = 1, b = 1, c = 1 }, picker)
        counts = idle(picker, 1000)
        assert(counts.c > 200 and counts.c < 500, counts.c)
        "#,
    );
}
