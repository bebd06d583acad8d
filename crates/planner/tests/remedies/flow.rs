//! The fewest moves there can be when only the number of replicas counts: a minimum-cost flow.
//!
//! Every partition sends its replicas to brokers, through one node for each rack; where a replica is now costs nothing, and
//! anywhere else one move. Capacities are whole numbers, so the cheapest flow is a plan, and no plan is cheaper.

use std::collections::VecDeque;

use crate::cluster::Cluster;

struct Edge {
    to: usize,
    room: u32,
    cost: i64,
}

/// A network of nodes and edges, each edge beside its reverse.
#[derive(Default)]
struct Network {
    edges: Vec<Edge>,
    from: Vec<Vec<usize>>,
}

impl Network {
    fn node(&mut self) -> usize {
        self.from.push(Vec::new());
        self.from.len() - 1
    }

    fn edge(&mut self, from: usize, to: usize, room: u32, cost: i64) {
        for (from, to, room, cost) in [(from, to, room, cost), (to, from, 0, -cost)] {
            self.from[from].push(self.edges.len());
            self.edges.push(Edge { to, room, cost });
        }
    }

    /// Sends as much as there is room for, along the cheapest way that is left each time. Gives how much that was, and its
    /// cost.
    fn send(&mut self, source: usize, sink: usize) -> (usize, usize) {
        let (mut sent, mut cost) = (0, 0);
        while let Some((way, price)) = self.cheapest_way(source, sink) {
            for edge in way {
                self.edges[edge].room -= 1;
                self.edges[edge ^ 1].room += 1;
            }
            sent += 1;
            cost += usize::try_from(price).unwrap();
        }
        (sent, cost)
    }

    /// Bellman and Ford's, for costs may be negative on the way back.
    fn cheapest_way(&self, source: usize, sink: usize) -> Option<(Vec<usize>, i64)> {
        let mut best: Vec<Option<(i64, usize)>> = vec![None; self.from.len()];
        best[source] = Some((0, usize::MAX));
        let mut waiting = VecDeque::from([source]);
        while let Some(node) = waiting.pop_front() {
            let price = best[node]?.0;
            for edge in self.from[node].iter().filter(|edge| self.edges[**edge].room > 0) {
                let Edge { to, cost, .. } = self.edges[*edge];
                if best[to].is_none_or(|(known, _)| price + cost < known) {
                    best[to] = Some((price + cost, *edge));
                    waiting.push_back(to);
                }
            }
        }
        let (price, mut edge) = best[sink]?;
        let mut way = vec![edge];
        while self.edges[edge ^ 1].to != source {
            edge = best[self.edges[edge ^ 1].to]?.1;
            way.push(edge);
        }
        Some((way, price))
    }
}

/// The fewest moves after which no broker of `leaves` holds anything, no other more than `most`, and no two replicas of a
/// partition are on one broker, nor in one rack where `apart`; `None` when there is no such plan.
pub fn fewest_moves(
    cluster: &Cluster,
    leaves: impl Fn(i32) -> bool,
    most: u32,
    apart: bool,
) -> Option<usize> {
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let brokers: Vec<usize> = cluster.brokers.iter().map(|_| network.node()).collect();
    for (broker, node) in cluster.brokers.iter().zip(&brokers) {
        network.edge(*node, sink, if leaves(broker.id) { 0 } else { most }, 0);
    }
    let mut wanted = 0;
    for partition in &cluster.partitions {
        let held = network.node();
        let count = u32::try_from(partition.replicas.len()).unwrap();
        wanted += partition.replicas.len();
        network.edge(source, held, count, 0);
        let racks = [(); 3].map(|()| network.node());
        for node in racks {
            network.edge(held, node, if apart { 1 } else { count }, 0);
        }
        for (broker, node) in cluster.brokers.iter().zip(&brokers) {
            let stays = partition.replicas.iter().any(|(id, _)| *id == broker.id);
            network.edge(racks[usize::from(broker.rack)], *node, 1, i64::from(!stays));
        }
    }
    let (sent, moves) = network.send(source, sink);
    (sent == wanted).then_some(moves)
}

/// How many of the replicas on brokers of `leaves` can be placed elsewhere while all others stay where they are.
pub fn most_placed(cluster: &Cluster, leaves: impl Fn(i32) -> bool) -> usize {
    let mut network = Network::default();
    let (source, sink) = (network.node(), network.node());
    let brokers: Vec<usize> = cluster.brokers.iter().map(|_| network.node()).collect();
    for (broker, node) in cluster.brokers.iter().zip(&brokers) {
        let held =
            cluster.partitions.iter().flat_map(|p| &p.replicas).filter(|(id, _)| *id == broker.id).count();
        let room = cluster.max_replicas.saturating_sub(u32::try_from(held).unwrap());
        network.edge(*node, sink, if leaves(broker.id) || !broker.alive { 0 } else { room }, 0);
    }
    for partition in &cluster.partitions {
        let leaving = partition.replicas.iter().filter(|(id, _)| leaves(*id)).count();
        if leaving == 0 {
            continue;
        }
        let held = network.node();
        network.edge(source, held, u32::try_from(leaving).unwrap(), 0);
        for (broker, node) in cluster.brokers.iter().zip(&brokers) {
            if partition.replicas.iter().all(|(id, _)| *id != broker.id) {
                network.edge(held, *node, 1, 0);
            }
        }
    }
    network.send(source, sink).0
}
