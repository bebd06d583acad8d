//! Diagnosis: what the sidecars report, what Kafka says and what the policy asks for become one state per broker,
//! each with its reason and the evidence it rests on.
//!
//! Pure: no clock, no I/O, no async. Time is an argument ([`Moment`]), and the same input always gives the same output.

mod state;

pub use state::{BrokerState, Reason};

/// A point on the doctor's own monotonic clock: milliseconds since the engine started.
///
/// All rules compare moments; wall clocks, which jump and differ between machines, are only shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);
