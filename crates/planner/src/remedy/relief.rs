//! Brokers above a limit give off no more than they have to.

use super::{FIGURES, Planner, Why};
use crate::{placement::Held, spread::LIMITED};

/// Times that all brokers above a limit are relieved, one after the other.
const ROUNDS: usize = 12;

/// Times that one broker's selection is made again, without what had no place to go to.
const SELECTIONS: usize = 6;

/// What may leave a broker.
#[derive(Debug, Clone, Copy)]
struct Item {
    partition: usize,
    slot: usize,
    /// What it frees, by figure, as shares of what is too much.
    frees: [f64; LIMITED],
    megabytes: f64,
}

impl Planner<'_> {
    /// Brings every broker under its limits, as far as others have room.
    pub(super) fn relieve(&mut self) {
        let mut before = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut hot: Vec<(f64, usize)> = self
                .sources
                .iter()
                .map(|broker| (self.excess(*broker).into_iter().fold(0.0, f64::max), *broker))
                .filter(|(excess, _)| *excess > 0.0)
                .collect();
            let total: f64 = hot.iter().map(|(excess, _)| excess).sum();
            if hot.is_empty() || total >= before {
                break;
            }
            before = total;
            hot.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let held = self.partitions_on(hot.iter().map(|(_, broker)| *broker));
            for ((_, broker), partitions) in hot.iter().zip(&held) {
                self.hand_over(*broker, partitions);
                self.give_off(*broker, partitions);
            }
        }
    }

    pub(super) fn excess(&self, broker: usize) -> [f64; LIMITED] {
        self.limits.excess(broker, self.held(broker))
    }

    /// The partitions of each of these brokers.
    pub(super) fn partitions_on(&self, brokers: impl Iterator<Item = usize>) -> Vec<Vec<u32>> {
        let mut place = vec![None; self.may_hold.len()];
        let mut count = 0;
        for broker in brokers {
            place[broker] = Some(count);
            count += 1;
        }
        let mut held = vec![Vec::new(); count];
        let instance = self.placement.instance;
        for partition in (0..instance.partitions()).filter(|partition| !instance.is_pinned(*partition)) {
            for at in self.placement.replicas(partition) {
                if let Some(place) = place[usize::from(*at)] {
                    held[place].push(partition as u32);
                }
            }
        }
        held
    }

    /// First what costs nothing: leaderships.
    fn hand_over(&mut self, broker: usize, partitions: &[u32]) {
        let excess = self.excess(broker);
        let follows = |figure: &usize| [0, 2, 5].contains(figure);
        if !(0..LIMITED).any(|figure| follows(&figure) && excess[figure] > 0.0) {
            return;
        }
        let figure = worst(&excess);
        let mut led: Vec<(f64, usize)> = partitions
            .iter()
            .map(|partition| *partition as usize)
            .filter(|partition| usize::from(self.placement.replicas(*partition)[0]) == broker)
            .map(|partition| {
                let shares = self.limits.shares(broker, &self.placement.leadership(partition));
                let frees = (0..LIMITED).filter(|k| follows(k) && excess[*k] > 0.0);
                (frees.map(|k| (shares[k] / excess[k]).min(1.0)).sum(), partition)
            })
            .collect();
        led.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (frees, partition) in led {
            let excess = self.excess(broker);
            if frees <= 0.0 || !(0..LIMITED).any(|figure| follows(&figure) && excess[figure] > 0.0) {
                break;
            }
            if let Some((heir, _)) = self.best_heir(partition, true) {
                self.placement.hand_leadership(partition, heir);
                self.note(partition, Why::Relief { broker: self.id(broker), figure });
            }
        }
    }

    /// Then replicas, as few MB as will do.
    fn give_off(&mut self, broker: usize, partitions: &[u32]) {
        let mut candidates: Vec<usize> = partitions.iter().map(|partition| *partition as usize).collect();
        for _ in 0..SELECTIONS {
            let excess = self.excess(broker);
            if excess.iter().all(|above| *above <= 0.0) {
                return;
            }
            let items = self.items(broker, &candidates, &excess);
            let chosen = if self.fewest { fewest(&items) } else { select(&items, &excess) };
            if chosen.is_empty() {
                return;
            }
            let figure = worst(&excess);
            let mut stays = Vec::new();
            for item in chosen {
                match self.best_target(item.partition, item.slot, false) {
                    Some((to, _)) => {
                        self.placement.move_replica(item.partition, item.slot, to);
                        self.note(item.partition, Why::Relief { broker: self.id(broker), figure });
                    }
                    None => stays.push(item.partition),
                }
            }
            stays.sort_unstable();
            candidates.retain(|partition| stays.binary_search(partition).is_err());
        }
    }

    fn items(&self, broker: usize, partitions: &[usize], excess: &[f64; LIMITED]) -> Vec<Item> {
        let item = |partition: &usize| {
            let slot = self.slot_on(*partition, broker)?;
            let cost: Held = self.placement.cost(*partition, slot);
            let shares = self.limits.shares(broker, &cost);
            let mut frees = [0.0; LIMITED];
            for k in (0..LIMITED).filter(|k| excess[*k] > 0.0) {
                frees[k] = shares[k] / excess[k];
            }
            let home = self.placement.is_home(*partition, slot);
            let megabytes = if home { self.placement.megabytes(*partition, slot) } else { 0.0 };
            Some(Item { partition: *partition, slot, frees, megabytes })
        };
        partitions
            .iter()
            .filter_map(item)
            .filter(|item| item.frees.iter().any(|frees| *frees > 0.0))
            .collect()
    }
}

pub(super) fn worst(excess: &[f64; LIMITED]) -> &'static str {
    let worst = (0..LIMITED).max_by(|a, b| excess[*a].total_cmp(&excess[*b]));
    worst.map_or(FIGURES[0], |figure| FIGURES[figure])
}

/// The cheapest set of items found that frees all that is too much; everything when that is not enough.
///
/// A covering problem, which is hard to solve exactly. Several orders are tried, each by what an item frees for its price,
/// with the figures weighed differently and with more or less of a price on every item, whatever its size.
fn select(items: &[Item], excess: &[f64; LIMITED]) -> Vec<Item> {
    let above: Vec<usize> = (0..LIMITED).filter(|k| excess[*k] > 0.0).collect();
    let mean = items.iter().map(|item| item.megabytes).sum::<f64>() / items.len() as f64;
    let mut weights: Vec<[f64; LIMITED]> =
        above.iter().map(|k| std::array::from_fn(|i| f64::from(u8::from(i == *k)))).collect();
    if above.len() > 1 {
        weights.push([1.0; LIMITED]);
    }
    let mut best: Option<(f64, Vec<u32>)> = None;
    for weight in &weights {
        for each in [0.02, 0.5, 4.0] {
            let each = each * mean.max(f64::MIN_POSITIVE);
            let Some(chosen) = cover(items, weight, each) else { continue };
            let price = chosen.iter().map(|i| items[*i as usize].megabytes + EACH * mean).sum();
            if best.as_ref().is_none_or(|best| price < best.0) {
                best = Some((price, chosen));
            }
        }
    }
    let chosen = best.map_or_else(|| (0..items.len() as u32).collect(), |best| best.1);
    chosen.into_iter().map(|i| items[i as usize]).collect()
}

/// As few items as free all that is too much, the largest first, figure after figure. While a dead broker's replicas are
/// made anew, one more large copy does less harm than several more small ones, and leaves the broker less full.
fn fewest(items: &[Item]) -> Vec<Item> {
    let mut left = items.to_vec();
    let mut freed = [0.0; LIMITED];
    let mut chosen = Vec::new();
    for figure in LARGEST_FIRST {
        left.sort_unstable_by(|a, b| {
            b.frees[figure].total_cmp(&a.frees[figure]).then(a.partition.cmp(&b.partition))
        });
        let needed = left.iter().take_while(|item| {
            let open = item.frees[figure] > 0.0 && freed[figure] < 1.0;
            if open {
                (0..LIMITED).for_each(|k| freed[k] += item.frees[k]);
            }
            open
        });
        let count = needed.count();
        chosen.extend(left.drain(..count));
    }
    chosen
}

/// Disk, network in, network out, CPU, replicas; leaderships go with them.
const LARGEST_FIRST: [usize; 5] = [3, 1, 2, 0, 4];

/// Price of moving one more replica, in sizes of the mean one.
const EACH: f64 = 0.05;

/// Takes items by what they free for their price until all is covered, then gives back what is not needed. What is still
/// to be freed weighs by how much of it is left, and what is free already weighs against an item: it would only take room
/// elsewhere.
fn cover(items: &[Item], weight: &[f64; LIMITED], each: f64) -> Option<Vec<u32>> {
    let needed: [bool; LIMITED] = std::array::from_fn(|k| items.iter().any(|item| item.frees[k] > 0.0));
    let mut freed = [0.0; LIMITED];
    let covered = |freed: &[f64; LIMITED]| (0..LIMITED).all(|k| !needed[k] || freed[k] >= 1.0);
    let mut left: Vec<(f64, u32)> = items.iter().zip(0..).map(|(_, i)| (0.0, i)).collect();
    let mut chosen = Vec::new();
    let mut against = AGAINST;
    while !covered(&freed) && !left.is_empty() {
        let weight: [f64; LIMITED] = std::array::from_fn(|k| match 1.0 - freed[k] {
            _ if !needed[k] => 0.0,
            open if open > 0.0 => weight[k] * open.max(0.1),
            _ => against * weight[k],
        });
        for (worth, i) in &mut left {
            let item = &items[*i as usize];
            let frees: f64 =
                item.frees.iter().zip(weight).map(|(frees, weight)| frees.min(1.0) * weight).sum();
            *worth = frees / (item.megabytes + each);
        }
        left.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let until: [f64; LIMITED] =
            std::array::from_fn(|k| if freed[k] < 1.0 { (freed[k] + STEP).min(1.0) } else { f64::INFINITY });
        let mut taken = 0;
        for (worth, i) in &left {
            let item = &items[*i as usize];
            if *worth <= 0.0 || covered(&freed) || (0..LIMITED).any(|k| needed[k] && freed[k] >= until[k]) {
                break;
            }
            (0..LIMITED).for_each(|k| freed[k] += item.frees[k]);
            chosen.push(*i);
            taken += 1;
        }
        if taken == 0 {
            // What is left does as much harm as good by this measure, and is needed all the same.
            if against == 0.0 {
                break;
            }
            against = 0.0;
        }
        left.drain(..taken);
    }
    if !covered(&freed) {
        return None;
    }
    let spare = |freed: &[f64; LIMITED], item: &Item| {
        (0..LIMITED).all(|k| !needed[k] || freed[k] - item.frees[k] >= 1.0)
    };
    chosen.sort_unstable_by(|a, b| {
        items[*b as usize].megabytes.total_cmp(&items[*a as usize].megabytes).then(a.cmp(b))
    });
    chosen.retain(|i| {
        let item = &items[*i as usize];
        let give_back = spare(&freed, item);
        if give_back {
            (0..LIMITED).for_each(|k| freed[k] -= item.frees[k]);
        }
        !give_back
    });
    exchange(items, &mut chosen, &mut freed, &needed);
    Some(chosen)
}

/// How much of a figure is freed before items are weighed anew.
const STEP: f64 = 0.125;

/// How much it speaks against an item that it frees what is free already.
const AGAINST: f64 = -0.5;

/// Exchanges single items for smaller ones that also do.
fn exchange(items: &[Item], chosen: &mut [u32], freed: &mut [f64; LIMITED], needed: &[bool; LIMITED]) {
    const WORTH_TRYING: usize = 16;
    for place in 0..chosen.len().min(WORTH_TRYING) {
        let old = items[chosen[place] as usize];
        let does =
            |new: &Item| (0..LIMITED).all(|k| !needed[k] || freed[k] - old.frees[k] + new.frees[k] >= 1.0);
        let smaller = items
            .iter()
            .zip(0_u32..)
            .filter(|(new, i)| new.megabytes < old.megabytes && does(new) && !chosen.contains(i));
        if let Some((new, i)) =
            smaller.min_by(|a, b| a.0.megabytes.total_cmp(&b.0.megabytes).then(a.1.cmp(&b.1)))
        {
            (0..LIMITED).for_each(|k| freed[k] += new.frees[k] - old.frees[k]);
            chosen[place] = i;
        }
    }
}
