//! Watching whether a topic exists, and whether it is still the same one.

use crate::{Admin, AdminError, TopicInfo};
use std::{collections::VecDeque, time::Duration};
use tokio::sync::watch;

/// Time between two looks at the topic.
const INTERVAL: Duration = Duration::from_secs(1);

/// So many replaced topics are remembered: more than a broker can lag behind.
const REPLACED: usize = 16;

/// What the last look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    Present(Seen),
    Missing,
    Unreachable(String),
}

/// What matters of a topic to its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Changes when the topic is deleted and created again.
    pub(super) id: u128,
    pub(super) partitions: Vec<i32>,
}

/// Looks once a second, in a task of its own, so that a broker that hangs holds up nothing but the looking.
pub(super) struct Scout {
    admin: Admin,
    sightings: watch::Receiver<Option<Sighting>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scout {
    pub(super) fn start(admin: Admin, topic: String) -> Self {
        let (sender, sightings) = watch::channel(None);
        let task = tokio::spawn({
            let admin = admin.clone();
            async move {
                let mut known = Known::default();
                while !sender.is_closed() {
                    let sighting = look(&admin, &topic).await;
                    if known.is_up_to_date(&sighting) {
                        sender.send_if_modified(|last| {
                            let changed = last.as_ref() != Some(&sighting);
                            *last = Some(sighting);
                            changed
                        });
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        });
        Self { admin, sightings, task }
    }

    /// Waits for a sighting that differs from the one before. The first call returns the first one.
    pub(super) async fn next(&mut self) -> Sighting {
        loop {
            // The sender lives as long as the task, which ends with `self`.
            if self.sightings.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(sighting) = self.sightings.borrow_and_update().clone() {
                return sighting;
            }
        }
    }

    /// Lets [`Scout::next`] return the newest sighting once more.
    pub(super) fn again(&mut self) {
        self.sightings.mark_changed();
    }

    pub(super) fn admin(&self) -> &Admin {
        &self.admin
    }
}

/// The topics that had the name, told apart by their ids, which Kafka never gives twice.
#[derive(Debug, Default)]
struct Known {
    present: Option<u128>,
    replaced: VecDeque<u128>,
}

impl Known {
    /// False for a topic that another has replaced: each broker learns of a deletion in its own time, so that one of
    /// them may still show what the others have forgotten.
    fn is_up_to_date(&mut self, sighting: &Sighting) -> bool {
        let Sighting::Present(Seen { id, .. }) = sighting else { return true };
        if self.replaced.contains(id) {
            return false;
        }
        if let Some(before) = self.present.replace(*id).filter(|before| before != id) {
            self.replaced.push_back(before);
            if self.replaced.len() > REPLACED {
                self.replaced.pop_front();
            }
        }
        true
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(admin: &Admin, name: &str) -> Sighting {
    match admin.topics(Some(&[name])).await {
        Ok(topics) => topics.into_iter().find(|topic| topic.name == name).map_or(Sighting::Missing, seen),
        // The order in which brokers fail differs from time to time; only another failure is news.
        Err(AdminError::Unreachable { request, mut attempts }) => {
            attempts.sort_unstable_by(|a, b| a.address.cmp(&b.address));
            Sighting::Unreachable(AdminError::Unreachable { request, attempts }.to_string())
        }
        Err(error) => Sighting::Unreachable(error.to_string()),
    }
}

fn seen(topic: TopicInfo) -> Sighting {
    let partitions = topic.partitions.iter().map(|partition| partition.partition).collect();
    Sighting::Present(Seen { id: topic.id, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_lags_behind_brings_no_topic_back() {
        let topic = |id| Sighting::Present(Seen { id, partitions: vec![0] });
        let mut known = Known::default();
        let sightings =
            [topic(1), Sighting::Missing, topic(1), topic(2), topic(1), topic(2), topic(3), topic(1)];
        let up_to_date = sightings.map(|sighting| known.is_up_to_date(&sighting));
        assert_eq!(up_to_date, [true, true, true, true, false, true, true, false]);
    }
}
