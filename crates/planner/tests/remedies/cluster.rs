//! Clusters to plan on.

use doctorkafka_planner::{Instance, Load, Parser};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
pub struct Broker {
    pub id: i32,
    pub rack: u8,
    pub alive: bool,
    pub capacity: Load,
}

#[derive(Debug, Clone)]
pub struct Partition {
    /// Broker and follower load of each replica, the leader first.
    pub replicas: Vec<(i32, Load)>,
    pub lead: Load,
}

#[derive(Debug, Clone)]
pub struct Cluster {
    pub brokers: Vec<Broker>,
    pub partitions: Vec<Partition>,
    pub max_replicas: u32,
}

pub const THRESHOLD: Load = [0.7, 0.8, 0.8, 0.8];

impl Cluster {
    /// Brokers in as many racks, with a partition led by each.
    pub fn even(brokers: u8, partitions: usize) -> Self {
        let broker = |i: u8| Broker { id: i.into(), rack: i, alive: true, capacity: [100.0; 4] };
        let replica = |i: usize| (i32::try_from(i % usize::from(brokers)).unwrap(), [1.0; 4]);
        Self {
            brokers: (0..brokers).map(broker).collect(),
            partitions: (0..partitions)
                .map(|i| Partition { replicas: vec![replica(i), replica(i + 1)], lead: [1.0, 0.0, 1.0, 0.0] })
                .collect(),
            max_replicas: 1_000,
        }
    }

    pub fn lives(&self, id: i32) -> bool {
        self.broker(id).alive
    }

    pub fn has_dead_brokers(&self) -> bool {
        self.brokers.iter().any(|broker| !broker.alive)
    }

    pub fn broker(&self, id: i32) -> &Broker {
        self.brokers.iter().find(|broker| broker.id == id).unwrap()
    }

    pub fn instance(&self) -> Instance {
        let mut parser = Parser::default();
        let mut line = |value: serde_json::Value| parser.line(&value.to_string()).unwrap();
        line(json!({
            "type": "meta", "name": "random", "resources": ["cpu", "nw_in", "nw_out", "disk"],
            "capacity_threshold": THRESHOLD, "max_replicas_per_broker": self.max_replicas,
        }));
        for broker in &self.brokers {
            let (state, cap) = if broker.alive { ("ALIVE", broker.capacity) } else { ("DEAD", [-1.0; 4]) };
            line(
                json!({"type": "broker", "id": broker.id, "rack": broker.rack.to_string(), "state": state, "cap": cap}),
            );
        }
        for (number, partition) in self.partitions.iter().enumerate() {
            let ids: Vec<i32> = partition.replicas.iter().map(|(id, _)| *id).collect();
            let load: Vec<Load> = (0..ids.len()).map(|i| partition.load(i, i == 0)).collect();
            line(
                json!({"type": "partition", "t": "t", "p": number, "r": ids, "load": load, "lead": partition.lead}),
            );
        }
        parser.finish().unwrap()
    }
}

impl Partition {
    pub fn load(&self, replica: usize, leads: bool) -> Load {
        let mut load = self.replicas[replica].1;
        if leads {
            load.iter_mut().zip(self.lead).for_each(|(sum, lead)| *sum += lead);
        }
        load
    }
}

fn cluster(
    brokers: std::ops::Range<usize>,
    partitions: std::ops::Range<usize>,
    most_replicas: usize,
) -> impl Strategy<Value = Cluster> {
    let broker = (0..3_u8, prop::bool::weighted(0.85), 60..140_u16);
    // Whole numbers, so that sums do not depend on the order in which they are taken.
    let replica = (any::<prop::sample::Index>(), 1..30_u16, 0..20_u16, 1..30_u16);
    let partition = (prop::collection::vec(replica, 1..=most_replicas), 0..10_u16, 0..20_u16);
    (prop::collection::vec(broker, brokers), prop::collection::vec(partition, partitions), 3..40_u32)
        .prop_map(|(brokers, partitions, max_replicas)| {
            let mut brokers: Vec<Broker> = brokers
                .into_iter()
                .enumerate()
                .map(|(id, (rack, alive, capacity))| {
                    let id = i32::try_from(id).unwrap();
                    Broker { id, rack, alive, capacity: [f64::from(capacity); 4] }
                })
                .collect();
            brokers.last_mut().unwrap().alive = true;
            let count = brokers.len();
            let partitions = partitions
                .into_iter()
                .map(|(drawn, cpu, out)| {
                    let mut replicas: Vec<(i32, Load)> = Vec::new();
                    for (index, cpu, network, disk) in drawn {
                        let id = brokers[index.index(count)].id;
                        if replicas.iter().all(|(held, _)| *held != id) {
                            replicas.push((id, [cpu / 3, network, 0, disk].map(f64::from)));
                        }
                    }
                    Partition { replicas, lead: [cpu, 0, out, 0].map(f64::from) }
                })
                .collect();
            Cluster { brokers, partitions, max_replicas }
        })
}

pub fn any_cluster() -> impl Strategy<Value = Cluster> {
    cluster(2..9, 0..40, 4)
}

pub fn tiny_cluster() -> impl Strategy<Value = Cluster> {
    cluster(2..5, 1..5, 2)
}

/// A cluster in which only the number of replicas counts: nothing weighs anything. `racks` of them, at most three.
pub fn weightless_cluster(racks: u8) -> impl Strategy<Value = Cluster> {
    cluster(3..9, 1..40, 3).prop_map(move |mut cluster| {
        for broker in &mut cluster.brokers {
            broker.rack %= racks;
        }
        for partition in &mut cluster.partitions {
            partition.lead = [0.0; 4];
            partition.replicas.iter_mut().for_each(|(_, load)| *load = [0.0; 4]);
        }
        cluster
    })
}
