//! The engine's tasks and how they are wired.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_kafka::{ActionLogReader, Admin, Connection, LogEvent, MetricsEvent, ReportReader};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Authority, DoctorReport, Policy,
    core::Core,
    observe::{Clock, Observer, Sight},
    term::{TAIL, Term, TermEvent},
};

/// How often what has come in is turned into a diagnosis.
const STEP: Duration = Duration::from_millis(50);

/// Longest wait of one admin call before another broker is asked.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What an engine needs to start. A change of anything but the policy needs a new engine.
pub struct DoctorSettings {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Name of this instance, for logs.
    pub identity: String,
    /// The policy; a new value takes effect at once. Its connection and topics must stay the same.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Whether this instance leads.
    pub authority: watch::Receiver<Authority>,
    /// Set when another policy already watches the same Kafka cluster: says who. The engine then writes nothing.
    pub conflict: watch::Receiver<Option<String>>,
}

/// A running engine.
pub struct Doctor {
    /// What it knows; always holds the newest.
    pub reports: watch::Receiver<Arc<DoctorReport>>,
    /// Its main task; ends after `cancel` was cancelled.
    pub task: tokio::task::JoinHandle<()>,
}

impl Doctor {
    /// Starts the engine's tasks. They end when `cancel` is cancelled.
    pub fn start(settings: DoctorSettings, cancel: CancellationToken) -> Self {
        let clock = Clock::start();
        let policy = settings.policy.borrow().clone();
        let core = Core::new(policy.clone(), clock.now());
        let (publish, reports) = watch::channel(Arc::new(core.report(Timestamp::now())));
        let (sights, seen) = mpsc::channel(1_024);
        let (silent, worth_probing) = watch::channel(BTreeMap::new());
        let observer = Observer {
            admin: Admin::new(settings.connection.clone()).with_timeout(ADMIN_TIMEOUT),
            clock,
            topics: policy.topics.clone(),
            sights,
        };
        let engine = Engine {
            settings,
            clock,
            core,
            cancel: cancel.child_token(),
            publish,
            silent,
            metrics: None,
            log: None,
            term: None,
        };
        let observing = cancel.child_token();
        tokio::spawn(async move { observing.run_until_cancelled(observer.run(worth_probing)).await });
        Self { reports, task: tokio::spawn(engine.run(seen)) }
    }
}

struct Engine {
    settings: DoctorSettings,
    clock: Clock,
    core: Core,
    cancel: CancellationToken,
    publish: watch::Sender<Arc<DoctorReport>>,
    silent: watch::Sender<BTreeMap<doctorkafka_wire::BrokerId, String>>,
    metrics: Option<mpsc::Receiver<MetricsEvent>>,
    log: Option<mpsc::Receiver<LogEvent>>,
    term: Option<Term>,
}

impl Engine {
    async fn run(mut self, mut seen: mpsc::Receiver<Sight>) {
        let mut step = interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::new();
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                Some(sight) = seen.recv() => self.see(sight),
                count = many(&mut self.metrics, &mut reports) => {
                    if count == 0 {
                        self.metrics = None;
                    }
                    let now = self.clock.now();
                    reports.drain(..).for_each(|event| self.core.metrics(event, now));
                }
                event = next(&mut self.log) => match event {
                    Some(event) => self.core.log(event),
                    None => self.log = None,
                },
                event = told(&mut self.term) => self.hear_term(event),
                Ok(()) = self.settings.policy.changed() => {
                    let policy = self.settings.policy.borrow_and_update().clone();
                    self.core.set_policy(policy);
                }
                Ok(()) = self.settings.authority.changed() => self.follow_authority(),
                Ok(()) = self.settings.conflict.changed() => self.follow_authority(),
                _ = step.tick() => {
                    if self.term.is_none() {
                        self.follow_authority();
                    }
                    self.step();
                }
            }
        }
    }

    fn see(&mut self, sight: Sight) {
        if matches!(sight, Sight::TopicsReady) && self.metrics.is_none() {
            let topics = self.core.policy().topics.clone();
            let connection = &self.settings.connection;
            let cancel = self.cancel.child_token();
            self.metrics = Some(ReportReader::start(connection.clone(), &topics.metrics, cancel.clone()));
            self.log = Some(ActionLogReader::start(connection.clone(), &topics.actions_log, TAIL, cancel));
        }
        self.core.see(sight, self.clock.now());
    }

    /// Begins or ends a term as authority, conflict and knowledge of the cluster ask for.
    fn follow_authority(&mut self) {
        let conflict = self.settings.conflict.borrow_and_update().clone();
        let authority = *self.settings.authority.borrow_and_update();
        let may_write = conflict.is_none() && authority != Authority::Standby;
        self.core.set_conflict(conflict);
        if !may_write {
            self.term = None;
            self.core.end_term();
            return;
        }
        // Once fenced, only a new election brings a new term. An uncertain leader keeps its term and begins none.
        let may_begin = authority == Authority::Leading && self.term.is_none() && !self.core.is_fenced();
        let ready = self.log.is_some().then(|| self.core.cluster_id()).flatten();
        if let (true, Some(cluster_id)) = (may_begin, ready) {
            tracing::info!(
                policy = self.core.policy().name,
                identity = self.settings.identity,
                "taking over"
            );
            let topic = self.core.policy().topics.actions_log.clone();
            let cancel = self.cancel.child_token();
            self.term = Some(Term::start(self.settings.connection.clone(), topic, cluster_id, cancel));
            self.core.begin_term();
        }
    }

    fn hear_term(&mut self, event: TermEvent) {
        if matches!(event, TermEvent::Fenced) {
            tracing::warn!(
                policy = self.core.policy().name,
                identity = self.settings.identity,
                "fenced: another doctor has taken the actions log over; standing by"
            );
        }
        if matches!(event, TermEvent::Fenced | TermEvent::Broken) {
            self.term = None;
        }
        self.core.hear_term(event);
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let wall = Timestamp::now();
        for record in self.core.step(now, wall) {
            let written = self.term.as_ref().is_some_and(|term| term.write(record));
            self.core.count_written(written);
        }
        self.core.set_waiting(self.term.as_ref().map_or(0, Term::waiting));
        self.silent.send_if_modified(|silent| {
            let worth_probing = self.core.worth_probing(now);
            let changed = *silent != worth_probing;
            *silent = worth_probing;
            changed
        });
        if self.core.worth_publishing(now) {
            self.publish.send_replace(Arc::new(self.core.report(wall)));
        }
    }
}

async fn next<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}

async fn many<T>(channel: &mut Option<mpsc::Receiver<T>>, into: &mut Vec<T>) -> usize {
    match channel {
        Some(channel) => channel.recv_many(into, 256).await,
        None => std::future::pending().await,
    }
}

async fn told(term: &mut Option<Term>) -> TermEvent {
    match term {
        Some(term) => match term.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
