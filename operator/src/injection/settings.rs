//! What an administrator decides about injected sidecars, once for all pods.

use super::quantity::Quantity;
use std::{fmt, str::FromStr};

/// Settings of every injected sidecar. A pod's annotations may say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarSettings {
    /// The sidecar's image; its entry point is `doctorkafka-sidecar`.
    pub image: String,
    /// `imagePullPolicy`.
    pub pull_policy: PullPolicy,
    /// CPU to reserve, a Kubernetes quantity.
    pub cpu_request: Quantity,
    /// Memory to reserve.
    pub memory_request: Quantity,
    /// The most memory it may use.
    pub memory_limit: Quantity,
    /// As whom it runs.
    pub run_as: RunAs,
}

/// `imagePullPolicy` of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never; the node must have it.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// As whom a sidecar runs. To read its broker's `/proc/<pid>/root` it must be the same user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// As the broker does, as far as the pod or its distribution says.
    Auto,
    /// Nothing is set: the platform decides, as OpenShift's security context constraints do.
    Platform,
    /// This user and, if given, this group.
    User(User),
}

/// A user id and, if it is known, a group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// `runAsUser`.
    pub uid: i64,
    /// `runAsGroup`.
    pub gid: Option<i64>,
}

impl FromStr for RunAs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Kubernetes takes ids from 0 to 2^31 - 1 (`IsValidUserID`).
        let id = |text: &str| text.parse::<i32>().ok().filter(|id| *id >= 0).map(i64::from);
        let expected = || "expected auto, none, UID or UID:GID, such as 1001:0".to_owned();
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Platform),
            text => match text.split_once(':') {
                Some((uid, gid)) => match (id(uid), id(gid)) {
                    (Some(uid), Some(gid)) => Ok(Self::User(User { uid, gid: Some(gid) })),
                    _ => Err(expected()),
                },
                None => id(text).map(|uid| Self::User(User { uid, gid: None })).ok_or_else(expected),
            },
        }
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Platform => f.write_str("none"),
            Self::User(User { uid, gid: None }) => write!(f, "{uid}"),
            Self::User(User { uid, gid: Some(gid) }) => write!(f, "{uid}:{gid}"),
        }
    }
}

#[cfg(test)]
impl SidecarSettings {
    /// What the flags default to.
    pub(crate) fn for_tests() -> Self {
        Self {
            image: "doctorkafka/sidecar:0.1.0".to_owned(),
            pull_policy: PullPolicy::IfNotPresent,
            cpu_request: "10m".parse().unwrap(),
            memory_request: "24Mi".parse().unwrap(),
            memory_limit: "64Mi".parse().unwrap(),
            run_as: RunAs::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_as_they_are_shown() {
        for text in ["auto", "none", "1001", "1001:0"] {
            assert_eq!(text.parse::<RunAs>().unwrap().to_string(), text);
        }
        for text in ["", "root", "-1", "1001:", ":0", "1:2:3", "2147483648"] {
            assert!(text.parse::<RunAs>().is_err(), "{text:?}");
        }
    }
}
