//! Diagnosis: what the sidecars report, what Kafka says and what the policy asks for become one state per broker,
//! each with its reason and the evidence it rests on.
//!
//! Pure: no clock, no I/O, no async. Time is an argument ([`Moment`]), and the same input always gives the same output.
//!
//! How the modules go together: [`Diagnostician`] takes in reports, proofs of the reports' path and cluster facts.
//! `path` knows how long a broker *could* have been heard, `controller` how far the controller's word goes, and `memory`
//! what was last heard of a broker: of which sidecar (`runs`), how late (`punctuality`), of which process (`process`) and
//! with which resources over their limits (`resources`). `silence` decides what not hearing means, `unheard` puts it
//! into words, and `condition` says what the newest report means. `platform` adds the cause that pods, nodes and volumes
//! tell, and never changes a state.

mod condition;
mod controller;
mod detection;
mod diagnostician;
mod facts;
mod memory;
mod moment;
mod path;
mod platform;
mod process;
mod punctuality;
mod resources;
mod runs;
#[cfg(test)]
mod sample;
mod silence;
mod state;
mod unheard;

pub use detection::{Detection, Threshold};
pub use diagnostician::{Diagnosis, Diagnostician, Intake};
pub use facts::{BrokerFacts, ClusterFacts, DirectProbe, Registration};
pub use moment::Moment;
pub use path::PathMark;
pub use platform::{
    ClaimPhase, Ending, Identity, NodeFacts, Platform, PlatformFacts, PodFacts, PodPhase, Source, StandDown,
    TOLD_EVERY, Unknown, Waiting, Workload,
};
pub use resources::Resource;
pub use state::{BrokerState, Reason};
