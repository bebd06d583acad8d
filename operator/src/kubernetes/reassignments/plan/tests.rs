use super::*;
use crate::kubernetes::reassignments::build::tests as example;
use doctorkafka_api::Phase;
use doctorkafka_doctor::{Counters, KafkaView, PlatformView, Proposed, Role, Summary};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use std::{collections::BTreeMap, sync::Arc};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn report(proposals: &[&str]) -> DoctorReport {
    let proposed = |message: &&str| Proposed {
        treatment: example::treatment(message),
        why: Vec::new(),
        since: at(100),
        mode: EffectiveMode::Approve,
        rules: Vec::new(),
    };
    DoctorReport {
        at: at(0),
        policy: "kafka/prod".into(),
        role: Role::Leading { epoch: 1 },
        kafka: KafkaView::default(),
        platform: PlatformView::default(),
        summary: Summary::default(),
        brokers: Vec::new(),
        advice: Vec::new(),
        refusals: Vec::new(),
        proposals: proposals.iter().map(proposed).map(Arc::new).collect(),
        treatment: None,
        actions: Arc::from([]),
        counters: Counters::default(),
    }
}

/// The object as the API server gives it back.
fn stored(message: &str, phase: Phase, ended: Option<i64>) -> Seen {
    let made = build::object(&example::policy(), &example::treatment(message), &[], &[]);
    let mut object: DynamicObject = serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap();
    object.metadata.uid = Some(format!("uid of {message}"));
    object.metadata.resource_version = Some("7".into());
    object.metadata.creation_timestamp = Some(Time(at(0)));
    let mut seen = Seen::read(&object).unwrap();
    seen.status.phase = Some(phase);
    seen.status.finished_at = ended.map(|second| Time(at(second)));
    seen
}

#[derive(Default)]
struct Known {
    waited: bool,
    written: BTreeMap<Place, Instant>,
}

impl Memory for Known {
    fn has_waited(&self, _: &Place) -> bool {
        self.waited
    }

    fn written(&self, place: &Place) -> Option<Instant> {
        self.written.get(place).copied()
    }
}

fn index(objects: impl IntoIterator<Item = Seen>) -> Index {
    let mut index = Index::new(0);
    objects.into_iter().for_each(|seen| index.put(seen));
    index
}

fn planned(report: &DoctorReport, index: &Index, known: &Known) -> Plan {
    plan(&example::policy(), report, index, known, (at(200), Instant::now()))
}

fn calls(plan: &Plan) -> Vec<String> {
    let name = |call: &Call| match call {
        Call::Create(_) => "create".to_owned(),
        Call::Write(_, status) => format!("write {:?}", status.phase.unwrap()),
        Call::Remove(_, why) => format!("remove: {why}"),
    };
    plan.calls.iter().map(name).collect()
}

#[test]
fn what_is_proposed_is_created_once() {
    let report = report(&["hot"]);
    let plan = planned(&report, &index([]), &Known::default());
    assert_eq!(calls(&plan), ["create"]);
    let name = build::name("prod", example::treatment("hot").digest());
    assert_eq!(plan.calls[0].place(), ("kafka".to_owned(), name));
    // It is there, by this leader or by the one before.
    let plan = planned(&report, &index([stored("hot", Phase::Proposed, None)]), &Known::default());
    assert_eq!(calls(&plan), ["write Proposed"], "the conditions are still to be said");
}

#[test]
fn what_the_doctor_did_not_make_makes_room() {
    let report = report(&["hot"]);
    let mut forged = stored("hot", Phase::Proposed, None);
    forged.spec.as_mut().unwrap().moves[0].to = vec![9, 2, 3];
    let plan = planned(&report, &index([forged]), &Known::default());
    assert_eq!(calls(&plan), ["remove: it does not say what the doctor proposes"]);
    let mut older = stored("hot", Phase::Proposed, None);
    older.owner = Some("uid-0".into());
    let plan = planned(&report, &index([older]), &Known::default());
    assert_eq!(calls(&plan), ["remove: it does not belong to the policy of this name"]);
}

#[test]
fn an_old_approval_approves_nothing_that_is_proposed_anew() {
    let report = report(&["hot"]);
    let mut ended = stored("hot", Phase::Completed, Some(50));
    ended.word = Some(super::super::seen::Word {
        approved: true,
        digest: example::treatment("hot").digest().to_owned(),
        by: Some("ann".into()),
    });
    let plan = planned(&report, &index([ended.clone()]), &Known::default());
    assert_eq!(calls(&plan), ["remove: the same treatment is due again"]);
    assert!(plan.decisions.given.is_empty());
    // One that ended after that was proposed is this very one.
    ended.status.finished_at = Some(Time(at(150)));
    assert!(planned(&report, &index([ended]), &Known::default()).decisions.given.is_empty());
}

#[test]
fn the_end_is_waited_for_and_the_rest_is_pruned() {
    let gone = stored("hot", Phase::Proposed, None);
    let mut known = Known::default();
    let plan = planned(&report(&[]), &index([gone.clone()]), &known);
    assert_eq!((calls(&plan).len(), plan.waits.len()), (1, 1), "only its generation is said");
    known.waited = true;
    assert_eq!(calls(&planned(&report(&[]), &index([gone]), &known)), ["write Expired"]);

    let many = (0..23).map(|number| stored(&number.to_string(), Phase::Completed, Some(number)));
    let plan = planned(&report(&[]), &index(many), &Known::default());
    assert_eq!(calls(&plan), ["remove: it is old"; 3]);
    let removed: Vec<_> = plan.calls.iter().map(Call::place).collect();
    for oldest in ["0", "1", "2"] {
        let name = build::name("prod", example::treatment(oldest).digest());
        assert!(removed.contains(&("kafka".to_owned(), name)));
    }
}

#[test]
fn figures_wait_and_phases_do_not() {
    let treatment = example::treatment("hot");
    let mut report = report(&[]);
    report.treatment = Some(doctorkafka_doctor::TreatmentView {
        digest: treatment.digest().to_owned(),
        message: "moving".into(),
        done: 1,
        partitions: 3,
        bytes: 100,
        bytes_done: 10,
        bytes_per_second: None,
        seconds_left: None,
        slowest_bytes_left: None,
        hold: None,
        treatment: Arc::new(treatment),
    });
    let mut known = Known::default();
    let mut object = stored("hot", Phase::Approved, None);
    known.written.insert(place(&object), Instant::now());
    let plan = planned(&report, &index([object.clone()]), &known);
    assert_eq!(calls(&plan), ["write Executing"]);
    let Call::Write(_, status) = &plan.calls[0] else { panic!("{plan:?}") };
    object.status = (**status).clone();
    report.treatment.as_mut().unwrap().bytes_done = 20;
    let plan = planned(&report, &index([object.clone()]), &known);
    assert!(plan.calls.is_empty() && plan.next.is_some());
    known.written.clear();
    assert_eq!(calls(&planned(&report, &index([object]), &known)), ["write Executing"]);
}
