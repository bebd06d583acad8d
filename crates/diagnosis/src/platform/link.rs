//! Which pod a broker runs in.
//!
//! Three ways lead from a broker to its pod: the host name that its collector sees, the host that Kafka advertises, and
//! the id that an operator has put into the pod's labels or name. Those that lead anywhere must lead to the same pod, and
//! a pod is one broker's; otherwise the broker stays without one, for a wrong link is worse than none.

use std::collections::BTreeMap;

use doctorkafka_wire::BrokerId;

use super::facts::{PodFacts, PodPhase};

/// A host name has at most so many bytes; a longer pod name is cut (`HOST_NAME_MAX`).
const HOST_NAME: usize = 63;

/// What a broker is known by.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The host that it advertises, as DescribeCluster gives it.
    pub advertised: Option<&'a str>,
    /// The host name that its collector runs under, which is the pod's where both share one.
    pub hostname: Option<&'a str>,
}

/// How brokers and pods go together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Links<'p> {
    /// The pod of each broker that has one.
    pub linked: BTreeMap<BrokerId, &'p PodFacts>,
    /// Brokers whose pod cannot be told, and why.
    pub ambiguous: BTreeMap<BrokerId, String>,
    /// Brokers whose pod is not there although the others' hosts show what it would be called.
    pub missing: BTreeMap<BrokerId, String>,
}

/// Pods by what they can be found by.
struct Index<'p> {
    hosts: BTreeMap<&'p str, Vec<&'p PodFacts>>,
    ips: BTreeMap<&'p str, Vec<&'p PodFacts>>,
    ids: BTreeMap<BrokerId, Vec<&'p PodFacts>>,
}

/// Links brokers to pods.
pub(super) fn link<'p>(pods: &'p BTreeMap<String, PodFacts>, brokers: &[Identity<'_>]) -> Links<'p> {
    let index = Index::of(pods);
    let mut links = Links::default();
    // Whether brokers are advertised by their pods' host names.
    let mut by_pod_name = false;
    for broker in brokers {
        match index.find(broker) {
            Ok(Some(pod)) => {
                by_pod_name |= first_label(broker.advertised) == Some(host_name(&pod.hostname));
                links.linked.insert(broker.id, pod);
            }
            Ok(None) => {}
            Err(why) => {
                links.ambiguous.insert(broker.id, why);
            }
        }
    }
    let mut claimed: BTreeMap<&str, Vec<BrokerId>> = BTreeMap::new();
    for (id, pod) in &links.linked {
        claimed.entry(&pod.name).or_default().push(*id);
    }
    for (pod, ids) in claimed.into_iter().filter(|(_, ids)| ids.len() > 1) {
        for id in ids {
            links.linked.remove(&id);
            links.ambiguous.insert(id, format!("pod {pod} seems to be more than one broker's"));
        }
    }
    for broker in brokers.iter().filter(|_| by_pod_name) {
        let known = links.linked.contains_key(&broker.id) || links.ambiguous.contains_key(&broker.id);
        if let Some(name) = first_label(broker.advertised).filter(|_| !known) {
            links.missing.insert(broker.id, name.to_owned());
        }
    }
    links
}

impl<'p> Index<'p> {
    fn of(pods: &'p BTreeMap<String, PodFacts>) -> Self {
        let mut index = Self { hosts: BTreeMap::new(), ips: BTreeMap::new(), ids: BTreeMap::new() };
        for pod in pods.values() {
            index.hosts.entry(host_name(&pod.hostname)).or_default().push(pod);
            for ip in &pod.ips {
                index.ips.entry(ip).or_default().push(pod);
            }
            if let Some(id) = pod.broker {
                index.ids.entry(id).or_default().push(pod);
            }
        }
        index
    }

    /// The pod that all ways lead to which lead anywhere.
    fn find(&self, broker: &Identity<'_>) -> Result<Option<&'p PodFacts>, String> {
        let by_host = |host: Option<&str>| host.and_then(|host| self.hosts.get(host));
        let ways = [
            ("its collector's host name", by_host(broker.hostname.map(host_name))),
            ("the address it advertises", broker.advertised.and_then(|host| self.ips.get(host))),
            ("the host it advertises", by_host(first_label(broker.advertised))),
            ("the pods' labels", self.ids.get(&broker.id)),
        ];
        let mut found: Option<(&str, &PodFacts)> = None;
        for (way, pods) in ways {
            let Some(pods) = pods else { continue };
            let pod = the_one(pods).ok_or_else(|| {
                let names: Vec<_> = pods.iter().take(3).map(|pod| pod.name.as_str()).collect();
                format!("{way} leads to {} pods: {}", pods.len(), names.join(", "))
            })?;
            match found {
                Some((other, before)) if before.name != pod.name => {
                    return Err(format!("{other} leads to pod {}, and {way} to {}", before.name, pod.name));
                }
                _ => found = Some((way, pod)),
            }
        }
        Ok(found.map(|(_, pod)| pod))
    }
}

/// The only pod, or the only one that is not on its way out.
fn the_one<'p>(pods: &[&'p PodFacts]) -> Option<&'p PodFacts> {
    let stays = |pod: &&&PodFacts| {
        pod.deleting.is_none() && !matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed)
    };
    match pods {
        [pod] => Some(pod),
        pods => {
            let mut staying = pods.iter().filter(stays);
            staying.next().copied().filter(|_| staying.next().is_none())
        }
    }
}

/// The name of a host within its domain; of an address, nothing.
fn first_label(host: Option<&str>) -> Option<&str> {
    let host = host.filter(|host| host.parse::<std::net::IpAddr>().is_err())?;
    host.split('.').next().filter(|label| !label.is_empty())
}

/// As much of a pod's name as its host name has.
fn host_name(name: &str) -> &str {
    let cut = name.floor_char_boundary(HOST_NAME);
    name[..cut].trim_end_matches(['-', '.'])
}
