//! The dashboard's page and its stream of events, without a browser.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    response::Response,
};
use common::{action, broker, fleet_of, full_report, healthy, insert, overloaded, proposed, report};
use doctorkafka_diagnosis::{BrokerState, Reason};
use doctorkafka_doctor::{Advice, Proposed, Refusal, Role};
use doctorkafka_operator::{fleet::Fleet, http::dashboard_router};
use doctorkafka_wire::{ActionKind, BrokerId, LeadershipMove};
use futures::{Stream, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

const LIMIT: Duration = Duration::from_secs(10);

fn dashboard(fleet: &Fleet) -> (Router, DropGuard) {
    let cancel = CancellationToken::new();
    (dashboard_router(fleet.clone(), cancel.clone()), cancel.drop_guard())
}

async fn ask(router: &Router, path: &str) -> Response {
    router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

async fn page(fleet: &Fleet) -> String {
    let (router, _cancel) = dashboard(fleet);
    let answer = ask(&router, "/").await;
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8(to_bytes(answer.into_body(), 16 << 20).await.unwrap().into()).unwrap()
}

/// The events' data, as the stream brings them.
fn events(answer: Response) -> impl Stream<Item = String> + Unpin {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    Box::pin(
        answer.into_body().into_data_stream().map(|chunk| String::from_utf8(chunk.unwrap().into()).unwrap()),
    )
}

#[tokio::test]
async fn shows_everything_the_report_says() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    fleet.set_leading(true);
    let page = page(&fleet).await;
    for text in [
        "This instance <strong>leads</strong>",
        "4L6g3nShT-eMCtK--X86sw",
        "broker 2",
        "leads, epoch 12",
        "HEALTHY",
        "OVERLOADED",
        "UNHEALTHY",
        "CPU usage 95% &gt; 80% for 3 s",
        "95%",
        "simulated",
        "1.2 MB/s",
        "3m12s",
        "broker-2.example, rack rack-2",
        "move leadership of 1 partition from broker 2 to 1 (1); no data moves",
        "orders-4",
        "moving the leadership of 7 partitions, 3 of 7 partitions done; waits: Paused",
        "digest 55b6b6c0f20e<",
        "moving 1 partition (1.5 MB); broker 2 is overloaded: CPU usage 95% &gt; 80%; waits for approval",
        "<code>replicas-2-7</code>: [2, 1] → [3, 1]; takes 12% of its CPU along",
        "2 of 3 brokers are overloaded (limit 50%)",
        "TooManyHot",
        "ALERT_OVERLOAD",
        "proposed",
    ] {
        assert!(page.contains(text), "{text:?} is not in the page");
    }
    let newest = page.find("REASSIGN_PARTITIONS").unwrap();
    assert!(newest < page.find("ALERT_OVERLOAD").unwrap(), "the log is newest first");
}

#[tokio::test]
async fn text_from_outside_is_escaped_wherever_it_stands() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut evil = full_report(EVIL);
    evil.kafka.cluster_id = Some(EVIL.to_owned());
    evil.kafka.reachable = Some(false);
    evil.kafka.error = Some(EVIL.to_owned());
    evil.role = Role::Conflict { message: EVIL.to_owned() };
    evil.brokers = vec![broker(1, BrokerState::Unhealthy, Reason::ProcessDown, EVIL)];
    evil.brokers[0].host = EVIL.to_owned();
    evil.brokers[0].rack = Some(EVIL.to_owned());
    evil.advice = vec![Advice {
        broker: BrokerId(1),
        message: EVIL.to_owned(),
        moves: vec![LeadershipMove {
            topic: EVIL.to_owned(),
            partition: 0,
            from: BrokerId(1),
            to: BrokerId(2),
        }],
    }];
    evil.proposals = vec![Arc::new(Proposed { why: vec![EVIL.to_owned()], ..proposed(EVIL, EVIL) })];
    evil.refusals = vec![Refusal { broker: None, rule: "SomeRule", message: EVIL.to_owned() }];
    evil.actions = Arc::from([action(ActionKind::Refused, 1, EVIL)]);
    let (fleet, _engine) = fleet_of(evil);
    fleet.set_problem(EVIL, Some(EVIL.to_owned()));
    // A second policy brings the list of clusters out, which names both.
    let _other = insert(&fleet, report("other", vec![]));

    let (router, _cancel) = dashboard(&fleet);
    let pushed = timeout(LIMIT, events(ask(&router, "/events").await).next()).await.unwrap().unwrap();
    for html in [page(&fleet).await, pushed] {
        assert!(!html.contains("<script>"), "an opened script: {html}");
        assert!(!html.contains("<img"), "an opened image: {html}");
        assert!(html.matches("&lt;script&gt;").count() >= 14, "not everything was shown: {html}");
    }
}

#[tokio::test]
async fn forbids_whatever_is_not_its_own() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let (router, _cancel) = dashboard(&fleet);
    for path in ["/", "/dashboard.js", "/dashboard.css", "/nowhere"] {
        let answer = ask(&router, path).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
    // Nothing in the page needs what the policy forbids.
    let page = page(&fleet).await;
    for forbidden in [" style=\"", "<style", " onclick", "http://", "https://"] {
        let found = page.replace("xmlns='http://www.w3.org/2000/svg'", "");
        assert!(!found.contains(forbidden), "{forbidden:?} is in the page");
    }
    let post = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(post).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn reads_without_a_script_and_with_a_screen_reader() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let page = page(&fleet).await;
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""));
    assert!(page.contains("<html lang=\"en\">"));
    assert!(page.contains("<th scope=\"col\""));
    assert!(page.contains("scope=\"row\""));
}

#[tokio::test]
async fn says_what_is_wrong() {
    let mut away = report("prod", vec![]);
    away.kafka.reachable = Some(false);
    away.kafka.error = Some("kafka-1:9092: connection refused".to_owned());
    away.kafka.topics_error = Some("cannot create the doctor's topics: denied".to_owned());
    away.kafka.actions_log_error = Some("opening actions log: denied".to_owned());
    let (fleet, engine) = fleet_of(away);
    fleet.set_problem("prod", Some("spec.topics.metrics: must not be empty".to_owned()));
    drop(engine);
    let page = page(&fleet).await;
    for text in [
        "NOT REACHABLE",
        "kafka-1:9092: connection refused",
        "The doctor's topics are missing",
        "cannot create the doctor's topics: denied",
        "The actions log cannot be written",
        "opening actions log: denied",
        "Policy refused",
        "spec.topics.metrics",
        "The engine has ended",
    ] {
        assert!(page.contains(text), "{text:?} is not in the page");
    }
}

#[tokio::test]
async fn a_thousand_brokers_show_those_that_need_a_look() {
    let mut brokers: Vec<_> = (0..1_000).map(healthy).collect();
    brokers[999] = overloaded(999);
    let (fleet, _engine) = fleet_of(report("prod", brokers));
    let page = page(&fleet).await;
    assert!(page.contains("broker-999.example"));
    assert!(page.contains("800 more brokers are not shown"));
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}

#[tokio::test]
async fn pushes_a_change_and_not_more_often_than_its_pace() {
    let (fleet, engine) = fleet_of(full_report("prod"));
    let (router, _cancel) = dashboard(&fleet);
    let mut events = events(ask(&router, "/events").await);
    let now = timeout(LIMIT, events.next()).await.unwrap().unwrap();
    assert!(now.starts_with("event: fleet\n"), "{now}");
    assert!(now.contains("OVERLOADED") && !now.contains("broker 7 fell silent"));

    let changed = broker(7, BrokerState::Unhealthy, Reason::HeartbeatLost, "broker 7 fell silent");
    engine.send_replace(Arc::new(report("prod", vec![changed])));
    let pushed = timeout(LIMIT, events.next()).await.unwrap().unwrap();
    assert!(pushed.contains("broker 7 fell silent"), "{pushed}");

    // A hundred more changes come to a few pushes, the newest among them.
    let started = Instant::now();
    let mut pushes = 0;
    for number in 0..100 {
        engine.send_replace(Arc::new(report(
            "prod",
            vec![broker(7, BrokerState::Unhealthy, Reason::HeartbeatLost, &format!("change {number}."))],
        )));
        tokio::task::yield_now().await;
    }
    loop {
        let pushed = timeout(LIMIT, events.next()).await.unwrap().unwrap();
        pushes += 1;
        if pushed.contains("change 99.") {
            break;
        }
    }
    let allowed = 2 + started.elapsed().as_millis() / 500;
    assert!(pushes <= allowed, "{pushes} pushes in {:?}", started.elapsed());
}

#[tokio::test]
async fn open_pages_are_bounded_and_a_closed_one_makes_room() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let (router, _cancel) = dashboard(&fleet);
    let mut open = Vec::new();
    let refused = loop {
        let answer = ask(&router, "/events").await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        open.push(answer);
        assert!(open.len() <= 64, "no bound");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(open.len(), 64);
    open.pop();
    assert_eq!(ask(&router, "/events").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn open_pages_end_with_the_server() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let (router, cancel) = dashboard(&fleet);
    let mut events = events(ask(&router, "/events").await);
    assert!(timeout(LIMIT, events.next()).await.unwrap().is_some());
    drop(cancel);
    assert!(timeout(LIMIT, events.next()).await.unwrap().is_none());
}
