//! In mode Approve nothing is done that nobody has approved, and what was approved is done to the letter: on Kubernetes by
//! an annotation, elsewhere by the command line.

use std::{collections::BTreeMap, path::Path, time::Duration};

use doctorkafka_api::{KafkaReassignment, LeadershipChange, Phase};
use doctorkafka_kafka::{Admin, ClusterAdmin, Connection, ReassignmentChange, TopicPartition};
use doctorkafka_testbed::wait_until;
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    kubernetes::{Ward, kubectl},
    world::{Doctor, World},
};

/// Replicas by topic and partition.
pub type Assignment = BTreeMap<(String, i32), Vec<i32>>;

fn admin(world: &World) -> Admin {
    Admin::new(Connection::new(&world.kafka.bootstrap(), "test").unwrap())
}

/// What Kafka says of every partition, the doctor's and its own included.
pub async fn assignment(world: &World) -> Assignment {
    let topics = admin(world).topics(None).await.unwrap();
    let partitions = topics.iter().flat_map(|topic| {
        let name = |partition| (topic.name.clone(), partition);
        topic.partitions.iter().map(move |p| (name(p.partition), p.replicas.iter().map(|id| id.0).collect()))
    });
    partitions.collect()
}

/// A person's try to write an annotation; what the API server says to it.
async fn annotate(ward: &Ward, who: &Path, name: &str, annotation: &str) -> Result<(), String> {
    let mut command = ward.plane.kubectl();
    command.env("KUBECONFIG", who);
    command.args(["annotate", "--overwrite", "-n", "kafka", "kafkareassignment", name, annotation]);
    let output = command.output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(error) }
}

async fn all(treatments: &Api<KafkaReassignment>) -> Vec<KafkaReassignment> {
    treatments.list(&ListParams::default()).await.unwrap().items
}

/// Waits until one of the objects is as it should be.
async fn until(
    treatments: &Api<KafkaReassignment>,
    what: &str,
    right: impl Fn(&KafkaReassignment) -> bool,
) -> KafkaReassignment {
    let waited = wait_until(what, Duration::from_secs(90), || async {
        all(treatments).await.into_iter().find(|treatment| right(treatment))
    });
    match waited.await {
        Ok(treatment) => treatment,
        Err(error) => panic!("{error}\n{:#?}", all(treatments).await),
    }
}

/// Whether the log says that this treatment stands proposed. What a doctor proposes before it has told so may still change.
fn stands(actions: &[ActionRecord], digest: &str) -> bool {
    let mut about = actions.iter().filter(|a| a.digest.as_deref() == Some(digest) && a.step.is_none());
    about.next_back().is_some_and(|a| a.outcome == Some(Outcome::Proposed))
}

/// Waits for a proposal that the log tells, too.
async fn until_proposed(ward: &Ward, treatments: &Api<KafkaReassignment>) -> KafkaReassignment {
    let waited = wait_until("a proposal, also in the log", Duration::from_secs(120), || async {
        let actions = ward.kafka.actions().await;
        let mut all = all(treatments).await.into_iter();
        all.find(|it| is(it, Phase::Proposed) && stands(&actions, &it.spec.digest))
    });
    match waited.await {
        Ok(treatment) => treatment,
        Err(error) => panic!("{error}\n{:#?}\n{:#?}", all(treatments).await, ward.kafka.actions().await),
    }
}

fn is(treatment: &KafkaReassignment, phase: Phase) -> bool {
    treatment.status.as_ref().and_then(|status| status.phase) == Some(phase)
}

/// Reason and message of the condition Approved.
fn approved(treatment: &KafkaReassignment) -> (String, String) {
    let mut conditions = treatment.status.iter().flat_map(|status| &status.conditions);
    let approved = conditions.find(|condition| condition.type_ == "Approved");
    approved.map(|condition| (condition.reason.clone(), condition.message.clone())).unwrap_or_default()
}

fn name(treatment: &KafkaReassignment) -> String {
    treatment.metadata.name.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_approves_on_kubernetes_is_done_to_the_letter() {
    let ward = Ward::start_with(&[1, 2, 3]).await;
    let admission = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/admission");
    kubectl(&ward.plane, &["apply", "--server-side", "-f", admission.to_str().unwrap()]).await;
    for role in ["doctorkafka-approver", "doctorkafka-editor"] {
        let (binding, user) = (format!("{role}-test"), format!("--user={role}"));
        let role = format!("--clusterrole={role}");
        kubectl(&ward.plane, &["create", "rolebinding", "-n", "kafka", &binding, &role, &user]).await;
    }
    let ann = ward.plane.kubeconfig_for("doctorkafka-approver", &["system:authenticated"]).unwrap();
    let edda = ward.plane.kubeconfig_for("doctorkafka-editor", &["system:authenticated"]).unwrap();
    let first = ward.operator("first");
    ward.create_with("prod", json!({"mode": "Approve", "demote": {"brokers": [1]}})).await;
    let treatments: Api<KafkaReassignment> = Api::namespaced(ward.policies.clone().into_client(), "kafka");

    let proposed = until_proposed(&ward, &treatments).await;
    let before = assignment(&ward.kafka).await;
    assert!(proposed.spec.leadership_changes.iter().any(|change| change.topic == "orders"), "{proposed:#?}");
    ward.until("the policy to name it", 30, |status| status.active_plan == Some(name(&proposed))).await;

    // Another leader finds it and makes no other.
    let second = ward.operator("second");
    first.terminate().await.unwrap();
    ward.kafka
        .actions_until("the second to lead", |actions| {
            actions.iter().any(|a| a.kind == ActionKind::LeaderStarted && a.epoch == 2)
        })
        .await;
    ward.until("the second to propose the same", 60, |status| status.active_plan == Some(name(&proposed)))
        .await;
    let waiting = all(&treatments).await.into_iter().filter(|it| is(it, Phase::Proposed));
    assert_eq!(waiting.map(|it| name(&it)).collect::<Vec<_>>(), [name(&proposed)]);

    // What is proposed cannot be made to say something else, and not everybody may approve it.
    let edited: Vec<LeadershipChange> = proposed.spec.leadership_changes.iter().skip(1).cloned().collect();
    let edit = json!({"spec": {"leadershipChanges": edited}}).to_string();
    let mut command = ward.plane.kubectl();
    command.args([
        "patch",
        "-n",
        "kafka",
        "kafkareassignment",
        &name(&proposed),
        "--type=merge",
        "-p",
        &edit,
    ]);
    let output = command.output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("immutable"), "{error}");
    let digest = proposed.spec.digest.clone();
    let approve = format!("doctorkafka.dev/approve={digest}");
    assert!(annotate(&ward, &edda, &name(&proposed), &approve).await.is_err());

    // Who may approve it, and names another digest, is told so, there and in the log; nothing is done.
    let other = format!("doctorkafka.dev/approve={}", "0".repeat(64));
    wait_until("the API server to write who approves", Duration::from_secs(60), || async {
        annotate(&ward, &ann, &name(&proposed), &other).await.is_ok()
    })
    .await
    .unwrap();
    let refused = until(&treatments, "the refusal", |it| approved(it).0 == "AnotherDigest").await;
    assert!(approved(&refused).1.starts_with("doctorkafka-approver approved 0000"), "{refused:#?}");
    ward.kafka
        .actions_until("the refusal in the log", |actions| {
            let by = |a: &ActionRecord| a.evidence.get("by") == Some(&json!("doctorkafka-approver"));
            actions.iter().any(|a| a.kind == ActionKind::Refused && by(a))
        })
        .await;
    assert_eq!(assignment(&ward.kafka).await, before);

    // By its own digest it is carried out: exactly as it says, and nothing else.
    annotate(&ward, &ann, &name(&proposed), &approve).await.unwrap();
    let done = until(&treatments, "its completion", |it| is(it, Phase::Completed)).await;
    assert_eq!(done.spec, proposed.spec);
    let status = done.status.as_ref().unwrap();
    assert_eq!(status.approved_by.as_deref(), Some("doctorkafka-approver"));
    assert!(status.started_at.is_some() && status.finished_at.is_some());
    assert!(status.conditions.iter().any(|c| c.type_ == "Verified" && c.status == "True"), "{done:#?}");
    let mut planned = before;
    for change in &done.spec.leadership_changes {
        let at = (change.topic.clone(), change.partition);
        assert_eq!(planned.insert(at, change.replicas.clone()).unwrap()[0], change.from);
    }
    assert_eq!(assignment(&ward.kafka).await, planned);
    let begun =
        |a: &ActionRecord| a.digest.as_deref() == Some(&digest) && a.outcome == Some(Outcome::Intended);
    let actions = ward.kafka.actions().await;
    let begun = actions.iter().find(|a| begun(a) && a.step.is_none()).unwrap();
    assert_eq!(begun.evidence.get("approvedBy"), Some(&json!("doctorkafka-approver")), "{begun:#?}");

    // A proposal that the cluster has drifted away from is over, and approving it then does nothing.
    let patch = json!({"spec": {"demote": {"brokers": [1, 2]}}}).to_string();
    kubectl(&ward.plane, &["patch", "-n", "kafka", "khp", "prod", "--type=merge", "-p", &patch]).await;
    let next = until_proposed(&ward, &treatments).await;
    let change = next.spec.leadership_changes.iter().find(|change| change.replicas.len() == 3).unwrap();
    let at = TopicPartition { topic: change.topic.clone(), partition: change.partition };
    let mut replicas = assignment(&ward.kafka).await[&(at.topic.clone(), at.partition)].clone();
    replicas.swap(1, 2);
    let replicas = Some(replicas.into_iter().map(BrokerId).collect());
    admin(&ward.kafka).reassign(&[ReassignmentChange { at, replicas }]).await.unwrap();
    let drifted = until(&treatments, "its end", |it| {
        it.metadata.name == next.metadata.name && (is(it, Phase::Expired) || is(it, Phase::Superseded))
    })
    .await;
    let drifted_at = assignment(&ward.kafka).await;
    let approve = format!("doctorkafka.dev/approve={}", drifted.spec.digest);
    annotate(&ward, &ann, &name(&drifted), &approve).await.unwrap();
    let late = until(&treatments, "the refusal", |it| approved(it).0 == "TooLate").await;
    assert!(approved(&late).1.contains("nothing is done"), "{late:#?}");
    assert_eq!(assignment(&ward.kafka).await, drifted_at);
    assert!(second.is_running());
}

/// Runs `doctorkafka-operator`; gives its exit code and all that it printed.
pub async fn operator(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doctorkafka-operator"));
    command.args(arguments).args(["--bootstrap", &world.kafka.bootstrap()]).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Waits for a proposal that the log tells, too, and that is not this one.
pub async fn until_offered(world: &World, doctor: &Doctor, but: &str) -> String {
    let waited = wait_until("a proposal, also in the log", Duration::from_secs(120), || async {
        let digest = proposal(&doctor.watch.newest()).filter(|digest| digest != but)?;
        stands(&world.actions().await, &digest).then_some(digest)
    });
    match waited.await {
        Ok(digest) => digest,
        Err(error) => panic!("{error}\n{:#}\n{:#?}", doctor.watch.newest(), world.actions().await),
    }
}

fn proposal(report: &Value) -> Option<String> {
    Some(report["proposals"].get(0)?["digest"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kubernetes_the_command_line_approves_and_rejects() {
    let world = World::start(&[1, 2, 3]).await;
    let policy =
        |demoted: &str| world.policy(&format!("{{}}\n  mode: Approve\n  demote: {{brokers: {demoted}}}"));
    let doctor = Doctor::start("doctor", &policy("[1]"), world.folder.path());
    doctor.until_leading().await;
    let digest = until_offered(&world, &doctor, "").await;
    let short = &digest[..12];

    let (code, text) = operator(&world, &["list"]).await;
    assert!(code == Some(0) && text.contains(short) && text.contains("Proposed"), "{text}");
    let (code, text) = operator(&world, &["approve", "ffffffff"]).await;
    assert!(code == Some(2) && text.contains("no treatment with digest ffffffff"), "{text}");

    let before = assignment(&world).await;
    let (code, text) = operator(&world, &["approve", short, "--as", "ann"]).await;
    assert!(code == Some(0) && text.contains("begun: "), "{code:?} {text}");
    let actions = world
        .actions_until("its end", |actions| {
            let end = |a: &ActionRecord| a.step.is_none() && a.outcome == Some(Outcome::Done);
            actions.iter().any(|a| end(a) && a.digest.as_deref() == Some(&digest))
        })
        .await;
    let mut begun = actions.iter().filter(|a| a.digest.as_deref() == Some(&digest) && a.step.is_none());
    let begun = begun.rfind(|a| a.outcome == Some(Outcome::Intended)).unwrap();
    assert_eq!(begun.evidence.get("approvedBy"), Some(&json!("ann")), "{begun:#?}");
    let mut planned = before;
    for change in &begun.treatment.as_ref().unwrap().plan.as_ref().unwrap().changes {
        let to = change.to.iter().map(|id| id.0).collect();
        planned.insert((change.topic.clone(), change.partition), to).unwrap();
    }
    assert_eq!(assignment(&world).await, planned);
    let (code, text) = operator(&world, &["approve", short]).await;
    assert!(code == Some(2) && text.contains("is Completed since"), "{text}");

    // What is rejected is not proposed again, and nothing is done.
    policy("[1, 2]");
    let next = until_offered(&world, &doctor, &digest).await;
    let (code, text) = operator(&world, &["reject", &next, "--as", "bob", "--reason", "not today"]).await;
    assert!(code == Some(0) && text.contains("withdrawn: "), "{code:?} {text}");
    let offers = |report: &Value| report["proposals"].to_string();
    doctor.watch.until("it to be gone", 30, |report| !offers(report).contains(&next)).await;
    let (_, text) = operator(&world, &["list"]).await;
    assert!(text.lines().any(|line| line.starts_with(&next[..12]) && line.contains("Rejected")), "{text}");
    let refused = |a: &&ActionRecord| a.kind == ActionKind::Refused && a.digest.as_ref() == Some(&next);
    assert_eq!(world.actions().await.iter().find(refused), None, "what was followed is not refused");
    assert_eq!(assignment(&world).await, planned);
}
