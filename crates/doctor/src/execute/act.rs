//! A step: the intent is committed, the call is made, the outcome is committed.

use std::time::Duration;

use doctorkafka_kafka::{AdminError, ClusterAdmin, PartitionOutcome, ReassignmentChange, TopicPartition};
use doctorkafka_wire::{
    ActionKind, ActionRecord, BrokerId, Outcome, Severity, StopDecision, TreatmentDetail,
};
use tokio::sync::watch;

use super::{
    Clock, Control, ExecutionRule as Rule, Executor, Hold, Mandate, Observed, Step, StepLog, StepLogError,
    observed::target,
    run::{AFTER_STEP, Halt, Run},
    step_log::Request,
};

/// First and longest pause after a step that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Between two tries to write the log.
const LOG_RETRY: Duration = Duration::from_millis(500);

/// The commit of an intent may take long, while the log's own leader fails over. A look that is older than this is no
/// ground to act on.
const STALE: Duration = Duration::from_secs(5);

/// So many refusals in a row end a treatment: of those that may pass by themselves, and of those that will not.
pub(super) const REFUSALS: (u32, u32) = (20, 3);

/// Steps that did not succeed since one did.
#[derive(Default)]
pub(super) struct Failures {
    /// All of them.
    pub tries: u32,
    /// Those that Kafka refused.
    refused: u32,
    /// Those that it will go on refusing, as it says.
    lasting: u32,
    /// What was said of the last.
    pub last: String,
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
    /// Says in the log what became of a step that another leader was about to take, as far as a look tells.
    pub(super) async fn answer_for_another(&self, run: &mut Run<'_>, seen: &Observed) -> Result<(), Halt> {
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
    pub(super) async fn act(
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
                let cancel = |at: &TopicPartition| ReassignmentChange { at: at.clone(), replicas: None };
                let changes: Vec<_> = which.iter().map(cancel).collect();
                partitions(self.admin.reassign(&changes).await)
            }
            Step::Elect(which) => partitions(self.admin.elect_preferred(which).await),
            Step::Wait(_) | Step::LookAtAll | Step::Skip(_) | Step::Stop(_) | Step::Finish { .. } => {
                Answer::Done
            }
        }
    }

    /// Waits after a step, longer each time after one that failed, and gives the treatment up when Kafka keeps refusing.
    pub(super) async fn after(
        &self,
        run: &mut Run<'_>,
        control: &mut watch::Receiver<Control>,
        failed: bool,
    ) -> Result<(), Halt> {
        if !failed {
            self.clock.sleep(AFTER_STEP).await;
            return Ok(());
        }
        if run.open.stop().is_none() && run.failures.are_too_many() {
            let stop = StopDecision {
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

    pub(super) fn may_act(&self) -> Result<(), Halt> {
        if self.mandate.may_act() {
            return Ok(());
        }
        let message = "this instance no longer knows that it leads; whoever does goes on";
        Err(Halt::Interrupted(Hold::new(Rule::AuthorityLost, message)))
    }

    /// Commits records, however long it takes and as long as this instance may act.
    pub(super) async fn append(&self, records: Vec<ActionRecord>) -> Result<(), Halt> {
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
    pub(super) async fn sleep(&self, time: Duration, control: &mut watch::Receiver<Control>) {
        tokio::select! {
            biased;
            () = self.clock.sleep(time) => {}
            Ok(()) = control.changed() => {}
        }
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
