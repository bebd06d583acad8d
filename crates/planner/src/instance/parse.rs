//! Reading the neutral format: one JSON object a line.

use super::{Builder, Instance, Invalid, Load, NodeState, RESOURCES, build::not_negative};
use serde::Deserialize;

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
    #[serde(default)]
    pinned: bool,
}

/// Takes an instance in line by line: the `meta` line first, then brokers, then partitions.
#[derive(Debug, Default)]
pub struct Parser {
    line: usize,
    builder: Option<Builder>,
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
        taken.map_err(|reason| self.error(reason.to_string()))
    }

    /// The whole instance.
    ///
    /// # Errors
    /// There is no `meta` line, or no broker that lives.
    pub fn finish(self) -> Result<Instance, ParseError> {
        let lacks = |reason: &str| ParseError { line: self.line, reason: reason.to_owned() };
        let builder = self.builder.ok_or_else(|| lacks("the file has ended without a line of type meta"))?;
        builder.finish().map_err(|_| lacks("the file has ended without a broker that lives"))
    }

    fn error(&self, reason: String) -> ParseError {
        ParseError { line: self.line, reason }
    }

    fn meta(&mut self, meta: Meta) -> Result<(), Invalid> {
        if self.builder.is_some() {
            return Err("a second line of type meta".into());
        }
        if meta.resources != RESOURCES {
            return Err(Invalid(format!("resources are {:?}; expected {RESOURCES:?}", meta.resources)));
        }
        let built = Builder::new(&meta.name, meta.capacity_threshold, meta.max_replicas_per_broker)?;
        self.builder = Some(built);
        Ok(())
    }

    fn broker(&mut self, line: BrokerLine) -> Result<(), Invalid> {
        let builder = self.builder.as_mut().ok_or(BEFORE_META)?;
        let state = match line.state {
            State::Alive => NodeState::Alive,
            State::New => NodeState::New,
            State::Dead => NodeState::Dead,
        };
        builder.broker(line.id, &line.rack, state, line.cap).map(|_| ())
    }

    fn partition(&mut self, mut line: PartitionLine) -> Result<(), Invalid> {
        let builder = self.builder.as_mut().ok_or(BEFORE_META)?;
        // Loads are looked at as they are written, before leading is taken off that of the leader.
        not_negative("load of", &line.t, line.load.iter().chain([&line.lead]))?;
        if let Some(leader) = line.load.first_mut() {
            leader.iter_mut().zip(line.lead).for_each(|(all, lead)| *all = (*all - lead).max(0.0));
        }
        builder.partition(&line.t, line.p, &line.r, &line.load, &line.lead)?;
        if line.pinned {
            builder.pin_last();
        }
        Ok(())
    }
}

const BEFORE_META: &str = "stands before the line of type meta; expected meta, then brokers, then partitions";
