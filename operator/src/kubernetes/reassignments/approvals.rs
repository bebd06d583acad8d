//! The way of decisions from the API server's objects to the engines.

use super::super::object::PolicyKey;
use doctorkafka_doctor::Decisions;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// What people have decided, by policy.
#[derive(Debug, Default)]
pub(in super::super) struct Approvals {
    by_policy: Mutex<BTreeMap<PolicyKey, watch::Sender<Arc<Decisions>>>>,
}

impl Approvals {
    /// Follows the decisions about a policy's proposals.
    pub fn follow(&self, key: &PolicyKey) -> watch::Receiver<Arc<Decisions>> {
        let mut by_policy = self.by_policy.lock().unwrap_or_else(PoisonError::into_inner);
        by_policy.retain(|_, sender| sender.receiver_count() > 0);
        by_policy.entry(key.clone()).or_default().subscribe()
    }

    /// Puts what stands for a policy in the place of what stood before.
    pub fn set(&self, key: &PolicyKey, decisions: Decisions) {
        let by_policy = self.by_policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = by_policy.get(key) {
            sender.send_if_modified(|standing| {
                let news = **standing != decisions;
                if news {
                    *standing = Arc::new(decisions);
                }
                news
            });
        }
    }

    /// Forgets all decisions: this instance no longer leads, and the next leader reads them itself.
    pub fn clear(&self) {
        let by_policy = self.by_policy.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in by_policy.values() {
            sender.send_if_modified(|standing| {
                let news = **standing != Decisions::default();
                *standing = Arc::default();
                news
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_doctor::Decision;

    #[test]
    fn an_engine_hears_of_its_own_policy_alone_and_only_of_news() {
        let approvals = Approvals::default();
        let key = |name: &str| PolicyKey { namespace: "kafka".into(), name: name.into() };
        let (mut one, mut other) = (approvals.follow(&key("one")), approvals.follow(&key("other")));
        let at = jiff::Timestamp::UNIX_EPOCH;
        let given = [("d".to_owned(), Decision { approved: true, by: "ann".into(), at })].into();
        let decisions = Decisions { given, ..Decisions::default() };
        approvals.set(&key("one"), decisions.clone());
        assert!(one.has_changed().unwrap() && !other.has_changed().unwrap());
        assert_eq!(one.borrow_and_update().about("d").map(|d| d.by.clone()), Some("ann".into()));
        approvals.set(&key("one"), decisions);
        assert!(!one.has_changed().unwrap(), "the same is no news");
        approvals.clear();
        assert_eq!(**one.borrow_and_update(), Decisions::default());
        other.borrow_and_update();
        approvals.set(&key("nobody"), Decisions::default());
        assert!(!other.has_changed().unwrap());
    }
}
