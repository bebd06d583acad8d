//! DoctorKafka's custom resources as Rust types, group `doctorkafka.dev`.
//!
//! * [`KafkaHealthPolicy`]: watch one Kafka cluster, say what is wrong with it and treat it as far as allowed.
//! * [`KafkaReassignment`]: one proposed or running treatment.
//!
//! The CRDs in `deploy/crds/` and the reference in `docs/reference/policy.md` are generated from these types by
//! `cargo xtask gen`, so a field's documentation here is what `kubectl explain` prints.
//!
//! Every rule a value must keep is stated twice, in CEL for the API server and in Rust for policies that no API server
//! sees ([`KafkaHealthPolicySpec::check`]), from the same constants; a test holds both against one table of examples.
//!
//! No client and no controller code is in this crate, and no I/O.

mod brokers;
mod cel;
mod check;
mod crds;
mod detection;
mod duration;
mod executor;
mod kafka;
mod limits;
mod maintenance;
mod mode;
mod percent;
mod policy;
mod reassignment;
mod remedies;
mod requests;
mod status;
mod throttle;
mod topics;
mod yaml;

pub use brokers::Brokers;
pub use check::Violation;
pub use crds::crds;
pub use detection::{Detection, Thresholds};
pub use duration::{Bounds, Duration, ParseDurationError};
pub use executor::{CruiseControl, Executor, Native};
pub use kafka::{
    Authentication, CertificateAndKey, ClientTls, ClusterTls, Kafka, OAuthBearer, PasswordSecret, SecretKey,
    TrustedCertificate, UsernamePassword,
};
pub use limits::Limits;
pub use maintenance::{Day, Maintenance, MaintenanceWindow, TimeOfDay};
pub use mode::{EffectiveMode, Mode};
pub use percent::{Percent, PercentError};
pub use policy::{KafkaHealthPolicy, KafkaHealthPolicySpec};
pub use reassignment::{
    Cause, Estimate, KafkaReassignment, KafkaReassignmentSpec, KafkaReassignmentStatus, LeadershipChange,
    Phase, PolicyRef, Progress, ReplicaMove,
};
pub use remedies::{BrokerFailure, Remedies, Remedy};
pub use requests::BrokerList;
pub use status::{BrokerStatus, KafkaHealthPolicyStatus, KafkaStatus, LastAction, Summary};
pub use throttle::{ParseThrottleError, Throttle};
pub use topics::Topics;
pub use yaml::{Problem, YamlError, from_yaml};

use std::collections::BTreeMap;

/// API group of every resource here.
pub const GROUP: &str = "doctorkafka.dev";

/// API version of every resource here.
pub const VERSION: &str = "v1alpha1";

/// Annotation on a policy: `"true"` stops every treatment until it is removed; diagnosis goes on.
pub const PAUSED_ANNOTATION: &str = "doctorkafka.dev/paused";

/// Annotation on a reassignment: approves the digest it names, and nothing else.
pub const APPROVE_ANNOTATION: &str = "doctorkafka.dev/approve";

/// Whether a policy's annotations ask for all treatment to stand still. `True`, as YAML's older writings of truth come,
/// pauses as well: a pause that is not understood would be the worse mistake.
pub fn is_paused(annotations: Option<&BTreeMap<String, String>>) -> bool {
    let value = annotations.and_then(|annotations| annotations.get(PAUSED_ANNOTATION));
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
