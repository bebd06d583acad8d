//! Reading the actions log.

use crate::{
    Connection,
    follow::{Follow, Followed, follow},
};
use doctorkafka_wire::{ActionRecord, DecodeError};
use rdkafka::Message;
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
    ///
    /// Must be called within a tokio runtime.
    pub fn start(
        connection: Connection,
        topic: &str,
        tail: i64,
        cancel: CancellationToken,
    ) -> mpsc::Receiver<LogEvent> {
        // The writer keeps to partition 0, however many someone gave the topic.
        let what = Follow { connection, topic: topic.to_owned(), tail, committed_only: true, only: Some(0) };
        follow(what, event, cancel)
    }
}

fn event(followed: Followed<'_>) -> Option<LogEvent> {
    Some(match followed {
        Followed::Assigned { restarted: true, .. } => LogEvent::Restarted,
        Followed::Assigned { restarted: false, .. } => return None,
        Followed::End { .. } => LogEvent::CaughtUp,
        Followed::Lost { error } => LogEvent::Lost { error },
        Followed::Message(message) => {
            let offset = message.offset();
            match message.payload().map(ActionRecord::decode) {
                Some(Ok(record)) => LogEvent::Record { offset, record: Box::new(record) },
                Some(Err(reason)) => LogEvent::Skipped { offset, reason: Some(reason) },
                None => LogEvent::Skipped { offset, reason: None },
            }
        }
    })
}
