//! One term of leadership over the actions log: from opening it, which fences every older leader, to losing it.

use std::{sync::Arc, time::Duration};

use doctorkafka_kafka::{ActionLogReader, ActionLogWriter, AppendError, Connection, LogEvent};
use doctorkafka_wire::{ActionKind, ActionRecord};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    execute::StepLogError,
    ledger::Ledger,
    therapy::{StepRequest, StepSender},
};

/// Records that may wait while the log's own leader fails over. At the rate of decisions this is hours.
const OUTBOX: usize = 1_000;

/// Records of one transaction, at the most.
const BATCH: usize = 100;

/// How much of the log a new leader reads: more records than alerts can stand open, and than the largest treatment writes.
/// One of 2,000 moves that go one by one writes an intent and an outcome for each, and what is open must be found whole.
pub(crate) const TAIL: i64 = 40_000;

const RETRY: Duration = Duration::from_millis(500);

/// What a term tells the engine.
#[derive(Debug)]
pub(crate) enum TermEvent {
    /// The log is open, older leaders are fenced, and this is what it says.
    Opened(Box<Ledger>),
    /// Records are in the log.
    Committed(Vec<ActionKind>),
    /// Records of a treatment are in the log.
    Stepped(Vec<ActionRecord>),
    /// The log could not be opened, read or written. It is tried again.
    Failed(String),
    /// A record can never be written, and was left out.
    LeftOut,
    /// Another doctor has taken over. Nothing more will be written.
    Fenced,
    /// The log has to be opened anew, by a new term.
    Broken,
}

/// A running term.
pub(crate) struct Term {
    outbox: mpsc::Sender<ActionRecord>,
    /// Permits are taken by records that wait, also by those in a transaction under way.
    waiting: Arc<Semaphore>,
    /// What it tells.
    pub events: mpsc::Receiver<TermEvent>,
    steps: mpsc::Sender<StepRequest>,
    cancel: CancellationToken,
}

impl Term {
    /// Starts to open the log of the cluster.
    pub fn start(
        connection: Connection,
        topic: String,
        cluster_id: String,
        cancel: CancellationToken,
    ) -> Self {
        let (outbox, records) = mpsc::channel(OUTBOX);
        let (steps, requests) = mpsc::channel(1);
        let (events, told) = mpsc::channel(64);
        let waiting = Arc::new(Semaphore::new(OUTBOX));
        let scribe = Scribe { connection, topic, cluster_id, events, waiting: waiting.clone() };
        let token = cancel.clone();
        tokio::spawn(async move {
            // An append that is under way at the end of a term is finished by the writer itself, or fenced.
            token.run_until_cancelled(scribe.run(records, requests)).await;
        });
        Self { outbox, waiting, events: told, steps, cancel }
    }

    /// Puts a record into the outbox; false when it is full, or when the term is over and about to say so.
    pub fn write(&self, record: ActionRecord) -> bool {
        let Ok(permit) = self.waiting.try_acquire() else { return false };
        let sent = self.outbox.try_send(record).is_ok();
        if sent {
            permit.forget();
        }
        sent
    }

    /// The way for a treatment's records, which are committed before anything goes on.
    pub fn step_log(&self) -> StepSender {
        StepSender(self.steps.clone())
    }

    /// How many records it takes at present.
    pub fn room(&self) -> usize {
        self.waiting.available_permits()
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        OUTBOX.saturating_sub(self.room())
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Scribe {
    connection: Connection,
    topic: String,
    cluster_id: String,
    events: mpsc::Sender<TermEvent>,
    waiting: Arc<Semaphore>,
}

impl Scribe {
    async fn run(self, mut records: mpsc::Receiver<ActionRecord>, mut steps: mpsc::Receiver<StepRequest>) {
        let mut writer = self.open().await;
        let ledger = self.read().await;
        self.tell(TermEvent::Opened(Box::new(ledger))).await;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let written = tokio::select! {
                count = records.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.append(&mut writer, &mut batch).await
                }
                Some(request) = steps.recv() => self.append_step(&mut writer, request).await,
            };
            if let Err(end) = written {
                return self.tell(end).await;
            }
        }
    }

    async fn open(&self) -> ActionLogWriter {
        loop {
            match ActionLogWriter::open(self.connection.clone(), &self.topic, &self.cluster_id).await {
                Ok(writer) => {
                    info!(topic = self.topic, "opened the actions log");
                    return writer;
                }
                Err(error) => {
                    warn!(%error, "cannot open the actions log, trying again");
                    self.tell(TermEvent::Failed(error.to_string())).await;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Reads the log to its end. Nothing of older leaders can be added to it any more.
    async fn read(&self) -> Ledger {
        loop {
            if let Some(ledger) = self.read_to_the_end().await {
                return ledger;
            }
            warn!(topic = self.topic, "the reader of the actions log has ended early, trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// `None` when the reader ends before it has read everything: a part of the log would look like a log in which most
    /// alerts were never raised.
    async fn read_to_the_end(&self) -> Option<Ledger> {
        let mut ledger = Ledger::default();
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let mut log = ActionLogReader::start(self.connection.clone(), &self.topic, TAIL, stop);
        loop {
            match log.recv().await? {
                LogEvent::Record { offset, record } => ledger.apply(offset, &record),
                LogEvent::CaughtUp => return Some(ledger),
                LogEvent::Restarted => ledger = Ledger::default(),
                LogEvent::Skipped { .. } => {}
                LogEvent::Lost { error } => {
                    self.tell(TermEvent::Failed(format!("cannot read the actions log: {error}"))).await;
                }
            }
        }
    }

    /// Appends the batch, however long that takes, and empties it.
    ///
    /// # Errors
    /// How the term ends, when it cannot be written any more.
    async fn append(
        &self,
        writer: &mut ActionLogWriter,
        batch: &mut Vec<ActionRecord>,
    ) -> Result<(), TermEvent> {
        while !batch.is_empty() {
            match writer.append(batch.clone()).await {
                Ok(()) => {
                    self.waiting.add_permits(batch.len());
                    self.tell(TermEvent::Committed(batch.drain(..).map(|record| record.kind).collect()))
                        .await;
                }
                Err(AppendError::Fenced) => return Err(TermEvent::Fenced),
                Err(error @ AppendError::Broken { .. }) => {
                    warn!(%error, waiting = batch.len(), "this term has ended");
                    self.tell(TermEvent::Failed(error.to_string())).await;
                    return Err(TermEvent::Broken);
                }
                Err(AppendError::TooLarge { id, bytes, limit }) => {
                    warn!(id, bytes, limit, "a record is too large for the actions log and is left out");
                    batch.retain(|record| record.id != id);
                    self.waiting.add_permits(1);
                    self.tell(TermEvent::LeftOut).await;
                }
                Err(error @ AppendError::Failed { .. }) => {
                    warn!(%error, waiting = batch.len(), "cannot write the actions log, trying again");
                    self.tell(TermEvent::Failed(error.to_string())).await;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        Ok(())
    }

    /// Appends a treatment's records, however long that takes, and says so to whoever waits for it.
    ///
    /// # Errors
    /// How the term ends, when the log cannot be written any more.
    async fn append_step(&self, writer: &mut ActionLogWriter, request: StepRequest) -> Result<(), TermEvent> {
        // Nobody waits any more when the treatment's task has ended meanwhile.
        let answer = |answer| {
            let _ = request.done.send(answer);
        };
        loop {
            match writer.append(request.records.clone()).await {
                Ok(()) => {
                    self.tell(TermEvent::Stepped(request.records)).await;
                    answer(Ok(()));
                    return Ok(());
                }
                Err(AppendError::Fenced) => {
                    answer(Err(StepLogError::Fenced));
                    return Err(TermEvent::Fenced);
                }
                Err(error @ AppendError::Broken { .. }) => {
                    warn!(%error, "this term has ended while a treatment was under way");
                    answer(Err(StepLogError::Broken(error.to_string())));
                    return Err(TermEvent::Broken);
                }
                Err(error @ AppendError::TooLarge { .. }) => {
                    warn!(%error, "a treatment's record is too large for the actions log, so nothing is done");
                    answer(Err(StepLogError::Broken(error.to_string())));
                    return Ok(());
                }
                Err(error @ AppendError::Failed { .. }) => {
                    warn!(%error, "cannot write a treatment's step to the actions log, trying again");
                    self.tell(TermEvent::Failed(error.to_string())).await;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn tell(&self, event: TermEvent) {
        // The engine has gone: so will this task.
        let _ = self.events.send(event).await;
    }
}
