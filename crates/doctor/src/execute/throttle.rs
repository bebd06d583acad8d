//! Replication throttles that a treatment borrows: what to set, and what to give back.
//!
//! A broker's rate ([`LEADER_RATE`], [`FOLLOWER_RATE`]) slows only the replicas that a topic's lists name, and of those only
//! the ones that are not in sync (KIP-73). Both are named for both ends of every move, so that moving back is throttled
//! as well. What is given back is the difference: what somebody else had set stays, or comes back, exactly.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_kafka::{ConfigChange, ConfigResource, DynamicConfigs};
use doctorkafka_wire::{BrokerId, ConfigAsked};

use super::{OpenTreatment, Treatment};

/// Bytes a second that a broker sends to throttled replicas.
pub(super) const LEADER_RATE: &str = "leader.replication.throttled.rate";
/// Bytes a second that a broker fetches for throttled replicas.
pub(super) const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
/// Replicas of a topic that are throttled where they lead: `0:1,0:2` is partition 0 on brokers 1 and 2, `*` all.
pub(super) const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
/// Replicas of a topic that are throttled where they follow.
pub(super) const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

const RATES: [&str; 2] = [LEADER_RATE, FOLLOWER_RATE];
const REPLICAS: [&str; 2] = [LEADER_REPLICAS, FOLLOWER_REPLICAS];

/// Settings of one request at the most.
const BATCH: usize = 100;

/// What has to be known of a treatment's throttles: settings of its brokers and topics.
pub(super) fn resources(treatment: &Treatment) -> Vec<ConfigResource> {
    if treatment.throttle().is_none() {
        return Vec::new();
    }
    let brokers = brokers(treatment).into_iter().map(ConfigResource::Broker);
    let topics: BTreeSet<&String> = treatment.moves().map(|change| &change.topic).collect();
    brokers.chain(topics.into_iter().cloned().map(ConfigResource::Topic)).collect()
}

/// Brokers that send or get data.
pub(super) fn brokers(treatment: &Treatment) -> BTreeSet<BrokerId> {
    if treatment.throttle().is_none() {
        return BTreeSet::new();
    }
    treatment.moves().flat_map(|change| change.from.iter().chain(&change.to).copied()).collect()
}

/// The settings of [`resources`] that are set, for the record.
pub(super) fn before(treatment: &Treatment, configs: &DynamicConfigs) -> Vec<ConfigAsked> {
    let mut set = Vec::new();
    for resource in resources(treatment) {
        let Some(values) = configs.get(&resource) else { continue };
        for name in names(&resource) {
            if let Some(value) = values.get(name) {
                set.push(asked(&resource, name, Some(value.clone())));
            }
        }
    }
    set
}

/// What has to be set so that the treatment is throttled; at most so much as fits into one request.
///
/// `rate` is the one that is wanted now, the treatment's own or a lower one. A rate that is neither ours nor what was there
/// before is somebody's decision and stays.
pub(super) fn to_lend(open: &OpenTreatment, configs: &DynamicConfigs, rate: u64) -> Vec<ConfigChange> {
    if open.treatment().throttle().is_none() {
        return Vec::new();
    }
    let rate = rate.to_string();
    changes(open, configs, |before, now, ours| match ours {
        None if (now == before || is_ours(open, now)) && now != Some(rate.as_str()) => {
            Some(Some(rate.clone()))
        }
        None => None,
        Some(ours) => {
            let mut entries = entries(now);
            let present: BTreeSet<&str> = entries.iter().copied().collect();
            let missing: Vec<&str> =
                ours.iter().map(String::as_str).filter(|own| !present.contains(own)).collect();
            if present.contains("*") || missing.is_empty() {
                return None;
            }
            entries.extend(missing);
            Some(Some(entries.join(",")))
        }
    })
}

/// What has to be set so that nothing of the treatment's throttle is left; at most so much as fits into one request.
pub(super) fn to_return(open: &OpenTreatment, configs: &DynamicConfigs) -> Vec<ConfigChange> {
    changes(open, configs, |before, now, ours| match ours {
        None => (is_ours(open, now) && now != before).then(|| before.map(str::to_owned)),
        Some(ours) => {
            let theirs: BTreeSet<&str> = entries(before).into_iter().collect();
            let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();
            let present = entries(now);
            let stays = |entry: &&str| theirs.contains(entry) || !ours.contains(entry);
            let left: Vec<&str> = present.iter().copied().filter(stays).collect();
            if left.len() == present.len() {
                return None;
            }
            let as_before = left.iter().copied().collect::<BTreeSet<_>>() == theirs;
            Some(if as_before { before.map(str::to_owned) } else { Some(left.join(",")) })
        }
    })
}

/// Goes through the treatment's settings that are known; `change` gets what was there before, what is there now and, for
/// a list, the treatment's own entries, and tells what it is to become, if anything else.
fn changes(
    open: &OpenTreatment,
    configs: &DynamicConfigs,
    change: impl Fn(Option<&str>, Option<&str>, Option<&[String]>) -> Option<Option<String>>,
) -> Vec<ConfigChange> {
    let own = own_entries(open.treatment());
    let mut found = Vec::new();
    for resource in resources(open.treatment()) {
        let known = !matches!(&resource, ConfigResource::Broker(broker) if open.is_unread(*broker));
        let Some(now) = configs.get(&resource).filter(|_| known) else { continue };
        let own = match &resource {
            ConfigResource::Topic(topic) => Some(own.get(topic.as_str()).map_or(&[][..], Vec::as_slice)),
            ConfigResource::Broker(_) => None,
        };
        let mut values = BTreeMap::new();
        for name in names(&resource) {
            let now = now.get(name).map(String::as_str);
            if let Some(value) = change(open.before(&resource, name), now, own) {
                values.insert(name.to_owned(), value);
            }
        }
        if !values.is_empty() {
            found.push(ConfigChange { resource, values });
        }
        if found.len() >= BATCH {
            break;
        }
    }
    found
}

/// Whether the treatment has set this rate, or may have.
fn is_ours(open: &OpenTreatment, now: Option<&str>) -> bool {
    let rate = now.and_then(|now| now.parse().ok());
    rate.is_some_and(|rate| open.treatment().throttle() == Some(rate) || open.has_asked_for(rate))
}

/// The rate that is among these settings, when there is one.
pub(super) fn rate(configs: &[ConfigAsked]) -> Option<u64> {
    let mut rates = configs.iter().filter(|asked| RATES.contains(&asked.name.as_str()));
    rates.find_map(|asked| asked.value.as_ref()?.parse().ok())
}

/// The entries of the treatment in the lists of its topics.
fn own_entries(treatment: &Treatment) -> BTreeMap<&str, Vec<String>> {
    let mut own: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in treatment.moves() {
        let entries = own.entry(&change.topic).or_default();
        let added = change.to.iter().filter(|broker| !change.from.contains(broker));
        entries
            .extend(change.from.iter().chain(added).map(|broker| format!("{}:{broker}", change.partition)));
    }
    own
}

fn entries(list: Option<&str>) -> Vec<&str> {
    list.into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .collect()
}

fn names(resource: &ConfigResource) -> [&'static str; 2] {
    match resource {
        ConfigResource::Broker(_) => RATES,
        ConfigResource::Topic(_) => REPLICAS,
    }
}

/// A setting as records name it.
pub(super) fn asked(resource: &ConfigResource, name: &str, value: Option<String>) -> ConfigAsked {
    let (broker, topic) = match resource {
        ConfigResource::Broker(broker) => (Some(*broker), None),
        ConfigResource::Topic(topic) => (None, Some(topic.clone())),
    };
    ConfigAsked { broker, topic, name: name.to_owned(), value }
}

/// `1,2,3`.
pub(super) fn list(brokers: &[BrokerId]) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
