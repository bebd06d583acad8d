//! The metrics topic as a stream of reports.

use crate::{
    Connection,
    follow::{Follow, Followed, follow},
};
use doctorkafka_wire::{BrokerId, BrokerReport, DecodeError};
use jiff::Timestamp;
use rdkafka::{Message, message::BorrowedMessage};
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

/// How far before the end of each partition reading starts: enough to know each broker's newest figures at once.
const TAIL: i64 = 50;

impl ReportReader {
    /// Starts reading 50 records before the end of every partition. Ends, and closes the channel, when `cancel` is
    /// cancelled or the receiver is dropped. When the receiver is slow, reading slows down; nothing is left out.
    ///
    /// Must be called within a tokio runtime.
    pub fn start(
        connection: Connection,
        topic: &str,
        cancel: CancellationToken,
    ) -> mpsc::Receiver<MetricsEvent> {
        let what =
            Follow { connection, topic: topic.to_owned(), tail: TAIL, committed_only: false, only: None };
        follow(what, event, cancel)
    }
}

fn event(followed: Followed<'_>) -> Option<MetricsEvent> {
    Some(match followed {
        Followed::Assigned { partitions, restarted } => MetricsEvent::Assigned { partitions, restarted },
        Followed::End { partition, next_offset } => MetricsEvent::Position { partition, next_offset },
        Followed::Lost { error } => MetricsEvent::Lost { error },
        Followed::Message(message) => {
            let (partition, offset) = (message.partition(), message.offset());
            match report(message) {
                Err(reason) => MetricsEvent::Skipped { partition, offset, reason },
                Ok(report) => {
                    MetricsEvent::Record { partition, offset, appended_at: appended_at(message), report }
                }
            }
        }
    })
}

fn report(message: &BorrowedMessage<'_>) -> Result<Box<BrokerReport>, Skip> {
    let report = BrokerReport::decode(message.payload().ok_or(Skip::NoValue)?)?;
    if message.key() != Some(report.broker_id.to_string().as_bytes()) {
        return Err(Skip::Forged { broker: report.broker_id });
    }
    Ok(Box::new(report))
}

fn appended_at(message: &BorrowedMessage<'_>) -> Option<Timestamp> {
    match message.timestamp() {
        rdkafka::Timestamp::LogAppendTime(millis) => Timestamp::from_millisecond(millis).ok(),
        rdkafka::Timestamp::CreateTime(_) | rdkafka::Timestamp::NotAvailable => None,
    }
}
