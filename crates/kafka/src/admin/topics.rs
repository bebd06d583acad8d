//! The doctor's own topics and their settings.

use super::{
    Admin, AdminError,
    command::unreachable,
    describe::RETRIES,
    link::Request,
    pool::{Answer, Ask},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
    },
    protocol::StrBytes,
};

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replication_factor: i16,
    /// Topic settings that differ from the brokers' defaults, by name.
    pub settings: Vec<(&'static str, String)>,
}

/// What came of [`crate::Admin::ensure_topic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicOutcome {
    /// It was created.
    Created,
    /// It was there already; its settings were left as they are.
    Existed,
}

impl TopicSpec {
    /// The topic that sidecars publish to, in a cluster of so many brokers (fenced ones counted).
    ///
    /// Two copies, not three. A consumer reads up to the high watermark, which does not rise while any in-sync replica
    /// is dead and not yet fenced (9 s, and 11 s when it was the active controller). With three brokers and three copies
    /// every dead broker would stop the reading of every partition for that time. With two copies at least one of
    /// the three partitions is on the living alone, and the sidecar of a broker in trouble publishes to all of them.
    pub fn metrics(name: &str, brokers: usize) -> Self {
        let setting = |name, value: &str| (name, value.to_owned());
        Self {
            name: name.to_owned(),
            partitions: 3,
            replication_factor: replication_factor(brokers).min(2),
            settings: vec![
                setting("cleanup.policy", "delete"),
                setting("compression.type", "producer"),
                // A cluster's default of 2 would stop the high watermark while one of the two is away (KIP-966).
                setting("min.insync.replicas", "1"),
                // The brokers' clocks, which are fewer and better kept than those of the sidecars.
                setting("message.timestamp.type", "LogAppendTime"),
                setting("retention.ms", "86400000"),
                // Only whole segments are deleted: with the default of 7 days, 24 h of retention would be 8 days.
                setting("segment.ms", "3600000"),
            ],
        }
    }

    /// The actions log, in a cluster of so many brokers (fenced ones counted).
    pub fn actions_log(name: &str, brokers: usize) -> Self {
        let setting = |name, value: &str| (name, value.to_owned());
        let replication_factor = replication_factor(brokers);
        // Two copies of every decision where that leaves the log writable with one broker down.
        let min_in_sync = if replication_factor >= 3 { "2" } else { "1" };
        Self {
            name: name.to_owned(),
            partitions: 1,
            replication_factor,
            settings: vec![
                setting("cleanup.policy", "delete"),
                setting("compression.type", "producer"),
                setting("min.insync.replicas", min_in_sync),
                setting("retention.bytes", "-1"),
                setting("retention.ms", "-1"),
                setting("unclean.leader.election.enable", "false"),
            ],
        }
    }
}

fn replication_factor(brokers: usize) -> i16 {
    match brokers {
        0 | 1 => 1,
        2 => 2,
        _ => 3,
    }
}

impl Admin {
    /// Creates the topic unless it exists. CreateTopics, API key 19.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], [`AdminError::Unsupported`] and [`AdminError::Refused`].
    pub async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicOutcome, AdminError> {
        let create =
            Create { spec, timeout_ms: i32::try_from(self.limits.call.as_millis()).unwrap_or(i32::MAX) };
        let mut answer = self.general.ask_any(self.limits, &create).await?;
        let mut retries = 0;
        loop {
            let result = answer.body.topics.into_iter().next();
            let code =
                result.as_ref().map_or(ResponseError::UnknownServerError.code(), |topic| topic.error_code);
            let error = match ResponseError::try_from_code(code) {
                None => return Ok(TopicOutcome::Created),
                Some(ResponseError::TopicAlreadyExists) => return Ok(TopicOutcome::Existed),
                Some(error) => error,
            };
            if !error.is_retriable() || retries == RETRIES {
                return Err(AdminError::Refused {
                    request: CreateTopicsRequest::NAME,
                    subject: format!("topic {}", spec.name),
                    address: answer.address,
                    code: error.to_string(),
                    message: result.and_then(|topic| topic.error_message).map(|message| message.to_string()),
                });
            }
            retries += 1;
            self.pause().await;
            answer = if error == ResponseError::NotController {
                self.ask_controller(&create).await?
            } else {
                self.general.ask_any(self.limits, &create).await?
            };
        }
    }

    /// Brokers with KRaft forward what is the controller's business; those with ZooKeeper say `NotController`.
    async fn ask_controller(&self, create: &Create<'_>) -> Result<Answer<CreateTopicsResponse>, AdminError> {
        let Some(address) = self.controller_address().await? else {
            return self.general.ask_any(self.limits, create).await;
        };
        let answer = self.general.ask(&address, self.limits, create).await;
        answer.map_err(|error| unreachable(CreateTopicsRequest::NAME, address, error))
    }
}

struct Create<'a> {
    spec: &'a TopicSpec,
    timeout_ms: i32,
}

impl Ask for Create<'_> {
    type Request = CreateTopicsRequest;

    fn request(&self, _version: i16) -> CreateTopicsRequest {
        let settings = self.spec.settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value.clone())))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(self.spec.name.clone())))
            .with_num_partitions(self.spec.partitions)
            .with_replication_factor(self.spec.replication_factor)
            .with_configs(settings.collect());
        CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(self.timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting<'a>(spec: &'a TopicSpec, name: &str) -> &'a str {
        spec.settings.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str()).unwrap()
    }

    #[test]
    fn the_log_can_be_written_with_one_broker_down_wherever_that_is_possible() {
        for (brokers, copies, in_sync) in
            [(0, 1, "1"), (1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (1_000, 3, "2")]
        {
            let log = TopicSpec::actions_log("log", brokers);
            assert_eq!((log.replication_factor, setting(&log, "min.insync.replicas")), (copies, in_sync));
        }
    }

    #[test]
    fn the_metrics_topic_never_has_more_copies_than_brokers() {
        for (brokers, copies) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
            assert_eq!(TopicSpec::metrics("metrics", brokers).replication_factor, copies);
        }
    }
}
