//! What to do next: a pure function of the treatment, of what the log says was begun, and of what the cluster is.
//!
//! It asks what is, not what was done, so that it makes no difference who looks: the leader that began, or one that has
//! just taken over. Each partition has an end where it belongs ([`goal`]), and the next step is the first that brings any
//! of them nearer and breaks no rule.

use doctorkafka_kafka::{ConfigChange, ReassignmentChange, TopicPartition};
use doctorkafka_wire::{BrokerId, Outcome, PartitionChange, StopDecision};

use super::{
    Control, ExecutionRule as Rule, Hold, OpenTreatment,
    observed::{Observed, Place, Side, at},
    rules::{Guard, Room},
    throttle,
    treatment::{name, replicas},
};

/// Leaderships that one step changes at the most. Small, so that a call that comes late does little.
const LEADERSHIPS: usize = 100;

/// Reassignments that one step cancels at the most.
const CANCELS: usize = 100;

/// The next step of a treatment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing can be done at the moment.
    Wait(Hold),
    /// What is to be done depends on the whole cluster: look at all of it and ask again.
    LookAtAll,
    /// These partitions are gone: leave them out from now on.
    Skip(Vec<TopicPartition>),
    /// Borrow the throttle.
    SetThrottle(Vec<ConfigChange>),
    /// Start reassignments.
    Reassign(Vec<ReassignmentChange>),
    /// Elect the preferred replicas.
    Elect(Vec<TopicPartition>),
    /// Cancel running reassignments of this treatment.
    Cancel(Vec<TopicPartition>),
    /// Give the throttle back.
    RemoveThrottle(Vec<ConfigChange>),
    /// Give the treatment up: from now on it is undone as far as was decided.
    Stop(StopDecision),
    /// All is done that had to be.
    Finish {
        /// Done, aborted or failed.
        outcome: Outcome,
        /// Brokers that are down and keep a throttle rate.
        owed: Vec<BrokerId>,
    },
}

/// One partition of the treatment that is not finished with.
struct Item<'a> {
    change: &'a PartitionChange,
    at: TopicPartition,
    place: Place,
    goal: Side,
}

/// What has to be done for an item.
enum Work<'a> {
    Nothing,
    Cancel,
    Elect,
    /// Same brokers, other order.
    Reorder(&'a [BrokerId]),
    Move(&'a [BrokerId]),
    Wait(Hold),
}

/// Decides the next step.
pub fn next(open: &OpenTreatment, seen: &Observed, control: &Control) -> Step {
    let places = places(open, seen, control);
    let gone: Vec<TopicPartition> =
        places.iter().filter(|(_, place)| *place == Place::Gone).map(|(change, _)| at(change)).collect();
    if let (None, Some(cancel)) = (open.stop(), &control.cancel)
        && (cancel.restore || !is_complete(open, seen, &places))
    {
        return stop(Outcome::Aborted, Rule::Cancelled, cancel.reason.clone(), cancel.restore);
    }
    if control.paused && control.cancel.is_none() {
        return Step::Wait(Hold::new(Rule::Paused, "paused: no new step is taken until it is lifted"));
    }
    if !gone.is_empty() {
        return Step::Skip(gone);
    }
    if open.stop().is_none()
        && let Some(step) = given_up(&places, seen, control)
    {
        return step;
    }
    let items: Vec<Item<'_>> = places
        .into_iter()
        .filter_map(|(change, place)| {
            let goal = goal(open, seen, control, change, &place)?;
            Some(Item { at: at(change), change, place, goal })
        })
        .collect();
    let work: Vec<(&Item<'_>, Work<'_>)> = items.iter().map(|item| (item, work(open, seen, item))).collect();
    let cancels: Vec<TopicPartition> = work
        .iter()
        .filter(|(_, work)| matches!(work, Work::Cancel))
        .map(|(item, _)| item.at.clone())
        .take(CANCELS)
        .collect();
    if !cancels.is_empty() {
        return Step::Cancel(cancels);
    }
    if work.iter().all(|(_, work)| matches!(work, Work::Nothing)) {
        return clean_up(open, seen);
    }
    if let Some(step) = adapt(open, seen, control) {
        return step;
    }
    if let (Some(others), None) = (&control.others, open.stop()) {
        return Step::Wait(Hold::new(Rule::OthersAtWork, others.clone()));
    }
    begin(open, seen, control, &work)
}

/// Where each partition stands that has not been left out.
fn places<'a>(
    open: &'a OpenTreatment,
    seen: &Observed,
    control: &Control,
) -> Vec<(&'a PartitionChange, Place)> {
    let changes = open.treatment().changes().iter().filter(|change| !open.is_skipped(&at(change)));
    changes
        .map(|change| (change, seen.place(change, open.topic_id(&change.topic), control.limits.settle)))
        .collect()
}

/// Whether nothing is left to do but to give the throttle back. To give up what is done would only tell a story that is not
/// true.
fn is_complete(open: &OpenTreatment, seen: &Observed, places: &[(&PartitionChange, Place)]) -> bool {
    let is_done = |(change, place): &(&PartitionChange, Place)| {
        let item = Item { change, at: at(change), place: place.clone(), goal: Side::To };
        *place == Place::At(Side::To) && matches!(work(open, seen, &item), Work::Nothing)
    };
    !places.is_empty() && places.iter().all(is_done)
}

fn stop(ending: Outcome, rule: Rule, message: String, restore: bool) -> Step {
    Step::Stop(StopDecision { ending, rule: rule.as_str().to_owned(), message, restore })
}

/// Whether somebody else has changed what the treatment is about, or a target is dead.
fn given_up(places: &[(&PartitionChange, Place)], seen: &Observed, control: &Control) -> Option<Step> {
    for (change, place) in places {
        let partition = name(change);
        match place {
            Place::Recreated => {
                let message = format!("{partition}: topic {} was deleted and created again", change.topic);
                return Some(stop(Outcome::Aborted, Rule::TopicRecreated, message, false));
            }
            Place::Drifted | Place::Shuffled(_) => {
                let now = seen.partition(&at(change)).map(|partition| replicas(&partition.replicas));
                let message = format!(
                    "{partition}: has replicas {}, neither {} as before nor {} as planned: somebody else changed it",
                    now.unwrap_or_default(),
                    replicas(&change.from),
                    replicas(&change.to)
                );
                return Some(stop(Outcome::Aborted, Rule::Drift, message, false));
            }
            _ => {}
        }
    }
    let patience = control.limits.patience;
    for (change, _) in places.iter().filter(|(_, place)| *place != Place::At(Side::To)) {
        let added = change.to.iter().filter(|broker| !change.from.contains(broker));
        let leads = (change.to.first() != change.from.first()).then(|| change.to.first()).flatten();
        let dead =
            added.chain(leads).find(|broker| seen.down_for.get(broker).is_some_and(|down| *down >= patience));
        if let Some(broker) = dead {
            let message =
                format!("{}: broker {broker}, where it should go, is down for {patience:?}", name(change));
            return Some(stop(Outcome::Failed, Rule::DestinationDead, message, false));
        }
    }
    None
}

/// The end at which a partition belongs; `None` when it is left as it is.
fn goal(
    open: &OpenTreatment,
    seen: &Observed,
    control: &Control,
    change: &PartitionChange,
    place: &Place,
) -> Option<Side> {
    let Some(stop) = open.stop() else { return Some(Side::To) };
    // What was not begun here is nothing to undo.
    if !open.has_begun(&at(change)) {
        return None;
    }
    match place {
        Place::Gone | Place::Recreated | Place::Foreign | Place::Drifted => None,
        Place::Unsettled => Some(Side::From),
        Place::At(Side::To) | Place::Moving(Side::From) | Place::Shuffled(Side::To) => {
            // Where a broker is gone for good there is no way back.
            let back = change.from.iter().filter(|broker| !change.to.contains(broker));
            let patience = control.limits.patience;
            let dead = |broker: &BrokerId| seen.down_for.get(broker).is_some_and(|down| *down >= patience);
            let possible = stop.restore && !back.into_iter().any(dead);
            Some(if possible { Side::From } else { Side::To })
        }
        Place::At(Side::From) | Place::Moving(Side::To) | Place::Shuffled(Side::From) => Some(Side::From),
    }
}

/// What brings an item nearer to its goal, whether or not a rule forbids it now.
fn work<'a>(open: &OpenTreatment, seen: &Observed, item: &Item<'a>) -> Work<'a> {
    let goal = item.goal.of(item.change);
    match &item.place {
        Place::At(side) if *side == item.goal => elect(open, seen, item),
        Place::At(_) | Place::Shuffled(_) => {
            let here =
                seen.partition(&item.at).map(|partition| partition.replicas.as_slice()).unwrap_or_default();
            if goal.iter().all(|broker| here.contains(broker)) {
                Work::Reorder(goal)
            } else {
                Work::Move(goal)
            }
        }
        Place::Moving(side) if *side == item.goal => {
            Work::Wait(Hold::new(Rule::Copying, format!("{} is being copied", item.at)))
        }
        // Not begun here and on its way elsewhere: forward there is only one goal, so this is somebody's cancelled plan.
        Place::Moving(_) if !open.has_begun(&item.at) => Work::Wait(foreign(&item.at)),
        Place::Moving(_) => Work::Cancel,
        Place::Foreign => Work::Wait(foreign(&item.at)),
        Place::Unsettled => {
            Work::Wait(Hold::new(Rule::Unsettled, format!("{}: looks changed; looking again", item.at)))
        }
        Place::Gone | Place::Recreated | Place::Drifted => Work::Nothing,
    }
}

fn foreign(at: &TopicPartition) -> Hold {
    Hold::new(Rule::ForeignReassignment, format!("{at}: somebody else's reassignment is running"))
}

/// At its goal; leadership follows where the change is one of leadership.
fn elect<'a>(open: &OpenTreatment, seen: &Observed, item: &Item<'_>) -> Work<'a> {
    let (goal, other) = (item.goal.of(item.change), item.goal.other().of(item.change));
    let (Some(preferred), Some(partition)) = (goal.first(), seen.partition(&item.at)) else {
        return Work::Nothing;
    };
    if goal.first() == other.first() || partition.leader == Some(*preferred) {
        return Work::Nothing;
    }
    let able = partition.isr.contains(preferred) && seen.is_up(*preferred);
    match (able, open.stop()) {
        (true, None) => Work::Elect,
        (false, None) => Work::Wait(Hold::new(
            Rule::NotInSync,
            format!("{}: broker {preferred}, which is to lead it, is not in sync", item.at),
        )),
        // A treatment that was given up leads back, and insists on nothing.
        (true, Some(_)) if item.goal == Side::From => Work::Elect,
        _ => Work::Nothing,
    }
}

/// Brings the throttle to the rate that is wanted now. How much the brokers can bear changes while they copy.
fn adapt(open: &OpenTreatment, seen: &Observed, control: &Control) -> Option<Step> {
    let rate = control.rate_of(open.treatment()).filter(|_| open.has_lent())?;
    if open.rate() == Some(rate) {
        return None;
    }
    let Some(whole) = &seen.whole else { return Some(Step::LookAtAll) };
    let changes = throttle::to_lend(open, &whole.configs, rate);
    (!changes.is_empty()).then_some(Step::SetThrottle(changes))
}

/// Everything is where it belongs: give back what was borrowed, and end.
fn clean_up(open: &OpenTreatment, seen: &Observed) -> Step {
    let outcome = open.stop().map_or(Outcome::Done, |stop| stop.ending);
    if !open.has_lent() {
        return Step::Finish { outcome, owed: Vec::new() };
    }
    let Some(whole) = &seen.whole else { return Step::LookAtAll };
    let changes = throttle::to_return(open, &whole.configs);
    if !changes.is_empty() {
        return Step::RemoveThrottle(changes);
    }
    let brokers = throttle::brokers(open.treatment());
    let unknown: Vec<BrokerId> = brokers
        .into_iter()
        .filter(|broker| !open.is_unread(*broker))
        .filter(|broker| !whole.configs.contains_key(&doctorkafka_kafka::ConfigResource::Broker(*broker)))
        .collect();
    if let Some(broker) = unknown.iter().find(|broker| seen.is_up(**broker)) {
        let message = format!("broker {broker} does not tell its settings, and may have a throttle of ours");
        return Step::Wait(Hold::new(Rule::Unknown, message));
    }
    Step::Finish { outcome, owed: unknown }
}

/// New work, as far as the rules allow.
fn begin(open: &OpenTreatment, seen: &Observed, control: &Control, work: &[(&Item<'_>, Work<'_>)]) -> Step {
    let mut holds = Vec::new();
    let able: Vec<&(&Item<'_>, Work<'_>)> = work
        .iter()
        .filter(|(_, work)| match work {
            Work::Wait(hold) => {
                holds.push(hold.clone());
                false
            }
            Work::Nothing | Work::Cancel => false,
            Work::Elect | Work::Reorder(_) | Work::Move(_) => true,
        })
        .collect();
    if able.is_empty() {
        return waiting(open, seen, control, work, holds);
    }
    // A look at everything costs the cluster something: only when there is room.
    let room = Room::new(seen, control.limits);
    let fits = |(item, work): &&(&Item<'_>, Work<'_>)| match work {
        Work::Move(goal) => allowed(room.clone().take(seen, &item.at, goal), &mut holds),
        _ => true,
    };
    let able: Vec<_> = able.into_iter().filter(fits).collect();
    if able.is_empty() {
        return waiting(open, seen, control, work, holds);
    }
    let Some(whole) = &seen.whole else { return Step::LookAtAll };
    let guard = Guard::new(open, seen, whole);
    if let Some(hold) = guard.foreign() {
        return Step::Wait(hold);
    }
    let elections: Vec<TopicPartition> = able
        .iter()
        .filter(|(item, work)| {
            matches!(work, Work::Elect) && allowed(guard.load(item.change, item.goal), &mut holds)
        })
        .map(|(item, _)| item.at.clone())
        .take(LEADERSHIPS)
        .collect();
    if !elections.is_empty() {
        return Step::Elect(elections);
    }
    let reorders: Vec<ReassignmentChange> = able
        .iter()
        .filter_map(|(item, work)| match work {
            Work::Reorder(goal) => allowed(guard.reorder(item.change, item.goal, &item.at), &mut holds)
                .then(|| reassignment(item, goal)),
            _ => None,
        })
        .take(LEADERSHIPS)
        .collect();
    if !reorders.is_empty() {
        return Step::Reassign(reorders);
    }
    let mut room = room;
    let moves: Vec<ReassignmentChange> = able
        .iter()
        .filter_map(|(item, work)| match work {
            Work::Move(goal) => {
                let allow = guard.start(item.change, item.goal, &item.at);
                (allowed(allow, &mut holds) && allowed(room.take(seen, &item.at, goal), &mut holds))
                    .then(|| reassignment(item, goal))
            }
            _ => None,
        })
        .collect();
    if moves.is_empty() {
        return waiting(open, seen, control, work, holds);
    }
    if let Some(hold) = guard.throttle_unknown() {
        return Step::Wait(hold);
    }
    let rate = control.rate_of(open.treatment());
    let throttle = rate.map(|rate| throttle::to_lend(open, &whole.configs, rate)).unwrap_or_default();
    if throttle.is_empty() { Step::Reassign(moves) } else { Step::SetThrottle(throttle) }
}

fn reassignment(item: &Item<'_>, goal: &[BrokerId]) -> ReassignmentChange {
    ReassignmentChange { at: item.at.clone(), replicas: Some(goal.to_vec()) }
}

fn allowed(verdict: Result<(), Hold>, holds: &mut Vec<Hold>) -> bool {
    verdict.map_err(|hold| holds.push(hold)).is_ok()
}

/// Nothing can be begun now. Says why, or gives up when nothing that is left has been possible for too long.
fn waiting(
    open: &OpenTreatment,
    seen: &Observed,
    control: &Control,
    work: &[(&Item<'_>, Work<'_>)],
    holds: Vec<Hold>,
) -> Step {
    if let Some(copying) = holds.iter().find(|hold| hold.rule == Rule::Copying) {
        let count = holds.iter().filter(|hold| hold.rule == Rule::Copying).count();
        let message =
            if count == 1 { copying.message.clone() } else { format!("{count} partitions are being copied") };
        return Step::Wait(Hold::new(Rule::Copying, message));
    }
    // How long a broker is down is another matter: the partition may have waited for its turn all the time.
    let hopeless = |hold: &Hold| matches!(hold.rule, Rule::NotInSync | Rule::NoLeader);
    let left = || work.iter().filter(|(_, work)| !matches!(work, Work::Nothing)).map(|(item, _)| &item.at);
    let steady =
        left().map(|at| seen.steady_for.get(at).copied().unwrap_or_default()).min().unwrap_or_default();
    let first = holds.first().cloned();
    let Some(first) = first else {
        return Step::Wait(Hold::new(Rule::Unknown, "nothing can be done at present"));
    };
    if open.stop().is_none() && holds.iter().all(hopeless) && steady >= control.limits.patience {
        let message = format!("{}; nothing changed for {:?}", first.message, control.limits.patience);
        return stop(Outcome::Failed, Rule::Stalled, message, false);
    }
    Step::Wait(first)
}
