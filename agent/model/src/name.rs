//! Names of apps, instances, edges and sets.

use std::fmt;

use super::{Bad, BadCode, quoted};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $code:expr, $what:literal, $longest:literal, $pattern:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Box<str>);

        impl $type {
            /// Takes a name as it is; nothing is folded.
            pub fn new(name: &str) -> Result<Self, Bad> {
                let ok: fn(u8) -> bool = $ok;
                // HTTP clients take these two out of a path, and the API
                // would not be asked for the thing any more.
                if matches!(name, "." | "..") {
                    return Err(Bad::new(
                        $code,
                        format!(
                            concat!("{} is not ", $what, ": it would change the path of a URL"),
                            quoted(name)
                        ),
                    ));
                }
                if (1..=$longest).contains(&name.len()) && name.bytes().all(ok) {
                    return Ok(Self(name.into()));
                }
                Err(Bad::new(
                    $code,
                    format!(
                        concat!("{} is not ", $what, ": 1 to {} characters of ", $pattern),
                        quoted(name), $longest
                    ),
                ))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// An app: `[a-z0-9._-]{1,128}`, but neither `.` nor `..`.
    AppName, BadCode::BadApp, "an app name", 128, "a-z 0-9 . _ -",
    |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
);
name!(
    /// An edge: `[A-Za-z0-9._-]{1,128}`, but neither `.` nor `..`. (An edge with a
    /// hyphen first would be taken for the goodbye of another one, and refuses to
    /// start.)
    EdgeName, BadCode::BadEdge, "the name of an edge", 128, "A-Z a-z 0-9 . _ -",
    |b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-')
);
name!(
    /// An instance of an app: `[A-Za-z0-9._:-]{1,256}`, but neither `.` nor `..`.
    InstanceId, BadCode::BadId, "an instance id", 256, "A-Z a-z 0-9 . _ : -",
    |b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'-')
);
name!(
    /// A set of objects that are applied together: `[A-Za-z0-9._-]{1,128}`, but
    /// neither `.` nor `..`.
    SetName, BadCode::BadSet, "the name of a set", 128, "A-Z a-z 0-9 . _ -",
    |b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-')
);
