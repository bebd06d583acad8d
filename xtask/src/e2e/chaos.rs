//! Operators are killed at random while brokers fall ill: there is one leader at a time, and the log tells everything
//! and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Severity};
use fastrand::Rng;
use jiff::Timestamp;

use super::actions;
use super::install::rolled_out;
use super::watch::all_healthy;
use super::world::{DOCTOR, KAFKA, World};
use super::{permissions, processes};

/// From when both operators are ready until one is killed, seconds. What happens while the log fails over is known to nobody but
/// those who have seen it: a new leader needs the Lease's 15 s, and up to 22 s when a broker that leads the log's partition, or
/// coordinates its transactions, dies.
const PAUSE: std::ops::Range<u64> = 38..60;
/// Until both operators are ready again.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Clocks of this machine and of the log's writer are the same; looks and writes take their time.
const TOLERANCE: Duration = Duration::from_secs(3);
/// From the last fault until the log has told of it: a leader's 15 s, its log's producer, and the brokers' way back.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

/// A broker's fault, from just before it was made until all was well again.
struct Fault {
    broker: BrokerId,
    begun: Timestamp,
    ended: Timestamp,
}

/// For `time`, and then until all is well again.
pub async fn operators_killed(world: &World, time: Duration, seed: u64) -> Result<()> {
    println!("  for {} s, seed {seed}", time.as_secs());
    let begun = actions::all(world).await?.len();
    let end = Instant::now() + time;
    let (killed, faults, looks) = tokio::try_join!(
        kill_operators(world, end, Rng::with_seed(seed)),
        break_brokers(world, end, Rng::with_seed(seed.wrapping_add(1))),
        watch_leaders(world, end)
    )?;
    // One that was killed again and again is started again after up to five minutes.
    world.kubectl(&["delete", "pods", "--all", "--namespace", DOCTOR, "--wait=false"]).await?;
    let deployment = "deployment/doctorkafka-operator";
    world.kubectl(&["rollout", "status", deployment, "--namespace", DOCTOR, "--timeout=180s"]).await?;
    all_healthy(world).await?;
    let log = world
        .until("the log to tell of every fault", TOLD_WITHIN, || async {
            let log = actions::all(world).await?;
            let new = log.get(begun..).unwrap_or_default();
            let untold = faults.iter().filter(|fault| !is_told(new, fault)).map(|fault| {
                format!("broker {} was broken from {} to {}", fault.broker, fault.begun, fault.ended)
            });
            let untold: Vec<String> = untold.collect();
            Ok(if untold.is_empty() { Ok(log.clone()) } else { Err(untold.join("; ")) })
        })
        .await;
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            for record in actions::all(world).await?.iter().skip(begun) {
                println!("  {:.3} epoch {} {:?} {}", record.time, record.epoch, record.kind, record.message);
            }
            return Err(error);
        }
    };
    let leaders = one_leader_at_a_time(&log)?;
    only_true_alerts(log.get(begun..).unwrap_or_default(), &faults)?;
    println!(
        "  {killed} operators killed, {} brokers broken; {leaders} leaders one after the other, never two in {looks} looks, \
         {} records, no false alert",
        faults.len(),
        log.len() - begun
    );
    ensure!(killed > 0 && !faults.is_empty(), "there was too little time for a fault");
    Ok(())
}

/// What the operators say of themselves: never do two of them lead at once. Gives how often somebody led.
async fn watch_leaders(world: &World, end: Instant) -> Result<usize> {
    let leads = async |address: &str| {
        let page = world.get(address, 3001, "/metrics").await.unwrap_or_default();
        page.lines().any(|line| line == "doctorkafka_leader 1")
    };
    let mut looks = 0;
    while Instant::now() < end {
        let pods = world.json(&["get", "pods", "--namespace", DOCTOR, OPERATORS]).await?;
        let pods = pods["items"].as_array().context("a list of pods")?;
        let addresses: Vec<&str> = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
        let mut leaders = Vec::new();
        for address in addresses {
            if leads(address).await {
                leaders.push(address);
            }
        }
        looks += leaders.len().min(1);
        // They were asked one after the other: the first may have handed over before the second was.
        if let [first, second, ..] = leaders[..] {
            ensure!(!leads(first).await || !leads(second).await, "{first} and {second} both lead");
        }
        continue_after(Duration::from_secs(1)).await;
    }
    ensure!(looks > 0, "nobody ever said that it leads");
    Ok(looks)
}

/// The container's process dies, or the pod does without a farewell. Then the other is left alone until both are there again.
async fn kill_operators(world: &World, end: Instant, mut chance: Rng) -> Result<usize> {
    let mut killed = 0;
    while Instant::now() < end {
        let pods = world.json(&["get", "pods", "--namespace", DOCTOR, OPERATORS]).await?;
        let pods = pods["items"].as_array().context("a list of pods")?;
        let running: Vec<_> = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").collect();
        if let Some(pod) = chance.choice(&running) {
            // What it has logged goes with it.
            permissions::none_missing(world).await?;
            let text = |key: &str| pod["metadata"][key].as_str().context("a pod without a name");
            if chance.bool() {
                let operator = processes::of_pod(text("uid")?)?.into_iter().find(|process| {
                    process.arguments.first().is_some_and(|p| p.ends_with("doctorkafka-operator"))
                });
                match operator {
                    Some(process) => processes::kill(process.pid)?,
                    None => continue_after(Duration::from_secs(1)).await,
                }
            } else {
                let pod = text("name")?;
                let delete = ["delete", "pod", pod, "--namespace", DOCTOR, "--force", "--grace-period=0"];
                world.kubectl(&delete).await?;
            }
            println!("  {:.0} {} killed", Timestamp::now(), text("name")?);
            killed += 1;
        }
        both_ready(world).await?;
        continue_after(Duration::from_secs(chance.u64(PAUSE))).await;
    }
    Ok(killed)
}

/// Two operators are ready. One that the kubelet lets wait for minutes, because its process was killed before, is made anew.
async fn both_ready(world: &World) -> Result<()> {
    // A container that was killed a moment ago is as ready as before.
    continue_after(Duration::from_secs(3)).await;
    let ready = world.until("both operators to be ready", READY_WITHIN, || async {
        let pods = world.json(&["get", "pods", "--namespace", DOCTOR, OPERATORS]).await?;
        let mut ready = 0;
        for pod in pods["items"].as_array().context("a list of pods")? {
            let container = &pod["status"]["containerStatuses"][0];
            ready += usize::from(container["ready"] == true);
            if container["state"]["waiting"]["reason"] == "CrashLoopBackOff" {
                let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
                world.kubectl(&["delete", "pod", name, "--namespace", DOCTOR, "--ignore-not-found"]).await?;
            }
        }
        Ok(if ready >= 2 { Ok(()) } else { Err(format!("{ready} are")) })
    });
    ready.await
}

const OPERATORS: &str = "--selector=app.kubernetes.io/component=operator";

async fn continue_after(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// One broker at a time: the next when all are back, as the disruption budget has it. Each is held down until a doctor
/// says so: what comes and goes while nobody leads is nobody's to tell.
async fn break_brokers(world: &World, end: Instant, mut chance: Rng) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    while Instant::now() < end {
        let broker = chance.i32(0..3);
        let pod = format!("kafka-{broker}");
        let begun = Timestamp::now();
        let delete = ["delete", "pod", &pod, "--namespace", KAFKA, "--wait=false"];
        if chance.bool() {
            processes::kill(processes::broker(&processes::pod_uid(world, &pod).await?)?)?;
        } else {
            world.kubectl(&delete).await?;
        }
        let again = AtomicUsize::new(0);
        let what = format!("anybody to tell of broker {broker}");
        let told = world.until(&what, TOLD_WITHIN, || async {
            let brokers = world.brokers().await?;
            let shown = brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            if brokers.iter().any(|b| b.id == broker && b.state == "Unhealthy") {
                return Ok(Ok(()));
            }
            if let Ok(process) = processes::broker(&processes::pod_uid(world, &pod).await?) {
                again.fetch_add(1, Ordering::Relaxed);
                processes::kill(process).ok();
            }
            Ok(Err(shown))
        });
        told.await?;
        println!(
            "  {begun:.0} broker {broker} broken, told after {} s",
            begun.duration_until(Timestamp::now()).as_secs()
        );
        // The kubelet would let a container that was killed again and again wait for minutes.
        if again.load(Ordering::Relaxed) > 1 {
            world.kubectl(&delete).await?;
        }
        // The kubelet first has to see it: until then the pod is as ready as before.
        continue_after(Duration::from_secs(5)).await;
        rolled_out(world).await?;
        all_healthy(world).await?;
        faults.push(Fault { broker: BrokerId(broker), begun, ended: Timestamp::now() });
    }
    Ok(faults)
}

/// An alert and its end, in the time of the fault. What a new leader tells late was found then, and is written later.
fn is_told(log: &[ActionRecord], fault: &Fault) -> bool {
    let found = |record: &ActionRecord| {
        let found = record.evidence.get("foundAt").and_then(|found| found.as_str()?.parse().ok());
        found.unwrap_or(record.time)
    };
    let about =
        || log.iter().filter(|record| record.broker == Some(fault.broker) && found(record) >= fault.begun);
    let alert =
        about().find(|record| record.kind == ActionKind::AlertUnhealthy && found(record) <= fault.ended);
    alert.is_some_and(|alert| {
        about().any(|record| record.kind == ActionKind::Recovered && found(record) >= found(alert))
    })
}

/// Epochs never fall, none is left out, and each begins with its leader's first record.
pub fn one_leader_at_a_time(log: &[ActionRecord]) -> Result<usize> {
    let mut leaders = 0;
    let mut ids = BTreeMap::new();
    for pair in log.windows(2) {
        let [before, after] = pair else { continue };
        ensure!(after.epoch >= before.epoch, "epoch {} wrote after epoch {}", after.epoch, before.epoch);
        if after.epoch > before.epoch {
            ensure!(
                after.epoch == before.epoch + 1,
                "no record of the epochs between {} and {}",
                before.epoch,
                after.epoch
            );
            ensure!(
                after.kind == ActionKind::LeaderStarted,
                "epoch {} did not begin with its leader",
                after.epoch
            );
            leaders += 1;
        }
    }
    for record in log {
        if let Some(same) = ids.insert(&record.id, record) {
            bail!("{:?} stands in the log twice", same.message);
        }
    }
    Ok(leaders)
}

/// No broker is called unhealthy that was not broken, and none of it is guessed.
fn only_true_alerts(log: &[ActionRecord], faults: &[Fault]) -> Result<()> {
    for record in log.iter().filter(|record| record.severity != Severity::Info) {
        let is_true = match (record.kind, record.broker) {
            (ActionKind::AlertUnhealthy, Some(broker)) => faults.iter().any(|fault| {
                fault.broker == broker
                    && record.time.duration_until(fault.ended).as_secs() >= 0
                    && fault.begun.duration_until(record.time).as_secs() >= -(TOLERANCE.as_secs() as i64)
            }),
            (ActionKind::AlertUnhealthy | ActionKind::AlertUnknown, _) => false,
            _ => true,
        };
        ensure!(is_true, "a false alert at {}: {:?} {}", record.time, record.broker, record.message);
    }
    Ok(())
}
