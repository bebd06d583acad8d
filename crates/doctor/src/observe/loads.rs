//! Reading the loads of all partitions: often while a plan is wanted, seldom otherwise.

use std::time::Duration;

use doctorkafka_diagnosis::Moment;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{Observer, Sight};
use crate::load;

/// Longest wait for one answer about loads: a broker with many replicas takes its time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A rate needs so many readings. They come one soon after the other, so that there is no warm-up.
const FOR_A_RATE: u32 = 2;

/// The shortest time between two readings, however much the next one is wanted.
const SHORTEST: Duration = Duration::from_secs(1);

impl Observer {
    /// Reads loads until the engine goes away. `wanted` says whether a plan is wanted, and after which moment its loads have
    /// to be read.
    pub(super) async fn read_loads(self, mut wanted: watch::Receiver<Option<Moment>>) {
        // On connections of its own: its answers are large, and nothing else is to wait for them.
        let admin = self.admin.apart().with_timeout(ANSWER_WITHIN);
        let (mut readings, mut partitions) = (0, 0);
        while !self.sights.is_closed() {
            let (begin, asked) = (Instant::now(), self.clock.now());
            match load::take(&admin, || self.clock.now()).await {
                Ok(snapshot) => {
                    readings = FOR_A_RATE.min(readings + 1);
                    partitions = snapshot.partitions();
                    self.tell(Sight::Loads(Box::new(snapshot))).await;
                }
                // That no broker answers is told by the look at the cluster, and that loads are missing by who needs them.
                Err(error) => debug!(%error, "the loads of the partitions cannot be read"),
            }
            let end = Instant::now();
            loop {
                let wanted_after = *wanted.borrow_and_update();
                let soon = wanted_after.is_some() || readings < FOR_A_RATE;
                let mut next = next(begin, end, soon, partitions);
                // What was read before the last change is of no use to the plan.
                if let Some(after) = wanted_after.filter(|after| asked <= *after) {
                    let changed = Instant::now() + after.since(self.clock.now());
                    next = next.min(changed.max(end + (end - begin).max(SHORTEST)));
                }
                tokio::select! {
                    () = sleep_until(next) => break,
                    Ok(()) = wanted.changed() => {}
                    () = self.sights.closed() => return,
                }
            }
        }
    }
}

/// When loads are read again that were read from `begin` to `end`.
fn next(begin: Instant, end: Instant, soon: bool, partitions: usize) -> Instant {
    let pause = if soon { load::often(partitions) } else { load::seldom(partitions) };
    // However slow the cluster is, it is left alone for as long as it was asked.
    (begin + pause).max(end + (end - begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_met_soon_and_a_slow_cluster_spared() {
        let begin = Instant::now();
        let quick = begin + Duration::from_millis(100);
        assert_eq!(next(begin, quick, true, 1_000), begin + load::often(1_000));
        assert_eq!(next(begin, quick, false, 1_000), begin + load::seldom(1_000));
        let slow = begin + Duration::from_secs(40);
        assert_eq!(next(begin, slow, true, 1_000), begin + Duration::from_secs(80));
        assert_eq!(next(begin, slow, false, 1_000), begin + load::seldom(1_000));
    }
}
