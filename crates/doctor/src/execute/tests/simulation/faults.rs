//! What goes wrong, and when.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

/// A moment in the life of a doctor: the n-th time that it is about to change something, or has just done so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Right before the n-th call or commit takes effect.
    Before(usize),
    /// Right after it took effect, and before the doctor knows.
    After(usize),
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The doctor goes no further; whether for ever is for the test to say.
    Stop,
    /// The answer never comes, which the doctor is told after a while.
    Lost,
    /// The cluster refuses it; with whether that may pass.
    Refused(bool),
}

/// The faults of one doctor.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    plan: Vec<(Point, Fault)>,
    changes: usize,
    stopped: bool,
    released: bool,
    /// Calls to the cluster that took effect, and commits.
    calls: usize,
}

impl Faults {
    pub fn at(point: Point, fault: Fault) -> Self {
        Self::all(vec![(point, fault)])
    }

    pub fn all(plan: Vec<(Point, Fault)>) -> Self {
        Self(Arc::new(Mutex::new(State { plan, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes the doctor has asked for.
    pub fn changes(&self) -> usize {
        self.state().changes
    }

    /// How many calls of it have reached the cluster.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    pub fn count_call(&self) {
        self.state().calls += 1;
    }

    /// Whether it is held.
    pub fn is_stopped(&self) -> bool {
        let state = self.state();
        state.stopped && !state.released
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.state().released = true;
    }

    /// The number of the change that is about to be made.
    pub fn change(&self) -> usize {
        let mut state = self.state();
        state.changes += 1;
        state.changes - 1
    }

    /// Passes a point: holds the doctor there, or tells what goes wrong.
    pub async fn pass(&self, point: Point) -> Option<Fault> {
        let fault = self.state().plan.iter().find(|(at, _)| *at == point).map(|(_, fault)| *fault);
        if fault != Some(Fault::Stop) {
            return fault;
        }
        std::future::poll_fn(|_| {
            let mut state = self.state();
            state.stopped = true;
            if state.released { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        None
    }
}
