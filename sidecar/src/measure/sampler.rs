//! One measurement of the broker's process.

use super::{
    cgroup::Cgroup,
    cpu::{self, CpuMeter},
    network::{self, NetworkMeter},
    pressure::pressure,
};
use crate::broker::{Presence, RunningBroker, Sight, has_ended};
use doctorkafka_wire::{Cpu, Memory, Network, Pressure, Process, ProcessState};
use procfs::{Current, ProcError};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often limits are read again: they change when a pod is resized in place.
const LIMITS_AGE: Duration = Duration::from_secs(10);

/// The figures of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub process: Process,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub network: Option<Network>,
    pub pressure: Option<Pressure>,
}

/// Measures a process again and again; keeps what rates need.
#[derive(Default)]
pub struct Sampler {
    network_capacity: Option<u64>,
    current: Option<Measured>,
}

/// What is kept about one process.
struct Measured {
    running: Arc<RunningBroker>,
    cpu: CpuMeter,
    network: NetworkMeter,
    limits: Limits,
    limits_at: Instant,
}

#[derive(Default)]
struct Limits {
    cgroup: Cgroup,
    cores: Option<f64>,
    memory: Option<u64>,
}

impl Sampler {
    /// `network_capacity`: what the link carries, bytes a second, if configured.
    pub fn new(network_capacity: Option<u64>) -> Self {
        Self { network_capacity, current: None }
    }

    /// Measures what is in sight. Reads only files that do not block.
    pub fn sample(&mut self, sight: &Sight, now: Instant) -> Sample {
        let capacity = self.network_capacity;
        match &sight.presence {
            Presence::Absent => {
                self.current = None;
                bare(ProcessState::Absent, sight.restarts)
            }
            Presence::Unclear => {
                self.current = None;
                bare(ProcessState::Running, sight.restarts)
            }
            Presence::Running(running) => {
                let known = self.current.take().filter(|known| Arc::ptr_eq(&known.running, running));
                let known = known.unwrap_or_else(|| Measured::new(running, now));
                self.current.insert(known).sample(sight.restarts, capacity, now)
            }
        }
    }
}

fn bare(state: ProcessState, restarts: u32) -> Sample {
    let process = Process { state, pid: None, started_at: None, restarts };
    Sample { process, cpu: None, memory: None, network: None, pressure: None }
}

impl Measured {
    fn new(running: &Arc<RunningBroker>, now: Instant) -> Self {
        let mut network = NetworkMeter::default();
        network.know(network::interfaces(running.process.pid()));
        Self {
            running: Arc::clone(running),
            cpu: CpuMeter::default(),
            network,
            limits: limits(running),
            limits_at: now,
        }
    }

    fn sample(&mut self, restarts: u32, capacity: Option<u64>, now: Instant) -> Sample {
        if now.saturating_duration_since(self.limits_at) >= LIMITS_AGE {
            self.limits = limits(&self.running);
            self.limits_at = now;
        }
        let process = &self.running.process;
        let stat = match process.stat() {
            Ok(stat) if has_ended(stat.state, stat.num_threads) => {
                return bare(ProcessState::Absent, restarts);
            }
            Ok(stat) => stat,
            Err(ProcError::NotFound(_)) => return bare(ProcessState::Absent, restarts),
            // Not being able to look is no news of the broker; the tracker will tell when it ends.
            Err(_) => return bare(ProcessState::Running, restarts),
        };
        let state =
            if matches!(stat.state, 'T' | 't') { ProcessState::Stopped } else { ProcessState::Running };
        let used = self.cpu.cores(now, stat.utime.saturating_add(stat.stime), procfs::ticks_per_second());
        let cpu = used.zip(self.limits.cores).map(|(used_cores, limit_cores)| Cpu {
            percent: 100.0 * used_cores / limit_cores,
            used_cores,
            limit_cores,
        });
        let memory = process.statm().ok().map(|statm| Memory {
            rss_bytes: statm.resident.saturating_mul(procfs::page_size()),
            limit_bytes: self.limits.memory,
            heap_used_bytes: None,
            heap_max_bytes: None,
        });
        let net_dev = std::fs::read_to_string(format!("/proc/{}/net/dev", process.pid()));
        let network = net_dev.ok().and_then(|text| self.network.rates(now, &text, capacity));
        Sample {
            process: Process {
                state,
                pid: Some(process.pid()),
                started_at: self.running.started_at,
                restarts,
            },
            cpu,
            memory,
            network,
            pressure: pressure(&self.limits.cgroup),
        }
    }
}

fn limits(running: &RunningBroker) -> Limits {
    let cgroup = Cgroup::of(&running.process);
    let machine = procfs::Meminfo::current().ok().map(|memory| memory.mem_total);
    Limits {
        cores: cpu::limit(&running.process, &cgroup),
        memory: [cgroup.memory_limit(), machine].into_iter().flatten().min(),
        cgroup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerConfig;

    fn sight(presence: Presence) -> Sight {
        Sight { presence, restarts: 3, config: Arc::new(BrokerConfig::default()) }
    }

    #[test]
    fn measures_a_process_that_works() {
        let process = procfs::process::Process::myself().unwrap();
        let running = Presence::Running(Arc::new(RunningBroker { process, started_at: None }));
        let mut sampler = Sampler::new(Some(1_000));
        let start = Instant::now();
        let first = sampler.sample(&sight(running.clone()), start);
        assert_eq!(first.process.state, ProcessState::Running);
        assert_eq!(first.process.restarts, 3);
        assert_eq!((first.cpu, first.network), (None, None), "rates need two measurements");
        let memory = first.memory.unwrap();
        assert!(memory.rss_bytes > 100_000 && memory.limit_bytes.unwrap() > memory.rss_bytes, "{memory:?}");

        // Burn processor time until the clock of ticks has seen it.
        let mut x = 0_u64;
        while start.elapsed() < Duration::from_millis(400) {
            x = std::hint::black_box(x.wrapping_add(1));
        }
        let second = sampler.sample(&sight(running), Instant::now());
        let cpu = second.cpu.unwrap();
        assert!(cpu.used_cores > 0.1 && cpu.limit_cores > 0.0, "{cpu:?}");
        assert!((cpu.percent - 100.0 * cpu.used_cores / cpu.limit_cores).abs() < 1e-9);
        assert_eq!(second.network.unwrap().capacity_bytes_per_sec, Some(1_000));
    }

    #[test]
    fn nothing_is_invented_for_what_is_not_there() {
        let mut sampler = Sampler::default();
        let sample = sampler.sample(&sight(Presence::Absent), Instant::now());
        assert_eq!(sample, bare(ProcessState::Absent, 3));
        let sample = sampler.sample(&sight(Presence::Unclear), Instant::now());
        assert_eq!(sample, bare(ProcessState::Running, 3), "never a false alarm");
    }
}
