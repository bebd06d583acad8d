//! Whether this instance may speak for the doctor.

/// What the election (a Kubernetes Lease, or the consumer group in standalone mode) says of this instance.
///
/// Every instance observes and diagnoses at all times, so that a stand-by takes over with warm knowledge; only the
/// writing depends on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Another instance leads, or nobody does.
    Standby,
    /// This instance leads.
    Leading,
    /// This instance led, its lease ran out, and whoever grants leases cannot be asked. It goes on writing the actions
    /// log, which is fenced by Kafka itself, and does nothing that only a leader may do.
    Uncertain,
}
