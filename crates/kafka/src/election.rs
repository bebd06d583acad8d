//! Election of one leader among standalone doctors, by Kafka itself.

use crate::Connection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A member of a consumer group on the single partition of the actions log. Who is assigned the partition leads.
#[derive(Debug)]
pub struct GroupElection;

impl GroupElection {
    /// Joins the group. The value is true while this member is assigned the partition.
    ///
    /// When `cancel` is cancelled, the value turns false, the group is left at once, and then the channel is closed.
    pub fn start(
        _connection: Connection,
        _group: String,
        _topic: &str,
        _cancel: CancellationToken,
    ) -> watch::Receiver<bool> {
        unreachable!("follows")
    }
}
