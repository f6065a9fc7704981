//! Paths that are rewritten, and redirects.

use super::check_rules;

#[test]
fn what_matched_is_stripped_or_replaced() {
    check_rules(
        r#"
        for _, case in ipairs {
            -- path of the rule, rewrite, path of the request, of the app
            { "/api", "/", "/api/x/y", "/x/y" }, { "/api", "/", "/api", "/" },
            { "/api", "/", "/api/", "/" }, { "/api", "/new", "/api", "/new" },
            { "/api", "/new", "/api/", "/new/" },
            { "/api", "/new", "/api/x", "/new/x" },
            { "/", "/new", "/", "/new/" }, { "/", "/new", "/x", "/new/x" },
            { "/api", "/api/v2", "/api/x", "/api/v2/x" },
        } do
            local compiled = compile(string.format('[{"path":"%s","to":'
                .. '[{"app":"a"}],"rewrite":"%s"}]', case[1], case[2]))
            same(rules.path(compiled[1], case[3]), case[4])
            same(compiled[1].full, true)
        end
        local plain = compile '[{"path":"/api","to":[{"app":"a"}]}]'
        same(rules.path(plain[1], "/api/x"), "/api/x")
        same(plain[1].full, false)
        "#,
    );
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    check_rules(
        r#"
        local given = { uri = "/a%20b", args = "x=1&y", scheme = "http" }
        local function to(redirect)
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. redirect .. '}}]')
            local rule = rules.find(compiled, request(given))
            same(rule.redirect.status, 301)
            same(rule.full, true)
            return rules.location(rule, request(given))
        end
        -- a port belongs to its scheme
        same(to '"scheme":"https"', "https://shop.example/a%20b?x=1&y")
        same(to '"host":"www.example"', "http://www.example/a%20b?x=1&y")
        same(to '"host":"www.example:81"', "http://www.example:81/a%20b?x=1&y")
        same(to '"path":"/new"', "http://shop.example:8080/new?x=1&y")
        same(to '"scheme":"https","host":"w.example","path":"/n"',
             "https://w.example/n?x=1&y")
        given.args = nil
        same(to '"path":"/new"', "http://shop.example:8080/new")
        "#,
    );
}

#[test]
fn a_redirect_to_where_the_request_came_from_is_passed_over() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","redirect":{"status":301,'
            .. '"scheme":"https","host":"www.example"}},'
            .. '{"path":"/","to":[{"app":"site"}]}]')
        local function leads(given)
            return rules.find(compiled, request(given)).redirect ~= nil
        end
        same(leads { scheme = "http", authority = "www.example" }, true)
        same(leads { scheme = "https", authority = "example" }, true)
        same(leads { scheme = "https", authority = "www.example" }, false)
        compiled = compile '[{"path":"/a","redirect":{"status":302,"path":"/a"}}]'
        same(rules.find(compiled, request { path = "/a", uri = "/a" }), nil)
        assert(rules.find(compiled, request { path = "/a/b", uri = "/a/b" }))
        "#,
    );
}

#[test]
fn a_path_is_compared_as_a_browser_would_send_it() {
    check_rules(
        r#"
        local function ends(path, uri)
            path = path:gsub('["\\]', "\\%0")
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. '"path":"' .. path .. '"}}]')
            return rules.find(compiled, request { uri = uri }) == nil
        end
        for _, case in ipairs {
            -- a redirect's path, and what browsers ask for then
            { "/a{b}", "/a%7Bb%7D" }, { '/a\"b', "/a%22b" }, { "/a<b>", "/a%3Cb%3E" },
            { "/a`b", "/a%60b" }, { "/a|b", "/a|b" }, { "/a^b", "/a%5Eb" },
            { "/a^b", "/a^b" }, { "/a%7bb", "/a%7bb" }, { "/a%7bb", "/a%7Bb" },
            { "/x/%2e%2E/y", "/y" }, { "/x/.%2e", "/" }, { "/x/%2e", "/x/" },
            { "/x/y/%2e%2e", "/x/" }, { "/%7Euser", "/%7Euser" },
            { "/%7Euser", "/~user" }, { "/%61", "/a" }, { "/a\\b", "/a/b" },
            { "/a%C3%A4", "/a%c3%a4" }, { "/a%C3%A4", "/a\195\164" },
            { "/.well-known/a", "/.well-known/a" }, { "/a/...", "/a/..." },
            { "/a%2Fb", "/a%2fb" }, { "/a%25b", "/a%25b" }, { "/", "/%2e%2e" },
            { "/a/", "/a/" },
        } do
            same(ends(case[1], case[2]), true, case[1] .. " by " .. case[2])
        end
        for _, case in ipairs {
            { "/a", "/a/" }, { "/a%2Fb", "/a/b" }, { "/a", "/A" }, { "/a", "/b" },
            { "/a%25b", "/a%b" }, { "/a;b", "/a" },
        } do
            same(ends(case[1], case[2]), false, case[1] .. " by " .. case[2])
        end
        "#,
    );
}

#[test]
fn the_location_is_written_as_a_browser_would_send_it() {
    check_rules(
        r#"
        local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                 .. '"path":"/x/%2e%2e/a{b}%7e"}}]')
        same(rules.location(compiled[1], request {}),
             "http://shop.example:8080/a%7Bb%7D~")
        "#,
    );
}

#[test]
fn a_host_is_compared_without_the_port_that_browsers_leave_out() {
    check_rules(
        r#"
        local function ends(redirect, scheme, authority)
            local compiled = compile('[{"path":"/","redirect":{"status":301,'
                                     .. redirect .. '}}]')
            return rules.find(compiled, request { scheme = scheme,
                              authority = authority }) == nil
        end
        local secure = '"scheme":"https","host":"w.example:443"'
        same(ends(secure, "https", "w.example"), true)
        same(ends(secure, "https", "w.example:443"), true)
        same(ends(secure, "https", "W.Example"), true)
        same(ends(secure, "http", "w.example"), false)
        same(ends(secure, "https", "w.example:8443"), false)
        same(ends('"host":"w.example:80"', "http", "w.example"), true)
        same(ends('"host":"w.example:443"', "http", "w.example"), false)
        same(ends('"host":"w.example"', "https", "w.example:443"), true)
        same(ends('"host":"[2001:db8::1]"', "http", "[2001:db8::1]:80"), true)
        same(ends('"host":"[2001:db8::80]"', "http", "[2001:db8::80]"), true)
        "#,
    );
}
