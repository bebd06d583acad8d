//! The policies, as a watch keeps them here: an answer must not wait for the API server.

use super::policy::PolicyFacts;
use crate::kubernetes::{watch_backoff, watch_config};
use doctorkafka_api::KafkaHealthPolicy;
use futures::StreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt, reflector,
        reflector::store::{Store, Writer},
        watcher,
    },
};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer waits, right after the start, for the policies to be known.
const FIRST_LIST: Duration = Duration::from_secs(1);

/// All policies of the watched namespaces.
#[derive(Debug)]
pub struct WatchedPolicies {
    stores: Vec<Store<DynamicObject>>,
    _watches: Vec<AbortOnDropHandle<()>>,
}

impl WatchedPolicies {
    /// Watches these namespaces, or all when none is named. What goes wrong is told by the controller, which watches them too.
    pub fn start(client: &Client, namespaces: &[String]) -> Self {
        let resource = ApiResource::erase::<KafkaHealthPolicy>(&());
        let apis: Vec<Api<DynamicObject>> = if namespaces.is_empty() {
            vec![Api::all_with(client.clone(), &resource)]
        } else {
            namespaces.iter().map(|name| Api::namespaced_with(client.clone(), name, &resource)).collect()
        };
        let (stores, watches) = apis
            .into_iter()
            .map(|api| {
                let writer = Writer::new(resource.clone());
                let store = writer.as_reader();
                let watch = watcher(api, watch_config()).backoff(watch_backoff());
                let reflected = reflector(writer, watch);
                let task = tokio::spawn(async move {
                    let mut reflected = std::pin::pin!(reflected);
                    while reflected.next().await.is_some() {}
                });
                (store, AbortOnDropHandle::new(task))
            })
            .unzip();
        Self { stores, _watches: watches }
    }

    /// What a store holds that somebody else fills.
    #[cfg(test)]
    pub fn from_store(store: Store<DynamicObject>) -> Self {
        Self { stores: vec![store], _watches: Vec::new() }
    }

    /// The policies of a namespace; `None` when they are not known yet.
    pub async fn of(&self, namespace: &str) -> Option<Vec<PolicyFacts>> {
        let ready = futures::future::join_all(self.stores.iter().map(Store::wait_until_ready));
        let ready = tokio::time::timeout(FIRST_LIST, ready).await.ok()?;
        if ready.iter().any(Result::is_err) {
            return None;
        }
        let mut policies: Vec<_> = self
            .stores
            .iter()
            .flat_map(Store::state)
            .filter(|object| object.metadata.namespace.as_deref() == Some(namespace))
            .filter_map(|object| PolicyFacts::read(&object))
            .collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        Some(policies)
    }
}
