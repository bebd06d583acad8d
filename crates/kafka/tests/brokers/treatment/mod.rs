//! What treatment rests on: facts about real clusters, each by its name. One cluster for each version of Kafka serves all
//! of them, first while it is well and then with brokers dead.

mod configs;
mod eligible;
mod leaders;
mod moves;
mod sizes;

use crate::support::{EVENTUALLY, connection};
use anyhow::{Context, Result, ensure};
use doctorkafka_kafka::{
    Admin, ClusterAdmin, PartitionError, PartitionInfo, PartitionOutcome, ReassignmentChange,
    RunningReassignment, TopicPartition,
};
use doctorkafka_testbed::{KafkaCluster, KafkaVersion, wait_until};
use doctorkafka_wire::BrokerId;
use std::time::Duration;

/// A cluster under treatment.
struct Patient {
    kafka: KafkaCluster,
    admin: Admin,
    /// The brokers' `min.insync.replicas`.
    min_in_sync: i32,
}

impl Patient {
    async fn new(version: KafkaVersion, brokers: i32, min_in_sync: i32) -> Result<Self> {
        let kafka = KafkaCluster::builder().version(version).brokers(brokers);
        // Leaders move only when these tests move them.
        let kafka = kafka.property("auto.leader.rebalance.enable", "false");
        // So that answers with few partitions come in several pages.
        let kafka = kafka.property("max.request.partition.size.limit", "2");
        let kafka = kafka.property("min.insync.replicas", min_in_sync.to_string()).start().await?;
        // What is measured here is never how fast a busy machine answers.
        let admin = Admin::new(connection(&kafka)?).with_timeout(Duration::from_secs(30));
        Ok(Self { kafka, admin, min_in_sync })
    }

    /// A topic of one partition whose replicas are these, all in sync, the first one leading.
    async fn topic(&self, name: &str, replicas: &[i32]) -> Result<TopicPartition> {
        self.kafka.create_topic(name, 1, i16::try_from(replicas.len())?).await?;
        let at = at(name, 0);
        self.one(&at, Some(replicas)).await?.result?;
        self.settled(&at, replicas).await?;
        let elected = self.admin.elect_preferred(std::slice::from_ref(&at)).await?;
        ensure!(elected[0].result.is_ok(), "{elected:?}");
        wait_until("the preferred leader", EVENTUALLY, || async {
            self.partition(&at).await.ok()?.leader.filter(|leader| leader.0 == replicas[0])
        })
        .await?;
        Ok(at)
    }

    /// Changes one partition's reassignment.
    async fn one(&self, at: &TopicPartition, replicas: Option<&[i32]>) -> Result<PartitionOutcome> {
        let change = ReassignmentChange { at: at.clone(), replicas: replicas.map(ids) };
        let outcomes = self.admin.reassign(&[change]).await?;
        ensure!(outcomes.len() == 1 && outcomes[0].at == *at, "{outcomes:?}");
        Ok(outcomes[0].clone())
    }

    async fn partition(&self, at: &TopicPartition) -> Result<PartitionInfo> {
        let topics = self.admin.partitions(Some(&[&at.topic])).await?;
        let mut partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.find(|found| found.partition == at.partition).with_context(|| format!("there is no {at}"))
    }

    /// Waits until the partition has exactly these replicas, in this order and all in sync, and no reassignment.
    async fn settled(&self, at: &TopicPartition, replicas: &[i32]) -> Result<()> {
        wait_until(&format!("{at} to be on {replicas:?}"), EVENTUALLY, || async {
            let found = self.partition(at).await.ok()?;
            let mut in_sync = found.isr.clone();
            in_sync.sort_by_key(|id| replicas.iter().position(|replica| *replica == id.0));
            let done = found.replicas == ids(replicas) && in_sync == found.replicas;
            (done && self.running(at).await.ok()?.is_none()).then_some(())
        })
        .await
    }

    async fn running(&self, at: &TopicPartition) -> Result<Option<RunningReassignment>> {
        Ok(self.admin.reassignments().await?.into_iter().find(|running| running.at == *at))
    }

    /// Kills a broker and waits until the cluster counts it out and goes on.
    async fn kill(&self, dead: i32) -> Result<()> {
        self.kafka.kill(dead).await?;
        self.counted_out(dead).await
    }

    /// Stops a broker, which is as dead then and takes less time to be fenced.
    async fn stop(&self, dead: i32) -> Result<()> {
        self.kafka.stop(dead).await?;
        self.counted_out(dead).await
    }

    async fn counted_out(&self, dead: i32) -> Result<()> {
        wait_until(&format!("broker {dead} to be fenced"), EVENTUALLY, || async {
            let cluster = self.admin.cluster().await.ok()?;
            let seen = cluster.brokers.iter().find(|broker| broker.id.0 == dead);
            let out = if cluster.shows_fenced { seen?.fenced } else { seen.is_none() };
            let controller = self.admin.quorum_leader().await.ok()?;
            (out && controller.id.0 != dead && self.admin.reassignments().await.is_ok()).then_some(())
        })
        .await
    }
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn refused(outcome: &PartitionOutcome) -> &PartitionError {
    match &outcome.result {
        Err(error) => error,
        Ok(()) => panic!("{} was not refused", outcome.at),
    }
}

#[tokio::test]
async fn kafka_4_3_can_be_treated() -> Result<()> {
    let patient = Patient::new(KafkaVersion::V4_3_1, 5, 1).await?;
    let stuck = patient.topic("stuck", &[4, 5]).await?;
    eligible::only_on(&patient, 5).await?;
    while_all_is_well(&patient).await?;
    moves::a_change_that_got_no_answer_may_be_done_later(&patient).await?;
    patient.kill(5).await?;
    with_a_broker_down(&patient, 5).await?;
    patient.stop(3).await?;
    moves::superseding_and_then_cancelling_leaves_an_extra_replica(&patient, 5, 3).await?;
    moves::superseding_with_the_same_dead_target_goes_on_waiting(&patient, 5).await?;
    moves::cancelling_is_refused_when_only_added_replicas_are_in_sync(&patient, &stuck, 3).await
}

#[tokio::test]
async fn kafka_4_1_can_be_treated() -> Result<()> {
    let patient = Patient::new(KafkaVersion::V4_1_2, 4, 2).await?;
    eligible::only_on(&patient, 4).await?;
    while_all_is_well(&patient).await?;
    patient.stop(4).await?;
    with_a_broker_down(&patient, 4).await
}

#[tokio::test]
async fn kafka_3_9_can_be_treated() -> Result<()> {
    let patient = Patient::new(KafkaVersion::V3_9_2, 4, 2).await?;
    moves::kafka_3_9_itself_would_change_a_replication_factor(&patient).await?;
    eligible::only_on(&patient, 4).await?;
    while_all_is_well(&patient).await?;
    patient.stop(4).await?;
    with_a_broker_down(&patient, 4).await
}

async fn while_all_is_well(patient: &Patient) -> Result<()> {
    leaders::another_order_completes_at_once_and_the_election_moves_the_leader(patient).await?;
    leaders::an_election_that_is_not_needed_is_a_success(patient).await?;
    moves::a_move_ends_with_exactly_the_replicas_that_were_asked_for(patient).await?;
    moves::cancelling_without_a_reassignment_is_a_success(patient).await?;
    moves::errors_come_per_partition(patient).await?;
    moves::a_change_of_the_replication_factor_is_refused(patient).await?;
    configs::throttles_come_and_go_and_other_settings_stay(patient).await?;
    configs::a_broker_neither_tells_nor_changes_the_settings_of_another(patient).await?;
    configs::the_least_number_in_sync_is_known_wherever_it_was_set(patient).await?;
    sizes::directories_weigh_what_was_written(patient).await
}

/// The last broker is the one that is down.
async fn with_a_broker_down(patient: &Patient, dead: i32) -> Result<()> {
    eligible::a_partition_without_a_leader_names_who_can_lead_it(patient, dead).await?;
    sizes::a_broker_that_is_down_is_unreachable_and_harms_no_other(patient, dead).await?;
    configs::a_broker_that_is_down_keeps_its_settings_and_others_are_changed(patient, dead).await?;
    leaders::a_preferred_leader_that_is_dead_cannot_be_elected_yet(patient, dead).await?;
    moves::a_dead_target_stalls_for_ever_and_cancelling_restores_the_original_set(patient, dead).await
}
