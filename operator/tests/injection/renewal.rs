//! Certificates are renewed while pods are created.

use crate::world::{CONFIGURATION, SECOND, World, client, pod, secured};
use doctorkafka_operator::injection::{
    Counters, Outcome, PullPolicy, RunAs, SidecarSettings, Source, Webhook, WebhookSettings,
    certificates::{KeeperSettings, Timing},
};
use doctorkafka_testbed::wait_until;
use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Certificates are renewed every few seconds while pods are created and clients connect anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_loses_no_pod() {
    let world = World::start().await;
    world.namespace("kafka", &["doctorkafka.dev/inject=true"]).await;
    world.policy("kafka", "prod", secured()).await;
    let operator = client(&world.operator_kubeconfig).await;
    let cancel = CancellationToken::new();
    let mut addresses = Vec::new();
    let mut served = Vec::new();
    let counters = Arc::new(Counters::default());
    // Two replicas with one Secret.
    for _ in 0..2 {
        let webhook = Webhook::start(&operator, &[], settings(), counters.clone()).await.unwrap();
        addresses.push(webhook.address().unwrap());
        let cancel = cancel.clone();
        served.push(tokio::spawn(async move { webhook.serve(&cancel).await }));
    }
    // A call that fails is an error here, instead of a pod without a sidecar.
    world.call(&addresses, "Fail").await;
    // The first is called about labelled pods, the second about others in the namespace.
    let both = || async {
        let labelled = world.would_inject("kafka", pod("statefulset", "kafka", true)).await;
        let unlabelled = world.would_inject("kafka", pod("statefulset", "kafka", false)).await;
        labelled.and_then(|labelled| Ok(labelled && unlabelled?))
    };
    wait_until("the first injections", 60 * SECOND, || async { both().await == Ok(true) }).await.unwrap();

    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "doctorkafka");
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(world.client.clone());
    let mut certificates = BTreeSet::new();
    let mut pods = 0;
    let deadline = Instant::now() + 120 * SECOND;
    while certificates.len() < 4 {
        assert!(Instant::now() < deadline, "only {} certificates", certificates.len());
        assert_eq!(both().await, Ok(true), "after {pods} pods and {} certificates", certificates.len());
        pods += 2;
        let secret = secrets.get("doctorkafka-injection").await.unwrap().data.unwrap();
        certificates.insert(secret["tls.crt"].0.clone());
        let configuration = webhooks.get(CONFIGURATION).await.unwrap();
        let bundle = configuration.webhooks.unwrap()[0].client_config.ca_bundle.clone().unwrap().0;
        for address in &addresses {
            handshake(*address, &bundle).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    }
    // All were dry runs, of which only what cannot be read would count.
    let counted: u64 = Outcome::ALL.into_iter().map(|outcome| counters.outcome(outcome)).sum();
    assert_eq!(counted, 0, "after {pods} pods that were not to be");
    assert!(counters.expiry().is_some());

    // Somebody takes the authorities away: they are put back.
    let paths =
        [0, 1].map(|n| json!({"op": "remove", "path": format!("/webhooks/{n}/clientConfig/caBundle")}));
    let patch: json_patch::Patch = serde_json::from_value(json!(paths)).unwrap();
    webhooks.patch(CONFIGURATION, &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
    wait_until("injections again", 60 * SECOND, || async { both().await == Ok(true) }).await.unwrap();
    cancel.cancel();
    for task in served {
        task.await.unwrap().unwrap();
    }
}

/// A certificate holds for an hour and is renewed three seconds after it was issued.
fn settings() -> WebhookSettings {
    let timing = Timing {
        lifetime: 3600 * SECOND,
        renew_before: 3597 * SECOND,
        settle: SECOND,
        poll: Duration::from_millis(200),
    };
    let kept = KeeperSettings {
        namespace: "doctorkafka".into(),
        secret: "doctorkafka-injection".into(),
        webhook: CONFIGURATION.into(),
        names: vec!["127.0.0.1".into(), "doctorkafka-injection.doctorkafka.svc".into()],
        timing,
    };
    let sidecar = SidecarSettings {
        image: "doctorkafka/sidecar:test".into(),
        pull_policy: PullPolicy::Never,
        cpu_request: "10m".parse().unwrap(),
        memory_request: "24Mi".parse().unwrap(),
        memory_limit: "64Mi".parse().unwrap(),
        run_as: RunAs::Auto,
    };
    WebhookSettings { listen: "127.0.0.1:0".into(), source: Source::Kept(kept), sidecar }
}

/// Connects as an API server does that trusts these authorities.
async fn handshake(address: SocketAddr, bundle: &[u8]) -> Result<(), std::io::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("doctorkafka-injection.doctorkafka.svc").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop)
}
