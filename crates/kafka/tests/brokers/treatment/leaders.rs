//! Elections.

use super::{Patient, at, ids, refused};
use crate::support::EVENTUALLY;
use anyhow::Result;
use doctorkafka_kafka::{ClusterAdmin, ReassignmentChange};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::BrokerId;

pub async fn another_order_completes_at_once_and_the_election_moves_the_leader(
    patient: &Patient,
) -> Result<()> {
    let order = patient.topic("order", &[1, 2]).await?;
    patient.one(&order, Some(&[2, 1])).await?.result?;
    // Asked of the controller, which has done it by then.
    assert_eq!(patient.running(&order).await?, None);
    patient.settled(&order, &[2, 1]).await?;
    // Preferred means nothing before the election.
    assert_eq!(patient.partition(&order).await?.leader, Some(BrokerId(1)));

    let elected = patient.admin.elect_preferred(std::slice::from_ref(&order)).await?;
    assert_eq!((&elected[0].at, &elected[0].result), (&order, &Ok(())));
    wait_until("the leadership to move", EVENTUALLY, || async {
        patient.partition(&order).await.is_ok_and(|found| found.leader == Some(BrokerId(2)))
    })
    .await?;
    assert_eq!(patient.partition(&order).await?.replicas, ids(&[2, 1]));
    Ok(())
}

pub async fn an_election_that_is_not_needed_is_a_success(patient: &Patient) -> Result<()> {
    // More partitions than go into one request, and only the first and the last one there.
    let mut partitions = vec![at("order", 0)];
    partitions.extend((1..=1_000).map(|partition| at("missing", partition)));
    partitions.push(at("order", 0));
    let outcomes = patient.admin.elect_preferred(&partitions).await?;
    assert!(outcomes.iter().map(|outcome| &outcome.at).eq(&partitions));
    for place in [0, 1_001] {
        assert_eq!(outcomes[place].result, Ok(()));
    }
    for outcome in &outcomes[1..=1_000] {
        let error = refused(outcome);
        assert_eq!((error.code.as_str(), error.retriable), ("UnknownTopicOrPartition", false), "{error}");
    }
    Ok(())
}

pub async fn a_preferred_leader_that_is_dead_cannot_be_elected_yet(
    patient: &Patient,
    dead: i32,
) -> Result<()> {
    let preferred = at("order", 0);
    let change = ReassignmentChange { at: preferred.clone(), replicas: Some(ids(&[1, 2])) };
    assert_eq!(patient.admin.reassign(&[change]).await?[0].result, Ok(()));
    let weak = at("weighed", 0);
    assert_eq!(patient.partition(&weak).await?.replicas, ids(&[dead, 1]));
    let outcomes = patient.admin.elect_preferred(&[preferred.clone(), weak]).await?;
    assert_eq!(outcomes[0].result, Ok(()));
    let error = refused(&outcomes[1]);
    assert_eq!((error.code.as_str(), error.retriable), ("PreferredLeaderNotAvailable", true), "{error}");
    Ok(())
}
