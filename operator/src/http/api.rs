//! The API: what the dashboard shows, as JSON; metrics; health.
//!
//! A policy's name may hold a slash (`namespace/name`); both `namespace/name` and `namespace%2Fname` are understood.

use super::guarded;
use crate::{fleet::Fleet, metrics};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use doctorkafka_doctor::DoctorReport;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// The API's routes.
pub fn router(fleet: Fleet) -> Router {
    guarded(
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .route("/api/v1/clusters", get(clusters))
            .route("/api/v1/clusters/{policy}/brokers", get(brokers))
            .route("/api/v1/clusters/{policy}/actions", get(actions))
            .route("/api/v1/clusters/{policy}/{name}/brokers", get(brokers_of_two))
            .route("/api/v1/clusters/{policy}/{name}/actions", get(actions_of_two))
            .fallback(nowhere)
            .with_state(fleet),
    )
}

/// Liveness: restart the process when it fails.
async fn healthz(State(fleet): State<Fleet>) -> Response {
    let view = fleet.view();
    if view.is_alive() {
        return "ok\n".into_response();
    }
    let ended: Vec<_> = view.policies.iter().filter(|p| !p.alive).map(|p| p.name.as_str()).collect();
    let message = format!("the engine has ended by itself for: {}\n", ended.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

/// Readiness: whether what it shows means anything yet.
async fn readyz(State(fleet): State<Fleet>) -> Response {
    let view = fleet.view();
    if view.is_ready() {
        return "ready\n".into_response();
    }
    let message = if view.injection.is_being_prepared() {
        "the injection webhook has no trusted certificate yet\n"
    } else {
        "neither the election nor a first try at Kafka has ended yet\n"
    };
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

async fn scrape(State(fleet): State<Fleet>) -> Response {
    match metrics::render(&fleet.view(), Timestamp::now()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!("cannot render metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn clusters(State(fleet): State<Fleet>) -> Json<Vec<Arc<DoctorReport>>> {
    Json(fleet.snapshot())
}

async fn brokers(State(fleet): State<Fleet>, Path(policy): Path<String>) -> Response {
    of(&fleet, &policy, |report| Json(&report.brokers).into_response())
}

async fn actions(State(fleet): State<Fleet>, Path(policy): Path<String>) -> Response {
    of(&fleet, &policy, |report| Json(&report.actions).into_response())
}

async fn brokers_of_two(
    State(fleet): State<Fleet>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    brokers(State(fleet), Path(format!("{namespace}/{name}"))).await
}

async fn actions_of_two(
    State(fleet): State<Fleet>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    actions(State(fleet), Path(format!("{namespace}/{name}"))).await
}

fn of(fleet: &Fleet, policy: &str, answer: impl FnOnce(&DoctorReport) -> Response) -> Response {
    match fleet.snapshot().iter().find(|report| report.policy == policy) {
        Some(report) => answer(report),
        None => not_found(format!(
            "no engine runs for a policy named {policy:?}; GET /api/v1/clusters lists them"
        )),
    }
}

async fn nowhere() -> Response {
    not_found(
        "there are /api/v1/clusters, /api/v1/clusters/{policy}/brokers, /api/v1/clusters/{policy}/actions, /metrics, \
         /healthz and /readyz"
            .to_owned(),
    )
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

fn not_found(error: String) -> Response {
    (StatusCode::NOT_FOUND, Json(Problem { error })).into_response()
}
