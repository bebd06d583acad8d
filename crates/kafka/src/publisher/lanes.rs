//! What waits for which partition. Pure: time is an argument, nothing here does I/O.

use super::partition_for;
use doctorkafka_wire::BrokerId;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Reports kept per partition while they cannot be sent; the oldest give way.
pub(super) const KEPT: usize = 60;

/// Records handed to the Kafka client and not yet answered, per partition. Few, because what the client holds it sends
/// oldest first or times out; what waits here can still give way to newer reports.
const WINDOW: usize = 8;

/// How long the home partition may leave reports unanswered before every report goes to every partition.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// One encoded report.
#[derive(Debug, Clone)]
struct Waiting {
    value: Arc<[u8]>,
    everywhere: bool,
}

/// The queue of one partition.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
    /// Since when reports have been left unanswered; `None` while all is answered.
    unanswered_since: Option<Instant>,
}

/// A record to be sent, and after that the receipt by which its fate is told to [`Lanes::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub partition: i32,
    generation: u32,
}

/// The queues of all partitions, and of what came before the partitions were known.
#[derive(Debug)]
pub(super) struct Lanes {
    broker: BrokerId,
    lanes: Vec<Lane>,
    unrouted: VecDeque<Waiting>,
    /// Since when no partition at all has acknowledged anything although something was there to acknowledge.
    quiet_since: Option<Instant>,
    /// Rises when the partitions change, so that answers about earlier ones are told apart.
    generation: u32,
    overflowed: u64,
}

impl Lanes {
    pub fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            lanes: Vec::new(),
            unrouted: VecDeque::new(),
            quiet_since: None,
            generation: 0,
            overflowed: 0,
        }
    }

    /// How many partitions the topic has; 0 while that is not known.
    pub fn partitions(&self) -> usize {
        self.lanes.len()
    }

    /// Takes in how many partitions the topic has (0: it does not exist). What waits is routed anew.
    pub fn set_partitions(&mut self, partitions: usize, now: Instant) {
        if partitions == self.lanes.len() {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let home = self.home();
        let mut before = std::mem::take(&mut self.lanes);
        if home < before.len() {
            self.unrouted.append(&mut before.swap_remove(home).waiting);
        }
        self.lanes.resize_with(partitions, Lane::default);
        if partitions > 0 {
            for waiting in std::mem::take(&mut self.unrouted) {
                self.route(waiting, now);
            }
        }
    }

    /// Takes in a new report.
    pub fn push(&mut self, value: Arc<[u8]>, everywhere: bool, now: Instant) {
        let waiting = Waiting { value, everywhere };
        self.quiet_since.get_or_insert(now);
        if self.lanes.is_empty() {
            self.unrouted.push_back(waiting);
            self.overflowed += trim(&mut self.unrouted);
        } else {
            self.route(waiting, now);
        }
    }

    fn route(&mut self, waiting: Waiting, now: Instant) {
        let home = self.home();
        let home_is_silent = self
            .lanes
            .get(home)
            .and_then(|lane| lane.unanswered_since)
            .is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        let everywhere = waiting.everywhere || home_is_silent;
        for (partition, lane) in self.lanes.iter_mut().enumerate() {
            if everywhere || partition == home {
                lane.unanswered_since.get_or_insert(now);
                lane.waiting.push_back(waiting.clone());
                self.overflowed += trim(&mut lane.waiting);
            }
        }
    }

    /// The next record to send, if the client may be given one.
    pub fn next(&mut self) -> Option<(Ticket, Arc<[u8]>)> {
        let generation = self.generation;
        let (partition, lane) = self
            .lanes
            .iter_mut()
            .enumerate()
            .find(|(_, lane)| lane.in_flight < WINDOW && !lane.waiting.is_empty())?;
        let waiting = lane.waiting.pop_front()?;
        lane.in_flight += 1;
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        Some((Ticket { partition, generation }, waiting.value))
    }

    /// Takes in whether the partition acknowledged the record. A record that failed is not tried again: newer ones
    /// say more.
    pub fn settle(&mut self, ticket: Ticket, acknowledged: bool, now: Instant) {
        if ticket.generation != self.generation {
            return;
        }
        let Some(lane) = usize::try_from(ticket.partition).ok().and_then(|i| self.lanes.get_mut(i)) else {
            return;
        };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if acknowledged {
            let outstanding = lane.in_flight > 0 || !lane.waiting.is_empty();
            lane.unanswered_since = outstanding.then_some(now);
            self.quiet_since = (self.depth() > 0).then_some(now);
        }
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.depth() == 0
    }

    /// Reports that wait or are in flight, of the partition that has most of them.
    pub fn depth(&self) -> usize {
        let lanes = self.lanes.iter().map(|lane| lane.waiting.len() + lane.in_flight).max();
        self.unrouted.len() + lanes.unwrap_or(0)
    }

    /// Records that gave way to newer ones.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Since when no partition at all has acknowledged anything although something was there to acknowledge.
    pub fn quiet_since(&self) -> Option<Instant> {
        self.quiet_since
    }

    fn home(&self) -> usize {
        let partitions = i32::try_from(self.lanes.len()).unwrap_or(i32::MAX);
        usize::try_from(partition_for(self.broker, partitions)).unwrap_or_default()
    }
}

fn trim(queue: &mut VecDeque<Waiting>) -> u64 {
    let mut dropped = 0;
    while queue.len() > KEPT {
        queue.pop_front();
        dropped += 1;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: BrokerId = BrokerId(1);

    fn value(n: usize) -> Arc<[u8]> {
        Arc::from(n.to_string().as_bytes())
    }

    fn lanes(partitions: usize, now: Instant) -> Lanes {
        let mut lanes = Lanes::new(BROKER);
        lanes.set_partitions(partitions, now);
        lanes
    }

    fn drain(lanes: &mut Lanes) -> Vec<(Ticket, String)> {
        std::iter::from_fn(|| lanes.next())
            .map(|(ticket, value)| (ticket, String::from_utf8_lossy(&value).into_owned()))
            .collect()
    }

    fn home() -> i32 {
        partition_for(BROKER, 3)
    }

    #[test]
    fn a_report_goes_home_and_bad_news_everywhere() {
        let now = Instant::now();
        let mut lanes = lanes(3, now);
        lanes.push(value(1), false, now);
        let sent = drain(&mut lanes);
        assert_eq!(sent.iter().map(|(ticket, _)| ticket.partition).collect::<Vec<_>>(), [home()]);

        lanes.push(value(2), true, now);
        let mut sent: Vec<i32> = drain(&mut lanes).iter().map(|(ticket, _)| ticket.partition).collect();
        sent.sort_unstable();
        assert_eq!(sent, [0, 1, 2]);
    }

    #[test]
    fn a_silent_home_makes_reports_go_everywhere_until_it_answers() {
        let start = Instant::now();
        let mut lanes = lanes(3, start);
        lanes.push(value(1), false, start);
        let first = drain(&mut lanes);
        lanes.push(value(2), false, start + Duration::from_millis(1_900));
        let second = drain(&mut lanes);
        assert_eq!(second.len(), 1, "still patient");

        let late = start + PATIENCE;
        lanes.push(value(3), false, late);
        let third = drain(&mut lanes);
        assert_eq!(third.len(), 3);
        // Others answer: that does not bring trust in the home partition back.
        for (ticket, _) in third.iter().filter(|(ticket, _)| ticket.partition != home()) {
            lanes.settle(*ticket, true, late);
        }
        lanes.push(value(4), false, late);
        let fourth = drain(&mut lanes);
        assert_eq!(fourth.len(), 3);

        for (ticket, _) in first.iter().chain(&second).chain(&third).chain(&fourth) {
            lanes.settle(*ticket, true, late);
        }
        lanes.push(value(5), false, late + PATIENCE);
        assert_eq!(drain(&mut lanes).len(), 1);
    }

    #[test]
    fn failures_do_not_count_as_answers() {
        let start = Instant::now();
        let mut lanes = lanes(3, start);
        lanes.push(value(1), false, start);
        for (ticket, _) in drain(&mut lanes) {
            lanes.settle(ticket, false, start);
        }
        assert!(lanes.is_empty());
        assert_eq!(lanes.quiet_since(), Some(start));
        lanes.push(value(2), false, start + PATIENCE);
        assert_eq!(drain(&mut lanes).len(), 3);
    }

    #[test]
    fn before_the_topic_is_known_the_newest_are_kept_in_order() {
        let now = Instant::now();
        let mut lanes = Lanes::new(BROKER);
        for n in 0..KEPT + 5 {
            lanes.push(value(n), false, now);
        }
        assert_eq!((lanes.depth(), lanes.overflowed()), (KEPT, 5));
        assert!(lanes.next().is_none());

        lanes.set_partitions(3, now);
        let mut got = Vec::new();
        loop {
            let sent = drain(&mut lanes);
            if sent.is_empty() {
                break;
            }
            for (ticket, value) in sent {
                lanes.settle(ticket, true, now);
                got.push(value);
            }
        }
        assert_eq!(got, (5..KEPT + 5).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(lanes.quiet_since(), None);
    }

    #[test]
    fn a_partition_that_never_answers_costs_bounded_memory() {
        let now = Instant::now();
        let mut lanes = lanes(3, now);
        for n in 0..1_000 {
            lanes.push(value(n), true, now);
            drain(&mut lanes);
        }
        assert_eq!(lanes.depth(), KEPT + WINDOW);
    }

    #[test]
    fn answers_about_earlier_partitions_are_not_mistaken_for_new_ones() {
        let now = Instant::now();
        let mut lanes = lanes(3, now);
        lanes.push(value(1), false, now);
        let old = drain(&mut lanes);
        lanes.set_partitions(0, now);
        lanes.set_partitions(3, now);
        lanes.push(value(2), false, now);
        assert_eq!(drain(&mut lanes).len(), 1);
        lanes.settle(old[0].0, true, now);
        assert_eq!(lanes.depth(), 1, "the new record is still in flight");
    }

    #[test]
    fn what_waits_survives_the_topic_being_made_anew() {
        let now = Instant::now();
        let mut lanes = lanes(3, now);
        for n in 0..WINDOW + 4 {
            lanes.push(value(n), false, now);
        }
        drain(&mut lanes);
        lanes.set_partitions(0, now);
        assert_eq!(lanes.depth(), 4);
        lanes.set_partitions(5, now);
        assert_eq!(drain(&mut lanes).len(), 4);
    }
}
