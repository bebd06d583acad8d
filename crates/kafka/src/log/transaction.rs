//! Transactions of librdkafka, each brought to an end that is known.
//!
//! Everything here blocks, for a bounded time. The one rule: a producer that has been opened is never replaced by
//! another one for a retry. Only the same producer can tell that it was fenced; a new one would fence whoever fenced it.

use crate::{
    Connection,
    client::{self, Tokens},
};
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// For becoming the one producer of the transactional id: the coordinator may have to be elected first, and ends the
/// transaction of the producer before.
const OPEN: Duration = Duration::from_secs(30);

/// For writing the records. Leaves room for the partition's leader and the transaction's coordinator to die and be
/// replaced, each of which takes Kafka 9 to 11 s; longer when they hang instead, which has to be noticed first.
const WRITE: Duration = Duration::from_secs(30);

/// For the coordinator to commit or abort.
const END: Duration = Duration::from_secs(10);

/// After so long Kafka gives an open transaction up and fences its producer, which then looks like one that was replaced.
/// So it is longer than outages usually last; the next doctor that opens the log ends an open transaction at once. The
/// second is for clusters that do not allow the first (`transaction.max.timeout.ms`, 15 minutes by default).
const TRANSACTION_TIMEOUTS: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(60)];

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Committed,
    /// Nothing of it is or will be in the log.
    Aborted(String),
    /// The commit was asked for and not answered.
    Undecided(String),
    /// Another producer has taken over.
    Fenced,
    /// This producer can do nothing more, for another reason.
    Broken(String),
}

pub(super) struct Transactions {
    /// Its thread takes librdkafka's events off their queue at all times: ending a transaction waits until that is empty.
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    /// What is left to do about the last transaction.
    unfinished: Option<Unfinished>,
}

#[derive(Debug, Clone, Copy)]
enum Unfinished {
    Commit,
    Abort,
}

/// What a failed call of librdkafka's transaction API means.
enum Failure {
    /// The same call may be made again, and has to be before any other.
    Again(String),
    /// The transaction has to be aborted.
    Abort(String),
    /// The producer is of no further use.
    Fatal(String),
}

impl Transactions {
    pub(super) fn open(connection: &Connection, topic: &str, transactional_id: &str) -> Result<Self, String> {
        let mut refused = String::new();
        for timeout in TRANSACTION_TIMEOUTS {
            let config = config(connection, transactional_id, timeout);
            let producer: ThreadedProducer<Deliveries> =
                client::create(&config, Deliveries::new(connection.tokens()))
                    .map_err(|error| error.to_string())?;
            match producer.init_transactions(OPEN) {
                Ok(()) => return Ok(Self { producer, topic: topic.to_owned(), unfinished: None }),
                Err(error) => refused = reason(&error),
            }
            let fatal = producer.client().fatal_error().map(|(code, _)| code);
            if fatal != Some(RDKafkaErrorCode::InvalidTransactionTimeout) {
                break;
            }
        }
        Err(refused)
    }

    /// Brings the last transaction to its end, if it has not come to it. Tells whether it was committed.
    ///
    /// # Errors
    /// When its end is still open, or the producer is fenced.
    pub(super) fn settle(&mut self) -> Result<Option<bool>, Outcome> {
        let outcome = match self.unfinished {
            None => return Ok(None),
            Some(Unfinished::Commit) => self.commit(),
            Some(Unfinished::Abort) => self.abort("an earlier transaction was given up".to_owned()),
        };
        match (outcome, self.unfinished) {
            (Outcome::Committed, _) => Ok(Some(true)),
            (Outcome::Aborted(_), None) => Ok(Some(false)),
            (outcome, _) => Err(outcome),
        }
    }

    /// Writes the values in one transaction. The one before must be settled.
    pub(super) fn write<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> Outcome {
        self.producer.context().forget();
        match self.producer.begin_transaction().map_err(|error| failure("begin a transaction", &error)) {
            Ok(()) => {}
            Err(Failure::Fatal(error)) => return self.end(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => return self.abort(error),
        }
        for value in values {
            let record = BaseRecord::<(), [u8]>::to(&self.topic).partition(0).payload(value);
            if let Err((error, _)) = self.producer.send(record) {
                return match failure("write", &error) {
                    Failure::Fatal(error) => self.end(error),
                    Failure::Again(error) | Failure::Abort(error) => self.abort(error),
                };
            }
        }
        if self.producer.flush(WRITE).is_err() {
            return self.abort(format!("the records were not acknowledged within {WRITE:?}"));
        }
        self.commit()
    }

    fn commit(&mut self) -> Outcome {
        self.unfinished = None;
        match self.producer.commit_transaction(END).map_err(|error| failure("commit", &error)) {
            Ok(()) => Outcome::Committed,
            Err(Failure::Fatal(error)) => self.end(error),
            Err(Failure::Abort(error)) => self.abort(error),
            Err(Failure::Again(error)) => {
                self.unfinished = Some(Unfinished::Commit);
                Outcome::Undecided(error)
            }
        }
    }

    /// Why the producer can do nothing more. A call that fails because of an earlier error does not say by which.
    fn end(&self, error: String) -> Outcome {
        use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
        match self.producer.client().fatal_error() {
            Some((Fenced | InvalidProducerEpoch | ProducerFenced, _)) => Outcome::Fenced,
            Some((_, first)) => Outcome::Broken(first),
            None => Outcome::Broken(error),
        }
    }

    fn abort(&mut self, why: String) -> Outcome {
        self.unfinished = None;
        // What became of single records says more than the transaction, which only says that it must be aborted.
        let why = self.producer.context().failed().unwrap_or(why);
        match self.producer.abort_transaction(END).map_err(|error| failure("abort", &error)) {
            Ok(()) => Outcome::Aborted(why),
            Err(Failure::Fatal(error)) => self.end(error),
            Err(Failure::Again(error) | Failure::Abort(error)) => {
                self.unfinished = Some(Unfinished::Abort);
                Outcome::Aborted(format!("{why}; {error}"))
            }
        }
    }
}

fn failure(what: &str, error: &KafkaError) -> Failure {
    let text = format!("cannot {what}: {}", reason(error));
    match error {
        KafkaError::Transaction(error) if error.is_fatal() => Failure::Fatal(text),
        KafkaError::Transaction(error) if error.txn_requires_abort() => Failure::Abort(text),
        KafkaError::Transaction(error) if error.is_retriable() => Failure::Again(text),
        // Errors of none of these kinds are to be taken for fatal, says librdkafka.
        KafkaError::Transaction(_) | KafkaError::MessageProduction(RDKafkaErrorCode::Fatal) => {
            Failure::Fatal(text)
        }
        _ => Failure::Abort(text),
    }
}

fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => format!("{} ({})", error.string(), error.name()),
        error => error.to_string(),
    }
}

fn config(connection: &Connection, transactional_id: &str, timeout: Duration) -> ClientConfig {
    let mut config = connection.rdkafka();
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        .set("message.timeout.ms", WRITE.as_millis().to_string())
        .set("acks", "all")
        .set("compression.type", "zstd")
        .set("linger.ms", "0")
        .set("request.timeout.ms", "6000")
        // A coordinator that hangs is noticed by this. Requests of a transaction may be made twice.
        .set("socket.timeout.ms", "3000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500")
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("log.connection.close", "false");
    config
}

/// Remembers why a record of the current transaction was not taken.
struct Deliveries {
    failed: Mutex<Option<String>>,
    tokens: Tokens,
}

impl Deliveries {
    fn new(tokens: Tokens) -> Self {
        Self { failed: Mutex::default(), tokens }
    }

    fn forget(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
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

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| format!("cannot write: {error}"));
        }
    }
}
