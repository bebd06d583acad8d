//! The one task that keeps the `KafkaReassignment` objects.
//!
//! It asks the lease before each call, times every call out, and names the version that it replaces or removes. Objects
//! are found again by their names, which are made from the digests, so that a successor goes on with them. No object has
//! a finalizer, and nothing here is waited for by the engine.

use super::{
    super::{
        events::Allowance,
        facts::{Board, Facts},
        lease::Leadership,
        object::PolicyKey,
        watch_backoff, watch_config,
    },
    Approvals,
    index::{Index, Place, place},
    plan::{Call, Memory, plan},
    seen::Seen,
};
use doctorkafka_doctor::Role;
use futures::{StreamExt, stream::SelectAll};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams, Preconditions},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest wait for one call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two rounds: what comes in a burst is looked at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// First and longest pause after a call that failed, for the object that it was about.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long the actions log has to tell the end of a treatment that is gone.
const GRACE: Duration = Duration::from_secs(5);

/// Events of the watches that are taken at once.
const EVENTS: usize = 256;

/// Something that a watch tells, with the namespace that it watches; `None` for all.
type Told = (Option<String>, watcher::Result<Event<DynamicObject>>);

/// Keeps the objects of all policies.
pub(in super::super) struct ReassignmentWriter {
    client: Client,
    leadership: Leadership,
    board: Arc<Board>,
    approvals: Arc<Approvals>,
    index: Index,
    /// Namespaces whose watch has listed its objects once.
    listed: BTreeSet<Option<String>>,
    notes: Notes,
    creations: BTreeMap<PolicyKey, Allowance>,
    trouble: Option<String>,
}

/// What is remembered of objects.
#[derive(Default)]
struct Notes {
    written: BTreeMap<Place, Instant>,
    gone_since: BTreeMap<Place, Instant>,
    /// Not to be tried before, after which pause, and what went wrong.
    retry: BTreeMap<Place, (Instant, Duration, String)>,
}

impl Memory for Notes {
    fn has_waited(&self, place: &Place) -> bool {
        self.gone_since.get(place).is_some_and(|since| since.elapsed() >= GRACE)
    }

    fn written(&self, place: &Place) -> Option<Instant> {
        self.written.get(place).copied()
    }
}

impl ReassignmentWriter {
    pub fn new(client: Client, leadership: Leadership, board: Arc<Board>, approvals: Arc<Approvals>) -> Self {
        Self {
            client,
            leadership,
            board,
            approvals,
            index: Index::default(),
            listed: BTreeSet::new(),
            notes: Notes::default(),
            creations: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Watches these namespaces, or all when none is named, and keeps the objects there until it is dropped.
    pub async fn run(mut self, namespaces: Vec<String>) {
        let watched: Vec<Option<String>> =
            if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
        self.index = Index::new(watched.len());
        let mut watches = SelectAll::new();
        for namespace in watched {
            let api = match &namespace {
                None => Api::all_with(self.client.clone(), &Seen::resource()),
                Some(name) => Api::namespaced_with(self.client.clone(), name, &Seen::resource()),
            };
            let watch = watcher::watcher(api, watch_config()).backoff(watch_backoff());
            watches.push(watch.map(move |event| (namespace.clone(), event)).boxed());
        }
        let mut watches = watches.ready_chunks(EVENTS);
        let (mut changes, mut authority) = (self.board.changed(), self.leadership.authority.clone());
        loop {
            changes.mark_unchanged();
            let next = self.round().await;
            tokio::time::sleep(LOOK_EVERY).await;
            tokio::select! {
                told = watches.next() => match told {
                    Some(told) => told.into_iter().for_each(|told| self.hear(told)),
                    None => return,
                },
                changed = changes.changed() => if changed.is_err() { return },
                changed = authority.changed() => if changed.is_err() { return },
                () = super::super::until(next) => {}
            }
        }
    }

    fn hear(&mut self, (namespace, event): Told) {
        match event {
            Ok(Event::Init) => {}
            Ok(Event::InitApply(object)) => {
                if let Some(seen) = Seen::read(&object) {
                    self.index.list(seen);
                }
            }
            Ok(Event::InitDone) => {
                let first = self.listed.insert(namespace.clone());
                self.index.listed(namespace.as_deref(), first);
            }
            Ok(Event::Apply(object)) => {
                if let Some(seen) = Seen::read(&object) {
                    self.index.put(seen);
                }
            }
            Ok(Event::Delete(object)) => {
                if let Some(seen) = Seen::read(&object) {
                    self.index.remove(&place(&seen), &seen.uid);
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!("treatments cannot be watched, so none is approved; trying on: {error}");
                    self.trouble = Some(error);
                }
                return;
            }
        }
        if self.trouble.take().is_some() {
            tracing::info!("treatments are watched again");
        }
    }

    /// Makes the calls that are due, and says when the next will be.
    async fn round(&mut self) -> Option<Instant> {
        if !self.leadership.is_valid() {
            self.approvals.clear();
            self.notes = Notes::default();
            return None;
        }
        if !self.index.is_whole() {
            return None;
        }
        let all = self.board.all();
        self.creations.retain(|key, _| all.contains_key(key));
        let mut next: Option<Instant> = None;
        let mut waits = BTreeSet::new();
        for facts in all.values() {
            next = next.into_iter().chain(self.attend(facts, &mut waits).await).min();
        }
        self.notes.gone_since.retain(|place, _| waits.contains(place));
        for place in waits {
            let since = *self.notes.gone_since.entry(place).or_insert_with(Instant::now);
            next =
                next.into_iter().chain([since + GRACE].into_iter().filter(|_| since.elapsed() < GRACE)).min();
        }
        let index = &self.index;
        self.notes.written.retain(|place, _| index.get(place).is_some());
        let now = Instant::now();
        self.notes.retry.retain(|_, (until, pause, _)| now < *until + *pause);
        next
    }

    /// Keeps the objects of one policy.
    async fn attend(&mut self, facts: &Facts, waits: &mut BTreeSet<Place>) -> Option<Instant> {
        let leads = |role: &Role| matches!(role, Role::Leading { .. });
        let report = facts.report.as_ref().filter(|report| leads(&report.role))?;
        if facts.conflict().is_some() {
            return None;
        }
        let policy = &facts.object;
        let moment = (Timestamp::now(), Instant::now());
        let plan = plan(policy, report, &self.index, &self.notes, moment);
        self.approvals.set(&policy.key, plan.decisions);
        waits.extend(plan.waits);
        let mut next = plan.next;
        for call in plan.calls {
            let at = call.place();
            let retry = self.notes.retry.get(&at).map(|(retry, ..)| *retry);
            if let Some(retry) = retry.filter(|retry| *retry > Instant::now()) {
                next = next.into_iter().chain([retry]).min();
                continue;
            }
            if matches!(call, Call::Create(_)) {
                let allowance = self.creations.entry(policy.key.clone()).or_insert_with(Allowance::full);
                if !allowance.take(Instant::now()) {
                    continue;
                }
            }
            // Last of all, right before the call.
            if !self.leadership.is_valid() {
                return None;
            }
            match tokio::time::timeout(TIMEOUT, self.call(call)).await {
                Ok(Ok(())) => drop(self.notes.retry.remove(&at)),
                Ok(Err(error)) => next = next.into_iter().chain([self.fail(&at, &error)]).min(),
                Err(_) => {
                    let error = format!("no answer within {TIMEOUT:?}");
                    next = next.into_iter().chain([self.fail(&at, &error)]).min();
                }
            }
        }
        next
    }

    async fn call(&mut self, call: Call) -> Result<(), String> {
        let (namespace, name) = call.place();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &Seen::resource());
        let parameters =
            PostParams { field_manager: Some("doctorkafka-operator".to_owned()), ..PostParams::default() };
        let (outcome, uid) = match call {
            Call::Create(object) => {
                let object = serde_json::to_value(&*object).and_then(serde_json::from_value);
                let object: DynamicObject = object.map_err(|error| error.to_string())?;
                (api.create(&parameters, &object).await, None)
            }
            Call::Write(seen, status) => {
                let body = seen.with_status(&status);
                (api.replace_status(&name, &parameters, &body).await, Some(seen.uid))
            }
            Call::Remove(seen, why) => {
                tracing::info!(namespace, name, "removing a KafkaReassignment: {why}");
                let preconditions = Preconditions {
                    uid: Some(seen.uid.clone()),
                    resource_version: Some(seen.version.clone()),
                };
                let parameters =
                    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                match api.delete(&name, &parameters).await {
                    Ok(_) => {
                        // What somebody's finalizer holds is seen again by the watch, on its way out.
                        self.index.remove(&place(&seen), &seen.uid);
                        return Ok(());
                    }
                    Err(error) => (Err(error), Some(seen.uid)),
                }
            }
        };
        match outcome {
            Ok(stored) => {
                let seen = Seen::read(&stored);
                self.notes.written.insert((namespace, name), Instant::now());
                seen.into_iter().for_each(|seen| self.index.put(seen));
                Ok(())
            }
            // Somebody else was quicker: with a change, or with an object of the same name.
            Err(kube::Error::Api(status)) if status.code == 409 => self.read(&api, &namespace, &name).await,
            Err(kube::Error::Api(status)) if status.code == 404 && uid.is_some() => {
                self.index.remove(&(namespace, name), &uid.unwrap_or_default());
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// After a conflict: the watch may not have said so yet.
    async fn read(&mut self, api: &Api<DynamicObject>, namespace: &str, name: &str) -> Result<(), String> {
        let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
        let at = (namespace.to_owned(), name.to_owned());
        match found.as_ref().and_then(Seen::read) {
            Some(seen) => self.index.put(seen),
            None => {
                let known = self.index.get(&at).map(|known| known.uid.clone());
                known.into_iter().for_each(|uid| self.index.remove(&at, &uid));
            }
        }
        Ok(())
    }

    fn fail(&mut self, at: &Place, error: &str) -> Instant {
        let before = self.notes.retry.get(at);
        if before.is_none_or(|(.., told)| told != error) {
            tracing::warn!(
                namespace = at.0,
                name = at.1,
                "a KafkaReassignment could not be written, trying on: {error}"
            );
        }
        let pause = before.map_or(PAUSES.0, |(_, pause, _)| (*pause * 2).min(PAUSES.1));
        let retry = Instant::now() + pause;
        self.notes.retry.insert(at.clone(), (retry, pause, error.to_owned()));
        retry
    }
}
