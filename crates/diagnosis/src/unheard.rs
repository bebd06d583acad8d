//! What is said of a broker that is not heard of: what is known of it by other ways, for people and as evidence.

use std::time::Duration;

use doctorkafka_wire::BrokerReport;

use crate::{
    BrokerState, Diagnosis, DirectProbe, Reason, Registration, condition::Finding, silence::LostBecause,
};

/// Name, in the evidence of a lost broker, of whether it was ever heard.
pub(crate) const REPORTED: &str = "reported";

/// Names, in the same, of whether the controller has fenced it, and of what came of the doctor's own attempt.
pub(crate) const FENCED: &str = "fenced";
pub(crate) const DIRECT_PROBE: &str = "directProbe";

/// A silent broker.
pub(crate) struct Unheard<'a> {
    /// Its last report.
    pub last: Option<&'a BrokerReport>,
    /// What it is held to be.
    pub before: Option<&'a Diagnosis>,
    /// What the controller says of it.
    pub registration: Option<Registration>,
    /// What came of the doctor's own attempt to speak to it.
    pub probe: Option<DirectProbe>,
}

impl Unheard<'_> {
    /// It is lost.
    pub fn lost(&self, because: LostBecause, timeout: Duration) -> Finding {
        let found_down = |before: &&Diagnosis| {
            before.state == BrokerState::Unhealthy && before.reason != Reason::HeartbeatLost
        };
        if let Some(before) = self.before.filter(found_down) {
            // What it was found to be while it could be seen says more than that it is silent now.
            let mut finding = Finding::new(before.state, before.reason, before.message.clone());
            finding.evidence = before.evidence.clone();
            return finding;
        }
        let known = match (because, self.registration, self.probe) {
            (_, Some(Registration::Fenced), _) => "; fenced by the controller",
            (LostBecause::ControllerGone, ..) => {
                "; its listener refuses connections, and another controller took its place"
            }
            (_, _, Some(DirectProbe::Answered)) => {
                "; the broker answers the doctor, so its collector is at fault"
            }
            (_, _, Some(DirectProbe::Refused)) => "; its listener refuses connections",
            (_, Some(Registration::Active), _) => "; the controller still counts it in",
            _ => "",
        };
        let goodbye = self.last.is_some_and(|report| report.goodbye.is_some());
        let said = if goodbye { "; the collector had said goodbye" } else { "" };
        let finding = Finding::new(
            BrokerState::Unhealthy,
            Reason::HeartbeatLost,
            format!("no heartbeat for more than {timeout:?}{known}{said}"),
        )
        .with("heartbeatTimeoutMs", u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
        .with("goodbye", goodbye)
        .with(REPORTED, self.last.is_some());
        self.with_facts(finding)
    }

    /// The partition that its reports come by cannot be read.
    pub fn path_unavailable(&self, quorum_has_leader: bool) -> Finding {
        let counted = if quorum_has_leader {
            "the controller counts the broker in"
        } else {
            "the quorum has no leader"
        };
        let probed = match self.probe {
            Some(DirectProbe::Answered) => "; it answers the doctor",
            Some(DirectProbe::Refused) => "; its listener refuses the doctor's connections",
            Some(DirectProbe::Silent) => "; it does not answer the doctor",
            None => "",
        };
        self.with_facts(Finding::new(
            BrokerState::Unknown,
            Reason::PathUnavailable,
            format!("the doctor cannot read the partition that its reports come by; {counted}{probed}"),
        ))
    }

    fn with_facts(&self, mut finding: Finding) -> Finding {
        if let Some(registration) = self.registration {
            finding = finding.with(FENCED, registration == Registration::Fenced);
        }
        if let Some(probe) = self.probe {
            finding = finding.with(DIRECT_PROBE, probe.as_str());
        }
        finding
    }
}
