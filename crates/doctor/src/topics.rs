//! The topics of the cluster, in an order in which any partition is found quickly: there may be hundreds of thousands.

use std::{ops::Deref, sync::Arc};

use doctorkafka_kafka::{PartitionInfo, TopicInfo};

/// Topics by name, partitions by number. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicTable(Arc<[TopicInfo]>);

impl TopicTable {
    /// The partition of this number of the topic of this name.
    pub fn partition(&self, topic: &str, number: i32) -> Option<&PartitionInfo> {
        let topic = self.0.binary_search_by(|seen| seen.name.as_str().cmp(topic)).ok()?;
        let partitions = &self.0[topic].partitions;
        let at = partitions.binary_search_by_key(&number, |seen| seen.partition).ok()?;
        partitions.get(at)
    }
}

impl From<Vec<TopicInfo>> for TopicTable {
    fn from(mut topics: Vec<TopicInfo>) -> Self {
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for topic in &mut topics {
            topic.partitions.sort_unstable_by_key(|partition| partition.partition);
        }
        Self(topics.into())
    }
}

impl Deref for TopicTable {
    type Target = [TopicInfo];

    fn deref(&self) -> &[TopicInfo] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_found_in_whatever_order_it_was_told() {
        let partition = |partition| PartitionInfo {
            partition,
            leader: None,
            replicas: Vec::new(),
            isr: Vec::new(),
            eligible: None,
        };
        let topic = |name: &str, numbers: &[i32]| TopicInfo {
            name: name.into(),
            id: 0,
            internal: false,
            partitions: numbers.iter().copied().map(partition).collect(),
        };
        let told = [("b", &[2, 0, 1][..]), ("a", &[0]), ("c", &[5, 3])];
        let table = TopicTable::from(told.map(|(name, numbers)| topic(name, numbers)).to_vec());
        for (name, numbers) in told {
            for number in numbers {
                assert_eq!(table.partition(name, *number).map(|found| found.partition), Some(*number));
            }
        }
        assert_eq!(table.partition("c", 4), None);
        assert_eq!(table.partition("d", 0), None);
    }
}
