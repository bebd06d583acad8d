//! Why no plan was made.

/// A plan that was not made: which rule forbade it, with the number that broke it and what would lift it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The rule.
    pub rule: Rule,
    /// Which rule, on what, with the number, and what would lift it, for people.
    pub message: String,
}

/// A treatment that does not reach its goal has to take at least this share off the broker that it is for. Less is not worth
/// the disturbance.
pub const WORTH_IT: f64 = 0.05;

/// The rules that can forbid a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// More than half of the brokers are hot: there is no room to move work to.
    TooManyOverloaded,
    /// So many brokers are down that alerts are all there is to give.
    TooManyUnhealthy,
    /// What is known of the cluster's partitions is too old, or nothing is known yet.
    StaleData,
    /// Heal before balance: partitions are under-replicated.
    UnderReplicated,
    /// Unknown data means no action: the load of the hot broker is not known.
    UnknownLoad,
    /// What is short on the broker does not follow leadership.
    LeadershipDoesNotHelp,
    /// The broker leads nothing that may be moved.
    NothingToMove,
    /// No healthy broker with an in-sync replica has room.
    NoEligibleTarget,
    /// The cluster is left alone for a while after a treatment.
    CoolDown,
    /// Planned work on the cluster is under way, by the policy.
    MaintenanceWindow,
    /// Cruise Control looks after the cluster, and cancels reassignments that it did not start.
    CruiseControl,
    /// Brokers are being restarted one after another.
    RollingUpdate,
    /// Strimzi's Cruise Control moves replicas.
    KafkaRebalance,
    /// A person has taken the cluster out of Strimzi's hands.
    StrimziPaused,
    /// It cannot be told whether somebody else works on the cluster: pods, or what looks after them, are not known.
    PlatformUnknown,
    /// A lost broker has to be gone for longer before its data is moved.
    GracePeriod,
    /// A lost broker's pod may come back, with its data.
    MayReturn,
    /// No other in-sync replica may lead.
    NoHeir,
    /// What can be moved would not help enough to matter.
    TooLittleGain,
    /// What the broker is owed would make it hot again.
    WouldOverload,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 20] = [
        Self::TooManyOverloaded,
        Self::TooManyUnhealthy,
        Self::StaleData,
        Self::UnderReplicated,
        Self::UnknownLoad,
        Self::LeadershipDoesNotHelp,
        Self::NothingToMove,
        Self::NoEligibleTarget,
        Self::CoolDown,
        Self::MaintenanceWindow,
        Self::CruiseControl,
        Self::RollingUpdate,
        Self::KafkaRebalance,
        Self::StrimziPaused,
        Self::PlatformUnknown,
        Self::GracePeriod,
        Self::MayReturn,
        Self::NoHeir,
        Self::TooLittleGain,
        Self::WouldOverload,
    ];

    /// The name in conditions, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooManyOverloaded => "TooManyOverloaded",
            Self::TooManyUnhealthy => "TooManyUnhealthy",
            Self::StaleData => "StaleData",
            Self::UnderReplicated => "UnderReplicated",
            Self::UnknownLoad => "UnknownLoad",
            Self::LeadershipDoesNotHelp => "LeadershipDoesNotHelp",
            Self::NothingToMove => "NothingToMove",
            Self::NoEligibleTarget => "NoEligibleTarget",
            Self::CoolDown => "CoolDown",
            Self::MaintenanceWindow => "MaintenanceWindow",
            Self::CruiseControl => "CruiseControl",
            Self::RollingUpdate => "RollingUpdate",
            Self::KafkaRebalance => "KafkaRebalance",
            Self::StrimziPaused => "StrimziPaused",
            Self::PlatformUnknown => "PlatformUnknown",
            Self::GracePeriod => "GracePeriod",
            Self::MayReturn => "MayReturn",
            Self::NoHeir => "NoHeir",
            Self::TooLittleGain => "TooLittleGain",
            Self::WouldOverload => "WouldOverload",
        }
    }
}

impl Refused {
    pub(crate) fn new(rule: Rule, message: String) -> Self {
        Self { rule, message }
    }
}
