//! What goes wrong with Cruise Control on real clusters, and must not with this doctor. Failures of its execution are in
//! the tests of execution.

use super::{
    moves::{due, lose_5, round, see, world},
    *,
};
use crate::execute::Treatment;

/// Kafka does what the treatment asks for.
fn carry_out(world: &mut World, treatment: &Treatment) {
    let mut topics = world.topics.take().unwrap();
    for change in treatment.changes() {
        let topic = topics.iter_mut().find(|topic| topic.name == change.topic).unwrap();
        let partition = topic.partitions.iter_mut().find(|it| it.partition == change.partition).unwrap();
        (partition.leader, partition.replicas) = (Some(change.to[0]), change.to.clone());
        partition.isr = change.to.clone();
    }
    world.topics = Some(topics);
    for outcome in [Outcome::Intended, Outcome::Done] {
        world.state.stepped(&[crate::loans::tests::told(treatment, outcome, wall(world.now))]);
    }
}

/// 5: a healed broker that returns stays empty until somebody asks for it to be used.
#[test]
fn a_healed_broker_that_returns_is_used_again_without_being_asked_for() {
    let (mut world, mut cluster) = world(30, round);
    for partition in 20..30 {
        let rest: Vec<i32> = round(partition).into_iter().filter(|id| *id != 5).collect();
        cluster.find("orders", partition).in_sync(&rest).leader(rest[0]);
    }
    lose_5(&mut world, &mut cluster);
    let heal = due(&world).unwrap();
    assert_eq!(heal.cause().reason, "BrokerFailure");
    // It returns with an empty disk.
    let mut healed = crate::load::tests::cluster::Cluster::of(5);
    for partition in 0..30 {
        let change = heal.changes().iter().find(|change| change.partition == partition);
        let replicas = change.map_or(round(partition).to_vec(), |it| it.to.iter().map(|id| id.0).collect());
        healed.partition("orders", partition, &replicas, 1_000_000).offsets(0, 10);
    }
    carry_out(&mut world, &heal);
    world.fenced.clear();
    see(&mut world, &healed);
    world.seconds(70, &[30.0; 5]);
    see(&mut world, &healed);
    world.seconds(11, &[30.0; 5]);
    let refill = due(&world).unwrap_or_else(|| panic!("{:?}", world.shown().refusals));
    assert_eq!((refill.cause().reason.as_str(), refill.cause().broker), ("Refill", Some(BrokerId(5))));
}

/// 7: one and the same anomaly is queued again and again, and treated again after it has been treated.
#[test]
fn what_was_wrong_for_long_is_treated_once() {
    let mut world = World::leading();
    world.set_mode(EffectiveMode::Observe);
    let (hot, calm) = (&[95.0, 30.0, 30.0], &[30.0, 30.0, 30.0]);
    world.seconds(300, hot);
    world.set_mode(EffectiveMode::Auto);
    world.seconds(2, hot);
    let relief = due(&world).unwrap();
    carry_out(&mut world, &relief);
    // Not at once, while it is still hot, for the cluster rests; nor later, when it is well. It only gets back what it led.
    world.seconds(5, hot);
    assert_eq!(due(&world), None);
    let mut begun = Vec::new();
    for _ in 0..600 {
        world.seconds(1, calm);
        if let Some(treatment) = due(&world) {
            begun.push(treatment.cause().reason.clone());
            carry_out(&mut world, &treatment);
        }
    }
    assert_eq!(begun, ["LeadershipReturn"]);
}
