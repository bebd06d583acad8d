//! Writing the actions log in fenced transactions.

use crate::Connection;
use doctorkafka_wire::ActionRecord;

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
/// * After opening: start a fresh [`crate::ActionLogReader`] and read until it has caught up. Transactions of writers
///   before are decided by then, so whatever of them is in the log will be read, and nothing else will ever appear.
#[derive(Debug)]
pub struct ActionLogWriter {}

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
    /// Another doctor has opened the log, or Kafka gave this one up after a long pause. Nothing more can be written.
    #[error("fenced: another doctor has taken the actions log over")]
    Fenced,
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

impl ActionLogWriter {
    /// Opens the log for writing and fences every older writer (`init_transactions`, InitProducerId, API key 22).
    /// The transactional id is `doctorkafka-<cluster id>`.
    ///
    /// # Errors
    /// When it does not succeed within 30 s. It may be tried again as long as the caller is elected.
    pub async fn open(_connection: Connection, _topic: &str, _cluster_id: &str) -> Result<Self, OpenError> {
        unreachable!("follows")
    }

    /// Writes the records in their order in one transaction and waits until it is committed.
    ///
    /// Takes at most about half a minute. A call that is dropped half-way goes on in the background; the next one waits
    /// for it, and leaves out what it has written.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, _records: Vec<ActionRecord>) -> Result<(), AppendError> {
        unreachable!("follows")
    }
}
