//! The metrics topic as a stream of reports.

use crate::Connection;
use doctorkafka_wire::{BrokerId, BrokerReport, DecodeError};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Follows every partition of the metrics topic. It belongs to no consumer group and commits nothing.
#[derive(Debug)]
pub struct ReportReader;

/// What the reader tells.
#[derive(Debug)]
pub enum MetricsEvent {
    /// A report.
    Record {
        /// Partition it was read from.
        partition: i32,
        /// Its offset there.
        offset: i64,
        /// When the broker appended it, by the broker's clock; unknown when the topic keeps the producers' times.
        appended_at: Option<Timestamp>,
        /// The report.
        report: Box<BrokerReport>,
    },
    /// A record that is no report; it was passed over.
    Skipped {
        /// Partition it was read from.
        partition: i32,
        /// Its offset there.
        offset: i64,
        /// Why.
        reason: Skip,
    },
    /// Everything in the partition below this offset has been read, and there was nothing more at that time.
    Position {
        /// Partition.
        partition: i32,
        /// The offset that is read next.
        next_offset: i64,
    },
    /// Reading starts on these partitions, all there are. Said at the start, when partitions were added (positions
    /// go on) and when the topic was deleted and created again (`restarted`: offsets start from 0 again).
    Assigned {
        /// All partitions.
        partitions: Vec<i32>,
        /// True when this is another topic of the same name: positions and offsets of before mean nothing any more.
        restarted: bool,
    },
    /// Nothing can be read at present: the topic does not exist, no broker can be reached. The reader keeps trying;
    /// the next [`MetricsEvent::Record`] or [`MetricsEvent::Position`] says that it succeeded.
    Lost {
        /// What is wrong, for people.
        error: String,
    },
}

/// Why a record of the metrics topic is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// It has no value.
    #[error("it has no value")]
    NoValue,
    /// Its value cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its key is not the id of the broker that it speaks of.
    #[error("its key is not {broker}, the broker it speaks of")]
    Forged {
        /// The broker that the value names.
        broker: BrokerId,
    },
}

impl ReportReader {
    /// Starts reading near the end of every partition. Ends, and closes the channel, when `cancel` is cancelled or
    /// the receiver is dropped. When the receiver is slow, reading slows down; nothing is left out.
    pub fn start(
        _connection: Connection,
        _topic: &str,
        _cancel: CancellationToken,
    ) -> mpsc::Receiver<MetricsEvent> {
        unreachable!("follows")
    }
}
