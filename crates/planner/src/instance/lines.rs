//! Writing the neutral format: one JSON object a line, as [`super::Parser`] reads it.

use super::{Instance, Load, NodeState, RESOURCES};
use serde_json::json;

impl Instance {
    /// The instance line by line. What is parsed from them is an instance that is planned on in the same way.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let meta = std::iter::once_with(|| self.meta_line());
        let brokers = (0..self.brokers.len()).map(|broker| self.broker_line(broker));
        let partitions = (0..self.partitions.len()).map(|partition| self.partition_line(partition));
        meta.chain(brokers).chain(partitions)
    }

    fn meta_line(&self) -> String {
        let mut meta = json!({
            "type": "meta",
            "name": self.name,
            "resources": RESOURCES,
            "capacity_threshold": self.threshold,
        });
        if self.max_replicas < u32::MAX {
            meta["max_replicas_per_broker"] = self.max_replicas.into();
        }
        meta.to_string()
    }

    fn broker_line(&self, broker: usize) -> String {
        let node = &self.brokers[broker];
        let state = match node.state {
            NodeState::Alive => "ALIVE",
            NodeState::New => "NEW",
            NodeState::Dead => "DEAD",
        };
        let rack = &self.racks[usize::from(node.rack)];
        json!({"type": "broker", "id": node.id, "rack": rack, "state": state, "cap": node.capacity})
            .to_string()
    }

    fn partition_line(&self, partition: usize) -> String {
        let (topic, number) = self.name_of(partition);
        let slots = self.slots(partition);
        let lead = self.lead(partition);
        let replicas: Vec<i32> = slots.clone().map(|slot| self.brokers[self.holder(slot)].id).collect();
        let leading = slots.start;
        let load: Vec<Load> = slots
            .map(|slot| {
                let mut load = self.load(slot);
                if slot == leading {
                    load.iter_mut().zip(lead).for_each(|(all, lead)| *all += lead);
                }
                load
            })
            .collect();
        let mut line = json!({
            "type": "partition", "t": topic, "p": number, "r": replicas, "load": load, "lead": lead,
        });
        if self.is_pinned(partition) {
            line["pinned"] = true.into();
        }
        line.to_string()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, Instance, NodeState, Parser, Remedy, propose};
    use proptest::prelude::*;

    fn parsed(instance: &Instance) -> Instance {
        let mut parser = Parser::default();
        instance.lines().for_each(|line| parser.line(&line).unwrap());
        parser.finish().unwrap()
    }

    fn built(figures: &[[f32; 4]], pinned: bool) -> Instance {
        let mut builder = Builder::new("a \"name\"", [0.7, 0.8, 0.8, 1.0], Some(500)).unwrap();
        for id in 1..=4 {
            let state = if id == 2 { NodeState::Dead } else { NodeState::Alive };
            builder.broker(id, ["", "b"][id as usize % 2], state, [100.0, 1e6, 1e6, 1e7 + 0.1]).unwrap();
        }
        for (number, figures) in (0_i32..).zip(figures) {
            let load = figures.map(f64::from);
            let replicas = [1 + number % 4, 1 + (number + 1) % 4];
            builder.partition("t", number, &replicas, &[load, load], &[load[0], 0.0, load[2], 0.0]).unwrap();
        }
        let mut instance = builder.finish().unwrap();
        instance.pin(|_| pinned);
        instance
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_planned_in_the_same_way(
            figures in prop::collection::vec(prop::array::uniform4(0.0_f32..1e5), 1..20),
            pinned: bool,
        ) {
            let instance = built(&figures, pinned);
            let read = parsed(&instance);
            for remedy in [Remedy::Repair, Remedy::Balance] {
                let (before, after) = (propose(&instance, &remedy).unwrap(), propose(&read, &remedy).unwrap());
                let changes = |plan: &crate::Proposal<'_>| {
                    plan.changes().map(|change| format!("{change:?}")).collect::<Vec<_>>()
                };
                prop_assert_eq!(changes(&before), changes(&after));
            }
        }
    }
}
