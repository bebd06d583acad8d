//! Telling what happens: what the leading doctor says now and did not say before.

use super::{
    control::Server,
    doctors,
    reading::{Broker, Refusal, Report},
    screen::Screen,
    stage::Stage,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// How often the doctors are asked.
const EVERY: Duration = Duration::from_millis(250);

/// Tells what happens, and does what a second terminal asks for, until it is dropped.
pub async fn play(stage: &Stage, screen: &Screen, control: &Server) -> Infallible {
    tokio::select! {
        never = follow(stage, screen) => never,
        never = obey(stage, screen, control) => never,
    }
}

async fn obey(stage: &Stage, screen: &Screen, control: &Server) -> Infallible {
    loop {
        let asked = control.next().await;
        let outcome = stage.perform(&asked.request).await;
        let text = match &outcome {
            Ok(message) => message.clone(),
            Err(error) => format!("{}: refused: {error:#}", asked.request),
        };
        screen.now("you", &text);
        asked.answer(outcome).await;
    }
}

async fn follow(stage: &Stage, screen: &Screen) -> Infallible {
    let mut told = Told::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (name, log) in stage.ended_by_themselves() {
            screen.now(&name, &format!("ended by itself; the end of its log:\n{log}"));
        }
        if let Some((doctor, report)) = doctors::leading(&stage.doctors).await {
            stage.note(&report);
            for event in told.news(doctor.number(), &report) {
                let text = event.text(|state| screen.state(state));
                screen.event(event.at.unwrap_or_else(Timestamp::now), &event.subject, &text);
            }
        }
    }
}

/// What has been told already.
#[derive(Debug, Default)]
struct Told {
    leader: Option<(usize, Option<u64>)>,
    unreachable: bool,
    brokers: BTreeMap<i32, (String, String)>,
    advised: BTreeSet<i32>,
    refused: BTreeSet<(Option<i32>, String)>,
}

/// Something that happened.
#[derive(Debug, PartialEq, Eq)]
struct Event {
    /// When, if it is known better than "just now".
    at: Option<Timestamp>,
    subject: String,
    news: News,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Changed { from: Option<String>, to: String, message: String },
    Said(String),
}

impl Event {
    fn said(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { at: None, subject: subject.into(), news: News::Said(text.into()) }
    }

    fn text(&self, state: impl Fn(&str) -> String) -> String {
        match &self.news {
            News::Changed { from: Some(from), to, message } => {
                format!("{} -> {}   {message}", state(from), state(to))
            }
            News::Changed { from: None, to, message } => format!("{}   {message}", state(to)),
            News::Said(text) => text.clone(),
        }
    }
}

impl Told {
    /// What is new in a leader's report, in the order in which to tell it.
    fn news(&mut self, doctor: usize, report: &Report) -> Vec<Event> {
        let mut events = Vec::new();
        let leader = (doctor, report.role.epoch);
        if self.leader != Some(leader) {
            self.leader = Some(leader);
            let epoch = report.role.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
            events.push(Event::said(format!("doctor {doctor}"), format!("leads{epoch}")));
        }
        let unreachable = report.kafka.reachable == Some(false);
        if unreachable != self.unreachable {
            self.unreachable = unreachable;
            let text = match (unreachable, &report.kafka.error) {
                (true, Some(error)) => format!("not reachable: {error}"),
                (true, None) => "not reachable".to_owned(),
                (false, _) => "reachable again".to_owned(),
            };
            events.push(Event::said("kafka", text));
        }
        events.extend(report.brokers.iter().filter_map(|broker| self.changed(broker)));
        for advice in &report.advice {
            if self.advised.insert(advice.broker) {
                events.push(Event::said("advice", &*advice.message));
            }
        }
        for refusal in &report.refusals {
            if self.refused.insert(refused(refusal)) {
                events.push(Event::said("no advice", format!("{}: {}", refusal.rule, refusal.message)));
            }
        }
        // What is no longer said is news when it is said again.
        self.advised = report.advice.iter().map(|advice| advice.broker).collect();
        self.refused = report.refusals.iter().map(refused).collect();
        events
    }

    fn changed(&mut self, broker: &Broker) -> Option<Event> {
        let before = self.brokers.insert(broker.id, (broker.state.clone(), broker.reason.clone()));
        let message = broker.message.clone();
        let subject = format!("broker {}", broker.id);
        match before {
            Some((state, _)) if state != broker.state => Some(Event {
                at: Some(broker.since),
                subject,
                news: News::Changed { from: Some(state), to: broker.state.clone(), message },
            }),
            Some((_, reason)) if reason == broker.reason => None,
            // Another reason for the same state, or the first word about this broker.
            _ => Some(Event {
                at: None,
                subject,
                news: News::Changed { from: None, to: broker.state.clone(), message },
            }),
        }
    }
}

/// What tells one refusal from another: the rule, and the broker if the refusal speaks of it. A rule about the whole
/// cluster says the same for every broker that it keeps from being relieved.
fn refused(refusal: &Refusal) -> (Option<i32>, String) {
    let named = |id: &i32| refusal.message.contains(&format!("broker {id}"));
    (refusal.broker.filter(named), refusal.rule.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(state: &str, reason: &str, advice: &[&str]) -> Report {
        let advice: Vec<_> =
            advice.iter().map(|message| json!({"broker": 2, "message": message, "moves": []})).collect();
        serde_json::from_value(json!({
            "at": "2026-11-22T14:02:11Z", "policy": "demo", "role": {"state": "leading", "epoch": 3},
            "kafka": {"reachable": true, "error": null, "clusterId": "x"},
            "brokers": [{"id": 2, "state": state, "reason": reason, "since": "2026-11-22T14:02:11Z",
                         "message": "because"}],
            "advice": advice, "refusals": [], "actions": [],
        }))
        .unwrap()
    }

    fn texts(told: &mut Told, report: &Report) -> Vec<String> {
        told.news(1, report).iter().map(|e| format!("{}: {}", e.subject, e.text(str::to_owned))).collect()
    }

    #[test]
    fn what_is_new_is_told_once_and_in_order() {
        let mut told = Told::default();
        let calm = report("Healthy", "WithinLimits", &[]);
        assert_eq!(texts(&mut told, &calm), ["doctor 1: leads, epoch 3", "broker 2: Healthy   because"]);
        assert!(told.news(1, &calm).is_empty());

        let hot = report("Overloaded", "CpuAbove", &["move it"]);
        assert_eq!(texts(&mut told, &hot), ["broker 2: Healthy -> Overloaded   because", "advice: move it"]);
        // The numbers in an advice move with the figures; it is the same advice.
        assert!(told.news(1, &report("Overloaded", "CpuAbove", &["move more"])).is_empty());

        assert_eq!(texts(&mut told, &calm), ["broker 2: Overloaded -> Healthy   because"]);
        assert_eq!(told.news(1, &hot).len(), 2, "a second time is news again");
    }

    #[test]
    fn another_reason_and_another_leader_are_news() {
        let mut told = Told::default();
        told.news(1, &report("Unhealthy", "ProcessDown", &[]));
        let other = report("Unhealthy", "HeartbeatLost", &[]);
        assert_eq!(texts(&mut told, &other), ["broker 2: Unhealthy   because"]);
        assert_eq!(told.news(2, &other), [Event::said("doctor 2", "leads, epoch 3")]);
    }

    #[test]
    fn a_rule_about_the_whole_cluster_is_told_once() {
        let mut told = Told::default();
        let mut hot = report("Overloaded", "CpuAbove", &[]);
        let refusal = |broker, rule: &str, message: &str| Refusal {
            broker: Some(broker),
            rule: rule.to_owned(),
            message: message.to_owned(),
        };
        hot.refusals.push(refusal(1, "TooManyOverloaded", "2 of 3 brokers are overloaded"));
        hot.refusals.push(refusal(2, "TooManyOverloaded", "2 of 3 brokers are overloaded"));
        hot.refusals.push(refusal(1, "NothingToMove", "broker 1 leads nothing"));
        hot.refusals.push(refusal(2, "NothingToMove", "broker 2 leads nothing"));
        let refusals = texts(&mut told, &hot).split_off(2);
        assert_eq!(
            refusals,
            [
                "no advice: TooManyOverloaded: 2 of 3 brokers are overloaded",
                "no advice: NothingToMove: broker 1 leads nothing",
                "no advice: NothingToMove: broker 2 leads nothing",
            ]
        );
        assert!(told.news(1, &hot).is_empty());
    }

    #[test]
    fn a_change_is_told_with_the_time_the_doctor_saw_it() {
        let mut told = Told::default();
        told.news(1, &report("Healthy", "WithinLimits", &[]));
        let events = told.news(1, &report("Unhealthy", "ProcessDown", &[]));
        assert_eq!(events[0].at, Some("2026-11-22T14:02:11Z".parse().unwrap()));
    }
}
