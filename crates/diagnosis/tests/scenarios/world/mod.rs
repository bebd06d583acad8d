//! A deterministic world of brokers, sidecars and one doctor, in steps of 20 ms.

mod doctor;
mod kafka;
mod random;
mod sidecar;

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_diagnosis::{BrokerState, Detection, Diagnosis, DirectProbe, Reason};

pub use self::{
    doctor::{Change, Doctor},
    kafka::{Kafka, Process},
    sidecar::Sidecar,
};
use self::{kafka::SHUTDOWN, random::Random};

/// Resolution of the world, milliseconds.
pub const STEP: u64 = 20;

/// How a world begins.
#[derive(Debug, Clone)]
pub struct Setup {
    pub brokers: i32,
    /// Replicas of each partition of the metrics topic.
    pub copies: usize,
    /// Broker `id` reports through partition `(id - 1 + shift) % 3`; with 0 it leads that partition itself.
    pub shift: usize,
    pub seed: u64,
    pub detection: Detection,
}

impl Default for Setup {
    fn default() -> Self {
        Self { brokers: 3, copies: 2, shift: 0, seed: 1, detection: Detection::default() }
    }
}

pub struct World {
    pub now: u64,
    pub kafka: Kafka,
    /// By broker; a second sidecar of a broker by mistake has a key of 100 and more.
    pub sidecars: BTreeMap<i32, Sidecar>,
    pub doctor: Doctor,
    setup: Setup,
    random: Random,
    /// Brokers whose machine stands still.
    suspended: BTreeSet<i32>,
    /// Processes that end or begin later: moment, broker, and how long log recovery takes.
    planned: Vec<(u64, i32, u64)>,
}

impl World {
    /// A cluster that has run for a while, and a doctor that knows every broker.
    pub fn new(setup: Setup) -> Self {
        let mut world = Self::without_doctor(setup);
        world.restart_doctor();
        world.run(15_000);
        for id in world.ids() {
            assert_eq!(world.state(id), BrokerState::Healthy, "a world begins in good order");
        }
        world.doctor.changes.clear();
        world
    }

    /// A cluster that has run for a while, and a doctor that knows nothing yet.
    pub fn without_doctor(setup: Setup) -> Self {
        let kafka = Kafka::new(setup.brokers, setup.copies);
        let doctor = Doctor::start(setup.detection.clone(), BTreeMap::new(), &kafka, 0);
        let mut world = Self {
            now: 0,
            kafka,
            sidecars: BTreeMap::new(),
            doctor,
            random: Random(setup.seed),
            setup,
            suspended: BTreeSet::new(),
            planned: Vec::new(),
        };
        world.doctor.suspended = true;
        for id in world.ids() {
            world.start_sidecar(id);
        }
        world.run(10_000);
        world
    }

    pub fn ids(&self) -> Vec<i32> {
        (1..=self.setup.brokers).collect()
    }

    pub fn home(&self, id: i32) -> usize {
        (id as usize - 1 + self.setup.shift) % 3
    }

    // === time ===

    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `done` or for `most` milliseconds; gives how long it took, which is more than `most` if never.
    pub fn run_until(&mut self, most: u64, done: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !done(self) && self.now - start <= most {
            self.step();
        }
        self.now - start
    }

    fn step(&mut self) {
        self.now += STEP;
        let now = self.now;
        let due: Vec<_> = self.planned.extract_if(.., |(at, ..)| now >= *at).collect();
        for (_, id, recovery) in due {
            self.kafka.start(id, now, recovery);
        }
        self.kafka.step(now, &mut self.random);
        for sidecar in self.sidecars.values_mut() {
            if self.suspended.contains(&sidecar.broker) {
                sidecar.suspended(STEP);
            } else {
                sidecar.step(now, &mut self.kafka, &mut self.random);
            }
        }
        self.doctor.step(now, &self.kafka, &mut self.random);
    }

    // === what happens to brokers ===

    pub fn kill_broker(&mut self, id: i32) {
        self.planned.retain(|(_, planned, _)| *planned != id);
        self.kafka.node(id).process = Process::Absent;
    }

    /// Starts the process; it serves after 2 s and `recovery` milliseconds of log recovery.
    pub fn start_broker(&mut self, id: i32, recovery: u64) {
        self.kafka.start(id, self.now, recovery);
    }

    /// SIGTERM and a new process.
    pub fn restart_broker(&mut self, id: i32) {
        self.kafka.shut_down(id, self.now);
        self.planned.push((self.now + SHUTDOWN, id, 0));
    }

    pub fn freeze_broker(&mut self, id: i32) {
        self.kafka.node(id).process = Process::Stopped;
    }

    pub fn thaw_broker(&mut self, id: i32) {
        self.kafka.node(id).process = Process::Running;
    }

    /// Broker and sidecar stand still, and so does their machine's clock.
    pub fn suspend_machine(&mut self, id: i32) {
        self.freeze_broker(id);
        self.suspended.insert(id);
    }

    pub fn resume_machine(&mut self, id: i32) {
        self.thaw_broker(id);
        self.suspended.remove(&id);
    }

    // === what happens to sidecars ===

    pub fn kill_sidecar(&mut self, id: i32) {
        self.sidecars.remove(&id);
    }

    /// Ends a sidecar in good order.
    pub fn stop_sidecar(&mut self, id: i32) {
        if let Some(mut sidecar) = self.sidecars.remove(&id) {
            sidecar.say_goodbye(self.now, &mut self.kafka, &mut self.random);
        }
    }

    pub fn start_sidecar(&mut self, id: i32) {
        let sidecar = Sidecar::start(id, self.home(id), self.now, &mut self.random);
        self.sidecars.insert(id, sidecar);
    }

    pub fn sidecar(&mut self, id: i32) -> &mut Sidecar {
        self.sidecars.get_mut(&id).expect("a sidecar that runs")
    }

    pub fn kill_both(&mut self, id: i32) {
        self.kill_broker(id);
        self.kill_sidecar(id);
    }

    // === what happens to the doctor ===

    pub fn restart_doctor(&mut self) {
        let homes = self.ids().into_iter().map(|id| (id, self.home(id))).collect();
        let (cut, names_fenced) = (self.doctor.cut.clone(), self.doctor.names_fenced);
        self.doctor = Doctor::start(self.setup.detection.clone(), homes, &self.kafka, self.now);
        self.doctor.cut = cut;
        self.doctor.names_fenced = names_fenced;
    }

    pub fn cut_doctor_from(&mut self, id: i32, probe: DirectProbe) {
        self.doctor.cut.insert(id, probe);
    }

    // === what the doctor says ===

    pub fn diagnosis(&self, id: i32) -> &Diagnosis {
        self.doctor.diagnosis(id).expect("a broker that the doctor knows")
    }

    pub fn state(&self, id: i32) -> BrokerState {
        self.doctor.diagnosis(id).map_or(BrokerState::Unknown, |diagnosis| diagnosis.state)
    }

    pub fn reason(&self, id: i32) -> Reason {
        self.diagnosis(id).reason
    }

    pub fn all_are(&self, state: BrokerState) -> bool {
        self.ids().into_iter().all(|id| self.state(id) == state)
    }

    /// States that a broker got into after `since`.
    pub fn path_of(&self, id: i32, since: u64) -> Vec<BrokerState> {
        self.doctor.changes.iter().filter(|c| c.broker == id && c.at > since).map(|c| c.to).collect()
    }

    pub fn was_ever(&self, id: i32, state: BrokerState) -> bool {
        self.doctor.changes.iter().any(|change| change.broker == id && change.to == state)
    }

    /// Panics if any broker but these was ever `Unhealthy`.
    pub fn assert_unhealthy_only(&self, expected: &[i32]) {
        let wrong = |c: &&Change| c.to == BrokerState::Unhealthy && !expected.contains(&c.broker);
        let alarm = self.doctor.changes.iter().find(wrong);
        assert!(alarm.is_none(), "false alarm: {alarm:?}\nall changes: {:#?}", self.doctor.changes);
    }
}
