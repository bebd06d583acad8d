//! An instance whose replicas and leaderships are being moved, with every broker's sums kept up to date.

use crate::instance::{DISK, Instance, Load};

/// What a broker holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Held {
    pub load: Load,
    pub replicas: f64,
    pub leaders: f64,
    /// MB that are copied to it.
    pub inflow: f64,
}

impl Held {
    pub fn add(&mut self, other: &Held, sign: f64) {
        add(&mut self.load, &other.load, sign);
        self.replicas += sign * other.replicas;
        self.leaders += sign * other.leaders;
        self.inflow += sign * other.inflow;
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Placement<'a> {
    pub instance: &'a Instance,
    /// The broker of each slot. The first slot of a partition leads.
    at: Vec<u16>,
    /// Which of the partition's replicas, as the instance lists them, is in the slot.
    origin: Vec<u8>,
    pub brokers: Vec<Held>,
}

impl<'a> Placement<'a> {
    pub fn new(instance: &'a Instance) -> Self {
        let mut brokers = vec![Held::default(); instance.brokers.len()];
        let mut origin = Vec::with_capacity(instance.replicas());
        for partition in 0..instance.partitions() {
            let slots = instance.slots(partition);
            let leader = &mut brokers[instance.holder(slots.start)];
            add(&mut leader.load, &instance.lead(partition), 1.0);
            leader.leaders += 1.0;
            for (i, slot) in slots.enumerate() {
                let broker = &mut brokers[instance.holder(slot)];
                add(&mut broker.load, &instance.load(slot), 1.0);
                broker.replicas += 1.0;
                origin.push(u8::try_from(i).unwrap_or(u8::MAX));
            }
        }
        Self { instance, at: instance.holders().to_vec(), origin, brokers }
    }

    pub fn at(&self, slot: usize) -> usize {
        self.at[slot].into()
    }

    /// The brokers of a partition, its leader first.
    pub fn replicas(&self, partition: usize) -> &[u16] {
        &self.at[self.instance.slots(partition)]
    }

    /// Where the replica that is in the slot was at the beginning.
    pub fn came_from(&self, partition: usize, slot: usize) -> usize {
        self.instance.holder(self.source(partition, slot))
    }

    /// Whether the replica that is in the slot has not moved.
    pub fn is_home(&self, partition: usize, slot: usize) -> bool {
        self.came_from(partition, slot) == self.at(slot)
    }

    fn source(&self, partition: usize, slot: usize) -> usize {
        self.instance.slots(partition).start + usize::from(self.origin[slot])
    }

    pub fn megabytes(&self, partition: usize, slot: usize) -> f64 {
        self.instance.load(self.source(partition, slot))[DISK]
    }

    /// What the replica in the slot costs the broker that holds it, leadership included; without the copying.
    pub fn cost(&self, partition: usize, slot: usize) -> Held {
        let leads = slot == self.instance.slots(partition).start;
        let mut load = self.instance.load(self.source(partition, slot));
        if leads {
            add(&mut load, &self.instance.lead(partition), 1.0);
        }
        Held { load, replicas: 1.0, leaders: if leads { 1.0 } else { 0.0 }, inflow: 0.0 }
    }

    /// What leading the partition costs.
    pub fn leadership(&self, partition: usize) -> Held {
        Held { load: self.instance.lead(partition), replicas: 0.0, leaders: 1.0, inflow: 0.0 }
    }

    pub fn move_replica(&mut self, partition: usize, slot: usize, to: usize) {
        let (from, home) = (self.at(slot), self.came_from(partition, slot));
        let (cost, megabytes) = (self.cost(partition, slot), self.megabytes(partition, slot));
        self.brokers[from].add(&cost, -1.0);
        self.brokers[to].add(&cost, 1.0);
        if from != home {
            self.brokers[from].inflow -= megabytes;
        }
        if to != home {
            self.brokers[to].inflow += megabytes;
        }
        self.at[slot] = u16::try_from(to).unwrap_or(u16::MAX);
    }

    /// Has the replica in the slot lead instead of the one that leads.
    pub fn hand_leadership(&mut self, partition: usize, slot: usize) {
        let first = self.instance.slots(partition).start;
        let leadership = self.leadership(partition);
        let (old, new) = (self.at(first), self.at(slot));
        self.brokers[old].add(&leadership, -1.0);
        self.brokers[new].add(&leadership, 1.0);
        self.at.swap(first, slot);
        self.origin.swap(first, slot);
    }

    /// Puts the partition back to what it was at the beginning.
    pub fn restore(&mut self, partition: usize) {
        let slots = self.instance.slots(partition);
        for i in 0..slots.len() {
            let first =
                slots.clone().find(|slot| usize::from(self.origin[*slot]) == i).unwrap_or(slots.start + i);
            let home = self.instance.holder(slots.start + i);
            self.move_replica(partition, first, home);
        }
        if let Some(leader) = slots.clone().find(|slot| self.origin[*slot] == 0) {
            self.hand_leadership(partition, leader);
        }
        // The order of the followers is free of load.
        for (i, slot) in slots.enumerate() {
            self.at[slot] = self.instance.holders()[slot];
            self.origin[slot] = u8::try_from(i).unwrap_or(u8::MAX);
        }
    }

    /// How many racks the partition spans when the replica in `slot` is on `to`.
    pub fn racks_with(&self, partition: usize, slot: usize, to: usize) -> usize {
        let slots = self.instance.slots(partition);
        let rack = |s: usize| {
            let broker = if s == slot { to } else { self.at(s) };
            self.instance.brokers[broker].rack
        };
        slots.clone().filter(|s| slots.clone().take_while(|t| t < s).all(|t| rack(t) != rack(*s))).count()
    }

    pub fn racks(&self, partition: usize) -> usize {
        let first = self.instance.slots(partition).start;
        self.racks_with(partition, first, self.at(first))
    }

    /// How many racks the partition spanned at the beginning.
    pub fn racks_before(&self, partition: usize) -> usize {
        let holders = &self.instance.holders()[self.instance.slots(partition)];
        let rack = |i: usize| self.instance.brokers[usize::from(holders[i])].rack;
        (0..holders.len()).filter(|i| (0..*i).all(|j| rack(j) != rack(*i))).count()
    }

    pub fn holds(&self, partition: usize, broker: usize) -> bool {
        self.replicas(partition).iter().any(|at| usize::from(*at) == broker)
    }

    /// The brokers that the replica in the slot may go to: those that have none of the partition, and had no other of its
    /// replicas. They all hold the same, so that nothing would be copied, and each would be where the other was.
    pub fn may_go(&self, partition: usize, slot: usize) -> impl Fn(usize) -> bool + use<'_> {
        let slots = self.instance.slots(partition);
        let (now, before) = (&self.at[slots.clone()], &self.instance.holders()[slots]);
        let home = self.came_from(partition, slot);
        let is_among = |brokers: &[u16], broker| brokers.iter().any(|at| usize::from(*at) == broker);
        move |to| !is_among(now, to) && (to == home || !is_among(before, to))
    }

    pub fn is_changed(&self, partition: usize) -> bool {
        let slots = self.instance.slots(partition);
        self.at[slots.clone()] != self.instance.holders()[slots]
    }
}

fn add(to: &mut Load, load: &Load, sign: f64) {
    to.iter_mut().zip(load).for_each(|(sum, value)| *sum += sign * value);
}
