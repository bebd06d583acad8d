//! The doctor's own topics and their settings.

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
    pub fn metrics(name: &str, brokers: usize) -> Self {
        let setting = |name, value: &str| (name, value.to_owned());
        Self {
            name: name.to_owned(),
            partitions: 3,
            replication_factor: replication_factor(brokers),
            settings: vec![
                setting("cleanup.policy", "delete"),
                setting("compression.type", "producer"),
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
