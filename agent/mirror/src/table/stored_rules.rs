//! A route as the table keeps it: as short as can be, since there are many.

use std::borrow::Cow;

use pointsman_model::{AppName, Bad, Route};

/// A host's rules.
#[derive(Debug)]
pub(super) enum StoredRules {
    /// All goes to one app, as with most hosts.
    To(AppName),
    /// Anything else, as text.
    Text(Box<RulesText>),
}

/// Rules as the record has them and as the API shows them, which often is the
/// same.
#[derive(Debug)]
pub(super) struct RulesText {
    record: Box<str>,
    shown: Option<Box<str>>,
}

impl StoredRules {
    /// Reads a route's value.
    pub(super) fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        if let Some(app) = Route::only_app(raw) {
            return Ok(Self::To(app));
        }
        let route = Route::from_value(raw)?;
        let (record, shown) = (route.record_rules(), route.rules_json());
        Ok(Self::Text(Box::new(RulesText {
            shown: (shown != record).then(|| shown.into()),
            record: record.into(),
        })))
    }

    /// As the record has them.
    pub(super) fn record(&self) -> Cow<'_, str> {
        match self {
            Self::To(app) => Route::rules_to(app).into(),
            Self::Text(text) => (&*text.record).into(),
        }
    }

    /// As the API shows them.
    pub(super) fn shown(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.shown.as_deref().unwrap_or(&text.record).into(),
            Self::To(_) => self.record(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_to_one_app_is_kept_by_its_name_and_means_the_same() {
        let long = r#"{"rules":[{"path":"/","to":[{"app":"a.b-c_1"}]}]}"#;
        for raw in [r#"{"app":"a.b-c_1"}"#, long] {
            let rules = StoredRules::from_value(raw.as_bytes()).unwrap();
            assert!(matches!(&rules, StoredRules::To(app) if app.as_str() == "a.b-c_1"));
            let route = Route::from_value(raw.as_bytes()).unwrap();
            assert_eq!(rules.record(), route.record_rules());
            assert_eq!(rules.shown(), route.rules_json());
            assert_eq!(long, route.to_value(), "as the API writes it");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_read_with_care() {
        for raw in [
            r#"{"app":"a","app":"b"}"#,
            r#"{"app":"A"}"#,
            r#"{"app":""}"#,
            r#"{"app":".."}"#,
            r#"{"rules":[{"path":"/","to":[{"app":"a"},{"app":"a"}]}]}"#,
        ] {
            let refused = StoredRules::from_value(raw.as_bytes()).unwrap_err();
            assert_eq!(refused, Route::from_value(raw.as_bytes()).unwrap_err());
        }
        let split = br#"{"rules":[{"path":"/","to":[{"app":"a"},{"app":"b"}]}]}"#;
        let rules = StoredRules::from_value(split).unwrap();
        assert_eq!(
            rules.shown(),
            Route::from_value(split).unwrap().rules_json()
        );
    }
}
