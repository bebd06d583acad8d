//! Why a broker is down, by what its pod, its node and its volumes say. It puts a cause beside a state, and never makes
//! a state.

use doctorkafka_wire::Evidence;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Link,
    facts::{ClaimPhase, Ending, NodeFacts, PlatformFacts, PodPhase, Waiting},
    gates,
};
use crate::{
    BrokerState, Diagnosis, DirectProbe, Reason,
    unheard::{DIRECT_PROBE, FENCED, REPORTED},
};

/// So long a broker that was ended for want of memory is told to have been.
const OUT_OF_MEMORY_TOLD: SignedDuration = SignedDuration::from_hours(1);

/// An end of the container longer ago than this is not why the broker is down now.
const ENDED_JUST_NOW: SignedDuration = SignedDuration::from_mins(10);

/// What the platform says of one broker.
pub(super) struct Scene<'a> {
    pub facts: &'a PlatformFacts,
    pub link: &'a Link,
    /// Whether a volume claim of the pod has been missing for long enough to be believed.
    pub lost_claim: Option<&'a str>,
    /// Whether the broker has not been down for longer than a rolling update takes.
    pub is_a_roll: bool,
}

/// A cause with its words.
struct Cause {
    reason: Option<Reason>,
    text: String,
}

impl Cause {
    fn new(reason: Reason, text: String) -> Self {
        Self { reason: Some(reason), text }
    }
}

impl Scene<'_> {
    /// The diagnosis as it is told: with the platform's cause. `None` when the platform adds nothing.
    pub fn explain(&self, base: &Diagnosis) -> Option<Diagnosis> {
        let mut told = match base.state {
            BrokerState::Unhealthy => {
                let cause = self.cause(base);
                let message = format!("{}; {}", base.message, cause.text);
                Diagnosis { reason: cause.reason.unwrap_or(base.reason), message, ..base.clone() }
            }
            BrokerState::Healthy | BrokerState::Overloaded | BrokerState::Recovering => {
                let (ending, at) = self.out_of_memory(OUT_OF_MEMORY_TOLD)?;
                let (code, restarts) = (ending.exit_code, self.restarts());
                let message = format!(
                    "{}; its container was OOMKilled at {at} (exit code {code}), {restarts}",
                    base.message
                );
                Diagnosis { message, ..base.clone() }
            }
            BrokerState::Maintenance | BrokerState::Unknown => return None,
        };
        self.add_evidence(&mut told.evidence);
        Some(told)
    }

    fn cause(&self, diagnosis: &Diagnosis) -> Cause {
        let base = diagnosis.reason;
        let pod = &self.link.pod;
        let name = &pod.name;
        // Whoever still reports has a node that works and a pod that is there.
        let reports = !matches!(base, Reason::HeartbeatLost);
        let down = matches!(base, Reason::HeartbeatLost | Reason::ProcessDown);
        let rolling = gates::rolling_update(self.facts);
        let expected = || self.is_between_two_lives() || self.awaits_its_collector(diagnosis);
        if let Some(rolling) = rolling.filter(|_| self.is_a_roll && expected()) {
            return Cause::new(Reason::RollingUpdate, format!("{}: {rolling}", self.whereabouts()));
        }
        if let Some(claim) = self.lost_claim.filter(|_| !reports) {
            let what = match self.facts.claims.as_ref().and_then(|claims| claims.get(claim)) {
                Some(_) => "has lost its volume",
                None => "does not exist",
            };
            return Cause::new(Reason::VolumeLost, format!("volume claim {claim} of pod {name} {what}"));
        }
        if !self.link.present {
            return match &self.link.evicted {
                Some(why) => {
                    Cause::new(Reason::Evicted, format!("pod {name} was evicted ({why}) and is gone"))
                }
                None => Cause::new(Reason::PodDeleted, format!("pod {name} does not exist")),
            };
        }
        if let Some(cause) = self.node_down().filter(|_| !reports) {
            return cause;
        }
        if let Some(why) = &pod.evicted {
            return Cause::new(Reason::Evicted, format!("pod {name} is evicted ({why})"));
        }
        if pod.deleting.is_some() {
            return Cause::new(Reason::PodDeleted, format!("pod {name} is being deleted"));
        }
        if !down {
            return Cause { reason: None, text: self.whereabouts() };
        }
        self.container().unwrap_or_else(|| Cause { reason: None, text: self.whereabouts() })
    }

    /// What the broker's container says.
    fn container(&self) -> Option<Cause> {
        let pod = &self.link.pod;
        let name = &pod.name;
        let evicted = self.link.evicted.as_ref();
        let before = evicted.map_or(String::new(), |why| format!("; the one before was evicted ({why})"));
        if let Some(why) = &pod.unschedulable {
            return Some(Cause::new(
                Reason::Unschedulable,
                format!("no node takes pod {name}: {why}{before}"),
            ));
        }
        let waits = pod.waiting.as_ref();
        let is_image = |waiting: &&Waiting| {
            matches!(
                waiting.reason.as_str(),
                "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull"
            )
        };
        if let Some(waiting) = waits.filter(is_image) {
            let Waiting { reason, message } = waiting;
            return Some(Cause::new(
                Reason::ImagePullBackOff,
                format!("pod {name} has no image to run ({reason}): {message}"),
            ));
        }
        if let Some((ending, at)) = self.out_of_memory(ENDED_JUST_NOW) {
            let loops = waits.map_or(String::new(), |waiting| format!(", {}", waiting.reason));
            let text = format!(
                "the container of pod {name} was OOMKilled at {at} (exit code {}), {}{loops}",
                ending.exit_code,
                self.restarts()
            );
            return Some(Cause::new(Reason::OomKilled, text));
        }
        if waits.is_some_and(|waiting| waiting.reason == "CrashLoopBackOff") {
            let last = pod.ended.as_ref().map_or(String::new(), |ending| {
                format!(", last with exit code {} ({})", ending.exit_code, ending.reason)
            });
            let text = format!("the container of pod {name} ends again and again{last}, {}", self.restarts());
            return Some(Cause::new(Reason::CrashLoopBackOff, text));
        }
        if pod.phase == PodPhase::Pending {
            let what = waits.map_or(String::new(), |waiting| format!(" ({})", waiting.reason));
            return Some(Cause::new(Reason::PodPending, format!("pod {name} is Pending{what}{before}")));
        }
        None
    }

    fn node_down(&self) -> Option<Cause> {
        let pod = &self.link.pod;
        let node = pod.node.as_ref()?;
        match self.facts.nodes.get(node)? {
            NodeFacts::Gone => Some(Cause::new(
                Reason::NodeGone,
                format!("pod {} was on node {node}, which does not exist any more", pod.name),
            )),
            NodeFacts::There { ready: Some(false), .. } => Some(Cause::new(
                Reason::NodeNotReady,
                format!("pod {} on node {node}, which is NotReady", pod.name),
            )),
            NodeFacts::There { .. } => None,
        }
    }

    /// Whether the pod is on its way out or its successor on its way in, and nothing says that this does not work.
    fn is_between_two_lives(&self) -> bool {
        let pod = &self.link.pod;
        let stuck = self.container().is_some_and(|cause| cause.reason != Some(Reason::PodPending))
            || self.node_down().is_some()
            || self.lost_claim.is_some()
            || pod.evicted.is_some();
        let between = !self.link.present
            || gates::is_being_replaced(pod, self.facts.at)
            || pod.phase == PodPhase::Pending
            || !pod.ready;
        between && !stuck
    }

    /// Whether the broker serves and was never heard of: so it is with all whose turn is still to come in the roll that
    /// brings their sidecars.
    fn awaits_its_collector(&self, diagnosis: &Diagnosis) -> bool {
        let evidence = |name: &str| diagnosis.evidence.get(name);
        diagnosis.reason == Reason::HeartbeatLost
            && evidence(REPORTED).and_then(Value::as_bool) == Some(false)
            && evidence(FENCED).and_then(Value::as_bool) == Some(false)
            && evidence(DIRECT_PROBE).and_then(Value::as_str) == Some(DirectProbe::Answered.as_str())
            && self.link.present
            && self.link.pod.ready
    }

    /// Where the pod is and how it is, for a broker of which it says nothing bad.
    fn whereabouts(&self) -> String {
        let pod = &self.link.pod;
        if !self.link.present {
            return format!("pod {} does not exist at the moment", pod.name);
        }
        if pod.deleting.is_some() {
            return format!("pod {} is being deleted", pod.name);
        }
        let ready = if pod.ready { " and ready" } else { ", not ready" };
        let node = pod.node.as_ref().map_or(String::new(), |node| format!(" on node {node}"));
        format!("pod {} is {}{ready}{node}", pod.name, pod.phase.as_str())
    }

    fn restarts(&self) -> String {
        match self.link.pod.restarts {
            1 => "1 restart".to_owned(),
            n => format!("{n} restarts"),
        }
    }

    /// How it ended for want of memory, if that was less than `ago` before these facts.
    fn out_of_memory(&self, ago: SignedDuration) -> Option<(&Ending, Timestamp)> {
        let ending = self.link.pod.ended.as_ref().filter(|ending| ending.is_out_of_memory())?;
        let at = ending.at?;
        (self.link.present && self.facts.at.duration_since(at) <= ago).then_some((ending, at))
    }

    fn add_evidence(&self, evidence: &mut Evidence) {
        let pod = &self.link.pod;
        let mut add = |key: &str, value: serde_json::Value| evidence.insert(key.to_owned(), value);
        add("pod", pod.name.clone().into());
        if !self.link.present {
            add("podPhase", "Absent".into());
            return;
        }
        add("podPhase", pod.phase.as_str().into());
        add("podReady", pod.ready.into());
        add("restarts", pod.restarts.into());
        if let Some(node) = &pod.node {
            add("node", node.as_str().into());
            match self.facts.nodes.get(node) {
                Some(NodeFacts::Gone) => {
                    add("nodeReady", false.into());
                }
                Some(NodeFacts::There { ready: Some(ready), cordoned }) => {
                    add("nodeReady", (*ready).into());
                    add("nodeCordoned", (*cordoned).into());
                }
                Some(NodeFacts::There { ready: None, .. }) | None => {}
            }
        }
        if let Some(ending) = &pod.ended {
            add("lastEnd", ending.reason.as_str().into());
            add("lastExitCode", ending.exit_code.into());
        }
    }
}

/// The claim of a pod whose volume is known to be lost.
pub(super) fn lost_claim<'a>(facts: &PlatformFacts, link: &'a Link) -> Option<&'a str> {
    let claims = facts.claims.as_ref()?;
    let lost = |claim: &&String| matches!(claims.get(*claim), None | Some(ClaimPhase::Lost));
    link.pod.claims.iter().find(lost).map(String::as_str)
}
