use super::*;

const D: &str = "55b6b6c0f20e5f3c2943fc2b012d33bef4f57c3aa284d9d57278bd9315878852";
const ME: (&str, &str) = ("prod", "c");

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn vote(approved: bool, by: &str, second: i64) -> ActionRecord {
    let vote = Vote { approved, digest: D, policy: ME.0, cluster: ME.1, by, reason: None };
    vote.record(at(second))
}

fn treated(kind: ActionKind, outcome: Outcome) -> ActionRecord {
    ActionRecord { kind, outcome: Some(outcome), ..vote(true, "doctor", 0) }
}

/// What the log says, from its first record on.
fn log(records: &[ActionRecord]) -> Intake {
    let mut intake = Intake::default();
    (0..).zip(records).for_each(|(offset, record)| intake.apply(offset, record));
    intake
}

fn decided(intake: &Intake) -> Option<(bool, String)> {
    intake.about(D, ME.0, ME.1).map(|decision| (decision.approved, decision.by))
}

fn answers(intake: &mut Intake, stands: &Stands) -> Vec<String> {
    let drafts = intake.answer(ME, at(60), |_, _| stands.clone(), &BTreeSet::new(), 10);
    drafts.into_iter().map(|draft| draft.message).collect()
}

#[test]
fn the_last_word_counts_and_is_followed_once() {
    let mut intake = log(&[vote(true, "ann", 1), vote(false, "bob", 2), vote(true, "ann", 3)]);
    assert_eq!(decided(&intake), Some((true, "ann".into())));
    assert!(answers(&mut intake, &Stands::Waits).is_empty());
    intake.note(&treated(ActionKind::ReassignPartitions, Outcome::Intended));
    assert_eq!(decided(&intake), None, "what has begun is approved no more");
}

#[test]
fn what_ended_takes_its_decisions_with_it() {
    for (kind, outcome) in [
        (ActionKind::ReassignPartitions, Outcome::Intended),
        (ActionKind::ReassignPartitions, Outcome::Done),
        (ActionKind::ReassignPartitions, Outcome::Failed),
        (ActionKind::Cancel, Outcome::Aborted),
    ] {
        assert_eq!(
            decided(&log(&[vote(true, "ann", 1), treated(kind, outcome)])),
            None,
            "{kind:?} {outcome:?}"
        );
        assert!(decided(&log(&[treated(kind, outcome), vote(true, "ann", 1)])).is_some());
    }
    // Steps of it, and another one, are something else.
    let step = ActionRecord { step: Some(0), ..treated(ActionKind::Cancel, Outcome::Done) };
    let other =
        ActionRecord { digest: Some("0".repeat(64)), ..treated(ActionKind::Cancel, Outcome::Aborted) };
    assert!(decided(&log(&[vote(true, "ann", 1), step, other])).is_some());
}

#[test]
fn what_is_proposed_anew_is_another_question() {
    let anew = treated(ActionKind::ReassignPartitions, Outcome::Proposed);
    let mut intake = log(&[vote(true, "ann", 1), anew.clone()]);
    assert_eq!(decided(&intake), None);
    assert!(answers(&mut intake, &Stands::Waits)[0].ends_with("it was proposed anew after that"));
    assert!(decided(&log(&[anew, vote(true, "ann", 1)])).is_some());
}

#[test]
fn what_is_read_twice_counts_once() {
    let mut intake = log(&[vote(true, "ann", 1), treated(ActionKind::Cancel, Outcome::Aborted)]);
    // The follower, which is slower than the reader of a new term, comes along with the same.
    intake.apply(0, &vote(true, "ann", 1));
    assert_eq!(decided(&intake), None);
    let same = vote(true, "ann", 1);
    let mut twice = log(&[same.clone(), same]);
    assert_eq!((twice.open.len(), twice.ignored), (1, 1));
    assert_eq!(answers(&mut twice, &Stands::No("gone".into())).len(), 1);
}

#[test]
fn forged_ones_are_counted_and_nothing_else() {
    let named = |by: serde_json::Value| {
        let mut record = vote(true, "ann", 1);
        record.evidence.insert(BY.into(), by);
        record
    };
    let records = [
        ActionRecord { digest: None, ..vote(true, "ann", 1) },
        ActionRecord { digest: Some(D[..12].to_owned()), ..vote(true, "ann", 1) },
        ActionRecord { digest: Some("z".repeat(64)), ..vote(true, "ann", 1) },
        ActionRecord { id: "x".repeat(100), ..vote(true, "ann", 1) },
        named(json!("")),
        named(json!(7)),
        named(json!("n".repeat(300))),
    ];
    let intake = log(&records);
    assert_eq!((decided(&intake), intake.ignored), (None, records.len() as u64));
}

#[test]
fn another_policy_and_another_cluster_are_not_ours() {
    let policy = ActionRecord { policy: "other".into(), ..vote(true, "ann", 1) };
    let cluster = ActionRecord { cluster: "other".into(), ..vote(true, "ann", 1) };
    let mut intake = log(&[policy, cluster]);
    assert_eq!(decided(&intake), None);
    assert!(answers(&mut intake, &Stands::Waits).is_empty());
    assert_eq!((intake.open.len(), intake.ignored), (0, 2));
}

#[test]
fn what_cannot_be_followed_is_answered_once() {
    let approval = vote(true, "ann", 1);
    let mut intake = log(std::slice::from_ref(&approval));
    assert!(answers(&mut intake, &Stands::Unclear).is_empty());
    let said = answers(&mut intake, &Stands::No("it is not proposed".into()));
    assert_eq!(said, ["the approval of 55b6b6c0f20e by ann is refused: it is not proposed"]);
    assert!(answers(&mut intake, &Stands::No("it is not proposed".into())).is_empty());
    // A new leader knows that from the log.
    let mut refused = treated(ActionKind::Refused, Outcome::Failed);
    refused.evidence.insert(DECISION.into(), json!(approval.id));
    let mut next = log(&[approval, refused]);
    assert!(answers(&mut next, &Stands::No("it is not proposed".into())).is_empty());
}

#[test]
fn without_room_an_answer_waits() {
    let mut intake = log(&[vote(true, "ann", 1)]);
    let no = |_: &str, _| Stands::No("gone".into());
    assert!(intake.answer(ME, at(60), no, &BTreeSet::new(), 0).is_empty());
    assert_eq!(intake.answer(ME, at(60), no, &BTreeSet::new(), 1).len(), 1);
}

#[test]
fn an_approval_of_yesterday_is_refused() {
    let mut intake = log(&[vote(true, "ann", -90_000)]);
    let unclear = |_: &str, _| Stands::Unclear;
    assert!(intake.answer(ME, at(60), unclear, &BTreeSet::new(), 0).is_empty());
    assert_eq!(decided(&intake), None, "without room to say so it counts no more, either");
    assert!(answers(&mut intake, &Stands::Waits)[0].ends_with("it came more than a day ago"));
}

#[test]
fn decisions_on_objects_that_do_not_count_are_written_down_once() {
    let mut intake = Intake::default();
    let misapproval =
        Misapproval { id: "uid/AnotherDigest".into(), digest: D.into(), by: "ann".into(), why: "no".into() };
    let all = BTreeSet::from([misapproval]);
    let draft = intake.answer(ME, at(60), |_, _| Stands::Waits, &all, 10).remove(0);
    assert_eq!((draft.kind, draft.message.as_str()), (ActionKind::Refused, "no"));
    assert_eq!((draft.evidence[BY].as_str(), draft.evidence[RULE].as_str()), (Some("ann"), Some("Approval")));
    assert!(intake.answer(ME, at(60), |_, _| Stands::Waits, &all, 10).is_empty());
}

#[test]
fn a_flood_is_bounded() {
    let flood: Vec<_> = (0..500)
        .map(|number| ActionRecord { digest: Some(format!("{number:064x}")), ..vote(true, "ann", 1) })
        .collect();
    let mut intake = log(&flood);
    assert_eq!(intake.open.len(), MOST_OPEN);
    (0..3_000).for_each(|number| intake.tell(number.to_string()));
    assert_eq!(intake.told.len(), MOST_TOLD);
}
