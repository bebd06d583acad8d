//! Who can lead a partition that nobody leads.

use super::{Patient, at, ids};
use crate::support::EVENTUALLY;
use anyhow::Result;
use doctorkafka_kafka::{ClusterAdmin, EligibleLeaders, ReassignmentChange};
use doctorkafka_testbed::{KafkaVersion, wait_until};

/// More partitions than go into two answers.
const PARTITIONS: i32 = 5;

/// A topic whose only replicas are on the broker that will be down.
pub async fn only_on(patient: &Patient, broker: i32) -> Result<()> {
    patient.kafka.create_topic("alone", PARTITIONS, 1).await?;
    let changes: Vec<ReassignmentChange> = (0..PARTITIONS)
        .map(|partition| ReassignmentChange { at: at("alone", partition), replicas: Some(ids(&[broker])) })
        .collect();
    for outcome in patient.admin.reassign(&changes).await? {
        outcome.result?;
    }
    for change in &changes {
        patient.settled(&change.at, &[broker]).await?;
    }
    Ok(())
}

/// From Kafka 4.1 on, new clusters keep eligible leader replicas (`eligible.leader.replicas.version` 1, KIP-966): no replica
/// is in sync then, and the answer says which has all that was committed. Before that, the last one in sync stays in sync.
pub async fn a_partition_without_a_leader_names_who_can_lead_it(patient: &Patient, dead: i32) -> Result<()> {
    let known = patient.kafka.version() != KafkaVersion::V3_9_2;
    for partition in 0..PARTITIONS {
        let at = at("alone", partition);
        let found = wait_until(&format!("{at} to have no leader"), EVENTUALLY, || async {
            patient.partition(&at).await.ok().filter(|found| found.leader.is_none())
        })
        .await?;
        assert_eq!(found.awaited_leaders(), ids(&[dead]), "{found:?}");
        let eligible = EligibleLeaders { replicas: ids(&[dead]), last_known: ids(&[dead]) };
        assert_eq!(found.eligible.as_deref(), known.then_some(&eligible), "{found:?}");
        assert_eq!(found.isr, if known { Vec::new() } else { ids(&[dead]) });
    }
    // Others cost no second question, and nothing is added to them.
    let healthy = patient.admin.partitions(Some(&["order"])).await?;
    assert!(
        healthy[0].partitions.iter().all(|one| one.leader.is_some() && one.eligible.is_none()),
        "{healthy:?}"
    );
    Ok(())
}
