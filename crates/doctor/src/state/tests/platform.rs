//! What pods and whoever looks after them make of diagnosis and treatment.

use super::*;
use crate::execute::Task;
use doctorkafka_diagnosis::{
    NodeFacts, PlatformFacts, PodFacts, PodPhase, Reason, Source, Unknown, Workload,
};

/// Three pods, linked to brokers by the hosts that Kafka advertises.
fn facts() -> PlatformFacts {
    pods(3)
}

/// So many of them.
pub fn pods(count: i32) -> PlatformFacts {
    let pod = |id: i32| PodFacts {
        name: format!("kafka-{id}"),
        uid: id.to_string(),
        hostname: format!("kafka-{id}"),
        ips: Vec::new(),
        broker: None,
        phase: PodPhase::Running,
        ready: true,
        node: Some(format!("node-{id}")),
        claims: Vec::new(),
        deleting: None,
        evicted: None,
        unschedulable: None,
        restart_asked: false,
        restarts: 0,
        waiting: None,
        ended: None,
    };
    let node = NodeFacts::There { ready: Some(true), cordoned: false };
    PlatformFacts {
        asked: true,
        pods: Some((1..=count).map(|id| (format!("kafka-{id}"), pod(id))).collect()),
        nodes: (1..=count).map(|id| (format!("node-{id}"), node)).collect(),
        ..PlatformFacts::default()
    }
}

fn rolling() -> PlatformFacts {
    let set = Workload::StrimziPodSet { name: "kafka".into(), pods: 3, current: 1, restart_asked: false };
    PlatformFacts { workloads: vec![set], ..facts() }
}

/// The platform says this, and goes on saying it for so long.
pub fn told(world: &mut World, facts: &PlatformFacts, seconds: u32, cpus: &[f64]) {
    for _ in 0..seconds {
        world.state.see_platform(Arc::new(facts.clone()), world.now);
        world.seconds(1, cpus);
    }
}

/// Broker 1 is hot, under a policy that lets the doctor act.
fn hot(facts: &PlatformFacts) -> World {
    let mut world = World::leading();
    world.set_mode(EffectiveMode::Auto);
    told(&mut world, facts, 20, HOT);
    world
}

fn due(world: &World) -> Option<Task> {
    world.state.due_treatment(world.now, wall(world.now)).map(|(task, _)| task)
}

fn is_refused(world: &mut World, rule: &str) -> bool {
    world.shown().refusals.iter().any(|refusal| refusal.rule == rule)
}

#[test]
fn nothing_is_begun_while_others_work_on_the_cluster_and_what_runs_waits() {
    let mut world = hot(&rolling());
    assert!(due(&world).is_none() && is_refused(&mut world, "RollingUpdate"));
    told(&mut world, &facts(), 3, HOT);
    let Some(Task::New(relief)) = due(&world) else { panic!("nothing is due after the roll") };
    assert_eq!(world.state.orders(&relief, world.now, wall(world.now)).others, None);
    told(&mut world, &rolling(), 1, HOT);
    let others = world.state.orders(&relief, world.now, wall(world.now)).others.unwrap();
    assert!(others.starts_with("RollingUpdate: StrimziPodSet kafka is being rolled"), "{others}");
}

#[test]
fn nothing_is_begun_while_it_cannot_be_told_whether_others_work_on_the_cluster() {
    let why = Unknown { source: Source::Pods, why: "cannot list pods".into() };
    let mut world = hot(&PlatformFacts { unknown: vec![why], pods: None, ..facts() });
    assert!(due(&world).is_none() && is_refused(&mut world, "PlatformUnknown"));
    assert_eq!(world.shown().platform.unknown, ["cannot list pods"]);
    let mut silent = hot(&facts());
    assert!(due(&silent).is_some());
    silent.seconds(31, HOT);
    assert!(due(&silent).is_none() && is_refused(&mut silent, "PlatformUnknown"), "not told again");
}

#[test]
fn a_broker_on_a_cordoned_node_is_given_nothing() {
    let mut cordoned = facts();
    cordoned.nodes.insert("node-3".into(), NodeFacts::There { ready: Some(true), cordoned: true });
    let world = hot(&cordoned);
    let Some(Task::New(relief)) = due(&world) else { panic!("nothing is due") };
    assert!(relief.changes().iter().all(|change| change.to[0] == BrokerId(2)), "{relief:?}");
}

#[test]
fn pods_are_shown_and_their_causes_told() {
    let mut world = World::leading();
    told(&mut world, &facts(), 2, CALM);
    let shown = world.shown();
    assert_eq!(shown.brokers[2].pod.as_deref(), Some("kafka-3"));
    assert_eq!(shown.brokers[2].node.as_deref(), Some("node-3"));
    assert!(shown.platform.asked && shown.platform.unlinked.is_empty());

    let mut gone = facts();
    gone.pods.as_mut().unwrap().remove("kafka-3");
    told(&mut world, &gone, 5, CALM);
    assert_eq!(world.shown().brokers[2].state, BrokerState::Healthy, "it reports");
    told(&mut world, &gone, 20, &[30.0, 30.0, f64::NAN]);
    let shown = world.shown();
    assert_eq!(shown.brokers[2].reason, Reason::PodDeleted, "{}", shown.brokers[2].message);
    let alerts = world.written.iter().filter(|record| record.kind == ActionKind::AlertUnhealthy);
    assert_eq!(alerts.count(), 1, "with its cause at once");
}

#[test]
fn brokers_without_a_pod_are_named() {
    let mut other = facts();
    other.pods = Some(
        other
            .pods
            .unwrap()
            .into_iter()
            .map(|(name, pod)| {
                let hostname = format!("other-{}", pod.hostname);
                (name, PodFacts { hostname, ..pod })
            })
            .collect(),
    );
    let mut world = World::leading();
    told(&mut world, &other, 2, CALM);
    let unlinked: Vec<_> = world.shown().platform.unlinked.into_keys().collect();
    assert_eq!(unlinked, [1, 2, 3].map(BrokerId));
}
