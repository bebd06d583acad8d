//! The election against a real API server.

#![allow(clippy::unwrap_used)]

use doctorkafka_doctor::Authority;
use doctorkafka_operator::kubernetes::lease::{Leadership, Lease, LeaseSettings, Timing};
use doctorkafka_testbed::{ControlPlane, wait_until};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease as Object, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const SECOND: Duration = Duration::from_secs(1);

/// Shorter than the defaults, in the same proportions.
const DURATION: Duration = Duration::from_secs(6);
const RENEW_DEADLINE: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(1);

/// A candidate in a runtime of its own, so that it can be killed as a process is.
struct Candidate {
    runtime: Option<Runtime>,
    lease: Option<Lease>,
    leadership: Leadership,
}

impl Candidate {
    fn start(config: &Config, lease: &str, identity: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let settings = LeaseSettings {
            namespace: "default".into(),
            name: lease.into(),
            identity: identity.into(),
            timing: Timing::new(DURATION, RENEW_DEADLINE, RETRY).unwrap(),
        };
        let lease = {
            let _in_it = runtime.enter();
            Lease::start(&Client::try_from(config.clone()).unwrap(), settings)
        };
        Self { runtime: Some(runtime), leadership: lease.leadership(), lease: Some(lease) }
    }

    fn authority(&self) -> Authority {
        *self.leadership.authority.borrow()
    }

    fn leads(&self) -> bool {
        self.authority() == Authority::Leading
    }

    /// As SIGTERM does.
    async fn release(&mut self) {
        let lease = self.lease.take().unwrap();
        self.runtime.as_ref().unwrap().spawn(lease.release()).await.unwrap();
    }

    /// As SIGKILL does: it says nothing more.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn config(plane: &ControlPlane) -> Config {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config
}

fn leases(config: &Config) -> Api<Object> {
    Api::namespaced(Client::try_from(config.clone()).unwrap(), "default")
}

/// A leads and B stands by.
async fn pair(config: &Config, lease: &str) -> (Candidate, Candidate) {
    let a = Candidate::start(config, lease, "a");
    wait_until("A to lead", 5 * SECOND, || async { a.leads() }).await.unwrap();
    let b = Candidate::start(config, lease, "b");
    let api = leases(config);
    wait_until("the lease to be renewed", 5 * SECOND, || async {
        let spec = api.get(lease).await.unwrap().spec.unwrap();
        spec.acquire_time != spec.renew_time
    })
    .await
    .unwrap();
    assert!(!b.leads());
    (a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_changes_hands() {
    let plane = ControlPlane::start().await.unwrap();
    let config = config(&plane).await;
    tokio::join!(
        given_back_it_is_taken_at_once(&config),
        a_dead_leader_is_followed_when_its_lease_runs_out(&config),
        a_lost_lease_makes_a_standby(&config),
        a_wrong_clock_changes_nothing(&config, "skew-behind", SignedDuration::from_hours(-1)),
        a_wrong_clock_changes_nothing(&config, "skew-ahead", SignedDuration::from_hours(1)),
    );
}

async fn given_back_it_is_taken_at_once(config: &Config) {
    let (mut a, b) = pair(config, "given-back").await;
    let asked = Instant::now();
    a.release().await;
    assert_eq!(a.authority(), Authority::Standby);
    assert!(!a.leadership.is_valid());
    wait_until("B to lead", 2 * SECOND, || async { b.leads() }).await.unwrap();
    assert!(asked.elapsed() < 2 * SECOND, "{:?}", asked.elapsed());
    assert!(b.leadership.is_valid());
    let spec = leases(config).get("given-back").await.unwrap().spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("b"), Some(1)));
}

async fn a_dead_leader_is_followed_when_its_lease_runs_out(config: &Config) {
    let (mut a, b) = pair(config, "killed").await;
    a.kill();
    let killed = Instant::now();
    wait_until("B to lead", DURATION + 2 * SECOND, || async { b.leads() }).await.unwrap();
    // The last renewal may be as old as the retry period, and B has seen it a moment later.
    assert!(killed.elapsed() > DURATION - RETRY - SECOND / 2, "too early: {:?}", killed.elapsed());
}

async fn a_lost_lease_makes_a_standby(config: &Config) {
    let a = Candidate::start(config, "lost", "a");
    wait_until("A to lead", 5 * SECOND, || async { a.leads() }).await.unwrap();
    // Somebody takes it by force: A's next write names a version that is no more.
    let theirs = serde_json::json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3}});
    let api = leases(config);
    api.patch("lost", &PatchParams::default(), &Patch::Merge(&theirs)).await.unwrap();
    wait_until("A to stand by", RETRY + SECOND, || async { a.authority() == Authority::Standby })
        .await
        .unwrap();
    assert!(!a.leadership.is_valid());
    let holder = api.get("lost").await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder.as_deref(), Some("somebody"), "A has not overwritten it");
    wait_until("A to lead again", 3 * SECOND + 2 * SECOND, || async { a.leads() }).await.unwrap();
}

async fn a_wrong_clock_changes_nothing(config: &Config, name: &str, skew: SignedDuration) {
    let theirs = MicroTime(Timestamp::now() + skew);
    let lease = Object {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some("somebody".into()),
            lease_duration_seconds: Some(4),
            acquire_time: Some(theirs.clone()),
            renew_time: Some(theirs),
            ..LeaseSpec::default()
        }),
    };
    leases(config).create(&PostParams::default(), &lease).await.unwrap();
    let started = Instant::now();
    let a = Candidate::start(config, name, "a");
    wait_until("A to lead", 4 * SECOND + 2 * SECOND, || async { a.leads() }).await.unwrap();
    assert!(started.elapsed() >= 4 * SECOND, "too early: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_the_leader_is_uncertain_and_nobody_else_leads() {
    let plane = ControlPlane::start().await.unwrap();
    let config = config(&plane).await;
    let (a, b) = pair(&config, "outage").await;

    plane.stop_api_server().await.unwrap();
    wait_until("A to be uncertain", RENEW_DEADLINE + 2 * SECOND, || async {
        a.authority() == Authority::Uncertain
    })
    .await
    .unwrap();
    assert!(!a.leadership.is_valid(), "no status is written now");
    assert_eq!(b.authority(), Authority::Standby);
    plane.start_api_server().await.unwrap();
    decided(&a, &b).await;
    assert!(a.leads(), "the holder comes first");

    // The same when it hangs instead of being away.
    plane.pause_api_server().unwrap();
    wait_until("A to be uncertain", RENEW_DEADLINE + 2 * SECOND, || async {
        a.authority() == Authority::Uncertain
    })
    .await
    .unwrap();
    assert_eq!(b.authority(), Authority::Standby);
    plane.resume_api_server().unwrap();
    decided(&a, &b).await;
}

/// Waits until exactly one of the two leads; they never both do.
async fn decided(a: &Candidate, b: &Candidate) {
    wait_until("one of them to lead", DURATION + 10 * SECOND, || async {
        let leading = [a, b].map(|candidate| candidate.leadership.is_valid());
        assert_ne!(leading, [true, true]);
        leading != [false, false] && a.authority() != Authority::Uncertain
    })
    .await
    .unwrap();
}
