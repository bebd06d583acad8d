//! Why a pod gets no sidecar.

use std::fmt;

/// Kinds of outcomes, for metrics: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The pod got a sidecar.
    Injected,
    /// It had one.
    AlreadyInjected,
    /// It, or who made it, does not want one.
    OptedOut,
    /// It is no Kafka broker.
    NotABroker,
    /// No policy selects it.
    NoPolicy,
    /// Several policies do.
    SeveralPolicies,
    /// The policy cannot be carried out.
    PolicyUnusable,
    /// A sidecar cannot live in it.
    Unsuitable,
    /// What was sent is no review of a pod's creation.
    Malformed,
    /// This program could not decide in time.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Injected,
        Self::AlreadyInjected,
        Self::OptedOut,
        Self::NotABroker,
        Self::NoPolicy,
        Self::SeveralPolicies,
        Self::PolicyUnusable,
        Self::Unsuitable,
        Self::Malformed,
        Self::Failed,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::AlreadyInjected => "already_injected",
            Self::OptedOut => "opted_out",
            Self::NotABroker => "not_a_broker",
            Self::NoPolicy => "no_policy",
            Self::SeveralPolicies => "several_policies",
            Self::PolicyUnusable => "policy_unusable",
            Self::Unsuitable => "unsuitable",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
        }
    }
}

/// A pod that is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInjected {
    /// What kind of reason.
    pub outcome: Outcome,
    /// The reason and what to do, for whoever creates the pod.
    pub message: String,
    /// Whether there is anything to tell: nobody wonders why a pod without Kafka gets no sidecar.
    pub expected: bool,
}

impl NotInjected {
    /// Something that somebody should know and can mend.
    pub fn surprising(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), expected: false }
    }

    /// As it should be.
    pub fn expected(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), expected: true }
    }
}

impl fmt::Display for NotInjected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotInjected {}
