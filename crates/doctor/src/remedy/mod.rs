//! The remedies for a live cluster: what each is called, how far the policy lets it go, and how a plan for it becomes a
//! [`Treatment`]. Pure.
//!
//! `demotion` and, by a `job`, `moves` make treatments; `offers` keeps them while they wait to be begun.

pub(crate) mod demotion;
pub(crate) mod job;
pub(crate) mod moves;
pub(crate) mod offers;

use doctorkafka_api::EffectiveMode;
use doctorkafka_wire::{BrokerId, PartitionChange, TreatmentCause};

use crate::{Policy, execute::Treatment};

/// A remedy, the most urgent first. Its name is the reason of the cause of a treatment, in the actions log and in
/// `KafkaReassignment`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Remedy {
    /// Replicate anew what a broker held that is gone for good.
    BrokerFailure,
    /// Take all replicas off a broker, as the policy asks.
    Drain,
    /// Take all leaderships off a broker, as the policy asks.
    Demotion,
    /// Hand leaderships of an overloaded broker over. No data moves.
    LeadershipRelief,
    /// Move a few replicas off an overloaded or full broker.
    ReplicaRelief,
    /// Bring work to a broker that has returned or is new.
    Refill,
    /// Give leaderships back that were taken off a broker.
    LeadershipReturn,
}

impl Remedy {
    /// Every remedy.
    pub const ALL: [Self; 7] = [
        Self::BrokerFailure,
        Self::Drain,
        Self::Demotion,
        Self::LeadershipRelief,
        Self::ReplicaRelief,
        Self::Refill,
        Self::LeadershipReturn,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BrokerFailure => "BrokerFailure",
            Self::Drain => "Drain",
            Self::Demotion => "Demotion",
            Self::LeadershipRelief => "LeadershipRelief",
            Self::ReplicaRelief => "ReplicaRelief",
            Self::Refill => "Refill",
            Self::LeadershipReturn => "LeadershipReturn",
        }
    }

    /// The remedy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remedy| remedy.as_str() == name)
    }

    /// How far the policy lets it go.
    pub fn mode(self, policy: &Policy) -> EffectiveMode {
        match self {
            Self::BrokerFailure => policy.broker_failure,
            Self::Drain | Self::ReplicaRelief | Self::Refill => policy.replicas,
            Self::Demotion | Self::LeadershipRelief | Self::LeadershipReturn => policy.leadership,
        }
    }

    /// Whether it is for better balance only, and waits for a cluster that is whole and has been left alone for a while.
    /// What people ask for, and healing, do not.
    pub fn is_for_balance(self) -> bool {
        matches!(self, Self::LeadershipRelief | Self::ReplicaRelief | Self::Refill | Self::LeadershipReturn)
    }
}

/// Bytes that the changes of one treatment take in the actions log at the most. The rest of its record needs some, too.
const RECORD: usize = 800_000;

/// A treatment for a broker. Of too many changes, the first ones; `None` when there are none.
pub(crate) fn treatment(
    broker: BrokerId,
    remedy: Remedy,
    message: String,
    mut changes: Vec<PartitionChange>,
    throttle: Option<u64>,
) -> Option<Treatment> {
    // One record of the log holds it whole: names of topics, and some digits for each replica.
    let size =
        |change: &PartitionChange| 180 + 2 * change.topic.len() + 12 * (change.from.len() + change.to.len());
    let mut room = RECORD;
    let fitting = changes.iter().take_while(|change| {
        let fits = size(change) <= room;
        room = room.saturating_sub(size(change));
        fits
    });
    let fitting = fitting.count();
    changes.truncate(fitting.min(Treatment::MAX_CHANGES));
    let cause = TreatmentCause { broker: Some(broker), reason: remedy.as_str().to_owned(), message };
    // What was read from the log or the cluster and cannot be a treatment is no ground to do anything.
    Treatment::new(cause, changes, throttle).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remedy_has_a_name_of_its_own() {
        for remedy in Remedy::ALL {
            assert_eq!(Remedy::named(remedy.as_str()), Some(remedy));
        }
        assert_eq!(Remedy::named("Bloodletting"), None);
    }
}
