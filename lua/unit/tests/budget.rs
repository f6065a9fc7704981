//! `pointsman.budget`: how many retries an app may have.

use pointsman_lua_tests::check;

#[test]
fn the_reserve_is_a_hundred_and_fills_by_ten_a_second() {
    check(
        r"
        local budget = require('pointsman.balance.budget').new(0, 1000)
        local function granted(time)
            local n = 0
            while budget:take(0, 0, time) do
                n = n + 1
            end
            return n
        end
        assert(granted(1000) == 100)
        assert(granted(1000) == 0)
        assert(granted(1001) == 10)
        assert(granted(1001.5) == 5)
        -- never more than the reserve, and nothing for a clock that went back
        assert(granted(2000) == 100)
        assert(granted(1900) == 0)
        ",
    );
}

#[test]
fn a_share_of_the_requests_comes_on_top() {
    check(
        r"
        local budget = require('pointsman.balance.budget').new(0, 0)
        local granted, requests = 0, 0
        -- ten seconds of a thousand requests each, all of which want a retry
        for second = 1, 10 do
            for _ = 1, 1000 do
                requests = requests + 1
                if budget:take(0.2, requests, second) then
                    granted = granted + 1
                end
            end
        end
        -- 2,000 of their own, the reserve, and what it gained
        assert(granted >= 2150 and granted <= 2250, granted)
        ",
    );
}

#[test]
fn what_was_not_used_is_no_credit_for_later() {
    check(
        r"
        local budget = require('pointsman.balance.budget').new(0, 0)
        -- a quiet hour of many requests, then all fail at once
        assert(budget:take(0.2, 3600000, 3600))
        local n = 1
        while budget:take(0.2, 3600000, 3600) do
            n = n + 1
        end
        -- the reserve, and the share of ten seconds' requests
        assert(n >= 2000 and n <= 2200, n)
        ",
    );
}
