//! Reassignments.

use super::{Patient, at, ids, refused};
use crate::support::{EVENTUALLY, tool};
use anyhow::Result;
use doctorkafka_kafka::{
    Admin, AdminError, ClusterAdmin, Connection, ReassignmentChange, RunningReassignment, TopicPartition,
};
use doctorkafka_testbed::wait_until;
use std::time::Duration;

fn running(
    at: &TopicPartition,
    replicas: &[i32],
    adding: &[i32],
    removing: &[i32],
) -> Option<RunningReassignment> {
    let (replicas, adding, removing) = (ids(replicas), ids(adding), ids(removing));
    Some(RunningReassignment { at: at.clone(), replicas, adding, removing })
}

pub async fn a_move_ends_with_exactly_the_replicas_that_were_asked_for(patient: &Patient) -> Result<()> {
    let moved = patient.topic("moved", &[1, 2]).await?;
    patient.one(&moved, Some(&[3, 1])).await?.result?;
    patient.settled(&moved, &[3, 1]).await
}

pub async fn cancelling_without_a_reassignment_is_a_success(patient: &Patient) -> Result<()> {
    let moved = at("moved", 0);
    assert_eq!(patient.one(&moved, None).await?.result, Ok(()));
    patient.settled(&moved, &[3, 1]).await
}

pub async fn errors_come_per_partition(patient: &Patient) -> Result<()> {
    patient.kafka.create_topic("many", 6, 2).await?;
    let fine = at("many", 5);
    let before = patient.partition(&fine).await?.replicas;
    let reversed: Vec<i32> = before.iter().rev().map(|id| id.0).collect();
    let cases: [(TopicPartition, Option<&[i32]>, &str); 8] = [
        (at("missing", 0), Some(&[1, 2]), "UnknownTopicOrPartition"),
        (at("many", 99), Some(&[1, 2]), "UnknownTopicOrPartition"),
        (at("many", 99), None, "UnknownTopicOrPartition"),
        (at("many", 0), Some(&[1, 99]), "InvalidReplicaAssignment"),
        (at("many", 1), Some(&[1, -1]), "InvalidReplicaAssignment"),
        (at("many", 2), Some(&[1, 1]), "InvalidReplicaAssignment"),
        (fine.clone(), Some(&reversed), ""),
        (at("many", 3), None, ""),
    ];
    let changes: Vec<ReassignmentChange> = cases
        .iter()
        .map(|(at, replicas, _)| ReassignmentChange { at: at.clone(), replicas: replicas.map(ids) })
        .collect();
    let outcomes = patient.admin.reassign(&changes).await?;
    assert_eq!(outcomes.len(), cases.len());
    for (outcome, (at, _, code)) in outcomes.iter().zip(&cases) {
        assert_eq!(&outcome.at, at);
        let found = outcome.result.as_ref().err().map_or("", |error| &error.code);
        assert_eq!(found, *code, "{outcome:?}");
        assert!(outcome.result.as_ref().err().is_none_or(|error| !error.retriable), "{outcome:?}");
    }
    patient.settled(&fine, &reversed).await
}

pub async fn a_change_of_the_replication_factor_is_refused(patient: &Patient) -> Result<()> {
    let moved = at("moved", 0);
    for replicas in [&[3][..], &[3, 1, 2]] {
        let other = ReassignmentChange { at: at("many", 4), replicas: None };
        let change = ReassignmentChange { at: moved.clone(), replicas: Some(ids(replicas)) };
        let outcomes = patient.admin.reassign(&[change, other]).await?;
        let error = refused(&outcomes[0]);
        assert_eq!((error.code.as_str(), error.retriable), ("InvalidReplicationFactor", false), "{error}");
        assert_eq!(outcomes[1].result, Ok(()));
    }
    patient.settled(&moved, &[3, 1]).await
}

/// Asked by Kafka's own tool, because ours does not ask.
pub async fn kafka_3_9_itself_would_change_a_replication_factor(patient: &Patient) -> Result<()> {
    let thin = patient.topic("thin", &[1, 2]).await?;
    let file = patient.kafka.broker(1).data_dir().join("move.json");
    let plan = r#"{"version":1,"partitions":[{"topic":"thin","partition":0,"replicas":[1]}]}"#;
    tokio::fs::write(&file, plan).await?;
    let class = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    let file = file.display().to_string();
    tool(&patient.kafka, class, &["--execute", "--reassignment-json-file", &file]).await?;
    patient.settled(&thin, &[1]).await
}

/// The set of the original, that is, and each in sync; not its order, and so another preferred leader.
pub async fn a_dead_target_stalls_for_ever_and_cancelling_restores_the_original_set(
    patient: &Patient,
    dead: i32,
) -> Result<()> {
    let stalled = patient.topic("stalled", &[1, 2]).await?;
    patient.one(&stalled, Some(&[dead, 2])).await?.result?;
    let waiting = running(&stalled, &[dead, 2, 1], &[dead], &[1]);
    assert_eq!(patient.running(&stalled).await?, waiting);
    // A move to the living, begun later, comes and goes.
    let other = patient.topic("overtaking", &[1, 2]).await?;
    patient.one(&other, Some(&[3, 1])).await?.result?;
    patient.settled(&other, &[3, 1]).await?;
    assert_eq!(patient.running(&stalled).await?, waiting);
    let found = patient.partition(&stalled).await?;
    assert!(found.isr.len() == 2 && !found.isr.contains(&ids(&[dead])[0]), "{found:?}");

    assert_eq!(patient.one(&stalled, None).await?.result, Ok(()));
    assert_eq!(patient.running(&stalled).await?, None);
    // What was to stay comes first: it was so in the target, which the list of a running reassignment begins with.
    patient.settled(&stalled, &[2, 1]).await?;
    patient.one(&stalled, Some(&[1, 2])).await?.result?;
    patient.settled(&stalled, &[1, 2]).await
}

/// Two brokers are dead: the first target, and the one that supersedes it. And there is no way back for us, who never
/// change replication factors.
pub async fn superseding_and_then_cancelling_leaves_an_extra_replica(
    patient: &Patient,
    first: i32,
    second: i32,
) -> Result<()> {
    let superseded = patient.topic("superseded", &[1, 2]).await?;
    patient.one(&superseded, Some(&[1, first])).await?.result?;
    patient.one(&superseded, Some(&[1, second])).await?.result?;
    // The first target is to be removed now, as if it had always been there.
    let waiting = running(&superseded, &[1, second, 2, first], &[second], &[2, first]);
    assert_eq!(patient.running(&superseded).await?, waiting);
    patient.one(&superseded, None).await?.result?;
    assert_eq!(patient.running(&superseded).await?, None);
    wait_until("the extra replica", EVENTUALLY, || async {
        patient.partition(&superseded).await.is_ok_and(|found| found.replicas == ids(&[1, 2, first]))
    })
    .await?;
    in_sync(patient, &superseded, &[1, 2]).await?;
    let outcome = patient.one(&superseded, Some(&[1, 2])).await?;
    assert_eq!(refused(&outcome).code, "InvalidReplicationFactor", "{outcome:?}");
    Ok(())
}

pub async fn superseding_with_the_same_dead_target_goes_on_waiting(
    patient: &Patient,
    dead: i32,
) -> Result<()> {
    let waiting = patient.topic("waiting", &[1, 2]).await?;
    patient.one(&waiting, Some(&[1, dead])).await?.result?;
    patient.one(&waiting, Some(&[dead, 2])).await?.result?;
    assert_eq!(patient.running(&waiting).await?, running(&waiting, &[dead, 2, 1], &[dead], &[1]));
    patient.one(&waiting, None).await?.result?;
    patient.settled(&waiting, &[2, 1]).await
}

/// The active controller hangs when a broker forwards the change to it, and does it when it wakes.
pub async fn a_change_that_got_no_answer_may_be_done_later(patient: &Patient) -> Result<()> {
    let late = patient.topic("late", &[1, 2]).await?;
    let broker = Connection::new(patient.kafka.broker(4).address(), "test")?;
    let hasty = Admin::new(broker).with_timeout(Duration::from_millis(1_500));
    let change = [ReassignmentChange { at: late.clone(), replicas: Some(ids(&[2, 1])) }];
    let controller = patient.admin.quorum_leader().await?.id;
    patient.kafka.pause(controller.0)?;
    let result = wait_until("the change to be sent", EVENTUALLY, || async {
        // On a very busy machine even the connection can take too long.
        Some(hasty.reassign(&change).await)
            .filter(|result| !matches!(result, Err(AdminError::Unreachable { .. })))
    })
    .await;
    patient.kafka.resume(controller.0)?;
    let error = result?.expect_err("the controller hangs");
    assert!(matches!(error, AdminError::Unanswered { .. }) && error.may_have_been_done(), "{error}");
    patient.settled(&late, &[2, 1]).await
}

/// The partition is on brokers 4 and 5, of which 5 is dead.
pub async fn cancelling_is_refused_when_only_added_replicas_are_in_sync(
    patient: &Patient,
    stuck: &TopicPartition,
    dead: i32,
) -> Result<()> {
    patient.one(stuck, Some(&[1, dead])).await?.result?;
    in_sync(patient, stuck, &[1, 4]).await?;
    patient.stop(4).await?;
    in_sync(patient, stuck, &[1]).await?;
    let outcome = patient.one(stuck, None).await?;
    let error = refused(&outcome);
    assert_eq!(error.code, "InvalidReplicaAssignment", "{error}");
    assert_eq!(patient.running(stuck).await?, running(stuck, &[1, dead, 4, 5], &[1, dead], &[4, 5]));
    Ok(())
}

/// Waits until just these are in sync.
async fn in_sync(patient: &Patient, at: &TopicPartition, expected: &[i32]) -> Result<()> {
    wait_until(&format!("{expected:?} to be in sync for {at}"), EVENTUALLY, || async {
        let mut found = patient.partition(at).await.ok()?.isr;
        found.sort_unstable();
        (found == ids(expected)).then_some(())
    })
    .await
}
