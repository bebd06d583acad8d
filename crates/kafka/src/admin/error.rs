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

/// So many addresses with one error, and so many errors, are named: a large cluster is away for one reason, and what is
/// said of it has to fit into the condition of a resource.
const NAMED: usize = 5;

/// Attempts by what came of them: `a:9092, b:9092: connection refused; c:9092: no answer within 5s`.
struct Listed<'a>(&'a [Attempt]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors: Vec<(&str, Vec<&str>)> = Vec::new();
        for Attempt { address, error } in self.0 {
            match errors.iter_mut().find(|(known, _)| known == error) {
                Some((_, addresses)) => addresses.push(address),
                None => errors.push((error, vec![address])),
            }
        }
        for (i, (error, addresses)) in errors.iter().take(NAMED).enumerate() {
            let named = &addresses[..addresses.len().min(NAMED)];
            write!(f, "{}{}", if i > 0 { "; " } else { "" }, named.join(", "))?;
            if addresses.len() > NAMED {
                write!(f, " and {} more", addresses.len() - NAMED)?;
            }
            write!(f, ": {error}")?;
        }
        let rest: usize = errors.iter().skip(NAMED).map(|(_, addresses)| addresses.len()).sum();
        if rest > 0 {
            write!(f, "; and {rest} more brokers with other errors")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_brokers_with_one_error_are_told_once() {
        let attempt =
            |n: usize, error: &str| Attempt { address: format!("b{n}:9092"), error: error.to_owned() };
        let told =
            |attempts: Vec<Attempt>| AdminError::Unreachable { request: "Metadata", attempts }.to_string();
        assert_eq!(
            told(vec![attempt(1, "refused"), attempt(2, "no answer"), attempt(3, "refused")]),
            "Metadata: no broker answered: b1:9092, b3:9092: refused; b2:9092: no answer"
        );
        let all = (0..215).map(|n| attempt(n, "refused")).chain((0..10).map(|n| attempt(n, &n.to_string())));
        let told = told(all.collect());
        assert!(
            told.contains("b0:9092, b1:9092, b2:9092, b3:9092, b4:9092 and 210 more: refused; b0:9092: 0; ")
        );
        assert!(told.ends_with("; and 6 more brokers with other errors"), "{told}");
    }
}
