//! What can go wrong with an admin request.

use std::{fmt, time::Duration};

/// An admin request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No broker answered.
    #[error("{request}: no broker answered: {}", Listed(.attempts))]
    Unreachable {
        /// Name of the request.
        request: &'static str,
        /// What was tried, in the order in which it failed.
        attempts: Vec<Attempt>,
    },
    /// A request that changes something was sent, and no answer came. It may have been done, and a broker that waits for
    /// a controller may do it as late as a minute after (`forwarding` in Kafka's `BrokerServer`).
    #[error(
        "{request} of {subject}: sent to {address}, which did not answer: {error}; it may have been done"
    )]
    Unanswered {
        /// Name of the request.
        request: &'static str,
        /// What it was about: `12 partitions`, `topic orders`.
        subject: String,
        /// The broker that it was sent to.
        address: String,
        /// `no answer within 5s`, `the connection was closed`.
        error: String,
    },
    /// A broker answered with an error.
    #[error("{request} of {subject}: {address} answered {code}{}", Detail(.message))]
    Refused {
        /// Name of the request.
        request: &'static str,
        /// What it was about: `topic _doctor_metrics`, `cluster`.
        subject: String,
        /// The broker that answered.
        address: String,
        /// Kafka's name of the error, `TopicAuthorizationFailed`.
        code: String,
        /// Kafka's text, when it sent one.
        message: Option<String>,
    },
    /// A broker does not offer the request in a version that this code speaks.
    #[error("{request}: {address} {reason}")]
    Unsupported {
        /// Name of the request.
        request: &'static str,
        /// The broker that was asked.
        address: String,
        /// What it offers and what is needed.
        reason: String,
    },
    /// The topic, or this partition of it, does not exist.
    #[error("topic {topic} has no partition {partition}: it does not exist, or not yet")]
    NoSuchPartition {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: i32,
    },
    /// The partition has no leader at the moment.
    #[error("partition {topic}-{partition} has no leader: no in-sync replica is alive")]
    NoLeader {
        /// Topic name.
        topic: String,
        /// Partition number.
        partition: i32,
    },
}

impl AdminError {
    /// Whether a request that failed so may still have changed the cluster, or may yet do it. Otherwise it did not.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Unanswered { .. } => true,
            // A controller that steps down, and a broker that waits for one in vain, cannot know.
            Self::Refused { code, .. } => {
                matches!(
                    code.as_str(),
                    "NotController" | "RequestTimedOut" | "NetworkException" | "UnknownServerError"
                )
            }
            Self::Unreachable { .. }
            | Self::Unsupported { .. }
            | Self::NoSuchPartition { .. }
            | Self::NoLeader { .. } => false,
        }
    }
}

/// One broker that was tried and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// `host:port`.
    pub address: String,
    /// `connection refused`, `no answer within 5s`.
    pub error: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.error)
    }
}

/// A broker that did not answer a [`crate::probe`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Anything else, in words: the name does not resolve, the answer is not Kafka's.
    #[error("{0}")]
    Other(String),
}

struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, attempt) in self.0.iter().enumerate() {
            write!(f, "{}{attempt}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

struct Detail<'a>(&'a Option<String>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}
