//! What a policy's brokers run on: pods, their nodes and volumes, and whoever else looks after them.
//!
//! ```text
//! follow     lists and watches one kind of object, cut down to what matters
//! nodes      reads the nodes that the pods name
//! pods       what matters of a pod            (pure)
//! workloads  what matters of everything else  (pure)
//! assemble   all of it -> PlatformFacts       (pure)
//! ```
//!
//! Every permission is optional. What may not be read is told as unknown, with what to grant; health goes on without it.

mod assemble;
mod follow;
mod nodes;
mod pods;
mod workloads;

use assemble::{Sources, assemble, wanted};
use doctorkafka_diagnosis::{ClaimPhase, PlatformFacts, Source, TOLD_EVERY};
use follow::{Followed, Kind, Seen};
use futures::future::ready;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::{GroupVersionKind, Selector},
};
use nodes::{Looked, Nodes};
use pods::SeenPod;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use workloads::SeenWorkload;

/// News that come in a burst are put together at once.
const TOGETHER: Duration = Duration::from_millis(20);

/// Follows the platform of one policy's brokers.
pub(super) struct Platform {
    client: Client,
    namespace: String,
    selector: Option<LabelSelector>,
    facts: watch::Sender<Arc<PlatformFacts>>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Platform {
    /// Knows nothing, and asks for nothing yet.
    pub fn new(client: Client, namespace: &str) -> Self {
        let facts = watch::Sender::new(Arc::default());
        Self { client, namespace: namespace.to_owned(), selector: None, facts, task: None }
    }

    /// What is known, as it comes.
    pub fn facts(&self) -> watch::Receiver<Arc<PlatformFacts>> {
        self.facts.subscribe()
    }

    /// Follows the pods of this selector, and what belongs to them, from now on; none means that nothing is followed.
    pub fn follow(&mut self, selector: Option<&LabelSelector>) {
        if self.selector.as_ref() == selector && self.task.is_some() == selector.is_some() {
            return;
        }
        self.selector = selector.cloned();
        self.task = None;
        let Some(selector) = selector else {
            self.facts.send_replace(Arc::default());
            return;
        };
        let labels = Selector::try_from(selector.clone()).map(|selector| selector.to_string());
        let labels = labels.map_err(|error| format!("spec.brokers.podSelector: {error}"));
        let surroundings = Surroundings::start(self.client.clone(), &self.namespace, labels);
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(surroundings.run(self.facts.clone()))));
    }
}

/// Everything that is followed for one selector.
struct Surroundings {
    client: Client,
    namespace: String,
    /// Why no pods can be selected.
    no_selector: Option<String>,
    news: Arc<Notify>,
    pods: Option<Followed<SeenPod>>,
    claims: Followed<ClaimPhase>,
    nodes: Looked,
    /// Begun when the first pod shows that they are needed.
    workloads: BTreeMap<Source, Followed<SeenWorkload>>,
    /// Owners of pods that were seen, by kind and name: a set whose pods are all gone is still theirs.
    owners: BTreeSet<(String, String)>,
    /// Clusters of Strimzi's that pods belong to.
    clusters: BTreeSet<String>,
}

impl Surroundings {
    fn start(client: Client, namespace: &str, labels: Result<String, String>) -> Self {
        let news = Arc::new(Notify::new());
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let (labels, no_selector) = match labels {
            Ok(labels) => (Some(labels), None),
            Err(why) => (None, Some(why)),
        };
        let pods = labels.map(|labels| {
            let kind = Kind {
                what: format!("pods in namespace {namespace}"),
                find: move || ready(Ok(Some(api.clone()))),
                labels: Some(labels).filter(|labels| !labels.is_empty()),
                trim: pods::read,
            };
            Followed::start(kind, news.clone())
        });
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let kind = Kind {
            what: format!("persistentvolumeclaims in namespace {namespace}"),
            find: move || ready(Ok(Some(api.clone()))),
            labels: None,
            trim: workloads::claim,
        };
        Self {
            pods,
            claims: Followed::start(kind, news.clone()),
            nodes: Looked::start(client.clone(), news.clone()),
            workloads: BTreeMap::new(),
            owners: BTreeSet::new(),
            clusters: BTreeSet::new(),
            client,
            namespace: namespace.to_owned(),
            no_selector,
            news,
        }
    }

    /// Tells what is known whenever it changes, and every few seconds that it still holds.
    async fn run(mut self, facts: watch::Sender<Arc<PlatformFacts>>) {
        let mut again = tokio::time::interval(TOLD_EVERY);
        loop {
            self.follow_what_is_needed();
            facts.send_replace(Arc::new(assemble(&self.sources(), Timestamp::now())));
            tokio::select! {
                _ = again.tick() => {}
                () = self.news.notified() => tokio::time::sleep(TOGETHER).await,
            }
        }
    }

    fn follow_what_is_needed(&mut self) {
        let Some(followed) = &self.pods else { return };
        let wanted = match followed.seen().known() {
            Some(pods) => wanted(pods),
            None => return,
        };
        self.nodes.set_names(wanted.nodes);
        self.owners.extend(wanted.owners);
        self.clusters.extend(wanted.clusters);
        for source in wanted.sources {
            if !self.workloads.contains_key(&source)
                && let Some(followed) = self.follow_workload(source)
            {
                self.workloads.insert(source, followed);
            }
        }
    }

    fn follow_workload(&self, source: Source) -> Option<Followed<SeenWorkload>> {
        let (group, kind, plural, trim): (_, _, _, fn(&DynamicObject) -> Option<SeenWorkload>) = match source
        {
            Source::StatefulSets => {
                let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
                let kind = Kind {
                    what: format!("statefulsets in namespace {}", self.namespace),
                    find: move || ready(Ok(Some(api.clone()))),
                    labels: None,
                    trim: workloads::stateful_set,
                };
                return Some(Followed::start(kind, self.news.clone()));
            }
            Source::StrimziPodSets => {
                ("core.strimzi.io", "StrimziPodSet", "strimzipodsets", workloads::strimzi_pod_set)
            }
            Source::Kafkas => ("kafka.strimzi.io", "Kafka", "kafkas", workloads::kafka),
            Source::KafkaRebalances => {
                ("kafka.strimzi.io", "KafkaRebalance", "kafkarebalances", workloads::kafka_rebalance)
            }
            Source::KafkaClusters => {
                ("kafka.banzaicloud.io", "KafkaCluster", "kafkaclusters", workloads::kafka_cluster)
            }
            Source::Pods | Source::Nodes | Source::Claims => return None,
        };
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let kind = Kind {
            what: format!("{plural}.{group} in namespace {namespace}"),
            find: move || custom(client.clone(), namespace.clone(), group, kind, plural),
            labels: None,
            trim,
        };
        Some(Followed::start(kind, self.news.clone()))
    }

    fn sources(&self) -> Now<'_> {
        Sources {
            no_selector: self.no_selector.as_deref(),
            pods: self.pods.as_ref().map(Followed::seen),
            claims: self.claims.seen(),
            nodes: self.nodes.nodes(),
            workloads: self.workloads.iter().map(|(source, followed)| (*source, followed.seen())).collect(),
            owners: &self.owners,
            clusters: &self.clusters,
        }
    }
}

/// Everything that is followed, borrowed from where it is kept.
type Now<'a> = Sources<
    'a,
    watch::Ref<'a, Seen<SeenPod>>,
    watch::Ref<'a, Seen<ClaimPhase>>,
    watch::Ref<'a, Nodes>,
    watch::Ref<'a, Seen<SeenWorkload>>,
>;

/// The way to another operator's resources, in the version that the API server prefers; `None` when it has none of that
/// group.
async fn custom(
    client: Client,
    namespace: String,
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> kube::Result<Option<Api<DynamicObject>>> {
    let groups = client.list_api_groups().await?.groups;
    let version = groups.into_iter().find(|found| found.name == group).and_then(|found| {
        let first = found.versions.first().map(|version| version.version.clone());
        found.preferred_version.map(|version| version.version).or(first)
    });
    Ok(version.map(|version| {
        let kind = GroupVersionKind::gvk(group, &version, kind);
        Api::namespaced_with(client, &namespace, &ApiResource::from_gvk_with_plural(&kind, plural))
    }))
}
