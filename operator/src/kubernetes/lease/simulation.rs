//! Candidates in a simulated world of slow, lost and refused calls, outages, pauses and crashes: never two of them lead.
//!
//! The world runs in ticks. A call takes its time to the server and its time back; the server applies it when it
//! arrives, in the order of arrival, and refuses what does not name the current version. A call given up by its sender
//! may still arrive. Wall clocks are wrong by up to an hour.

use super::*;
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(50);
const CANDIDATES: usize = 3;

/// What happens at some tick.
#[derive(Debug, Clone)]
enum Fate {
    /// The candidate does nothing for so many ticks, as under SIGSTOP.
    Pause { who: usize, ticks: u32 },
    /// The candidate dies and comes back as another.
    Crash { who: usize },
    /// The candidate gives up in good order and comes back as another.
    Resign { who: usize },
    /// Nothing reaches the server, and no answer leaves it, for so many ticks.
    Outage { ticks: u32 },
    /// Calls of this candidate take so long each way.
    Latency { who: usize, ticks: u32 },
    /// Somebody edits the lease's labels: its version changes and nothing else.
    Edit,
}

fn fate() -> impl Strategy<Value = Fate> {
    let who = 0..CANDIDATES;
    prop_oneof![
        (who.clone(), 1..800_u32).prop_map(|(who, ticks)| Fate::Pause { who, ticks }),
        who.clone().prop_map(|who| Fate::Crash { who }),
        who.clone().prop_map(|who| Fate::Resign { who }),
        (1..1_500_u32).prop_map(|ticks| Fate::Outage { ticks }),
        (who, 0..60_u32).prop_map(|(who, ticks)| Fate::Latency { who, ticks }),
        Just(Fate::Edit),
    ]
}

#[derive(Default)]
struct Server {
    lease: Option<Stored>,
    versions: u64,
}

impl Server {
    fn write(&mut self, record: Record) -> Answer {
        self.versions += 1;
        let stored = Stored { record, version: self.versions.to_string() };
        self.lease = Some(stored.clone());
        Answer::Written(stored)
    }

    fn apply(&mut self, call: Call) -> Answer {
        match (call, &self.lease) {
            (Call::Read, None) | (Call::Replace { .. }, None) => Answer::Absent,
            (Call::Read, Some(stored)) => Answer::Read(stored.clone()),
            (Call::Create(record), None) => self.write(record),
            (Call::Replace { record, version }, Some(stored)) if stored.version == version => {
                self.write(record)
            }
            (Call::Create(_) | Call::Replace { .. }, Some(_)) => Answer::Conflict,
        }
    }
}

struct Candidate {
    election: Election,
    skew: jiff::SignedDuration,
    latency: u32,
    paused_until: u32,
    call: Option<InFlight>,
    done: bool,
}

struct InFlight {
    number: u64,
    sent: u32,
    answer: Option<(u32, Answer)>,
}

/// A call on its way, which arrives whatever has become of its sender.
struct Arrival {
    at: u32,
    who: usize,
    number: u64,
    back: u32,
    call: Call,
}

struct World {
    start: Instant,
    tick: u32,
    server: Server,
    candidates: Vec<Candidate>,
    arrivals: Vec<Arrival>,
    outage_until: u32,
    numbers: u64,
    names: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            start: Instant::now(),
            tick: 0,
            server: Server::default(),
            candidates: Vec::new(),
            arrivals: Vec::new(),
            outage_until: 0,
            numbers: 0,
            names: 0,
        };
        for who in 0..CANDIDATES {
            let candidate = world.born(who);
            world.candidates.push(candidate);
        }
        world
    }

    fn born(&mut self, who: usize) -> Candidate {
        self.names += 1;
        let timing =
            Timing::new(Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(2)).unwrap();
        Candidate {
            election: Election::new(format!("candidate-{}", self.names), timing),
            skew: jiff::SignedDuration::from_secs(3600 * (who as i64 - 1)),
            latency: 0,
            paused_until: 0,
            call: None,
            done: false,
        }
    }

    fn now(&self) -> Instant {
        self.at(self.tick)
    }

    fn at(&self, tick: u32) -> Instant {
        self.start + TICK * tick
    }

    fn suffer(&mut self, fate: &Fate) {
        match *fate {
            Fate::Pause { who, ticks } => self.candidates[who].paused_until = self.tick + ticks,
            Fate::Crash { who } => self.candidates[who] = self.born(who),
            Fate::Resign { who } => {
                let candidate = &mut self.candidates[who];
                if let Some(call) = candidate.call.take() {
                    candidate.election.answered(
                        self.start + TICK * call.sent,
                        self.start + TICK * self.tick,
                        Answer::Failed,
                    );
                }
                candidate.election.resign();
            }
            Fate::Outage { ticks } => self.outage_until = self.tick + ticks,
            Fate::Latency { who, ticks } => self.candidates[who].latency = ticks,
            Fate::Edit => {
                if let Some(stored) = self.server.lease.clone() {
                    self.server.write(stored.record);
                }
            }
        }
    }

    fn step(&mut self) {
        self.tick += 1;
        self.deliver();
        for who in 0..CANDIDATES {
            if self.candidates[who].done {
                self.candidates[who] = self.born(who);
            }
            if self.candidates[who].paused_until <= self.tick {
                self.act(who);
            }
        }
    }

    fn deliver(&mut self) {
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.arrivals).into_iter().partition(|arrival| arrival.at <= self.tick);
        self.arrivals = later;
        due.sort_by_key(|arrival| (arrival.at, arrival.number));
        for arrival in due {
            if self.tick < self.outage_until {
                continue;
            }
            let answer = self.server.apply(arrival.call);
            if let Some(call) = &mut self.candidates[arrival.who].call
                && call.number == arrival.number
            {
                call.answer = Some((self.tick + arrival.back, answer));
            }
        }
    }

    fn act(&mut self, who: usize) {
        let (tick, now, start) = (self.tick, self.now(), self.start);
        let outage = tick < self.outage_until;
        let candidate = &mut self.candidates[who];
        let timeout = candidate.election.timing.call_timeout();
        if let Some(call) = candidate.call.take() {
            let sent = start + TICK * call.sent;
            match call.answer {
                Some((at, answer)) if at <= tick && !outage => candidate.election.answered(sent, now, answer),
                _ if now - sent >= timeout => candidate.election.answered(sent, now, Answer::Failed),
                answer => {
                    candidate.call = Some(InFlight { answer, ..call });
                    return;
                }
            }
        }
        let wall = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000) + (TICK * tick) + candidate.skew;
        match candidate.election.next(now, wall) {
            Step::Wait(_) => {}
            Step::Done => candidate.done = true,
            Step::Call(call) => {
                self.numbers += 1;
                candidate.call = Some(InFlight { number: self.numbers, sent: tick, answer: None });
                let arrival = Arrival {
                    at: tick + 1 + candidate.latency,
                    who,
                    number: self.numbers,
                    back: candidate.latency,
                    call,
                };
                self.arrivals.push(arrival);
            }
        }
    }

    /// Who leads now. A paused process counts as what it would find itself to be if it woke now.
    fn leaders(&self) -> Vec<&str> {
        let now = self.now();
        let leads = |c: &&Candidate| c.election.authority(now) == Authority::Leading;
        self.candidates.iter().filter(leads).map(|c| c.election.identity.as_str()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn there_are_never_two_leaders(fates in prop::collection::vec((1..400_u32, fate()), 0..25)) {
        let mut world = World::new();
        for (after, fate) in &fates {
            for _ in 0..*after {
                world.step();
                prop_assert!(world.leaders().len() <= 1, "{:?} at tick {}", world.leaders(), world.tick);
            }
            world.suffer(fate);
        }
        // Whatever happened: once everyone is awake and the line works again, somebody leads.
        world.outage_until = 0;
        for candidate in &mut world.candidates {
            candidate.paused_until = 0;
            candidate.latency = 0;
        }
        let settled = world.tick + 25_000 / 50;
        while world.tick < settled {
            world.step();
            prop_assert!(world.leaders().len() <= 1, "{:?} at tick {}", world.leaders(), world.tick);
        }
        prop_assert_eq!(world.leaders().len(), 1);
    }
}

#[test]
fn a_lease_given_back_is_taken_by_the_next_at_its_next_look() {
    let mut world = World::new();
    for _ in 0..100 {
        world.step();
    }
    let first = world.leaders().join(",");
    let who = world.candidates.iter().position(|c| c.election.identity == first).unwrap();
    world.suffer(&Fate::Resign { who });
    let resigned = world.tick;
    while world.leaders().is_empty() {
        world.step();
        assert!(world.tick < resigned + 45, "nobody took it within 2.25 s, without any watch");
    }
}
