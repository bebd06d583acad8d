//! Who leads, and what a doctor that does not may write.

use super::*;

#[test]
fn a_fenced_doctor_is_silent_until_it_is_elected_anew() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.state.hear_term(TermEvent::Fenced);
    assert!(world.seconds(20, HOT).is_empty());
    assert!(world.state.is_fenced());
    // Neither the end of the term nor a conflict that comes and goes is an election.
    world.state.end_term();
    world.state.set_conflict(Some("taken"));
    world.state.set_conflict(None);
    assert!(world.state.is_fenced());
    assert_eq!(world.shown().role, Role::Fenced);
    world.state.stand_by();
    assert_eq!((world.shown().role, world.state.is_fenced()), (Role::Standby, false));
    world.open(&[]);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn a_conflict_that_comes_while_leading_silences_and_one_that_goes_lets_begin_again() {
    let mut world = World::leading();
    world.seconds(3, CALM);
    world.state.set_conflict(Some("another policy has it"));
    assert!(world.seconds(20, HOT).is_empty());
    let shown = world.shown();
    assert_eq!(shown.role, Role::Conflict { message: "another policy has it".into() });
    assert!(shown.advice.is_empty() && shown.refusals.is_empty());
    world.state.stand_by();
    assert!(matches!(world.shown().role, Role::Conflict { .. }), "the conflict is the reason");
    world.state.set_conflict(None);
    assert_eq!(world.shown().role, Role::Standby);
    let log = world.written.clone();
    world.open(&log);
    assert_eq!(kinds(&world.step()), [STARTED, ALERT, PROPOSAL]);
}

#[test]
fn a_broken_term_is_followed_by_one_that_tells_what_the_log_lacks() {
    let mut world = World::leading();
    world.seconds(20, HOT);
    world.state.hear_term(TermEvent::Broken);
    assert_eq!(world.shown().role, Role::Standby);
    assert!(world.seconds(3, HOT).is_empty());
    // The alert is in the log, the proposal was not committed.
    let log: Vec<ActionRecord> = world
        .written
        .iter()
        .filter(|record| record.kind != ActionKind::ReassignPartitions)
        .cloned()
        .collect();
    world.open(&log);
    assert_eq!(kinds(&world.step()), [STARTED, PROPOSAL]);
}
