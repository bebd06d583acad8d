//! Leadership by a Kubernetes Lease (`coordination.k8s.io/v1`).
//!
//! The rules are in `state`, which does no I/O; `client` makes the calls that the rules ask for, one at a time and
//! each with a timeout, and publishes what they say.

mod client;
mod state;

pub use client::{Leadership, Lease, LeaseSettings};
pub use state::{Timing, TimingError};
