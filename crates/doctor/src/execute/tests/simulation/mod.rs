//! A simulated cluster and a simulated actions log, deterministic, with faults between any two calls.
//!
//! Nothing here waits: sleeping moves the virtual clock. A future that does not come to an end by itself is one that was
//! held by a fault, so dropping it is a crash, and letting it go on later is a doctor that was paused.
//!
//! The test `differential` holds the cluster against a real one.

mod admin;
mod faults;
mod log;
mod world;

pub use admin::SimAdmin;
pub use faults::{Fault, Faults, Point};
pub use log::SimLog;
pub use world::{World, broker_config};

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::super::Clock;

/// A cluster that doctors share.
#[derive(Clone, Default)]
pub struct SimCluster(Arc<Mutex<World>>);

impl SimCluster {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimCluster {
    fn now(&self) -> Duration {
        self.world().now
    }

    /// Moves the clock, and lets others have their turn.
    async fn sleep(&self, time: Duration) {
        self.world().advance(time);
        let mut yielded = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Polls a doctor once. `None` while it has not ended.
pub fn poll<T>(doctor: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match doctor.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => None,
    }
}
