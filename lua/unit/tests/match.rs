//! `pointsman.match`: which route a host belongs to.

use pointsman_lua_tests::check;

#[test]
fn candidates_go_from_the_host_to_the_catch_all() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        same(match.candidates("a.b.example.com"), {
            "a.b.example.com", "*.b.example.com", "*.example.com", "*.com",
            "*",
        })
        same(match.candidates("localhost"), { "localhost", "*" })
        "#,
    );
}

#[test]
fn no_host_fits_the_catch_all_alone() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        same(match.candidates(""), { "*" })
        "#,
    );
}

#[test]
fn an_ip_address_has_no_parents() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        same(match.candidates("10.1.2.3"), { "10.1.2.3", "*" })
        same(match.candidates("[2001:db8::1]"), { "[2001:db8::1]", "*" })
        same(match.candidates("[::ffff:10.1.2.3]"),
             { "[::ffff:10.1.2.3]", "*" })
        "#,
    );
}

#[test]
fn a_host_too_long_for_dns_costs_one_look_up() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        same(match.candidates(("a."):rep(4000) .. "com"), { "*" })
        local longest = ("a."):rep(126) .. "b"
        same(#longest, 253)
        same(#match.candidates(longest), 128)
        "#,
    );
}

#[test]
fn odd_hosts_fit_the_catch_all_and_never_raise() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        for _, host in ipairs { "", ".", "..", "*", "*.com", "a..b", "%d",
                                "\0", "[", "]", "1", "ü.de", "a_b.de" } do
            local patterns = match.candidates(host)
            same(patterns[#patterns], "*")
        end
        "#,
    );
}

#[test]
fn the_most_specific_route_wins() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        local table_ = {
            ["a.example.com"] = { name = "exact" },
            ["*.example.com"] = { name = "wild", deeper = true },
            ["*"] = { name = "all", deeper = true },
        }
        local function resolve(host)
            local record, pattern = match.resolve(match.candidates(host),
                function(p) return table_[p] or false end)
            return record and record.name, pattern
        end
        same({ resolve("a.example.com") }, { "exact", "a.example.com" })
        same({ resolve("b.example.com") }, { "wild", "*.example.com" })
        same({ resolve("x.y.example.com") }, { "wild", "*.example.com" })
        same({ resolve("example.com") }, { "all", "*" })
        same({ resolve("10.0.0.1") }, { "all", "*" })
        table_["*"] = nil
        same({ resolve("example.com") }, { false })
        "#,
    );
}

#[test]
fn an_unknown_more_specific_pattern_must_be_asked_for() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        local known = {}
        local function resolve(host)
            return match.resolve(match.candidates(host),
                                 function(p) return known[p] end)
        end
        same(resolve("a.example.com"), nil)

        known["*.example.com"] = { deeper = true }
        same(resolve("a.example.com"), nil)

        known["*.example.com"] = {}              -- deeper not said
        same(resolve("a.example.com"), nil)

        known["a.example.com"] = false
        same(resolve("a.example.com"), known["*.example.com"])
        "#,
    );
}

#[test]
fn a_wildcard_with_nothing_beneath_answers_for_unknown_hosts() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        local wild = { deeper = false }
        local known = { ["*.example.com"] = wild }
        local function resolve(host)
            return match.resolve(match.candidates(host),
                                 function(p) return known[p] end)
        end
        local record, pattern = resolve("x.y.example.com")
        same(record == wild, true)
        same(pattern, "*.example.com")
        -- but not for its bare parent, nor for its neighbours
        same(resolve("example.com"), nil)
        same(resolve("a.example.org"), nil)
        "#,
    );
}

#[test]
fn a_route_that_is_unknown_and_not_absent_is_no_404() {
    check(
        r#"
        local match = require "pointsman.routing.match"
        local patterns = match.candidates("a.b")
        local function lookup(absent)
            return function(p) if absent[p] then return false end end
        end
        same(match.resolve(patterns, lookup {
            ["a.b"] = true, ["*.b"] = true }), nil)
        same(match.resolve(patterns, lookup {
            ["a.b"] = true, ["*.b"] = true, ["*"] = true }), false)
        "#,
    );
}
