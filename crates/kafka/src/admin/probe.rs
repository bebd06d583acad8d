//! Whether one broker lives.

use super::{
    ProbeError,
    link::{Link, LinkError},
};
use std::time::{Duration, Instant};

/// Connects to one broker anew, asks it one ApiVersions request (API key 18), and says how long both took together.
///
/// A new connection each time, because an old one can work while the broker no longer accepts any.
///
/// # Errors
/// What kept it from answering within `timeout`.
pub async fn probe(address: &str, timeout: Duration) -> Result<Duration, ProbeError> {
    let start = Instant::now();
    match tokio::time::timeout(timeout, Link::open(address, "doctorkafka-probe")).await {
        Err(_) => Err(ProbeError::TimedOut(timeout)),
        // An answer is an answer, even from a broker too old for everything else.
        Ok(Ok(_) | Err(LinkError::TooOld(_))) => Ok(start.elapsed()),
        Ok(Err(LinkError::Refused)) => Err(ProbeError::Refused),
        Ok(Err(error)) => Err(ProbeError::Other(error.to_string())),
    }
}
