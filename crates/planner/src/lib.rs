//! Planning: from what a cluster looks like to the smallest treatment that helps.
//!
//! Pure and deterministic: no clock, no I/O, no randomness. The same cluster always gives the same plan, and every plan
//! that is not made says why ([`Refused`]).
//!
//! The ladder begins with leadership, which moves no data ([`relieve`]). Replica moves are planned on an [`Instance`], a
//! cluster with the load of every replica ([`propose`]).

mod cluster;
mod figures;
mod instance;
mod leadership;
mod placement;
mod refused;
mod remedy;
mod spread;

pub use cluster::{Broker, Cluster, Health, Partition};
pub use figures::Balance;
pub use instance::{
    Builder, Change, Instance, Invalid, Load, Node, NodeState, ParseError, Parser, RESOURCES,
};
pub use leadership::{BELOW, Goal, LeadershipPlan, MAX_MOVES, relieve};
pub use refused::{Refused, Rule, WORTH_IT};
pub use remedy::{Proposal, Remedy, Shortfall, Why, propose};
