//! Passive health: what became of an attempt (`pointsman.health.outcome`), and
//! whether a connection that was closed can have been an idle one
//! (`pointsman.health.connections`).

use pointsman_lua_tests::check;

/// Adds `kind(seen, policy)`: nginx's variables of the attempt at `10.0.0.1:80`,
/// those of a connected attempt without an answer unless told.
fn check_outcome(chunk: &str) {
    check(&format!(
        "{}\n{chunk}",
        r#"
        local outcome = require "pointsman.health.outcome"
        local function kind(seen, policy)
            for name, value in pairs {
                addr = "10.0.0.1:80", connect_time = "0.001",
                header_time = "-", status = "502", received = "0",
            } do
                seen[name] = seen[name] or value
            end
            return outcome.of(policy or {}, "10.0.0.1:80", seen)
        end
        "#
    ));
}

#[test]
fn an_answer_is_ok_or_5xx() {
    check_outcome(
        r#"
        for status, want in pairs {
            ["200"] = "ok", ["101"] = "ok", ["404"] = "ok", ["499"] = "ok",
            ["500"] = "5xx", ["502"] = "5xx", ["504"] = "5xx",
        } do
            same(kind { header_time = "0.020", status = status,
                        received = "99" }, want, status)
        end
        "#,
    );
}

#[test]
fn refused_timed_out_and_closed_are_told_apart() {
    check_outcome(
        r#"
        same({ kind { connect_time = "-" } }, { "connect", false })
        same({ kind { connect_time = "-", status = "504" } },
             { "connect", true })
        same({ kind { status = "504" } }, { "timeout", true })
        same(kind {}, "closed")
        "#,
    );
}

#[test]
fn a_client_that_goes_away_and_a_malformed_answer_say_nothing() {
    check_outcome(
        r#"
        -- nginx gives an attempt that the client has ended no status
        same(kind { status = "-" }, nil)
        same(kind { connect_time = "-", status = "-" }, nil)
        same(kind { status = "499" }, nil)
        -- a header that is malformed, or too long for the buffer
        same(kind { received = "4096" }, nil)
        "#,
    );
}

#[test]
fn the_last_attempt_is_what_counts() {
    check_outcome(
        r#"
        -- of a request that has come through an upstream twice
        same(kind { addr = "10.0.0.2:80, 10.0.0.3:80 : 10.0.0.4:80, 10.0.0.1:80",
                    connect_time = "-, 0.000 : -, 0.001",
                    header_time = "-, 0.010 : -, 0.030",
                    status = "502, 502 : 502, 200",
                    received = "0, 120 : 0, 130" }, "ok")
        -- in the retry pass, the next attempt has no address yet
        same(kind { addr = "10.0.0.2:80, 10.0.0.1:80 : ",
                    connect_time = "-, 0.000 : ", header_time = "-, - : ",
                    status = "502, 502 : ", received = "0, 0 : " }, "closed")
        -- an error page of the user's has gone elsewhere
        same(kind { addr = "10.0.0.1:80 : 10.9.9.9:80",
                    connect_time = "0.000 : -", header_time = "- : -",
                    status = "502 : 502", received = "0 : 0" }, nil)
        same(kind { addr = "" }, nil)
        "#,
    );
}

#[test]
fn the_attempt_that_nginx_makes_up_is_none() {
    check_outcome(
        r#"
        local seen = { connect_time = "0.000, -", header_time = "-, -",
                       status = "504, 502", received = "0, 0" }
        seen.addr = "10.0.0.1:80, 10.0.0.1:80"
        same(kind(seen), nil)
        seen.addr = "110.0.0.1:80, 10.0.0.1:80"
        same(kind(seen), "connect")
        "#,
    );
}

#[test]
fn a_handshake_by_a_name_that_the_client_chooses_says_nothing() {
    check_outcome(
        r#"
        same(kind({ connect_time = "-" }, { scheme = "https" }), nil)
        same(kind({ connect_time = "-" },
                  { scheme = "https", server_name = "app.test" }), "connect")
        "#,
    );
}

/// Adds `answer`, `close` and `slow`: attempts one after the other, and one that
/// nginx is done with but that has not come to the log phase.
fn check_connections(chunk: &str) {
    check(&format!(
        "{}\n{chunk}",
        r#"
        local connections = require "pointsman.health.connections"
        local function answer(c, at_once)
            for _ = 1, at_once or 1 do connections.begin(c) end
            for _ = 1, at_once or 1 do
                connections.answered(c)
                connections.finish(c)
            end
        end
        local function close(c)
            connections.begin(c)
            local was_fresh = connections.closed(c)
            connections.finish(c)
            return was_fresh
        end
        "#
    ));
}

#[test]
fn an_instance_that_has_never_answered_has_no_idle_connection() {
    check_connections(
        r#"
        local c = connections.new()
        same(close(c), true)
        same(close(c), true)
        "#,
    );
}

#[test]
fn as_many_may_have_been_idle_as_were_in_use_at_once() {
    check_connections(
        r#"
        local c = connections.new()
        for _ = 1, 100 do answer(c) end
        same(close(c), false)
        same(close(c), true)
        answer(c, 3)
        for _ = 1, 3 do same(close(c), false) end
        same(close(c), true)
        -- one answer makes one connection idle, however many there were
        answer(c)
        same(close(c), false)
        same(close(c), true)
        "#,
    );
}

#[test]
fn a_connection_may_be_idle_while_its_request_is_under_way() {
    check_connections(
        r#"
        local c = connections.new()
        -- nginx has the whole answer, the client reads it slowly
        connections.begin(c)
        same(close(c), false)
        -- that can have been one connection only
        same(close(c), true)
        connections.answered(c)
        connections.finish(c)
        same(close(c), true)
        "#,
    );
}

#[test]
fn answers_in_between_do_not_hide_an_instance_that_closes() {
    check_connections(
        r#"
        local c = connections.new()
        answer(c, 8)
        -- two of three: the first one may have had the idle connection that the
        -- answer left, the second one had a fresh one
        local n = 0
        repeat
            answer(c)
            n = n + 1
        until close(c) or close(c)
        assert(n <= 8, n)
        "#,
    );
}

/// nginx's own bookkeeping (an attempt takes an idle connection if there is one,
/// an answer makes its connection idle long before the log phase) against ours,
/// over random courses: never do more failures count than fresh connections
/// were closed.
#[test]
fn no_idle_connection_ever_counts() {
    check_connections(
        r#"
        math.randomseed(18)
        local counted, fresh_ones = 0, 0
        for _ = 1, 300 do
            local c = connections.new()
            local idle, under_way = 0, {}
            local bias = math.random(1, 9)
            local fresh_closed, counts = 0, 0
            for _ = 1, 400 do
                local what = math.random(10)
                local i = math.random(math.max(1, #under_way))
                local attempt = under_way[i]
                if what <= 4 or not attempt then
                    connections.begin(c)
                    under_way[#under_way + 1] = { is_fresh = idle == 0 }
                    idle = math.max(0, idle - 1)
                elseif attempt.is_done then
                    connections.answered(c)
                    connections.finish(c)
                    table.remove(under_way, i)
                elseif math.random(10) <= bias then
                    attempt.is_done = true
                    idle = idle + 1
                elseif math.random(4) == 1 then
                    connections.lost(c)
                    connections.finish(c)
                    table.remove(under_way, i)
                else
                    fresh_closed = fresh_closed + (attempt.is_fresh and 1 or 0)
                    counts = counts + (connections.closed(c) and 1 or 0)
                    assert(counts <= fresh_closed)
                    connections.finish(c)
                    table.remove(under_way, i)
                end
                -- at times, nginx itself closes idle ones
                if math.random(50) == 1 then
                    idle = math.max(0, idle - math.random(3))
                end
            end
            counted, fresh_ones = counted + counts, fresh_ones + fresh_closed
        end
        assert(counted > fresh_ones / 4, counted .. " of " .. fresh_ones)
        "#,
    );
}

#[test]
fn where_subrequests_go_nothing_is_known() {
    check_connections(
        r#"
        local c = connections.new()
        connections.hide(c)
        same(close(c), false)
        "#,
    );
}
