//! The API's answers over engines' reports made by hand.

#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use common::{fleet_of, full_report, healthy, insert, report};
use doctorkafka_operator::{fleet::Fleet, http::api_router};
use serde_json::Value;
use tower::ServiceExt;

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 16 << 20).await.unwrap();
    (status, String::from_utf8(body.into()).unwrap())
}

async fn json(router: &Router, path: &str) -> Value {
    let (status, body) = get(router, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn clusters_are_the_engines_reports() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let _other = insert(&fleet, report("kafka/test", vec![healthy(7)]));
    let clusters = json(&api_router(fleet), "/api/v1/clusters").await;

    let names: Vec<_> = clusters.as_array().unwrap().iter().map(|c| c["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["kafka/test", "prod"]);
    let prod = &clusters[1];
    assert_eq!(prod["role"], serde_json::json!({"state": "leading", "epoch": 12}));
    assert_eq!(prod["kafka"]["clusterId"], "4L6g3nShT-eMCtK--X86sw");
    assert_eq!(prod["summary"]["overloaded"], 1);
    assert_eq!(prod["brokers"][1]["state"], "Overloaded");
    assert_eq!(prod["brokers"][1]["reason"], "CpuAbove");
    assert_eq!(prod["brokers"][1]["figures"]["cpuPercent"], 95.2);
    assert_eq!(prod["actions"][0]["kind"], "ALERT_OVERLOAD");
    assert_eq!(prod["refusals"][0]["rule"], "TooManyHot");
    assert_eq!(prod["counters"]["skipped"]["malformed"], 7);
    assert_eq!(prod["counters"]["actions"]["ALERT_OVERLOAD"], 2);
}

#[tokio::test]
async fn one_clusters_brokers_and_actions_by_either_form_of_its_name() {
    let (fleet, _engine) = fleet_of(full_report("kafka/prod"));
    let router = api_router(fleet);
    for name in ["kafka/prod", "kafka%2Fprod"] {
        let brokers = json(&router, &format!("/api/v1/clusters/{name}/brokers")).await;
        assert_eq!(brokers.as_array().unwrap().len(), 3);
        let actions = json(&router, &format!("/api/v1/clusters/{name}/actions")).await;
        assert_eq!(actions[1]["kind"], "REASSIGN_PARTITIONS");
    }
}

#[tokio::test]
async fn what_is_not_there_says_so_and_nothing_can_be_written() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let router = api_router(fleet);
    for path in ["/api/v1/clusters/none/brokers", "/api/v1/clusters/a/b/actions", "/nowhere"] {
        let (status, body) = get(&router, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].as_str().unwrap().contains("/api/v1/clusters"), "{body}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = Request::builder().method(method).uri("/api/v1/clusters").body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn alive_until_an_engine_ends_by_itself() {
    let (fleet, engine) = fleet_of(full_report("prod"));
    let router = api_router(fleet.clone());
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);

    drop(engine);
    let (status, body) = get(&router, "/healthz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("prod"), "{body}");

    fleet.retire("prod");
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK, "its end was announced");
    let _next = insert(&fleet, full_report("prod"));
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    fleet.remove("prod");
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn ready_with_a_first_try_at_kafka_or_an_elections_result() {
    let fleet = Fleet::new();
    let router = api_router(fleet.clone());
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);

    let mut untried = full_report("prod");
    untried.kafka.reachable = None;
    let engine = insert(&fleet, untried);
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);

    engine.send_modify(|report| std::sync::Arc::make_mut(report).kafka.reachable = Some(false));
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK, "Kafka may be away");

    fleet.remove("prod");
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
    fleet.set_leading(false);
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_text() {
    let (fleet, _engine) = fleet_of(full_report("prod"));
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = api_router(fleet).oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4");
}
