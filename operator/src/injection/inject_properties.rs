//! Pods that no distribution makes.

use super::{
    inject_tests::{FIXTURES, fixture, injected, mounts, outcome},
    names,
    refusal::Outcome,
};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::Value;

/// Any JSON, with the words that injection looks for.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("kafka".to_owned()),
        Just("true".to_owned()),
        Just("auto".to_owned()),
        Just("1001:0".to_owned()),
        Just("ordinal+1".to_owned()),
        Just("controller".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "metadata",
                "spec",
                "name",
                "labels",
                "annotations",
                "containers",
                "initContainers",
                "volumes",
                "volumeMounts",
                "mountPath",
                "env",
                "value",
                "ports",
                "containerPort",
                "resources",
                "limits",
                "requests",
                "cpu",
                "memory",
                "securityContext",
                "runAsUser",
                "image",
                "hostNetwork",
            ])
            .prop_map(str::to_owned),
            "[a-z~/.]{0,8}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Where in a pod something is put.
const PLACES: [&str; 16] = [
    "/metadata",
    "/metadata/labels",
    "/metadata/annotations",
    "/metadata/name",
    "/spec",
    "/spec/containers",
    "/spec/containers/0",
    "/spec/containers/0/env",
    "/spec/containers/0/ports",
    "/spec/containers/0/resources",
    "/spec/containers/0/volumeMounts",
    "/spec/containers/0/securityContext",
    "/spec/initContainers",
    "/spec/volumes",
    "/spec/securityContext",
    "/spec/resources",
];

/// Annotations and labels with absurd values.
fn marks() -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    let place = prop::sample::select(vec!["labels", "annotations"]);
    let key = prop::sample::select(vec![
        names::INJECT,
        names::POLICY,
        names::CONTAINER,
        names::BROKER_ID,
        names::RUN_AS,
        names::IMAGE,
        names::KAFKA_USER,
        names::SCRAPE,
        "kafka_cr",
        "brokerId",
        "strimzi.io/cluster",
        "strimzi.io/broker-role",
        "apps.kubernetes.io/pod-index",
        "app.kubernetes.io/name",
        "app.kubernetes.io/part-of",
        "openshift.io/scc",
    ]);
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("kafka".to_owned()),
        Just("prod".to_owned()),
        Just("99999999999".to_owned()),
        ".{0,20}",
    ];
    prop::collection::vec((place, key, value), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_pod_is_too_absurd(
        name in prop::sample::select(FIXTURES.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
        place in prop::sample::select(PLACES.to_vec()),
        thing in anything(),
        marks in marks(),
        replace in any::<bool>(),
    ) {
        let mut object = fixture(name);
        if replace && let Some(there) = object.pointer_mut(place) {
            *there = thing.clone();
        }
        for (map, key, value) in marks {
            if let Some(map) = object.pointer_mut(&format!("/metadata/{map}")).and_then(Value::as_object_mut) {
                map.insert(key.to_owned(), Value::from(value));
            }
        }
        for object in [&object, &thing] {
            if let Ok(injection) = injected(object) {
                let mut patched = object.clone();
                json_patch::patch(&mut patched, &injection.patch).unwrap();
                let pod: Pod = serde_json::from_value(patched.clone()).unwrap();
                let spec = pod.spec.unwrap();
                let sidecars = spec.init_containers.unwrap().into_iter().filter(|c| c.name == names::SIDECAR);
                let sidecar: Vec<_> = sidecars.collect();
                prop_assert_eq!(sidecar.len(), 1);
                let mut paths = mounts(&sidecar[0]);
                paths.sort_unstable();
                let all = paths.len();
                paths.dedup();
                prop_assert_eq!(paths.len(), all, "no path is mounted twice");
                prop_assert_eq!(outcome(&patched), Outcome::AlreadyInjected);
            }
        }
    }
}
