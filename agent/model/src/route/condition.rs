//! What a request must have for a rule, or for a forced target.

use serde_json::{Value, json};

use crate::fields::{Fields, string};
use crate::values::{
    array, bad_value, boolean, header, one_of, parameter, printable, shown, token,
};
use crate::{Bad, BadCode};

const FIELDS: &str = "header, cookie, query, method, exact, prefix, present";
const SUBJECTS: &str = "header, cookie, query, method";
const TESTS: &str = "exact, prefix, present";
const LONGEST_VALUE: usize = 1024;
const LONGEST_METHOD: usize = 32;
const MOST_METHODS: usize = 16;

/// What a request must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// A value that passes a test.
    Value(Subject, Test),
    /// One of these methods.
    Method(Vec<Box<str>>),
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A header.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
}

/// What must hold for its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is this.
    Exact(Box<str>),
    /// It begins with this.
    Prefix(Box<str>),
    /// It is there, or is not.
    Present(bool),
}

impl When {
    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("a condition", value)?;
        let mut subjects = Vec::new();
        if let Some(name) = fields.take_string("header")? {
            subjects.push(Some(Subject::Header(header("header", &name)?)));
        }
        if let Some(name) = fields.take_string("cookie")? {
            subjects.push(Some(Subject::Cookie(token("cookie", &name)?)));
        }
        if let Some(name) = fields.take_string("query")? {
            subjects.push(Some(Subject::Query(parameter("query", &name)?)));
        }
        let methods = fields.take("method").map(methods).transpose()?;
        if methods.is_some() {
            subjects.push(None);
        }
        let mut tests = Vec::new();
        if let Some(text) = fields.take_string("exact")? {
            tests.push(Test::Exact(printable("exact", &text, LONGEST_VALUE)?));
        }
        if let Some(text) = fields.take_string("prefix")? {
            tests.push(Test::Prefix(printable("prefix", &text, LONGEST_VALUE)?));
        }
        if let Some(value) = fields.take("present") {
            tests.push(Test::Present(boolean("present", value)?));
        }
        fields.finish(FIELDS)?;
        match (one_of("a condition", SUBJECTS, subjects)?, methods) {
            (Some(subject), _) => {
                let test = one_of("a condition on a header, cookie or query", TESTS, tests)?;
                Ok(When::Value(subject, test))
            }
            (None, Some(methods)) if tests.is_empty() => Ok(When::Method(methods)),
            (None, _) => {
                let detail = "a condition on the method has no other field";
                Err(Bad::new(BadCode::BadValue, detail).field("method"))
            }
        }
    }

    /// Whether a target may be forced by it.
    pub(super) fn may_force(&self) -> bool {
        matches!(
            self,
            When::Value(Subject::Header(_) | Subject::Cookie(_), _)
        )
    }

    pub(super) fn to_json(&self) -> Value {
        let (subject, test) = match self {
            When::Method(methods) => return json!({ "method": methods }),
            When::Value(subject, test) => (subject, test),
        };
        let mut value = match subject {
            Subject::Header(name) => json!({ "header": name }),
            Subject::Cookie(name) => json!({ "cookie": name }),
            Subject::Query(name) => json!({ "query": name }),
        };
        match test {
            Test::Exact(text) => value["exact"] = json!(text),
            Test::Prefix(text) => value["prefix"] = json!(text),
            Test::Present(present) => value["present"] = json!(present),
        }
        value
    }
}

fn methods(value: Value) -> Result<Vec<Box<str>>, Bad> {
    let mut methods: Vec<Box<str>> = Vec::new();
    for item in array("method", value, 1, MOST_METHODS)? {
        let text = string("method", item.clone())?;
        let fits = (1..=LONGEST_METHOD).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            let detail = format!(
                "\"method\" must be a list of methods like [\"GET\",\"HEAD\"], in upper case, \
                 without {}",
                shown(&item)
            );
            return Err(bad_value("method", detail));
        }
        if methods.iter().any(|method| **method == *text) {
            let detail = format!("\"method\" names {} twice", shown(&item));
            return Err(bad_value("method", detail));
        }
        methods.push(text.into());
    }
    Ok(methods)
}
