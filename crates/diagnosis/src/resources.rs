//! Overload: a limit exceeded for long enough, with hysteresis.

use std::time::Duration;

use doctorkafka_wire::BrokerReport;

use crate::{Detection, Reason, Threshold};

/// A resource of a broker that can run short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Processor.
    Cpu,
    /// Memory.
    Memory,
    /// The fullest log directory.
    Disk,
    /// The busier direction of the network.
    Network,
}

impl Resource {
    /// All resources, the most telling first.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Disk, Self::Network];

    /// The name people read: `CPU usage`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU usage",
            Self::Memory => "Memory usage",
            Self::Disk => "Disk usage",
            Self::Network => "Network usage",
        }
    }

    /// The name of its figure in evidence.
    pub fn evidence_key(self) -> &'static str {
        match self {
            Self::Cpu => "cpuPercent",
            Self::Memory => "memoryPercent",
            Self::Disk => "diskPercent",
            Self::Network => "networkPercent",
        }
    }

    /// The reason of a broker that is overloaded by it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Cpu => Reason::CpuAbove,
            Self::Memory => Reason::MemoryAbove,
            Self::Disk => Reason::DiskAbove,
            Self::Network => Reason::NetworkAbove,
        }
    }

    /// The policy's limit for it.
    pub fn threshold(self, detection: &Detection) -> Threshold {
        match self {
            Self::Cpu => detection.cpu,
            Self::Memory => detection.memory,
            Self::Disk => detection.disk,
            Self::Network => detection.network,
        }
    }

    /// Its use in a report, percent.
    pub fn percent(self, report: &BrokerReport) -> Option<f64> {
        match self {
            Self::Cpu => report.cpu.as_ref().map(|cpu| cpu.percent),
            Self::Memory => report.memory_percent(),
            Self::Disk => report.disk_percent(),
            Self::Network => report.network_percent(),
        }
    }
}

/// How one resource of one broker stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Gauge {
    /// Newest value, percent.
    pub percent: Option<f64>,
    /// Time that the value has been above the limit without a break.
    pub above_for: Duration,
    /// Reports that were above without a break.
    pub above_reports: u64,
    /// Over its limit, by hysteresis.
    pub hot: bool,
}

impl Gauge {
    /// Takes in one report's value, which is an average over `covers`; the one before ended `after` earlier.
    ///
    /// A report of one second above the limit proves one second above it, so that three reports prove three seconds.
    pub fn observe(
        &mut self,
        percent: Option<f64>,
        covers: Duration,
        after: Option<Duration>,
        threshold: Threshold,
    ) {
        self.percent = percent;
        let Some(percent) = percent else {
            // Unknown is no reason to begin an overload, nor to end one.
            self.above_for = Duration::ZERO;
            self.above_reports = 0;
            return;
        };
        if percent > threshold.overloaded_above {
            // Reports that got lost between two above the limit do not break the row; a long gap does.
            let unbroken = after.is_some_and(|after| after <= covers * 5);
            if unbroken && self.above_reports > 0 {
                self.above_for += after.unwrap_or(covers);
                self.above_reports += 1;
            } else {
                self.above_for = covers;
                self.above_reports = 1;
            }
            // A report comes a few milliseconds early or late; a tenth of its interval is no difference.
            if self.above_for + covers / 10 >= threshold.sustained_for {
                self.hot = true;
            }
        } else {
            self.above_for = Duration::ZERO;
            self.above_reports = 0;
            if percent < threshold.recovered_below {
                self.hot = false;
            }
        }
    }

    /// Another limit is in force: what was above the old one may be within the new one.
    pub fn set_threshold(&mut self, threshold: Threshold) {
        if self.percent.is_none_or(|percent| percent <= threshold.overloaded_above) {
            self.above_for = Duration::ZERO;
            self.above_reports = 0;
            self.hot = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CPU: Threshold =
        Threshold { overloaded_above: 80.0, recovered_below: 70.0, sustained_for: Duration::from_secs(3) };

    fn after(values: &[f64]) -> Gauge {
        let mut gauge = Gauge::default();
        for (i, value) in values.iter().enumerate() {
            gauge.observe(Some(*value), SECOND, (i > 0).then_some(SECOND), CPU);
        }
        gauge
    }

    #[test]
    fn three_seconds_above_are_needed() {
        assert!(!after(&[95.0, 95.0]).hot);
        assert!(after(&[95.0, 95.0, 95.0]).hot);
        assert!(!after(&[95.0, 79.0, 95.0, 95.0]).hot);
        assert!(!after(&[80.0, 80.0, 80.0, 80.0]).hot, "the limit itself is not above it");
    }

    #[test]
    fn only_below_the_lower_limit_it_ends() {
        assert!(after(&[95.0, 95.0, 95.0, 75.0, 70.0]).hot);
        assert!(!after(&[95.0, 95.0, 95.0, 69.9]).hot);
    }

    #[test]
    fn unknown_changes_nothing_and_breaks_the_row() {
        let mut gauge = after(&[95.0, 95.0]);
        gauge.observe(None, SECOND, Some(SECOND), CPU);
        gauge.observe(Some(95.0), SECOND, Some(SECOND), CPU);
        assert!(!gauge.hot);
        let mut hot = after(&[95.0, 95.0, 95.0]);
        hot.observe(None, SECOND, Some(SECOND), CPU);
        assert!(hot.hot);
    }

    #[test]
    fn another_limit_ends_what_is_within_it_and_nothing_else() {
        let mut gauge = after(&[95.0, 95.0, 95.0, 75.0]);
        gauge.set_threshold(Threshold { overloaded_above: 74.0, ..CPU });
        assert!(gauge.hot);
        gauge.set_threshold(Threshold { overloaded_above: 75.0, ..CPU });
        assert!(!gauge.hot);
    }

    #[test]
    fn a_long_gap_breaks_the_row() {
        let mut gauge = after(&[95.0]);
        gauge.observe(Some(95.0), SECOND, Some(Duration::from_secs(30)), CPU);
        assert!(!gauge.hot);
    }
}
