//! What holds for every parser, whatever it is given: it does not panic, what
//! it has read is written so that it reads the same, and a refusal is short and
//! names the field.
//!
//! `make test` runs a few hundred cases of each, `make fuzz` a hundred thousand.

use std::fmt::Debug;
use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

use super::fields::json_object;
use super::path::{canonical, literal};
use super::values::{duration, span};
use super::*;

mod nearly;

use nearly::{golden, nearly, text};

/// The longest sentence, with all that it quotes.
const LONGEST_DETAIL: usize = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

type Outcome<T = ()> = Result<T, TestCaseError>;

/// Reads `raw`. What was read must read the same once it is written, and be
/// written the same again; a refusal must say what is wrong.
fn read<T: PartialEq + Debug>(
    raw: &[u8],
    from_value: fn(&[u8]) -> Result<T, Bad>,
    to_value: impl Fn(&T) -> String,
) -> Outcome<Option<T>> {
    match from_value(raw) {
        Ok(value) => {
            let written = to_value(&value);
            let again = from_value(written.as_bytes());
            prop_assert_eq!(again.as_ref().map(&to_value), Ok(written));
            prop_assert_eq!(again.as_ref(), Ok(&value));
            Ok(Some(value))
        }
        Err(bad) => {
            says_what_is_wrong(raw, &bad)?;
            Ok(None)
        }
    }
}

fn says_what_is_wrong(raw: &[u8], bad: &Bad) -> Outcome {
    prop_assert!(
        !bad.detail.is_empty() && bad.detail.len() < LONGEST_DETAIL,
        "{bad:?}"
    );
    let Ok(Value::Object(fields)) = serde_json::from_slice(raw) else {
        return Ok(());
    };
    let Some(field) = &bad.field else {
        // The whole is wrong; the sentence names the fields that it may have.
        let whole = bad.code == BadCode::BadJson || bad.detail.starts_with("a route ");
        prop_assert!(whole, "no field: {}", bad.detail);
        return Ok(());
    };
    // A name may hold anything: the field begins with one of those in the value.
    let known = fields.keys().any(|name| {
        let cut: String = name.chars().take(LONGEST_QUOTE).collect();
        field.starts_with(&cut)
    });
    let missing = bad.code == BadCode::MissingField;
    prop_assert!(known || missing, "{field} is not in it: {}", bad.detail);
    Ok(())
}

/// A host in a form that is known, or nearly so.
fn host() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        4 => "[a-zA-Z0-9-]{1,8}",
        1 => "xn--[a-z0-9-]{1,8}",
        1 => "[äßçİıﬁΣ中１ａ＊。\u{200d}-]{1,3}",
        1 => "[0-9]{1,3}",
    ];
    let name = prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."));
    let ip = any::<[u16; 8]>().prop_map(|words| Ipv6Addr::from(words).to_string());
    let bracket = || prop::sample::select(vec!["", "[", "]", "[["]);
    prop_oneof![
        4 => ("(\\*\\.)?", name, "\\.?").prop_map(|(a, b, c)| a + &b + &c),
        2 => (bracket(), ip, prop::sample::select(vec!["", "]", "[", "]]"])).prop_map(|(a, b, c)| format!("{a}{b}{c}")),
        1 => any::<[u8; 4]>().prop_map(|b| std::net::Ipv4Addr::from(b).to_string()),
        2 => text(),
    ]
}

/// The record of a policy, as the API would be given it.
fn policy_of(record: &str) -> Policy {
    fn in_ms(map: Map<String, Value>) -> Map<String, Value> {
        let fields = map
            .into_iter()
            .map(|(name, value)| match name.strip_suffix("_ms") {
                Some(plain) => (plain.to_owned(), format!("{value}ms").into()),
                None if name == "sticky" => {
                    (name, in_ms(value.as_object().unwrap().clone()).into())
                }
                None if name == "wake" => {
                    let ms = value["timeout"].as_f64().unwrap() * 1_000.0;
                    let timeout = format!("{ms}ms");
                    let (url, max) = (&value["url"], &value["max"]);
                    (
                        name,
                        json!({"url": url, "timeout": timeout, "max_waiting": max}),
                    )
                }
                None => (name, value),
            });
        fields.collect()
    }
    let mut fields = json_object("a record", record.as_bytes()).unwrap();
    assert_eq!(fields.remove("rev"), Some(json!("7")));
    let value = Value::Object(in_ms(fields)).to_string();
    Policy::from_value(value.as_bytes()).unwrap()
}

/// The rules of a record, as the API would be given them.
fn route_of(record: &str) -> Route {
    let mut record: Value = serde_json::from_str(record).unwrap();
    for rule in record["rules"].as_array_mut().unwrap() {
        if let Some(maintenance) = rule.get_mut("maintenance").and_then(Value::as_object_mut)
            && let Some(seconds) = maintenance.remove("retry_after_s")
        {
            maintenance.insert("retry_after".to_owned(), format!("{seconds}s").into());
        }
    }
    let value = json!({ "rules": record["rules"] }).to_string();
    Route::from_value(value.as_bytes()).unwrap()
}

/// What a record of these rules says.
fn as_recorded(mut route: Route) -> Route {
    route
        .rules
        .sort_by_key(|rule| std::cmp::Reverse(rule.path.as_str().len()));
    for rule in &mut route.rules {
        let RuleAction::To(to) = &mut rule.action else {
            continue;
        };
        if to.rewrite == Some(Rewrite::Strip) {
            to.rewrite = Some(Rewrite::Path(Path::root()));
        }
        to.rewrite
            .take_if(|place| *place == Rewrite::Path(rule.path.clone()));
        to.split_by.take_if(|_| to.targets.len() < 2);
    }
    route
}

proptest! {
    #[test]
    fn routes(raw in nearly(golden("routes/"))) {
        let Some(route) = read(&raw, Route::from_value, Route::to_value)? else {
            prop_assert_eq!(Route::only_app(&raw), None);
            return Ok(());
        };
        let record = Route::record(&route.record_rules(), 7, Some(true), None);
        prop_assert_eq!(route_of(&record), as_recorded(route.clone()));
        if let Some(app) = Route::only_app(&raw) {
            prop_assert_eq!(Route::rules_to(&app), route.rules_json());
            prop_assert_eq!(Route::rules_to(&app), route.record_rules());
        }
    }

    #[test]
    fn policies(raw in nearly(golden("apps/"))) {
        let Some(policy) = read(&raw, Policy::from_value, Policy::to_value)? else {
            return Ok(());
        };
        let record = policy_of(&policy.record(7)).to_json();
        let mut fields = policy.to_json();
        let fields = fields.as_object_mut().unwrap();
        fields.remove("health_check");
        // A field that is not in the record is as it is at the edge anyway.
        for (name, value) in &mut *fields {
            let alone = json!({ name: value }).to_string();
            let left_out = Policy::from_value(alone.as_bytes()).is_ok_and(|p| p.record(7) == r#"{"rev":"7"}"#);
            prop_assert_eq!(record.get(name).is_none(), left_out, "{}", name);
        }
        fields.retain(|name, _| record.get(name).is_some());
        // The edge need not know the defaults of a wake-up.
        if let Some(wake) = fields.get_mut("wake").and_then(Value::as_object_mut) {
            wake.entry("timeout").or_insert(json!("30s"));
            wake.entry("max_waiting").or_insert(json!(1000));
        }
        prop_assert_eq!(&record, &Value::Object(fields.clone()));
    }

    #[test]
    fn instances(raw in nearly(golden("instances/")), draining: bool, down: bool) {
        let Some(instance) = read(&raw, Instance::from_value, Instance::to_value)? else {
            return Ok(());
        };
        let record = instance.record(7, Marks { draining, down });
        prop_assert_eq!(Instance::address_of(&record), Some(instance.addr));
        let row: Value = serde_json::from_str(&record).unwrap();
        prop_assert_eq!(&row[0], &json!("7"));
        prop_assert_eq!(&row[2], &json!(instance.weight));
        let zone = instance.zone.map(|zone| json!(zone));
        prop_assert_eq!(row[3].get("zone"), zone.as_ref());
        prop_assert_eq!(row[3].get("draining").is_some(), draining);
        prop_assert_eq!(row[3].get("down").is_some(), down);
    }

    #[test]
    fn settings(raw in nearly(golden("settings")), addr in any::<std::net::SocketAddr>()) {
        let Some(settings) = read(&raw, Settings::from_value, Settings::to_value)? else {
            return Ok(());
        };
        let Ok(addr) = Address::new(&addr.to_string()) else {
            return Ok(());
        };
        let networks = settings.allowed_networks.clone();
        let within = networks.is_none_or(|all| all.iter().any(|n| n.contains(&addr.socket().ip())));
        // Special addresses and ports may be refused within them.
        prop_assert!(within || settings.check(addr).is_err());
    }

    /// An instance's address is IPv4 where it can be, and so is the network.
    #[test]
    fn networks(ip in any::<std::net::Ipv4Addr>(), length in 0..=32_u8) {
        let of = |network: String| {
            let value = json!({ "allowed_networks": [network] }).to_string();
            Settings::from_value(value.as_bytes()).unwrap()
        };
        let mapped = of(format!("::ffff:{ip}/{}", length + 96));
        prop_assert_eq!(mapped, of(format!("{ip}/{length}")));
    }

    #[test]
    fn marks(raw in nearly(vec![
        json!({"draining": true}),
        json!({"up": false, "reason": "status 500"}),
        json!({"up": false, "pending": true}),
        json!({"max": 7}),
    ])) {
        read(&raw, Override::from_value, |word| word.to_value())?;
        read(&raw, Health::from_value, Health::to_value)?;
        read(&raw, Pause::from_value, |pause| pause.to_value())?;
    }

    #[test]
    fn what_operators_allow(raw in nearly(vec![
        json!({"epoch": "a", "replaces": "b"}),
        json!({"epoch": "a", "rev": 7}),
    ])) {
        if let Some(adoption) = Adoption::from_value(&raw) {
            let written = adoption.to_value();
            prop_assert_eq!(Adoption::from_value(written.as_bytes()), Some(adoption));
        }
        if let Some(confirmation) = Confirmation::from_value(&raw) {
            let written = confirmation.to_value();
            prop_assert_eq!(Confirmation::from_value(written.as_bytes()), Some(confirmation));
        }
    }

    /// A field that is there twice is refused; all else is as serde_json has it.
    #[test]
    fn json_objects(raw in nearly(golden("routes/"))) {
        let plain: Option<Value> = serde_json::from_slice(&raw).ok();
        match json_object("a value", &raw) {
            Ok(map) => prop_assert_eq!(plain, Some(Value::Object(map))),
            Err(bad) => {
                let twice = bad.detail.contains("is there twice");
                prop_assert!(twice || !plain.is_some_and(|value| value.is_object()), "{}", bad);
            }
        }
    }

    #[test]
    fn hosts(given in host()) {
        if let Ok(host) = Host::from_user(&given) {
            prop_assert_eq!(Host::from_user(host.as_str()), Ok(host.clone()));
            prop_assert_eq!(Host::from_key(host.as_str()), Ok(host.clone()));
            prop_assert_eq!(Host::from_user(&given.to_ascii_uppercase()), Ok(host.clone()));
            if given.contains(['[', ']']) {
                let inner = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                prop_assert!(inner.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()), "{}", host);
            }
        }
        if let Ok(host) = Host::from_key(&given) {
            prop_assert_eq!(host.as_str(), given);
        }
    }

    #[test]
    fn hosts_with_ports(host in host(), port in "(:[0-9]{0,6})?") {
        let given = format!("{host}{port}");
        if let Ok(read) = HostPort::from_user("host", &given) {
            prop_assert_eq!(HostPort::from_user("host", read.as_str()), Ok(read.clone()));
            // What is an address as a whole has no port.
            if let Ok(ip) = given.parse::<Ipv6Addr>() {
                prop_assert_eq!(read.as_str(), format!("[{ip}]"));
            }
        }
    }

    #[test]
    fn addresses(given in prop_oneof![
        any::<std::net::SocketAddr>().prop_map(|addr| addr.to_string()),
        (host(), "(:[0-9]{0,6})?").prop_map(|(host, port)| host + &port),
    ]) {
        if let Ok(addr) = Address::new(&given) {
            prop_assert_eq!(Address::new(&addr.to_string()), Ok(addr));
        }
    }

    #[test]
    fn paths(given in prop_oneof!["(/[a-z.%0-9A-F\\\\{^ ]{0,5}){1,5}", text()]) {
        if let Ok(path) = Path::from_user("path", &given) {
            prop_assert_eq!(Path::from_user("path", path.as_str()), Ok(path));
        }
        if let Ok(path) = canonical("path", &given) {
            prop_assert_eq!(canonical("path", &path), Ok(path));
        }
        if let Ok(path) = literal("path", &given, true) {
            prop_assert_eq!(&*path, given);
        }
    }

    #[test]
    fn durations(ms in 1..=365 * 24 * 3_600_000_u64, given in text()) {
        let read = |text: &str| duration("ttl", &json!(text), Duration::from_millis(1), 365 * DAY);
        let shown = span(Duration::from_millis(ms));
        prop_assert_eq!(read(&shown), Ok(Duration::from_millis(ms)));
        if let Ok(found) = read(&given) {
            prop_assert_eq!(read(&span(found)), Ok(found));
        }
    }

    #[test]
    fn keys(
        prefix in prop::sample::select(Kind::ALL).prop_map(|kind| kind.declaration().prefix()),
        host in host(),
        rest in "[a-zA-Z0-9._:/-]{0,20}",
        any in any::<String>(),
    ) {
        let keys = [format!("{prefix}{host}"), format!("{prefix}{rest}"), format!("{prefix}{any}"), any];
        for given in keys {
            match Key::parse(&given) {
                Ok(key) => prop_assert_eq!(key.to_string(), given),
                Err(bad) => prop_assert!(bad.detail.len() < LONGEST_DETAIL),
            }
        }
    }

    #[test]
    fn changes(rows in prop::collection::vec((text(), prop::option::of(text()), prop::option::of(text())), 0..4)) {
        let changes: Vec<_> = rows.iter().map(|(name, field, value)| Change {
            element: match field {
                None => Element::App(name.as_str().into()),
                Some(id) => Element::Instance(name.as_str().into(), id.as_str().into()),
            },
            value: value.as_deref().map(Into::into),
        }).collect();
        let expected: Vec<_> = rows.iter().map(|(name, field, value)| match field {
            None => json!([format!("app:{name}"), value]),
            Some(id) => json!([format!("inst:{name}"), id, value]),
        }).collect();
        let written = changes_json(&changes);
        prop_assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), json!(expected));
        prop_assert_eq!(written.lines().count(), rows.len().max(1));
    }
}
