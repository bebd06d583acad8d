//! Random faults at random times, and what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use doctorkafka_diagnosis::{BrokerState, DirectProbe};
use proptest::prelude::*;

use crate::world::{Change, Process, Setup, World};

/// A broker that has been in order for so long has no reason to be called unhealthy.
const WHOLE_FOR: u64 = 25_000;
/// A broker that has been gone for so long, in a cluster that is otherwise in order, must be called unhealthy.
const DEAD_FOR: u64 = 13_000;

#[derive(Debug, Clone, Copy)]
enum Fault {
    KillBroker(i32),
    StartBroker(i32, u64),
    RestartBroker(i32),
    FreezeBroker(i32),
    ThawBroker(i32),
    SuspendMachine(i32),
    ResumeMachine(i32),
    CutFromController(i32),
    KillSidecar(i32),
    StartSidecar(i32),
    CutSidecar(i32, bool),
    JumpClock(i32, i64),
    Load(i32, f64),
    KillBoth(i32),
    CutDoctor(i32, DirectProbe),
    HealDoctor,
    SuspendDoctor,
    ResumeDoctor,
    RestartDoctor,
    /// Everything that was broken is mended.
    Mend,
}

fn fault(brokers: i32) -> impl Strategy<Value = Fault> {
    let id = 1..=brokers;
    let probe = prop_oneof![Just(DirectProbe::Silent), Just(DirectProbe::Refused)];
    prop_oneof![
        2 => id.clone().prop_map(Fault::KillBroker),
        3 => (id.clone(), 0..40_000_u64).prop_map(|(id, recovery)| Fault::StartBroker(id, recovery)),
        1 => id.clone().prop_map(Fault::RestartBroker),
        1 => id.clone().prop_map(Fault::FreezeBroker),
        2 => id.clone().prop_map(Fault::ThawBroker),
        1 => id.clone().prop_map(Fault::SuspendMachine),
        2 => id.clone().prop_map(Fault::ResumeMachine),
        1 => id.clone().prop_map(Fault::CutFromController),
        2 => id.clone().prop_map(Fault::KillSidecar),
        4 => id.clone().prop_map(Fault::StartSidecar),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, cut)| Fault::CutSidecar(id, cut)),
        1 => (id.clone(), -3_600_000..3_600_000_i64).prop_map(|(id, by)| Fault::JumpClock(id, by)),
        2 => (id.clone(), 0.0..100.0).prop_map(|(id, cpu)| Fault::Load(id, cpu)),
        3 => id.clone().prop_map(Fault::KillBoth),
        1 => (id, probe).prop_map(|(id, probe)| Fault::CutDoctor(id, probe)),
        1 => Just(Fault::HealDoctor),
        1 => Just(Fault::SuspendDoctor),
        2 => Just(Fault::ResumeDoctor),
        1 => Just(Fault::RestartDoctor),
        3 => Just(Fault::Mend),
    ]
}

#[derive(Debug, Clone)]
struct Schedule {
    setup: Setup,
    /// What happens, and how long after the one before.
    faults: Vec<(u64, Fault)>,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    (2..=5_i32, 2..=3_usize, 0..3_usize, any::<u64>()).prop_flat_map(|(brokers, copies, shift, seed)| {
        let copies = copies.min(brokers as usize);
        let setup = Setup { brokers, copies, shift, seed, ..Setup::default() };
        let pause = prop_oneof![Just(0), 100..3_000_u64, 3_000..40_000_u64];
        prop::collection::vec((pause, fault(brokers)), 1..14)
            .prop_map(move |faults| Schedule { setup: setup.clone(), faults })
    })
}

/// A world, and since when each of its parts has been as it is.
struct Trial {
    world: World,
    suspended: BTreeSet<i32>,
    /// Since when each broker's process, sidecar and wires have been in order.
    whole_since: BTreeMap<i32, u64>,
    /// Since when each broker has had neither process nor sidecar.
    dead_since: BTreeMap<i32, u64>,
    /// When anything else was last out of order: the doctor, its wires, or which brokers are dead.
    unrest: u64,
    checked: usize,
}

impl Trial {
    fn new(setup: &Setup) -> Self {
        let world = World::new(setup.clone());
        Self {
            suspended: BTreeSet::new(),
            whole_since: world.ids().into_iter().map(|id| (id, 0)).collect(),
            dead_since: BTreeMap::new(),
            unrest: world.now,
            checked: 0,
            world,
        }
    }

    fn run(&mut self, schedule: &Schedule) -> Result<Vec<Change>, TestCaseError> {
        for (pause, fault) in &schedule.faults {
            self.watch(*pause)?;
            self.inflict(*fault);
        }
        self.watch(30_000)?;
        self.inflict(Fault::Mend);
        self.watch(120_000)?;
        for id in self.world.ids() {
            let state = self.world.state(id);
            prop_assert!(
                matches!(state, BrokerState::Healthy | BrokerState::Overloaded),
                "broker {id} is still {state} two minutes after all was mended: {:?}",
                self.world.diagnosis(id)
            );
        }
        Ok(std::mem::take(&mut self.world.doctor.changes))
    }

    fn inflict(&mut self, fault: Fault) {
        let world = &mut self.world;
        match fault {
            Fault::KillBroker(id) => world.kill_broker(id),
            Fault::StartBroker(id, recovery) => {
                if world.kafka.node(id).process == Process::Absent {
                    world.start_broker(id, recovery);
                }
            }
            Fault::RestartBroker(id) => {
                if world.kafka.node(id).process == Process::Running && world.kafka.controller.is_some() {
                    world.restart_broker(id);
                }
            }
            Fault::FreezeBroker(id) if world.kafka.node(id).process == Process::Running => {
                world.freeze_broker(id);
            }
            Fault::ThawBroker(id) => {
                if world.kafka.node(id).process == Process::Stopped && !self.suspended.contains(&id) {
                    world.thaw_broker(id);
                }
            }
            Fault::SuspendMachine(id) => {
                if world.kafka.node(id).process == Process::Running && self.suspended.insert(id) {
                    world.suspend_machine(id);
                }
            }
            Fault::ResumeMachine(id) => {
                if self.suspended.remove(&id) {
                    world.resume_machine(id);
                }
            }
            Fault::CutFromController(id) => world.kafka.node(id).controller_link = false,
            Fault::KillSidecar(id) => world.kill_sidecar(id),
            Fault::StartSidecar(id) if !world.sidecars.contains_key(&id) => world.start_sidecar(id),
            Fault::CutSidecar(id, cut) => {
                if let Some(sidecar) = world.sidecars.get_mut(&id) {
                    sidecar.cut = cut;
                }
            }
            Fault::JumpClock(id, by) => {
                if let Some(sidecar) = world.sidecars.get_mut(&id) {
                    sidecar.clock_error = by;
                }
            }
            Fault::Load(id, cpu) => {
                if let Some(sidecar) = world.sidecars.get_mut(&id) {
                    sidecar.load.cpu = cpu;
                }
            }
            Fault::KillBoth(id) => {
                if !self.suspended.contains(&id) {
                    world.kill_both(id);
                }
            }
            Fault::CutDoctor(id, probe) => world.cut_doctor_from(id, probe),
            Fault::HealDoctor => world.doctor.cut.clear(),
            Fault::SuspendDoctor => world.doctor.suspended = true,
            Fault::ResumeDoctor => world.doctor.suspended = false,
            Fault::RestartDoctor => {
                world.restart_doctor();
                self.checked = 0;
                self.unrest = world.now;
            }
            Fault::Mend => self.mend(),
            Fault::FreezeBroker(_) | Fault::StartSidecar(_) => {}
        }
    }

    fn mend(&mut self) {
        let world = &mut self.world;
        for id in world.ids() {
            if self.suspended.remove(&id) {
                world.resume_machine(id);
            }
            match world.kafka.node(id).process {
                Process::Absent => world.start_broker(id, 0),
                Process::Stopped => world.thaw_broker(id),
                Process::Running => {}
            }
            world.kafka.node(id).controller_link = true;
            if !world.sidecars.contains_key(&id) {
                world.start_sidecar(id);
            }
            world.sidecar(id).cut = false;
        }
        world.doctor.cut.clear();
        world.doctor.suspended = false;
    }

    fn watch(&mut self, millis: u64) -> Result<(), TestCaseError> {
        let end = self.world.now + millis;
        while self.world.now < end {
            self.world.run(20);
            self.take_stock();
            self.check()?;
        }
        Ok(())
    }

    fn take_stock(&mut self) {
        let now = self.world.now;
        let mut in_between = false;
        for id in self.world.ids() {
            let sidecar = self.world.sidecars.get(&id);
            let node = &self.world.kafka.nodes[&id];
            let in_order = node.serves(now)
                && !node.fenced
                && node.controller_link
                && sidecar.is_some_and(|sidecar| !sidecar.cut);
            if !in_order {
                self.whole_since.insert(id, now);
            }
            if node.process == Process::Absent && sidecar.is_none() {
                self.dead_since.entry(id).or_insert(now);
            } else {
                self.dead_since.remove(&id);
                in_between |= !in_order;
            }
        }
        let doctor = &self.world.doctor;
        if in_between || self.dead_since.len() != 1 || doctor.suspended || !doctor.cut.is_empty() {
            self.unrest = now;
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = self.world.now;
        let changes = &self.world.doctor.changes;
        for (index, change) in changes.iter().enumerate().skip(self.checked) {
            let whole = change.at.saturating_sub(self.whole_since[&change.broker]);
            prop_assert!(
                change.to != BrokerState::Unhealthy || whole < WHOLE_FOR,
                "in order for {whole} ms: {change:?}"
            );
            let earlier = changes[..index].iter().rev().find(|earlier| earlier.broker == change.broker);
            let first = earlier.is_none_or(|earlier| earlier.from.is_none());
            prop_assert!(
                first || earlier.is_some_and(|earlier| change.at - earlier.at >= 1_000),
                "flaps: {earlier:?} and then {change:?}"
            );
        }
        self.checked = changes.len();
        // One dead broker in a cluster that was in order when it died and has been since.
        if let Some((id, since)) = self.dead_since.first_key_value().filter(|_| self.dead_since.len() == 1) {
            let quorum_goes_on = self.world.ids().len() > 2;
            let others_were_whole = self
                .world
                .ids()
                .iter()
                .all(|other| other == id || since.saturating_sub(self.whole_since[other]) >= WHOLE_FOR);
            if quorum_goes_on && others_were_whole && now - since > DEAD_FOR && now - self.unrest > DEAD_FOR {
                prop_assert_eq!(
                    self.world.state(*id),
                    BrokerState::Unhealthy,
                    "broker {} dead for {} ms: {:?}",
                    id,
                    now - since,
                    self.world.diagnosis(*id)
                );
            }
        }
        Ok(())
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn whatever_happens_the_diagnosis_is_sound(schedule in schedule()) {
        Trial::new(&schedule.setup).run(&schedule)?;
    }
}

proptest! {
    #![proptest_config(config(4))]

    #[test]
    fn the_same_input_gives_the_same_diagnosis(schedule in schedule()) {
        let first = Trial::new(&schedule.setup).run(&schedule)?;
        let second = Trial::new(&schedule.setup).run(&schedule)?;
        prop_assert_eq!(first, second);
    }
}
