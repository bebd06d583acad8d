//! The loop: look, decide, commit the intent, act, commit the outcome.

use std::{collections::BTreeSet, time::Duration};

use doctorkafka_kafka::{AdminError, ClusterAdmin, ConfigResource, PartitionOutcome, TopicPartition};
use doctorkafka_wire::{ActionKind, ActionRecord, BrokerId, Outcome, Severity, TopicSeen, TreatmentDetail};
use tokio::sync::watch;

use super::{
    Author, Clock, Control, ExecutionRule as Rule, Hold, Mandate, Observed, OpenTreatment, Progress, Step,
    StepLog, StepLogError, Treatment, in_words,
    look::Looks,
    next,
    observed::{Place, at, target},
    open,
    progress::Meter,
    step_log::{Records, Request, name},
    throttle,
};

/// Between two looks while something is being copied, or was just done.
const POLL: Duration = Duration::from_millis(200);

/// Between two looks while nothing can be done. Every look may be one at the whole cluster then.
const POLL_IDLE: Duration = Duration::from_secs(1);

/// First and longest pause after a step that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Between two tries to write the log.
const LOG_RETRY: Duration = Duration::from_millis(500);

/// The commit of an intent may take long, while the log's own leader fails over. A look that is older than this is no
/// ground to act on.
const STALE: Duration = Duration::from_secs(5);

/// So many refusals in a row end a treatment: of those that may pass by themselves, and of those that will not.
const REFUSALS: (u32, u32) = (20, 3);

/// The largest record that the log takes, bytes, with room to spare: what Kafka lets into one batch is 1 MB.
const MAX_RECORD: usize = 900_000;

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
    /// It was not begun.
    Refused(Hold),
    /// Another doctor leads. It will go on with what is open.
    Fenced,
    /// This instance must not go on, and whoever leads next will.
    Interrupted(Hold),
}

/// Why the loop ends before the treatment does.
enum Halt {
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
struct Run<'r> {
    records: Records<'r>,
    open: OpenTreatment,
    looks: Looks,
    meter: Meter,
    failures: Failures,
    /// When all was looked at last without finding anything to do.
    fruitless: Option<Duration>,
}

/// Steps that did not succeed since one did.
#[derive(Default)]
struct Failures {
    /// All of them.
    tries: u32,
    /// Those that Kafka refused.
    refused: u32,
    /// Those that it will go on refusing, as it says.
    lasting: u32,
    last: String,
}

/// What became of a call.
enum Answer {
    Done,
    /// Kafka did not answer, or not in time: what became of it, the next look tells.
    Unknown(String),
    /// Kafka refused it, or a part; whether the same may succeed later.
    Refused {
        message: String,
        retriable: bool,
    },
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

    /// Records the whole treatment before anything is done.
    async fn begin(
        &self,
        treatment: &Treatment,
        records: &Records<'_>,
        looks: &mut Looks,
        control: &mut watch::Receiver<Control>,
        progress: &watch::Sender<Progress>,
    ) -> Result<OpenTreatment, Ended> {
        loop {
            self.may_act()?;
            let told = control.borrow_and_update().clone();
            if let Some(cancel) = &told.cancel {
                return Err(self.refuse(records, Hold::new(Rule::Cancelled, cancel.reason.clone())).await);
            }
            let hold = if told.paused {
                Hold::new(Rule::Paused, "paused: not begun until it is lifted")
            } else {
                match looks.look(self.admin, self.clock.now(), true).await {
                    Err(error) => unreachable(&error),
                    Ok(seen) => match self.first_record(treatment, records, &seen, &told) {
                        Ok((record, open)) => {
                            self.append(vec![record]).await?;
                            return Ok(open);
                        }
                        Err(hold) if is_final(hold.rule) => return Err(self.refuse(records, hold).await),
                        Err(hold) => hold,
                    },
                }
            };
            progress.send_modify(|progress| progress.hold = Some(hold));
            self.sleep(POLL_IDLE, control).await;
        }
    }

    /// The record that begins it, and what is open with it.
    fn first_record(
        &self,
        treatment: &Treatment,
        records: &Records<'_>,
        seen: &Observed,
        control: &Control,
    ) -> Result<(ActionRecord, OpenTreatment), Hold> {
        for change in treatment.changes() {
            let id = seen.topics.get(&change.topic).map(|topic| topic.id);
            match seen.place(change, id, control.limits.settle) {
                Place::Unsettled => {
                    let message = format!("{}: is not as planned; looking again", at(change));
                    return Err(Hold::new(Rule::Unsettled, message));
                }
                Place::Drifted | Place::Shuffled(_) | Place::Recreated => {
                    let message = format!("{}: has changed since the treatment was planned", at(change));
                    return Err(Hold::new(Rule::Drift, message));
                }
                Place::Gone | Place::At(_) | Place::Moving(_) | Place::Foreign => {}
            }
        }
        let configs = seen.whole.as_ref().map(|whole| whole.configs.clone()).unwrap_or_default();
        let brokers = throttle::brokers(treatment);
        let silent = brokers
            .iter()
            .find(|broker| seen.is_up(**broker) && !configs.contains_key(&ConfigResource::Broker(**broker)));
        if let Some(broker) = silent {
            let message =
                format!("broker {broker} does not tell its settings, which have to be known beforehand");
            return Err(Hold::new(Rule::Unknown, message));
        }
        let names: BTreeSet<&String> = treatment.changes().iter().map(|change| &change.topic).collect();
        let topics = names.into_iter().filter_map(|name| {
            let topic = seen.topics.get(name)?;
            Some(TopicSeen { topic: name.clone(), id: format!("{:032x}", topic.id) })
        });
        let plan = open::plan(treatment, topics.collect(), &configs);
        let cause = &treatment.cause().message;
        let mut sentence = treatment.sentence();
        sentence.replace_range(..1, "M");
        let record = records.about(
            ActionKind::ReassignPartitions,
            Severity::Info,
            Outcome::Intended,
            format!("{sentence}: {cause}"),
            TreatmentDetail { plan: Some(plan), ..TreatmentDetail::default() },
        );
        let bytes = record.encode().len();
        if bytes > MAX_RECORD {
            let message = format!(
                "its record has {} and the log takes {}: larger work comes in waves",
                in_words::bytes(bytes as u64),
                in_words::bytes(MAX_RECORD as u64)
            );
            return Err(Hold::new(Rule::TooLarge, message));
        }
        let open = OpenTreatment::begin(&record);
        let open = open.ok_or_else(|| Hold::new(Rule::TooLarge, "its record could not be read again"))?;
        Ok((record, open))
    }

    async fn refuse(&self, records: &Records<'_>, hold: Hold) -> Ended {
        let record = records.about(
            ActionKind::Refused,
            Severity::Warning,
            Outcome::Aborted,
            hold.to_string(),
            TreatmentDetail::default(),
        );
        match self.append(vec![record]).await {
            Ok(()) => Ended::Refused(hold),
            Err(halt) => halt.into(),
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
    async fn note(
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

    /// Says in the log what became of a step that another leader was about to take, as far as a look tells.
    async fn answer_for_another(&self, run: &mut Run<'_>, seen: &Observed) -> Result<(), Halt> {
        let Some(unanswered) = run.open.unanswered().cloned() else { return Ok(()) };
        let shows = |at: &TopicPartition, replicas: &[BrokerId]| {
            seen.partition(at).is_some_and(|partition| partition.replicas == replicas)
                || seen.running.get(at).is_some_and(|running| target(running) == replicas)
        };
        let at = |topic: &String, partition| TopicPartition { topic: topic.clone(), partition };
        let detail = &unanswered.detail;
        let done = detail.configs.is_empty()
            && detail.reassign.iter().all(|asked| shows(&at(&asked.topic, asked.partition), &asked.replicas))
            && detail.cancel.iter().all(|name| !seen.running.contains_key(&at(&name.topic, name.partition)))
            && detail.elect.iter().all(|name| {
                let partition = seen.partition(&at(&name.topic, name.partition));
                partition.is_some_and(|partition| partition.leader.as_ref() == partition.replicas.first())
            });
        let (outcome, message) = if done {
            (Outcome::Done, "found done when a doctor took over")
        } else {
            (Outcome::Failed, "not known to be wholly done when a doctor took over; decided anew")
        };
        let record = run.records.outcome(unanswered.step, unanswered.kind, outcome, message.to_owned());
        self.append(vec![record.clone()]).await?;
        run.open.apply(&record);
        Ok(())
    }

    /// Commits the intent, makes the call, commits the outcome. True when it did not succeed.
    async fn act(
        &self,
        run: &mut Run<'_>,
        control: &watch::Receiver<Control>,
        step: Step,
        looked: Duration,
    ) -> Result<bool, Halt> {
        let Some(request) = Request::of(&step) else { return Ok(false) };
        let number = run.open.next_step();
        let intended = run.records.intended(number, &request);
        self.append(vec![intended.clone()]).await?;
        run.open.apply(&intended);
        // The commit may have taken long. What was true before it is checked again, and nothing waits in between.
        self.may_act()?;
        let late = self.clock.now().saturating_sub(looked) > STALE;
        let overtaken = control.has_changed().unwrap_or(false);
        let answer = if late {
            Answer::Unknown("not done: the log took so long that the look it rests on is too old".to_owned())
        } else if overtaken {
            Answer::Unknown("not done: something else was asked for meanwhile".to_owned())
        } else {
            self.call(&step).await
        };
        let (outcome, message) = match &answer {
            Answer::Done => (Outcome::Done, request.message),
            Answer::Unknown(message) | Answer::Refused { message, .. } => (Outcome::Failed, message.clone()),
        };
        let record = run.records.outcome(number, request.kind, outcome, message);
        self.append(vec![record.clone()]).await?;
        run.open.apply(&record);
        Ok(run.failures.count(answer))
    }

    async fn call(&self, step: &Step) -> Answer {
        match step {
            Step::SetThrottle(changes) | Step::RemoveThrottle(changes) => {
                match self.admin.alter_configs(changes).await {
                    Ok(()) => Answer::Done,
                    Err(error) => failed(&error),
                }
            }
            Step::Reassign(changes) => partitions(self.admin.reassign(changes).await),
            Step::Cancel(which) => {
                let cancel = |at: &TopicPartition| doctorkafka_kafka::ReassignmentChange {
                    at: at.clone(),
                    replicas: None,
                };
                let changes: Vec<_> = which.iter().map(cancel).collect();
                partitions(self.admin.reassign(&changes).await)
            }
            Step::Elect(which) => partitions(self.admin.elect_preferred(which).await),
            Step::Wait(_) | Step::LookAtAll | Step::Skip(_) | Step::Stop(_) | Step::Finish { .. } => {
                Answer::Done
            }
        }
    }

    /// Waits after a step that failed, longer each time, and gives the treatment up when Kafka keeps refusing.
    async fn after(
        &self,
        run: &mut Run<'_>,
        control: &mut watch::Receiver<Control>,
        failed: bool,
    ) -> Result<(), Halt> {
        if !failed {
            return Ok(());
        }
        if run.open.stop().is_none() && run.failures.are_too_many() {
            let stop = doctorkafka_wire::StopDecision {
                ending: Outcome::Failed,
                rule: Rule::RefusedByKafka.as_str().to_owned(),
                message: run.failures.last.clone(),
                restore: false,
            };
            let message = format!("{}: {}", stop.rule, stop.message);
            let detail = TreatmentDetail { stop: Some(stop), ..TreatmentDetail::default() };
            return self
                .note(run, ActionKind::Cancel, Severity::Warning, Outcome::Intended, message, detail)
                .await;
        }
        let pause = RETRY.0.saturating_mul(1 << run.failures.tries.min(8)).min(RETRY.1);
        self.sleep(pause, control).await;
        Ok(())
    }

    fn may_act(&self) -> Result<(), Halt> {
        if self.mandate.may_act() {
            return Ok(());
        }
        let message = "this instance no longer knows that it leads; whoever does goes on";
        Err(Halt::Interrupted(Hold::new(Rule::AuthorityLost, message)))
    }

    /// Commits records, however long it takes and as long as this instance may act.
    async fn append(&self, records: Vec<ActionRecord>) -> Result<(), Halt> {
        loop {
            self.may_act()?;
            match self.log.append(records.clone()).await {
                Ok(()) => return Ok(()),
                Err(StepLogError::Fenced) => return Err(Halt::Fenced),
                Err(error @ StepLogError::Broken(_)) => {
                    return Err(Halt::Interrupted(Hold::new(Rule::LogUnavailable, error.to_string())));
                }
                Err(StepLogError::Failed(reason)) => {
                    tracing::warn!(reason, "a treatment waits: the actions log cannot be written");
                    self.clock.sleep(LOG_RETRY).await;
                }
            }
        }
    }

    /// Waits, or until something else is asked for.
    async fn sleep(&self, time: Duration, control: &mut watch::Receiver<Control>) {
        tokio::select! {
            biased;
            () = self.clock.sleep(time) => {}
            Ok(()) = control.changed() => {}
        }
    }
}

impl Run<'_> {
    /// Whether everything was looked at a moment ago, and there was nothing to do.
    fn is_fruitless(&self, now: Duration) -> bool {
        self.fruitless.is_some_and(|looked| now.saturating_sub(looked) < POLL_IDLE)
    }
}

impl Failures {
    /// Counts refusals in a row; what was not answered is none. True when the step did not succeed.
    fn count(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Done => {
                *self = Self::default();
                return false;
            }
            Answer::Unknown(message) => self.last = message,
            Answer::Refused { message, retriable } => {
                self.refused += 1;
                self.lasting += u32::from(!retriable);
                self.last = message;
            }
        }
        self.tries += 1;
        true
    }

    fn are_too_many(&self) -> bool {
        self.refused >= REFUSALS.0 || self.lasting >= REFUSALS.1
    }
}

/// Whether a treatment that was not begun will not be.
fn is_final(rule: Rule) -> bool {
    matches!(rule, Rule::Drift | Rule::TooLarge)
}

fn unreachable(error: &AdminError) -> Hold {
    Hold::new(Rule::Unreachable, error.to_string())
}

fn failed(error: &AdminError) -> Answer {
    match error {
        AdminError::Refused { .. } | AdminError::Unsupported { .. } => {
            Answer::Refused { message: error.to_string(), retriable: true }
        }
        _ => Answer::Unknown(error.to_string()),
    }
}

fn partitions(answer: Result<Vec<PartitionOutcome>, AdminError>) -> Answer {
    let outcomes = match answer {
        Ok(outcomes) => outcomes,
        Err(error) => return failed(&error),
    };
    let refused: Vec<_> =
        outcomes.iter().filter_map(|outcome| Some((&outcome.at, outcome.result.as_ref().err()?))).collect();
    let Some((at, error)) = refused.first() else { return Answer::Done };
    let message = format!("{} of {} partitions refused, first {at}: {error}", refused.len(), outcomes.len());
    Answer::Refused { message, retriable: refused.iter().all(|(_, error)| error.retriable) }
}
