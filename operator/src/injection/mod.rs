//! The sidecar injection webhook: gives Kafka's pods their sidecar as they are created.
//!
//! ```text
//! server       HTTPS, bounded; one request is one
//! review       AdmissionReview in, AdmissionReview out; always allowed
//! inject       pod + policies of its namespace + settings -> patch, or why not; pure
//!   broker     what the pod says of its broker, by distribution
//!   policy     which policy it belongs to
//!   connection the policy's way to Kafka as variables and mounted Secrets
//!   sidecar    the container
//! certificates what the server shows: kept by the operator itself, or mounted files
//! ```
//!
//! It never refuses a pod: whatever goes wrong, the answer is that the pod is created as it was sent. Every replica serves,
//! not only the leader. It reads policies and nothing else of the cluster.

mod args;
mod broker;
pub mod certificates;
mod connection;
mod counters;
mod inject;
mod names;
mod policy;
mod quantity;
mod refusal;
mod review;
mod server;
mod settings;
mod sidecar;
mod watched;
mod webhook;

pub use args::InjectionArguments;
pub use counters::Counters;
pub use inject::{Injection, inject};
pub use policy::PolicyFacts;
pub use quantity::Quantity;
pub use refusal::{NotInjected, Outcome};
pub use settings::{PullPolicy, RunAs, SidecarSettings};
pub use webhook::{Source, Webhook, WebhookSettings};

#[cfg(test)]
mod inject_properties;
#[cfg(test)]
mod inject_tests;
