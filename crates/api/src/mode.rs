//! How far the doctor may go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far the doctor may go by itself. Each mode includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
pub enum Mode {
    /// Diagnose and alert.
    Observe,
    /// Also say what treatment would help.
    #[default]
    Recommend,
    /// Also carry out what a person has approved.
    Approve,
    /// Carry out treatment without asking.
    Auto,
}

impl Mode {
    /// The name as it stands in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::Recommend => "Recommend",
            Self::Approve => "Approve",
            Self::Auto => "Auto",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The mode that really is in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EffectiveMode {
    /// Diagnose and alert.
    Observe,
    /// Also say what treatment would help.
    Recommend,
    /// Also carry out what a person has approved.
    Approve,
    /// Carry out treatment without asking.
    Auto,
    /// No treatment: the policy has the annotation `doctorkafka.dev/paused`.
    Paused,
}

impl From<Mode> for EffectiveMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::Observe,
            Mode::Recommend => Self::Recommend,
            Mode::Approve => Self::Approve,
            Mode::Auto => Self::Auto,
        }
    }
}
