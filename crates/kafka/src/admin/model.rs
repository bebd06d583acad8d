//! What the cluster says of itself.

use doctorkafka_wire::BrokerId;

/// A cluster and its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// Registered brokers, by id.
    pub brokers: Vec<BrokerInfo>,
    /// Whether fenced brokers are listed. When false (before Kafka 4.0), a fenced broker is missing from `brokers`.
    pub shows_fenced: bool,
}

/// One broker as the cluster registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Host it advertises.
    pub host: String,
    /// Port it advertises.
    pub port: u16,
    /// Its `broker.rack`.
    pub rack: Option<String>,
    /// Fenced: registered, and out of service because the controller gets no heartbeats, or still starting (KIP-631,
    /// KIP-1073).
    pub fenced: bool,
}

impl BrokerInfo {
    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The leader of the KRaft quorum, which is the active controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumLeader {
    /// Its `node.id`. A broker's as well only where nodes combine both roles.
    pub id: BrokerId,
    /// The quorum's epoch: rises with every election.
    pub epoch: i32,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id, which changes when it is deleted and created again; zero when the broker is too old to tell (KIP-516).
    pub id: u128,
    /// Whether it is internal to Kafka, as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// Its leader, if it has one.
    pub leader: Option<BrokerId>,
    /// Brokers that hold a replica, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Brokers whose replica is in sync.
    pub isr: Vec<BrokerId>,
    /// Who could lead it again, when nobody leads it and the brokers tell (Kafka 4.0 and newer). Known to
    /// [`ClusterAdmin::partitions`](super::ClusterAdmin::partitions) alone.
    pub eligible: Option<Box<EligibleLeaders>>,
}

/// Replicas that could lead a partition though they are not in sync (KIP-966).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EligibleLeaders {
    /// Eligible leader replicas: they have every record that was committed, and the first that comes back leads.
    pub replicas: Vec<BrokerId>,
    /// Those that were eligible last, also when none is any more; they may lack records that were committed then.
    pub last_known: Vec<BrokerId>,
}

impl PartitionInfo {
    /// Brokers of which one has to come back so that the partition is led again without any loss: the eligible leader
    /// replicas, or the last in-sync replicas where a cluster has no others (`eligible.leader.replicas.version` 0, and
    /// before Kafka 4.1). Empty when it has a leader, and when only an unclean election could help.
    pub fn awaited_leaders(&self) -> &[BrokerId] {
        match &self.eligible {
            _ if self.leader.is_some() => &[],
            Some(eligible) if self.isr.is_empty() => &eligible.replicas,
            _ => &self.isr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_come_back_is_known_while_nobody_leads() {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let partition = |leader, isr: &[i32], eligible: Option<&[i32]>| PartitionInfo {
            partition: 0,
            leader,
            replicas: ids(&[1, 2, 3]),
            isr: ids(isr),
            eligible: eligible
                .map(|replicas| Box::new(EligibleLeaders { replicas: ids(replicas), last_known: ids(&[3]) })),
        };
        assert_eq!(partition(Some(BrokerId(1)), &[1], Some(&[2])).awaited_leaders(), []);
        assert_eq!(partition(None, &[2], None).awaited_leaders(), ids(&[2]));
        assert_eq!(partition(None, &[], Some(&[1, 2])).awaited_leaders(), ids(&[1, 2]));
        assert_eq!(partition(None, &[], Some(&[])).awaited_leaders(), [], "the last known may lack records");
    }
}
