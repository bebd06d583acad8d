//! Everything in DoctorKafka that speaks to Kafka.
//!
//! * [`Admin`] asks the cluster about itself and creates the doctor's topics; [`probe`] asks one broker whether it lives.
//! * [`ClusterAdmin`] is what treatment asks of a cluster: reassignments, preferred elections, sizes and settings. `Admin`
//!   asks a real one.
//! * [`ReportPublisher`] sends a sidecar's reports to the metrics topic.
//! * [`ReportReader`] follows the metrics topic.
//! * [`ActionLogWriter`] and [`ActionLogReader`] are the two ends of the actions log, which is transactional and fenced; [`note`]
//!   adds what a person decided to it.
//! * [`GroupElection`] elects one leader among standalone doctors through a consumer group.
//!
//! Every client is built from one [`Connection`], with its [`Tls`] and [`Sasl`]. Admin requests go over the
//! `kafka-protocol` crate, because librdkafka lacks several of them; records go over librdkafka. Every call has a timeout
//! and every queue a bound.

mod admin;
mod client;
mod connection;
mod election;
mod flags;
mod follow;
mod log;
mod publisher;
mod reports;
mod sasl;
mod secret;
mod tls;

pub use admin::{
    Admin, AdminError, Attempt, BrokerInfo, ClusterAdmin, ClusterDescription, ConfigChange, ConfigResource,
    DynamicConfigs, EligibleLeaders, LogDir, LogSpan, PartitionError, PartitionInfo, PartitionOutcome,
    ProbeError, QuorumLeader, ReassignmentChange, ReplicaSize, RunningReassignment, TopicInfo, TopicOutcome,
    TopicPartition, TopicPartitions, TopicSpec, probe,
};
pub use connection::{Connection, ConnectionError};
pub use election::{GroupElection, Standing};
pub use flags::{SecurityError, SecurityFlags};
pub use log::{ActionLogReader, ActionLogWriter, AppendError, LogEvent, NoteError, OpenError, note};
pub use publisher::{PublisherError, PublisherStats, ReportPublisher, partition_for};
pub use reports::{MetricsEvent, ReportReader, Skip};
pub use sasl::{BearerToken, Sasl, SaslMechanism};
pub use secret::Secret;
pub use tls::{CertificatePem, KeyPem, Tls, certificate_expiry};
