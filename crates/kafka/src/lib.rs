//! Everything in DoctorKafka that speaks to Kafka.

mod connection;

pub use connection::{Connection, ConnectionError};
