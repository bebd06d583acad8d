//! Reports a second through decoding and diagnosis, on one thread.

use super::{
    page::{Section, machine, median_and_max},
    reporter::report,
};
use anyhow::{Context, ensure};
use doctorkafka_diagnosis::{
    BrokerFacts, ClusterFacts, Detection, Diagnostician, Intake, Moment, PathMark, Registration,
};
use doctorkafka_wire::{BrokerId, BrokerReport};
use std::time::Instant;

const BROKERS: i32 = 1_000;
const ROUNDS: u64 = 30;
const RUNS: usize = 7;

/// Times decoding of the record's bytes, taking the report in, and a diagnosis of all brokers 20 times a second.
///
/// # Errors
/// A report is not taken in, so that something else was measured.
pub fn measure() -> anyhow::Result<Section> {
    let mut rates = (0..RUNS).map(|_| run()).collect::<anyhow::Result<Vec<f64>>>()?;
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let (median, _) = median_and_max(&mut rates);
    Ok(Section {
        title: "Diagnosis engine",
        how: format!(
            "{}, one thread. {BROKERS} brokers report once a second; each record is decoded from JSON and taken in, and all \
             brokers are diagnosed after every 50 records, as the engine does twenty times a second. {ROUNDS} simulated \
             seconds a run, {RUNS} runs.",
            machine()
        ),
        columns: vec!["figure", "median", "slowest run"],
        rows: vec![vec![
            "reports a second on one core".into(),
            format!("{median:.0}"),
            format!("{slowest:.0}"),
        ]],
    })
}

fn run() -> anyhow::Result<f64> {
    let brokers = (0..BROKERS)
        .map(|id| (BrokerId(id), BrokerFacts { registration: Registration::Active, home: id % 3 }))
        .collect();
    let facts =
        |at, brokers| ClusterFacts { at, brokers, names_fenced: true, controller: Some((BrokerId(0), 1)) };
    let mut doctor = Diagnostician::new(Detection::default(), Moment(0));
    doctor.look(facts(Moment(0), brokers));
    let mut records = Vec::new();
    for round in 1..=ROUNDS {
        for id in 0..BROKERS {
            records.push(report(BrokerId(id), round, 30.0 + f64::from(id % 60)).encode());
        }
    }
    let mut ends = [0_i64; 3];
    let mut now = Moment(1_000);
    let begin = Instant::now();
    for (i, bytes) in records.iter().enumerate() {
        let report = BrokerReport::decode(bytes)?;
        let home = report.broker_id.0 % 3;
        let end =
            usize::try_from(home).ok().and_then(|home| ends.get_mut(home)).context("three partitions")?;
        let taken = doctor.report(home, *end, report, now);
        ensure!(taken == Intake::Used, "report {i} was not used: {taken:?}");
        *end += 1;
        if i % 50 == 49 {
            now = Moment(now.0 + 50);
            doctor.mark(home, PathMark { at: now, end: *end });
            doctor.diagnose(now);
        }
    }
    Ok(records.len() as f64 / begin.elapsed().as_secs_f64())
}
