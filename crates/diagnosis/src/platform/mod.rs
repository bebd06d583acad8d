//! What the platform says, linked to brokers: causes for people, and what treatment has to heed.
//!
//! Nothing here makes a state. What is not known, or has not been told for a while, is neither fine nor dead: it gives no
//! cause, and it lets no treatment begin that would have to know.

mod cause;
mod facts;
mod gates;
mod link;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use doctorkafka_wire::BrokerId;

use crate::{Diagnosis, Moment};
use cause::Scene;
pub use facts::{
    ClaimPhase, Ending, NodeFacts, PlatformFacts, PodFacts, PodPhase, Source, Unknown, Waiting, Workload,
};
pub use gates::StandDown;
pub use link::Identity;

/// Facts are told again at least this often, whether or not they have changed.
pub const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Facts that have not been told again for so long say nothing about now.
const STALE: Duration = Duration::from_secs(30);

/// That a pod will not come back is believed when it has looked so for this long: a pod that is deleted and made anew is
/// gone for a moment, too.
const SETTLED: Duration = Duration::from_secs(60);

/// That a volume claim does not exist is believed after so long: pods and claims are told apart.
const CLAIM_SETTLED: Duration = Duration::from_secs(10);

/// A broker that a rolling update takes down is back after less than this; later the roll is no excuse any more.
const ROLL_TAKES: Duration = Duration::from_secs(600);

/// A broker's pod, as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    /// The pod.
    pub pod: PodFacts,
    /// Whether it exists, by the newest facts that name pods.
    pub present: bool,
    /// Why the pod was evicted, until its successor is ready.
    pub evicted: Option<String>,
    /// Why the pod is not coming back, and since when that has been so.
    hopeless: Option<(Moment, String)>,
    /// Since when a claim of it has been lost.
    claim_lost: Option<Moment>,
}

/// Platform facts as last told, linked to the brokers of the cluster.
#[derive(Debug, Default)]
pub struct Platform {
    facts: Arc<PlatformFacts>,
    told: Option<Moment>,
    links: BTreeMap<BrokerId, Link>,
    ambiguous: BTreeMap<BrokerId, String>,
}

impl Platform {
    /// Takes in what is known at `now` of the platform of these brokers, which are all that there are.
    pub fn look(&mut self, facts: Arc<PlatformFacts>, brokers: &[Identity<'_>], now: Moment) {
        self.told = Some(now);
        let ids: BTreeSet<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
        self.links.retain(|id, _| facts.asked && ids.contains(id));
        if let Some(pods) = &facts.pods {
            let links = link::link(pods, brokers);
            let linked: BTreeMap<BrokerId, String> =
                links.linked.iter().map(|(id, pod)| (*id, pod.name.clone())).collect();
            for (id, pod) in links.linked {
                let before = self.links.remove(&id);
                self.links.insert(id, Link::to(pod.clone(), before));
            }
            for (id, name) in links.missing {
                self.links.entry(id).or_insert_with(|| Link::absent(&name));
            }
            let taken: BTreeSet<&str> = linked.values().map(String::as_str).collect();
            self.links.retain(|id, link| {
                if linked.contains_key(id) || links.ambiguous.contains_key(id) {
                    return linked.contains_key(id);
                }
                // Not found any more. A pod of the same name is its successor.
                let successor = pods.get(&link.pod.name);
                link.present = successor.is_some();
                let is_anothers = successor.is_some_and(|pod| taken.contains(pod.name.as_str()));
                if let Some(pod) = successor {
                    *link = Link::to(pod.clone(), Some(link.clone()));
                }
                !is_anothers
            });
            self.ambiguous = links.ambiguous;
        }
        for link in self.links.values_mut() {
            let lost = cause::lost_claim(&facts, link).is_some();
            link.claim_lost = lost.then(|| link.claim_lost.unwrap_or(now));
            link.hopeless = hopeless(&facts, link).map(|why| {
                let since = link.hopeless.as_ref().map_or(now, |(since, _)| *since);
                (since, why)
            });
        }
        self.facts = facts;
    }

    /// Whether anything is to be known of the platform at all. Not so in standalone mode, and for a policy that selects no
    /// pods.
    pub fn is_asked(&self) -> bool {
        self.facts.asked
    }

    /// The pod of a broker, as last seen.
    pub fn pod(&self, broker: BrokerId) -> Option<&PodFacts> {
        self.links.get(&broker).map(|link| &link.pod)
    }

    /// Brokers that are linked to a pod.
    pub fn linked(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.links.keys().copied()
    }

    /// Brokers whose pod cannot be told, and why.
    pub fn ambiguous(&self) -> &BTreeMap<BrokerId, String> {
        &self.ambiguous
    }

    /// What is not known of the platform, and why.
    pub fn unknown(&self, now: Moment) -> Vec<Unknown> {
        if self.is_asked() && !self.is_fresh(now) {
            return vec![Unknown { source: Source::Pods, why: self.stale() }];
        }
        self.facts.unknown.clone()
    }

    /// Why no treatment may begin now, with what would lift it; the first reason is to be told. At most one of those that
    /// pass by themselves, and one of each other kind, so that who does not heed one can heed the next.
    pub fn reasons_to_wait(&self, now: Moment) -> Vec<(StandDown, String)> {
        if !self.is_asked() {
            return Vec::new();
        }
        if !self.is_fresh(now) {
            let message =
                format!("it cannot be told whether somebody else works on this cluster: {}", self.stale());
            return vec![(StandDown::PlatformUnknown, message)];
        }
        gates::reasons_to_wait(&self.facts)
    }

    /// Brokers that are to be given nothing, and why: their node takes no pods or does not work, or their pod is on its way
    /// out.
    pub fn unfit_destinations(&self, now: Moment) -> BTreeMap<BrokerId, String> {
        let fresh = self.is_fresh(now);
        let links = self.links.iter().filter(|_| fresh);
        links.filter_map(|(id, link)| Some((*id, unfit(&self.facts, link)?))).collect()
    }

    /// Why a broker's pod is not coming back by itself; `None` when it may, or when that is not known. What is told here
    /// has stood for a minute.
    pub fn will_not_return(&self, broker: BrokerId, now: Moment) -> Option<String> {
        let (since, why) = self.links.get(&broker)?.hopeless.as_ref()?;
        let known = self.is_fresh(now) && self.facts.pods.is_some();
        (known && now.since(*since) >= SETTLED).then(|| why.clone())
    }

    /// The diagnosis of a broker as it is told, with the platform's cause; `None` where the platform adds nothing.
    pub(crate) fn explain(&self, broker: BrokerId, base: &Diagnosis, now: Moment) -> Option<Diagnosis> {
        let link = self.links.get(&broker)?;
        if !self.is_fresh(now) || self.facts.pods.is_none() {
            return None;
        }
        let believed = link.claim_lost.is_some_and(|since| now.since(since) >= CLAIM_SETTLED);
        let lost_claim = cause::lost_claim(&self.facts, link).filter(|_| believed);
        let is_a_roll = now.since(base.since) <= ROLL_TAKES;
        Scene { facts: &self.facts, link, lost_claim, is_a_roll }.explain(base)
    }

    fn is_fresh(&self, now: Moment) -> bool {
        self.told.is_some_and(|told| now.since(told) <= STALE)
    }

    fn stale(&self) -> String {
        format!(
            "nothing was heard of pods and nodes for more than {STALE:?}; lifted when they are told again"
        )
    }
}

impl Link {
    fn to(pod: PodFacts, before: Option<Self>) -> Self {
        let (evicted, hopeless, claim_lost) = before.map_or((None, None, None), |before| {
            let evicted = before.evicted.or(before.pod.evicted).filter(|_| !pod.ready);
            (evicted, before.hopeless, before.claim_lost)
        });
        let evicted = pod.evicted.clone().or(evicted);
        Self { pod, present: true, evicted, hopeless, claim_lost }
    }

    /// A pod of which only the name is known.
    fn absent(name: &str) -> Self {
        let pod = PodFacts {
            name: name.to_owned(),
            uid: String::new(),
            hostname: name.to_owned(),
            ips: Vec::new(),
            broker: None,
            phase: PodPhase::Unknown,
            ready: false,
            node: None,
            claims: Vec::new(),
            deleting: None,
            evicted: None,
            unschedulable: None,
            restart_asked: false,
            restarts: 0,
            waiting: None,
            ended: None,
        };
        Self { pod, present: false, evicted: None, hopeless: None, claim_lost: None }
    }
}

fn unfit(facts: &PlatformFacts, link: &Link) -> Option<String> {
    let pod = &link.pod;
    if pod.deleting.is_some() {
        return Some(format!("its pod {} is being deleted", pod.name));
    }
    let node = pod.node.as_ref()?;
    match facts.nodes.get(node)? {
        NodeFacts::Gone => Some(format!("its node {node} does not exist any more")),
        NodeFacts::There { ready: Some(false), .. } => Some(format!("its node {node} is NotReady")),
        NodeFacts::There { cordoned: true, .. } => Some(format!("its node {node} is cordoned")),
        NodeFacts::There { .. } => None,
    }
}

/// Why a pod is not coming back by itself.
fn hopeless(facts: &PlatformFacts, link: &Link) -> Option<String> {
    let pod = &link.pod;
    let name = &pod.name;
    if let Some(claim) = cause::lost_claim(facts, link) {
        return Some(format!("volume claim {claim} of pod {name} is lost"));
    }
    if !link.present {
        return Some(format!("pod {name} does not exist"));
    }
    let node = pod.node.as_ref().and_then(|node| Some((node, facts.nodes.get(node)?)));
    match node {
        Some((node, NodeFacts::Gone)) => {
            return Some(format!("node {node} of pod {name} does not exist any more"));
        }
        Some((node, facts)) if facts.is_down() => {
            return Some(format!("node {node} of pod {name} is NotReady"));
        }
        _ => {}
    }
    if let Some(why) = &pod.unschedulable {
        return Some(format!("no node takes pod {name}: {why}"));
    }
    matches!(pod.phase, PodPhase::Failed | PodPhase::Succeeded)
        .then(|| format!("pod {name} has ended ({})", pod.phase.as_str()))
}
