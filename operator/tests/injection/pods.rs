//! Which pods get a sidecar, and what becomes of them.

use crate::world::{SECOND, World, env, fixture, kubectl, local, pod, secured, sidecar};
use doctorkafka_testbed::wait_until;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labelled_pods_are_created_with_a_sidecar_and_others_as_they_are() {
    let world = World::start().await;
    let (listen, api) = (local(), local());
    world.call(&[listen], "Ignore").await;
    let operator = world.operator(listen, api);
    world.namespace("kafka", &["pod-security.kubernetes.io/enforce=restricted"]).await;
    world.namespace("events", &[]).await;
    world.namespace("shop", &["doctorkafka.dev/inject=true"]).await;
    world.namespace("empty", &[]).await;
    world.policy("kafka", "prod", secured()).await;
    for namespace in ["events", "shop"] {
        world.policy(namespace, "plain", json!({"kafka": {"bootstrapServers": "127.0.0.1:1"}})).await;
    }
    wait_until("the first injection", 90 * SECOND, || async {
        let mut last = true;
        for namespace in ["kafka", "events", "shop"] {
            last &= world.would_inject(namespace, pod("statefulset", namespace, true)).await == Ok(true);
        }
        last
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", std::fs::read_to_string(operator.log()).unwrap()));

    // Under Pod Security `restricted`, enforced, as they are and with a sidecar.
    for (name, id) in [("strimzi-broker", "4"), ("bitnami-broker", "auto"), ("statefulset", "auto")] {
        let created = world.create("kafka", pod(name, "kafka", true)).await;
        let injected = sidecar(&created).unwrap_or_else(|| panic!("{name} has no sidecar"));
        assert_eq!(injected.restart_policy.as_deref(), Some("Always"), "{name}: it must be a native sidecar");
        assert_eq!(env(injected, "BROKER_ID").as_deref(), Some(id), "{name}");
        assert_eq!(env(injected, "SASL_USERNAME").as_deref(), Some("doctor"));
        assert_eq!(created.spec.as_ref().unwrap().share_process_namespace, Some(true));
        let sent: Pod = serde_json::from_value(fixture(name)).unwrap();
        assert_eq!(strimzi(&created), strimzi(&sent), "{name}: a change would roll the pod");
        let resources =
            |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].resources.clone().unwrap().limits;
        assert_eq!(resources(&created), resources(&sent), "{name}: the heap is made from the limit");
        assert_eq!(created.status.unwrap().qos_class, with_class(&sent));
    }

    // A controller that recreates pods by their revision, as Strimzi's does, finds nothing to do.
    let pods: Vec<_> = (10..13)
        .map(|id| with_name(pod("strimzi-broker", "kafka", true), &format!("prod-brokers-{id}")))
        .collect();
    assert_eq!(reconcile(&world, &pods).await, 3);
    for _ in 0..3 {
        assert_eq!(reconcile(&world, &pods).await, 0, "the sidecar is no reason to roll");
    }
    let changed: Vec<_> = pods
        .iter()
        .map(|pod| {
            let mut pod = pod.clone();
            pod["metadata"]["annotations"]["doctorkafka.dev/kafka-user"] = json!("doctor-sidecar");
            pod
        })
        .collect();
    assert_eq!(reconcile(&world, &changed).await, 3, "a change of the template rolls once");
    assert_eq!(reconcile(&world, &changed).await, 0);
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "kafka");
    let rolled = pods.get("prod-brokers-11").await.unwrap();
    assert_eq!(env(sidecar(&rolled).unwrap(), "SASL_USERNAME").as_deref(), Some("doctor-sidecar"));

    // Koperator's are never restarted in place, and take the default service account's token.
    let created = world.create("events", pod("koperator-broker", "events", true)).await;
    let injected = sidecar(&created).unwrap();
    assert_eq!(env(injected, "BROKER_ID").as_deref(), Some("102"));
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mounted = |container: &Container| -> Vec<String> {
        let mounts = container.volume_mounts.iter().flatten();
        mounts.filter(|mount| mount.mount_path == token).map(|mount| mount.name.clone()).collect()
    };
    assert_eq!(mounted(injected), ["doctorkafka-no-token"], "the sidecar has no token");
    assert!(mounted(&created.spec.as_ref().unwrap().containers[0])[0].starts_with("kube-api-access"));

    // Who does not ask gets nothing; in a namespace that asks, only brokers do, unless they say no.
    let unlabelled =
        world.create("kafka", with_name(pod("strimzi-broker", "kafka", false), "prod-brokers-5")).await;
    assert!(sidecar(&unlabelled).is_none() && unlabelled.spec.unwrap().share_process_namespace.is_none());
    assert_eq!(world.would_inject("shop", pod("strimzi-broker", "shop", false)).await, Ok(true));
    let web = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
    assert_eq!(world.would_inject("shop", web).await, Ok(false));
    let mut no = pod("strimzi-broker", "shop", true);
    no["metadata"]["labels"]["doctorkafka.dev/inject"] = json!("false");
    assert_eq!(world.would_inject("shop", no).await, Ok(false));
    for other in
        ["strimzi-controller", "strimzi-cruise-control", "strimzi-entity-operator", "koperator-controller"]
    {
        let mut object = pod(other, "events", true);
        object["spec"]["serviceAccountName"] = json!("default");
        assert!(sidecar(&world.create("events", object).await).is_none(), "{other}");
    }

    // Whoever creates a pod is told why it got none.
    let file = world.folder.path().join("pod.json");
    std::fs::write(&file, pod("statefulset", "empty", true).to_string()).unwrap();
    let said = kubectl(&world.plane, &["create", "-f", file.to_str().unwrap()]).await;
    assert!(
        said.contains("Warning: doctorkafka: no sidecar injected: no KafkaHealthPolicy in empty"),
        "{said}"
    );

    let page = wait_until("the certificate's end to be shown", 60 * SECOND, || async {
        let page = tokio::task::spawn_blocking(move || {
            let mut answer = ureq::get(format!("http://{api}/metrics")).call().unwrap();
            answer.body_mut().read_to_string().unwrap()
        });
        let page = page.await.unwrap();
        page.contains("doctorkafka_injection_certificate_expiry_timestamp_seconds 1").then_some(page)
    })
    .await
    .unwrap();
    let count = |outcome: &str| -> f64 {
        let series = format!("doctorkafka_injection_reviews_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    assert!(count("injected") >= 4.0 && count("not_a_broker") >= 4.0 && count("no_policy") >= 1.0, "{page}");
    assert_eq!(count("opted_out"), 0.0, "the API server asks about no pod that says no");

    // A webhook that is away stops no pod.
    operator.terminate().await.unwrap();
    let before = Instant::now();
    let left = world.create("kafka", with_name(pod("strimzi-broker", "kafka", true), "prod-brokers-6")).await;
    assert!(sidecar(&left).is_none());
    assert!(before.elapsed() < 30 * SECOND, "{:?}", before.elapsed());
}

fn with_name(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// One turn of a stand-in for Strimzi's controller: it makes pods that are missing, and makes those anew whose annotation
/// `strimzi.io/revision` is not that of the pod it wants. Says how many it made.
async fn reconcile(world: &World, desired: &[Value]) -> usize {
    let api: Api<Pod> = Api::namespaced(world.client.clone(), "kafka");
    let mut made = 0;
    for desired in desired {
        let mut hasher = DefaultHasher::new();
        desired.to_string().hash(&mut hasher);
        let revision = format!("{:08x}", hasher.finish() as u32);
        let mut desired = desired.clone();
        desired["metadata"]["annotations"]["strimzi.io/revision"] = json!(revision);
        let name = desired["metadata"]["name"].as_str().unwrap().to_owned();
        if let Some(live) = api.get_opt(&name).await.unwrap() {
            let annotations = live.metadata.annotations.unwrap_or_default();
            if annotations.get("strimzi.io/revision") == Some(&revision) {
                continue;
            }
            // Without a node nobody has to stop it first.
            api.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
            let gone = || async { api.get_opt(&name).await.unwrap().is_none() };
            wait_until("the pod to be gone", 30 * SECOND, gone).await.unwrap();
        }
        assert!(sidecar(&world.create("kafka", desired).await).is_some(), "{name}");
        made += 1;
    }
    made
}

/// The quality of service that a pod has without a sidecar.
fn with_class(sent: &Pod) -> Option<String> {
    let containers = &sent.spec.as_ref().unwrap().containers;
    let guaranteed = containers.iter().all(|container| {
        let resources = container.resources.as_ref().unwrap();
        resources.limits.as_ref().is_some_and(|limits| limits.contains_key("cpu"))
            && resources.limits == resources.requests
    });
    Some(if guaranteed { "Guaranteed" } else { "Burstable" }.to_owned())
}

/// Annotations that Strimzi's operator compares with what it wants.
fn strimzi(pod: &Pod) -> Vec<(String, String)> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.into_iter().filter(|(key, _)| key.starts_with("strimzi.io/")).collect()
}
