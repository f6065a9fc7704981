use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(k, v)| (k.into(), v.into())).collect()
}

fn temp_file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn from_file(text: &str) -> Result<Config, Vec<Mistake>> {
    let file = temp_file(text);
    let sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    Config::load(sources).map_err(|e| e.mistakes)
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    let sources = Sources {
        env: env(pairs),
        ..Sources::default()
    };
    Config::load(sources).map_err(|e| e.mistakes)
}

#[test]
fn nothing_given_is_a_working_configuration() {
    let config = Config::load(Sources::default()).unwrap();
    assert_eq!(config.etcd.endpoints, ["http://127.0.0.1:2379"]);
    assert_eq!(config.etcd.prefix, "/pointsman/");
    assert!(config.etcd.tls.is_none());
    assert_eq!(config.redis.url.expose(), "redis://127.0.0.1:6379");
    assert_eq!(config.admin.listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.admin.body_limit, 1 << 20);
    assert_eq!(config.grace, Duration::from_secs(10));
    let other = Config::load(Sources::default()).unwrap();
    assert_ne!(config.id, other.id, "two agents on one host differ");
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = temp_file(
        "grace = \"1s\"\n[etcd]\nprefix = \"/file/\"\n[redis]\nprefix = \"file:\"\nstream_length = 500\n",
    );
    let config = Config::load(Sources {
        file: None,
        env: env(&[
            ("POINTSMAN_AGENT_CONFIG", path(&file)),
            ("POINTSMAN_AGENT_GRACE", "2s"),
            ("POINTSMAN_AGENT_ETCD_PREFIX", "/env/"),
        ]),
        flags: vec![("grace", "3s".to_owned())],
    })
    .unwrap();
    assert_eq!(config.grace, Duration::from_secs(3));
    assert_eq!(config.etcd.prefix, "/env/");
    assert_eq!(config.redis.prefix, "file:");
    assert_eq!(config.redis.stream_length, 500);
}

#[test]
fn all_mistakes_are_told_in_one_go_with_their_places() {
    let file = temp_file(
        "colour = 1\n[etcd]\nendpoint = \"http://a:1\"\ntimeout = 5\n[admin]\nlisten = \"localhost:80\"\n",
    );
    let error = Config::load(Sources {
        file: Some(file.path().to_owned()),
        env: env(&[
            ("POINTSMAN_AGENT_REDIS_URL", "http://u:geheim@h"),
            ("POINTSMAN_AGENT_REDIS_PREFX", "x:"),
        ]),
        flags: vec![("log.level", "loud".to_owned())],
    })
    .unwrap_err();
    let text = error.to_string();
    let path = path(&file);
    for expected in [
        format!("{path}:colour: there is no such key; there are id, grace, reconcile,"),
        format!("{path}:etcd.endpoint: there is no such key; is etcd.endpoints meant?"),
        format!("{path}:etcd.timeout: \"5\" is not accepted: a duration with its unit"),
        format!("{path}:admin.listen: \"localhost:80\" is not accepted: IPv4:port"),
        "POINTSMAN_AGENT_REDIS_URL: not a Redis URL (accepted: redis://".to_owned(),
        "POINTSMAN_AGENT_REDIS_PREFX: there is no such variable; is POINTSMAN_AGENT_REDIS_PREFIX meant?".to_owned(),
        "--log-level: \"loud\" is not accepted: error, warn".to_owned(),
        "the configuration has 7 mistakes:".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\nnot in\n{text}");
    }
    assert!(!text.contains("geheim"), "{text}");
}

#[test]
fn the_edges_variables_are_left_alone_and_near_misses_are_not() {
    assert!(from_env(&[("POINTSMAN_REDIS", "x"), ("POINTSMAN_PREFIX", "y")]).is_ok());
    // What Kubernetes puts there for a service called pointsman-agent.
    assert!(
        from_env(&[
            ("POINTSMAN_AGENT_PORT", "tcp://10.0.0.1:8081"),
            ("POINTSMAN_AGENT_PORT_8081_TCP_ADDR", "10.0.0.1"),
            ("POINTSMAN_AGENT_SERVICE_HOST", "10.0.0.1"),
        ])
        .is_ok()
    );
    let mistakes = from_env(&[("POINTSMAN_ETCD_ENDPOINTS", "http://a:1")]).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "POINTSMAN_ETCD_ENDPOINTS: the agent's settings begin with POINTSMAN_AGENT_: \
         POINTSMAN_AGENT_ETCD_ENDPOINTS"
    );
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_a_mistake_that_repeats_no_line() {
    let mistakes = Config::load(Sources {
        file: Some("/nowhere/pointsman.toml".into()),
        ..Sources::default()
    })
    .unwrap_err()
    .mistakes;
    assert_eq!(mistakes[0].origin, "/nowhere/pointsman.toml");
    let mistakes = from_file("[etcd]\npassword = geheim\n").unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].origin.ends_with(":2"), "{mistakes:?}");
    assert!(!mistakes[0].what.contains("geheim"), "{mistakes:?}");
}

#[test]
fn endpoints_are_urls_with_a_port_and_of_one_scheme() {
    let config = from_file("[etcd]\nendpoints = [\"http://a:1\", \"http://[::1]:2/\"]\n").unwrap();
    assert_eq!(config.etcd.endpoints, ["http://a:1", "http://[::1]:2"]);
    for bad in [
        "",
        "a:2379",
        "a",
        "http://",
        "http://a",
        "http://a:0",
        "http://a:70000",
        "http://a:1/v3",
        "http://u:p@a:1",
        "http://a:1,https://b:1",
        "ftp://a:1",
        "http://a:1,",
    ] {
        let result = from_env(&[("POINTSMAN_AGENT_ETCD_ENDPOINTS", bad)]);
        assert!(result.is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn a_redis_url_is_checked_and_never_shown_with_its_password() {
    for good in [
        "redis://h",
        "redis://h:1",
        "rediss://h:1/2",
        "redis://:p@h:1",
        "redis://u:p%40x@[::1]:1/0",
        "redis+sentinel://h:1/table",
        "rediss+sentinel://:p@h:1/table",
        "redis+sentinel://:p@h:1,[::1]:2,i:3/table/4",
    ] {
        let config = from_env(&[("POINTSMAN_AGENT_REDIS_URL", good)]).unwrap();
        assert_eq!(config.redis.url.expose(), good);
        let shown = format!("{config:?} {}", config.redis.url);
        assert!(
            !shown.contains("p%40x") && !shown.contains(":p@"),
            "{shown}"
        );
    }
    for bad in [
        "",
        "h:6379",
        "redis://",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/x",
        "redis://h?db=1",
        "redis+sentinel://h:1",
        "redis+sentinel://h/table",
        "redis+sentinel://h:1,/table",
        "redis+sentinel://h:1,i:0/table",
        "redis+sentinel://h:1/table/x",
        "redis+sentinel://h:1/ta ble",
        "rediss+sentinel://h/table",
        "redis+tls+sentinel://h:1/table",
        "unix:/run/redis.sock",
    ] {
        let result = from_env(&[("POINTSMAN_AGENT_REDIS_URL", bad)]);
        assert!(result.is_err(), "{bad:?} was accepted");
    }
}

#[test]
fn passwords_come_from_a_file_too_and_are_redacted() {
    let file = temp_file("s3cr@t\n");
    let config = from_env(&[
        ("POINTSMAN_AGENT_ETCD_USER", "agent"),
        ("POINTSMAN_AGENT_ETCD_PASSWORD_FILE", path(&file)),
        ("POINTSMAN_AGENT_REDIS_URL", "redis://writer@h:1/2"),
        ("POINTSMAN_AGENT_REDIS_PASSWORD_FILE", path(&file)),
    ])
    .unwrap();
    let (user, password) = config.etcd.login.clone().unwrap();
    assert_eq!((user.as_str(), password.expose()), ("agent", "s3cr@t"));
    assert_eq!(config.redis.url.expose(), "redis://writer:s3cr%40t@h:1/2");
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cr"), "{shown}");
    assert!(shown.contains("redis://writer:(redacted)@h:1/2"), "{shown}");
}

#[test]
fn halves_of_a_pair_are_mistakes() {
    let pem = temp_file("-----BEGIN CERTIFICATE-----\n");
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("ETCD_USER", "u")], "a password belongs to it"),
        (&[("ETCD_PASSWORD", "p")], "a user belongs to it"),
        (
            &[
                ("ETCD_USER", "u"),
                ("ETCD_PASSWORD", "p"),
                ("ETCD_PASSWORD_FILE", "/dev/null"),
            ],
            "leave one of the two out",
        ),
        (
            &[
                ("ETCD_ENDPOINTS", "https://a:1"),
                ("ETCD_CERT_FILE", path(&pem)),
            ],
            "etcd.key_file belongs to it",
        ),
        (&[("ETCD_CA_FILE", path(&pem))], "no effect unless"),
        (
            &[
                ("ETCD_ENDPOINTS", "https://a:1"),
                ("ETCD_CA_FILE", "/nowhere.pem"),
            ],
            "cannot be read",
        ),
        (
            &[
                ("REDIS_URL", "redis://:p@h"),
                ("REDIS_PASSWORD_FILE", path(&pem)),
            ],
            "redis.url holds a password too",
        ),
        (
            &[("REDIS_SENTINEL_PASSWORD_FILE", path(&pem))],
            "no effect unless redis.url is redis+sentinel://",
        ),
        (
            &[
                ("REDIS_URL", "redis+sentinel://h:1/table"),
                ("REDIS_SENTINEL_USER", "u"),
            ],
            "redis.sentinel_password_file belongs to it",
        ),
    ];
    for (pairs, expected) in cases {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| (format!("POINTSMAN_AGENT_{k}"), *v))
            .collect();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        let mistakes = from_env(&pairs).unwrap_err();
        let found = mistakes.iter().any(|m| m.what.contains(expected));
        assert!(found, "{expected}: {mistakes:?}");
    }
    let config = from_env(&[
        ("POINTSMAN_AGENT_ETCD_ENDPOINTS", "https://a:1"),
        ("POINTSMAN_AGENT_ETCD_CERT_FILE", path(&pem)),
        ("POINTSMAN_AGENT_ETCD_KEY_FILE", path(&pem)),
    ])
    .unwrap();
    assert!(config.etcd.tls.unwrap().identity.is_some());
}

#[test]
fn names_of_the_admin_api() {
    let hosts = |text| from_env(&[("POINTSMAN_AGENT_ADMIN_HOSTS", text)]);
    let config = hosts("Agent.example.com, agents.internal").unwrap();
    assert_eq!(config.admin.hosts, ["agent.example.com", "agents.internal"]);
    for bad in [
        "*.example.com",
        "agent.example.com:8081",
        "10.0.0.1",
        ",",
        "http://a",
    ] {
        hosts(bad).unwrap_err();
    }
}

#[test]
fn sizes_and_other_bounded_values() {
    for (text, bytes) in [
        ("1", 1),
        ("64KiB", 65536),
        ("2m", 2 << 20),
        ("1MiB", 1 << 20),
    ] {
        let config = from_env(&[("POINTSMAN_AGENT_ADMIN_BODY_LIMIT", text)]).unwrap();
        assert_eq!(config.admin.body_limit, bytes);
    }
    for (name, bad) in [
        ("ADMIN_BODY_LIMIT", "0"),
        ("ADMIN_BODY_LIMIT", "1GiB"),
        ("ADMIN_BODY_LIMIT", "-1"),
        ("GRACE", "0s"),
        ("GRACE", "2h"),
        ("REDIS_STREAM_LENGTH", "99"),
        ("REDIS_STREAM_LENGTH", "many"),
        ("REDIS_PREFIX", ""),
        ("REDIS_PREFIX", "a b"),
        ("ETCD_PREFIX", "pointsman"),
        ("ETCD_PREFIX", "/"),
        ("ETCD_PREFIX", "/a//b/"),
        ("ID", "a b"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "infoo"),
        ("LOG_LEVEL", ""),
    ] {
        let name = format!("POINTSMAN_AGENT_{name}");
        let mistakes = from_env(&[(&name, bad)]).expect_err(&format!("{name}={bad}"));
        assert_eq!(mistakes[0].origin, name);
    }
}

#[test]
fn the_documentation_names_every_setting_with_its_default() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let rows: Vec<&str> = docs.lines().filter(|l| l.starts_with("| `")).collect();
    let expected: Vec<String> = SETTINGS
        .iter()
        .map(|s| {
            let default = s.default.map_or("–".to_owned(), |d| format!("`{d}`"));
            let flag = match s.secret {
                true => "–".to_owned(),
                false => format!("`--{}`", s.flag()),
            };
            let takes = s.takes.replace('|', "\\|");
            format!(
                "| `{}` | {flag} | `{}` | {takes} | {default} | {} |",
                s.key,
                s.env(),
                s.help
            )
        })
        .collect();
    let wanted = expected.join("\n");
    assert!(
        rows == expected,
        "docs/configuration.md must have exactly these rows:\n{wanted}"
    );
}

/// A password can stand in an endpoint however wrong the rest of it is, and
/// reach a log by way of the message about it.
#[test]
fn no_mistake_in_an_endpoint_shows_its_password() {
    let wrong = [
        "http://u:geheim@a:1",
        "https://u:geheim@a:1",
        "http://geheim@a:1",
        "http://u:geheim@a",
        "http://u:geheim@a:0",
        "http://u:geheim@a:70000",
        "http://u:geheim@a:1/path",
        "http://u:geheim@a:1?query",
        "http://u:geheim@a:1#fragment",
        "http://u:geheim@",
        "http://u:geheim@:1",
        "http://u:geheim",
        "http://u:geheim%40a:1",
        "http://u:ge/geheim@a:1",
        "http://u:ge?geheim@a:1",
        "http://u:ge#geheim@a:1",
        "http://u:ge geheim@a:1",
        "http://u:ge@geheim@a:1",
        "http://u:ge,geheim@a:1",
        "http://u:ge[geheim@a:1",
        "http://u:ge\\geheim@a:1",
        "http://u:ge\u{e9}geheim@a:1",
        "http://u:ge%zzgeheim@a:1",
        "http://a:1/?password=geheim",
        "http://a:1/geheim",
        "http://[::1:geheim@a:1",
        "http:/u:geheim@a:1",
        "http:u:geheim@a:1",
        "//u:geheim@a:1",
        "u:geheim@a:1",
        "geheim@a:1",
        "etcd://u:geheim@a:1",
        "HTTP//u:geheim@a:1",
        "http://a:1,http://u:geheim@b",
        "http://a:1;http://u:geheim@b:1",
        "http://a:1 http://u:geheim@b:1",
        "http://a:1,https://u:geheim@b:1",
        "\"http://u:geheim@a:1\"",
        "geheim",
    ];
    for text in wrong {
        let array: Vec<_> = text.split(',').collect();
        let from_file = from_file(&format!("[etcd]\nendpoints = {array:?}\n"));
        let from_flag = Config::load(Sources {
            flags: vec![("etcd.endpoints", text.to_owned())],
            ..Sources::default()
        });
        let ways = [
            from_env(&[("POINTSMAN_AGENT_ETCD_ENDPOINTS", text)]),
            from_file,
            from_flag.map_err(|error| error.mistakes),
        ];
        for mistakes in ways {
            let mistakes = mistakes.expect_err(text);
            let told = ConfigError { mistakes };
            assert!(!told.to_string().contains("geheim"), "{text}: {told}");
            assert!(!format!("{told:?}").contains("geheim"), "{text}: {told:?}");
            assert!(told.to_string().contains("accepted: http://"), "{told}");
        }
    }
    let mistakes = from_env(&[("POINTSMAN_AGENT_ETCD_ENDPOINTS", "http://a:1,http://b")]);
    let told = mistakes.unwrap_err()[0].to_string();
    assert!(
        told.contains("endpoint 2 of 2 lacks a host or a port"),
        "{told}"
    );
}
