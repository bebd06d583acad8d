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

/// An open connection on which nothing was asked yet. An old one may have been closed by the broker, and when a request on
/// it gets no answer nobody can tell whether it was read.
pub(super) struct Line {
    link: Link,
    address: String,
}

impl Line {
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn version<R: Request>(&self) -> Result<i16, LinkError> {
        self.link.version::<R>()
    }
}

/// Why a request that is made only once got no answer.
pub(super) enum SendError {
    /// The broker never saw it.
    NotSent(LinkError),
    /// The broker may have seen it.
    Sent(LinkError),
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
        if let Some(mut link) = held.take().filter(|link| !link.is_outlived()) {
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
        let mut link = self.open(address, limits).await?;
        let result = call(&mut link, address, ask).await;
        if matches!(result, Ok(_) | Err(LinkError::NotOffered(_))) {
            *held = Some(link);
        }
        result
    }

    async fn open(&self, address: &str, limits: Limits) -> Result<Link, LinkError> {
        let opening = Link::open(address, &self.connection);
        tokio::time::timeout(limits.connect, opening)
            .await
            .unwrap_or(Err(LinkError::TimedOut(limits.connect)))
    }

    /// Asks any broker: the bootstrap servers and then the others that are known, those that failed lately last. One
    /// that is slow is not waited for; the next one is asked as well. For requests that may be made twice.
    pub(super) async fn ask_any<A: Ask>(&self, limits: Limits, ask: &A) -> Result<AnswerTo<A>, AdminError> {
        let deadline = tokio::time::Instant::now() + 2 * limits.call;
        self.first(A::Request::NAME, limits.patience, deadline, |address| async move {
            let result = self.ask(&address, limits, ask).await;
            (address, result)
        })
        .await
    }

    /// A new connection to one broker, for a request that must not be made twice.
    pub(super) async fn line_to(&self, address: &str, limits: Limits) -> Result<Line, LinkError> {
        let result = self.open(address, limits).await;
        self.note(address, result.is_err());
        Ok(Line { link: result?, address: address.to_owned() })
    }

    /// A new connection to any broker, for a request that must not be made twice: connecting to several is harmless.
    pub(super) async fn line<R: Request>(&self, limits: Limits) -> Result<Line, AdminError> {
        let deadline = tokio::time::Instant::now() + limits.call;
        self.first(R::NAME, limits.patience, deadline, |address| async move {
            let result = self.line_to(&address, limits).await;
            (address, result)
        })
        .await
    }

    /// Sends a request on a new connection. What comes of it is known only from an answer: after an error in `Sent` the
    /// broker may have got it.
    pub(super) async fn send<A: Ask>(
        &self,
        mut line: Line,
        limits: Limits,
        ask: &A,
    ) -> Result<AnswerTo<A>, SendError> {
        let version = line.link.version::<A::Request>().map_err(SendError::NotSent)?;
        let request = ask.request(version);
        let result = tokio::time::timeout(limits.call, line.link.call(&request, version))
            .await
            .unwrap_or(Err(LinkError::TimedOut(limits.call)));
        match result {
            Ok(body) => Ok(Answer { body, version, address: line.address }),
            Err(error @ LinkError::Encode(_)) => Err(SendError::NotSent(error)),
            Err(error) => {
                self.note(&line.address, true);
                Err(SendError::Sent(match error {
                    // A guess about the listener that questions make. Here a broker may have died of its work.
                    LinkError::Unwelcome => LinkError::Closed,
                    error => error,
                }))
            }
        }
    }

    fn note(&self, address: &str, failed: bool) {
        let slot = Arc::clone(lock(&self.brokers).slots.entry(address.to_owned()).or_default());
        *lock(&slot.failed) = failed.then(Instant::now);
    }

    /// What the first broker gives of which `attempt` gets anything. The next one is tried as well whenever one failed or
    /// has had `patience`.
    async fn first<T, F>(
        &self,
        request: &'static str,
        patience: Duration,
        deadline: tokio::time::Instant,
        attempt: impl Fn(String) -> F,
    ) -> Result<T, AdminError>
    where
        F: Future<Output = (String, Result<T, LinkError>)>,
    {
        let mut waiting = self.candidates().into_iter();
        let mut running = FuturesUnordered::new();
        let mut attempts = Vec::new();
        loop {
            if let Some(address) = waiting.next() {
                running.push(attempt(address));
            }
            let next = tokio::time::Instant::now() + patience;
            let until = if waiting.len() > 0 { next.min(deadline) } else { deadline };
            tokio::select! {
                Some((address, result)) = running.next() => match result {
                    Ok(answer) => return Ok(answer),
                    Err(LinkError::NotOffered(reason)) => {
                        return Err(AdminError::Unsupported { request, address, reason });
                    }
                    Err(error) => attempts.push(Attempt { address, error: error.to_string() }),
                },
                () = tokio::time::sleep_until(until) => {}
            }
            let exhausted = running.is_empty() && waiting.len() == 0;
            if exhausted || tokio::time::Instant::now() >= deadline {
                return Err(AdminError::Unreachable { request, attempts });
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
