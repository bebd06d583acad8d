//! Adding one record to the actions log without leading: what a person decided.

use crate::{
    Connection,
    client::{self, Tokens},
};
use doctorkafka_wire::ActionRecord;
use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::KafkaError,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// For the whole of it; the log's leader may have to be replaced meanwhile.
const WITHIN: Duration = Duration::from_secs(30);

/// A record that was not written, or perhaps not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("writing to actions log {topic} of {bootstrap}: {reason}; it takes the ACL WRITE on the topic")]
pub struct NoteError {
    /// Topic name.
    pub topic: String,
    /// Bootstrap servers.
    pub bootstrap: String,
    /// What went wrong.
    pub reason: String,
}

/// Writes one record and waits until all in-sync replicas have it.
///
/// The producer is idempotent and has no transactional id, so that it fences nobody: the doctor goes on writing.
///
/// # Errors
/// When Kafka has not confirmed it within 30 s. It may be in the log all the same; written again, it has the same id.
pub async fn note(connection: Connection, topic: &str, record: &ActionRecord) -> Result<(), NoteError> {
    let fail = {
        let (topic, bootstrap) = (topic.to_owned(), connection.bootstrap().join(","));
        move |reason: String| NoteError { topic: topic.clone(), bootstrap: bootstrap.clone(), reason }
    };
    let (topic, value) = (topic.to_owned(), record.encode());
    let written = tokio::task::spawn_blocking(move || write(&connection, &topic, &value));
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(fail(reason)),
        Err(error) => Err(fail(error.to_string())),
    }
}

fn write(connection: &Connection, topic: &str, value: &[u8]) -> Result<(), String> {
    let mut config = connection.rdkafka();
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("linger.ms", "0")
        .set("message.timeout.ms", WITHIN.as_millis().to_string())
        .set("request.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("log.connection.close", "false")
        // A topic that does not exist is an error to tell, not a topic to make.
        .set("allow.auto.create.topics", "false");
    let confirmed: Confirmed = Arc::default();
    let context = Context { confirmed: confirmed.clone(), tokens: connection.tokens() };
    let producer: ThreadedProducer<Context> =
        client::create(&config, context).map_err(|error| error.to_string())?;
    let record = BaseRecord::<(), [u8]>::to(topic).payload(value).partition(0);
    producer.send(record).map_err(|(error, _)| error.to_string())?;
    let flushed = producer.flush(WITHIN + Duration::from_secs(1));
    let outcome = confirmed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (outcome, flushed) {
        (Some(outcome), _) => outcome,
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(())) => Err("Kafka has not confirmed it".to_owned()),
    }
}

/// What Kafka said of the record; `None` until it has.
type Confirmed = Arc<Mutex<Option<Result<(), String>>>>;

struct Context {
    confirmed: Confirmed,
    tokens: Tokens,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.current()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::trace!(%error, reason, "librdkafka");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| error.to_string());
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}
