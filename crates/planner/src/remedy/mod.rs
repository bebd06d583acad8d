//! Remedies that move replicas: what has to move, where it goes best, and what then is left unevenly led.

mod exact;
mod exchange;
mod leaders;
mod racks;
mod relief;
mod retreat;
mod room;
mod vacate;

use crate::{
    figures::Balance,
    instance::{Change, Instance, Load},
    placement::{Held, Placement},
    spread::{LIMITED, Limits, Spread},
};
use std::collections::{BTreeMap, BTreeSet};

/// What to do to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// No more than the hard rules ask for: replicas off dead brokers, as many racks as can be, every broker within its
    /// limits.
    Repair,
    /// Repair, and then use every broker about as much as the others.
    Balance,
    /// Repair, and take everything off these brokers, by id.
    Drain(BTreeSet<i32>),
    /// Repair, and take all leaderships off these brokers, by id. No data moves for it.
    Demote(BTreeSet<i32>),
    /// Make anew what dead brokers held, and nothing else. No partition loses a rack, that of the dead broker included.
    Heal,
    /// Take everything off these brokers, by id, and nothing else. No partition loses a rack.
    Evacuate(BTreeSet<i32>),
    /// Bring these brokers, by id, under their limits, and nothing else.
    Relieve(BTreeSet<i32>),
    /// Move to these brokers, by id, as much as the others have above the average, and nothing else.
    Refill(BTreeSet<i32>),
}

impl Remedy {
    /// The brokers that it is about.
    fn brokers(&self) -> Option<&BTreeSet<i32>> {
        match self {
            Self::Repair | Self::Balance | Self::Heal => None,
            Self::Drain(ids)
            | Self::Demote(ids)
            | Self::Evacuate(ids)
            | Self::Relieve(ids)
            | Self::Refill(ids) => Some(ids),
        }
    }

    /// Whether it is about one thing alone, and leaves everything else as it is: what a live cluster is treated with.
    fn is_single(&self) -> bool {
        matches!(self, Self::Heal | Self::Evacuate(_) | Self::Relieve(_) | Self::Refill(_))
    }
}

/// Why a partition is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A replica was on a broker that is dead or to be emptied.
    Vacated {
        /// The broker's id.
        broker: i32,
    },
    /// Its replicas were in fewer racks than they could be.
    Racks,
    /// The broker was above a limit.
    Relief {
        /// The broker's id.
        broker: i32,
        /// What was above its limit.
        figure: &'static str,
    },
    /// It makes room for what has to move.
    Room,
    /// Only its leadership changes, so that all brokers lead about as much.
    Leadership {
        /// The id of the broker that led it.
        broker: i32,
    },
}

/// A limit or rule that the plan could not meet.
#[derive(Debug, Clone, PartialEq)]
pub struct Shortfall {
    /// Name of the rule.
    pub rule: &'static str,
    /// On what, with the number, and what would lift it, for people.
    pub message: String,
}

/// A balanced cluster has no broker above this multiple of the average in any resource or in replicas, nor in leaderships.
const EVEN: f64 = 1.085;
const EVEN_LEADERS: f64 = 1.2;

/// Names of what has a limit, for people.
const FIGURES: [&str; LIMITED] = ["CPU", "network in", "network out", "disk", "replicas", "leaders"];

/// A plan for an instance: who holds what in the end.
#[derive(Debug)]
pub struct Proposal<'a> {
    pub(crate) placement: Placement<'a>,
    why: BTreeMap<usize, Why>,
    /// What it could not do.
    pub shortfalls: Vec<Shortfall>,
}

impl Proposal<'_> {
    /// The partitions that change, in the order of the instance.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> + '_ {
        let instance = self.placement.instance;
        let changed = self.why.iter().filter(|(partition, _)| self.placement.is_changed(**partition));
        changed.map(move |(partition, why)| {
            let (t, p) = instance.name_of(*partition);
            let id = |broker: usize| instance.brokers[broker].id;
            let slots = instance.slots(*partition);
            Change {
                t,
                p,
                r: slots.clone().map(|slot| id(self.placement.at(slot))).collect(),
                o: slots.map(|slot| id(self.placement.came_from(*partition, slot))).collect(),
                why: why.to_string(),
            }
        })
    }

    /// How evenly the brokers are used before and after.
    pub fn balance(&self) -> (Balance, Balance) {
        (Balance::of(&Placement::new(self.placement.instance)), Balance::of(&self.placement))
    }

    /// What a broker carries before and after, in the units of the instance; `None` when there is no such broker.
    pub fn loads_of(&self, broker: i32) -> Option<(Load, Load)> {
        let instance = self.placement.instance;
        let at = instance.brokers.iter().position(|node| node.id == broker)?;
        Some((Placement::new(instance).brokers[at].load, self.placement.brokers[at].load))
    }

    /// The most MB that are copied to one broker.
    pub fn most_into_one(&self) -> f64 {
        self.placement.brokers.iter().map(|broker| broker.inflow).fold(0.0, f64::max)
    }

    /// How many replicas are copied to a broker that had none of the partition, and how many MB that is.
    pub fn copied(&self) -> (usize, f64) {
        let placement = &self.placement;
        let mut copied = (0, 0.0);
        for partition in self.why.keys() {
            let slots = placement.instance.slots(*partition);
            let before = &placement.instance.holders()[slots.clone()];
            for slot in
                slots.filter(|slot| !before.iter().any(|held| usize::from(*held) == placement.at(*slot)))
            {
                copied = (copied.0 + 1, copied.1 + placement.megabytes(*partition, slot));
            }
        }
        copied
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vacated { broker } => write!(f, "a replica leaves broker {broker}"),
            Self::Racks => write!(f, "its replicas share a rack"),
            Self::Room => write!(f, "it makes room for what has to move"),
            Self::Relief { broker, figure } => write!(f, "broker {broker} is above its limit of {figure}"),
            Self::Leadership { broker } => write!(f, "broker {broker} leads more than its share"),
        }
    }
}

/// Plans a remedy. The same instance and remedy always give the same plan.
///
/// # Errors
/// A broker that the remedy names is not in the instance.
pub fn propose<'a>(instance: &'a Instance, remedy: &Remedy) -> Result<Proposal<'a>, Shortfall> {
    let proposal = plan(instance, remedy)?;
    if *remedy == Remedy::Balance && !proposal.shortfalls.is_empty() {
        // Evenness is nothing to break a limit for.
        let repaired = plan(instance, &Remedy::Repair)?;
        if repaired.shortfalls.len() < proposal.shortfalls.len() {
            return Ok(repaired);
        }
    }
    Ok(proposal)
}

fn plan<'a>(instance: &'a Instance, remedy: &Remedy) -> Result<Proposal<'a>, Shortfall> {
    let mut planner = Planner::new(instance, remedy)?;
    planner.vacate();
    if !remedy.is_single() {
        planner.mend_racks();
    }
    if matches!(remedy, Remedy::Balance | Remedy::Refill(_)) {
        planner.fewest = false;
        planner.limits = Limits::even(&planner.placement, EVEN, EVEN_LEADERS);
    }
    planner.relieve();
    planner.limits = Limits::legal(instance);
    if *remedy == Remedy::Balance {
        // Brokers that could take something, but not without being above the average, were not asked.
        planner.relieve();
    }
    if !remedy.is_single() {
        planner.exchange();
    }
    planner.retreat();
    planner.even_leadership();
    if matches!(remedy, Remedy::Repair | Remedy::Drain(_)) {
        planner.try_everything();
    }
    Ok(planner.finish())
}

/// A plan in the making.
struct Planner<'a> {
    placement: Placement<'a>,
    spread: Spread,
    limits: Limits,
    /// Brokers that may be given replicas.
    targets: Vec<usize>,
    /// Brokers that are brought under their limits.
    sources: Vec<usize>,
    /// Whether a broker may hold replicas, and may lead.
    may_hold: Vec<bool>,
    may_lead: Vec<bool>,
    /// How many racks a partition can span: those of the brokers that live; of all when none may be lost.
    racks: usize,
    why: BTreeMap<usize, Why>,
    /// Whether nothing but one thing is to be done.
    single: bool,
    /// Whether leaderships have to be evened out in the end.
    lead_evenly: bool,
    /// What each broker held at the beginning.
    before: Vec<Held>,
    /// Whether relief is to move few replicas rather than few MB.
    fewest: bool,
}

impl<'a> Planner<'a> {
    fn new(instance: &'a Instance, remedy: &Remedy) -> Result<Self, Shortfall> {
        let placement = Placement::new(instance);
        let mut named = vec![false; instance.brokers.len()];
        for id in remedy.brokers().into_iter().flatten() {
            let position = instance.brokers.iter().position(|node| node.id == *id);
            let position = position.ok_or_else(|| Shortfall {
                rule: "UnknownBroker",
                message: format!("there is no broker {id} in {}", instance.name),
            })?;
            named[position] = true;
        }
        let all = 0..instance.brokers.len();
        let leaves =
            |broker: usize| matches!(remedy, Remedy::Drain(_) | Remedy::Evacuate(_)) && named[broker];
        let dead_may_stay = matches!(remedy, Remedy::Evacuate(_) | Remedy::Relieve(_) | Remedy::Refill(_));
        let holds = |broker: usize| !leaves(broker) && (dead_may_stay || instance.brokers[broker].is_alive());
        let may_hold: Vec<bool> = all.clone().map(holds).collect();
        let is_demoted = |broker: usize| matches!(remedy, Remedy::Demote(_)) && named[broker];
        let leads = |broker: usize| {
            let node = &instance.brokers[broker];
            let refilled = named[broker] || !matches!(remedy, Remedy::Refill(_));
            holds(broker) && node.is_alive() && node.leads && !is_demoted(broker) && refilled
        };
        let may_lead: Vec<bool> = all.clone().map(leads).collect();
        let takes = |broker: &usize| {
            let node = &instance.brokers[*broker];
            may_hold[*broker]
                && node.is_alive()
                && node.takes
                && (named[*broker] || !matches!(remedy, Remedy::Refill(_)))
        };
        let is_source = |broker: &usize| match remedy {
            Remedy::Heal | Remedy::Evacuate(_) => false,
            Remedy::Relieve(_) => named[*broker],
            Remedy::Refill(_) => !named[*broker] && instance.brokers[*broker].is_alive(),
            Remedy::Repair | Remedy::Balance | Remedy::Drain(_) | Remedy::Demote(_) => may_hold[*broker],
        };
        // A broker that is to be emptied lives: its rack is not given up for it.
        let keeps_racks = |broker: &usize| remedy.is_single() || instance.brokers[*broker].is_alive();
        let racks: BTreeSet<u16> =
            all.clone().filter(keeps_racks).map(|broker| instance.brokers[broker].rack).collect();
        Ok(Self {
            spread: Spread::new(&placement, 0.0),
            limits: Limits::legal(instance),
            racks: racks.len(),
            before: placement.brokers.clone(),
            targets: all.clone().filter(takes).collect(),
            sources: all.filter(is_source).collect(),
            placement,
            single: remedy.is_single(),
            lead_evenly: matches!(remedy, Remedy::Balance | Remedy::Refill(_)),
            fewest: false,
            may_hold,
            may_lead,
            why: BTreeMap::new(),
        })
    }

    /// How many racks the partition has to span.
    fn racks_needed(&self, partition: usize) -> usize {
        self.placement.instance.slots(partition).len().min(self.racks)
    }

    /// The broker that the replica in the slot goes to best: one that keeps its limits and, as far as any does, spans the
    /// racks that are needed. With `beyond_limits`, the least bad one when none keeps them.
    fn best_target(&self, partition: usize, slot: usize, beyond_limits: bool) -> Option<(usize, f64)> {
        let placement = &self.placement;
        let from = placement.at(slot);
        let gap = self.rack_gap(partition, from);
        let needed = self.racks_needed(partition);
        let mut added = placement.cost(partition, slot);
        added.inflow = placement.megabytes(partition, slot);
        // Racks that are missing, whether limits are broken, and the rise: in this order.
        let mut best: Option<(usize, bool, f64, usize)> = None;
        let may_go = placement.may_go(partition, slot);
        for to in self.targets.iter().copied().filter(|to| may_go(*to)) {
            let missing = gap(to);
            if best.is_some_and(|best| best.0 < missing) {
                continue;
            }
            let breaks = !self.limits.allow(to, &placement.brokers[to], &added);
            if breaks && !beyond_limits || best.is_some_and(|best| (best.0, best.1) < (missing, breaks)) {
                continue;
            }
            let rise = self.spread.rise(to, &placement.brokers[to], &added);
            if best.is_none_or(|best| (missing, breaks) < (best.0, best.1) || rise < best.2) {
                best = Some((missing, breaks, rise, to));
            }
        }
        // Racks are never given up for room: fewer than now, or than needed, is no target.
        let spanned = placement.racks(partition);
        best.filter(|best| best.0 == 0 || needed - best.0 >= spanned.min(needed)).map(|best| (best.3, best.2))
    }

    /// For a broker that takes the place of `from` among the partition's replicas: how many of the racks that are needed are
    /// then missing. A replica that has yet to leave its broker may bring one more.
    fn rack_gap(&self, partition: usize, from: usize) -> impl Fn(usize) -> usize + use<'_, 'a> {
        let rack = |broker: usize| self.placement.instance.brokers[broker].rack;
        let others =
            self.placement.replicas(partition).iter().map(|at| usize::from(*at)).filter(|at| *at != from);
        let (staying, leaving): (Vec<usize>, Vec<usize>) = others.partition(|broker| self.may_hold[*broker]);
        let mut racks: Vec<u16> = staying.into_iter().map(rack).collect();
        racks.sort_unstable();
        racks.dedup();
        let missing = self.racks_needed(partition).saturating_sub(racks.len() + leaving.len());
        move |to| missing.saturating_sub(usize::from(!racks.contains(&rack(to))))
    }

    fn note(&mut self, partition: usize, why: Why) {
        self.why.entry(partition).or_insert(why);
    }

    fn id(&self, broker: usize) -> i32 {
        self.placement.instance.brokers[broker].id
    }

    /// The slot of the partition that is on the broker.
    fn slot_on(&self, partition: usize, broker: usize) -> Option<usize> {
        self.placement.instance.slots(partition).find(|slot| self.placement.at(*slot) == broker)
    }

    fn held(&self, broker: usize) -> &Held {
        &self.placement.brokers[broker]
    }

    /// The plan, with what it could not do.
    fn finish(self) -> Proposal<'a> {
        let legal = Limits::legal(self.placement.instance);
        let mut shortfalls = Vec::new();
        let looked_after = |broker: &usize| !self.single || self.sources.contains(broker);
        for broker in self.placement.instance.alive().filter(looked_after) {
            let excess = legal.excess(broker, self.held(broker));
            for (figure, above) in FIGURES.iter().zip(excess).filter(|(_, above)| *above > 0.0) {
                shortfalls.push(Shortfall {
                    rule: "OverLimit",
                    message: format!(
                        "broker {} stays {:.1}% above its limit of {figure}: no broker has room for what would have to \
                         leave it; add capacity",
                        self.id(broker),
                        above * 100.0
                    ),
                });
            }
        }
        let partitions = 0..self.placement.instance.partitions();
        let stuck = partitions
            .clone()
            .filter(|p| self.placement.replicas(*p).iter().any(|at| !self.may_hold[usize::from(*at)]));
        let stuck = stuck.count();
        if stuck > 0 {
            shortfalls.push(Shortfall {
                rule: "NoEligibleTarget",
                message: format!(
                    "{stuck} partitions keep a replica on a broker that is dead or to be emptied: no other broker can take \
                     it within its limits and without a rack less; add brokers"
                ),
            });
        }
        let misled = partitions.clone().filter(|p| {
            let leader = usize::from(self.placement.replicas(*p)[0]);
            self.may_hold[leader] && !self.may_lead[leader]
        });
        let (heirs, none): (Vec<usize>, Vec<usize>) = misled
            .partition(|p| self.placement.replicas(*p).iter().any(|at| self.may_lead[usize::from(*at)]));
        let cases = [
            (heirs.len(), "no other replica's broker has room; add capacity"),
            (none.len(), "none of their replicas is elsewhere; move one of each to another broker first"),
        ];
        for (count, why) in cases.into_iter().filter(|(count, _)| *count > 0 && !self.single) {
            shortfalls.push(Shortfall {
                rule: "NoHeir",
                message: format!(
                    "{count} partitions keep their leader on a broker that is not to lead: {why}"
                ),
            });
        }
        let narrow = partitions.filter(|p| self.placement.racks(*p) < self.racks_needed(*p)).count();
        if narrow > 0 && !self.single {
            shortfalls.push(Shortfall {
                rule: "Racks",
                message: format!("{narrow} partitions stay in fewer racks than they could: no broker has room; add capacity"),
            });
        }
        Proposal { placement: self.placement, why: self.why, shortfalls }
    }
}
