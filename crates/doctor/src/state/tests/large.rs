//! How long the engine's own work takes in a large cluster: whoever diagnoses every second must not plan for seconds.

use std::time::Instant;

use super::*;
use crate::load::{LoadSource, tests::cluster::Cluster};

const BROKERS: i32 = 1_000;
const TOPICS: i32 = 2_000;
const PARTITIONS: i32 = 100;

/// Three replicas round the ring of brokers.
fn replicas(topic: i32, partition: i32) -> [i32; 3] {
    let first = (topic * PARTITIONS + partition) % BROKERS;
    [0, 7, 400].map(|step| (first + step) % BROKERS + 1)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::of(BROKERS);
    for topic in 0..TOPICS {
        for partition in 0..PARTITIONS {
            let name = format!("topic-of-some-length-{topic}");
            cluster.partition(&name, partition, &replicas(topic, partition), 100_000).offsets(0, 10);
        }
    }
    cluster
}

fn kill(cluster: &mut Cluster, broker: i32) {
    cluster.kill(broker);
    for (topic, partition) in (0..TOPICS).flat_map(|topic| (0..PARTITIONS).map(move |number| (topic, number)))
    {
        let held = replicas(topic, partition);
        if held.contains(&broker) {
            let rest: Vec<i32> = held.into_iter().filter(|id| *id != broker).collect();
            cluster.find(&format!("topic-of-some-length-{topic}"), partition).in_sync(&rest).leader(rest[0]);
        }
    }
}

fn see(world: &mut World, cluster: &Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let topics = runtime.block_on(cluster.topics()).unwrap();
    let snapshot = cluster.snapshot(world.now);
    let begin = Instant::now();
    world.state.see(Sight::Loads(Box::new(snapshot)), world.now);
    let loads = begin.elapsed();
    world.topics = Some(topics);
    eprintln!("loads taken in within {loads:?}");
}

/// So many seconds; gives the longest step.
fn longest(world: &mut World, what: &str, seconds: u32, cpus: &[f64]) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..seconds {
        world.sequence += 1;
        world.now = world.now + Duration::from_secs(1);
        let begin = Instant::now();
        world.look();
        let looked = begin.elapsed();
        for (id, cpu) in (1..).zip(cpus).filter(|(_, cpu)| !cpu.is_nan()) {
            let sequence = world.sequence;
            world.report(report(BrokerId(id), sequence, *cpu));
        }
        for (partition, end) in (0..).zip(world.ends) {
            world.state.see(Sight::Mark { partition, mark: PathMark { at: world.now, end } }, world.now);
            world.state.metrics(MetricsEvent::Position { partition, next_offset: end }, world.now);
        }
        let begin = Instant::now();
        world.state.step(world.now, wall(world.now), ROOM);
        let step = begin.elapsed();
        if step > longest {
            longest = step;
            eprintln!("{what}: a step of {step:?}; taking in what was seen: {looked:?}");
        }
        if let Some(job) = world.state.take_job() {
            let (number, begin) = (job.number, Instant::now());
            let planned = job.run();
            eprintln!("{what}: planned elsewhere within {:?}", begin.elapsed());
            world.state.planned(number, Some(planned));
        }
    }
    longest
}

#[test]
#[ignore = "a measurement: 1,000 brokers and 200,000 partitions take their time without optimisation"]
fn a_step_is_short_whatever_is_planned() {
    let mut cluster = cluster();
    let mut world = World::new();
    world.brokers = BROKERS;
    see(&mut world, &cluster);
    let calm = vec![30.0; BROKERS as usize];
    let mut steps = vec![longest(&mut world, "calm", 5, &calm)];
    world.open(&[]);
    let auto = EffectiveMode::Auto;
    world.state.set_policy(Arc::new(Policy { replicas: auto, broker_failure: auto, ..policy(auto) }));
    let mut hot = calm.clone();
    hot[0] = 95.0;
    steps.push(longest(&mut world, "one is hot", 10, &hot));
    steps.push(longest(&mut world, "calm", 30, &calm));
    world.fenced = vec![5];
    kill(&mut cluster, 5);
    let mut without = calm;
    without[4] = f64::NAN;
    see(&mut world, &cluster);
    steps.push(longest(&mut world, "one is lost", 80, &without));
    see(&mut world, &cluster);
    steps.push(longest(&mut world, "one is healed", 15, &without));
    let proposals: Vec<_> = world.shown().proposals.iter().map(|it| it.treatment.changes().len()).collect();
    assert_eq!(proposals, [600]);
    let longest = steps.into_iter().max().unwrap();
    // Planning takes several times as long. The bound leaves room for a busy machine.
    assert!(longest < Duration::from_millis(200), "a step of {longest:?}");
}
