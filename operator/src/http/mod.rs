//! What the operator serves over HTTP: the dashboard on one port; the API, metrics and health on another.
//!
//! Everything is read-only and reads the [`Fleet`]; nothing here reaches an engine, Kafka or Kubernetes. What it shows
//! (policy, topic and host names, messages) comes from outside and is never trusted: HTML goes through maud, which
//! escapes, and the content security policy forbids whatever is not the page's own style sheet and script.

mod api;
mod brokers;
mod cluster;
mod dashboard;
mod figures;
mod live;
mod page;
mod server;
mod treatments;

pub use api::router as api_router;
pub use dashboard::router as dashboard_router;

use crate::{
    cli::{HttpArguments, Listen},
    fleet::Fleet,
};
use anyhow::{Context, anyhow};
use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
    response::Response,
};
use std::{io, net::SocketAddr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The listening sockets, before anything is served on them: a busy port ends the program before it does anything else.
#[derive(Debug)]
pub struct Sockets {
    dashboard: Option<TcpListener>,
    api: Option<TcpListener>,
}

impl Sockets {
    /// Opens them.
    ///
    /// # Errors
    /// An address that cannot be listened on, with the flag that chooses another.
    pub async fn open(arguments: &HttpArguments) -> anyhow::Result<Self> {
        Ok(Self {
            dashboard: listen(&arguments.dashboard_listen, "--dashboard-listen").await?,
            api: listen(&arguments.api_listen, "--api-listen").await?,
        })
    }

    /// The dashboard's address, when it is on.
    pub fn dashboard(&self) -> Option<SocketAddr> {
        self.dashboard.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The API's address, when it is on.
    pub fn api(&self) -> Option<SocketAddr> {
        self.api.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until `cancel` is cancelled; answers under way get a few seconds to end.
    pub async fn serve(self, fleet: Fleet, cancel: CancellationToken) {
        if let Some(address) = self.dashboard() {
            tracing::info!("dashboard on http://{address}");
        }
        if let Some(address) = self.api() {
            tracing::info!("API, metrics and health on http://{address}");
        }
        let dashboard = async {
            if let Some(listener) = self.dashboard {
                let router = dashboard_router(fleet.clone(), cancel.clone());
                server::serve(listener, router, &cancel).await;
            }
        };
        let api = async {
            if let Some(listener) = self.api {
                server::serve(listener, api_router(fleet.clone()), &cancel).await;
            }
        };
        tokio::join!(dashboard, api, cancel.cancelled());
    }
}

async fn listen(listen: &Listen, flag: &str) -> anyhow::Result<Option<TcpListener>> {
    let Listen::At(address) = listen else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(anyhow!("cannot listen on {address}: address in use; choose another with {flag}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address} (given by {flag})")),
    }
}

/// Headers that every answer carries.
fn guarded(router: Router) -> Router {
    router.layer(middleware::map_response(async |mut response: Response| {
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        );
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }))
}
