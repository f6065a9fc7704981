//! `pointsman.routing.values`: cookies and query parameters, with all their
//! values.

use pointsman_lua_tests::check;

#[test]
fn cookies_are_compared_by_their_whole_name_and_case() {
    check(
        r#"
        local values = require "pointsman.routing.values"
        for _, case in ipairs {
            { "beta=1", "1" }, { "a=2; beta=1", "1" }, { "a=2;beta=1", "1" },
            { "beta=1; a=2", "1" }, { "beta=1 ;a=2", "1" }, { "beta=", "" },
            { "beta=;a=1", "" }, { "beta=  ;a=1", "" }, { "beta=a=b", "a=b" },
            { "  beta=1", "1" }, { "a=1;\t beta=1\t ", "1" },
            { 'beta="1"', '"1"' }, { "xbeta=0; beta=1", "1" },
            { "", nil }, { "beta", nil }, { "xbeta=1", nil },
            { "BETA=1", nil }, { "a=beta=1", nil }, { "x beta=1", nil },
            { "beta1=1", nil }, { "a=1, beta=1", nil },
        } do
            same(values.cookie(case[1], "beta"), case[2], case[1])
        end
        same(values.cookie("my-id=1", "my_id"), nil)
        same(values.cookie("a.b=1; axb=2", "axb"), "2")
        same(values.cookie("a%1=x", "a%1"), "x")
        "#,
    );
}

#[test]
fn query_parameters_are_decoded_name_and_value() {
    check(
        r#"
        local values = require "pointsman.routing.values"
        for _, case in ipairs {
            { "beta=1", "1" }, { "beta", "" }, { "beta=", "" },
            { "x&beta", "" }, { "x=1&beta=2&y", "2" }, { "&&beta=1&", "1" },
            { "b%65ta=1", "1" }, { "%62%65%74%61=1", "1" },
            { "beta=a+b", "a b" }, { "beta=a%20b", "a b" },
            { "beta=a%2Bb", "a+b" }, { "beta=a=b", "a=b" },
            { "beta=%zz%4", "%zz%4" }, { "beta=%00", "\0" },
            { "", nil }, { "&", nil }, { "xbeta=1", nil }, { "x=beta", nil },
            { "BETA=1", nil }, { "a;beta=1", nil }, { "betax=1", nil },
            { "=beta", nil },
        } do
            same(values.query(case[1], "beta"), case[2], case[1])
        end
        same(values.query("arr%5B%5D=1", "arr[]"), "1")
        same(values.query("arr[]=1", "arr[]"), "1")
        "#,
    );
}

#[test]
fn the_first_value_that_is_accepted_is_taken() {
    check(
        r#"
        local values = require "pointsman.routing.values"
        local function is(value, by) return value == by end
        local no = values.is_not_empty
        for name, text in pairs { cookie = "a=; b=x; a=1; A=3; a=2",
                                  query = "a=&b=x&a=1&A=3&%61=2" } do
            local find = values[name]
            same(find(text, "a"), "")
            same(find(text, "a", no), "1")
            same(find(text, "a", is, "2"), "2")
            same(find(text, "a", is, "3"), nil)
        end
        "#,
    );
}

#[test]
fn hostile_text_takes_time_in_proportion_to_its_length() {
    check(
        r#"
        local values = require "pointsman.routing.values"
        local function never() return false end
        for _, piece in ipairs { "a=", "a=;", "a= ", " ", "&", "a&", "=", "%61&",
                                 "a=1&", ";a=        " } do
            local text = piece:rep(math.floor(200000 / #piece))
            local before = os.clock()
            values.cookie(text, "a", never)
            values.query(text, "a", never)
            local seconds = os.clock() - before
            -- of a square, it would be minutes
            assert(seconds < 5, piece .. ": " .. seconds)
        end
        "#,
    );
}
