//! From a pod to the patch that gives it a sidecar. Pure: no client, no clock.
//!
//! What is added: a native sidecar, its volumes, a shared process namespace and one annotation. What is never touched:
//! the broker's container and its limits, the pod's security context, labels, anything of `strimzi.io`.

use super::{
    broker::BrokerPod,
    connection::connection,
    names,
    policy::{PolicyFacts, choose},
    refusal::{NotInjected, Outcome},
    settings::SidecarSettings,
    sidecar::sidecar,
};
use json_patch::Patch;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

/// What to do to a pod.
#[derive(Debug, Clone)]
pub struct Injection {
    /// RFC 6902.
    pub patch: Patch,
    /// What whoever creates the pod should know.
    pub warnings: Vec<String>,
}

/// The patch for a pod as it is about to be created in `namespace`, whose policies these are.
///
/// # Errors
/// Why it stays as it is.
pub fn inject(
    object: &Value,
    namespace: &str,
    policies: &[PolicyFacts],
    settings: &SidecarSettings,
) -> Result<Injection, NotInjected> {
    let pod: Pod = serde_json::from_value(object.clone()).map_err(|error| {
        NotInjected::surprising(Outcome::Malformed, format!("the pod cannot be read: {error}"))
    })?;
    is_asked_for(&pod)?;
    is_created_here(&pod)?;
    is_injected(&pod, settings)?;
    let broker = BrokerPod::recognise(&pod)?;
    can_share_processes(&pod)?;
    has_room(&pod)?;
    let policy = choose(policies, namespace, broker.labels, broker.annotations)?;
    let target = policy.target.as_ref().map_err(|error| {
        let message = format!("KafkaHealthPolicy {} cannot be read: {error}", policy.name);
        NotInjected::surprising(Outcome::PolicyUnusable, message)
    })?;
    let user = broker.annotations.get(names::KAFKA_USER);
    let connection =
        connection(target, user.map(String::as_str)).map_err(|refusal| match refusal.outcome {
            Outcome::PolicyUnusable => NotInjected {
                message: format!("KafkaHealthPolicy {}: {}", policy.name, refusal.message),
                ..refusal
            },
            _ => refusal,
        })?;
    let made = sidecar(&broker, connection, settings)?;

    let impossible = |error: serde_json::Error| NotInjected::surprising(Outcome::Failed, error.to_string());
    let mut operations = Vec::new();
    if object.pointer("/metadata/annotations").is_none_or(Value::is_null) {
        operations.push(add("/metadata/annotations", json!({})));
    }
    let marker = format!("/metadata/annotations/{}", names::INJECTED.replace('/', "~1"));
    operations.push(add(&marker, json!(env!("CARGO_PKG_VERSION"))));
    operations.push(add("/spec/shareProcessNamespace", json!(true)));
    let volumes = serde_json::to_value(&made.volumes).map_err(impossible)?;
    append(&mut operations, object, "/spec/volumes", volumes);
    // Last, so that a service mesh's sidecar, which is among them, is there before it and after it.
    let container = serde_json::to_value([&made.container]).map_err(impossible)?;
    append(&mut operations, object, "/spec/initContainers", container);
    let patch: Patch = serde_json::from_value(Value::Array(operations)).map_err(impossible)?;
    check(object, &patch)?;
    Ok(Injection { patch, warnings: made.warnings })
}

fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

/// Adds to a list, which may not be there yet.
fn append(operations: &mut Vec<Value>, object: &Value, path: &str, items: Value) {
    if object.pointer(path).is_none_or(Value::is_null) {
        operations.push(add(path, items));
    } else if let Value::Array(items) = items {
        operations.extend(items.into_iter().map(|item| add(&format!("{path}/-"), item)));
    }
}

/// The patched pod is one that can be read, and no name is there twice: the API server would refuse the pod otherwise.
fn check(object: &Value, patch: &Patch) -> Result<(), NotInjected> {
    let failed = |error: String| {
        NotInjected::surprising(Outcome::Failed, format!("the pod could not be changed as intended: {error}"))
    };
    let mut patched = object.clone();
    json_patch::patch(&mut patched, patch).map_err(|error| failed(error.to_string()))?;
    let pod: Pod = serde_json::from_value(patched).map_err(|error| failed(error.to_string()))?;
    let added = pod.spec.iter().flat_map(all_containers).filter(|container| container.name == names::SIDECAR);
    if added.count() == 1 { Ok(()) } else { Err(failed("no sidecar is in it".to_owned())) }
}

fn all_containers(spec: &k8s_openapi::api::core::v1::PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Whether pod and owner want it. A pod without the label comes from a namespace that has it.
fn is_asked_for(pod: &Pod) -> Result<(), NotInjected> {
    let said = |map: &Option<std::collections::BTreeMap<String, String>>| {
        map.as_ref()
            .and_then(|map| map.get(names::INJECT))
            .map(|value| value.trim().eq_ignore_ascii_case("true"))
    };
    match (said(&pod.metadata.annotations), said(&pod.metadata.labels)) {
        (Some(false), _) | (_, Some(false)) => {
            Err(NotInjected::expected(Outcome::OptedOut, format!("{} is not \"true\"", names::INJECT)))
        }
        _ => Ok(()),
    }
}

/// Whether what the API server keeps of it decides what runs. Of a static pod it keeps a picture only (a mirror pod).
fn is_created_here(pod: &Pod) -> Result<(), NotInjected> {
    let mirrors = |annotations: &std::collections::BTreeMap<_, _>| annotations.contains_key(names::MIRROR);
    if pod.metadata.annotations.as_ref().is_some_and(mirrors) {
        let message = "it is a static pod, which a file on its node decides about; add the sidecar there";
        return Err(NotInjected::surprising(Outcome::Unsuitable, message));
    }
    Ok(())
}

/// Whether a sidecar is there: ours, or one that was added by hand from an image of the same name.
fn is_injected(pod: &Pod, settings: &SidecarSettings) -> Result<(), NotInjected> {
    let ours = repository(&settings.image);
    let there = pod.spec.iter().flat_map(all_containers).any(|container| {
        container.name == names::SIDECAR
            || container.image.as_deref().is_some_and(|image| repository(image) == ours)
            || container.command.iter().flatten().any(|word| word.ends_with("doctorkafka-sidecar"))
    });
    if there {
        Err(NotInjected::expected(Outcome::AlreadyInjected, "there is a sidecar in the pod"))
    } else {
        Ok(())
    }
}

/// An image's name without registry, tag and digest: `registry:5000/doctorkafka/sidecar:1@sha256:..` is
/// `doctorkafka/sidecar`.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let image = match image.rfind(':') {
        Some(colon) if !image.get(colon..).is_some_and(|tag| tag.contains('/')) => {
            image.get(..colon).unwrap_or(image)
        }
        _ => image,
    };
    match image.split_once('/') {
        Some((registry, rest)) if registry.contains(['.', ':']) || registry == "localhost" => rest,
        _ => image,
    }
}

/// Whether its containers may see each other's processes.
fn can_share_processes(pod: &Pod) -> Result<(), NotInjected> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let why = if spec.host_pid == Some(true) {
        "hostPID is set, which excludes shareProcessNamespace"
    } else if spec.share_process_namespace == Some(false) {
        "shareProcessNamespace is false, and the sidecar measures the broker's process"
    } else if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        "it is a pod for Windows"
    } else {
        return Ok(());
    };
    Err(NotInjected::surprising(Outcome::Unsuitable, why))
}

/// Whether the names that are added are free.
fn has_room(pod: &Pod) -> Result<(), NotInjected> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut names = volumes.map(|volume| volume.name.as_str());
    match names.find(|name| [names::CREDENTIALS_VOLUME, names::NO_TOKEN_VOLUME].contains(name)) {
        Some(name) => {
            Err(NotInjected::surprising(Outcome::Unsuitable, format!("it has a volume {name} of its own")))
        }
        None => Ok(()),
    }
}
