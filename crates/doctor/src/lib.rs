//! The engine for one Kafka cluster: observe, diagnose, plan, report.
//!
//! It knows nothing of Kubernetes. Policy and authority come in through channels, and [`DoctorReport`]s go out through
//! one, so that the operator's Kubernetes mode and its standalone mode are two thin adapters over the same engine.

mod authority;
mod engine;
mod policy;
mod report;

pub use authority::Authority;
pub use engine::{Doctor, DoctorSettings};
pub use policy::{Policy, PolicyError};
pub use report::{
    Advice, BrokerView, Counters, DoctorReport, Figures, KafkaView, Refusal, Role, SkipReason, Summary,
};
