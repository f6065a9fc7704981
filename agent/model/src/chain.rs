//! How an error is written in a log.

use std::error::Error;
use std::fmt;

/// An error with all its sources, in one line: `what: why: why that`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            // Some libraries repeat their source in their own text.
            let text = error.to_string();
            if !last.contains(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn a_chain_names_each_source_once() {
        let root = Link("refused", None);
        let twice = Link("cannot connect: refused", Some(Box::new(root)));
        let top = Link("etcd is not available", Some(Box::new(twice)));
        assert_eq!(
            Chain(&top).to_string(),
            "etcd is not available: cannot connect: refused"
        );
    }
}
