//! Which of several policies may watch a Kafka cluster: the one that was there first.

use super::object::PolicyKey;
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Whether a policy may watch its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// Not known yet, as long as it, or an older policy, has not found out which cluster it is about.
    Undecided,
    /// It may.
    Granted,
    /// Another does: says which, since when, and what to do.
    Refused(String),
}

/// Which Kafka cluster a policy is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Nobody has answered or failed to answer yet.
    Unknown,
    /// Kafka was asked and cannot be reached, so the policy stands in nobody's way.
    Unreachable,
    /// The cluster of this id.
    Cluster(String),
}

/// All policies that have an engine, and what they are about.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claimants: Mutex<BTreeMap<PolicyKey, Claimant>>,
}

#[derive(Debug)]
struct Claimant {
    created: Timestamp,
    target: Target,
    claim: watch::Sender<Claim>,
}

impl Claims {
    /// Enters a policy.
    pub fn enter(&self, key: &PolicyKey, created: Timestamp) -> watch::Receiver<Claim> {
        let mut claimants = self.lock();
        let (claim, seen) = watch::channel(Claim::Undecided);
        claimants.insert(key.clone(), Claimant { created, target: Target::Unknown, claim });
        decide(&claimants);
        seen
    }

    /// Notes what a policy is about. A cluster that was known and cannot be reached is still the same one.
    pub fn set_target(&self, key: &PolicyKey, target: Target) {
        let mut claimants = self.lock();
        let Some(claimant) = claimants.get_mut(key) else { return };
        let keeps = matches!(claimant.target, Target::Cluster(_)) && !matches!(target, Target::Cluster(_));
        if claimant.target != target && !keeps {
            claimant.target = target;
            decide(&claimants);
        }
    }

    /// Takes a policy out, with whatever it claimed.
    pub fn withdraw(&self, key: &PolicyKey) {
        let mut claimants = self.lock();
        if claimants.remove(key).is_some() {
            decide(&claimants);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PolicyKey, Claimant>> {
        // No code that can panic runs under the lock, so a poisoned one still holds a whole map.
        self.claimants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everyone what holds now, the oldest first; of two of the same second the one whose name comes first.
fn decide(claimants: &BTreeMap<PolicyKey, Claimant>) {
    let mut by_age: Vec<_> = claimants.iter().collect();
    by_age.sort_by_key(|(_, claimant)| claimant.created);
    let mut owners = BTreeMap::new();
    let mut an_older_one_is_unknown = false;
    for (key, claimant) in by_age {
        let claim = match &claimant.target {
            Target::Unknown => {
                an_older_one_is_unknown = true;
                Claim::Undecided
            }
            Target::Unreachable => Claim::Undecided,
            Target::Cluster(id) => match owners.get(id) {
                Some(&(owner, since)) => Claim::Refused(refusal(id, owner, since)),
                None => {
                    owners.insert(id, (key, claimant.created));
                    if an_older_one_is_unknown { Claim::Undecided } else { Claim::Granted }
                }
            },
        };
        claimant.claim.send_if_modified(|now| {
            // One that watches goes on until somebody is known to have been first.
            let news = *now != claim && !(*now == Claim::Granted && claim == Claim::Undecided);
            if news {
                *now = claim;
            }
            news
        });
    }
}

fn refusal(id: &str, owner: &PolicyKey, since: Timestamp) -> String {
    let date = since.strftime("%Y-%m-%d");
    format!("Kafka cluster {id} is already watched by policy {owner} since {date}; delete one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PolicyKey {
        PolicyKey { namespace: "kafka".into(), name: name.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_793_491_200 + second).unwrap()
    }

    fn cluster(id: &str) -> Target {
        Target::Cluster(id.into())
    }

    #[test]
    fn the_older_policy_has_the_cluster() {
        let claims = Claims::default();
        let young = claims.enter(&key("a-young"), at(9));
        let old = claims.enter(&key("z-old"), at(1));
        claims.set_target(&key("a-young"), cluster("4L6g3"));
        assert_eq!(*young.borrow(), Claim::Undecided, "the older one may be about the same cluster");
        claims.set_target(&key("z-old"), cluster("4L6g3"));
        assert_eq!(*old.borrow(), Claim::Granted);
        assert_eq!(
            *young.borrow(),
            Claim::Refused(
                "Kafka cluster 4L6g3 is already watched by policy kafka/z-old since 2026-11-01; delete one of them"
                    .into()
            )
        );
        claims.withdraw(&key("z-old"));
        assert_eq!(*young.borrow(), Claim::Granted, "the older one is gone");
    }

    #[test]
    fn of_two_of_the_same_second_the_first_name_has_it() {
        let claims = Claims::default();
        let (a, b) = (claims.enter(&key("a"), at(1)), claims.enter(&key("b"), at(1)));
        for name in ["b", "a"] {
            claims.set_target(&key(name), cluster("one"));
        }
        assert_eq!(*a.borrow(), Claim::Granted);
        assert!(matches!(*b.borrow(), Claim::Refused(_)));
    }

    #[test]
    fn clusters_do_not_hinder_each_other() {
        let claims = Claims::default();
        let (a, b) = (claims.enter(&key("a"), at(1)), claims.enter(&key("b"), at(2)));
        claims.set_target(&key("b"), cluster("two"));
        claims.set_target(&key("a"), cluster("one"));
        assert_eq!((&*a.borrow(), &*b.borrow()), (&Claim::Granted, &Claim::Granted));
    }

    #[test]
    fn an_unreachable_policy_stands_in_nobody_s_way() {
        let claims = Claims::default();
        let (a, b) = (claims.enter(&key("a"), at(1)), claims.enter(&key("b"), at(2)));
        claims.set_target(&key("b"), cluster("one"));
        assert_eq!(*b.borrow(), Claim::Undecided);
        claims.set_target(&key("a"), Target::Unreachable);
        assert_eq!(*b.borrow(), Claim::Granted);
        claims.set_target(&key("a"), cluster("one"));
        assert!(matches!(*b.borrow(), Claim::Refused(_)), "it was there first");
        assert_eq!(*a.borrow(), Claim::Granted);
        claims.set_target(&key("a"), Target::Unreachable);
        assert!(matches!(*b.borrow(), Claim::Refused(_)), "an outage does not hand the cluster over");
    }

    #[test]
    fn a_newcomer_that_says_it_is_older_does_not_stop_the_work_before_it_knows_its_cluster() {
        let claims = Claims::default();
        let b = claims.enter(&key("b"), at(2));
        claims.set_target(&key("b"), cluster("one"));
        assert_eq!(*b.borrow(), Claim::Granted);
        let _a = claims.enter(&key("a"), at(1));
        assert_eq!(*b.borrow(), Claim::Granted);
        claims.set_target(&key("a"), cluster("one"));
        assert!(matches!(*b.borrow(), Claim::Refused(_)));
    }
}
