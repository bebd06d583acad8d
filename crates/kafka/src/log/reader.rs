//! Reading the actions log.

use crate::Connection;
use doctorkafka_wire::{ActionRecord, DecodeError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Follows the actions log, committed records only.
#[derive(Debug)]
pub struct ActionLogReader;

/// What the reader tells.
#[derive(Debug)]
pub enum LogEvent {
    /// A record.
    Record {
        /// Its offset. Offsets have gaps: the ends of transactions take one each.
        offset: i64,
        /// The record.
        record: Box<ActionRecord>,
    },
    /// A record that is no action record; it was passed over.
    Skipped {
        /// Its offset.
        offset: i64,
        /// Why; `None` when it has no value.
        reason: Option<DecodeError>,
    },
    /// The end of the log was reached. Said each time; the first time after the start, everything that was committed
    /// before the start has been read.
    CaughtUp,
    /// The log was deleted and created again: what was read before is not in it.
    Restarted,
    /// Nothing can be read at present. The reader keeps trying; any other event says that it succeeded.
    Lost {
        /// What is wrong, for people.
        error: String,
    },
}

impl ActionLogReader {
    /// Starts reading `tail` offsets before the end, or at the beginning if that is nearer. Ends, and closes the
    /// channel, when `cancel` is cancelled or the receiver is dropped.
    pub fn start(
        _connection: Connection,
        _topic: &str,
        _tail: i64,
        _cancel: CancellationToken,
    ) -> mpsc::Receiver<LogEvent> {
        unreachable!("follows")
    }
}
