//! Data goes where an approved treatment says, to the letter, and by no other approval.

use doctorkafka_doctor::{Vote, execute::Treatment};
use doctorkafka_kafka::{Admin, ClusterAdmin, Connection, ReassignmentChange, TopicPartition, note};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    approval::{assignment, operator, until_offered},
    moves::{until, until_unthrottled},
    world::{Doctor, World},
};

/// A treatment's record as a whole with this outcome.
fn about<'a>(actions: &'a [ActionRecord], digest: &str, outcome: Outcome) -> &'a ActionRecord {
    let is = |a: &&ActionRecord| {
        a.kind == ActionKind::ReassignPartitions && a.step.is_none() && a.digest.as_deref() == Some(digest)
    };
    actions.iter().filter(is).rfind(|a| a.outcome == Some(outcome)).unwrap()
}

/// Writes an approval into the log, as anybody may who may write there, and waits until it is refused; gives why.
async fn refused(world: &World, like: &ActionRecord, digest: &str) -> String {
    let (policy, cluster) = (like.policy.as_str(), like.cluster.as_str());
    let vote = Vote { approved: true, digest, policy, cluster, by: "mallory", reason: None };
    let connection = Connection::new(&world.kafka.bootstrap(), "test").unwrap();
    note(connection, "_doctor_actions_log", &vote.record(Timestamp::now())).await.unwrap();
    let is = |a: &&ActionRecord| a.kind == ActionKind::Refused && a.digest.as_deref() == Some(digest);
    let actions = world.actions_until("the refusal", |actions| actions.iter().any(|a| is(&a))).await;
    let refusal = actions.iter().find(is).unwrap();
    assert_eq!(refusal.evidence.get("by"), Some(&json!("mallory")), "{refusal:#?}");
    refusal.message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_where_the_approved_treatment_says_and_by_no_other_approval() {
    let world = World::of(4, &[1, 2, 3, 4]).await;
    world.kafka.create_topic("payments", 12, 2).await.unwrap();
    let policy = world.policy(
        "{}\n  mode: Approve\n  drain: {brokers: [4]}\n  limits: {replicationThrottle: 10MB/s, movesPerBroker: 10, maxDisk: 98}",
    );
    let doctor = Doctor::start("doctor", &policy, world.folder.path());
    doctor.until_leading().await;
    doctor.until_healthy(4).await;
    let first = until_offered(&world, &doctor, "").await;

    // The cluster drifts: somebody gives one of its partitions another order. Another treatment is proposed instead.
    let now = assignment(&world).await;
    let drifting = now.iter().find(|((topic, _), ids)| topic == "payments" && ids.contains(&4));
    let ((topic, partition), ids) = drifting.unwrap();
    let at = TopicPartition { topic: topic.clone(), partition: *partition };
    let replicas = Some(ids.iter().rev().map(|id| BrokerId(*id)).collect());
    let admin = Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap());
    admin.reassign(&[ReassignmentChange { at, replicas }]).await.unwrap();
    let digest = until_offered(&world, &doctor, &first).await;
    let before = assignment(&world).await;

    // The first is over, and so is any approval of it, whichever way it comes; and there are digests that nobody knows.
    let (code, text) = operator(&world, &["approve", &first[..12]]).await;
    assert!(code == Some(2) && text.contains("is Expired since"), "{code:?} {text}");
    let actions = world.actions().await;
    let proposed = about(&actions, &digest, Outcome::Proposed);
    for other in [first, "0".repeat(64)] {
        let why = refused(&world, proposed, &other).await;
        assert!(why.contains("by mallory is refused: it does not stand proposed"), "{why}");
    }
    assert_eq!(assignment(&world).await, before, "nothing was done");

    let (code, text) = operator(&world, &["approve", &digest, "--as", "ann"]).await;
    assert!(code == Some(0) && text.contains("begun: "), "{code:?} {text}");
    until(&world, "the broker to be drained", 4, |holds, _| holds == 0).await;
    let is_over = |a: &ActionRecord| a.step.is_none() && a.outcome == Some(Outcome::Done);
    let actions = world.actions_until("its end", |actions| actions.iter().any(is_over)).await;
    let begun = about(&actions, &digest, Outcome::Intended);
    assert_eq!(begun.evidence.get("approvedBy"), Some(&json!("ann")), "{begun:#?}");
    let plan = begun.treatment.as_ref().unwrap().plan.as_ref().unwrap();
    assert_eq!(plan.changes, proposed.treatment.as_ref().unwrap().plan.as_ref().unwrap().changes);
    let treatment = Treatment::new(plan.cause.clone(), plan.changes.clone(), plan.throttle).unwrap();
    assert_eq!(treatment.digest(), digest, "the digest is that of what was done");
    assert!(treatment.moves().count() >= 12, "{plan:#?}");

    // What is now is that, byte for byte, and nothing else has changed.
    let mut planned = before;
    for change in &plan.changes {
        let to = change.to.iter().map(|id| id.0).collect();
        planned.insert((change.topic.clone(), change.partition), to).unwrap();
    }
    assert_eq!(assignment(&world).await, planned);
    until_unthrottled(&world, &[1, 2, 3, 4]).await;
}
