//! Pods as Strimzi, Koperator and the Bitnami chart make them: one Kafka cluster, whose brokers are of all three.
//!
//! The real operators are not run: their pods are made and rolled as their sources say (`docs/injection.md`), by
//! stand-ins of them; the StatefulSet's controller is Kubernetes' own.

mod pods;
mod stand_in;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::stand_in::StandIn;
use super::install::{indented, volumes};
use super::processes;
use super::world::{Broker, World};

/// The namespace of all of this, and the name of its policy.
pub const MIXED: &str = "mixed";
const STARTS_WITHIN: Duration = Duration::from_secs(240);
const TOLD_WITHIN: Duration = Duration::from_secs(90);
const ROLLS_WITHIN: Duration = Duration::from_secs(300);
/// Rounds of the stand-ins in which nothing must happen.
const QUIET_ROUNDS: u64 = 20;

/// A broker's id, and the pod it is in: Koperator's names end with a random part.
const BROKERS: [(i32, &str); 4] =
    [(0, "prod-brokers-0"), (1, "prod-brokers-1"), (2, "queue-kafka-controller-0"), (102, "events-102-")];

/// From the pods' creation to a roll of them, and a broker killed in between.
pub async fn all(world: &World) -> Result<()> {
    world.apply(&pods::namespace().to_string()).await?;
    world.apply(&pods::pod_set_crd().to_string()).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/strimzipodsets.core.strimzi.io", "--timeout=60s"];
    world.kubectl(&established).await?;
    volumes(world, "mixed", 4).await?;
    for object in pods::around() {
        world.apply(&object.to_string()).await?;
    }
    world.apply(&pods::policy().to_string()).await?;
    world.apply(&pods::stateful_set().to_string()).await?;
    world.apply(&pods::pod_set("1").to_string()).await?;

    let stand_in = StandIn::new(world);
    tokio::select! {
        ended = stand_in.work() => ended,
        outcome = scenarios(world, &stand_in) => outcome,
    }
}

async fn scenarios(world: &World, stand_in: &StandIn<'_>) -> Result<()> {
    healthy(world, "four brokers of three distributions", STARTS_WITHIN).await?;
    println!("{}", indented(&world.kubectl(&["get", "pods", "--namespace", MIXED]).await?));
    for broker in brokers(world).await? {
        println!("  {broker}");
        let pod = BROKERS.iter().find(|(id, _)| *id == broker.id).map(|(_, pod)| *pod);
        let right = pod.is_some_and(|pod| broker.pod.as_deref().is_some_and(|name| name.starts_with(pod)));
        ensure!(right, "broker {} has the wrong pod: {broker}", broker.id);
    }
    no_token(world).await?;

    // The stand-ins look once a second: whoever had a reason to roll would have one every time.
    let before = uids(world).await?;
    stand_in.rounds(QUIET_ROUNDS).await?;
    ensure!(before == uids(world).await?, "pods were replaced for nothing");
    ensure!(stand_in.rolled() == 0, "Strimzi's stand-in rolled {} pods for nothing", stand_in.rolled());
    println!("  no pod was replaced in {QUIET_ROUNDS} rounds");

    dead(world, 1, "prod-brokers-1", &["Unhealthy"]).await?;
    // Koperator puts another pod in its place, which may be there before the broker was missed.
    dead(world, 102, "events-102-", &["Unhealthy", "Recovering"]).await?;

    for pod in ["prod-brokers-0", "queue-kafka-controller-0", "events-102-"] {
        sidecar_killed(world, pod).await?;
    }
    stand_in.rounds(QUIET_ROUNDS).await?;
    ensure!(stand_in.rolled() == 0, "a sidecar's end had Strimzi's stand-in roll {} pods", stand_in.rolled());

    world.apply(&pods::pod_set("2").to_string()).await?;
    let rolled = world.until("Strimzi's pods to be rolled", ROLLS_WITHIN, || async {
        let rolled = stand_in.rolled();
        Ok(if rolled == 2 && stand_in.is_content() { Ok(()) } else { Err(format!("{rolled} are rolled")) })
    });
    rolled.await?;
    world
        .kubectl(&["rollout", "restart", "statefulset/queue-kafka-controller", "--namespace", MIXED])
        .await?;
    let rollout =
        ["rollout", "status", "statefulset/queue-kafka-controller", "--namespace", MIXED, "--timeout=300s"];
    world.kubectl(&rollout).await?;
    healthy(world, "all four brokers after the rolls", STARTS_WITHIN).await?;
    stand_in.rounds(QUIET_ROUNDS).await?;
    ensure!(stand_in.rolled() == 2, "{} pods were rolled instead of 2", stand_in.rolled());
    println!("  a new revision rolled each pod once");
    Ok(())
}

/// The broker's process is killed: told as one of these states, and over by itself.
async fn dead(world: &World, id: i32, pod: &str, states: &[&str]) -> Result<()> {
    let (_, uid) = find_pod(world, pod).await?;
    let history = world.watch(MIXED, MIXED)?;
    // The first that is written is how all are now.
    let begun = || async { Ok(if history.mark() > 0 { Ok(()) } else { Err(String::new()) }) };
    world.until("the policy to be watched", TOLD_WITHIN, begun).await?;
    processes::kill(processes::broker(&uid)?)?;
    let what = format!("broker {id} to be called {}", states.join(" or "));
    let seen = world.until(&what, TOLD_WITHIN, || async {
        let told = history.since(0);
        let ill = told.iter().find(|b| b.id == id && states.contains(&b.state.as_str()));
        Ok(ill
            .map(ToString::to_string)
            .ok_or_else(|| told.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
    });
    println!("  {}", seen.await?);
    healthy(world, "the dead broker to be back", STARTS_WITHIN).await?;
    let blamed = history.since(0).into_iter().find(|b| b.id != id && b.state == "Unhealthy");
    ensure!(blamed.is_none(), "another was blamed: {}", blamed.map(|b| b.to_string()).unwrap_or_default());
    Ok(())
}

/// The kubelet starts a sidecar that was killed anew, and the broker's pod stays. Koperator replaces the pod if it looks while the
/// sidecar is not back yet.
async fn sidecar_killed(world: &World, pod: &str) -> Result<()> {
    let (name, uid) = find_pod(world, pod).await?;
    let sidecar = processes::of_pod(&uid)?.into_iter().find(is_sidecar);
    processes::kill(sidecar.with_context(|| format!("{name} has no sidecar"))?.pid)?;
    let restarts =
        "--output=jsonpath={.status.initContainerStatuses[?(@.name==\"doctorkafka-sidecar\")].restartCount}";
    let back = world.until("the sidecar to be back", STARTS_WITHIN, || async {
        let (now, now_uid) = find_pod(world, pod).await?;
        let count = world.kubectl(&["get", "pod", &now, "--namespace", MIXED, restarts]).await?;
        let back = now_uid != uid || count.trim() != "0";
        Ok(if back { Ok(now_uid == uid) } else { Err(format!("{now}, {count} restarts")) })
    });
    let stayed = back.await?;
    ensure!(stayed || pod == "events-102-", "{name} was replaced because its sidecar was killed");
    healthy(world, "all brokers after a sidecar's end", STARTS_WITHIN).await?;
    println!(
        "  the sidecar of {name} was killed: the pod {}",
        if stayed { "stayed" } else { "was replaced" }
    );
    Ok(())
}

/// The name and uid of the pod whose name begins like this.
async fn find_pod(world: &World, name: &str) -> Result<(String, String)> {
    let found = pods_of(world).await?.into_iter().find(|(other, _)| other.starts_with(name));
    found.with_context(|| format!("there is no pod {name}"))
}

fn is_sidecar(process: &processes::Running) -> bool {
    process.arguments.first().is_some_and(|program| program.ends_with("doctorkafka-sidecar"))
}

async fn brokers(world: &World) -> Result<Vec<Broker>> {
    world.brokers_of(MIXED, MIXED).await
}

async fn healthy(world: &World, what: &str, within: Duration) -> Result<()> {
    world
        .until(what, within, || async {
            let brokers = brokers(world).await?;
            let well =
                brokers.iter().all(|b| b.state == "Healthy" && b.cpu_percent.is_some() && b.pod.is_some());
            let shown = || brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Ok(if brokers.len() == BROKERS.len() && well { Ok(()) } else { Err(shown()) })
        })
        .await
}

/// Names and uids.
async fn pods_of(world: &World) -> Result<BTreeMap<String, String>> {
    let pods = world.json(&["get", "pods", "--namespace", MIXED, "--selector=mixed=kafka"]).await?;
    let pods = pods["items"].as_array().context("a list of pods")?.iter();
    let text = |pod: &Value, key: &str| pod["metadata"][key].as_str().map(str::to_owned);
    pods.map(|pod| text(pod, "name").zip(text(pod, "uid")).context("a pod without a name")).collect()
}

async fn uids(world: &World) -> Result<Vec<String>> {
    Ok(pods_of(world).await?.into_values().collect())
}

/// A broker may have the token of its service account; its sidecar sees none.
async fn no_token(world: &World) -> Result<()> {
    let token = |pid: i32| {
        let inside = format!("/proc/{pid}/root");
        Path::new(&inside).join("var/run/secrets/kubernetes.io/serviceaccount/token").exists()
    };
    let (mut sidecars, mut with_token) = (0, 0);
    for uid in uids(world).await? {
        for process in processes::of_pod(&uid)? {
            if is_sidecar(&process) {
                ensure!(!token(process.pid), "a sidecar has a token");
                sidecars += 1;
            } else if process.arguments.iter().any(|argument| argument == "kafka.Kafka") && token(process.pid)
            {
                with_token += 1;
            }
        }
    }
    ensure!(sidecars == BROKERS.len(), "{sidecars} sidecars instead of {}", BROKERS.len());
    ensure!(with_token > 0, "no broker has a token, so this shows nothing");
    println!("  no sidecar sees a token; the brokers of {with_token} pods do");
    Ok(())
}

/// An owner, for what the stand-in of an operator makes.
fn owned_by(pod: &mut Value, kind: &str, version: &str, name: &str, uid: &str) {
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": false,
    }]);
}
