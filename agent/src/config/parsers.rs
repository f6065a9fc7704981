//! What holds for whatever is given as configuration: no panic, no secret in
//! a message, and what is accepted is what the clients take.

use pointsman_publish::sink::redis::{RedisOptions, RedisSink};
use proptest::prelude::*;
use redis::IntoConnectionInfo as _;

use super::*;

const SECRET: &str = "hunter2";

/// A URL of Redis, or nearly one; the secret is in it where a password may be.
fn redis_url() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec![
        "redis://",
        "rediss://",
        "redis+sentinel://",
        "rediss+sentinel://",
        "redis:",
        "http://",
    ]);
    let login = prop::sample::select(vec![
        "",
        "u@",
        ":hunter2@",
        "u:hunter2@",
        "u:hunter2%@",
        "u:%ffhunter2@",
        "u:hunter2/@",
        "u@hunter2@",
        "ü:hunter2@",
        "u:hunter2:x@",
        "u v:hunter2@",
        "hunter2\"@",
    ]);
    let host = prop::sample::select(vec![
        "a",
        "a:1",
        "a:0",
        "a:99999",
        "[::1]:6379",
        "[::1",
        "a:1,b:2",
        "a:1,b",
        "1.2.3",
        "",
        "é:1",
        "a_b:1",
        "a%20:1",
    ]);
    let path = prop_oneof![
        prop::sample::select(vec![
            "",
            "/",
            "/0",
            "//1",
            "/-1",
            "/m",
            "/m/1",
            "/99999999999",
            "?a=b",
            "#x",
            "/m/99999999999"
        ])
        .prop_map(str::to_owned),
        "[/?#%a-z0-9]{0,6}",
    ];
    (scheme, login, host, path).prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}"))
}

fn options(url: &RedisUrl) -> RedisOptions {
    RedisOptions {
        url: url.expose().to_owned(),
        ca: None,
        sentinel: None,
        prefix: "p:".to_owned(),
        stream_length: 100,
    }
}

/// A line of a file, or nearly one.
fn line() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "[etcd]",
        "[redis]",
        "[admin]",
        "[[log]]",
        "id = \"a\"",
        "grace = \"3s\"",
        "grace = 3.5",
        "endpoints = [\"http://a:1\", \"https://b:2\"]",
        "endpoints = [5]",
        "user = \"u\"",
        "password = \"hunter2\"",
        "password = \"hunter2",
        "password = hunter2",
        "password = ['hunter2']",
        "password = \"\\qhunter2\"",
        "url = \"redis://u:hunter2@h:1/x\"",
        "url = \"redis://u:hunter2@h\"",
        "url = redis://u:hunter2@h",
        "listen = \"127.0.0.1:0\"",
        "= \"hunter2\"",
        "é = 1",
        "level = \"x\"",
    ]);
    (line, "[ =\"#é\\[\\]]{0,2}").prop_map(|(line, more)| format!("{line}{more}"))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ Σ=,a\\[\\]{}]{0,6}",
        "[a-z0-9:/.,\\[\\]@ ]{0,20}",
        "[0-9]{1,24}(s|m|h|d|KiB|MiB|b)?"
    ]
}

proptest! {
    #[test]
    fn redis_urls(given in redis_url()) {
        match RedisUrl::parse(&given) {
            Ok(url) => {
                let shown = format!("{url} {url:?}");
                prop_assert!(!shown.contains(SECRET), "{}", shown);
                let sink = RedisSink::with(&options(&url));
                prop_assert!(sink.is_ok(), "{given}: {sink:?}");
            }
            Err(what) => prop_assert!(!what.contains(SECRET), "{what}"),
        }
    }

    /// Whatever the password is, the client reads it out of the URL again.
    #[test]
    fn passwords_from_files(
        user in prop::sample::select(vec!["", "u@", "u%40v@"]), password in "\\PC{1,12}",
    ) {
        let url = RedisUrl::parse(&format!("redis://{user}h:1/2")).unwrap();
        let url = url.with_password(&Secret::new(password.clone()));
        prop_assert!(url.has_password());
        let info = url.expose().into_connection_info().unwrap();
        prop_assert_eq!(info.redis_settings().password(), Some(password.as_str()));
    }

    #[test]
    fn etcd_endpoints(given in prop_oneof![
        text(),
        prop::collection::vec(prop::sample::select(vec![
            "http://a:1", "https://a:1/", "http://[::1]:2379", "http://u:hunter2@a:1", "http://a",
            "http://a:hunter2", "hunter2:1", " http://b:2 ", "http://a:0", "http://a:1?hunter2", "",
        ]), 1..4).prop_map(|all| all.join(",")),
    ]) {
        match types::endpoints(&given) {
            Ok(all) => {
                prop_assert!(!all.is_empty());
                prop_assert_eq!(types::endpoints(&all.join(",")), Ok(all));
            }
            Err(what) => prop_assert!(!what.contains(SECRET), "{what}"),
        }
    }

    #[test]
    fn single_values(given in text()) {
        if let Ok(time) = types::duration(&given) {
            prop_assert_eq!(types::duration(&humantime::format_duration(time).to_string()), Ok(time));
        }
        if let Ok(bytes) = types::size(&given) {
            prop_assert_eq!(types::size(&bytes.to_string()), Ok(bytes));
        }
        if let Ok(addr) = types::listen(&given) {
            prop_assert_eq!(types::listen(&addr.to_string()), Ok(addr));
        }
        if let Ok(length) = types::stream_length(&given) {
            prop_assert_eq!(types::stream_length(&length.to_string()), Ok(length));
        }
        for read in [types::etcd_prefix, types::redis_prefix, types::agent_id, types::user, types::log_level] {
            prop_assert!(read(&given).is_ok_and(|kept| kept == given) || read(&given).is_err());
        }
        let _ = types::log_format(&given);
    }

    /// EnvFilter panics at this one.
    #[test]
    fn levels(before in "[ Σ]{0,2}", after in "[ =aΣ]{0,3}") {
        let given = format!("{before}Σ={after}");
        prop_assert!(types::log_level(&given).is_err());
    }

    #[test]
    fn files(lines in prop::collection::vec(line(), 0..8), bytes in prop::collection::vec(any::<u8>(), 0..3)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [lines.join("\n").as_bytes(), &bytes].concat()).unwrap();
        let sources = Sources {
            file: Some(file.path().to_owned()),
            ..Sources::default()
        };
        match Config::load(sources) {
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains(SECRET), "{}", shown);
            }
            Err(error) => {
                prop_assert!(!error.mistakes.is_empty());
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(SECRET), "{}", shown);
            }
        }
    }

    #[test]
    fn environments(given in prop::collection::vec((0..SETTINGS.len(), text()), 0..4), name in "[A-Z_]{0,12}") {
        let mut env: Vec<_> = given.into_iter().map(|(n, value)| {
            (SETTINGS[n].env().into(), value.into())
        }).collect();
        env.push((format!("{ENV_PREFIX}{name}").into(), SECRET.into()));
        if let Err(error) = Config::load(Sources { env, ..Sources::default() }) {
            prop_assert!(!error.mistakes.is_empty());
            prop_assert!(!error.to_string().contains(SECRET), "{error}");
        }
    }
}
