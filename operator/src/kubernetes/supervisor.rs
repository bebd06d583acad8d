//! Attends one policy: dereference, validate, and keep one engine running for it.
//!
//! Every instance does this for every policy, so that a stand-by takes over with warm knowledge. What the engine may
//! write is decided here: the election's word, unless another policy has the cluster or another doctor the log.

use super::{
    claims::{Claim, Claims, Target},
    facts::{Board, Facts},
    fence::Fence,
    lease::Leadership,
    object::{PolicyKey, PolicyObject},
    platform::Platform,
    reassignments::Approvals,
    secrets,
    validate::{self, Fixed, Problem, ValidPolicy},
};
use crate::fleet::Fleet;
use doctorkafka_doctor::{Authority, Doctor, DoctorReport, DoctorSettings, Policy, Role};
use kube::Client;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How often a Secret that is missing is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How often the Secrets that a connection was made from are read again: a rotated one takes effect so much later at the
/// most. Reading by name needs no permission to watch, which would show all Secrets of the namespace.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// First and longest pause before an engine that ended by itself is started again.
const RESTARTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// After so long the pause is the first again.
const CALM: Duration = Duration::from_secs(600);

/// How long an engine may take to end before it is cut off.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What all supervisors share.
pub(super) struct Shared {
    pub client: Client,
    /// Name of this instance.
    pub identity: String,
    pub fleet: Fleet,
    pub claims: Claims,
    pub board: Arc<Board>,
    pub approvals: Arc<Approvals>,
    pub leadership: Leadership,
}

/// Attends one policy.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    key: PolicyKey,
    objects: watch::Receiver<Arc<PolicyObject>>,
    authority: watch::Receiver<Authority>,
    object: Arc<PolicyObject>,
    problem: Option<Problem>,
    engine: Option<Engine>,
    platform: Platform,
    look_again: Option<Instant>,
    restart_after: Duration,
    /// Finds out what the policy asks for: reads Secrets, which may take its time, while the engine has to hear of the
    /// election at once.
    preparing: Option<AbortOnDropHandle<Result<ValidPolicy, Problem>>>,
    /// Whether what is known is about the policy as it stands.
    settled: bool,
}

/// A running engine with the ends of its channels.
struct Engine {
    doctor: Doctor,
    cancel: CancellationToken,
    fixed: Fixed,
    policy: watch::Sender<Arc<Policy>>,
    authority: watch::Sender<Authority>,
    conflict: watch::Sender<Option<String>>,
    claim: watch::Receiver<Claim>,
    fence: Fence,
    started: Instant,
}

/// Something happened in an engine.
enum Stir {
    /// It has news, or the standing of its claim has changed.
    News,
    /// It has ended by itself.
    Ended(String),
}

impl Supervisor {
    pub fn new(shared: Arc<Shared>, objects: watch::Receiver<Arc<PolicyObject>>) -> Self {
        let object = objects.borrow().clone();
        Self {
            key: object.key.clone(),
            authority: shared.leadership.authority.clone(),
            platform: Platform::new(shared.client.clone(), &object.key.namespace),
            shared,
            objects,
            object,
            problem: None,
            engine: None,
            look_again: None,
            restart_after: RESTARTS.0,
            preparing: None,
            settled: false,
        }
    }

    /// Attends the policy until `cancel` is cancelled, and ends its engine, all within a bounded time. Begins when the
    /// one who attended an earlier policy of the same name has ended.
    pub async fn run(mut self, predecessor: Option<JoinHandle<()>>, cancel: CancellationToken) {
        if let Some(predecessor) = predecessor
            && predecessor.await.is_err()
        {
            tracing::error!(policy = %self.key, "the supervisor of the former policy of this name has failed");
        }
        cancel.run_until_cancelled(self.attend()).await;
        self.stop_engine(false).await;
        self.shared.fleet.remove(&self.key.to_string());
        self.shared.board.remove(&self.key);
    }

    async fn attend(&mut self) {
        self.reconcile();
        loop {
            self.follow();
            if self.settled {
                self.post();
            }
            let look_again = self.look_again;
            tokio::select! {
                changed = self.objects.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let object = self.objects.borrow_and_update().clone();
                    let asks_the_same = (&object.spec, object.paused) == (&self.object.spec, self.object.paused);
                    self.object = object;
                    if !asks_the_same {
                        self.settled = false;
                        self.reconcile();
                    }
                }
                changed = self.authority.changed() => if changed.is_err() { return },
                () = super::until(look_again) => self.reconcile(),
                prepared = prepared(&mut self.preparing) => self.settle(prepared).await,
                stir = stir(&mut self.engine) => if let Stir::Ended(how) = stir { self.engine_ended(how).await },
            }
        }
    }

    /// Begins to find out what the policy asks for.
    fn reconcile(&mut self) {
        self.look_again = None;
        let preparing = prepare(self.shared.client.clone(), self.object.clone());
        self.preparing = Some(AbortOnDropHandle::new(tokio::spawn(preparing)));
    }

    /// Brings the engine in line with the policy.
    async fn settle(&mut self, prepared: Result<ValidPolicy, Problem>) {
        self.settled = true;
        match prepared {
            Ok(valid) => {
                self.set_problem(None);
                let spec = self.object.spec.as_ref().ok();
                self.platform.follow(spec.and_then(|spec| spec.brokers.pod_selector.as_ref()));
                self.look_again = (!valid.references.is_empty()).then(|| Instant::now() + READ_AGAIN);
                if let Some(engine) = &self.engine {
                    engine.fixed.connection.renew(&valid.fixed.connection);
                }
                match &self.engine {
                    Some(engine) if engine.fixed == valid.fixed => engine.set_policy(valid.policy),
                    Some(_) => {
                        tracing::info!(
                            policy = %self.key,
                            "the connection, a Secret of it or the topics have changed: a new engine"
                        );
                        self.stop_engine(true).await;
                        self.start_engine(valid);
                    }
                    None => self.start_engine(valid),
                }
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(policy = %self.key, reason = problem.reason(), "{problem}");
                }
                let goes_on = problem.keeps_the_last_valid()
                    || problem.is_outside_the_policy() && self.engine_was_asked_the_same();
                if !goes_on {
                    self.stop_engine(false).await;
                }
                self.look_again = problem.may_pass().then(|| Instant::now() + LOOK_AGAIN);
                self.set_problem(Some(problem));
            }
        }
    }

    /// Whether the engine runs by the policy's connection as it is written now.
    fn engine_was_asked_the_same(&self) -> bool {
        let (Some(engine), Ok(spec)) = (&self.engine, &self.object.spec) else { return false };
        engine.fixed.kafka == spec.kafka && engine.fixed.topics == spec.topics
    }

    fn start_engine(&mut self, valid: ValidPolicy) {
        let cancel = CancellationToken::new();
        let policy = watch::Sender::new(valid.policy);
        let authority = watch::Sender::new(Authority::Standby);
        let conflict = watch::Sender::new(None);
        let claim = self.shared.claims.enter(&self.key, self.object.created);
        let leadership = self.shared.leadership.clone();
        let settings = DoctorSettings {
            connection: valid.fixed.connection.clone(),
            identity: self.shared.identity.clone(),
            policy: policy.subscribe(),
            authority: authority.subscribe(),
            mandate: Arc::new(move || leadership.is_valid()),
            conflict: conflict.subscribe(),
            decisions: self.shared.approvals.follow(&self.key),
            platform: self.platform.facts(),
        };
        let doctor = Doctor::start(settings, cancel.clone());
        self.shared.fleet.insert(&self.key.to_string(), doctor.reports.clone());
        let fixed = valid.fixed;
        self.engine = Some(Engine {
            doctor,
            cancel,
            fixed,
            policy,
            authority,
            conflict,
            claim,
            fence: Fence::default(),
            started: Instant::now(),
        });
    }

    async fn stop_engine(&mut self, another_follows: bool) {
        let Some(engine) = self.engine.take() else { return };
        let name = self.key.to_string();
        if another_follows {
            self.shared.fleet.retire(&name)
        } else {
            self.shared.fleet.remove(&name)
        }
        self.shared.claims.withdraw(&self.key);
        engine.stop(&self.key).await;
    }

    async fn engine_ended(&mut self, how: String) {
        tracing::error!(policy = %self.key, "the engine has ended by itself: {how}");
        if self.engine.as_ref().is_some_and(|engine| engine.started.elapsed() > CALM) {
            self.restart_after = RESTARTS.0;
        }
        self.stop_engine(false).await;
        self.preparing = None;
        self.settled = true;
        self.look_again = Some(Instant::now() + self.restart_after);
        self.restart_after = (self.restart_after * 2).min(RESTARTS.1);
        self.set_problem(Some(Problem::EngineEnded(how)));
    }

    fn set_problem(&mut self, problem: Option<Problem>) {
        self.shared.fleet.set_problem(&self.key.to_string(), problem.as_ref().map(ToString::to_string));
        self.problem = problem;
    }

    /// Lets the engine write or not.
    fn follow(&mut self) {
        let election = *self.authority.borrow_and_update();
        let Some(engine) = &mut self.engine else { return };
        let report = engine.doctor.reports.borrow_and_update().clone();
        self.shared.claims.set_target(&self.key, target(&report));
        let claim = engine.claim.borrow_and_update().clone();
        let unfenced = engine.fence.follow(report.role == Role::Fenced, election, Instant::now());
        let authority = if claim == Claim::Granted && unfenced { election } else { Authority::Standby };
        set(&engine.authority, authority);
        set(
            &engine.conflict,
            match claim {
                Claim::Refused(message) => Some(message),
                Claim::Granted | Claim::Undecided => None,
            },
        );
    }

    /// Puts what is known on the board.
    fn post(&self) {
        let engine = self.engine.as_ref();
        let report = engine.map(|engine| engine.doctor.reports.borrow().clone());
        let fenced = engine.and_then(|engine| engine.fence.pause(Instant::now())).map(|pause| {
            let cluster = report.as_ref().and_then(|report| report.kafka.cluster_id.as_deref()).unwrap_or("of unknown id");
            format!(
                "another doctor has opened the actions log of Kafka cluster {cluster}, and does not stand in this \
                 election; stop one of them; this one stands by for {pause:?} and tries again"
            )
        });
        self.shared.board.put(Facts {
            object: self.object.clone(),
            report,
            problem: self.problem.clone(),
            claim: engine.map_or(Claim::Undecided, |engine| engine.claim.borrow().clone()),
            fenced,
        });
    }
}

impl Engine {
    fn set_policy(&self, policy: Arc<Policy>) {
        set(&self.policy, policy);
    }

    async fn stop(mut self, key: &PolicyKey) {
        self.cancel.cancel();
        if tokio::time::timeout(STOP_LIMIT, &mut self.doctor.task).await.is_err() {
            tracing::warn!(policy = %key, "the engine did not end within {STOP_LIMIT:?} and is cut off");
            self.doctor.task.abort();
        }
    }
}

/// Reads what the policy refers to and checks all of it.
async fn prepare(client: Client, object: Arc<PolicyObject>) -> Result<ValidPolicy, Problem> {
    let valid = validate::validate(&object)?;
    let values = secrets::read(&client, &object.key, valid.references.clone()).await?;
    valid.secure(&values)
}

/// Waits until that is done; for ever when it is not under way. Cancel safe.
async fn prepared(
    preparing: &mut Option<AbortOnDropHandle<Result<ValidPolicy, Problem>>>,
) -> Result<ValidPolicy, Problem> {
    let Some(task) = preparing else { return std::future::pending().await };
    let result = task.await;
    *preparing = None;
    result.unwrap_or_else(|error| Err(Problem::Unreadable(error.to_string())))
}

/// Waits until an engine has something to say; for ever without one.
async fn stir(engine: &mut Option<Engine>) -> Stir {
    let Some(engine) = engine else { return std::future::pending().await };
    tokio::select! {
        biased;
        changed = engine.doctor.reports.changed() => match changed {
            Ok(()) => Stir::News,
            Err(_) => Stir::Ended(ending((&mut engine.doctor.task).await)),
        },
        Ok(()) = engine.claim.changed() => Stir::News,
    }
}

fn ending(how: Result<(), tokio::task::JoinError>) -> String {
    match how {
        Ok(()) => "without an error".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Which cluster an engine is about, as far as it knows.
fn target(report: &DoctorReport) -> Target {
    match (&report.kafka.cluster_id, report.kafka.reachable) {
        (Some(id), _) => Target::Cluster(id.clone()),
        (None, Some(false)) => Target::Unreachable,
        (None, _) => Target::Unknown,
    }
}

/// Sends what is new, and nothing else.
fn set<T: PartialEq>(channel: &watch::Sender<T>, value: T) {
    channel.send_if_modified(|current| {
        let news = *current != value;
        if news {
            *current = value;
        }
        news
    });
}
