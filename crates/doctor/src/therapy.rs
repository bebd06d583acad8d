//! A treatment that is being carried out, as a task beside the engine.

use std::{sync::Arc, time::Duration};

use doctorkafka_diagnosis::Moment;
use doctorkafka_kafka::{Admin, Connection};
use doctorkafka_wire::ActionRecord;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Authority, TreatmentView,
    execute::{
        Author, Control, Ended, Executor, MachineClock, Mandate, Progress, StepLog, StepLogError, Task,
        Treatment,
    },
};

/// Records to commit, and where to say what became of them.
pub(crate) struct StepRequest {
    pub records: Vec<ActionRecord>,
    pub done: oneshot::Sender<Result<(), StepLogError>>,
}

/// The way to the actions log, which the term writes.
pub(crate) struct StepSender(pub mpsc::Sender<StepRequest>);

impl StepLog for StepSender {
    async fn append(&self, records: Vec<ActionRecord>) -> Result<(), StepLogError> {
        let over = || StepLogError::Broken("the term is over".to_owned());
        let (done, told) = oneshot::channel();
        self.0.send(StepRequest { records, done }).await.map_err(|_| over())?;
        told.await.unwrap_or_else(|_| Err(over()))
    }
}

/// A running executor. It ends with this value, which is as good as a crash: whoever leads next goes on.
pub(crate) struct Therapy {
    control: watch::Sender<Control>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<Ended>,
    /// What is being done, for people.
    pub sentence: String,
    treatment: Arc<Treatment>,
    begun: Task,
    /// When the log of this program was last told how far it is.
    told: Moment,
}

/// How often the log of this program is told how far a treatment is.
const TELL_EVERY: Duration = Duration::from_secs(30);

impl Therapy {
    pub fn start(
        connection: &Connection,
        log: StepSender,
        (authority, mandate): (watch::Receiver<Authority>, Arc<dyn Mandate>),
        author: Author,
        task: Task,
        control: Control,
        now: Moment,
    ) -> Self {
        let treatment = Arc::new(task.treatment().clone());
        let begun = task.clone();
        let sentence = if begun.is_sweep() {
            format!("looking for throttles that were left after {}", treatment.sentence())
        } else {
            treatment.sentence()
        };
        let (told, measured) = watch::channel(Progress::default());
        let (control, orders) = watch::channel(control);
        let admin = Admin::new(connection.clone());
        let task = tokio::spawn(async move {
            // The end of the adapter drops the sender.
            let leads = || *authority.borrow() == Authority::Leading && authority.has_changed().is_ok();
            let mandate = || leads() && mandate.may_act();
            let clock = MachineClock::start();
            let executor =
                Executor { admin: &admin, log: &log, clock: &clock, mandate: &mandate, author: &author };
            executor.run(task, orders, &told).await
        });
        Self { control, progress: measured, task, sentence, treatment, begun, told: now }
    }

    /// Tells it what people want now.
    pub fn control(&self, control: Control) {
        self.control.send_if_modified(|now| {
            let changed = *now != control;
            *now = control;
            changed
        });
    }

    /// What it was begun with.
    pub fn task(&self) -> &Task {
        &self.begun
    }

    /// How far it is, for people; nothing while it only looks for what was left.
    pub fn view(&self) -> Option<TreatmentView> {
        if self.begun.is_sweep() {
            return None;
        }
        let progress = self.progress.borrow();
        Some(TreatmentView {
            digest: self.treatment.digest().to_owned(),
            message: self.sentence.clone(),
            done: progress.partitions_done,
            partitions: self.treatment.changes().len(),
            bytes: progress.bytes,
            bytes_done: progress.bytes_done,
            bytes_per_second: progress.bytes_per_second.map(|rate| rate as u64),
            seconds_left: progress.left.map(|left| left.as_secs()),
            slowest_bytes_left: progress.slowest,
            hold: progress.hold.as_ref().map(ToString::to_string),
            treatment: self.treatment.clone(),
        })
    }

    /// How far it is, from time to time.
    pub fn worth_telling(&mut self, now: Moment) -> Option<String> {
        if now.since(self.told) < TELL_EVERY {
            return None;
        }
        self.told = now;
        self.view().map(|view| view.progress())
    }

    /// Waits for its end. `None` when it panicked.
    pub async fn ended(&mut self) -> Option<Ended> {
        (&mut self.task).await.ok()
    }
}

impl Drop for Therapy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
