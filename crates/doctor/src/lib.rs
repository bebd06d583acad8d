//! The engine for one Kafka cluster: observe, diagnose, plan, report.
//!
//! It knows nothing of Kubernetes. Policy and authority come in through channels, and [`DoctorReport`]s go out through
//! one, so that the operator's Kubernetes mode and its standalone mode are two thin adapters over the same engine.
//!
//! In the order of the data's way: `observe` looks at the cluster, `state` takes in what was seen and concludes, with
//! `alerts` (what the actions log lacks, also of what only a `witness` has seen), `advice` (what would help) and `view` (what is told); `term` writes the log
//! while this instance leads; `engine` wires the tasks. [`execute`] carries a treatment out, as a `therapy` beside the
//! engine, as does `planning` what takes longer than a step, and `loans` knows what is to be given back. `ledger` is what the log says of all this.

mod advice;
mod alerts;
mod authority;
mod decisions;
mod engine;
pub mod execute;
mod ledger;
pub mod load;
mod loans;
mod observe;
mod planning;
mod policy;
mod proposals;
mod remedy;
mod report;
mod state;
mod term;
mod therapy;
mod topics;
mod view;
mod witness;
mod wording;

pub use authority::Authority;
pub use decisions::{Vote, refused_decision};
pub use engine::{Doctor, DoctorSettings};
pub use policy::{Policy, PolicyError, Topics};
pub use proposals::{Decision, Decisions, Misapproval, Proposed};
pub use report::{
    Advice, BrokerView, Counters, DoctorReport, Figures, KafkaView, PlatformView, Refusal, Role, SkipReason,
    Summary, TreatmentEnd, TreatmentView,
};
pub use wording::about;
