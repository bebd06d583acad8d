//! What all librdkafka clients have in common.

use rdkafka::{ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError};

/// Puts librdkafka's log lines among ours. They are details: a broker that is down makes librdkafka log an error several
/// times a second, and what matters of it comes back as the error of a call or an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::trace!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Debug => tracing::trace!(facility, message, "librdkafka"),
        _ => tracing::debug!(?level, facility, message, "librdkafka"),
    }
}
