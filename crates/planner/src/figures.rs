//! How a cluster is used, for people and for comparison.

use crate::{placement::Placement, spread::totals};

/// The busiest living broker in each figure, as a multiple of the average; 1 is perfectly even. A figure that nobody uses
/// is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Balance {
    /// CPU, as a share of what each broker has.
    pub cpu: f64,
    /// Network in, as a share of what each broker has.
    pub network_in: f64,
    /// Network out, as a share of what each broker has.
    pub network_out: f64,
    /// Disk, as a share of what each broker has.
    pub disk: f64,
    /// Replicas.
    pub replicas: f64,
    /// Leaderships.
    pub leaders: f64,
}

impl Balance {
    pub(crate) fn of(placement: &Placement<'_>) -> Self {
        let instance = placement.instance;
        let (capacity, _) = totals(placement);
        let living =
            || instance.alive().map(|broker| (&instance.brokers[broker], &placement.brokers[broker]));
        let over = |value: f64, average: f64| if average > 0.0 { value / average } else { 0.0 };
        let load = |k: usize| {
            let total: f64 = living().map(|(_, held)| held.load[k]).sum();
            let most = living().map(|(node, held)| held.load[k] / node.capacity[k]).fold(0.0, f64::max);
            over(most, total / capacity[k])
        };
        let alive = living().count() as f64;
        let most = |counts: Vec<f64>| {
            over(counts.iter().copied().fold(0.0, f64::max), counts.iter().sum::<f64>() / alive)
        };
        Self {
            cpu: load(0),
            network_in: load(1),
            network_out: load(2),
            disk: load(3),
            replicas: most(living().map(|(_, held)| held.replicas).collect()),
            leaders: most(living().map(|(_, held)| held.leaders).collect()),
        }
    }
}
