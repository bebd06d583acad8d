//! The dashboard's routes.

use super::{guarded, live::Live, page};
use crate::fleet::Fleet;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use maud::Markup;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Style sheet and script are asked for again with every page, so that a new release is never mixed with old ones.
const REVALIDATE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// The dashboard's routes, and the task that renders what changed for open pages, which ends with `cancel`. Needs a
/// tokio runtime.
pub fn router(fleet: Fleet, cancel: CancellationToken) -> Router {
    let live = Live::start(fleet.clone(), cancel);
    guarded(
        Router::new()
            .route("/", get(whole))
            .route("/events", get(events))
            .route("/dashboard.css", get(style))
            .route("/dashboard.js", get(script))
            .fallback(nowhere)
            .with_state(Dashboard { fleet, live }),
    )
}

#[derive(Clone)]
struct Dashboard {
    fleet: Fleet,
    live: Arc<Live>,
}

async fn whole(State(dashboard): State<Dashboard>) -> Markup {
    page::whole(&dashboard.fleet.view(), Timestamp::now())
}

async fn events(State(dashboard): State<Dashboard>) -> Response {
    match dashboard.live.follow() {
        Some(events) => events.into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "10")],
            "too many open dashboards; this one is live again as soon as another is closed\n",
        )
            .into_response(),
    }
}

async fn style() -> Response {
    let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    ([kind, REVALIDATE], include_str!("dashboard.css")).into_response()
}

async fn script() -> Response {
    let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    ([kind, REVALIDATE], include_str!("dashboard.js")).into_response()
}

async fn nowhere() -> Response {
    (StatusCode::NOT_FOUND, "nothing here; the dashboard is at /, the API on its own port\n").into_response()
}
