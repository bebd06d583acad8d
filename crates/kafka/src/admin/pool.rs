//! Connections to the brokers of one cluster, one per broker, kept open and opened again as needed.

use super::{
    AdminError, Attempt,
    link::{Link, LinkError, Request},
};
use crate::Connection;
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a broker that failed is asked after all others.
const DISTRUST: Duration = Duration::from_secs(30);

/// Time limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For connecting and learning the versions on offer.
    pub(super) connect: Duration,
    /// For the whole of a request to one broker.
    pub(super) call: Duration,
    /// How long one broker has for its answer before the next is asked as well.
    pub(super) patience: Duration,
}

/// An answer, with what a caller may need to know of how it came about.
pub(super) struct Answer<T> {
    pub(super) body: T,
    pub(super) version: i16,
    pub(super) address: String,
}

/// A request whose content may depend on its version.
pub(super) trait Ask: Sync {
    type Request: Request;
    fn request(&self, version: i16) -> Self::Request;
}

pub(super) type AnswerTo<A> = Answer<<<A as Ask>::Request as Request>::Response>;

pub(super) struct Pool {
    connection: Connection,
    brokers: Mutex<Brokers>,
}

#[derive(Default)]
struct Brokers {
    /// Addresses that the cluster named last.
    known: Vec<String>,
    slots: HashMap<String, Arc<Slot>>,
}

/// One broker. Requests to it go one after the other.
#[derive(Default)]
struct Slot {
    /// Taken out while a request runs, so that one that is given up takes its connection with it.
    link: tokio::sync::Mutex<Option<Link>>,
    failed: Mutex<Option<Instant>>,
}

impl Pool {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, brokers: Mutex::default() }
    }

    /// Notes the addresses of the cluster's brokers and forgets others.
    pub(super) fn learn(&self, mut known: Vec<String>) {
        known.sort_unstable();
        let mut brokers = lock(&self.brokers);
        if brokers.known != known {
            let bootstrap = self.connection.bootstrap();
            brokers.slots.retain(|address, _| bootstrap.contains(address) || known.contains(address));
            brokers.known = known;
        }
    }

    /// Asks one broker.
    pub(super) async fn ask<A: Ask>(
        &self,
        address: &str,
        limits: Limits,
        ask: &A,
    ) -> Result<AnswerTo<A>, LinkError> {
        let slot = Arc::clone(lock(&self.brokers).slots.entry(address.to_owned()).or_default());
        let call = self.exchange(&slot, address, limits, ask);
        let result =
            tokio::time::timeout(limits.call, call).await.unwrap_or(Err(LinkError::TimedOut(limits.call)));
        *lock(&slot.failed) = match &result {
            Ok(_) | Err(LinkError::NotOffered(_)) => None,
            Err(_) => Some(Instant::now()),
        };
        result
    }

    async fn exchange<A: Ask>(
        &self,
        slot: &Slot,
        address: &str,
        limits: Limits,
        ask: &A,
    ) -> Result<AnswerTo<A>, LinkError> {
        let mut held = slot.link.lock().await;
        if let Some(mut link) = held.take() {
            match call(&mut link, address, ask).await {
                // The broker closed the connection since it was last used, as it does with idle ones: not its failure.
                Err(LinkError::Closed | LinkError::Io(_)) => {}
                result => {
                    if result.is_ok() {
                        *held = Some(link);
                    }
                    return result;
                }
            }
        }
        let opening = Link::open(address, &self.connection);
        let mut link = tokio::time::timeout(limits.connect, opening)
            .await
            .unwrap_or(Err(LinkError::TimedOut(limits.connect)))?;
        let result = call(&mut link, address, ask).await;
        if matches!(result, Ok(_) | Err(LinkError::NotOffered(_))) {
            *held = Some(link);
        }
        result
    }

    /// Asks any broker: the bootstrap servers and then the others that are known, those that failed lately last. One
    /// that is slow is not waited for; the next one is asked as well. For requests that may be made twice.
    pub(super) async fn ask_any<A: Ask>(&self, limits: Limits, ask: &A) -> Result<AnswerTo<A>, AdminError> {
        let mut waiting = self.candidates().into_iter();
        let mut running = FuturesUnordered::new();
        let mut attempts = Vec::new();
        let deadline = tokio::time::Instant::now() + 2 * limits.call;
        loop {
            if let Some(address) = waiting.next() {
                running.push(async move {
                    let result = self.ask(&address, limits, ask).await;
                    (address, result)
                });
            }
            let next = tokio::time::Instant::now() + limits.patience;
            let until = if waiting.len() > 0 { next.min(deadline) } else { deadline };
            tokio::select! {
                Some((address, result)) = running.next() => match result {
                    Ok(answer) => return Ok(answer),
                    Err(LinkError::NotOffered(reason)) => {
                        return Err(AdminError::Unsupported { request: A::Request::NAME, address, reason });
                    }
                    Err(error) => attempts.push(Attempt { address, error: error.to_string() }),
                },
                () = tokio::time::sleep_until(until) => {}
            }
            let exhausted = running.is_empty() && waiting.len() == 0;
            if exhausted || tokio::time::Instant::now() >= deadline {
                return Err(AdminError::Unreachable { request: A::Request::NAME, attempts });
            }
        }
    }

    fn candidates(&self) -> Vec<String> {
        let brokers = lock(&self.brokers);
        let mut candidates: Vec<(Option<Instant>, String)> = Vec::new();
        for address in self.connection.bootstrap().iter().chain(&brokers.known) {
            if candidates.iter().all(|(_, seen)| seen != address) {
                let failed = brokers.slots.get(address).and_then(|slot| *lock(&slot.failed));
                candidates.push((failed.filter(|at| at.elapsed() < DISTRUST), address.clone()));
            }
        }
        // Stable: trusted ones first in their order, then by how long ago they failed.
        candidates.sort_by_key(|(failed, _)| *failed);
        candidates.into_iter().map(|(_, address)| address).collect()
    }
}

async fn call<A: Ask>(link: &mut Link, address: &str, ask: &A) -> Result<AnswerTo<A>, LinkError> {
    let version = link.version::<A::Request>()?;
    let body = link.call(&ask.request(version), version).await?;
    Ok(Answer { body, version, address: address.to_owned() })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these guard is replaced whole, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
