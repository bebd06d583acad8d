//! Writing the actions log in fenced transactions.

use super::transaction::{Outcome, Transactions};
use crate::Connection;
use doctorkafka_wire::ActionRecord;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The largest record that can be written, bytes. Kafka's own default (`max.message.bytes`) is 1,048,588 for a whole
/// batch, and librdkafka's 1,000,000.
const MAX_RECORD: usize = 900_000;

/// The one writer of the actions log of a cluster.
///
/// # What it promises
///
/// * Opening it fences every writer that was opened before, wherever it runs.
/// * A batch is in the log wholly or not at all.
/// * No record is written twice: when the outcome of a commit is not known, the next [`ActionLogWriter::append`] finds
///   it out first and leaves out the records that turn out to be in the log.
///
/// # What the caller does
///
/// * After [`AppendError::Failed`]: call `append` again with the same records, followed by newer ones if there are any.
/// * After [`AppendError::Fenced`]: stop leading, drop the writer, and open another only when elected anew. Never open
///   another for a retry: it would fence the doctor that took over.
/// * After [`AppendError::Broken`]: drop the writer. If still elected, begin again: open another and read the log.
/// * After opening: start a fresh [`crate::ActionLogReader`] and read until it has caught up. Transactions of writers
///   before are decided by then, so whatever of them is in the log will be read, and nothing else will ever appear.
pub struct ActionLogWriter {
    topic: String,
    /// Taken out when the writer is dropped.
    inner: Arc<Mutex<Option<Inner>>>,
}

/// The log could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("opening actions log {topic} of {bootstrap} as {transactional_id}: {reason}")]
pub struct OpenError {
    /// Topic name.
    pub topic: String,
    /// Bootstrap servers.
    pub bootstrap: String,
    /// The transactional id.
    pub transactional_id: String,
    /// What went wrong.
    pub reason: String,
}

/// A batch that was not, or perhaps not, written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another doctor has opened the log. Or this one was cut off in the middle of a transaction for longer than five
    /// minutes, and Kafka gave it up. Nothing more can be written; if a commit was under way, only the log can tell
    /// whether it succeeded.
    #[error("fenced: another doctor has taken the actions log over, or this one was cut off for too long")]
    Fenced,
    /// Nothing more can be written with this writer, and nobody is known to have taken over: Kafka and the writer no
    /// longer agree on the state of its transaction, as can be after an outage, or writing was forbidden. Whether the
    /// batch was written, the log tells. Open another writer if still elected.
    #[error("the actions log has to be opened anew: {reason}")]
    Broken {
        /// What went wrong.
        reason: String,
    },
    /// It did not work this time. Append the same records again.
    #[error("actions log {topic}: {reason}")]
    Failed {
        /// Topic name.
        topic: String,
        /// What went wrong.
        reason: String,
        /// False: nothing of the batch is, or ever will be, in the log. True: the commit was under way and is decided
        /// by the next append.
        undecided: bool,
    },
    /// This record can never be written; leave it out. Nothing of the batch was written.
    #[error("record {id} of {bytes} bytes is larger than the {limit} allowed")]
    TooLarge {
        /// The record's id.
        id: String,
        /// Its size, bytes.
        bytes: usize,
        /// The limit, bytes.
        limit: usize,
    },
}

struct Inner {
    transactions: Transactions,
    /// Ids of the batch that was written last.
    written: HashSet<String>,
    /// Ids of the batch whose commit has not come to an end.
    undecided: HashSet<String>,
}

impl ActionLogWriter {
    /// Opens the log for writing and fences every older writer (`init_transactions`, InitProducerId, API key 22).
    /// The transactional id is `doctorkafka-<cluster id>`.
    ///
    /// # Errors
    /// When it does not succeed within 30 s. It may be tried again as long as the caller is elected.
    pub async fn open(connection: Connection, topic: &str, cluster_id: &str) -> Result<Self, OpenError> {
        let transactional_id = format!("doctorkafka-{cluster_id}");
        let opened = tokio::task::spawn_blocking({
            let (connection, topic, id) = (connection.clone(), topic.to_owned(), transactional_id.clone());
            move || Transactions::open(&connection, &topic, &id)
        });
        let fail = |reason: String| OpenError {
            topic: topic.to_owned(),
            bootstrap: connection.bootstrap().join(","),
            transactional_id,
            reason,
        };
        match opened.await {
            Ok(Ok(transactions)) => {
                let inner = Inner { transactions, written: HashSet::new(), undecided: HashSet::new() };
                Ok(Self { topic: topic.to_owned(), inner: Arc::new(Mutex::new(Some(inner))) })
            }
            Ok(Err(reason)) => Err(fail(reason)),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Writes the records in their order in one transaction and waits until it is committed.
    ///
    /// Takes milliseconds, some 10 s while the log's leader or the transaction's coordinator is being replaced, and never
    /// much longer than a minute. A call that is dropped half-way goes on in the background; the next one waits for it,
    /// and leaves out what it has written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, records: Vec<ActionRecord>) -> Result<(), AppendError> {
        let batch: Vec<(String, Vec<u8>)> =
            records.into_iter().map(|record| (record.id.clone(), record.encode())).collect();
        if let Some((id, value)) = batch.iter().find(|(_, value)| value.len() > MAX_RECORD) {
            return Err(AppendError::TooLarge { id: id.clone(), bytes: value.len(), limit: MAX_RECORD });
        }
        let inner = Arc::clone(&self.inner);
        let appended = tokio::task::spawn_blocking(move || {
            // Poisoned only by a panic below, after which librdkafka's own state is still what it was.
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.as_mut().map_or(Outcome::Fenced, |inner| inner.append(batch))
        });
        let outcome = appended.await.unwrap_or_else(|error| Outcome::Undecided(error.to_string()));
        let failed = |reason, undecided| AppendError::Failed { topic: self.topic.clone(), reason, undecided };
        match outcome {
            Outcome::Committed => Ok(()),
            Outcome::Aborted(reason) => Err(failed(reason, false)),
            Outcome::Undecided(reason) => Err(failed(reason, true)),
            Outcome::Fenced => Err(AppendError::Fenced),
            Outcome::Broken(reason) => Err(AppendError::Broken { reason }),
        }
    }
}

impl Inner {
    fn append(&mut self, mut batch: Vec<(String, Vec<u8>)>) -> Outcome {
        match self.transactions.settle() {
            Ok(None) => {}
            Ok(Some(true)) => self.written = std::mem::take(&mut self.undecided),
            Ok(Some(false)) => self.undecided.clear(),
            Err(unsettled) => return unsettled,
        }
        // Those that are left out are in the log all the same, and may be given once more.
        let ids: HashSet<String> = batch.iter().map(|(id, _)| id.clone()).collect();
        batch.retain(|(id, _)| !self.written.contains(id));
        if batch.is_empty() {
            return Outcome::Committed;
        }
        let outcome = self.transactions.write(batch.iter().map(|(_, value)| value.as_slice()));
        match &outcome {
            Outcome::Committed => self.written = ids,
            Outcome::Undecided(_) => self.undecided = ids,
            Outcome::Aborted(_) | Outcome::Fenced | Outcome::Broken(_) => {}
        }
        outcome
    }
}

impl Drop for ActionLogWriter {
    fn drop(&mut self) {
        // Closing a producer blocks for a moment.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn_blocking(move || inner.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl std::fmt::Debug for ActionLogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActionLogWriter").field("topic", &self.topic).finish_non_exhaustive()
    }
}
