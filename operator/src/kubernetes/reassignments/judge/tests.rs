use super::*;
use crate::kubernetes::reassignments::build::{self, tests as example};
use doctorkafka_doctor::execute::Treatment;
use doctorkafka_wire::{BrokerId, Evidence, Severity};
use std::sync::Arc;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn treatment() -> Treatment {
    example::treatment("hot")
}

fn proposed(mode: EffectiveMode) -> Proposed {
    Proposed { treatment: treatment(), why: Vec::new(), since: at(0), mode, rules: Vec::new() }
}

fn seen(word: Option<(bool, &str, Option<&str>)>) -> Seen {
    Seen {
        namespace: "kafka".into(),
        name: "prod-1".into(),
        uid: "u".into(),
        version: "1".into(),
        created: at(0),
        deleting: false,
        owner: Some("uid-1".into()),
        spec: Some(build::object(&example::policy(), &treatment(), &[], &[]).spec),
        status: KafkaReassignmentStatus::default(),
        word: word.map(|(approved, digest, by)| Word {
            approved,
            digest: digest.to_owned(),
            by: by.map(str::to_owned),
        }),
    }
}

fn running(done: usize) -> TreatmentView {
    TreatmentView {
        digest: treatment().digest().to_owned(),
        message: "moving 2 partitions".into(),
        done,
        partitions: 3,
        bytes: 1_400,
        bytes_done: 350,
        bytes_per_second: Some(5),
        seconds_left: Some(10),
        slowest_bytes_left: Some(20),
        hold: Some("AtMinIsr: orders-0 waits".into()),
        treatment: Arc::new(treatment()),
    }
}

fn record(kind: ActionKind, outcome: Outcome, message: &str) -> ActionRecord {
    ActionRecord {
        version: 1,
        id: "01K".into(),
        time: at(60),
        policy: "kafka/prod".into(),
        cluster: "c".into(),
        epoch: 1,
        kind,
        severity: Severity::Info,
        broker: Some(BrokerId(1)),
        message: message.into(),
        outcome: Some(outcome),
        leadership: Vec::new(),
        digest: Some(treatment().digest().to_owned()),
        step: None,
        treatment: None,
        evidence: Evidence::new(),
    }
}

fn condition<'s>(status: &'s KafkaReassignmentStatus, kind: &str) -> &'s Condition {
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap()
}

#[test]
fn a_proposal_says_how_it_is_approved() {
    let verdict = judge(&seen(None), Standing::Proposed(&proposed(EffectiveMode::Approve)), false, at(1));
    assert_eq!(
        (verdict.status.phase, verdict.decision, verdict.refused),
        (Some(Phase::Proposed), None, None)
    );
    let message = verdict.status.message.unwrap();
    assert!(message.contains(&format!("doctorkafka.dev/approve={}", treatment().digest())), "{message}");
    let verdict = judge(&seen(None), Standing::Proposed(&proposed(EffectiveMode::Recommend)), false, at(1));
    assert!(verdict.status.message.unwrap().contains("Recommend does not carry out"));
}

#[test]
fn its_own_digest_with_a_name_approves_it() {
    let digest = treatment().digest().to_owned();
    let (ask, proposed) = (seen(Some((true, &digest, Some("ann")))), proposed(EffectiveMode::Approve));
    let verdict = judge(&ask, Standing::Proposed(&proposed), false, at(5));
    assert_eq!(verdict.decision, Some(Decision { approved: true, by: "ann".into(), at: at(5) }));
    assert_eq!(verdict.status.phase, Some(Phase::Approved));
    assert_eq!(verdict.status.approved_by.as_deref(), Some("ann"));
    // The same again later: nothing has changed, the time of the approval included.
    let again = Seen { status: verdict.status.clone(), ..ask };
    assert_eq!(judge(&again, Standing::Proposed(&proposed), false, at(90)), verdict);
}

#[test]
fn what_does_not_count_is_refused_with_its_reason() {
    let digest = treatment().digest().to_owned();
    let other = "0".repeat(64);
    let approve = EffectiveMode::Approve;
    for (word, mode, reason, words) in [
        (
            (true, other.as_str(), Some("ann")),
            approve,
            "AnotherDigest",
            "nothing is done until its own digest",
        ),
        ((false, other.as_str(), Some("ann")), approve, "AnotherDigest", "ann rejected 0000"),
        ((true, digest.as_str(), None), approve, "NoName", "names nobody"),
        ((true, digest.as_str(), Some("ann")), EffectiveMode::Recommend, "NotAsked", "set mode Approve"),
    ] {
        let proposed = proposed(mode);
        let verdict = judge(&seen(Some(word)), Standing::Proposed(&proposed), false, at(1));
        let (status, refused) = (verdict.status, verdict.refused.unwrap());
        assert_eq!((status.phase, verdict.decision), (Some(Phase::Proposed), None), "{reason}");
        let approved = condition(&status, "Approved");
        assert_eq!((approved.status.as_str(), approved.reason.as_str()), ("False", reason));
        assert!(refused.why.contains(words), "{}", refused.why);
        assert_eq!(status.approved_by, None);
    }
}

#[test]
fn nothing_is_read_from_an_object_that_says_something_else() {
    let digest = treatment().digest().to_owned();
    let mut forged = seen(Some((true, &digest, Some("ann"))));
    forged.spec.as_mut().unwrap().moves[0].to = vec![5, 2, 3];
    let verdict = judge(&forged, Standing::Proposed(&proposed(EffectiveMode::Approve)), false, at(1));
    assert_eq!(verdict.decision, None);
    assert_ne!(verdict.status.phase, Some(Phase::Approved));
}

#[test]
fn a_life_from_approval_to_completion() {
    let digest = treatment().digest().to_owned();
    let mut object = seen(Some((true, &digest, Some("ann"))));
    let proposal = proposed(EffectiveMode::Approve);
    object.status = judge(&object, Standing::Proposed(&proposal), false, at(1)).status;
    let begun = running(1);
    object.status = judge(&object, Standing::Running(&begun), false, at(10)).status;
    assert_eq!(object.status.phase, Some(Phase::Executing));
    assert_eq!(object.status.approved_by.as_deref(), Some("ann"));
    assert_eq!(condition(&object.status, "Approved").reason, "Approved");
    let progress = object.status.progress.unwrap();
    assert_eq!((progress.percent, progress.bytes, progress.seconds_left), (25, 350, Some(10)));
    assert!(
        object.status.message.as_ref().unwrap().ends_with("1 of 3 partitions done; AtMinIsr: orders-0 waits")
    );
    // A failover in between: the log says that it is open, and nothing ends.
    let open = record(ActionKind::ReassignPartitions, Outcome::Intended, "moving");
    let between = judge(&object, Standing::Gone(Some(&open)), true, at(20));
    assert_eq!(between.status.phase, Some(Phase::Executing));
    let done = record(ActionKind::ReassignPartitions, Outcome::Done, "moved 3 partitions");
    object.status = judge(&object, Standing::Gone(Some(&done)), false, at(61)).status;
    let status = &object.status;
    assert_eq!(
        (status.phase, status.finished_at.as_ref().map(|t| t.0)),
        (Some(Phase::Completed), Some(at(60)))
    );
    assert_eq!(status.started_at.as_ref().map(|t| t.0), Some(at(10)));
    assert_eq!((status.progress.unwrap().percent, status.progress.unwrap().moves), (100, 2));
    assert_eq!(condition(status, "Verified").status, "True");
    // What was said before its end counted then, and is no late word now.
    let rest = judge(&object, Standing::Gone(None), true, at(90));
    assert_eq!((rest.status, rest.refused), (object.status.clone(), None));
}

#[test]
fn what_is_gone_has_ended_in_its_way() {
    let cancel = |message: &str| record(ActionKind::Cancel, Outcome::Aborted, message);
    let reassign = |outcome| record(ActionKind::ReassignPartitions, outcome, "it ended");
    for (record, phase) in [
        (cancel("superseded by another plan"), Phase::Superseded),
        (cancel("expired: the cluster has drifted"), Phase::Expired),
        (reassign(Outcome::Failed), Phase::Failed),
        (reassign(Outcome::Aborted), Phase::Aborted),
    ] {
        let status = judge(&seen(None), Standing::Gone(Some(&record)), false, at(70)).status;
        assert_eq!((status.phase, status.message), (Some(phase), Some(record.message)));
    }
    // Before the log has said it, nothing is concluded; when it had its time, it is.
    assert_eq!(judge(&seen(None), Standing::Gone(None), false, at(70)).status.phase, None);
    assert_eq!(judge(&seen(None), Standing::Gone(None), true, at(70)).status.phase, Some(Phase::Expired));
}

#[test]
fn a_rejected_one_is_aborted_and_names_who_rejected_it() {
    let digest = treatment().digest().to_owned();
    let mut object = seen(Some((false, &digest, Some("ann"))));
    let verdict = judge(&object, Standing::Proposed(&proposed(EffectiveMode::Approve)), false, at(1));
    assert_eq!(verdict.decision.map(|decision| decision.approved), Some(false));
    object.status = verdict.status;
    let end = judge(&object, Standing::Gone(None), true, at(20));
    assert_eq!(end.status.phase, Some(Phase::Aborted));
    assert_eq!(end.status.message.as_deref(), Some("rejected by ann"));
    assert_eq!(end.refused, None);
}

#[test]
fn a_rejection_stops_what_is_under_way() {
    let digest = treatment().digest().to_owned();
    let begun = running(1);
    let mut object = seen(Some((true, &digest, Some("ann"))));
    object.status =
        judge(&object, Standing::Proposed(&proposed(EffectiveMode::Approve)), false, at(1)).status;
    object.word = seen(Some((false, &digest, Some("bob")))).word;
    let verdict = judge(&object, Standing::Running(&begun), false, at(9));
    assert_eq!(verdict.decision, Some(Decision { approved: false, by: "bob".into(), at: at(9) }));
    object.status = verdict.status;
    let end = record(ActionKind::ReassignPartitions, Outcome::Aborted, "stopped: rejected by bob");
    let status = judge(&object, Standing::Gone(Some(&end)), false, at(12)).status;
    assert_eq!(
        (status.phase, status.message.as_deref()),
        (Some(Phase::Aborted), Some("stopped: rejected by bob"))
    );
    assert_eq!(condition(&status, "Approved").reason, "Rejected");
}

#[test]
fn a_word_that_comes_too_late_is_refused() {
    let digest = treatment().digest().to_owned();
    let mut object = seen(None);
    object.status = judge(&object, Standing::Gone(None), true, at(20)).status;
    object.word = seen(Some((true, &digest, Some("ann")))).word;
    let verdict = judge(&object, Standing::Gone(None), true, at(30));
    assert_eq!((verdict.status.phase, verdict.decision), (Some(Phase::Expired), None));
    assert!(verdict.refused.unwrap().why.contains("came when this was Expired already"));
    assert_eq!(condition(&verdict.status, "Approved").reason, "TooLate");
}

#[test]
fn in_mode_auto_nobody_is_asked() {
    let begun = running(0);
    let status = judge(&seen(None), Standing::Running(&begun), false, at(1)).status;
    assert_eq!((condition(&status, "Approved").reason.as_str(), &status.approved_by), ("ModeAuto", &None));
}
