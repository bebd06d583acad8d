//! Plans that are made elsewhere: the step that asks for one waits for nothing, and takes none that rests on the past.

use super::{
    moves::{WITHOUT_5, acting, due, lose_5, round, see, world},
    *,
};
use crate::{load::tests::cluster::Cluster, remedy::job::PlanJob};

/// Broker 5 is lost, and the plan to heal it has been asked for.
fn asked() -> (World, Cluster, PlanJob) {
    let (mut world, mut cluster) = world(20, round);
    lose_5(&mut world, &mut cluster);
    assert!(due(&world).is_some());
    world.state.offers.clear();
    let job = ask(&mut world).unwrap();
    (world, cluster, job)
}

/// One step of the engine, and what it wants planned.
fn ask(world: &mut World) -> Option<PlanJob> {
    world.state.advised = None;
    world.state.step(world.now, wall(world.now), ROOM);
    world.state.take_job()
}

#[test]
fn a_plan_is_asked_for_once_and_taken_when_it_comes() {
    let (mut world, _, job) = asked();
    assert_eq!(due(&world), None);
    assert!(ask(&mut world).is_none(), "it is being made");
    world.state.planned(job.number, Some(job.run()));
    assert!(ask(&mut world).is_none());
    assert_eq!(due(&world).unwrap().cause().reason, "BrokerFailure");
}

#[test]
fn a_plan_that_rests_on_the_past_is_made_anew() {
    // Another policy.
    let (mut world, _, job) = asked();
    world.state.set_policy(Arc::new(Policy { max_disk: 60.0, ..acting() }));
    world.state.planned(job.number, Some(job.run()));
    assert!(ask(&mut world).is_some() && due(&world).is_none());

    // Somebody else has moved a partition of it.
    let (mut world, mut cluster, job) = asked();
    *cluster.find("orders", 2) = cluster.partition("moved", 0, &[3, 4, 1], 1_000_000).clone();
    world.now = world.now + Duration::from_secs(1);
    see(&mut world, &cluster);
    world.look();
    world.state.planned(job.number, Some(job.run()));
    assert!(ask(&mut world).is_none() && due(&world).is_none());
    let told = world.shown().refusals[0].message.clone();
    assert!(told.contains("while its treatment was planned, orders-2 has changed"), "{told}");
    world.seconds(9, WITHOUT_5);
    assert_eq!(due(&world), None, "not at once");
    world.seconds(2, WITHOUT_5);
    assert!(due(&world).is_some());

    // A treatment has ended meanwhile, and nothing is known since.
    let (mut world, _, job) = asked();
    world.state.distrust_topics(world.now);
    world.state.planned(job.number, Some(job.run()));
    assert!(ask(&mut world).is_none() && due(&world).is_none());
}

#[test]
fn an_answer_to_what_nobody_asks_any_more_is_left() {
    let (mut world, _, job) = asked();
    world.fenced.clear();
    world.seconds(10, &[30.0; 5]);
    world.state.planned(job.number, Some(job.run()));
    assert!(ask(&mut world).is_none() && due(&world).is_none());
    assert!(world.state.offers.is_empty());
}

#[test]
fn planning_that_fails_in_itself_is_told_and_tried_again_later() {
    let (mut world, cluster, job) = asked();
    world.state.planned(job.number, None);
    assert!(ask(&mut world).is_none());
    assert!(
        world.shown().refusals[0].message.contains("planning has failed"),
        "{:?}",
        world.shown().refusals
    );
    see(&mut world, &cluster);
    world.seconds(11, WITHOUT_5);
    assert!(due(&world).is_some());
}
