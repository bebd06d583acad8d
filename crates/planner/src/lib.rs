//! Planning: from what a cluster looks like to the smallest treatment that helps.
//!
//! Pure and deterministic: no clock, no I/O, no randomness. The same cluster always gives the same plan, and every plan
//! that is not made says why ([`Refused`]).
//!
//! The ladder begins with leadership, which moves no data; replica moves follow in a later release.

mod cluster;
mod leadership;
mod refused;

pub use cluster::{Broker, Cluster, Health, Partition};
pub use leadership::{Goal, LeadershipPlan, MAX_MOVES, relieve};
pub use refused::{Refused, Rule};
