use super::*;

fn route(value: &str) -> Result<Route, Bad> {
    Route::from_value(value.as_bytes())
}

/// The rules that are kept, and those of the record.
fn both(rules: &str) -> (String, String) {
    let value = format!(r#"{{"rules":{rules}}}"#);
    let route = route(&value).unwrap_or_else(|bad| panic!("{value}: {bad}"));
    let again = Route::from_value(route.to_value().as_bytes()).unwrap();
    assert_eq!(again, route, "what is kept means the same");
    (route.rules_json(), route.record_rules())
}

/// Rules in their normal form, each with its record if that is another one.
const KEPT: &str = r#"
{"path":"/","to":[{"app":"shop"}]}
{"path":"/api","to":[{"app":"a","weight":90},{"app":"b","weight":10}]}
{"path":"/","when":[{"header":"X-Beta","exact":"1"},{"header":"User-Agent","prefix":"curl/"},{"header":"Authorization","present":false},{"cookie":"beta","present":true},{"query":"v","exact":"2 b"},{"method":["GET","HEAD"]}],"to":[{"app":"shop"}]}
{"path":"/","redirect":{"status":308,"scheme":"https","host":"www.example.com:8443","path":"/a%20b/"}}
{"path":"/","redirect":{"status":302,"host":"[2001:db8::1]"}}
{"path":"/","maintenance":{}}
{"path":"/","maintenance":{"body":"soon","content_type":"text/plain"}}
{"path":"/","maintenance":{"retry_after":"2m","body":""}} => {"path":"/","maintenance":{"retry_after_s":120,"body":""}}
{"path":"/a","to":[{"app":"shop"}],"rewrite":"/b"}
{"path":"/a","to":[{"app":"shop"}],"rewrite":"/a"} => {"path":"/a","to":[{"app":"shop"}]}
{"path":"/a","to":[{"app":"shop"}],"strip_prefix":true} => {"path":"/a","to":[{"app":"shop"}],"rewrite":"/"}
{"path":"/","to":[{"app":"shop"}],"strip_prefix":true} => {"path":"/","to":[{"app":"shop"}]}
{"path":"/","to":[{"app":"shop"}],"headers":{"request":{"set":{"X-A":"v","Host":"shop.internal"},"remove":["X-B"]},"response":{"set":{"X-C":"a b"},"remove":["Server"]}}}
{"path":"/","to":[{"app":"a","weight":100,"force":{"header":"X-Side","exact":"a"}},{"app":"b","weight":0,"force":{"cookie":"side","prefix":"b"}}],"split_by":{"cookie":"uid"}}
{"path":"/","to":[{"app":"a","weight":1},{"app":"b","weight":65535}],"split_by":{"client":true}}
{"path":"/","to":[{"app":"shop"}],"split_by":{"client":true}} => {"path":"/","to":[{"app":"shop"}]}
"#;

#[test]
fn rules_in_their_normal_form_are_kept_and_recorded() {
    for line in KEPT.trim().lines() {
        let (rule, record) = line.split_once(" => ").unwrap_or((line, line));
        let expected = (format!("[{rule}]"), format!("[{record}]"));
        assert_eq!(both(&format!("[{rule}]")), expected);
    }
}

/// Rules as users write them, and what is kept.
const FOLDED: &str = r#"
{"to":[{"app":"shop"}]} => {"path":"/","to":[{"app":"shop"}]}
{"path":"/","to":[{"app":"shop","weight":7}]} => {"path":"/","to":[{"app":"shop"}]}
{"to":[{"app":"shop"}],"when":[],"strip_prefix":false,"headers":{}} => {"path":"/","to":[{"app":"shop"}]}
{"to":[{"app":"shop"}],"headers":{"request":{},"response":{"set":{},"remove":[]}}} => {"path":"/","to":[{"app":"shop"}]}
{"path":"/api/","to":[{"app":"shop"}],"rewrite":"/b/"} => {"path":"/api","to":[{"app":"shop"}],"rewrite":"/b"}
{"to":[{"app":"a"},{"app":"b","weight":100}]} => {"path":"/","to":[{"app":"a","weight":100},{"app":"b","weight":100}]}
{"redirect":{"path":"/a{b}\"<c>`^|"}} => {"path":"/","redirect":{"status":302,"path":"/a%7Bb%7D%22%3Cc%3E%60%5E|"}}
{"redirect":{"path":"/x/%2e%2E/y/./z"}} => {"path":"/","redirect":{"status":302,"path":"/y/z"}}
{"redirect":{"path":"/x/y/.%2e"}} => {"path":"/","redirect":{"status":302,"path":"/x/"}}
{"redirect":{"path":"/../.."}} => {"path":"/","redirect":{"status":302,"path":"/"}}
{"redirect":{"path":"/a/%2e"}} => {"path":"/","redirect":{"status":302,"path":"/a/"}}
{"redirect":{"path":"/%7Euser/%61%2fb%7b"}} => {"path":"/","redirect":{"status":302,"path":"/~user/a%2Fb%7B"}}
{"redirect":{"path":"/a\\b"}} => {"path":"/","redirect":{"status":302,"path":"/a/b"}}
{"redirect":{"path":"/.well-known/x...y"}} => {"path":"/","redirect":{"status":302,"path":"/.well-known/x...y"}}
{"redirect":{"host":"WWW.Example.com","scheme":"https"}} => {"path":"/","redirect":{"status":302,"scheme":"https","host":"www.example.com"}}
"#;

#[test]
fn what_says_nothing_is_left_out_but_a_splits_weights() {
    for line in FOLDED.trim().lines() {
        let (rule, kept) = line.split_once(" => ").unwrap();
        assert_eq!(both(&format!("[{rule}]")).0, format!("[{kept}]"));
    }
}

#[test]
fn a_record_has_the_longest_path_first_and_else_keeps_the_order() {
    let rules = |rows: &[(&str, &str)]| {
        let rules = rows.iter().map(|(path, method)| {
            format!(
                r#"{{"path":"{path}","when":[{{"method":["{method}"]}}],"to":[{{"app":"a"}}]}}"#
            )
        });
        format!("[{}]", rules.collect::<Vec<_>>().join(","))
    };
    let given = [
        ("/", "GET"),
        ("/api", "PUT"),
        ("/api", "GET"),
        ("/api/v1", "GET"),
        ("/web", "GET"),
    ];
    let sorted = [given[3], given[1], given[2], given[4], given[0]];
    let given = rules(&given);
    assert_eq!(both(&given), (given.clone(), rules(&sorted)));
}

fn refused(value: &str, code: &str, field: &str, word: &str) {
    let bad = route(value).map_or_else(|bad| bad, |_| panic!("{value} is accepted"));
    let found = (bad.code.as_str(), bad.field.as_deref());
    assert_eq!(found, (code, Some(field)), "{value}: {bad}");
    assert!(bad.detail.contains(word), "{value}: {bad}");
}

/// A rule, the code, the field that is named, and a word of the sentence.
const REFUSED: &str = r##"
"shop" | bad_json | rules[0] | object
{} | missing_field | rules[0] | maintenance
{"to":[{"app":"shop"}],"maintenance":{}} | bad_value | rules[0] | not 2
{"to":[{"app":"shop"}],"header":"x"} | unknown_field | rules[0].header | headers
{"to":[]} | bad_value | rules[0].to | empty
{"to":"shop"} | bad_value | rules[0].to | array
{"to":["shop"]} | bad_json | rules[0].to[0] | object
{"to":[{}]} | missing_field | rules[0].to[0].app | app
{"to":[{"app":"Shop"}]} | bad_app | rules[0].to[0].app | Shop
{"to":[{"app":"a"},{"app":"a"}]} | bad_value | rules[0].to[1].app | twice
{"to":[{"app":"a","weight":"9"}]} | bad_weight | rules[0].to[0].weight | 65535
{"to":[{"app":"a","weight":65536}]} | bad_weight | rules[0].to[0].weight | 65536
{"to":[{"app":"a","weight":0}]} | bad_weight | rules[0].to | 0
{"to":[{"app":"a","color":"b"}]} | unknown_field | rules[0].to[0].color | weight
{"to":[{"app":"a","force":{"query":"a","exact":"b"}},{"app":"b"}]} | bad_value | rules[0].to[0].force | cookie
{"to":[{"app":"a","force":{"method":["GET"]}},{"app":"b"}]} | bad_value | rules[0].to[0].force | header
{"to":[{"app":"a","force":{"header":"A"}},{"app":"b"}]} | missing_field | rules[0].to[0].force | exact
{"path":1,"to":[{"app":"shop"}]} | bad_value | rules[0].path | string
{"path":"","to":[{"app":"shop"}]} | bad_value | rules[0].path | begin
{"path":"api","to":[{"app":"shop"}]} | bad_value | rules[0].path | begin
{"path":"/a//b","to":[{"app":"shop"}]} | bad_value | rules[0].path | two slashes
{"path":"//","to":[{"app":"shop"}]} | bad_value | rules[0].path | two slashes
{"path":"/a/../b","to":[{"app":"shop"}]} | bad_value | rules[0].path | segments
{"path":"/.","to":[{"app":"shop"}]} | bad_value | rules[0].path | segments
{"path":"/a?b","to":[{"app":"shop"}]} | bad_value | rules[0].path | ?
{"path":"/a#b","to":[{"app":"shop"}]} | bad_value | rules[0].path | #
{"path":"/a b","to":[{"app":"shop"}]} | bad_value | rules[0].path | ASCII
{"path":"/é","to":[{"app":"shop"}]} | bad_value | rules[0].path | ASCII
{"path":"/a%20b","to":[{"app":"shop"}]} | bad_value | rules[0].path | decoded
{"when":["x"],"to":[{"app":"shop"}]} | bad_json | rules[0].when[0] | object
{"when":[{}],"to":[{"app":"shop"}]} | missing_field | rules[0].when[0] | header
{"when":[{"header":"A"}],"to":[{"app":"shop"}]} | missing_field | rules[0].when[0] | exact
{"when":[{"header":"A","cookie":"b","exact":"c"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0] | not 2
{"when":[{"header":"A","exact":"b","prefix":"c"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0] | not 2
{"when":[{"header":"A B","exact":"b"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].header | A B
{"when":[{"header":"X_Beta","exact":"b"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].header | nginx drops
{"when":[{"header":"X.Beta","present":false}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].header | X.Beta
{"to":[{"app":"a","force":{"header":"X_To","exact":"a"}},{"app":"b"}]} | bad_value | rules[0].to[0].force.header | hyphens
{"to":[{"app":"a"},{"app":"b"}],"split_by":{"header":"X_User"}} | bad_value | rules[0].split_by.header | nginx drops
{"when":[{"query":"a=b","exact":"b"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].query | a=b
{"when":[{"cookie":"a","exact":""}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].exact | 1 to 1024
{"when":[{"cookie":"a","prefix":"\n"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].prefix | ASCII
{"when":[{"cookie":"a","present":1}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].present | true
{"when":[{"method":"GET"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].method | array
{"when":[{"method":[]}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].method | 1 to 16
{"when":[{"method":["get"]}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].method | upper case
{"when":[{"method":["GET","GET"]}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].method | twice
{"when":[{"method":["GET"],"exact":"a"}],"to":[{"app":"shop"}]} | bad_value | rules[0].when[0].method | other
{"when":[{"host":"a","exact":"b"}],"to":[{"app":"shop"}]} | unknown_field | rules[0].when[0].host | query
{"when":{},"to":[{"app":"shop"}]} | bad_value | rules[0].when | array
{"to":[{"app":"shop"}],"strip_prefix":1} | bad_value | rules[0].strip_prefix | true or false
{"to":[{"app":"shop"}],"rewrite":"a"} | bad_value | rules[0].rewrite | begin
{"to":[{"app":"shop"}],"rewrite":"/","strip_prefix":true} | bad_value | rules[0].rewrite | both
{"maintenance":{},"rewrite":"/"} | bad_value | rules[0].rewrite | "to"
{"maintenance":{},"strip_prefix":true} | bad_value | rules[0].strip_prefix | "to"
{"redirect":{"path":"/"},"headers":{}} | bad_value | rules[0].headers | "to"
{"redirect":{"path":"/"},"split_by":{"client":true}} | bad_value | rules[0].split_by | "to"
{"redirect":{}} | missing_field | rules[0].redirect | host
{"redirect":{"status":301}} | missing_field | rules[0].redirect | host
{"redirect":{"status":303,"path":"/"}} | bad_value | rules[0].redirect.status | 307
{"redirect":{"status":"301","path":"/"}} | bad_value | rules[0].redirect.status | string
{"redirect":{"scheme":"ftp"}} | bad_value | rules[0].redirect.scheme | https
{"redirect":{"host":"*.a.example"}} | bad_value | rules[0].redirect.host | wildcard
{"redirect":{"host":"a.example:0"}} | bad_value | rules[0].redirect.host | port
{"redirect":{"host":"a.example:"}} | bad_value | rules[0].redirect.host | port
{"redirect":{"host":"a.example/x"}} | bad_value | rules[0].redirect.host | path
{"redirect":{"path":"//evil.example"}} | bad_value | rules[0].redirect.path | slashes
{"redirect":{"path":"/\\evil.example"}} | bad_value | rules[0].redirect.path | slashes
{"redirect":{"path":"a"}} | bad_value | rules[0].redirect.path | begin
{"redirect":{"path":"..a"}} | bad_value | rules[0].redirect.path | begin
{"redirect":{"path":"/a?b"}} | bad_value | rules[0].redirect.path | alone
{"redirect":{"path":"/%+7"}} | bad_value | rules[0].redirect.path | hexadecimal
{"redirect":{"path":"/%zz"}} | bad_value | rules[0].redirect.path | hexadecimal
{"redirect":{"path":"/%é"}} | bad_value | rules[0].redirect.path | ASCII
{"redirect":{"path":"/%2"}} | bad_value | rules[0].redirect.path | hexadecimal
{"redirect":{"path":"/\r\nX: y"}} | bad_value | rules[0].redirect.path | ASCII
{"redirect":{"url":"x"}} | unknown_field | rules[0].redirect.url | scheme
{"maintenance":true} | bad_json | rules[0].maintenance | object
{"maintenance":{"retry_after":"1500ms"}} | bad_value | rules[0].maintenance.retry_after | whole seconds
{"maintenance":{"retry_after":120}} | bad_value | rules[0].maintenance.retry_after | 120
{"maintenance":{"content_type":"html"}} | bad_value | rules[0].maintenance.content_type | text/html
{"to":[{"app":"shop"}],"headers":[]} | bad_json | rules[0].headers | object
{"to":[{"app":"shop"}],"headers":{"set":{}}} | unknown_field | rules[0].headers.set | request
{"to":[{"app":"shop"}],"headers":{"request":{"add":{}}}} | unknown_field | rules[0].headers.request.add | set
{"to":[{"app":"shop"}],"headers":{"request":{"set":[]}}} | bad_json | rules[0].headers.request.set | object
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"X A":"v"}}}} | bad_value | rules[0].headers.request.set | X A
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"X-A":""}}}} | bad_value | rules[0].headers.request.set.X-A | 1 to 1024
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"X-A":"a\r\nb"}}}} | bad_value | rules[0].headers.request.set.X-A | ASCII
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"X-A":1}}}} | bad_value | rules[0].headers.request.set.X-A | string
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"connection":"close"}}}} | bad_value | rules[0].headers.request.set | edge sets it
{"to":[{"app":"shop"}],"headers":{"request":{"remove":["x-forwarded-for"]}}} | bad_value | rules[0].headers.request.remove | edge sets it
{"to":[{"app":"shop"}],"headers":{"request":{"remove":["Host"]}}} | bad_value | rules[0].headers.request.remove | Host
{"to":[{"app":"shop"}],"headers":{"request":{"set":{"X-A":"1"},"remove":["x-a"]}}} | bad_value | rules[0].headers.request.remove | twice
{"to":[{"app":"shop"}],"headers":{"response":{"remove":["X-Pointsman-Error"]}}} | bad_value | rules[0].headers.response.remove | edge sets it
{"to":[{"app":"shop"}],"split_by":{"uri":true}} | bad_value | rules[0].split_by.uri | both sides
{"to":[{"app":"shop"}],"split_by":{}} | missing_field | rules[0].split_by | cookie
"##;

#[test]
fn rules_that_cannot_be_used_are_refused_by_field() {
    for line in REFUSED.trim().lines() {
        let row: Vec<_> = line.split(" | ").collect();
        let value = format!(r#"{{"rules":[{}]}}"#, row[0]);
        refused(&value, row[1], row[2], row[3]);
    }
    let long = "x".repeat(1024);
    let value = format!(r#"{{"rules":[{{"path":"/{long}","to":[{{"app":"a"}}]}}]}}"#);
    refused(&value, "bad_value", "rules[0].path", "1024");
    let long = "x".repeat(4097);
    let value = format!(r#"{{"rules":[{{"maintenance":{{"body":"{long}"}}}}]}}"#);
    refused(&value, "bad_value", "rules[0].maintenance.body", "4096");
}

#[test]
fn numbers_of_rules_and_their_parts_are_bounded() {
    let many = |n: usize, item: fn(usize) -> String| {
        let items: Vec<_> = (0..n).map(item).collect();
        format!("[{}]", items.join(","))
    };
    let rules = |n| {
        let rules = many(n, |i| format!(r#"{{"path":"/{i}","to":[{{"app":"a"}}]}}"#));
        format!(r#"{{"rules":{rules}}}"#)
    };
    let targets = |n| {
        let to = many(n, |i| format!(r#"{{"app":"a{i}"}}"#));
        format!(r#"{{"rules":[{{"to":{to}}}]}}"#)
    };
    let conditions = |n| {
        let when = many(n, |_| r#"{"method":["GET"]}"#.to_owned());
        format!(r#"{{"rules":[{{"when":{when},"to":[{{"app":"a"}}]}}]}}"#)
    };
    let headers = |n| {
        let remove = many(n, |i| format!("\"X-{i}\""));
        let headers = format!(r#"{{"request":{{"set":{{"X-A":"a"}},"remove":{remove}}}}}"#);
        format!(r#"{{"rules":[{{"to":[{{"app":"a"}}],"headers":{headers}}}]}}"#)
    };
    refused(&rules(65), "bad_value", "rules", "64");
    refused(&targets(17), "bad_value", "rules[0].to", "16");
    refused(&conditions(17), "bad_value", "rules[0].when", "16");
    refused(
        &headers(32),
        "bad_value",
        "rules[0].headers.request.remove",
        "32",
    );
    for value in [rules(64), targets(16), conditions(16), headers(31)] {
        assert!(route(&value).is_ok(), "{value}");
    }
}

#[test]
fn a_rule_that_can_never_be_reached_is_refused() {
    let open = r#"{"path":"/a","to":[{"app":"a"}]}"#;
    let bound = r#"{"path":"/a/","when":[{"method":["GET"]}],"to":[{"app":"b"}]}"#;
    assert!(route(&format!(r#"{{"rules":[{bound},{open}]}}"#)).is_ok());
    let value = format!(r#"{{"rules":[{open},{bound}]}}"#);
    refused(&value, "bad_value", "rules[1]", "never be reached");
    // To https, and there it is served.
    let secure = r#"{"path":"/a","redirect":{"scheme":"https"}}"#;
    assert!(route(&format!(r#"{{"rules":[{secure},{open}]}}"#)).is_ok());
}

#[test]
fn the_sentence_says_where_it_is() {
    let bad = route(r#"{"rules":[{"to":[{"app":"a","weight":-1}]}]}"#).unwrap_err();
    let expected = "in rules[0].to[0]: \"weight\" must be a whole number from 0 to 65535, not -1";
    assert_eq!(bad.detail, expected);
}
