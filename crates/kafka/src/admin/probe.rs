//! Whether one broker lives.

use super::{
    Admin, ProbeError,
    link::{Link, LinkError},
};
use crate::Tls;
use std::time::{Duration, Instant};

/// Connects to one broker anew in plain text, asks it one ApiVersions request (API key 18), and says how long both took
/// together.
///
/// A new connection each time, because an old one can work while the broker no longer accepts any.
///
/// # Errors
/// What kept it from answering within `timeout`.
pub async fn probe(address: &str, timeout: Duration) -> Result<Duration, ProbeError> {
    knock(address, None, timeout).await
}

impl Admin {
    /// The same, encrypted where this client's connections are. Nobody is authenticated: the broker answers anybody.
    ///
    /// # Errors
    /// What kept it from answering within `timeout`.
    pub async fn probe(&self, address: &str, timeout: Duration) -> Result<Duration, ProbeError> {
        knock(address, self.connection.tls(), timeout).await
    }
}

async fn knock(address: &str, tls: Option<&Tls>, timeout: Duration) -> Result<Duration, ProbeError> {
    let start = Instant::now();
    match tokio::time::timeout(timeout, Link::connect(address, "doctorkafka-probe", tls)).await {
        Err(_) => Err(ProbeError::TimedOut(timeout)),
        // An answer is an answer, even from a broker too old for everything else.
        Ok(Ok(_) | Err(LinkError::TooOld(_))) => Ok(start.elapsed()),
        Ok(Err(LinkError::Refused)) => Err(ProbeError::Refused),
        Ok(Err(error)) => Err(ProbeError::Other(error.to_string())),
    }
}
