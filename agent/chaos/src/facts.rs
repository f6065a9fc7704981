//! What is true about the instances, as etcd has acknowledged it, and what an
//! answer says about it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A deregistered instance gets no request that begins later than this.
const ALLOWED: Duration = Duration::from_secs(1);

/// What an instance's answer shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    Right,
    /// The instance was deregistered so long before the request began, and
    /// everything that a change passes through has been up since.
    Stale(Duration),
    /// The same, while something that a change passes through was down.
    Excused(Duration),
}

/// Shared by those who change instances and those who ask for them.
pub struct Facts {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Since when a change can get from etcd to the edge; nothing while it
    /// cannot.
    whole_since: Option<Instant>,
    /// Instances that are deregistered, and when etcd acknowledged it.
    gone: HashMap<String, Instant>,
}

impl Facts {
    pub fn new() -> Self {
        let inner = Inner {
            whole_since: Some(Instant::now()),
            gone: HashMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    /// etcd has acknowledged that it is deregistered.
    pub fn deregistered(&self, id: &str) {
        self.lock().gone.insert(id.to_owned(), Instant::now());
    }

    /// It is about to be registered: from now on it may be seen.
    pub fn registering(&self, id: &str) {
        self.lock().gone.remove(id);
    }

    /// From now on a change may not arrive.
    pub fn broken(&self) {
        self.lock().whole_since = None;
    }

    /// From now on every change arrives.
    pub fn whole(&self) {
        self.lock().whole_since = Some(Instant::now());
    }

    /// Judges an answer of an instance to a request that began then.
    pub fn judge(&self, id: &str, begin: Instant) -> Judgement {
        let inner = self.lock();
        let Some(gone) = inner.gone.get(id) else {
            return Judgement::Right;
        };
        let age = begin.saturating_duration_since(*gone);
        if age <= ALLOWED {
            return Judgement::Right;
        }
        match inner.whole_since {
            Some(since) if begin.saturating_duration_since(since) > ALLOWED => {
                Judgement::Stale(age)
            }
            _ => Judgement::Excused(age),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(3);

    #[test]
    fn an_answer_of_an_instance_that_was_gone_for_long_is_stale() {
        let facts = Facts::new();
        facts.deregistered("a");
        assert_eq!(facts.judge("a", Instant::now()), Judgement::Right);
        let judged = facts.judge("a", Instant::now() + LATER);
        assert!(matches!(judged, Judgement::Stale(age) if age >= LATER));
        assert_eq!(facts.judge("b", Instant::now() + LATER), Judgement::Right);
    }

    #[test]
    fn while_a_change_cannot_arrive_it_is_excused() {
        let facts = Facts::new();
        facts.deregistered("a");
        facts.broken();
        let judged = facts.judge("a", Instant::now() + LATER);
        assert!(matches!(judged, Judgement::Excused(_)));
        facts.whole();
        let judged = facts.judge("a", Instant::now());
        assert_eq!(judged, Judgement::Right);
        let judged = facts.judge("a", Instant::now() + LATER);
        assert!(matches!(judged, Judgement::Stale(_)));
    }

    #[test]
    fn a_registered_instance_is_right_again() {
        let facts = Facts::new();
        facts.deregistered("a");
        facts.registering("a");
        assert_eq!(facts.judge("a", Instant::now() + LATER), Judgement::Right);
    }
}
