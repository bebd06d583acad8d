//! Diagnosis: what the sidecars report, what Kafka says and what the policy asks for become one state per broker,
//! each with its reason and the evidence it rests on.
//!
//! Pure: no clock, no I/O, no async. Time is an argument ([`Moment`]), and the same input always gives the same output.
//!
//! How the modules go together: [`Diagnostician`] takes in reports, proofs of the reports' path and cluster facts;
//! `path` knows how long a broker *could* have been heard, `memory` what was last heard of it, `silence` decides what
//! not hearing means, `condition` what the newest report means, and `resources` which limits are exceeded.

mod condition;
mod detection;
mod diagnostician;
mod facts;
mod memory;
mod moment;
mod path;
mod resources;
mod silence;
mod state;

pub use detection::{Detection, Threshold};
pub use diagnostician::{Diagnosis, Diagnostician, Intake};
pub use facts::{BrokerFacts, ClusterFacts, DirectProbe, Registration};
pub use moment::Moment;
pub use path::PathMark;
pub use resources::Resource;
pub use state::{BrokerState, Reason};
