//! Processor time of the broker's process.

use super::cgroup::Cgroup;
use procfs::process::Process;
use std::time::{Duration, Instant};

/// Ticks come 100 to the second: over a shorter time than this a rate would be mostly rounding.
const SHORTEST: Duration = Duration::from_millis(250);

/// Turns a counter of clock ticks into cores in use.
#[derive(Debug, Default)]
pub struct CpuMeter {
    before: Option<(Instant, u64)>,
    cores: Option<f64>,
}

impl CpuMeter {
    /// Takes in the ticks used so far and gives the cores in use since the last time; `None` at first. When asked again
    /// within a moment, the answer stays the same.
    pub fn cores(&mut self, now: Instant, ticks: u64, ticks_per_second: u64) -> Option<f64> {
        let Some((then, before)) = self.before else {
            self.before = Some((now, ticks));
            return None;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed >= SHORTEST {
            let used = ticks.saturating_sub(before) as f64 / ticks_per_second.max(1) as f64;
            self.cores = Some(used / elapsed.as_secs_f64());
            self.before = Some((now, ticks));
        }
        self.cores
    }
}

/// How many cores the process may use: its quota, but never more than the processors it may run on.
pub fn limit(process: &Process, cgroup: &Cgroup) -> Option<f64> {
    let allowed = process.status().ok().and_then(|status| status.cpus_allowed_list).map(|list| count(&list));
    tighter(allowed, cgroup.cpu_limit())
}

fn tighter(processors: Option<u32>, quota: Option<f64>) -> Option<f64> {
    let processors = processors.filter(|n| *n > 0).map(f64::from);
    [processors, quota].into_iter().flatten().min_by(f64::total_cmp)
}

fn count(list: &[(u32, u32)]) -> u32 {
    list.iter()
        .map(|(first, last)| last.saturating_sub(*first).saturating_add(1))
        .fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_cores() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = CpuMeter::default();
        assert_eq!(meter.cores(at(0), 1_000, 100), None);
        assert_eq!(meter.cores(at(1_000), 1_150, 100), Some(1.5));
        assert_eq!(meter.cores(at(1_050), 1_160, 100), Some(1.5), "too soon for a new figure");
        assert_eq!(meter.cores(at(2_000), 1_200, 100), Some(0.5));
        assert_eq!(meter.cores(at(3_000), 1_100, 100), Some(0.0), "a counter never runs backwards");
    }

    #[test]
    fn the_tighter_limit_counts() {
        assert_eq!(tighter(Some(8), Some(2.5)), Some(2.5));
        assert_eq!(tighter(Some(2), Some(4.0)), Some(2.0));
        assert_eq!(tighter(Some(4), None), Some(4.0));
        assert_eq!(tighter(None, Some(0.5)), Some(0.5));
        assert_eq!(tighter(Some(0), None), None);
        assert_eq!(count(&[(0, 3), (8, 8)]), 5);
    }
}
