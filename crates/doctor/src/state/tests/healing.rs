//! What gives way to the healing of a lost broker.

use super::{
    moves::{CALM, WITHOUT_5, acting, due, lose_5, refusals, round, see, world},
    offers::decide,
    *,
};
use crate::{
    execute::{Ended, ExecutionRule, Hold, Task, Treatment},
    load::tests::cluster::Cluster,
    loans::tests::told,
};

/// Broker 2 is being drained when broker 5 is lost for good.
fn losing_while_draining(policy: &Policy) -> (World, Cluster, Treatment) {
    let (mut world, mut cluster) = world(20, round);
    world.state.set_policy(Arc::new(Policy { drain: [BrokerId(2)].into(), ..policy.clone() }));
    world.seconds(11, CALM);
    let drain = due(&world).unwrap();
    world.state.stepped(&[told(&drain, Outcome::Intended, wall(world.now))]);
    assert_eq!(cancelled(&world, &drain), None);
    lose_5(&mut world, &mut cluster);
    (world, cluster, drain)
}

fn cancelled(world: &World, treatment: &Treatment) -> Option<String> {
    world.state.orders(treatment, world.now, wall(world.now)).cancel.map(|cancel| cancel.reason)
}

/// The drain has given way.
fn give_way(world: &mut World, cluster: &Cluster, drain: &Treatment) {
    world.state.stepped(&[told(drain, Outcome::Aborted, wall(world.now))]);
    let why = "gave way".to_owned();
    let ended = Ended::GivenUp { outcome: Outcome::Aborted, why, owed: Vec::new() };
    world.state.ended(&Task::New(drain.clone()), Some(&ended), world.now, wall(world.now));
    see(world, cluster);
    world.seconds(11, WITHOUT_5);
    see(world, cluster);
    world.seconds(11, WITHOUT_5);
}

#[test]
fn what_runs_gives_way_when_a_lost_broker_can_be_healed() {
    let (mut world, cluster, drain) = losing_while_draining(&acting());
    let reason = cancelled(&world, &drain).unwrap();
    assert_eq!(reason, "broker 5 is lost, and what it held is made anew before anything else");
    give_way(&mut world, &cluster, &drain);
    let heal = due(&world).unwrap();
    assert_eq!((heal.cause().reason.as_str(), heal.cause().broker), ("BrokerFailure", Some(BrokerId(5))));
    assert_eq!(cancelled(&world, &heal), None, "healing does not give way to itself");
}

#[test]
fn before_its_time_nothing_gives_way() {
    let policy = Policy { heal_after: Duration::from_secs(600), ..acting() };
    let (world, _, drain) = losing_while_draining(&policy);
    assert_eq!(cancelled(&world, &drain), None);
}

#[test]
fn nothing_gives_way_to_what_is_not_asked_for_or_cannot_be_done() {
    let policy = Policy { broker_failure: EffectiveMode::Recommend, ..acting() };
    let (world, _, drain) = losing_while_draining(&policy);
    assert_eq!(cancelled(&world, &drain), None);
    // A maintenance window forbids to begin it.
    let (mut world, _, drain) = losing_while_draining(&acting());
    let window = serde_json::json!({"windows": [{"start": "00:00", "duration": "24h"}]});
    let maintenance = serde_json::from_value(window).unwrap();
    let planned = Policy { drain: [BrokerId(2)].into(), maintenance, ..acting() };
    world.state.set_policy(Arc::new(planned));
    assert_eq!(cancelled(&world, &drain), None);
}

#[test]
fn what_waits_for_approval_holds_nothing_up() {
    let policy = Policy { broker_failure: EffectiveMode::Approve, ..acting() };
    let (mut world, cluster, drain) = losing_while_draining(&policy);
    assert!(cancelled(&world, &drain).is_some(), "so that it can be proposed");
    give_way(&mut world, &cluster, &drain);
    assert_eq!(world.shown().proposals.len(), 1);
    assert_eq!(cancelled(&world, &drain), None);
}

#[test]
fn what_people_have_rejected_holds_nothing_up() {
    let policy = Policy { broker_failure: EffectiveMode::Approve, ..acting() };
    let (mut world, cluster, drain) = losing_while_draining(&policy);
    give_way(&mut world, &cluster, &drain);
    let heal = world.shown().proposals.remove(0);
    decide(&mut world, heal.treatment.digest(), false);
    world.seconds(5, WITHOUT_5);
    assert_eq!(world.shown().proposals.len(), 0);
    assert_eq!(cancelled(&world, &drain), None);
}

#[test]
fn what_did_not_begin_holds_nothing_up_until_it_is_tried_again() {
    let (mut world, cluster, drain) = losing_while_draining(&acting());
    give_way(&mut world, &cluster, &drain);
    let heal = Task::New(due(&world).unwrap());
    let refused = Ended::Refused(Hold { rule: ExecutionRule::Drift, message: "has changed".to_owned() });
    world.state.ended(&heal, Some(&refused), world.now, wall(world.now));
    assert_eq!(cancelled(&world, &drain), None);
    world.seconds(5, WITHOUT_5);
    see(&mut world, &cluster);
    world.seconds(11, WITHOUT_5);
    assert!(cancelled(&world, &drain).is_some());
}

#[test]
fn what_could_not_be_planned_is_made_way_for_again_after_a_while() {
    let (mut world, mut cluster, drain) = losing_while_draining(&acting());
    for full in 1..=4 {
        cluster.use_otherwise(full, 99_000_000);
    }
    give_way(&mut world, &cluster, &drain);
    assert!(refusals(&mut world).contains(&"NoEligibleTarget"));
    world.state.stepped(&[told(&drain, Outcome::Intended, wall(world.now))]);
    let mut waited = 0;
    while cancelled(&world, &drain).is_none() {
        // Nothing is planned while a treatment is under way, whatever is read meanwhile.
        see(&mut world, &cluster);
        world.seconds(11, WITHOUT_5);
        waited += 11;
        assert!(waited < 400, "it holds the healing up for ever");
    }
    assert!(waited > 250, "it gives way after {waited} s, and would again and again");
}

#[test]
fn what_cannot_be_known_is_not_made_way_for_by_every_reading() {
    let (mut world, mut cluster, drain) = losing_while_draining(&acting());
    cluster.reassignments_denied = true;
    give_way(&mut world, &cluster, &drain);
    assert!(refusals(&mut world).contains(&"UnknownLoad"));
    world.state.stepped(&[told(&drain, Outcome::Intended, wall(world.now))]);
    for _ in 0..10 {
        see(&mut world, &cluster);
        assert_eq!(cancelled(&world, &drain), None);
        world.seconds(11, WITHOUT_5);
    }
}
