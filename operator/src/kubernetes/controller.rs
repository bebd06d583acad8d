//! Watches the policies and has each attended by a supervisor.
//!
//! Level, not edge: after every event of the watch, the set of supervisors is brought in line with the set of policies.
//! A watch that was interrupted and listed anew needs no special care, and a policy that is deleted needs no finalizer.

use super::{
    object::{PolicyKey, PolicyObject},
    supervisor::{Shared, Supervisor},
};
use futures::{StreamExt, stream::SelectAll};
use kube::{
    Api,
    api::DynamicObject,
    runtime::{
        WatchStreamExt, reflector,
        watcher::{self, Event},
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// Has every policy attended.
pub(super) struct Controller {
    shared: Arc<Shared>,
    attended: BTreeMap<PolicyKey, Attended>,
    /// Those whose policy is gone and whose engine has not ended yet.
    ending: BTreeMap<PolicyKey, JoinHandle<()>>,
}

struct Attended {
    objects: watch::Sender<Arc<PolicyObject>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Controller {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, attended: BTreeMap::new(), ending: BTreeMap::new() }
    }

    /// Watches these namespaces, or all when none is named, until it is dropped.
    pub async fn run(&mut self, namespaces: &[String]) {
        let resource = PolicyObject::resource();
        let client = self.shared.client.clone();
        let apis: Vec<Api<DynamicObject>> = if namespaces.is_empty() {
            vec![Api::all_with(client, &resource)]
        } else {
            namespaces.iter().map(|name| Api::namespaced_with(client.clone(), name, &resource)).collect()
        };
        let mut stores = Vec::new();
        let mut events = SelectAll::new();
        for api in apis {
            let writer = reflector::store::Writer::new(resource.clone());
            stores.push(writer.as_reader());
            let watch = watcher::watcher(api, super::watch_config()).backoff(super::watch_backoff());
            events.push(reflector(writer, watch).boxed());
        }
        let mut trouble = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                    if trouble.take().is_some() {
                        tracing::info!("policies are watched again");
                    }
                    let objects = stores.iter().flat_map(|store| store.state());
                    self.sync(objects.filter_map(|object| PolicyObject::read(&object)).collect());
                }
                Err(error) => {
                    let error = explain(&error);
                    if trouble.as_ref() != Some(&error) {
                        tracing::warn!("policies cannot be watched, trying on: {error}");
                        trouble = Some(error);
                    }
                }
            }
        }
    }

    /// Brings the supervisors in line with the policies.
    fn sync(&mut self, objects: Vec<PolicyObject>) {
        self.ending.retain(|_, task| !task.is_finished());
        let objects: BTreeMap<_, _> =
            objects.into_iter().map(|object| (object.key.clone(), Arc::new(object))).collect();
        let gone: Vec<_> = self
            .attended
            .iter()
            .filter(|(key, attended)| {
                objects.get(*key).is_none_or(|new| new.uid != attended.objects.borrow().uid)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(attended) = self.attended.remove(&key) {
                tracing::info!(policy = %key, "the policy is gone");
                attended.cancel.cancel();
                self.ending.insert(key, attended.task);
            }
        }
        for (key, object) in objects {
            match self.attended.get(&key) {
                Some(attended) => {
                    attended.objects.send_if_modified(|current| {
                        let news = current.version != object.version;
                        *current = object;
                        news
                    });
                }
                None => self.attend(key, object),
            }
        }
    }

    fn attend(&mut self, key: PolicyKey, object: Arc<PolicyObject>) {
        tracing::info!(policy = %key, "attending the policy");
        let cancel = CancellationToken::new();
        let (objects, seen) = watch::channel(object);
        let predecessor = self.ending.remove(&key);
        let task = tokio::spawn(Supervisor::new(self.shared.clone(), seen).run(predecessor, cancel.clone()));
        self.attended.insert(key, Attended { objects, cancel, task });
    }

    /// Ends every engine. Returns after `limit` at the latest, and says then how many have not ended.
    pub async fn stop(mut self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let attended = std::mem::take(&mut self.attended);
        attended.values().for_each(|attended| attended.cancel.cancel());
        let tasks = attended.into_values().map(|attended| attended.task).chain(self.ending.into_values());
        let mut left = 0;
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                left += 1;
            }
        }
        left
    }
}

/// What went wrong with the watch and, where it is known, what to do.
fn explain(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return error.to_string(),
    };
    match status.code {
        404 => "the API server does not know KafkaHealthPolicy; run: kubectl apply -f deploy/crds, or give the chart crds.install=true".to_owned(),
        403 => format!("{}; what it needs is in deploy/rbac, and in the chart", status.message),
        _ => error.to_string(),
    }
}
