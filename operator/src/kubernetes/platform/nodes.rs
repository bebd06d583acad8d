//! The nodes that brokers run on, each read by its name every few seconds.
//!
//! By name, because nodes belong to no namespace: whoever may list them sees every machine of the cluster.

use doctorkafka_diagnosis::{NodeFacts, TOLD_EVERY};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for one node.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Reads at the same time, and how far the beginnings of reads are apart on the average.
const AT_ONCE: usize = 4;
const APART: Duration = Duration::from_millis(50);

/// What is known of the nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Nodes {
    /// By name; one that is missing is not known.
    pub known: BTreeMap<String, NodeFacts>,
    /// Why one is not known.
    pub why: Option<String>,
}

/// Nodes that are looked at for as long as this lives.
#[derive(Debug)]
pub(super) struct Looked {
    names: watch::Sender<BTreeSet<String>>,
    nodes: watch::Receiver<Nodes>,
    _task: AbortOnDropHandle<()>,
}

impl Looked {
    /// Begins to look at nodes. Whenever something is new, `news` is notified.
    pub fn start(client: Client, news: Arc<Notify>) -> Self {
        let (names, wanted) = watch::channel(BTreeSet::new());
        let (out, nodes) = watch::channel(Nodes::default());
        let task = tokio::spawn(look(Api::all(client), wanted, out, news));
        Self { names, nodes, _task: AbortOnDropHandle::new(task) }
    }

    /// Looks at these nodes from now on.
    pub fn set_names(&self, names: BTreeSet<String>) {
        self.names.send_if_modified(|current| {
            let changed = *current != names;
            *current = names;
            changed
        });
    }

    /// What is known now.
    pub fn nodes(&self) -> watch::Ref<'_, Nodes> {
        self.nodes.borrow()
    }
}

async fn look(
    api: Api<Node>,
    mut names: watch::Receiver<BTreeSet<String>>,
    out: watch::Sender<Nodes>,
    news: Arc<Notify>,
) {
    let mut told = false;
    loop {
        let begin = Instant::now();
        let wanted = names.borrow_and_update().clone();
        let nodes = read_all(&api, &wanted).await;
        if let (Some(why), false) = (&nodes.why, told) {
            tracing::warn!("{why}");
        }
        told = nodes.why.is_some();
        let changed = out.send_if_modified(|current| {
            let changed = *current != nodes;
            *current = nodes;
            changed
        });
        if changed {
            news.notify_one();
        }
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let next = begin + TOLD_EVERY.max(APART.saturating_mul(count));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            changed = names.changed() => if changed.is_err() { return },
        }
    }
}

async fn read_all(api: &Api<Node>, names: &BTreeSet<String>) -> Nodes {
    let reads = names.iter().cloned().map(|name| {
        let api = api.clone();
        async move {
            let read = read(&api, &name).await;
            (name, read)
        }
    });
    let mut reads = stream::iter(reads).buffered(AT_ONCE);
    let mut nodes = Nodes::default();
    while let Some((name, read)) = reads.next().await {
        match read {
            Ok(facts) => {
                nodes.known.insert(name, facts);
            }
            Err(why) => nodes.why = Some(why),
        }
    }
    nodes
}

async fn read(api: &Api<Node>, name: &str) -> Result<NodeFacts, String> {
    match tokio::time::timeout(TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(Some(node))) => Ok(facts(&node)),
        Ok(Ok(None)) => Ok(NodeFacts::Gone),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(format!("cannot read nodes: {}; grant the operator get on nodes", status.message))
        }
        Ok(Err(error)) => Err(format!("cannot read node {name}: {error}; it is tried again")),
        Err(_) => Err(format!("cannot read node {name}: no answer within {TIMEOUT:?}; it is tried again")),
    }
}

/// What matters of a node. Of one that its kubelet has stopped to report about, Ready is Unknown, which `kubectl` shows as
/// NotReady.
fn facts(node: &Node) -> NodeFacts {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.filter(|condition| condition.type_ == "Ready").map(|it| it.status == "True").next();
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
    NodeFacts::There { ready, cordoned }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_only_when_it_says_so() {
        let ready = |status: &str| {
            let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]}});
            facts(&serde_json::from_value(node).unwrap())
        };
        let there = |ready| NodeFacts::There { ready: Some(ready), cordoned: true };
        assert_eq!(ready("True"), there(true));
        assert_eq!(ready("False"), there(false));
        assert_eq!(ready("Unknown"), there(false));
        let new = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert_eq!(facts(&new), NodeFacts::There { ready: None, cordoned: false });
    }
}
