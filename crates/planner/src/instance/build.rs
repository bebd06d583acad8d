//! Building an instance in memory, part by part.

use super::{Instance, Load, Node, NodeState, Partition};
use std::collections::{HashMap, HashSet};

/// A part that cannot be, or that contradicts one before: what is wrong with it, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) String);

impl From<&str> for Invalid {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

/// Takes an instance in part by part: all brokers, then all partitions. A part that is refused leaves it as it was.
#[derive(Debug)]
pub struct Builder {
    instance: Instance,
    racks: HashMap<String, u16>,
    positions: HashMap<i32, u16>,
    topics: HashMap<String, u32>,
    seen: HashSet<(u32, i32)>,
}

impl Builder {
    /// Begins an instance, with the share of a capacity that a broker may use, by resource, and the most replicas that a
    /// broker may hold; no limit when absent.
    ///
    /// # Errors
    /// A share that is not above 0.
    pub fn new(name: &str, threshold: Load, max_replicas: Option<u32>) -> Result<Self, Invalid> {
        positive("capacity_threshold", &threshold)?;
        Ok(Self {
            instance: Instance {
                name: name.to_owned(),
                brokers: Vec::new(),
                threshold,
                max_replicas: max_replicas.unwrap_or(u32::MAX),
                racks: Vec::new(),
                topics: Vec::new(),
                partitions: Vec::new(),
                replicas: Vec::new(),
                load: Vec::new(),
                lead: Vec::new(),
            },
            racks: HashMap::new(),
            positions: HashMap::new(),
            topics: HashMap::new(),
            seen: HashSet::new(),
        })
    }

    /// Adds a broker that may be given replicas, with what it has of each resource; anything for a dead one.
    ///
    /// # Errors
    /// It is there already, or lives and has a capacity that is not above 0.
    pub fn broker(
        &mut self,
        id: i32,
        rack: &str,
        state: NodeState,
        capacity: Load,
    ) -> Result<&mut Node, Invalid> {
        let position = u16::try_from(self.instance.brokers.len()).map_err(|_| "more than 65,536 brokers")?;
        if self.positions.contains_key(&id) {
            return Err(Invalid(format!("broker {id} is there twice")));
        }
        if state != NodeState::Dead {
            positive("cap of a broker that lives", &capacity)?;
        }
        let rack = match self.racks.get(rack) {
            Some(rack) => *rack,
            None => {
                let new = u16::try_from(self.racks.len()).map_err(|_| "more than 65,536 racks")?;
                self.racks.insert(rack.to_owned(), new);
                self.instance.racks.push(rack.to_owned());
                new
            }
        };
        self.positions.insert(id, position);
        self.instance.brokers.push(Node { id, rack, state, takes: true, leads: true, capacity });
        Ok(&mut self.instance.brokers[usize::from(position)])
    }

    /// Adds a partition: the brokers that hold its replicas, the leader first; what each replica puts on its broker as a
    /// follower, in the same order; and what leading puts on top of that.
    ///
    /// # Errors
    /// It is there already, has no replica or more than 255, is on a broker that is not there or twice on one, or has a load
    /// that is no number or below 0.
    pub fn partition(
        &mut self,
        topic: &str,
        number: i32,
        replicas: &[i32],
        load: &[Load],
        lead: &Load,
    ) -> Result<(), Invalid> {
        if replicas.is_empty() || replicas.len() > usize::from(u8::MAX) || replicas.len() != load.len() {
            return Err(Invalid(format!(
                "{topic}-{number} has {} replicas and {} loads; expected 1 to 255 of either, and as many",
                replicas.len(),
                load.len()
            )));
        }
        not_negative("load of", topic, load.iter().chain([lead]))?;
        let first =
            u32::try_from(self.instance.replicas.len()).map_err(|_| "more than 4,294,967,296 replicas")?;
        for (i, id) in replicas.iter().enumerate() {
            if !self.positions.contains_key(id) {
                return Err(Invalid(format!("{topic}-{number}: there is no broker {id}")));
            }
            if replicas[..i].contains(id) {
                return Err(Invalid(format!("{topic}-{number} is twice on broker {id}")));
            }
        }
        let topic_index = match self.topics.get(topic) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.instance.topics.len())
                    .map_err(|_| "more than 4,294,967,296 topics")?;
                self.instance.topics.push(topic.to_owned());
                self.topics.insert(topic.to_owned(), index);
                index
            }
        };
        if !self.seen.insert((topic_index, number)) {
            return Err(Invalid(format!("{topic}-{number} is there twice")));
        }
        let instance = &mut self.instance;
        instance.replicas.extend(replicas.iter().map(|id| self.positions[id]));
        instance.load.extend(load.iter().map(|load| load.map(|value| value as f32)));
        instance.lead.push(lead.map(|value| value as f32));
        instance.partitions.push(Partition { topic: topic_index, number, first, pinned: false });
        Ok(())
    }

    /// Pins the partition that was added last, as [`Instance::pin`] does.
    pub fn pin_last(&mut self) {
        if let Some(partition) = self.instance.partitions.last_mut() {
            partition.pinned = true;
        }
    }

    /// The whole instance.
    ///
    /// # Errors
    /// No broker lives.
    pub fn finish(self) -> Result<Instance, Invalid> {
        if self.instance.alive().next().is_none() {
            return Err("there is no broker that lives".into());
        }
        Ok(self.instance)
    }
}

fn positive(what: &str, values: &Load) -> Result<(), Invalid> {
    let sound = values.iter().all(|value| value.is_finite() && *value > 0.0);
    if sound { Ok(()) } else { Err(Invalid(format!("{what} is {values:?}; expected four numbers above 0"))) }
}

/// Refuses loads that no replica can have.
pub(super) fn not_negative<'a>(
    what: &str,
    name: &str,
    loads: impl Iterator<Item = &'a Load>,
) -> Result<(), Invalid> {
    for load in loads {
        if !load.iter().all(|value| value.is_finite() && *value >= 0.0) {
            return Err(Invalid(format!("{what} {name} is {load:?}; expected four numbers of 0 or more")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Load = [0.7, 0.8, 0.8, 0.8];
    const PLENTY: Load = [100.0, 1e6, 1e6, 1e6];

    #[test]
    fn what_cannot_be_is_refused_and_leaves_no_trace() {
        assert!(Builder::new("", [0.7, 0.0, 0.8, 0.8], None).is_err());
        let mut builder = Builder::new("small", SHARE, None).unwrap();
        builder.broker(1, "a", NodeState::Alive, PLENTY).unwrap();
        builder.broker(2, "b", NodeState::Dead, [-1.0; 4]).unwrap();
        assert!(builder.broker(1, "a", NodeState::Alive, PLENTY).is_err());
        assert!(builder.broker(3, "a", NodeState::Alive, [f64::INFINITY; 4]).is_err());
        let load = [1.0; 4];
        builder.partition("orders", 0, &[1, 2], &[load, load], &load).unwrap();
        let twice = builder.clone_of_parts();
        for (replicas, loads, told) in [
            (vec![], vec![], "0 replicas and 0 loads"),
            (vec![1], vec![load, load], "1 replicas and 2 loads"),
            (vec![1, 1], vec![load, load], "is twice on broker 1"),
            (vec![1, 9], vec![load, load], "there is no broker 9"),
            (vec![1], vec![[f64::NAN; 4]], "expected four numbers of 0 or more"),
            (vec![1], vec![[-1.0; 4]], "expected four numbers of 0 or more"),
        ] {
            let refused = builder.partition("orders", 1, &replicas, &loads, &load).unwrap_err();
            assert!(refused.to_string().contains(told), "{refused}");
        }
        assert!(builder.partition("orders", 0, &[1], &[load], &load).is_err(), "twice");
        assert_eq!(builder.clone_of_parts(), twice);
        let instance = builder.finish().unwrap();
        assert_eq!((instance.partitions(), instance.replicas()), (1, 2));
        assert_eq!(instance.name_of(0), ("orders", 0));
    }

    #[test]
    fn somebody_has_to_live() {
        let mut builder = Builder::new("", SHARE, None).unwrap();
        builder.broker(1, "a", NodeState::Dead, [0.0; 4]).unwrap();
        assert!(builder.finish().is_err());
    }

    impl Builder {
        fn clone_of_parts(&self) -> Instance {
            self.instance.clone()
        }
    }
}
