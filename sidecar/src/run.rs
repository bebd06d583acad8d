//! The measuring loop: once per interval, and at once when the broker's process comes or goes or its listener stops or
//! starts to answer, one report.

use crate::{
    args::{Args, Identity, ProbeTarget},
    broker::{Selector, Sight, identify, track},
    http::{self, Board},
    measure::{Sampler, watch_log_dirs},
    probe, scrape, security,
    simulate::Simulator,
};
use anyhow::Context;
use doctorkafka_kafka::{Connection, ReportPublisher};
use doctorkafka_wire::{BrokerId, BrokerReport, Goodbye, LogDir, Probe, ProcessState};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Longest wait for the goodbye to be acknowledged.
const FLUSH: Duration = Duration::from_secs(3);

/// Exit code of a program ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps the sidecar from starting. Once it runs, it reports whatever happens.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut stop = Stop::listen().context("cannot listen for signals")?;
    let listener = match http::bind(&args.listen).await {
        Err(error) if args.keep_going => {
            tracing::error!("going on without pages: {error:#}");
            None
        }
        bound => bound?,
    };
    let (broker, connection) = tokio::select! {
        needed = needs(&args) => needed?,
        () = stop.asked() => return Ok(()),
    };
    let port = local_port(&args.probe);
    let mut sights = track(selector(&args), broker, port, args.interval, args.keep_going).await?;
    let mut probes = probe::watch_listener(args.probe.clone(), sights.clone(), args.interval);
    let publisher = Arc::new(ReportPublisher::start(&connection, &args.metrics_topic, broker)?);
    let mut connections = security::watch(args.security, args.kafka_brokers.clone(), connection);
    let simulator = args.simulate.then(|| Simulator::new(args.seed, broker, args.simulate_gaps));
    let simulator = simulator.map(|simulator| Arc::new(Mutex::new(simulator)));
    let board =
        Arc::new(Board::new(broker, started, args.interval, Arc::clone(&publisher), simulator.clone()));
    if let Some(listener) = listener {
        http::serve(listener, Arc::clone(&board));
    }
    tracing::info!(
        broker = %broker,
        topic = args.metrics_topic,
        kafka = args.kafka_brokers.bootstrap().join(","),
        simulated = args.simulate,
        "reporting every {:?}",
        args.interval
    );
    let mut reporter = Reporter {
        broker,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        incarnation: Timestamp::now().as_microsecond().unsigned_abs(),
        started,
        interval: args.interval,
        sequence: 0,
        sampler: Sampler::new(args.network_capacity),
        sights: sights.clone(),
        probes: probes.clone(),
        log_dirs: watch_log_dirs(args.log_dirs, sights.clone(), args.interval),
        page: args.scrape.map(scrape::watch_page),
        simulator,
        publisher,
        board,
        in_order: true,
    };
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut answering = None;
    loop {
        tokio::select! {
            biased;
            () = stop.asked() => break,
            // The tasks behind these two end only with the process, so a closed channel cannot spin this loop.
            Ok(()) = sights.changed() => reporter.report(None),
            Ok(()) = probes.changed() => {
                let answers = probes.borrow_and_update().as_ref().map(|probe| probe.ok);
                if answers != answering {
                    answering = answers;
                    reporter.report(None);
                }
            }
            // Closed from the start when nothing can change, which takes this branch out.
            Ok(()) = connections.changed() => {
                let connection = connections.borrow_and_update().clone();
                reporter.reconnect(&connection, &args.metrics_topic);
            }
            _ = ticks.tick() => reporter.report(None),
        }
    }
    tracing::info!("saying goodbye");
    reporter.report(Some(Goodbye::Terminated));
    tokio::select! {
        flushed = reporter.publisher.flush(FLUSH) => {
            if !flushed {
                tracing::warn!("Kafka did not acknowledge every report within {FLUSH:?}");
            }
        }
        () = stop.asked() => std::process::exit(INTERRUPTED),
    }
    Ok(())
}

/// What is needed before anything can be reported: whose reports they are, and the way to Kafka. Both may be waited for: a
/// sidecar in a pod that ends again and again would hold up the broker's start.
async fn needs(args: &Args) -> anyhow::Result<(BrokerId, Connection)> {
    let broker = match args.broker_id {
        Identity::Given(id) => id,
        Identity::Auto => identify(&args.data_dirs, args.broker_match.as_deref()).await,
    };
    let connection = args.kafka_brokers.clone();
    let connection = match args.keep_going {
        true => security::secure_in_time(&args.security, connection).await,
        false => args.security.secure(connection)?,
    };
    Ok((broker, connection))
}

fn selector(args: &Args) -> Selector {
    match (args.broker_pid, &args.broker_pid_file) {
        (Some(pid), _) => Selector::Pid(pid),
        (None, Some(file)) => Selector::PidFile(file.clone()),
        (None, None) => Selector::CommandLine(args.broker_match.clone()),
    }
}

/// The port of a listener that was named and is on this machine.
fn local_port(probe: &ProbeTarget) -> Option<u16> {
    let ProbeTarget::Fixed(address) = probe else { return None };
    let (host, port) = address.rsplit_once(':')?;
    matches!(host, "localhost" | "127.0.0.1" | "[::1]").then(|| port.parse().ok()).flatten()
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Makes reports of the newest that each part knows.
struct Reporter {
    broker: BrokerId,
    host: String,
    incarnation: u64,
    started: Instant,
    interval: Duration,
    sequence: u64,
    sampler: Sampler,
    sights: watch::Receiver<Sight>,
    probes: watch::Receiver<Option<Probe>>,
    log_dirs: watch::Receiver<Vec<LogDir>>,
    page: Option<watch::Receiver<Option<(Instant, scrape::Scraped)>>>,
    simulator: Option<Arc<Mutex<Simulator>>>,
    publisher: Arc<ReportPublisher>,
    board: Arc<Board>,
    in_order: bool,
}

impl Reporter {
    /// Publishes by another connection from now on.
    fn reconnect(&mut self, connection: &Connection, topic: &str) {
        match ReportPublisher::start(connection, topic, self.broker) {
            Ok(publisher) => {
                tracing::info!("the files of the connection have changed: connecting anew");
                self.publisher = Arc::new(publisher);
                self.board.publish_by(Arc::clone(&self.publisher));
            }
            Err(error) => tracing::warn!(%error, "cannot connect by the changed files, going on as before"),
        }
    }

    /// Measures, publishes and shows one report. Waits for nothing.
    fn report(&mut self, goodbye: Option<Goodbye>) {
        let now = Instant::now();
        let uptime = now.saturating_duration_since(self.started);
        let mut report = self.measure(now, uptime, goodbye);
        if let Some(simulator) = &self.simulator {
            let mut simulator = simulator.lock().unwrap_or_else(PoisonError::into_inner);
            report.simulated = true;
            if let Some(cpu) = &mut report.cpu {
                simulator.lay_over(cpu, uptime);
            }
            if simulator.is_silent(uptime) && goodbye.is_none() {
                drop(simulator);
                self.board.show(report);
                return;
            }
        }
        self.sequence += 1;
        report.sequence = self.sequence;
        let in_order = self.note_order(&report);
        self.publisher.publish(&report, !in_order || goodbye.is_some());
        self.board.show(report);
    }

    fn measure(&mut self, now: Instant, uptime: Duration, goodbye: Option<Goodbye>) -> BrokerReport {
        let sample = self.sampler.sample(&self.sights.borrow(), now);
        let scraped = self.page.as_ref().and_then(|page| scrape::fresh(&page.borrow(), now));
        // What a page said before the process ended is no longer so.
        let scraped = scraped.filter(|_| sample.process.state != ProcessState::Absent);
        let mut memory = sample.memory;
        if let (Some(memory), Some(scraped)) = (&mut memory, &scraped) {
            memory.heap_used_bytes = scraped.heap_used_bytes;
            memory.heap_max_bytes = scraped.heap_max_bytes;
        }
        BrokerReport {
            version: BrokerReport::VERSION,
            broker_id: self.broker,
            cluster_id: self.publisher.cluster_id(),
            host: self.host.clone(),
            incarnation: self.incarnation,
            sequence: 0,
            sampled_at: Timestamp::now(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            interval_ms: u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX),
            process: sample.process,
            probe: self.probes.borrow().clone(),
            cpu: sample.cpu,
            memory,
            network: sample.network,
            log_dirs: self.log_dirs.borrow().clone(),
            pressure: sample.pressure,
            exporter: scraped.map(|scraped| scraped.metrics),
            simulated: false,
            goodbye,
        }
    }

    /// Whether the broker is in order; a change goes to the log.
    fn note_order(&mut self, report: &BrokerReport) -> bool {
        let failed = report.probe.as_ref().filter(|probe| !probe.ok);
        let in_order = report.process.state == ProcessState::Running && failed.is_none();
        if in_order != self.in_order {
            self.in_order = in_order;
            let listener = failed.and_then(|probe| probe.error.as_deref()).unwrap_or("not asked, or answers");
            if in_order {
                tracing::info!("the broker is in order");
            } else {
                tracing::warn!(process = ?report.process.state, listener, "the broker is not in order");
            }
        }
        in_order
    }
}
