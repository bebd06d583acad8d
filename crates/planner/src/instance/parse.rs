//! Reading the neutral format: one JSON object a line.

use super::{Instance, Load, Node, NodeState, Partition, RESOURCES};
use serde::Deserialize;
use std::collections::HashMap;

/// A line that cannot be, or a file that lacks something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it, and what is expected.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Meta(Meta),
    Broker(BrokerLine),
    Partition(PartitionLine),
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
    resources: Vec<String>,
    capacity_threshold: Load,
    max_replicas_per_broker: Option<u32>,
}

#[derive(Deserialize)]
struct BrokerLine {
    id: i32,
    rack: String,
    state: State,
    cap: Load,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Alive,
    New,
    Dead,
}

#[derive(Deserialize)]
struct PartitionLine {
    t: String,
    p: i32,
    r: Vec<i32>,
    load: Vec<Load>,
    lead: Load,
}

/// Takes an instance in line by line: the `meta` line first, then brokers, then partitions.
#[derive(Debug, Default)]
pub struct Parser {
    line: usize,
    instance: Option<Instance>,
    racks: HashMap<String, u16>,
    positions: HashMap<i32, u16>,
    topics: HashMap<String, u32>,
    seen: std::collections::HashSet<(u32, i32)>,
}

impl Parser {
    /// Takes in one line. Empty lines are passed over.
    ///
    /// # Errors
    /// A line that is not of this format, or that contradicts one before.
    pub fn line(&mut self, text: &str) -> Result<(), ParseError> {
        self.line += 1;
        if text.trim().is_empty() {
            return Ok(());
        }
        let line = serde_json::from_str(text).map_err(|error| self.error(error.to_string()))?;
        let taken = match line {
            Line::Meta(meta) => self.meta(meta),
            Line::Broker(broker) => self.broker(broker),
            Line::Partition(partition) => self.partition(partition),
        };
        taken.map_err(|reason| self.error(reason))
    }

    /// The whole instance.
    ///
    /// # Errors
    /// There is no `meta` line, or no broker that lives.
    pub fn finish(self) -> Result<Instance, ParseError> {
        let lacks = |reason: &str| ParseError { line: self.line, reason: reason.to_owned() };
        let instance =
            self.instance.ok_or_else(|| lacks("the file has ended without a line of type meta"))?;
        if instance.alive().next().is_none() {
            return Err(lacks("the file has ended without a broker that lives"));
        }
        Ok(instance)
    }

    fn error(&self, reason: String) -> ParseError {
        ParseError { line: self.line, reason }
    }

    fn meta(&mut self, meta: Meta) -> Result<(), String> {
        if self.instance.is_some() {
            return Err("a second line of type meta".to_owned());
        }
        if meta.resources != RESOURCES {
            return Err(format!("resources are {:?}; expected {RESOURCES:?}", meta.resources));
        }
        positive("capacity_threshold", &meta.capacity_threshold)?;
        self.instance = Some(Instance {
            name: meta.name,
            brokers: Vec::new(),
            threshold: meta.capacity_threshold,
            max_replicas: meta.max_replicas_per_broker.unwrap_or(u32::MAX),
            topics: Vec::new(),
            partitions: Vec::new(),
            replicas: Vec::new(),
            load: Vec::new(),
            lead: Vec::new(),
        });
        Ok(())
    }

    fn broker(&mut self, line: BrokerLine) -> Result<(), String> {
        let instance = self.instance.as_mut().ok_or(BEFORE_META)?;
        let position = u16::try_from(instance.brokers.len()).map_err(|_| "more than 65,536 brokers")?;
        if self.positions.insert(line.id, position).is_some() {
            return Err(format!("broker {} is there twice", line.id));
        }
        let state = match line.state {
            State::Alive => NodeState::Alive,
            State::New => NodeState::New,
            State::Dead => NodeState::Dead,
        };
        if state != NodeState::Dead {
            positive("cap of a broker that lives", &line.cap)?;
        }
        let racks = u16::try_from(self.racks.len()).map_err(|_| "more than 65,536 racks")?;
        let rack = *self.racks.entry(line.rack).or_insert(racks);
        instance.brokers.push(Node { id: line.id, rack, state, takes: true, capacity: line.cap });
        Ok(())
    }

    fn partition(&mut self, line: PartitionLine) -> Result<(), String> {
        let instance = self.instance.as_mut().ok_or(BEFORE_META)?;
        if line.r.is_empty() || line.r.len() > usize::from(u8::MAX) || line.r.len() != line.load.len() {
            return Err(format!(
                "{}-{} has {} replicas and {} loads; expected 1 to 255 of either, and as many",
                line.t,
                line.p,
                line.r.len(),
                line.load.len()
            ));
        }
        not_negative("load of", &line.t, line.load.iter().chain([&line.lead]))?;
        let first = u32::try_from(instance.replicas.len()).map_err(|_| "more than 4,294,967,296 replicas")?;
        for (i, id) in line.r.iter().enumerate() {
            let position = self.positions.get(id);
            let position =
                position.ok_or_else(|| format!("{}-{}: there is no broker {id}", line.t, line.p))?;
            if line.r[..i].contains(id) {
                return Err(format!("{}-{} is twice on broker {id}", line.t, line.p));
            }
            instance.replicas.push(*position);
        }
        let topic = match self.topics.get(&line.t) {
            Some(topic) => *topic,
            None => {
                let topic =
                    u32::try_from(instance.topics.len()).map_err(|_| "more than 4,294,967,296 topics")?;
                instance.topics.push(line.t.clone());
                self.topics.insert(line.t.clone(), topic);
                topic
            }
        };
        if !self.seen.insert((topic, line.p)) {
            return Err(format!("{}-{} is there twice", line.t, line.p));
        }
        for (i, mut load) in line.load.into_iter().enumerate() {
            if i == 0 {
                load.iter_mut().zip(line.lead).for_each(|(all, lead)| *all = (*all - lead).max(0.0));
            }
            instance.load.push(load.map(|value| value as f32));
        }
        instance.lead.push(line.lead.map(|value| value as f32));
        instance.partitions.push(Partition { topic, number: line.p, first, pinned: false });
        Ok(())
    }
}

const BEFORE_META: &str = "stands before the line of type meta; expected meta, then brokers, then partitions";

fn positive(what: &str, values: &Load) -> Result<(), String> {
    let sound = values.iter().all(|value| value.is_finite() && *value > 0.0);
    if sound { Ok(()) } else { Err(format!("{what} is {values:?}; expected four numbers above 0")) }
}

fn not_negative<'a>(what: &str, name: &str, loads: impl Iterator<Item = &'a Load>) -> Result<(), String> {
    for load in loads {
        if !load.iter().all(|value| value.is_finite() && *value >= 0.0) {
            return Err(format!("{what} {name} is {load:?}; expected four numbers of 0 or more"));
        }
    }
    Ok(())
}
