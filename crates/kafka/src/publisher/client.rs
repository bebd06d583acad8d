//! The Kafka producer and what its callbacks share with the publisher's tasks.

use super::{
    PublisherStats, QUIET_BEFORE_WARNING, casts_doubt, lanes::Lanes, lanes::Ticket, refusals::Refusals,
};
use crate::{
    Connection,
    client::{self, Tokens},
};
use doctorkafka_wire::BrokerId;
use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
};
use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How quickly the client finds its way around a broker that is gone, and how little memory it may take.
const SETTINGS: &[(&str, &str)] = &[
    // Reports are worth little when late; a lost one is followed by the next.
    ("acks", "1"),
    ("message.timeout.ms", "20000"),
    ("linger.ms", "5"),
    ("compression.type", "zstd"),
    ("queue.buffering.max.messages", "1000"),
    ("queue.buffering.max.kbytes", "4096"),
    // The doctor creates the topic, with settings of its own.
    ("allow.auto.create.topics", "false"),
    // Fail-over: notice, look up the new leader, connect. All of it within a second or so.
    ("request.timeout.ms", "5000"),
    ("socket.timeout.ms", "5000"),
    ("socket.connection.setup.timeout.ms", "3000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("retry.backoff.ms", "100"),
    ("topic.metadata.refresh.fast.interval.ms", "100"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("log.connection.close", "false"),
];

/// How long one wait for an answer lasts. rdkafka spins through the last millisecond of each, so that its own polling
/// thread, with waits of 100 ms, would take more processor time than all of the sidecar's measuring.
const ANSWERS_POLL: Duration = Duration::from_secs(1);
const ANSWERS_STACK: usize = 256 * 1024;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The Kafka client refuses its configuration.
    #[error("the Kafka client refuses its configuration")]
    Client(#[from] KafkaError),
    /// No thread can be started.
    #[error("no thread can be started for Kafka's answers")]
    Thread(#[from] std::io::Error),
}

/// What the topic looks like.
pub(super) struct TopicFacts {
    /// Number of partitions; 0 when the topic does not exist.
    pub partitions: usize,
    /// Kafka's cluster id, when it told.
    pub cluster_id: Option<String>,
}

/// The producer.
pub(super) struct Client {
    producer: Arc<BaseProducer<Callbacks>>,
    link: Arc<Link>,
    key: String,
}

impl Client {
    /// Sets the producer up, and the thread that takes in its answers until the client is dropped.
    pub fn new(connection: &Connection, link: Arc<Link>) -> Result<Self, SetUpError> {
        let mut config = connection.rdkafka();
        for (name, value) in SETTINGS {
            config.set(*name, *value);
        }
        // Everything goes to our context, which decides what is worth a line.
        config.set_log_level(RDKafkaLogLevel::Warning);
        let key = link.broker.to_string();
        let producer: BaseProducer<Callbacks> =
            client::create(&config, Callbacks { link: Arc::clone(&link), tokens: connection.tokens() })?;
        let producer = Arc::new(producer);
        let answers = Arc::downgrade(&producer);
        std::thread::Builder::new().name("kafka-answers".into()).stack_size(ANSWERS_STACK).spawn(
            move || {
                while let Some(producer) = answers.upgrade() {
                    producer.poll(ANSWERS_POLL);
                }
            },
        )?;
        Ok(Self { producer, link, key })
    }

    /// Gives the client what it has room for. Does not block.
    pub fn send_waiting(&self) {
        while let Some((ticket, value)) = self.link.next() {
            let record = BaseRecord::with_opaque_to(&self.link.topic, Box::new(ticket))
                .partition(ticket.partition)
                .key(&self.key)
                .payload(&*value);
            if let Err((error, _)) = self.producer.send(record) {
                self.link.settle(ticket, Err(&error));
            }
        }
    }

    /// Asks Kafka about the topic. Blocks for at most `timeout` twice.
    pub fn look_up_topic(&self, timeout: Duration) -> KafkaResult<TopicFacts> {
        let metadata = self.producer.client().fetch_metadata(Some(&self.link.topic), timeout)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.link.topic);
        let partitions = match topic.map(|topic| (topic.error().map(RDKafkaErrorCode::from), topic)) {
            None
            | Some((Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic), _)) => {
                0
            }
            Some((Some(code), _)) => return Err(KafkaError::MetadataFetch(code)),
            Some((None, topic)) => topic.partitions().len(),
        };
        // Asked each time: a cluster made anew at the same address has another id. The client knows it already.
        let cluster_id = self.producer.client().fetch_cluster_id(timeout).filter(|id| !id.is_empty());
        Ok(TopicFacts { partitions, cluster_id })
    }
}

/// Shared by the caller, the tasks and the client's callbacks. The lock is held for moments only.
pub(super) struct Link {
    topic: String,
    broker: BrokerId,
    state: Mutex<State>,
    changed: Notify,
    doubted: Notify,
    emptied: Notify,
}

struct State {
    lanes: Lanes,
    stats: PublisherStats,
    acknowledged_at: Option<Instant>,
    cluster_id: Option<String>,
    trouble: String,
    /// Why a broker does not talk to us at all, in librdkafka's words. Everything else that goes wrong follows from it.
    refusal: Option<String>,
    /// Records that a broker did not take.
    refusals: Refusals,
}

impl Link {
    pub fn new(topic: &str, broker: BrokerId) -> Self {
        let state = State {
            lanes: Lanes::new(broker),
            stats: PublisherStats::default(),
            acknowledged_at: None,
            cluster_id: None,
            trouble: String::new(),
            refusal: None,
            refusals: Refusals::default(),
        };
        Self {
            topic: topic.to_owned(),
            broker,
            state: Mutex::new(state),
            changed: Notify::new(),
            doubted: Notify::new(),
            emptied: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub fn push(&self, value: Arc<[u8]>, everywhere: bool) {
        let mut state = self.state();
        state.stats.published += 1;
        state.lanes.push(value, everywhere, Instant::now());
        drop(state);
        self.changed.notify_one();
    }

    fn next(&self) -> Option<(Ticket, Arc<[u8]>)> {
        self.state().lanes.next()
    }

    fn settle(&self, ticket: Ticket, outcome: Result<(), &KafkaError>) {
        let now = Instant::now();
        let mut state = self.state();
        state.lanes.settle(ticket, outcome.is_ok(), now);
        match outcome {
            Ok(()) => {
                state.stats.acknowledged += 1;
                state.acknowledged_at = Some(now);
                state.refusal = None;
            }
            Err(error) => {
                state.trouble = error.to_string();
                if is_refusal(error) {
                    state.stats.refused += 1;
                    state.refusals.note(error.to_string(), now);
                } else {
                    state.stats.failed += 1;
                }
            }
        }
        let empty = state.lanes.is_empty();
        drop(state);
        if outcome.is_err_and(casts_doubt) {
            self.doubted.notify_one();
        }
        if empty {
            self.emptied.notify_waiters();
        }
        self.changed.notify_one();
    }

    pub fn learn(&self, partitions: usize, cluster_id: Option<String>) {
        let mut state = self.state();
        state.lanes.set_partitions(partitions, Instant::now());
        state.cluster_id = cluster_id.or(state.cluster_id.take());
        if partitions == 0 {
            state.trouble = format!("topic {} does not exist", self.topic);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub fn note_trouble(&self, trouble: &str) {
        trouble.clone_into(&mut self.state().trouble);
    }

    /// Notes that the connection is not encrypted or authenticated as a broker asks for.
    fn note_refusal(&self, reason: &str) {
        self.state().refusal = Some(reason.to_owned());
    }

    /// What is wrong, for people: why brokers refuse us, else the last thing that went wrong.
    pub fn trouble(&self) -> String {
        self.state().trouble().to_owned()
    }

    /// How many records were refused since this was last told, and why the last one; `None` when there is nothing to tell.
    pub fn refusals_to_tell(&self) -> Option<(u64, String)> {
        self.state().refusals.take_due(Instant::now())
    }

    pub fn cluster_id(&self) -> Option<String> {
        self.state().cluster_id.clone()
    }

    pub fn quiet_since(&self) -> Option<Instant> {
        self.state().lanes.quiet_since()
    }

    pub fn stats(&self) -> PublisherStats {
        let state = self.state();
        let quiet = state.lanes.quiet_since().filter(|since| since.elapsed() >= QUIET_BEFORE_WARNING);
        let trouble = match quiet {
            Some(since) => {
                let quiet = since.elapsed().as_secs();
                Some(format!("no report was acknowledged for {quiet} s: {}", state.trouble()))
            }
            None => state.refusals.recent(Instant::now()).map(|why| format!("Kafka refuses reports: {why}")),
        };
        PublisherStats {
            trouble,
            partitions: state.lanes.partitions(),
            overflowed: state.lanes.overflowed(),
            buffered: state.lanes.depth(),
            since_acknowledged: state.acknowledged_at.map(|at| at.elapsed()),
            ..state.stats.clone()
        }
    }

    /// Returns when there may be something to send.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns when a delivery failed because the topic is not what it was.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Returns when nothing waits and nothing is in flight.
    pub async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.state().lanes.is_empty() {
                return;
            }
            notified.await;
        }
    }
}

impl State {
    fn trouble(&self) -> &str {
        self.refusal.as_ref().unwrap_or(&self.trouble)
    }
}

/// Whether a broker answered, and did not take the record. Kafka's own codes are positive, but for `UNKNOWN_SERVER_ERROR`;
/// other negative ones are librdkafka's: nobody answered in time.
fn is_refusal(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| code == RDKafkaErrorCode::Unknown || code as i32 > 0)
}

/// librdkafka's callbacks; they run on its threads.
struct Callbacks {
    link: Arc<Link>,
    tokens: Tokens,
}

impl ClientContext for Callbacks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.current()
    }

    // librdkafka repeats itself for as long as a broker is away. The publisher tells the change of state once.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", "{facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        match error.rdkafka_error_code() {
            // What went wrong with the last broker tells more than that it was the last.
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.link.note_refusal(reason),
            _ => self.link.note_trouble(reason),
        }
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        if let Err((error, message)) = result {
            tracing::debug!(partition = message.partition(), %error, "a report was not delivered");
        }
        self.link.settle(*ticket, result.as_ref().map(|_| ()).map_err(|(error, _)| error));
    }
}
