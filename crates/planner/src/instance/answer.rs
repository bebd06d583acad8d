//! The answer: the partitions whose replicas are to be others, or in another order.

use serde::Serialize;

/// One partition's new replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change<'a> {
    /// Topic.
    pub t: &'a str,
    /// Partition number.
    pub p: i32,
    /// Brokers that are to hold its replicas, the leader first.
    pub r: Vec<i32>,
    /// The broker that each of these replicas comes from, in the same order.
    pub o: Vec<i32>,
    /// Why, for people.
    pub why: String,
}
