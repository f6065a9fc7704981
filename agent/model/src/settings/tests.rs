use super::*;

fn allows(networks: Option<&str>, address: &str) -> bool {
    let value = networks.map_or("{}".to_owned(), |networks| {
        format!(r#"{{"allowed_networks":{networks}}}"#)
    });
    let settings = Settings::from_user(value.as_bytes()).unwrap();
    let Ok(address) = Address::new(address) else {
        return false;
    };
    assert_eq!(settings.allows(address), settings.check(address).is_ok());
    settings.allows(address)
}

const SPECIAL: &[&str] = &[
    "127.0.0.1:8081",
    "127.9.9.9:80",
    "0.0.0.1:80",
    "169.254.169.254:80",
    "169.254.1.1:80",
    "100.100.100.200:80",
    "255.255.255.255:80",
    "224.0.0.1:80",
    "0.0.0.0:80",
    "[::]:80",
    "[::1]:80",
    "[fe80::1]:80",
    "[fd00:ec2::254]:80",
    "[ff02::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:169.254.169.254]:80",
    "[64:ff9b::127.0.0.1]:80",
    "[64:ff9b::169.254.169.254]:80",
    "[2002:7f00:1::]:80",
    "[2002:a9fe:a9fe::1]:80",
    "[::127.0.0.1]:80",
];

#[test]
fn special_addresses_are_refused_unless_their_network_is_named() {
    for address in SPECIAL {
        assert!(!allows(None, address), "{address}");
        let anywhere = r#"["0.0.0.0/0","::/0"]"#;
        assert!(!allows(Some(anywhere), address), "{address}");
    }
    for (network, address) in [
        ("127.0.0.0/8", "127.0.0.1:80"),
        ("127.0.0.1/32", "[::ffff:127.0.0.1]:80"),
        ("169.254.0.0/16", "169.254.1.1:80"),
        ("::1/128", "[::1]:80"),
        ("64:ff9b::7f00:0/104", "[64:ff9b::127.0.0.1]:80"),
        ("fe80::/10", "[fe80::1]:80"),
    ] {
        assert!(
            allows(Some(&format!(r#"["{network}"]"#)), address),
            "{network}"
        );
        assert!(!allows(Some(&format!(r#"["{network}"]"#)), "10.0.0.1:80"));
    }
    // A neighbour's network does not name that of a metadata service.
    assert!(!allows(
        Some(r#"["127.0.0.0/8"]"#),
        "[64:ff9b::127.0.0.1]:80"
    ));
    for address in [
        "10.0.0.1:80",
        "[fd00::1]:80",
        "[2002:a00:1::1]:80",
        "[64:ff9b::8.8.8.8]:80",
    ] {
        assert!(allows(None, address), "{address}");
    }
}

#[test]
fn ports_can_be_limited() {
    let settings = Settings::from_user(br#"{"allowed_ports":["80","1024-65535"]}"#).unwrap();
    let allows = |text: &str| settings.check(Address::new(text).unwrap()).is_ok();
    assert!(allows("10.0.0.1:80") && allows("10.0.0.1:1024") && allows("10.0.0.1:65535"));
    assert!(!allows("10.0.0.1:81") && !allows("10.0.0.1:1023"));
    let again = Settings::from_user(settings.to_value().as_bytes());
    assert_eq!(again, Ok(settings));
    for bad in [
        r#"["0"]"#,
        r#"["9-8"]"#,
        "[80]",
        "[]",
        r#"["1-70000"]"#,
        r#""80""#,
    ] {
        let value = format!(r#"{{"allowed_ports":{bad}}}"#);
        let bad = Settings::from_user(value.as_bytes()).unwrap_err();
        assert_eq!(bad.field.as_deref(), Some("allowed_ports"));
    }
}

#[test]
fn host_bits_of_a_network_are_refused_by_the_api_and_dropped_in_old_values() {
    let value = br#"{"allowed_networks":["10.0.0.1/8"]}"#;
    let bad = Settings::from_user(value).unwrap_err();
    assert!(
        bad.detail.contains(r#"did you mean "10.0.0.0/8""#),
        "{bad:?}"
    );
    let stored = Settings::from_value(value).unwrap();
    assert_eq!(stored.to_value(), r#"{"allowed_networks":["10.0.0.0/8"]}"#);
}

#[test]
fn no_policy_exceeds_a_ceiling() {
    let settings = br#"{"ceilings":{"read_timeout":"30s","idle_timeout":"2h","max_conns":100,
        "retries":2,"health_check_interval":"5s","health_check_timeout":"1s"}}"#;
    let settings = Settings::from_user(settings).unwrap();
    let ceilings = settings.ceilings.clone().unwrap();
    for (policy, field) in [
        (r#"{"read_timeout":"1h"}"#, "read_timeout"),
        (r#"{"max_conns":65535}"#, "max_conns"),
        (r#"{"retries":3}"#, "retries"),
        (
            r#"{"health_check":{"interval":"4s"}}"#,
            "health_check.interval",
        ),
        (r#"{"health_check":{}}"#, "health_check.timeout"),
    ] {
        let policy = Policy::from_value(policy.as_bytes()).unwrap();
        let bad = ceilings.check(&policy).unwrap_err();
        assert_eq!(bad.field.as_deref(), Some(field));
        let effective = settings.effective(&policy);
        assert_eq!(ceilings.check(&effective), Ok(()), "clamped");
    }
    // What a policy leaves out is the edge's default, or the ceiling if that is lower.
    let effective = settings.effective(&Policy::default());
    assert_eq!(
        effective.to_value(),
        r#"{"read_timeout":"30s","max_conns":100}"#
    );
    let within = Policy::from_value(br#"{"read_timeout":"5s","retries":0}"#).unwrap();
    assert_eq!(
        settings.effective(&within).to_value(),
        r#"{"retries":0,"read_timeout":"5s","max_conns":100}"#
    );
    let again = Settings::from_user(settings.to_value().as_bytes());
    assert_eq!(again, Ok(settings));
    let defaults = br#"{"ceilings":{"retries":1},"defaults":{"retries":2}}"#;
    let bad = Settings::from_user(defaults).unwrap_err();
    assert_eq!(bad.field.as_deref(), Some("defaults.retries"));
}
