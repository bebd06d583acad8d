//! The engine's tasks and how they are wired.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use doctorkafka_diagnosis::{Moment, PlatformFacts};
use doctorkafka_kafka::{ActionLogReader, Admin, Connection, LogEvent, MetricsEvent, ReportReader};
use doctorkafka_wire::BrokerId;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    Authority, Decisions, DoctorReport, Policy,
    execute::{Ended, Mandate},
    observe::{Clock, Observer, Sight},
    planning::Planning,
    remedy::job::Planned,
    state::EngineState,
    term::{TAIL, Term, TermEvent},
    therapy::Therapy,
};

/// How often what has come in is turned into a diagnosis.
const STEP: Duration = Duration::from_millis(50);

/// Longest wait of one admin call before another broker is asked.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);

/// First and longest pause between a term that broke and the next, so that a log that can be opened and not be written
/// is not opened and read without end.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What an engine needs to start. A change of anything but the policy needs a new engine.
pub struct DoctorSettings {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Name of this instance, for logs.
    pub identity: String,
    /// The policy; a new value takes effect at once. Its connection and topics must stay the same.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// Whether this instance leads. When its sender is dropped, it stands by.
    pub authority: watch::Receiver<Authority>,
    /// Whether this instance may act at this very moment, by a deadline on the monotonic clock; asked right before each
    /// change of the cluster. After a pause of the process it is right at once, while `authority` is as old as the last turn
    /// of whoever tells it.
    pub mandate: Arc<dyn Mandate>,
    /// Set when another policy already watches the same Kafka cluster: says who. The engine then writes nothing.
    pub conflict: watch::Receiver<Option<String>>,
    /// What people have decided about proposals.
    pub decisions: watch::Receiver<Arc<Decisions>>,
    /// What is known of pods, nodes and volumes, told again at least every
    /// [`TOLD_EVERY`](doctorkafka_diagnosis::TOLD_EVERY) where it is asked for. Where there is no such platform, the
    /// default: nothing is asked for, and nothing waits for it.
    pub platform: watch::Receiver<Arc<PlatformFacts>>,
}

/// A running engine.
pub struct Doctor {
    /// What it knows; always holds the newest.
    pub reports: watch::Receiver<Arc<DoctorReport>>,
    /// Its main task. Ends after `cancel` was cancelled, and by itself, with an error in the log, when a part of the
    /// engine has failed or the addresses lead to another Kafka cluster than before; a new engine is needed then.
    pub task: tokio::task::JoinHandle<()>,
}

impl Doctor {
    /// Starts the engine's tasks. They end when `cancel` is cancelled.
    pub fn start(settings: DoctorSettings, cancel: CancellationToken) -> Self {
        let clock = Clock::start();
        let policy = settings.policy.borrow().clone();
        // The engine and all its parts end together, whichever ends first.
        let cancel = cancel.child_token();
        let mut state = EngineState::new(policy.clone(), clock.now());
        let (publish, reports) = watch::channel(Arc::new(state.report(clock.now(), Timestamp::now())));
        let (sights, seen) = mpsc::channel(1_024);
        let (silent, worth_probing) = watch::channel(BTreeMap::new());
        let (want_loads, loads_wanted) = watch::channel(None);
        let observer = Observer {
            admin: Admin::new(settings.connection.clone()).with_timeout(ADMIN_TIMEOUT),
            clock,
            topics: policy.topics.clone(),
            sights,
        };
        let observing = cancel.clone();
        let engine = Engine {
            settings,
            clock,
            state,
            cancel,
            publish,
            silent,
            want_loads,
            metrics: None,
            log: None,
            term: None,
            therapy: None,
            planning: None,
            pause: Pause::default(),
            orphaned: false,
        };
        let observe = observer.run(worth_probing, loads_wanted);
        tokio::spawn(async move { observing.run_until_cancelled(observe).await });
        Self { reports, task: tokio::spawn(engine.run(seen)) }
    }
}

struct Engine {
    settings: DoctorSettings,
    clock: Clock,
    state: EngineState,
    cancel: CancellationToken,
    publish: watch::Sender<Arc<DoctorReport>>,
    silent: watch::Sender<BTreeMap<BrokerId, String>>,
    want_loads: watch::Sender<Option<Moment>>,
    metrics: Option<mpsc::Receiver<MetricsEvent>>,
    log: Option<mpsc::Receiver<LogEvent>>,
    term: Option<Term>,
    /// The treatment under way. It ends with the term.
    therapy: Option<Therapy>,
    /// The plan that is being made.
    planning: Option<Planning>,
    pause: Pause,
    /// Nobody is left who could say whether this instance leads.
    orphaned: bool,
}

impl Engine {
    async fn run(mut self, seen: mpsc::Receiver<Sight>) {
        let _ended = self.cancel.clone().drop_guard();
        let cancel = self.cancel.clone();
        let outcome = cancel.run_until_cancelled(self.work(seen)).await;
        // When all are told to end, the readers may be quicker than this task.
        if let Some(why) = outcome.filter(|_| !cancel.is_cancelled()) {
            error!(policy = self.state.policy().name, "the engine ends: {why}");
        }
    }

    /// Works until a part that it cannot do without has ended. Gives the reason.
    async fn work(&mut self, mut seen: mpsc::Receiver<Sight>) -> &'static str {
        let mut step = interval(STEP);
        step.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reports = Vec::new();
        self.see_platform();
        self.hear_decisions();
        loop {
            tokio::select! {
                sight = seen.recv() => {
                    let Some(sight) = sight else { return "the observation of Kafka has ended" };
                    self.see(sight);
                    if self.state.is_replaced(self.clock.now()) {
                        return "the bootstrap servers lead to another Kafka cluster than before";
                    }
                }
                count = many(&mut self.metrics, &mut reports) => {
                    if count == 0 {
                        return "the reader of the metrics topic has ended";
                    }
                    let now = self.clock.now();
                    reports.drain(..).for_each(|event| self.state.metrics(event, now));
                }
                event = next(&mut self.log) => {
                    let Some(event) = event else { return "the reader of the actions log has ended" };
                    self.hear_log(event);
                }
                event = told(&mut self.term) => self.hear_term(event),
                ended = finished(&mut self.therapy) => self.hear_end(ended),
                (number, planned) = made(&mut self.planning) => {
                    self.planning = None;
                    self.state.planned(number, planned);
                }
                // Without an adapter the last policy and the last conflict stand.
                Ok(()) = self.settings.policy.changed() => {
                    let policy = self.settings.policy.borrow_and_update().clone();
                    self.state.set_policy(policy);
                }
                Ok(()) = self.settings.platform.changed() => self.see_platform(),
                Ok(()) = self.settings.decisions.changed() => self.hear_decisions(),
                Ok(()) = self.settings.conflict.changed() => self.follow_authority(),
                changed = self.settings.authority.changed(), if !self.orphaned => {
                    self.orphaned = changed.is_err();
                    self.follow_authority();
                }
                _ = step.tick() => {
                    if self.term.is_none() {
                        self.follow_authority();
                    }
                    self.step();
                }
            }
        }
    }

    fn hear_decisions(&mut self) {
        let decisions = self.settings.decisions.borrow_and_update().clone();
        self.state.set_decisions(decisions);
    }

    fn see_platform(&mut self) {
        let facts = self.settings.platform.borrow_and_update().clone();
        self.state.see_platform(facts, self.clock.now());
    }

    fn see(&mut self, sight: Sight) {
        if matches!(sight, Sight::OwnTopics(Ok(()))) && self.metrics.is_none() {
            let topics = self.state.policy().topics.clone();
            let connection = &self.settings.connection;
            let cancel = self.cancel.child_token();
            self.metrics = Some(ReportReader::start(connection.clone(), &topics.metrics, cancel.clone()));
            self.log = Some(ActionLogReader::start(connection.clone(), &topics.actions_log, TAIL, cancel));
        }
        self.state.see(sight, self.clock.now());
    }

    /// Begins or ends a term as authority, conflict and knowledge of the cluster ask for.
    fn follow_authority(&mut self) {
        let authority = match *self.settings.authority.borrow_and_update() {
            _ if self.orphaned => Authority::Standby,
            authority => authority,
        };
        let in_conflict = {
            let conflict = self.settings.conflict.borrow_and_update();
            self.state.set_conflict(conflict.as_deref());
            conflict.is_some()
        };
        if authority == Authority::Standby {
            self.state.stand_by();
            self.pause = Pause::default();
        }
        if in_conflict || authority == Authority::Standby {
            self.end_term();
            return;
        }
        // Once fenced, only a new election brings a new term. An uncertain leader keeps its term and begins none.
        let may_begin = authority == Authority::Leading && self.term.is_none() && !self.state.is_fenced();
        if !may_begin || !self.pause.is_over(self.clock.now()) || self.log.is_none() {
            return;
        }
        if let Some(cluster_id) = self.state.cluster_id() {
            info!(policy = self.state.policy().name, identity = self.settings.identity, "taking over");
            let topic = self.state.policy().topics.actions_log.clone();
            let cancel = self.cancel.child_token();
            self.term = Some(Term::start(self.settings.connection.clone(), topic, cluster_id, cancel));
            self.state.begin_term();
        }
    }

    fn hear_term(&mut self, event: TermEvent) {
        match &event {
            TermEvent::Committed(_) => self.pause = Pause::default(),
            TermEvent::Fenced => warn!(
                policy = self.state.policy().name,
                identity = self.settings.identity,
                "fenced: another doctor has taken the actions log over; standing by"
            ),
            TermEvent::Broken => self.pause.begin(self.clock.now()),
            // The leader before may have changed something a moment ago.
            TermEvent::Opened(_) => self.state.distrust_topics(self.clock.now()),
            TermEvent::Stepped(_) | TermEvent::Failed(_) | TermEvent::LeftOut => {}
        }
        if matches!(event, TermEvent::Fenced | TermEvent::Broken) {
            self.end_term();
        }
        self.state.hear_term(event);
    }

    fn end_term(&mut self) {
        self.term = None;
        self.therapy = None;
    }

    fn hear_end(&mut self, ended: Option<Ended>) {
        let Some(therapy) = self.therapy.take() else { return };
        // What the treatment wrote last is known before another is thought of.
        while let Some(event) = self.term.as_mut().and_then(|term| term.events.try_recv().ok()) {
            self.hear_term(event);
        }
        self.state.ended(therapy.task(), ended.as_ref(), self.clock.now(), Timestamp::now());
        let policy = &self.state.policy().name;
        match ended {
            Some(Ended::Done { .. }) => info!(policy, "done: {}", therapy.sentence),
            Some(Ended::Swept { .. }) => info!(policy, "done: {}", therapy.sentence),
            Some(Ended::GivenUp { why, .. }) => warn!(policy, "given up: {}: {why}", therapy.sentence),
            Some(Ended::Refused(hold)) => warn!(policy, "not begun: {}: {hold}", therapy.sentence),
            Some(Ended::Interrupted(hold)) => warn!(policy, "interrupted: {}: {hold}", therapy.sentence),
            Some(Ended::Fenced) => {}
            None => error!(policy, "the task of a treatment has failed: {}", therapy.sentence),
        }
    }

    /// Begins the treatment that is due, and keeps the one under way to what the policy wants now.
    fn treat(&mut self, now: Moment, wall: Timestamp) {
        let leads = *self.settings.authority.borrow() == Authority::Leading && !self.orphaned;
        if let (Some(term), None, true) = (&self.term, &self.therapy, leads)
            && let Some((task, author)) = self.state.due_treatment(now, wall)
        {
            let settings = &self.settings;
            let leave = (settings.authority.clone(), settings.mandate.clone());
            let control = self.state.orders(task.treatment(), now, wall);
            self.state.begun(&task);
            let therapy =
                Therapy::start(&settings.connection, term.step_log(), leave, author, task, control, now);
            info!(policy = self.state.policy().name, "begins: {}", therapy.sentence);
            self.therapy = Some(therapy);
        }
        if let Some(therapy) = &mut self.therapy {
            self.state.keep_pace(therapy.task().treatment(), now);
            therapy.control(self.state.orders(therapy.task().treatment(), now, wall));
            if let Some(progress) = therapy.worth_telling(now) {
                info!(policy = self.state.policy().name, "under way: {}, {progress}", therapy.sentence);
            }
        }
        self.state.set_treatment(self.therapy.as_ref().and_then(Therapy::view));
    }

    fn hear_log(&mut self, event: LogEvent) {
        // What this leader takes for told is not in the new log. The next term reads it and tells what it lacks.
        if matches!(event, LogEvent::Restarted) && self.state.leads() {
            warn!(policy = self.state.policy().name, "the actions log was made anew: taking over again");
            self.end_term();
            self.state.end_term();
        }
        self.state.log(event);
    }

    fn step(&mut self) {
        let now = self.clock.now();
        let wall = Timestamp::now();
        let room = self.term.as_ref().map_or(0, Term::room);
        for record in self.state.step(now, wall, room) {
            // There is room, so only a term that is over refuses. The next one finds lacking what is not in the log.
            if !self.term.as_ref().is_some_and(|term| term.write(record)) {
                tracing::debug!(policy = self.state.policy().name, "the term is over: a record is put off");
            }
        }
        if self.planning.is_none() {
            self.planning = self.state.take_job().map(Planning::start);
        }
        self.treat(now, wall);
        self.state.set_waiting(self.term.as_ref().map_or(0, Term::waiting));
        self.silent.send_if_modified(|silent| {
            let worth_probing = self.state.worth_probing(now);
            let changed = *silent != worth_probing;
            *silent = worth_probing;
            changed
        });
        let loads_wanted = self.state.loads_wanted();
        self.want_loads.send_if_modified(|wanted| std::mem::replace(wanted, loads_wanted) != loads_wanted);
        if self.state.worth_publishing(now) {
            self.publish.send_replace(Arc::new(self.state.report(now, wall)));
        }
    }
}

/// The pause between a term that broke and the next.
#[derive(Debug, Default)]
struct Pause {
    until: Option<Moment>,
    length: Duration,
}

impl Pause {
    /// Begins a pause, twice as long as the one before.
    fn begin(&mut self, now: Moment) {
        self.length = (self.length * 2).clamp(PAUSES.0, PAUSES.1);
        self.until = Some(now + self.length);
    }

    fn is_over(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| until <= now)
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

async fn finished(therapy: &mut Option<Therapy>) -> Option<Ended> {
    match therapy {
        Some(therapy) => therapy.ended().await,
        None => std::future::pending().await,
    }
}

async fn made(planning: &mut Option<Planning>) -> (u64, Option<Planned>) {
    match planning {
        Some(planning) => planning.ended().await,
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
