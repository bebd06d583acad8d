//! A doctor dies before and after every call and every commit, and another goes on from the log alone.

use std::pin::pin;

use super::{
    simulation::{Fault, Faults, Point, SimCluster, SimLog, World, poll},
    *,
};

/// Few at a time, so that there are many steps to die between.
fn limited() -> tokio::sync::watch::Receiver<Control> {
    told(Control {
        limits: Limits { moves_per_broker: 1, moves_per_cluster: 2, ..Limits::default() },
        ..Control::default()
    })
}

/// An undisturbed run. Gives how many changes it asked for.
fn undisturbed(before: &World, treatment: &Treatment) -> usize {
    let (cluster, log) = (SimCluster::new(before.clone()), SimLog::new(Faults::default()));
    let task = Task::New(treatment.clone());
    let ended = work(lead(cluster.clone(), log.clone(), task, limited()), log.faults());
    assert_eq!(ended, Some(Ended::Done { owed: vec![] }));
    assert_done(&cluster, &log, before, treatment, "undisturbed");
    let throttled = treatment.throttle().is_some();
    assert!(!throttled || !cluster.world().unthrottled, "bytes moved without a throttle");
    log.faults().changes()
}

fn points(changes: usize) -> impl Iterator<Item = Point> {
    (0..changes).flat_map(|n| [Point::Before(n), Point::After(n)])
}

/// The first doctor dies at the point; whoever comes next finishes.
fn dies(before: &World, treatment: &Treatment, point: Point) {
    let what = format!("{point:?}");
    let cluster = SimCluster::new(before.clone());
    let first = SimLog::new(Faults::at(point, Fault::Stop));
    let task = Task::New(treatment.clone());
    let ended = work(lead(cluster.clone(), first.clone(), task, limited()), first.faults());
    assert_eq!(ended, None, "{what}: the fault did not strike");
    let second = first.take_over(Faults::default());
    if let Some(task) = super::task(&second, treatment) {
        let ended = work(lead(cluster.clone(), second.clone(), task, limited()), second.faults());
        assert_eq!(ended, Some(Ended::Done { owed: vec![] }), "{what}");
    }
    assert_done(&cluster, &second, before, treatment, &what);
    assert!(
        treatment.throttle().is_none() || !cluster.world().unthrottled,
        "{what}: moved without a throttle"
    );
}

#[test]
fn at_every_point_of_23_moves() {
    let before = cluster();
    let treatment = moves(&before);
    assert!(treatment.moves().count() >= 20 && treatment.throttle().is_some());
    points(undisturbed(&before, &treatment)).for_each(|point| dies(&before, &treatment, point));
}

#[test]
fn at_every_point_of_24_leaderships() {
    let before = cluster();
    let treatment = leaderships(&before);
    points(undisturbed(&before, &treatment)).for_each(|point| dies(&before, &treatment, point));
}

/// The first doctor is paused right before a call, or after, another finishes, and then the first wakes up.
fn wakes(before: &World, treatment: &Treatment, point: Point) {
    let what = format!("paused at {point:?}");
    let cluster = SimCluster::new(before.clone());
    let first = SimLog::new(Faults::at(point, Fault::Stop));
    let task = Task::New(treatment.clone());
    let mut paused = pin!(lead(cluster.clone(), first.clone(), task, limited()));
    while !first.faults().is_stopped() {
        assert_eq!(poll(paused.as_mut()), None, "{what}");
    }
    let calls = first.faults().calls();
    let second = first.take_over(Faults::default());
    let task = super::task(&second, treatment);
    let unfinished = task.is_some();
    if let Some(task) = task {
        let ended = work(lead(cluster.clone(), second.clone(), task, limited()), second.faults());
        assert_eq!(ended, Some(Ended::Done { owed: vec![] }), "{what}");
    }
    first.faults().release();
    let ended = work(paused, first.faults());
    // After the commit of the end there is nothing more to find out.
    let expected = if unfinished { Ended::Fenced } else { Ended::Done { owed: vec![] } };
    assert_eq!(ended, Some(expected), "{what}");
    assert!(first.faults().calls() <= calls + 1, "{what}: more than the one call that was under way");
    // What the late call has set is found by whoever leads.
    for ended in recovery(&second).ended() {
        assert_eq!(sweep(&cluster, &second, ended), Ok(vec![]), "{what}");
    }
    assert_done(&cluster, &second, before, treatment, &what);
}

/// Removes what an ended treatment has left.
pub fn sweep(cluster: &SimCluster, log: &SimLog, ended: &OpenTreatment) -> Result<Vec<BrokerId>, Ended> {
    let admin = SimAdmin { cluster: cluster.clone(), faults: log.faults().clone() };
    let (mandate, author) = (|| true, author(log));
    let executor = Executor { admin: &admin, log, clock: cluster, mandate: &mandate, author: &author };
    let mut sweeping = pin!(executor.sweep(ended));
    loop {
        if let Some(swept) = poll(sweeping.as_mut()) {
            return swept;
        }
    }
}

#[test]
fn a_late_call_of_a_paused_doctor_is_harmless() {
    let before = cluster();
    for treatment in [moves(&before), leaderships(&before)] {
        points(undisturbed(&before, &treatment)).for_each(|point| wakes(&before, &treatment, point));
    }
}
