use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn policy(value: &str) -> Result<Policy, Bad> {
    Policy::from_value(value.as_bytes())
}

/// The value that is kept, and the record without its revision.
fn both(value: &str) -> (String, String) {
    let policy = policy(value).unwrap_or_else(|bad| panic!("{value}: {bad}"));
    let kept = policy.to_value();
    let again = Policy::from_value(kept.as_bytes()).unwrap();
    assert_eq!(again, policy, "what is kept means the same");
    let record = policy.record(7).replacen(r#"{"rev":"7""#, "{", 1);
    (kept, record.replacen("{,", "{", 1))
}

/// Values in their normal form, each with its record if that is another one.
const KEPT: &str = r#"
{"balance":"least_conn"}
{"balance":"ewma"}
{"balance":"random"}
{"balance":"hash","hash_by":{"client":true}}
{"balance":"hash","hash_by":{"header":"X-User"}}
{"balance":"hash","hash_by":{"cookie":"uid"}}
{"balance":"hash","hash_by":{"uri":true}}
{"retries":0}
{"retry_5xx":true,"retry_idempotency_key":true,"retry_budget":0}
{"deadline":"1ms"} => {"deadline_ms":1}
{"connect_timeout":"500ms","send_timeout":"90s","read_timeout":"1h"} => {"connect_timeout_ms":500,"send_timeout_ms":90000,"read_timeout_ms":3600000}
{"max_fails":1000,"fail_timeout":"100ms","fail_on":["connect","5xx"]} => {"max_fails":1000,"fail_timeout_ms":100,"fail_on":["connect","5xx"]}
{"fail_on":[]}
{"slow_start":"1m"} => {"slow_start_ms":60000}
{"prefer_zone":true,"max_conns":65535}
{"sticky":{}}
{"sticky":{"cookie":"c","ttl":"365d","with":"JSESSIONID","drain":"keep"}} => {"sticky":{"cookie":"c","ttl_ms":31536000000,"with":"JSESSIONID","drain":"keep"}}
{"sticky":{"same_site":"strict","path":"/app/"}}
{"sticky":{"same_site":"none"}}
{"idle_timeout":"1d"} => {"idle_timeout_ms":86400000}
{"pin_header":"X-Instance"}
{"scheme":"https","server_name":"shop.internal"}
{"scheme":"grpc"}
{"buffering":false}
{"health_check":{}} => {}
{"health_check":{"path":"/health?full=1","host":"shop.internal:8080","status":"200-299","body":"ok","interval":"5s","timeout":"500ms","rise":1,"fall":10}} => {}
{"health_check":{"status":[200,204]}} => {}
{"health_check":{"status":"204"}} => {}
{"health_check":{"type":"tcp","interval":"1s"}} => {}
{"health_check":{"tls":true,"server_name":"shop.internal","initial":"healthy"}} => {}
{"health_check":{"type":"grpc","host":"shop.internal","service":"shop.Cart"}} => {}
{"health_check":{"type":"tcp","tls":true}} => {}
{"wake":{"url":"http://10.0.0.9:8080/wake?app=shop"}} => {"wake":{"url":"http://10.0.0.9:8080/wake?app=shop","timeout":30,"max":1000}}
{"wake":{"url":"https://[fd00::9]/","timeout":"1500ms","max_waiting":5}} => {"wake":{"url":"https://[fd00::9]/","timeout":1.5,"max":5}}
"#;

#[test]
fn each_field_is_kept_and_recorded() {
    for line in KEPT.trim().lines() {
        let (value, record) = line.split_once(" => ").unwrap_or((line, line));
        assert_eq!(both(value), (value.to_owned(), record.to_owned()));
    }
}

#[test]
fn what_the_edge_does_anyway_is_kept_but_not_recorded() {
    let default = r#"{"balance":"round_robin","retries":1,"retry_5xx":false,"retry_idempotency_key":false,"retry_budget":20,"idle_timeout":"1h","max_fails":1,"fail_timeout":"10s","fail_on":["connect","timeout"],"prefer_zone":false,"scheme":"http","buffering":true}"#;
    assert_eq!(both(default), (default.to_owned(), "{}".to_owned()));
}

#[test]
fn values_are_brought_to_one_form() {
    for (given, kept) in [
        (
            r#"{"fail_on":["5xx","connect"]}"#,
            r#"{"fail_on":["connect","5xx"]}"#,
        ),
        (r#"{"deadline":"1m 30s"}"#, r#"{"deadline":"90s"}"#),
        (r#"{"sticky":{"cookie":"pointsman"}}"#, r#"{"sticky":{}}"#),
        (
            r#"{"sticky":{"same_site":"lax","path":"/"}}"#,
            r#"{"sticky":{}}"#,
        ),
        (
            r#"{"sticky":{"path":"/a/../b{c}"}}"#,
            r#"{"sticky":{"path":"/b%7Bc%7D"}}"#,
        ),
        (
            r#"{"server_name":"Shop.Internal","scheme":"https"}"#,
            r#"{"scheme":"https","server_name":"shop.internal"}"#,
        ),
        (
            r#"{"health_check":{"type":"http"}}"#,
            r#"{"health_check":{}}"#,
        ),
        (
            r#"{"health_check":{"tls":false,"initial":"pending"}}"#,
            r#"{"health_check":{}}"#,
        ),
        (
            r#"{"wake":{"url":"HTTP://Wake.Example?now"}}"#,
            r#"{"wake":{"url":"http://wake.example/?now"}}"#,
        ),
        (r#"{"sticky":null,"retries":null}"#, "{}"),
    ] {
        assert_eq!(both(given).0, kept);
    }
}

/// A value, the code, the field that is named, and a word of the sentence.
const REFUSED: &str = r#"
{"balance":"psychic"} | bad_value | balance | least_conn
{"balance":[]} | bad_value | balance | an array
{"balance":"hash"} | missing_field | hash_by | hash_by
{"hash_by":{"client":true}} | bad_value | hash_by | hash
{"balance":"hash","hash_by":{"client":true,"uri":true}} | bad_value | hash_by | not 2
{"balance":"hash","hash_by":{}} | missing_field | hash_by | cookie
{"balance":"hash","hash_by":"client"} | bad_json | hash_by | a JSON object
{"balance":"hash","hash_by":{"client":false}} | bad_value | hash_by.client | true
{"balance":"hash","hash_by":{"header":"X User"}} | bad_value | hash_by.header | X User
{"balance":"hash","hash_by":{"body":"x"}} | unknown_field | hash_by.body | client
{"retries":17} | bad_value | retries | 16
{"retries":1.5} | bad_value | retries | 1.5
{"retry_5xx":"yes"} | bad_value | retry_5xx | true or false
{"retry_idempotency_key":1} | bad_value | retry_idempotency_key | 1
{"retry_budget":1001} | bad_value | retry_budget | 1000
{"deadline":"0ms"} | bad_value | deadline | 1ms to 1h
{"deadline":"61m"} | bad_value | deadline | 1ms to 1h
{"deadline":"1500us"} | bad_value | deadline | 1500us
{"connect_timeout":5} | bad_value | connect_timeout | 5
{"send_timeout":"5"} | bad_value | send_timeout | 10s
{"read_timeout":"never"} | bad_value | read_timeout | never
{"max_fails":0} | bad_value | max_fails | from 1
{"fail_timeout":"99ms"} | bad_value | fail_timeout | 100ms to 1h
{"fail_on":["connect","4xx"]} | bad_value | fail_on | 5xx
{"fail_on":["5xx","5xx"]} | bad_value | fail_on | twice
{"fail_on":"5xx"} | bad_value | fail_on | array
{"slow_start":"999ms"} | bad_value | slow_start | 1s to 1h
{"prefer_zone":"a"} | bad_value | prefer_zone | true or false
{"max_conns":65536} | bad_value | max_conns | 65535
{"sticky":true} | bad_json | sticky | object
{"sticky":{"cookie":"a;b"}} | bad_value | sticky.cookie | a;b
{"sticky":{"ttl":"366d"}} | bad_value | sticky.ttl | 1s to 365d
{"sticky":{"with":""}} | bad_value | sticky.with | 1 to 128
{"sticky":{"with":"pointsman"}} | bad_value | sticky.with | own
{"sticky":{"drain":"move"}} | bad_value | sticky.drain | keep
{"sticky":{"same_site":"Lax"}} | bad_value | sticky.same_site | strict
{"sticky":{"same_site":true}} | bad_value | sticky.same_site | a string
{"sticky":{"path":"app"}} | bad_value | sticky.path | slash
{"sticky":{"path":"/a;Domain=b"}} | bad_value | sticky.path | semicolon
{"sticky":{"path":"/a?b"}} | bad_value | sticky.path | alone
{"idle_timeout":"999ms"} | bad_value | idle_timeout | 1s to 1d
{"idle_timeout":"25h"} | bad_value | idle_timeout | 1s to 1d
{"balance":"hash","hash_by":{"header":"X_User"}} | bad_value | hash_by.header | nginx drops
{"pin_header":"X_Instance"} | bad_value | pin_header | nginx drops
{"sticky":{"name":"x"}} | unknown_field | sticky.name | cookie
{"pin_header":"X:"} | bad_value | pin_header | X:
{"scheme":"ftp"} | bad_value | scheme | grpc
{"scheme":"h2c"} | not_supported | scheme | HTTP/1.1
{"scheme":"grpcs"} | not_supported | scheme | plain
{"server_name":"a.example"} | bad_value | server_name | https
{"scheme":"https","server_name":"10.0.0.1"} | bad_value | server_name | no IP address
{"scheme":"https","server_name":"*.a.example"} | bad_value | server_name | no wildcard
{"buffering":false,"retry_5xx":true} | bad_value | buffering | retry_5xx
{"scheme":"grpc","retry_5xx":true} | bad_value | retry_5xx | grpc
{"scheme":"grpc","retry_idempotency_key":true} | bad_value | retry_idempotency_key | grpc
{"scheme":"grpc","sticky":{}} | bad_value | sticky | cookies
{"scheme":"grpc","buffering":false} | bad_value | buffering | grpc
{"health_check":true} | bad_json | health_check | object
{"health_check":{"type":"udp"}} | bad_value | health_check.type | tcp
{"health_check":{"type":"grpc","path":"/"}} | bad_value | health_check.path | http
{"health_check":{"service":"a"}} | bad_value | health_check.service | grpc
{"health_check":{"type":"grpc","service":""}} | bad_value | health_check.service | 256
{"health_check":{"tls":"yes"}} | bad_value | health_check.tls | true or false
{"health_check":{"server_name":"a.example"}} | bad_value | health_check.server_name | tls
{"health_check":{"tls":true,"server_name":"10.0.0.1"}} | bad_value | health_check.server_name | no IP
{"health_check":{"initial":"up"}} | bad_value | health_check.initial | healthy
{"wake":"http://a.example"} | bad_json | wake | object
{"wake":{}} | missing_field | wake.url | url
{"wake":{"url":"ftp://a.example/"}} | bad_value | wake.url | http or https
{"wake":{"url":"/wake"}} | bad_value | wake.url | http or https
{"wake":{"url":"http://me:secret@a.example/"}} | bad_value | wake.url | password
{"wake":{"url":"http://a_b/"}} | bad_value | wake.url | underscore
{"wake":{"url":"http:///wake"}} | bad_value | wake.url | empty
{"wake":{"url":"http://a.example/a b"}} | bad_value | wake.url | ASCII
{"wake":{"url":"http://a.example/#x"}} | bad_value | wake.url | #
{"wake":{"url":"http://a.example","timeout":"6m"}} | bad_value | wake.timeout | 1s to 5m
{"wake":{"url":"http://a.example","max_waiting":0}} | bad_value | wake.max_waiting | from 1
{"wake":{"url":"http://a.example","max":1}} | unknown_field | wake.max | max_waiting
{"health_check":{"path":"health"}} | bad_value | health_check.path | slash
{"health_check":{"path":"/a b"}} | bad_value | health_check.path | ASCII
{"health_check":{"path":"/?a b"}} | bad_value | health_check.path | ASCII
{"health_check":{"host":"a_b"}} | bad_value | health_check.host | underscore
{"health_check":{"status":"200-"}} | bad_value | health_check.status | 200-299
{"health_check":{"status":"299-200"}} | bad_value | health_check.status | range
{"health_check":{"status":[]}} | bad_value | health_check.status | list of 0
{"health_check":{"status":[99]}} | bad_value | health_check.status | 99
{"health_check":{"status":200}} | bad_value | health_check.status | a number
{"health_check":{"interval":"500ms"}} | bad_value | health_check.interval | 1s
{"health_check":{"interval":"1s","timeout":"2s"}} | bad_value | health_check.timeout | interval
{"health_check":{"rise":0}} | bad_value | health_check.rise | 1 to 10
{"health_check":{"fall":11}} | bad_value | health_check.fall | 1 to 10
{"health_check":{"type":"tcp","path":"/"}} | bad_value | health_check.path | http
{"retrys":1} | unknown_field | retrys | retries
"#;

#[test]
fn what_cannot_be_used_is_refused_by_field() {
    let refused = |value: &str, code: &str, field: &str, word: &str| {
        let bad = policy(value).map_or_else(|bad| bad, |_| panic!("{value} is accepted"));
        let found = (bad.code.as_str(), bad.field.as_deref());
        assert_eq!(found, (code, Some(field)), "{value}: {bad}");
        assert!(bad.detail.contains(word), "{value}: {bad}");
    };
    for line in REFUSED.trim().lines() {
        let row: Vec<_> = line.split(" | ").collect();
        refused(row[0], row[1], row[2], row[3]);
    }
    let long = "x".repeat(129);
    let value = format!(r#"{{"balance":"hash","hash_by":{{"cookie":"{long}"}}}}"#);
    refused(&value, "bad_value", "hash_by.cookie", "128");
    let long = "x".repeat(257);
    let value = format!(r#"{{"health_check":{{"body":"{long}"}}}}"#);
    refused(&value, "bad_value", "health_check.body", "256");
    let bad = policy(r#"{"sticky":{"ttl":1}}"#).unwrap_err();
    assert!(
        bad.detail.starts_with("in sticky: \"ttl\" must be"),
        "{bad}"
    );
}

#[test]
fn a_health_check_has_its_defaults() {
    let check = |value: &str| {
        let policy = policy(&format!(r#"{{"health_check":{value}}}"#)).unwrap();
        policy.health_check.unwrap()
    };
    let default = check("{}");
    assert_eq!(
        (default.path(), default.rise(), default.fall()),
        ("/", 2, 3)
    );
    assert_eq!(default.interval(), Duration::from_secs(10));
    assert_eq!(default.timeout(), Duration::from_secs(2));
    assert!(default.accepts(200) && default.accepts(399) && !default.accepts(400));
    let quick = check(r#"{"interval":"1s","status":[204]}"#);
    assert_eq!(quick.timeout(), Duration::from_secs(1));
    assert!(quick.accepts(204) && !quick.accepts(200));
}

/// A policy, the defaults beneath it, and what they make together.
const MERGED: &str = r#"
{} | {"retries":2} | {"retries":2}
{"retries":1} | {"retries":2} | {"retries":1}
{"max_conns":5} | {"deadline":"1s","sticky":{"ttl":"1h"}} | {"deadline":"1s","max_conns":5,"sticky":{"ttl":"1h"}}
{"balance":"ewma"} | {"balance":"hash","hash_by":{"uri":true}} | {"balance":"ewma"}
{"balance":"hash","hash_by":{"client":true}} | {"balance":"hash","hash_by":{"uri":true}} | {"balance":"hash","hash_by":{"client":true}}
{"sticky":{}} | {"sticky":{"ttl":"1h"}} | {"sticky":{}}
{"scheme":"grpc"} | {"retry_5xx":true,"sticky":{},"retries":3} | {"retries":3,"scheme":"grpc"}
{"sticky":{}} | {"scheme":"grpc","retries":3} | {"retries":3,"sticky":{}}
{"buffering":false} | {"retry_5xx":true} | {"buffering":false}
{"retry_5xx":true} | {"buffering":false} | {"retry_5xx":true}
{"retry_5xx":false} | {"retry_5xx":true} | {"retry_5xx":false}
{"scheme":"http"} | {"scheme":"https","server_name":"a.example"} | {"scheme":"http"}
{"scheme":"https"} | {"scheme":"https","server_name":"a.example"} | {"scheme":"https","server_name":"a.example"}
"#;

#[test]
fn an_apps_own_fields_win_over_defaults_and_drop_what_contradicts_them() {
    for line in MERGED.trim().lines() {
        let row: Vec<_> = line.split(" | ").collect();
        let merged = policy(row[0]).unwrap().over(&policy(row[1]).unwrap());
        assert_eq!(merged.to_value(), row[2], "{line}");
    }
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let field = |name: &'static str, values: &'static [&'static str]| {
        let value = prop::option::of(prop::sample::select(values));
        value.prop_map(move |value| value.map(|value| format!("\"{name}\":{value}")))
    };
    let fields = (
        field("balance", &["\"ewma\"", "\"hash\"", "\"round_robin\""]),
        field("hash_by", &[r#"{"uri":true}"#]),
        field("retry_5xx", &["false", "true"]),
        field("retry_idempotency_key", &["false", "true"]),
        field("buffering", &["false", "true"]),
        field("scheme", &["\"http\"", "\"https\"", "\"grpc\""]),
        field("server_name", &["\"a.example\""]),
        field("sticky", &["{}"]),
        field("retries", &["1", "2"]),
    );
    fields.prop_filter_map("contradicts itself", |(a, b, c, d, e, f, g, h, i)| {
        let set: Vec<_> = [a, b, c, d, e, f, g, h, i].into_iter().flatten().collect();
        policy(&format!("{{{}}}", set.join(","))).ok()
    })
}

proptest! {
    /// What a policy and defaults, each of them good, make together is good,
    /// and has all that the policy says itself.
    #[test]
    fn a_policy_over_defaults_never_contradicts_itself(
        own in any_policy(), defaults in any_policy(),
    ) {
        let merged = own.over(&defaults);
        prop_assert_eq!(merged.check(), Ok(()));
        prop_assert_eq!(merged.over(&defaults), merged.clone());
        let (own, merged) = (own.map(), merged.map());
        for (name, value) in own {
            prop_assert_eq!(merged.get(&name), Some(&value));
        }
    }
}
