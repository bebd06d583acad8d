//! How evenly the brokers are used, as one number to make small.

use crate::{
    instance::{Instance, Load},
    placement::{Held, Placement},
};

/// Figures of a broker that are to be even: the four resources, replicas, leaderships, and what is copied to it.
const FIGURES: usize = 7;

/// Copying is over one day, and load is not: so many times the average copied to one broker counts as much as the average
/// of what lasts.
const UNEVEN_COPYING: f64 = 3.0;

/// The sum, over brokers and figures, of the eighth power of a broker's figure as a multiple of the average. So high a power
/// makes it a smooth stand-in for the largest multiple, which is what a person looks at.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    /// One over the broker's share of the average, by broker and figure. Zero where nothing is used.
    scale: Vec<[f64; FIGURES]>,
}

impl Spread {
    /// For the totals of this placement. Copying counts when `copied` MB will be.
    pub fn new(placement: &Placement<'_>, copied: f64) -> Self {
        let instance = placement.instance;
        let (capacity, total) = totals(placement);
        let alive = instance.alive().count() as f64;
        let one_over = |value: f64| if value > 0.0 { 1.0 / value } else { 0.0 };
        let scale = instance.brokers.iter().map(|node| {
            let mut scale = [0.0; FIGURES];
            for k in 0..total.load.len() {
                scale[k] = one_over(node.capacity[k] * total.load[k] / capacity[k]);
            }
            scale[4] = one_over(total.replicas / alive);
            scale[5] = one_over(total.leaders / alive);
            scale[6] = one_over(UNEVEN_COPYING * copied / alive);
            scale
        });
        Self { scale: scale.collect() }
    }

    /// What it adds to the sum to put this on the broker.
    pub fn rise(&self, broker: usize, held: &Held, added: &Held) -> f64 {
        let (scale, before, added) = (&self.scale[broker], figures(held), figures(added));
        (0..FIGURES).map(|k| eighth((before[k] + added[k]) * scale[k]) - eighth(before[k] * scale[k])).sum()
    }

    /// What it takes from the sum to take this off the broker.
    pub fn fall(&self, broker: usize, held: &Held, taken: &Held) -> f64 {
        let (scale, before, taken) = (&self.scale[broker], figures(held), figures(taken));
        (0..FIGURES).map(|k| eighth(before[k] * scale[k]) - eighth((before[k] - taken[k]) * scale[k])).sum()
    }

    /// The size of something, over all figures, in shares of a broker's average.
    pub fn size(&self, broker: usize, held: &Held) -> f64 {
        figures(held).iter().zip(&self.scale[broker]).map(|(value, scale)| value * scale).sum()
    }
}

/// Capacity of the brokers that live, and everything that they are to hold.
pub(crate) fn totals(placement: &Placement<'_>) -> (Load, Held) {
    let mut capacity = Load::default();
    let mut total = Held::default();
    for (node, held) in placement.instance.brokers.iter().zip(&placement.brokers) {
        total.add(held, 1.0);
        if node.is_alive() {
            capacity.iter_mut().zip(node.capacity).for_each(|(sum, own)| *sum += own);
        }
    }
    (capacity, total)
}

fn figures(held: &Held) -> [f64; FIGURES] {
    let [cpu, network_in, network_out, disk] = held.load;
    [cpu, network_in, network_out, disk, held.replicas, held.leaders, held.inflow]
}

fn eighth(x: f64) -> f64 {
    let squared = x * x;
    let fourth = squared * squared;
    fourth * fourth
}

/// Upper bounds on what each broker holds.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    load: Vec<Load>,
    replicas: f64,
    leaders: f64,
}

/// Figures with a limit: the four resources, replicas, leaderships.
pub(crate) const LIMITED: usize = 6;

/// Left free below a limit, so that sums taken in another order do not pass it.
const MARGIN: f64 = 1e-6;

impl Limits {
    /// What the instance allows.
    pub fn legal(instance: &Instance) -> Self {
        let limit = |node: &crate::instance::Node| {
            let mut load = node.capacity;
            load.iter_mut()
                .zip(instance.threshold)
                .for_each(|(limit, share)| *limit *= share * (1.0 - MARGIN));
            load
        };
        Self {
            load: instance.brokers.iter().map(limit).collect(),
            replicas: instance.max_replicas.into(),
            leaders: f64::INFINITY,
        }
    }

    /// Also not above this multiple of the average.
    pub fn even(placement: &Placement<'_>, multiple: f64, of_leaders: f64) -> Self {
        let instance = placement.instance;
        let (capacity, total) = totals(placement);
        let alive = instance.alive().count() as f64;
        let mut limits = Self::legal(instance);
        for (node, limit) in instance.brokers.iter().zip(&mut limits.load) {
            for k in 0..limit.len() {
                limit[k] = limit[k].min(multiple * node.capacity[k] * total.load[k] / capacity[k]);
            }
        }
        limits.replicas =
            limits.replicas.min((multiple * total.replicas / alive).max((total.replicas / alive).ceil()));
        limits.leaders = (of_leaders * total.leaders / alive).max((total.leaders / alive).ceil());
        limits
    }

    /// By how much each figure is above its limit, as a multiple of the limit; 0 where it is not. What is at its limit, but for
    /// rounding, is not above it.
    pub fn excess(&self, broker: usize, held: &Held) -> [f64; LIMITED] {
        self.limited(broker, held).map(|(value, limit)| (value / limit - 1.0 - 2.0 * MARGIN).max(0.0))
    }

    /// Whether the broker stays within its limits with this in addition, in every figure that it adds to.
    pub fn allow(&self, broker: usize, held: &Held, added: &Held) -> bool {
        let mut after = *held;
        after.add(added, 1.0);
        let (after, added) = (self.limited(broker, &after), self.limited(broker, added));
        after.iter().zip(added).all(|((value, limit), (more, _))| more <= 0.0 || value <= limit)
    }

    /// Shares of the limits.
    pub fn shares(&self, broker: usize, held: &Held) -> [f64; LIMITED] {
        self.limited(broker, held).map(|(value, limit)| value / limit)
    }

    fn limited(&self, broker: usize, held: &Held) -> [(f64, f64); LIMITED] {
        let (limit, load) = (&self.load[broker], &held.load);
        [
            (load[0], limit[0]),
            (load[1], limit[1]),
            (load[2], limit[2]),
            (load[3], limit[3]),
            (held.replicas, self.replicas),
            (held.leaders, self.leaders),
        ]
    }
}
