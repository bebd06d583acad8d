//! DoctorKafka's custom resources.
#[derive(Debug, Clone, PartialEq)]
/// placeholder
pub struct KafkaHealthPolicySpec {}
