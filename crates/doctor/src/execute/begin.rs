//! The beginning of a treatment: what has to be known, and the record that comes before anything is done.

use std::collections::BTreeSet;

use doctorkafka_kafka::{ClusterAdmin, ConfigResource};
use doctorkafka_wire::{ActionKind, ActionRecord, Outcome, Severity, TopicSeen, TreatmentDetail};
use tokio::sync::watch;

use super::{
    Clock, Control, Ended, ExecutionRule as Rule, Executor, Hold, Mandate, Observed, OpenTreatment, Progress,
    StepLog, Treatment, in_words,
    look::Looks,
    observed::{Place, at},
    open,
    run::{POLL_IDLE, unreachable},
    step_log::Records,
    throttle,
};

/// The largest record that the log takes, bytes, with room to spare: what Kafka lets into one batch is 1 MB.
const MAX_RECORD: usize = 900_000;

impl<A: ClusterAdmin, L: StepLog, C: Clock, M: Mandate> Executor<'_, A, L, C, M> {
    /// Records the whole treatment before anything is done.
    pub(super) async fn begin(
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
}

/// Whether a treatment that was not begun will not be.
fn is_final(rule: Rule) -> bool {
    matches!(rule, Rule::Drift | Rule::TooLarge)
}
