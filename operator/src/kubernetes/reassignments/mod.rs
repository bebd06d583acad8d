//! Treatments as `KafkaReassignment` objects.

mod approvals;

pub(super) use approvals::Approvals;
