//! The chaotic collector: spikes of CPU, and gaps in the heartbeat, laid over what is really measured.
//!
//! Everything follows from the seed and the broker id, so a demonstration can be repeated.

use doctorkafka_wire::{BrokerId, Cpu};
use std::{ops::RangeInclusive, time::Duration};

/// CPU between two spikes, percent of the limit.
const CALM: RangeInclusive<f64> = 20.0..=50.0;
/// CPU in a spike.
const SPIKE: RangeInclusive<f64> = 85.0..=99.0;
/// CPU in a spike that was asked for.
const ASKED: f64 = 95.0;

/// How long a spike, the calm before the first one and the calm between two last, seconds. Mostly one broker of a small
/// cluster is hot at a time: then there is somewhere to move work to.
const SPIKE_SECONDS: RangeInclusive<f64> = 10.0..=20.0;
const FIRST_CALM_SECONDS: RangeInclusive<f64> = 5.0..=60.0;
const CALM_SECONDS: RangeInclusive<f64> = 30.0..=90.0;

/// How long the heartbeat stops, and goes on between two stops, seconds.
const GAP_SECONDS: RangeInclusive<f64> = 12.0..=20.0;
const BEAT_SECONDS: RangeInclusive<f64> = 60.0..=150.0;

/// Makes up load and silence.
#[derive(Debug)]
pub struct Simulator {
    jitter_seed: u64,
    load: Load,
    gaps: Option<Gaps>,
    asked_until: Duration,
}

#[derive(Debug)]
struct Load {
    random: Random,
    spike: bool,
    level: f64,
    until: Duration,
}

#[derive(Debug)]
struct Gaps {
    random: Random,
    silent: bool,
    until: Duration,
}

impl Simulator {
    /// The same seed and broker make the same simulation.
    pub fn new(seed: u64, broker: BrokerId, gaps: bool) -> Self {
        let stream = |number: u64| Random::new([u64::from(broker.0.unsigned_abs()), seed, number]);
        let mut random = stream(0);
        let until = Duration::from_secs_f64(random.within(&FIRST_CALM_SECONDS));
        let level = random.within(&CALM);
        let mut gap_random = stream(1);
        let first_gap = Duration::from_secs_f64(gap_random.within(&BEAT_SECONDS));
        Self {
            jitter_seed: stream(2).next(),
            load: Load { random, spike: false, level, until },
            gaps: gaps.then_some(Gaps { random: gap_random, silent: false, until: first_gap }),
            asked_until: Duration::ZERO,
        }
    }

    /// Makes a spike from `uptime` on.
    pub fn spike(&mut self, uptime: Duration, length: Duration) {
        self.asked_until = uptime.saturating_add(length);
    }

    /// Lays the load of the moment over a measured figure. What is measured shows where it is higher.
    pub fn lay_over(&mut self, cpu: &mut Cpu, uptime: Duration) {
        let level = if uptime < self.asked_until { ASKED } else { self.level(uptime) };
        if level > cpu.percent {
            cpu.percent = level;
            cpu.used_cores = level / 100.0 * cpu.limit_cores;
        }
    }

    /// Whether no report is to be sent now.
    pub fn is_silent(&mut self, uptime: Duration) -> bool {
        let Some(gaps) = &mut self.gaps else { return false };
        while uptime >= gaps.until {
            gaps.silent = !gaps.silent;
            let seconds = if gaps.silent { &GAP_SECONDS } else { &BEAT_SECONDS };
            gaps.until += Duration::from_secs_f64(gaps.random.within(seconds));
        }
        gaps.silent
    }

    fn level(&mut self, uptime: Duration) -> f64 {
        let load = &mut self.load;
        while uptime >= load.until {
            load.spike = !load.spike;
            let (range, seconds) = if load.spike { (&SPIKE, &SPIKE_SECONDS) } else { (&CALM, &CALM_SECONDS) };
            load.level = load.random.within(range);
            load.until += Duration::from_secs_f64(load.random.within(seconds));
        }
        let range = if load.spike { &SPIKE } else { &CALM };
        // Trembles from second to second, the same however often it is looked at.
        let tremble = Random::new([self.jitter_seed, uptime.as_secs(), 3]).within(&(-3.0..=3.0));
        (load.level + tremble).clamp(*range.start(), *range.end())
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same on every machine and release.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(parts: [u64; 3]) -> Self {
        let mut random = Self(0);
        for part in parts {
            random.0 = random.next() ^ part;
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, range: &RangeInclusive<f64>) -> f64 {
        // 53 bits: all that a double holds.
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        range.start() + share * (range.end() - range.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn hour_of_load(seed: u64, broker: i32) -> Vec<f64> {
        let mut simulator = Simulator::new(seed, BrokerId(broker), false);
        (0..HOUR).map(|second| simulator.level(Duration::from_secs(second))).collect()
    }

    /// Lengths of the runs in which `is` holds, whole seconds.
    fn runs<T>(values: &[T], is: impl Fn(&T) -> bool) -> Vec<usize> {
        values.split(|value| !is(value)).map(<[T]>::len).filter(|length| *length > 0).collect()
    }

    #[test]
    fn the_same_seed_and_broker_make_the_same_load() {
        assert_eq!(hour_of_load(7, 1), hour_of_load(7, 1));
        assert_ne!(hour_of_load(7, 1), hour_of_load(7, 2));
        assert_ne!(hour_of_load(7, 1), hour_of_load(8, 1));
    }

    #[test]
    fn load_does_not_depend_on_how_often_one_looks() {
        let mut often = Simulator::new(7, BrokerId(1), false);
        let every_tenth: Vec<f64> =
            (0..HOUR * 10).map(|tenth| often.level(Duration::from_millis(tenth * 100))).step_by(10).collect();
        assert_eq!(every_tenth, hour_of_load(7, 1));
    }

    #[test]
    fn spikes_are_over_the_threshold_and_calm_is_under_recovery() {
        for broker in 0..20 {
            let load = hour_of_load(7, broker);
            assert!(load.iter().all(|level| CALM.contains(level) || SPIKE.contains(level)));
            let spikes = runs(&load, |level| SPIKE.contains(level));
            assert!(spikes.len() > 30, "{} spikes in an hour", spikes.len());
            assert!(spikes.iter().rev().skip(1).all(|seconds| (9..=21).contains(seconds)), "{spikes:?}");
            assert!(CALM.contains(&load[0]), "begins calm");
        }
    }

    #[test]
    fn gaps_are_longer_than_the_heartbeat_timeout_and_only_if_asked() {
        let mut simulator = Simulator::new(7, BrokerId(1), true);
        let silent: Vec<bool> =
            (0..HOUR).map(|second| simulator.is_silent(Duration::from_secs(second))).collect();
        let gaps = runs(&silent, |silent| *silent);
        assert!(gaps.len() > 10);
        assert!(gaps.iter().rev().skip(1).all(|seconds| (11..=21).contains(seconds)), "{gaps:?}");
        let mut quiet = Simulator::new(7, BrokerId(1), false);
        assert!((0..HOUR).all(|second| !quiet.is_silent(Duration::from_secs(second))));
    }

    #[test]
    fn a_spike_on_demand_ends_by_itself_and_hides_no_higher_figure() {
        let mut simulator = Simulator::new(7, BrokerId(1), false);
        let measured = |percent| Cpu { percent, used_cores: percent / 50.0, limit_cores: 2.0 };
        simulator.spike(Duration::from_secs(1), Duration::from_secs(3));
        let mut cpu = measured(10.0);
        simulator.lay_over(&mut cpu, Duration::from_secs(2));
        assert_eq!(cpu, Cpu { percent: 95.0, used_cores: 1.9, limit_cores: 2.0 });
        let mut cpu = measured(99.5);
        simulator.lay_over(&mut cpu, Duration::from_secs(2));
        assert_eq!(cpu, measured(99.5));
        let mut cpu = measured(10.0);
        simulator.lay_over(&mut cpu, Duration::from_secs(4));
        assert!(CALM.contains(&cpu.percent), "{cpu:?}");
    }
}
