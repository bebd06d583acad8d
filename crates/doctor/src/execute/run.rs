//! The loop: look, decide, commit the intent, act, commit the outcome.

use std::time::Duration;

use doctorkafka_kafka::{AdminError, ClusterAdmin, ConfigResource};
use doctorkafka_wire::{ActionKind, BrokerId, Outcome, Severity, TreatmentDetail};
use tokio::sync::watch;

use super::{
    Author, Clock, Control, ExecutionRule as Rule, Hold, Mandate, OpenTreatment, Progress, Step, StepLog,
    Treatment,
    act::{Failures, REFUSALS},
    in_words,
    look::Looks,
    next,
    progress::Meter,
    step_log::{Records, name},
    throttle,
};

/// Between two looks while something is being copied, or was just done.
const POLL: Duration = Duration::from_millis(200);

/// After a step, before the next look: brokers learn of it one after the other, and an answer may come from any.
pub(super) const AFTER_STEP: Duration = Duration::from_millis(100);

/// Between two looks while nothing can be done. Every look may be one at the whole cluster then.
pub(super) const POLL_IDLE: Duration = Duration::from_secs(1);

/// Carries treatments out, one at a time.
#[derive(Debug)]
pub struct Executor<'a, A, L, C, M> {
    /// The cluster.
    pub admin: &'a A,
    /// The actions log.
    pub log: &'a L,
    /// Time.
    pub clock: &'a C,
    /// Whether this instance may act.
    pub mandate: &'a M,
    /// In whose name records are written.
    pub author: &'a Author,
}

/// What is to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // there is one at a time
pub enum Task {
    /// A treatment that has not been begun.
    New(Treatment),
    /// One that another began.
    Resume(OpenTreatment),
    /// One that has ended, and may have left a throttle: see [`Executor::sweep`].
    Sweep(OpenTreatment),
}

impl Task {
    /// Whether it only takes away what an ended treatment has left.
    pub fn is_sweep(&self) -> bool {
        matches!(self, Self::Sweep(_))
    }

    /// The treatment that it is about.
    pub fn treatment(&self) -> &Treatment {
        match self {
            Self::New(treatment) => treatment,
            Self::Resume(open) | Self::Sweep(open) => open.treatment(),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The cluster is as planned, and nothing is left of the throttle but on these brokers, which are down.
    Done {
        /// See [`OpenTreatment::owed`].
        owed: Vec<BrokerId>,
    },
    /// It was given up, undone as far as was decided, and the throttle given back.
    GivenUp {
        /// Aborted or failed.
        outcome: Outcome,
        /// Why, for people: rule and message.
        why: String,
        /// See [`OpenTreatment::owed`].
        owed: Vec<BrokerId>,
    },
    /// Nothing is left of its throttle but on these brokers, which are down.
    Swept {
        /// The brokers.
        left: Vec<BrokerId>,
    },
    /// It was not begun.
    Refused(Hold),
    /// Another doctor leads. It will go on with what is open.
    Fenced,
    /// This instance must not go on, and whoever leads next will.
    Interrupted(Hold),
}

/// Why the loop ends before the treatment does.
pub(super) enum Halt {
    Fenced,
    Interrupted(Hold),
}

impl From<Halt> for Ended {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Fenced => Self::Fenced,
            Halt::Interrupted(hold) => Self::Interrupted(hold),
        }
    }
}

/// What is known while it runs.
pub(super) struct Run<'r> {
    pub records: Records<'r>,
    pub open: OpenTreatment,
    looks: Looks,
    meter: Meter,
    pub failures: Failures,
    /// When all was looked at last without finding anything to do.
    fruitless: Option<Duration>,
}

impl<A: ClusterAdmin, L: StepLog, C: Clock, M: Mandate> Executor<'_, A, L, C, M> {
    /// Carries a treatment out, to its end or until this instance must stop.
    ///
    /// Dropping the future is as good as a crash, and as bad: whoever leads next goes on.
    pub async fn run(
        &self,
        task: Task,
        mut control: watch::Receiver<Control>,
        progress: &watch::Sender<Progress>,
    ) -> Ended {
        let (treatment, open) = match task {
            Task::New(treatment) => (treatment, None),
            Task::Resume(open) => (open.treatment().clone(), Some(open)),
            Task::Sweep(ended) => {
                return self.sweep(&ended).await.map_or_else(|end| end, |left| Ended::Swept { left });
            }
        };
        let mut looks = Looks::new(&treatment);
        let records = Records::new(self.author, &treatment);
        let open = match open {
            Some(open) => open,
            None => match self.begin(&treatment, &records, &mut looks, &mut control, progress).await {
                Ok(open) => open,
                Err(ended) => return ended,
            },
        };
        let mut run = Run {
            records,
            open,
            looks,
            meter: Meter::default(),
            failures: Failures::default(),
            fruitless: None,
        };
        loop {
            match self.turn(&mut run, &mut control, progress).await {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(halt) => return halt.into(),
            }
        }
    }

    /// Removes what an ended treatment has left of its throttle. Gives the brokers that are still down.
    ///
    /// # Errors
    /// Why this instance must stop, as [`Executor::run`] says it, or that Kafka does not answer.
    pub async fn sweep(&self, ended: &OpenTreatment) -> Result<Vec<BrokerId>, Ended> {
        let treatment = ended.treatment().clone();
        let mut run = Run {
            records: Records::new(self.author, &treatment),
            open: ended.clone(),
            looks: Looks::new(&treatment),
            meter: Meter::default(),
            failures: Failures::default(),
            fruitless: None,
        };
        loop {
            self.may_act()?;
            let now = self.clock.now();
            let seen = run.looks.look(self.admin, now, true).await;
            let seen = seen.map_err(|error| Ended::Interrupted(unreachable(&error)))?;
            let Some(whole) = &seen.whole else { return Ok(Vec::new()) };
            let left = throttle::to_return(&run.open, &whole.configs);
            if left.is_empty() {
                let known = |broker: &BrokerId| whole.configs.contains_key(&ConfigResource::Broker(*broker));
                let brokers = throttle::brokers(&treatment).into_iter();
                return Ok(brokers.filter(|broker| !run.open.is_unread(*broker) && !known(broker)).collect());
            }
            let (_, control) = watch::channel(Control::default());
            self.act(&mut run, &control, Step::RemoveThrottle(left), now).await?;
            if run.failures.tries >= REFUSALS.1 {
                return Err(Ended::Interrupted(Hold::new(Rule::RefusedByKafka, run.failures.last)));
            }
        }
    }

    /// One look and at most one step.
    async fn turn(
        &self,
        run: &mut Run<'_>,
        control: &mut watch::Receiver<Control>,
        progress: &watch::Sender<Progress>,
    ) -> Result<Option<Ended>, Halt> {
        self.may_act()?;
        let told = control.borrow_and_update().clone();
        let mut looked = self.clock.now();
        let decided = match run.looks.look(self.admin, looked, false).await {
            Err(error) => Err(unreachable(&error)),
            Ok(seen) => {
                self.answer_for_another(run, &seen).await?;
                match next(&run.open, &seen, &told) {
                    Step::LookAtAll if run.is_fruitless(looked) => {
                        self.sleep(POLL, control).await;
                        return Ok(None);
                    }
                    Step::LookAtAll => {
                        looked = self.clock.now();
                        match run.looks.look(self.admin, looked, true).await {
                            Err(error) => Err(unreachable(&error)),
                            Ok(seen) => {
                                let step = next(&run.open, &seen, &told);
                                Ok((seen, step))
                            }
                        }
                    }
                    step => Ok((seen, step)),
                }
            }
        };
        let (seen, step) = match decided {
            Ok(decided) => decided,
            Err(hold) => {
                progress.send_modify(|progress| progress.hold = Some(hold));
                self.sleep(POLL_IDLE, control).await;
                return Ok(None);
            }
        };
        let hold = if let Step::Wait(hold) = &step { Some(hold.clone()) } else { None };
        run.meter.ask(self.admin, &run.open, &seen, self.clock.now()).await;
        progress.send_replace(run.meter.measure(&run.open, &seen, hold, self.clock.now()));
        match step {
            Step::Wait(hold) => {
                run.fruitless = seen.whole.as_ref().map(|_| looked).or(run.fruitless);
                let pause = if hold.rule == Rule::Copying { POLL } else { POLL_IDLE };
                self.sleep(pause, control).await;
                Ok(None)
            }
            Step::LookAtAll => Ok(None),
            Step::Skip(gone) => {
                let message = format!("{} left out: the topic was deleted", in_words::partitions(gone.len()));
                let detail = TreatmentDetail {
                    skipped: gone.iter().map(name).collect(),
                    ..TreatmentDetail::default()
                };
                self.note(run, ActionKind::Refused, Severity::Warning, Outcome::Aborted, message, detail)
                    .await?;
                Ok(None)
            }
            Step::Stop(stop) => {
                let message = format!("{}: {}", stop.rule, stop.message);
                let detail = TreatmentDetail { stop: Some(stop), ..TreatmentDetail::default() };
                self.note(run, ActionKind::Cancel, Severity::Warning, Outcome::Intended, message, detail)
                    .await?;
                Ok(None)
            }
            Step::Finish { outcome, owed } => self.finish(run, outcome, owed).await.map(Some),
            step => {
                let failed = self.act(run, control, step, looked).await?;
                self.after(run, control, failed).await?;
                Ok(None)
            }
        }
    }

    /// A record about the treatment that changes what is known of it.
    pub(super) async fn note(
        &self,
        run: &mut Run<'_>,
        kind: ActionKind,
        severity: Severity,
        outcome: Outcome,
        message: String,
        detail: TreatmentDetail,
    ) -> Result<(), Halt> {
        let record = run.records.about(kind, severity, outcome, message, detail);
        self.append(vec![record.clone()]).await?;
        run.open.apply(&record);
        Ok(())
    }

    async fn finish(&self, run: &mut Run<'_>, outcome: Outcome, owed: Vec<BrokerId>) -> Result<Ended, Halt> {
        let stop = run.open.stop().cloned();
        let why = stop.as_ref().map(|stop| format!("{}: {}", stop.rule, stop.message));
        let left = if owed.is_empty() {
            String::new()
        } else {
            format!("; a throttle rate is left on {}, which is down", throttle::list(&owed))
        };
        let (severity, message) = match &why {
            None => (Severity::Info, format!("Done, as planned: {}{left}", run.open.treatment().sentence())),
            Some(why) => (Severity::Warning, format!("Given up: {why}{left}")),
        };
        let detail = TreatmentDetail { owed: owed.clone(), ..TreatmentDetail::default() };
        self.note(run, ActionKind::ReassignPartitions, severity, outcome, message, detail).await?;
        Ok(match why {
            None => Ended::Done { owed },
            Some(why) => Ended::GivenUp { outcome, why, owed },
        })
    }
}

impl Run<'_> {
    /// Whether everything was looked at a moment ago, and there was nothing to do.
    fn is_fruitless(&self, now: Duration) -> bool {
        self.fruitless.is_some_and(|looked| now.saturating_sub(looked) < POLL_IDLE)
    }
}

pub(super) fn unreachable(error: &AdminError) -> Hold {
    Hold::new(Rule::Unreachable, error.to_string())
}
