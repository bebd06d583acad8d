//! Pods of every distribution, and what may be odd about them.

use super::{inject, names, policy::tests::policy, *};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

pub(super) const FIXTURES: &[(&str, &str)] = &[
    ("strimzi-broker", include_str!("../../tests/fixtures/pods/strimzi-broker.yaml")),
    ("strimzi-controller", include_str!("../../tests/fixtures/pods/strimzi-controller.yaml")),
    ("strimzi-cruise-control", include_str!("../../tests/fixtures/pods/strimzi-cruise-control.yaml")),
    ("strimzi-entity-operator", include_str!("../../tests/fixtures/pods/strimzi-entity-operator.yaml")),
    ("koperator-broker", include_str!("../../tests/fixtures/pods/koperator-broker.yaml")),
    ("koperator-controller", include_str!("../../tests/fixtures/pods/koperator-controller.yaml")),
    ("bitnami-broker", include_str!("../../tests/fixtures/pods/bitnami-broker.yaml")),
    ("statefulset", include_str!("../../tests/fixtures/pods/statefulset.yaml")),
];

const BROKERS: [&str; 4] = ["strimzi-broker", "koperator-broker", "bitnami-broker", "statefulset"];

pub(super) fn fixture(name: &str) -> Value {
    let text = FIXTURES.iter().find(|(fixture, _)| *fixture == name).unwrap().1;
    serde_saphyr::from_str(text).unwrap()
}

/// The only policy of its namespace, with TLS and a user.
fn policies() -> Vec<PolicyFacts> {
    vec![policy(
        "prod",
        json!({"kafka": {
            "bootstrapServers": "prod-kafka-bootstrap:9093",
            "tls": {"trustedCertificates": [{"secretName": "prod-cluster-ca-cert", "certificate": "ca.crt"}]},
            "authentication": {"scramSha512": {
                "username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"},
            }},
        }}),
    )]
}

pub(super) fn injected(object: &Value) -> Result<Injection, NotInjected> {
    inject(object, "kafka", &policies(), &SidecarSettings::for_tests())
}

pub(super) fn outcome(object: &Value) -> Outcome {
    injected(object).map_or_else(|refusal| refusal.outcome, |_| Outcome::Injected)
}

fn patched(object: &Value) -> Value {
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &injected(object).unwrap().patch).unwrap();
    patched
}

fn with(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut object = fixture(name);
    change(&mut object);
    object
}

fn annotated(name: &str, annotation: &str, value: &str) -> Value {
    with(name, |object| object["metadata"]["annotations"][annotation] = json!(value))
}

fn sidecar(object: &Value) -> Container {
    sidecar_with(object, &SidecarSettings::for_tests())
}

fn sidecar_with(object: &Value, settings: &SidecarSettings) -> Container {
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &inject(object, "kafka", &policies(), settings).unwrap().patch).unwrap();
    let pod: Pod = serde_json::from_value(patched).unwrap();
    pod.spec.unwrap().init_containers.unwrap().into_iter().find(|c| c.name == names::SIDECAR).unwrap()
}

fn env(container: &Container, name: &str) -> Option<String> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.clone()
}

pub(super) fn mounts(container: &Container) -> Vec<&str> {
    container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect()
}

#[test]
fn every_broker_gets_a_native_sidecar_that_restricted_allows() {
    for name in BROKERS {
        let object = fixture(name);
        let injection = injected(&object).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let expected = usize::from(name == "koperator-broker");
        assert_eq!(injection.warnings.len(), expected, "{name}: {:?}", injection.warnings);
        let container = sidecar(&object);
        assert_eq!(container.restart_policy.as_deref(), Some("Always"), "{name}");
        assert_eq!(container.image.as_deref(), Some("doctorkafka/sidecar:0.1.0"));
        assert!(container.readiness_probe.is_none() && container.liveness_probe.is_none());
        assert!(container.startup_probe.is_none() && container.lifecycle.is_none());
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.run_as_non_root, Some(true), "{name}");
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.capabilities.unwrap().drop.unwrap(), ["ALL"]);
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert!(mounts(&container).contains(&names::TOKEN_PATH), "{name}: a token would be mounted there");
        assert_eq!(env(&container, "KAFKA_BROKERS").as_deref(), Some("prod-kafka-bootstrap:9093"));
        assert_eq!(env(&container, "SASL_USERNAME").as_deref(), Some("doctor"));
        let text = serde_json::to_string(&container).unwrap().to_lowercase();
        assert!(!text.contains("java"), "{name}: Strimzi's liveness probe looks for that word");
    }
}

#[test]
fn nothing_else_of_the_pod_is_changed() {
    for name in BROKERS {
        let object = fixture(name);
        let mut rest = patched(&object);
        assert_eq!(rest["spec"]["shareProcessNamespace"], json!(true));
        assert_eq!(rest["metadata"]["annotations"][names::INJECTED], json!(env!("CARGO_PKG_VERSION")));
        // What was added, taken away again.
        let spec = rest["spec"].as_object_mut().unwrap();
        spec.remove("shareProcessNamespace");
        for (list, added) in [
            ("initContainers", [names::SIDECAR].as_slice()),
            ("volumes", &[names::NO_TOKEN_VOLUME, names::CREDENTIALS_VOLUME]),
        ] {
            let items = spec[list].as_array_mut().unwrap();
            let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
            assert!(
                names.ends_with(&added.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
                "{names:?}"
            );
            let added = items.split_off(items.len() - added.len());
            // `kubectl drain` and autoscalers would take the pod to have local data.
            assert!(added.iter().all(|item| item["emptyDir"].is_null()), "{added:?}");
            if items.is_empty() {
                spec.remove(list);
            }
        }
        let annotations = rest["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove(names::INJECTED);
        if annotations.is_empty() {
            rest["metadata"].as_object_mut().unwrap().remove("annotations");
        }
        assert_eq!(rest, object, "{name}");
    }
}

#[test]
fn the_broker_s_id_comes_from_where_its_distribution_has_it() {
    let strimzi = sidecar(&fixture("strimzi-broker"));
    assert_eq!(env(&strimzi, "BROKER_ID").as_deref(), Some("4"));
    let koperator = sidecar(&fixture("koperator-broker"));
    assert_eq!(env(&koperator, "BROKER_ID").as_deref(), Some("102"));
    // KAFKA_MIN_ID and meta.properties decide: the sidecar looks for itself.
    let bitnami = sidecar(&fixture("bitnami-broker"));
    assert_eq!(env(&bitnami, "BROKER_ID").as_deref(), Some("auto"));
    assert_eq!(env(&bitnami, "DATA_DIRS").as_deref(), Some("/bitnami/kafka"));
    let plain = sidecar(&fixture("statefulset"));
    assert_eq!(env(&plain, "BROKER_ID").as_deref(), Some("auto"));
    let told = with("statefulset", |object| {
        object["spec"]["containers"][0]["env"] = json!([{"name": "KAFKA_NODE_ID", "value": "12"}]);
    });
    assert_eq!(env(&sidecar(&told), "BROKER_ID").as_deref(), Some("12"));
    for (asked, id) in [("7", "7"), ("auto", "auto"), ("ordinal", "2"), ("ordinal+100", "102")] {
        let object = annotated("statefulset", names::BROKER_ID, asked);
        assert_eq!(env(&sidecar(&object), "BROKER_ID").as_deref(), Some(id), "{asked}");
    }
    for asked in ["", "-1", "ordinal+", "ordinal-1", "ordinal+2147483647", "first"] {
        assert_eq!(
            outcome(&annotated("statefulset", names::BROKER_ID, asked)),
            Outcome::Unsuitable,
            "{asked}"
        );
    }
}

#[test]
fn the_sidecar_is_the_broker_s_user() {
    let user = |object: &Value| {
        let context = sidecar(object).security_context.unwrap();
        (context.run_as_user, context.run_as_group)
    };
    assert_eq!(user(&fixture("strimzi-broker")), (Some(1001), Some(0)), "by Strimzi's image");
    assert_eq!(user(&fixture("bitnami-broker")), (Some(1001), Some(1001)), "by the container");
    assert_eq!(user(&fixture("statefulset")), (Some(1000), Some(1000)), "by the official image");
    assert_eq!(user(&fixture("koperator-broker")), (Some(65_532), Some(65_532)), "nobody says");
    assert_eq!(user(&annotated("koperator-broker", names::RUN_AS, "1000:0")), (Some(1000), Some(0)));
    assert_eq!(user(&annotated("strimzi-broker", names::RUN_AS, "none")), (None, None));
    assert_eq!(outcome(&annotated("strimzi-broker", names::RUN_AS, "kafka")), Outcome::Unsuitable);
    let of_pod =
        with("strimzi-broker", |object| object["spec"]["securityContext"]["runAsUser"] = json!(2000));
    assert_eq!(user(&of_pod), (Some(2000), None));
    let openshift = annotated("strimzi-broker", "openshift.io/scc", "restricted-v2");
    assert_eq!(user(&openshift), (None, None), "the platform's range decides");

    let root = with("statefulset", |object| {
        object["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    });
    assert_eq!(sidecar(&root).security_context.unwrap().run_as_non_root, Some(false));
    let unknown = sidecar(&fixture("koperator-broker"));
    assert_eq!(env(&unknown, "PROBE").as_deref(), Some("off"), "no listener is guessed");
}

#[test]
fn volumes_with_data_are_mounted_read_only_where_the_broker_has_them() {
    for (name, paths) in [
        ("strimzi-broker", ["/var/lib/kafka/data-0", "/var/lib/kafka/data-1"].as_slice()),
        ("koperator-broker", &["/kafka-logs", "/kafka-logs2"]),
        ("bitnami-broker", &["/bitnami/kafka"]),
        ("statefulset", &["/var/lib/kafka/data"]),
    ] {
        let container = sidecar(&fixture(name));
        let own = [names::TOKEN_PATH, names::CREDENTIALS_PATH];
        let data: Vec<_> = mounts(&container).into_iter().filter(|path| !own.contains(path)).collect();
        assert_eq!(data, paths, "{name}");
        assert!(container.volume_mounts.iter().flatten().all(|mount| mount.read_only == Some(true)));
    }
    let odd = with("statefulset", |object| {
        let mounts = &mut object["spec"]["containers"][0]["volumeMounts"];
        *mounts = json!([
            {"name": "data", "mountPath": "/"}, {"name": "data", "mountPath": "/usr/local/bin"},
            {"name": "data", "mountPath": "/a,b"}, {"name": "data", "mountPath": "/x", "subPathExpr": "$(POD)"},
            {"name": "data", "mountPath": "/ok", "subPath": "kafka"}, {"name": "data", "mountPath": "/ok"},
        ]);
    });
    let container = sidecar(&odd);
    let mounts: Vec<_> =
        container.volume_mounts.iter().flatten().filter(|mount| mount.name == "data").collect();
    assert_eq!(mounts.len(), 1);
    assert_eq!((mounts[0].mount_path.as_str(), mounts[0].sub_path.as_deref()), ("/ok", Some("kafka")));
}

#[test]
fn the_pod_s_class_of_service_stays_what_it_was() {
    let resources = |object: &Value| sidecar(object).resources.map(|r| serde_json::to_value(r).unwrap());
    assert_eq!(
        resources(&fixture("strimzi-broker")),
        Some(json!({"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "64Mi"}}))
    );
    // Guaranteed: limits, and requests equal to them.
    let all = json!({"cpu": "100m", "memory": "64Mi"});
    assert_eq!(resources(&fixture("statefulset")), Some(json!({"requests": all, "limits": all})));
    // Every container has a limit of CPU, so that a quota may ask for one.
    let burstable = with("statefulset", |object| {
        object["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("500m");
    });
    assert_eq!(
        resources(&burstable),
        Some(json!({"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": all}))
    );
    let written_otherwise = with("statefulset", |object| {
        object["spec"]["containers"][0]["resources"]["requests"] =
            json!({"cpu": "1000m", "memory": "2048Mi"});
    });
    assert_eq!(resources(&written_otherwise), Some(json!({"requests": all, "limits": all})));
    // An API server refuses a request above the limit.
    let settings = SidecarSettings { cpu_request: "200m".parse().unwrap(), ..SidecarSettings::for_tests() };
    let greedy = sidecar_with(&burstable, &settings).resources.map(|r| serde_json::to_value(r).unwrap());
    let more = json!({"cpu": "200m", "memory": "64Mi"});
    assert_eq!(greedy, Some(json!({"requests": {"cpu": "200m", "memory": "24Mi"}, "limits": more})));
    let whole = with("statefulset", |object| object["spec"]["resources"] = json!({"limits": {"cpu": "2"}}));
    assert_eq!(resources(&whole), None, "the pod's own are all given away");
}

#[test]
fn the_port_is_free_and_the_exporter_is_read() {
    let port = |object: &Value| sidecar(object).ports.map(|ports| ports[0].container_port);
    assert_eq!(port(&fixture("strimzi-broker")), Some(7070));
    assert_eq!(port(&fixture("statefulset")), Some(7071), "7070 is taken");
    assert_eq!(env(&sidecar(&fixture("statefulset")), "LISTEN_ADDRESS").as_deref(), Some("0.0.0.0:7071"));
    let on_host = with("statefulset", |object| object["spec"]["hostNetwork"] = json!(true));
    assert_eq!((port(&on_host), env(&sidecar(&on_host), "LISTEN_ADDRESS")), (None, Some("off".into())));

    let page = env(&sidecar(&fixture("strimzi-broker")), "SCRAPE_URL");
    assert_eq!(page.as_deref(), Some("http://127.0.0.1:9404/metrics"));
    let told = annotated("koperator-broker", names::SCRAPE, "http://127.0.0.1:9020/");
    assert_eq!(env(&sidecar(&told), "SCRAPE_URL").as_deref(), Some("http://127.0.0.1:9020/"));
    assert_eq!(outcome(&annotated("koperator-broker", names::SCRAPE, "https://x/")), Outcome::Unsuitable);
}

#[test]
fn what_is_no_broker_is_left_alone_without_a_word() {
    for name in
        ["strimzi-controller", "strimzi-cruise-control", "strimzi-entity-operator", "koperator-controller"]
    {
        let refusal = injected(&fixture(name)).unwrap_err();
        assert_eq!(refusal.outcome, Outcome::NotABroker, "{name}: {refusal}");
        assert!(refusal.expected, "{name}");
    }
    let controller = with("statefulset", |object| {
        object["spec"]["containers"][0]["env"] =
            json!([{"name": "KAFKA_PROCESS_ROLES", "value": "controller"}]);
    });
    assert_eq!(outcome(&controller), Outcome::NotABroker);
    // In a namespace with the label, among other things.
    let web =
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "nginx", "image": "nginx"}]}});
    assert!(injected(&web).unwrap_err().expected);
    let unlabelled = with("strimzi-broker", |object| {
        object["metadata"]["labels"].as_object_mut().unwrap().remove(names::INJECT);
    });
    assert_eq!(outcome(&unlabelled), Outcome::Injected, "only a namespace with the label sends such a pod");
}

#[test]
fn a_pod_is_injected_once() {
    for name in BROKERS {
        assert_eq!(outcome(&patched(&fixture(name))), Outcome::AlreadyInjected, "{name}");
    }
    for by_hand in [
        json!({"name": "doctor", "image": "registry.example:5000/doctorkafka/sidecar@sha256:0123"}),
        json!({"name": "doctor", "image": "x", "command": ["/usr/local/bin/doctorkafka-sidecar"]}),
        json!({"name": "doctorkafka-sidecar", "image": "x"}),
    ] {
        let object = with("strimzi-broker", |object| {
            object["spec"]["containers"].as_array_mut().unwrap().push(by_hand.clone());
        });
        assert_eq!(outcome(&object), Outcome::AlreadyInjected, "{by_hand}");
    }
}

#[test]
fn a_pod_may_say_no() {
    for place in ["labels", "annotations"] {
        for no in ["false", "False", "no", ""] {
            let object =
                with("strimzi-broker", |object| object["metadata"][place][names::INJECT] = json!(no));
            assert_eq!(outcome(&object), Outcome::OptedOut, "{place} {no:?}");
        }
    }
}

#[test]
fn a_pod_that_would_be_refused_with_a_sidecar_is_left_as_it_is() {
    for (field, value) in [
        ("hostPID", json!(true)),
        ("shareProcessNamespace", json!(false)),
        ("os", json!({"name": "windows"})),
        ("volumes", json!([{"name": names::CREDENTIALS_VOLUME}])),
    ] {
        let refusal = injected(&with("statefulset", |object| object["spec"][field] = value)).unwrap_err();
        assert_eq!(refusal.outcome, Outcome::Unsuitable, "{field}");
        assert!(!refusal.expected, "{field}: somebody asked for a sidecar");
    }
    // What a kubelet shows of a static pod must stay as it is.
    assert_eq!(outcome(&annotated("statefulset", names::MIRROR, "0123abcd")), Outcome::Unsuitable);
    let none = inject(&fixture("statefulset"), "kafka", &[], &SidecarSettings::for_tests()).unwrap_err();
    assert_eq!(none.outcome, Outcome::NoPolicy);
    assert_eq!(outcome(&json!({"spec": "nonsense"})), Outcome::Malformed);
}

#[test]
fn the_broker_s_container_is_found_or_asked_for() {
    let two = |first: &str, second: &str| {
        with("statefulset", |object| {
            object["spec"]["containers"] =
                json!([{"name": "proxy", "image": first}, {"name": "main", "image": second}]);
        })
    };
    assert_eq!(outcome(&two("envoy", "apache/kafka:4.3.1")), Outcome::Injected);
    assert_eq!(outcome(&two("kafka-proxy", "kafka")), Outcome::Unsuitable);
    let mut named = two("kafka-proxy", "kafka");
    named["metadata"]["annotations"] = json!({names::CONTAINER: "main"});
    assert_eq!(outcome(&named), Outcome::Injected);
    named["metadata"]["annotations"] = json!({names::CONTAINER: "other"});
    assert_eq!(outcome(&named), Outcome::Unsuitable);
}

#[test]
fn an_image_is_known_by_its_name_without_registry_and_tag() {
    let settings = SidecarSettings {
        image: "registry.example:5000/mirror/sidecar:1".into(),
        ..SidecarSettings::for_tests()
    };
    let by_hand = |image: &str| {
        with("statefulset", |object| {
            let containers = object["spec"]["containers"].as_array_mut().unwrap();
            containers.push(json!({"name": "other", "image": image}));
        })
    };
    for (image, there) in [
        ("mirror/sidecar", true),
        ("localhost/mirror/sidecar:2", true),
        ("other.example/mirror/sidecar@sha256:00", true),
        ("mirror/sidecars", false),
        ("mirror/kafka", false),
        ("", false),
    ] {
        let outcome =
            inject(&by_hand(image), "kafka", &policies(), &settings).map_err(|refusal| refusal.outcome);
        assert_eq!(outcome.err() == Some(Outcome::AlreadyInjected), there, "{image}");
    }
}
