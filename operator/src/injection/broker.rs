//! What a pod says of the broker in it: who made it, which container it is, its id, its user and its volumes.
//!
//! The shapes are those of Strimzi 1.3, Koperator and the Bitnami chart, and of plain StatefulSets.

use super::{
    names,
    refusal::{NotInjected, Outcome},
    settings::{RunAs, User},
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, VolumeMount};
use std::collections::{BTreeMap, BTreeSet};

/// More data volumes than any broker has.
const MOST_VOLUMES: usize = 100;

/// Who makes the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Strimzi's cluster operator.
    Strimzi,
    /// Koperator.
    Koperator,
    /// The Bitnami chart.
    Bitnami,
    /// Anybody else.
    Other,
}

/// How the sidecar is told its broker's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is this one.
    Given(i32),
    /// The sidecar finds out, by `meta.properties` or the broker's properties file.
    Auto,
}

/// A pod with a broker in it.
#[derive(Debug)]
pub struct BrokerPod<'a> {
    /// Its metadata's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its metadata's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// Who makes it.
    pub distribution: Distribution,
    /// The broker's container.
    pub container: &'a Container,
    name: &'a str,
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

impl<'a> BrokerPod<'a> {
    /// Looks at a pod.
    ///
    /// # Errors
    /// It is no broker, or nobody can tell which container is.
    pub fn recognise(pod: &'a Pod) -> Result<Self, NotInjected> {
        let labels = pod.metadata.labels.as_ref().unwrap_or(&NOTHING);
        let annotations = pod.metadata.annotations.as_ref().unwrap_or(&NOTHING);
        let no_broker = |why: &str| Err(NotInjected::expected(Outcome::NotABroker, why));
        let Some(spec) = &pod.spec else { return no_broker("the pod has no spec") };
        let label = |name: &str| labels.get(name).map(String::as_str);
        let name = pod.metadata.name.as_deref().unwrap_or_default();

        // Cruise Control, the entity operator and others carry the cluster's label, and no role.
        let distribution = if label("strimzi.io/cluster").is_some() || label("strimzi.io/kind").is_some() {
            if label("strimzi.io/broker-role") != Some("true") {
                return no_broker("a pod of Strimzi's that is no broker");
            }
            Distribution::Strimzi
        } else if let Some(cluster) = label("kafka_cr") {
            let Some(id) = label("brokerId") else {
                return no_broker("a pod of Koperator's that is no broker");
            };
            let controller = format!("{cluster}-controller-{id}-");
            let generated = pod.metadata.generate_name.as_deref().unwrap_or_default();
            if generated == controller || name.starts_with(&controller) {
                return no_broker("a controller of Koperator's");
            }
            Distribution::Koperator
        } else if label("app.kubernetes.io/part-of") == Some("kafka")
            && label("app.kubernetes.io/name") == Some("kafka")
        {
            if !matches!(label("app.kubernetes.io/component"), Some("broker" | "controller-eligible")) {
                return no_broker("a pod of the Bitnami chart that is no broker");
            }
            Distribution::Bitnami
        } else {
            Distribution::Other
        };

        let asked = label(names::INJECT) == Some("true") || annotations.contains_key(names::CONTAINER);
        let container = broker_container(spec, annotations.get(names::CONTAINER), asked)?;
        if env(container, &["KAFKA_PROCESS_ROLES", "KAFKA_CFG_PROCESS_ROLES"]) == Some("controller") {
            return no_broker("a controller, which no reports are made of");
        }
        Ok(Self { labels, annotations, spec, distribution, container, name })
    }

    /// How the sidecar learns the broker's id.
    ///
    /// # Errors
    /// The annotation says what cannot be.
    pub fn identity(&self) -> Result<Identity, NotInjected> {
        if let Some(asked) = self.annotations.get(names::BROKER_ID) {
            return self.asked_identity(asked.trim()).ok_or_else(|| {
                let message = format!(
                    "annotation {}: expected a node.id, auto, ordinal or ordinal+N; an ordinal needs a pod of a StatefulSet",
                    names::BROKER_ID
                );
                NotInjected::surprising(Outcome::Unsuitable, message)
            });
        }
        let known = match self.distribution {
            // <cluster>-<pool>-<id>: what Strimzi's own start script takes the id from.
            Distribution::Strimzi => ordinal(self.name),
            Distribution::Koperator => self.labels.get("brokerId").and_then(|id| broker_id(id)),
            // The chart's ids are ordinals from KAFKA_MIN_ID on, or what meta.properties says.
            Distribution::Bitnami => None,
            Distribution::Other => env(self.container, &["KAFKA_NODE_ID"]).and_then(broker_id),
        };
        Ok(known.map_or(Identity::Auto, Identity::Given))
    }

    fn asked_identity(&self, asked: &str) -> Option<Identity> {
        if asked == "auto" {
            return Some(Identity::Auto);
        }
        let Some(offset) = asked.strip_prefix("ordinal") else {
            return broker_id(asked).map(Identity::Given);
        };
        let offset = match offset {
            "" => 0,
            offset => broker_id(offset.strip_prefix('+')?)?,
        };
        let index = self.labels.get("apps.kubernetes.io/pod-index").and_then(|index| broker_id(index));
        let index = index.or_else(|| ordinal(self.name))?;
        index.checked_add(offset).map(Identity::Given)
    }

    /// As whom the broker runs; `None` when nobody says.
    pub fn user(&self) -> Option<User> {
        let of_container = self.container.security_context.as_ref();
        let of_pod = self.spec.security_context.as_ref();
        let uid = of_container
            .and_then(|context| context.run_as_user)
            .or_else(|| of_pod.and_then(|context| context.run_as_user));
        let gid = of_container
            .and_then(|context| context.run_as_group)
            .or_else(|| of_pod.and_then(|context| context.run_as_group));
        let customary = self.customary_user();
        match uid {
            // A group that is not set comes from the image, where it is that of its customary user.
            Some(uid) => {
                let of_image = customary.filter(|user| user.uid == uid).and_then(|user| user.gid);
                Some(User { uid, gid: gid.or(of_image) })
            }
            None => customary.map(|user| User { gid: gid.or(user.gid), ..user }),
        }
    }

    /// The user that images of the distribution run as.
    fn customary_user(&self) -> Option<User> {
        let image = self.container.image.as_deref().unwrap_or_default();
        let repository = image.split('@').next().unwrap_or_default();
        let official = |name: &str| {
            let rest = repository.strip_prefix("docker.io/").unwrap_or(repository).strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        match self.distribution {
            // useradd in Strimzi's Dockerfile: 1001, group root; neither the pod nor the container says so.
            Distribution::Strimzi => Some(User { uid: 1001, gid: Some(0) }),
            // The first user of an Alpine image, appuser.
            _ if official("apache/kafka") || official("apache/kafka-native") => {
                Some(User { uid: 1000, gid: Some(1000) })
            }
            _ => None,
        }
    }

    /// As whom the sidecar should run when the administrator leaves it to the pod.
    pub fn run_as(&self) -> RunAs {
        // OpenShift has chosen the users of this pod's containers from the namespace's range and refuses any other.
        if self.annotations.contains_key("openshift.io/scc") {
            let explicit = self.container.security_context.as_ref().and_then(|context| context.run_as_user);
            return explicit.map_or(RunAs::Platform, |uid| RunAs::User(User { uid, gid: None }));
        }
        self.user().map_or(RunAs::Auto, RunAs::User)
    }

    /// The broker's mounts of volumes that hold data, read-only and without duplicates.
    pub fn data_mounts(&self) -> Vec<VolumeMount> {
        let volumes = self.spec.volumes.as_deref().unwrap_or_default();
        let data: BTreeSet<&str> = volumes
            .iter()
            .filter(|volume| {
                let claimed = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
                let customary = volume.name == "data"
                    || volume.name.starts_with("data-")
                    || volume.name.starts_with("kafka-data");
                claimed || customary && volume.empty_dir.is_some()
            })
            .map(|volume| volume.name.as_str())
            .collect();
        let mut seen = BTreeSet::new();
        let mounts = self.container.volume_mounts.as_deref().unwrap_or_default();
        mounts
            .iter()
            .filter(|mount| data.contains(mount.name.as_str()) && is_harmless(&mount.mount_path))
            // A path that depends on variables of the broker's container means nothing in ours.
            .filter(|mount| mount.sub_path_expr.as_deref().unwrap_or_default().is_empty())
            .filter(|mount| seen.insert(mount.mount_path.clone()))
            .take(MOST_VOLUMES)
            .map(|mount| VolumeMount {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                sub_path: mount.sub_path.clone(),
                read_only: Some(true),
                ..VolumeMount::default()
            })
            .collect()
    }
}

/// Whether a volume there hides nothing that the sidecar needs, and can be named in a list with commas.
fn is_harmless(path: &str) -> bool {
    let taken = [
        "/", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/var", "/var/run",
        "/run",
    ];
    let trimmed = path.trim_end_matches('/');
    let below = |folder: &str| trimmed.starts_with(&format!("{folder}/"));
    path.starts_with('/')
        && !path.contains([',', ':'])
        && !path.split('/').any(|part| part == "..")
        && !trimmed.is_empty()
        && !taken.contains(&trimmed)
        && !["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/var/run", "/run"]
            .iter()
            .any(|folder| below(folder))
}

/// The container that the annotation names; else the one called `kafka` or `broker`; else, in a pod that was asked for, the
/// only one, or the only one whose image is Kafka's.
fn broker_container<'a>(
    spec: &'a PodSpec,
    named: Option<&String>,
    asked: bool,
) -> Result<&'a Container, NotInjected> {
    let find = |name: &str| spec.containers.iter().find(|container| container.name == name);
    if let Some(name) = named {
        return find(name).ok_or_else(|| {
            let message =
                format!("annotation {} names {name}, which is no container of the pod", names::CONTAINER);
            NotInjected::surprising(Outcome::Unsuitable, message)
        });
    }
    if let Some(container) = find("kafka").or_else(|| find("broker")) {
        return Ok(container);
    }
    if !asked {
        return Err(NotInjected::expected(Outcome::NotABroker, "no container is called kafka or broker"));
    }
    if let [only] = spec.containers.as_slice() {
        return Ok(only);
    }
    let images: Vec<_> = spec
        .containers
        .iter()
        .filter(|container| container.image.as_deref().unwrap_or_default().contains("kafka"))
        .collect();
    match images.as_slice() {
        [only] => Ok(only),
        _ => {
            let message = format!(
                "cannot tell which container is the broker; name it by annotation {}",
                names::CONTAINER
            );
            Err(NotInjected::surprising(Outcome::Unsuitable, message))
        }
    }
}

/// The value of the first of these variables that is written out in the pod.
fn env<'a>(container: &'a Container, names: &[&str]) -> Option<&'a str> {
    let variables = container.env.as_deref().unwrap_or_default();
    names.iter().find_map(|name| variables.iter().find(|variable| variable.name == *name)?.value.as_deref())
}

/// The number at the end of a pod's name.
fn ordinal(name: &str) -> Option<i32> {
    name.rsplit_once('-').and_then(|(_, id)| broker_id(id))
}

/// A node.id: digits only, so that neither `+5` nor ` 5` passes.
fn broker_id(text: &str) -> Option<i32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
