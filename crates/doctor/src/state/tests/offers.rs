//! What is needed, and what is proposed for it.

use super::*;
use crate::{
    execute::{Task, Treatment},
    proposals::{Decision, Decisions, Proposed},
};

const ALL_CALM: &[f64] = &[30.0, 30.0, 30.0];
const WITHOUT_3: &[f64] = &[30.0, 30.0, f64::NAN];

/// A world whose policy asks for broker 1 to be demoted.
fn demoting(mode: EffectiveMode) -> World {
    let mut world = World::leading();
    demote(&mut world, mode, &[1]);
    world.seconds(5, ALL_CALM);
    world
}

fn demote(world: &mut World, mode: EffectiveMode, brokers: &[i32]) {
    let demote = brokers.iter().copied().map(BrokerId).collect();
    world.state.set_policy(Arc::new(Policy { demote, ..policy(mode) }));
}

fn offered(world: &mut World) -> Option<Arc<Proposed>> {
    let mut proposals = world.shown().proposals;
    assert!(proposals.len() <= 1, "{proposals:?}");
    proposals.pop()
}

fn due(world: &World) -> Option<Treatment> {
    match world.state.due_treatment(world.now, wall(world.now))?.0 {
        Task::New(treatment) => Some(treatment),
        other => panic!("nothing was begun: {other:?}"),
    }
}

pub fn decide(world: &mut World, digest: &str, approved: bool) {
    let decision = Decision { approved, by: "ann".into(), at: wall(world.now) };
    let decisions = Decisions { given: [(digest.to_owned(), decision)].into(), ..Decisions::default() };
    world.state.set_decisions(Arc::new(decisions));
}

/// Kafka does what the treatment asks for.
fn carry_out(world: &mut World, treatment: &Treatment) {
    let mut topic = world.topics.take().unwrap().remove(0);
    for change in treatment.changes() {
        let partition = &mut topic.partitions[usize::try_from(change.partition).unwrap()];
        (partition.leader, partition.replicas) = (Some(change.to[0]), change.to.clone());
    }
    world.topics = Some(vec![topic]);
    for outcome in [Outcome::Intended, Outcome::Done] {
        world.state.stepped(&[crate::loans::tests::told(treatment, outcome, wall(world.now))]);
    }
}

fn proposals(records: &[ActionRecord]) -> Vec<&ActionRecord> {
    records.iter().filter(|record| record.outcome == Some(Outcome::Proposed)).collect()
}

fn ends(records: &[ActionRecord]) -> Vec<&str> {
    let ends = records.iter().filter(|record| record.kind == ActionKind::Cancel);
    ends.map(|record| record.message.as_str()).collect()
}

#[test]
fn a_demoted_broker_leads_nothing_until_that_is_lifted() {
    let mut world = demoting(EffectiveMode::Auto);
    let demotion = due(&world).unwrap();
    assert_eq!(demotion.cause().reason, "Demotion");
    assert_eq!(demotion.changes().len(), 4);
    assert!(demotion.changes().iter().all(|change| change.to[0] != BrokerId(1)));
    carry_out(&mut world, &demotion);
    world.seconds(100, ALL_CALM);
    assert_eq!(due(&world), None, "nothing is left to do, and nothing is given back");

    demote(&mut world, EffectiveMode::Auto, &[]);
    world.seconds(5, ALL_CALM);
    let back = due(&world).unwrap();
    assert_eq!(back.cause().reason, "LeadershipReturn");
    assert!(back.changes().iter().all(|change| change.to[0] == BrokerId(1)));
    assert_eq!(back.changes().len(), 4);
}

#[test]
fn what_waits_for_approval_is_told_once_and_begun_when_it_comes() {
    let mut world = demoting(EffectiveMode::Approve);
    let offer = offered(&mut world).unwrap();
    let digest = offer.treatment.digest().to_owned();
    let told = proposals(&world.written);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].digest.as_ref(), Some(&digest));
    assert!(told[0].message.contains(&digest[..12]), "{}", told[0].message);
    let plan = told[0].treatment.as_ref().unwrap().plan.as_ref().unwrap();
    assert_eq!(plan.changes, offer.treatment.changes());
    assert!(world.seconds(60, ALL_CALM).is_empty(), "told once");
    assert_eq!(offered(&mut world), Some(offer), "the same for as long as it fits");
    assert_eq!(due(&world), None);
    decide(&mut world, "another", true);
    assert_eq!(due(&world), None, "another digest was approved");
    decide(&mut world, &digest, true);
    let (task, author) = world.state.due_treatment(world.now, wall(world.now)).unwrap();
    assert_eq!((task.treatment().digest(), author.approved_by.as_deref()), (digest.as_str(), Some("ann")));
    world.state.begun(&task);
    assert_eq!(offered(&mut world), None);
}

#[test]
fn what_is_rejected_is_not_proposed_again_before_its_cause_is() {
    let mut world = demoting(EffectiveMode::Approve);
    let digest = offered(&mut world).unwrap().treatment.digest().to_owned();
    decide(&mut world, &digest, false);
    let log = world.seconds(60, ALL_CALM);
    assert_eq!(ends(&log), ["rejected by ann"]);
    assert_eq!((offered(&mut world), proposals(&log).len()), (None, 0));
    let log = world.written.clone();
    world.open(&log);
    world.seconds(60, ALL_CALM);
    assert_eq!(offered(&mut world), None, "nor by another doctor");

    demote(&mut world, EffectiveMode::Approve, &[]);
    world.seconds(5, ALL_CALM);
    demote(&mut world, EffectiveMode::Approve, &[1]);
    world.state.set_decisions(Arc::default());
    world.seconds(5, ALL_CALM);
    assert!(offered(&mut world).is_some());
}

#[test]
fn a_proposal_expires_when_the_cluster_drifts_or_its_cause_goes() {
    let mut world = demoting(EffectiveMode::Approve);
    let old = offered(&mut world).unwrap();
    let mut drifted = world.topics.clone().unwrap();
    drifted[0].partitions[0].replicas.rotate_left(1);
    world.topics = Some(drifted);
    decide(&mut world, old.treatment.digest(), true);
    let log = world.seconds(5, ALL_CALM);
    assert_eq!(ends(&log), ["expired: orders-0 has changed since it was planned"]);
    assert_eq!(due(&world), None, "what was approved is not what would be done");
    let new = offered(&mut world).unwrap();
    assert_ne!(new.treatment.digest(), old.treatment.digest());

    demote(&mut world, EffectiveMode::Approve, &[]);
    assert_eq!(ends(&world.seconds(5, ALL_CALM)), ["expired: its cause has gone"]);
    assert_eq!(offered(&mut world), None);
}

#[test]
fn a_new_leader_proposes_the_very_same() {
    let mut world = demoting(EffectiveMode::Approve);
    let digest = offered(&mut world).unwrap().treatment.digest().to_owned();
    let log = world.written.clone();
    world.open(&log);
    assert_eq!(offered(&mut world).unwrap().treatment.digest(), digest, "before it has considered anything");
    let told = world.seconds(10, ALL_CALM);
    assert_eq!(offered(&mut world).unwrap().treatment.digest(), digest);
    assert!(proposals(&told).is_empty() && ends(&told).is_empty(), "{told:?}");

    world.open(&log);
    demote(&mut world, EffectiveMode::Approve, &[]);
    assert_eq!(ends(&world.seconds(5, ALL_CALM)), ["expired: its cause has gone"], "also one of another's");
}

#[test]
fn what_is_only_recommended_is_never_begun() {
    for mode in [EffectiveMode::Observe, EffectiveMode::Recommend, EffectiveMode::Paused] {
        let mut world = demoting(mode);
        if let Some(offer) = offered(&mut world) {
            assert_eq!(mode, EffectiveMode::Recommend);
            decide(&mut world, offer.treatment.digest(), true);
        }
        world.seconds(5, ALL_CALM);
        assert_eq!(due(&world), None, "{mode:?}");
    }
}

#[test]
fn a_treatment_whose_cause_has_gone_is_stopped() {
    let mut world = demoting(EffectiveMode::Auto);
    let demotion = due(&world).unwrap();
    assert_eq!(world.state.control(&demotion, world.now, wall(world.now)).cancel, None);
    demote(&mut world, EffectiveMode::Auto, &[]);
    let cancel = world.state.control(&demotion, world.now, wall(world.now)).cancel.unwrap();
    assert!(!cancel.restore && cancel.reason.contains("broker 1"), "{cancel:?}");
    demote(&mut world, EffectiveMode::Approve, &[1]);
    decide(&mut world, demotion.digest(), false);
    assert_eq!(
        world.state.control(&demotion, world.now, wall(world.now)).cancel.unwrap().reason,
        "rejected by ann"
    );
    demote(&mut world, EffectiveMode::Recommend, &[1]);
    assert!(world.state.control(&demotion, world.now, wall(world.now)).cancel.is_some());
}

/// A world whose broker 3 dies.
fn dying(fenced: bool) -> World {
    let mut world = World::leading();
    let broker_failure = EffectiveMode::Auto;
    world.state.set_policy(Arc::new(Policy { broker_failure, ..policy(EffectiveMode::Observe) }));
    world.seconds(5, ALL_CALM);
    world.fenced = if fenced { vec![3] } else { vec![] };
    world
}

fn refusals(world: &mut World) -> Vec<&'static str> {
    world.shown().refusals.iter().map(|refusal| refusal.rule).collect()
}

#[test]
fn a_lost_broker_is_given_time_to_return() {
    let mut world = dying(true);
    world.seconds(20, WITHOUT_3);
    assert_eq!(refusals(&mut world), ["GracePeriod"]);
    let message = world.shown().refusals[0].message.clone();
    assert!(message.contains("12 replicas") && message.contains("1m"), "{message}");
    assert!(world.state.loads_wanted().is_some(), "within a minute of its end");
    world.seconds(30, WITHOUT_3);
    assert_eq!(
        world.shown().refusals[0].message,
        message,
        "a message that changes all the time is read by nobody"
    );
    world.seconds(40, WITHOUT_3);
    assert_eq!(refusals(&mut world), ["StaleData"], "now only the loads are missing");
    world.fenced.clear();
    world.seconds(5, ALL_CALM);
    assert_eq!(refusals(&mut world), [""; 0]);
    world.fenced = vec![3];
    world.seconds(20, WITHOUT_3);
    assert_eq!(refusals(&mut world), ["GracePeriod"], "the time begins anew");
}

#[test]
fn silence_alone_moves_no_data() {
    let mut world = dying(false);
    world.seconds(200, WITHOUT_3);
    assert_eq!(refusals(&mut world), [""; 0]);
    assert_eq!(due(&world), None);
}

#[test]
fn what_a_person_stops_is_not_begun_again() {
    let mut world = demoting(EffectiveMode::Auto);
    let demotion = due(&world).unwrap();
    world.state.begun(&Task::New(demotion.clone()));
    let stop = doctorkafka_wire::StopDecision {
        ending: Outcome::Aborted,
        rule: "Cancelled".into(),
        message: "rejected by ann".into(),
        restore: false,
    };
    let stopped = ActionRecord {
        kind: ActionKind::Cancel,
        outcome: Some(Outcome::Intended),
        treatment: Some(Box::new(doctorkafka_wire::TreatmentDetail {
            stop: Some(stop),
            ..Default::default()
        })),
        ..crate::loans::tests::told(&demotion, Outcome::Aborted, wall(world.now))
    };
    let told = |outcome| crate::loans::tests::told(&demotion, outcome, wall(world.now));
    let records = [told(Outcome::Intended), stopped, told(Outcome::Aborted)];
    world.state.stepped(&records);
    world.seconds(200, ALL_CALM);
    assert_eq!((due(&world), offered(&mut world)), (None, None));
    world.open(&records);
    world.seconds(200, ALL_CALM);
    assert_eq!((due(&world), offered(&mut world)), (None, None), "nor by another doctor");
}

#[test]
fn a_broker_that_leads_without_being_preferred_is_demoted_too() {
    let mut world = World::leading();
    let mut topics = world.topics.clone().unwrap();
    // Partition 1 has replicas 2, 3, 1, and 1 has led it since 2 was restarted.
    topics[0].partitions[1].leader = Some(BrokerId(1));
    world.topics = Some(topics);
    demote(&mut world, EffectiveMode::Auto, &[1]);
    world.seconds(5, ALL_CALM);
    let demotion = due(&world).unwrap();
    let change = demotion.changes().iter().find(|change| change.partition == 1).unwrap();
    assert_eq!(change.to[0], BrokerId(3), "in an order that asks for another election");
}

#[test]
fn what_is_approved_late_is_checked_again() {
    let mut world = demoting(EffectiveMode::Approve);
    let offer = offered(&mut world).unwrap();
    decide(&mut world, offer.treatment.digest(), true);
    // The heir of some is hot now.
    world.seconds(10, &[30.0, 95.0, 30.0]);
    assert_ne!(due(&world).map(|it| it.digest().to_owned()), Some(offer.treatment.digest().to_owned()));
}
