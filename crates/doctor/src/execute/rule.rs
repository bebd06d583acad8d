//! Why nothing is done at the moment, or why a treatment was given up: the rules of execution by name.

use std::fmt;

/// A rule that holds a treatment up, or ends it, with the figure that broke it and what would lift it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The rule.
    pub rule: ExecutionRule,
    /// On which partition or broker, by how much, and what would lift it, for people.
    pub message: String,
}

impl Hold {
    pub(super) fn new(rule: ExecutionRule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.as_str(), self.message)
    }
}

/// The rules that are checked right before each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExecutionRule {
    /// Everything that may run at once is being copied.
    Copying,
    /// People have paused the treatment.
    Paused,
    /// Somebody else works on the cluster, or it cannot be told whether anybody does.
    OthersAtWork,
    /// A partition of the cluster, whichever, has fewer replicas in sync than its min ISR.
    UnderMinIsr,
    /// A partition of the treatment would be under its min ISR if it lost one more replica, and has lost one already.
    AtMinIsr,
    /// Somebody else's reassignments are running.
    ForeignReassignment,
    /// A broker that is to get a replica is fenced or not registered.
    DestinationDown,
    /// The broker that is to lead is not in sync.
    NotInSync,
    /// The partition has no leader to copy from.
    NoLeader,
    /// As many moves as the limit allows are running at the brokers concerned.
    MovesPerBroker,
    /// As many moves as the limit allows are running in the cluster.
    MovesPerCluster,
    /// Something that was seen has to be seen again before it is believed.
    Unsettled,
    /// Something that has to be known is not known.
    Unknown,
    /// Kafka does not answer.
    Unreachable,
    /// The actions log cannot be written, so nothing may be done.
    LogUnavailable,
    /// A step failed and is tried again.
    Retrying,
    /// Somebody else has changed a partition of the treatment.
    Drift,
    /// A topic of the treatment was deleted and created again.
    TopicRecreated,
    /// A broker that is to get a replica has been down for too long.
    DestinationDead,
    /// Nothing of what is left has become possible for too long.
    Stalled,
    /// Kafka refuses a step, again and again.
    RefusedByKafka,
    /// People have cancelled the treatment.
    Cancelled,
    /// The treatment and what has to be remembered with it do not fit into one record of the log.
    TooLarge,
    /// The time for which this instance may act has run out.
    AuthorityLost,
}

impl ExecutionRule {
    /// Every rule.
    pub const ALL: [Self; 24] = [
        Self::Copying,
        Self::Paused,
        Self::OthersAtWork,
        Self::UnderMinIsr,
        Self::AtMinIsr,
        Self::ForeignReassignment,
        Self::DestinationDown,
        Self::NotInSync,
        Self::NoLeader,
        Self::MovesPerBroker,
        Self::MovesPerCluster,
        Self::Unsettled,
        Self::Unknown,
        Self::Unreachable,
        Self::LogUnavailable,
        Self::Retrying,
        Self::Drift,
        Self::TopicRecreated,
        Self::DestinationDead,
        Self::Stalled,
        Self::RefusedByKafka,
        Self::Cancelled,
        Self::TooLarge,
        Self::AuthorityLost,
    ];

    /// The name in conditions, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copying => "Copying",
            Self::Paused => "Paused",
            Self::OthersAtWork => "OthersAtWork",
            Self::UnderMinIsr => "UnderMinIsr",
            Self::AtMinIsr => "AtMinIsr",
            Self::ForeignReassignment => "ForeignReassignment",
            Self::DestinationDown => "DestinationDown",
            Self::NotInSync => "NotInSync",
            Self::NoLeader => "NoLeader",
            Self::MovesPerBroker => "MovesPerBroker",
            Self::MovesPerCluster => "MovesPerCluster",
            Self::Unsettled => "Unsettled",
            Self::Unknown => "Unknown",
            Self::Unreachable => "Unreachable",
            Self::LogUnavailable => "LogUnavailable",
            Self::Retrying => "Retrying",
            Self::Drift => "Drift",
            Self::TopicRecreated => "TopicRecreated",
            Self::DestinationDead => "DestinationDead",
            Self::Stalled => "Stalled",
            Self::RefusedByKafka => "RefusedByKafka",
            Self::Cancelled => "Cancelled",
            Self::TooLarge => "TooLarge",
            Self::AuthorityLost => "AuthorityLost",
        }
    }

    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }
}
