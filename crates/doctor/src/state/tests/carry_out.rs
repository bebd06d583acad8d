//! Which treatment is due, and what forbids to begin one.

use super::*;
use crate::{
    execute::{Ended, ExecutionRule, Hold, Task, Treatment},
    report::TreatmentEnd,
};
use doctorkafka_api::Maintenance;

/// A world whose first broker is hot, under a policy that lets the doctor act.
fn hot() -> World {
    let mut world = World::leading();
    world.set_mode(EffectiveMode::Auto);
    world.seconds(20, HOT);
    world
}

fn due(world: &World) -> Option<Treatment> {
    match world.state.due_treatment(world.now, wall(world.now))?.0 {
        Task::New(treatment) => Some(treatment),
        other => panic!("nothing was begun: {other:?}"),
    }
}

/// The record that begins or ends a treatment, as the executor writes it.
fn told(treatment: &Treatment, outcome: Outcome, now: Moment) -> ActionRecord {
    crate::loans::tests::told(treatment, outcome, wall(now))
}

#[test]
fn in_auto_a_hot_broker_is_relieved_and_gets_back_what_it_led() {
    let mut world = hot();
    let relief = due(&world).unwrap();
    assert_eq!(relief.cause().broker, Some(BrokerId(1)));
    assert!(
        relief.changes().iter().all(|change| change.from[0] == BrokerId(1) && change.to[0] != BrokerId(1))
    );
    world.state.stepped(&[told(&relief, Outcome::Intended, world.now)]);
    let resumed = world.state.due_treatment(world.now, wall(world.now)).unwrap().0;
    assert!(
        matches!(resumed, Task::Resume(open) if open.treatment() == &relief),
        "what was begun comes first"
    );
    world.state.stepped(&[told(&relief, Outcome::Done, world.now)]);

    let mut topic = orders();
    for change in relief.changes() {
        let partition = &mut topic.partitions[usize::try_from(change.partition).unwrap()];
        (partition.leader, partition.replicas) = (Some(change.to[0]), change.to.clone());
    }
    world.topics = Some(vec![topic]);
    world.seconds(30, CALM);
    assert_eq!(due(&world), None, "the rest of a minute is not over");
    world.seconds(40, CALM);
    let back = due(&world).unwrap();
    assert!(back.changes().iter().all(|change| change.to[0] == BrokerId(1)), "{back:?}");
    assert_eq!(back.changes().len(), relief.changes().len());

    let mut sick = world.topics.clone().unwrap();
    sick[0].partitions[0].isr.pop();
    world.topics = Some(sick);
    world.seconds(10, CALM);
    assert_eq!(due(&world), None, "healing comes first");
}

/// So many seconds in which the brokers' CPU is used so much, or their links are.
type Load = fn(&mut World, u32, [f64; 3]);

#[test]
fn what_would_make_it_hot_again_is_not_given_back() {
    let of_cpu: Load = |world, seconds, load| drop(world.seconds(seconds, &load));
    let of_links: Load = |world, seconds, load| {
        world.links = (1..).zip(load).collect();
        world.seconds(seconds, CALM);
    };
    for (use_so_much, what) in [(of_cpu, "CPU usage"), (of_links, "Network usage")] {
        let mut world = World::leading();
        world.set_mode(EffectiveMode::Auto);
        use_so_much(&mut world, 20, [95.0, 30.0, 30.0]);
        let relief = due(&world).unwrap();
        for outcome in [Outcome::Intended, Outcome::Done] {
            world.state.stepped(&[told(&relief, outcome, world.now)]);
        }
        let mut topic = orders();
        for change in relief.changes() {
            let partition = &mut topic.partitions[usize::try_from(change.partition).unwrap()];
            (partition.leader, partition.replicas) = (Some(change.to[0]), change.to.clone());
        }
        world.topics = Some(vec![topic]);
        // The same traffic as before, which it bears because others lead a part of it.
        use_so_much(&mut world, 200, [65.0, 45.0, 45.0]);
        assert_eq!(due(&world), None, "{what}");
        let shown = world.shown();
        let refusal = shown.refusals.iter().find(|refusal| refusal.rule == "WouldOverload").unwrap();
        assert!(
            refusal.message.contains(&format!("would bring its {what} above 70%")),
            "{}",
            refusal.message
        );
        assert_eq!(shown.brokers[0].state, BrokerState::Healthy);
        // Less traffic.
        use_so_much(&mut world, 20, [40.0, 30.0, 30.0]);
        assert_eq!(due(&world).unwrap().cause().reason, "LeadershipReturn");
    }
}

#[test]
fn without_auto_nothing_is_due() {
    for mode in
        [EffectiveMode::Observe, EffectiveMode::Recommend, EffectiveMode::Approve, EffectiveMode::Paused]
    {
        let mut world = hot();
        world.set_mode(mode);
        world.seconds(5, HOT);
        assert_eq!(due(&world), None, "{mode:?}");
    }
    let mut world = hot();
    world.state.stand_by();
    assert_eq!(due(&world), None, "a stand-by does nothing");
}

#[test]
fn what_did_not_begin_is_not_tried_again_at_once_and_more_and_more_seldom() {
    let mut world = hot();
    let task = Task::New(due(&world).unwrap());
    let refused = Ended::Refused(Hold { rule: ExecutionRule::Drift, message: "has changed".to_owned() });
    let interrupted =
        Ended::Interrupted(Hold { rule: ExecutionRule::Unknown, message: "no answer".to_owned() });
    for (how, seconds) in
        [(&interrupted, 10), (&refused, 10), (&interrupted, 10), (&refused, 20), (&refused, 40)]
    {
        world.state.ended(&task, Some(how), world.now, wall(world.now));
        world.seconds(seconds - 1, HOT);
        assert_eq!(due(&world), None, "{how:?} {seconds}");
        world.seconds(2, HOT);
        assert!(due(&world).is_some(), "{how:?} {seconds}");
    }
}

#[test]
fn topics_as_they_were_before_a_treatment_are_out_of_date() {
    let mut world = hot();
    let treatment = due(&world).unwrap();
    let before = world.topics.clone().unwrap();
    world.state.ended(
        &Task::New(treatment.clone()),
        Some(&Ended::Done { owed: Vec::new() }),
        world.now,
        wall(world.now),
    );
    let table = |topics: &Vec<TopicInfo>| crate::topics::TopicTable::from(topics.clone());
    assert!(world.state.are_outdated(&table(&before), world.now));
    assert!(
        !world.state.are_outdated(&table(&before), world.now + Duration::from_secs(30)),
        "it may have been put back"
    );
    let mut after = before;
    for change in treatment.changes() {
        let topic = after.iter_mut().find(|topic| topic.name == change.topic).unwrap();
        topic.partitions[usize::try_from(change.partition).unwrap()].replicas = change.to.clone();
    }
    assert!(!world.state.are_outdated(&table(&after), world.now));
}

/// The rules that forbid the beginning of any treatment: with each, nothing is due, and the refusal says why.
fn refused(world: &mut World, rule: &str) {
    world.seconds(10, HOT);
    assert_eq!(due(world), None, "{rule}");
    assert!(
        world.shown().refusals.iter().any(|refusal| refusal.rule == rule),
        "{:?}",
        world.shown().refusals
    );
}

#[test]
fn planned_work_is_left_in_peace() {
    let mut world = hot();
    let window = serde_json::json!({"windows": [{"start": "00:00", "duration": "24h"}]});
    let maintenance: Maintenance = serde_json::from_value(window).unwrap();
    let policy = Policy { maintenance, ..policy(EffectiveMode::Auto) };
    world.state.set_policy(Arc::new(policy));
    refused(&mut world, "MaintenanceWindow");
}

#[test]
fn cruise_control_is_left_alone() {
    let mut world = hot();
    let foreign = TopicInfo { name: "__CruiseControlMetrics".into(), ..orders() };
    world.topics = Some(vec![orders(), foreign]);
    refused(&mut world, "CruiseControl");
}

#[test]
fn after_a_treatment_the_cluster_rests() {
    let mut world = hot();
    let relief = due(&world).unwrap();
    for outcome in [Outcome::Intended, Outcome::Done] {
        world.state.stepped(&[told(&relief, outcome, world.now)]);
    }
    refused(&mut world, "CoolDown");
    world.seconds(60, HOT);
    assert!(due(&world).is_some());
}

#[test]
fn ends_of_treatments_are_counted_and_what_is_left_of_them_is_taken_away_later() {
    let mut world = hot();
    let relief = due(&world).unwrap();
    let task = Task::New(relief.clone());
    world.state.begun(&task);
    let borrowed = ActionRecord {
        kind: ActionKind::Throttle,
        step: Some(0),
        treatment: Some(Box::new(doctorkafka_wire::TreatmentDetail {
            configs: vec![doctorkafka_wire::ConfigAsked {
                broker: Some(BrokerId(3)),
                topic: None,
                name: "leader.replication.throttled.rate".into(),
                value: Some("1".into()),
            }],
            ..Default::default()
        })),
        ..told(&relief, Outcome::Intended, world.now)
    };
    let records =
        [told(&relief, Outcome::Intended, world.now), borrowed, told(&relief, Outcome::Aborted, world.now)];
    world.state.stepped(&records);
    let given_up = Ended::GivenUp { outcome: Outcome::Aborted, why: String::new(), owed: vec![BrokerId(3)] };
    world.state.ended(&task, Some(&given_up), world.now, wall(world.now));
    let counters = world.shown().counters;
    assert_eq!(counters.treatments, BTreeMap::from([(TreatmentEnd::GivenUp, 1)]));
    assert_eq!(counters.throttles_left, 1);

    let sweep = |world: &World| {
        let due = world.state.due_treatment(world.now, wall(world.now));
        due.map(|(task, _)| task).filter(Task::is_sweep)
    };
    world.fenced = vec![3];
    world.seconds(1, HOT);
    assert_eq!(sweep(&world), None, "a broker that is down tells nothing");
    world.fenced.clear();
    world.seconds(1, HOT);
    let task = sweep(&world).unwrap();
    world.state.begun(&task);
    assert_eq!(sweep(&world), None, "one at a time");
    world.state.ended(&task, Some(&Ended::Interrupted(hold())), world.now, wall(world.now));
    world.seconds(11, HOT);
    let task = sweep(&world).unwrap();
    world.state.begun(&task);
    world.state.ended(&task, Some(&Ended::Swept { left: vec![] }), world.now, wall(world.now));
    assert_eq!((sweep(&world), world.shown().counters.throttles_left), (None, 0));

    // A new leader looks once more, for a call of the old one may have come late.
    world.open(&records);
    assert!(sweep(&world).is_some());
}

fn hold() -> Hold {
    Hold { rule: ExecutionRule::Unreachable, message: String::new() }
}
