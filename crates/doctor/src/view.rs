//! From what the engine knows to the report it gives.

use doctorkafka_diagnosis::{BrokerState, Diagnosis};
use doctorkafka_kafka::TopicInfo;
use doctorkafka_wire::{BrokerId, BrokerReport};
use std::collections::BTreeMap;

use crate::report::{Figures, Summary};

/// Counts brokers by state.
pub(crate) fn summary(diagnoses: &BTreeMap<BrokerId, Diagnosis>) -> Summary {
    let count = |state| diagnoses.values().filter(|diagnosis| diagnosis.state == state).count();
    Summary {
        brokers: diagnoses.len(),
        healthy: count(BrokerState::Healthy),
        overloaded: count(BrokerState::Overloaded),
        unhealthy: count(BrokerState::Unhealthy),
        recovering: count(BrokerState::Recovering),
        maintenance: count(BrokerState::Maintenance),
        unknown: count(BrokerState::Unknown),
    }
}

/// A broker's figures by its newest report.
pub(crate) fn figures(report: Option<&BrokerReport>) -> Figures {
    let Some(report) = report else { return Figures::default() };
    Figures {
        cpu_percent: report.cpu.as_ref().map(|cpu| cpu.percent),
        memory_percent: report.memory_percent(),
        disk_percent: report.disk_percent(),
        network_in: report.network.as_ref().map(|network| network.in_bytes_per_sec),
        network_out: report.network.as_ref().map(|network| network.out_bytes_per_sec),
        last_heartbeat: Some(report.sampled_at),
        simulated: report.simulated,
    }
}

/// Topics of Cruise Control's reporter and of its samples.
const CRUISE_CONTROL: [&str; 2] = ["__CruiseControlMetrics", "__KafkaCruiseControlPartitionMetricSamples"];

/// What is counted over all partitions of the cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// All partitions.
    pub partitions: usize,
    /// Partitions led, by broker.
    pub leaders: BTreeMap<BrokerId, usize>,
    /// Replicas held, by broker.
    pub replicas: BTreeMap<BrokerId, usize>,
    /// Partitions with fewer replicas in sync than they have.
    pub under_replicated: usize,
    /// A topic by which Cruise Control is known to look after the cluster.
    pub cruise_control: Option<String>,
}

impl Tally {
    /// Counts over these topics.
    pub fn of(topics: &[TopicInfo]) -> Self {
        let cruise_control = topics.iter().find(|topic| CRUISE_CONTROL.contains(&topic.name.as_str()));
        let mut tally =
            Self { cruise_control: cruise_control.map(|topic| topic.name.clone()), ..Self::default() };
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            tally.partitions += 1;
            if let Some(leader) = partition.leader {
                *tally.leaders.entry(leader).or_default() += 1;
            }
            for replica in &partition.replicas {
                *tally.replicas.entry(*replica).or_default() += 1;
            }
            tally.under_replicated += usize::from(partition.isr.len() < partition.replicas.len());
        }
        tally
    }
}
