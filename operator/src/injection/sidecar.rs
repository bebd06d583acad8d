//! The sidecar's container in a pod.

use super::{
    broker::{BrokerPod, Distribution, Identity},
    connection::ConnectionParts,
    names,
    quantity::Quantity,
    refusal::{NotInjected, Outcome},
    settings::{RunAs, SidecarSettings, User},
};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, PodSpec, ProjectedVolumeSource, ResourceRequirements,
        SeccompProfile, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity as KubernetesQuantity,
};
use std::collections::BTreeMap;

/// The most CPU a sidecar may use, where it must have a limit and requests no more. It uses a hundredth of a core.
const CPU_LIMIT: &str = "100m";

/// Whom the sidecar runs as when nobody says who the broker is: a user without a name, as in distroless images.
const NOBODY: User = User { uid: 65_532, gid: Some(65_532) };

/// A container, its volumes, and what whoever creates the pod should know.
#[derive(Debug)]
pub struct Sidecar {
    /// For `initContainers`.
    pub container: Container,
    /// For `volumes`.
    pub volumes: Vec<Volume>,
    /// Each in one line.
    pub warnings: Vec<String>,
}

/// Makes the sidecar for a broker's pod.
///
/// # Errors
/// An annotation that cannot be.
pub fn sidecar(
    broker: &BrokerPod<'_>,
    connection: ConnectionParts,
    settings: &SidecarSettings,
) -> Result<Sidecar, NotInjected> {
    let mut warnings = Vec::new();
    let user = user(broker, settings)?;
    if user == Who::Unknown {
        warnings.push(format!(
            "the broker's user is not in the pod; set annotation {} to its UID:GID, or little is known of its disks",
            names::RUN_AS
        ));
    }
    let mut mounts = broker.data_mounts();
    let mut env = identity(broker, &mounts, &user, &mut warnings)?;
    env.extend(connection.env);
    env.push(variable("KEEP_GOING", "true"));
    if user == Who::Unknown {
        // Without the broker's properties nobody knows which of its listeners speaks in plain text, and a listener
        // with TLS that is asked in plain text would look like a broker that hangs.
        env.push(variable("PROBE", "off"));
    }
    if let Some(page) = exporter_page(broker)? {
        env.push(variable("SCRAPE_URL", &page));
    }
    let port = port(broker.spec);
    env.push(match port {
        Some(port) => variable("LISTEN_ADDRESS", &format!("0.0.0.0:{port}")),
        None => variable("LISTEN_ADDRESS", "off"),
    });

    // Projected from nothing: beside an emptyDir, `kubectl drain` takes the pod to have local data and refuses to evict it,
    // and a cluster autoscaler keeps its node.
    let no_token = Volume {
        name: names::NO_TOKEN_VOLUME.into(),
        projected: Some(ProjectedVolumeSource::default()),
        ..Volume::default()
    };
    let mut volumes = vec![no_token];
    mounts.push(VolumeMount {
        name: names::NO_TOKEN_VOLUME.into(),
        mount_path: names::TOKEN_PATH.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    if let Some((volume, mount)) = connection.volume {
        volumes.push(volume);
        mounts.push(mount);
    }

    let image =
        broker.annotations.get(names::IMAGE).map(|image| image.trim()).filter(|image| !image.is_empty());
    let container = Container {
        name: names::SIDECAR.into(),
        image: Some(image.unwrap_or(&settings.image).to_owned()),
        image_pull_policy: Some(settings.pull_policy.as_str().into()),
        // A native sidecar: started before the broker, ended after it, and no reason for the pod not to be ready.
        restart_policy: Some("Always".into()),
        env: Some(env),
        ports: port.map(|port| {
            let name = Some(names::PORT_NAME.into());
            vec![ContainerPort {
                name,
                container_port: port,
                protocol: Some("TCP".into()),
                ..ContainerPort::default()
            }]
        }),
        resources: resources(broker.spec, settings),
        security_context: Some(security_context(&user)),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(mounts),
        ..Container::default()
    };
    Ok(Sidecar { container, volumes, warnings })
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.replace("$(", "$$(")), value_from: None }
}

/// As whom the sidecar runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The platform says.
    Platform,
    /// The broker's user.
    Known(User),
    /// Nobody says who the broker is.
    Unknown,
}

fn user(broker: &BrokerPod<'_>, settings: &SidecarSettings) -> Result<Who, NotInjected> {
    let asked = match broker.annotations.get(names::RUN_AS) {
        None => settings.run_as,
        Some(asked) => asked.parse().map_err(|error| {
            NotInjected::surprising(Outcome::Unsuitable, format!("annotation {}: {error}", names::RUN_AS))
        })?,
    };
    let decided = if asked == RunAs::Auto { broker.run_as() } else { asked };
    Ok(match decided {
        RunAs::Platform => Who::Platform,
        RunAs::User(user) => Who::Known(user),
        RunAs::Auto => Who::Unknown,
    })
}

/// What Pod Security `restricted` asks for, and no more than the sidecar needs.
fn security_context(user: &Who) -> SecurityContext {
    let user = match user {
        Who::Platform => None,
        Who::Known(user) => Some(*user),
        Who::Unknown => Some(NOBODY),
    };
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), add: None }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        // A broker that runs as root is measured as root, without any of root's capabilities.
        run_as_non_root: Some(user.is_none_or(|user| user.uid != 0)),
        run_as_user: user.map(|user| user.uid),
        run_as_group: user.and_then(|user| user.gid),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

/// The variables by which the sidecar knows its broker.
fn identity(
    broker: &BrokerPod<'_>,
    mounts: &[VolumeMount],
    user: &Who,
    warnings: &mut Vec<String>,
) -> Result<Vec<EnvVar>, NotInjected> {
    Ok(match broker.identity()? {
        Identity::Given(id) => vec![variable("BROKER_ID", &id.to_string())],
        Identity::Auto => {
            if mounts.is_empty() && *user == Who::Unknown {
                warnings.push(format!(
                    "nothing tells the broker's id: no volume with data and no known user; set annotation {}",
                    names::BROKER_ID
                ));
            }
            let dirs: Vec<_> = mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
            let mut env = vec![variable("BROKER_ID", "auto")];
            if !dirs.is_empty() {
                env.push(variable("DATA_DIRS", &dirs.join(",")));
            }
            env
        }
    })
}

/// The page with the broker's own figures: what the annotation says, or Strimzi's, where the pod has one.
fn exporter_page(broker: &BrokerPod<'_>) -> Result<Option<String>, NotInjected> {
    if let Some(page) = broker.annotations.get(names::SCRAPE) {
        let page = page.trim();
        let host =
            page.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        return match host {
            Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
                Ok(Some(page.to_owned()))
            }
            _ => {
                let message =
                    format!("annotation {}: expected an address that begins with http://", names::SCRAPE);
                Err(NotInjected::surprising(Outcome::Unsuitable, message))
            }
        };
    }
    let ports = broker.container.ports.as_deref().unwrap_or_default();
    let exported = ports.iter().find(|port| port.name.as_deref() == Some("tcp-prometheus"));
    let exported = exported.filter(|_| broker.distribution == Distribution::Strimzi);
    Ok(exported.map(|port| format!("http://127.0.0.1:{}/metrics", port.container_port)))
}

/// A port that no other container declares; none on the node's own network, where a port that is taken would keep the pod
/// from being scheduled.
fn port(spec: &PodSpec) -> Option<i32> {
    if spec.host_network == Some(true) {
        return None;
    }
    let taken: Vec<i32> = containers(spec)
        .flat_map(|container| container.ports.as_deref().unwrap_or_default())
        .map(|port| port.container_port)
        .collect();
    (names::PORT..names::PORT + 100).find(|port| !taken.contains(port))
}

/// What to reserve, and up to where.
///
/// A pod of class Guaranteed stays one (`GetPodQOS`: every container has limits, and requests equal to them). A pod with
/// resources of its own as a whole (KEP-2837) has given everything to them, and the sum of its containers' may not exceed it.
fn resources(spec: &PodSpec, settings: &SidecarSettings) -> Option<ResourceRequirements> {
    let whole = spec.resources.as_ref();
    if whole.is_some_and(|whole| whole.requests.is_some() || whole.limits.is_some()) {
        return None;
    }
    let amounts = |cpu: Option<&str>, memory: &Quantity| {
        let mut amounts = BTreeMap::from([("memory".to_owned(), quantity(memory.as_str()))]);
        amounts.extend(cpu.map(|cpu| ("cpu".to_owned(), quantity(cpu))));
        Some(amounts)
    };
    // An API server takes no pod with a request above its limit, and an answer that makes it so would keep the broker's away.
    let requests_more = CPU_LIMIT.parse::<Quantity>().is_ok_and(|usual| settings.cpu_request > usual);
    let most = if requests_more { settings.cpu_request.as_str() } else { CPU_LIMIT };
    let limit_cpu = containers(spec).all(|container| limit(container, "cpu").is_some()).then_some(most);
    let limits = amounts(limit_cpu, &settings.memory_limit);
    let requests = if containers(spec).all(is_guaranteed) {
        limits.clone()
    } else {
        amounts(Some(settings.cpu_request.as_str()), &settings.memory_request)
    };
    Some(ResourceRequirements { limits, requests, claims: None })
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    Some(container.resources.as_ref()?.limits.as_ref()?.get(name)?.0.as_str())
}

/// Whether CPU and memory are limited and the requests, which default to the limits, are equal to these.
fn is_guaranteed(container: &Container) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let Some(limit) = limit(container, name) else { return false };
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let request = requests.and_then(|requests| requests.get(*name)).map_or(limit, |request| &request.0);
        request == limit
            || matches!((request.parse::<Quantity>(), limit.parse::<Quantity>()), (Ok(one), Ok(other)) if one == other)
    })
}

fn quantity(text: &str) -> KubernetesQuantity {
    KubernetesQuantity(text.to_owned())
}
