//! HTTPS with bounds: on connections, on handshakes, on what and how slowly a client may send.

use super::{certificates::Serving, review::Reviewer};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's backlog. An API server holds a few open.
const MAX_CONNECTIONS: usize = 256;

/// Largest review, bytes. A pod has at most 1.5 MiB, etcd's limit, and comes once.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be idle. API servers, as all of Go's clients, close theirs after 90 s: were we first, a review
/// could be sent on a connection that is just being closed, and would be lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long answers under way may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// How long to wait after a failed accept: the usual cause is that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `cancel` is cancelled and the open connections are done, or [`GRACE`] is over.
///
/// # Errors
/// This build of TLS has no protocol version in common with anybody, which cannot be.
pub async fn serve(
    listener: TcpListener,
    serving: Arc<Serving>,
    reviewer: Arc<Reviewer>,
    cancel: &CancellationToken,
) -> Result<(), rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = router(reviewer);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = GracefulShutdown::new();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = connections.clone().acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a connection of an API server: {error}");
                    time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), open.watcher());
            tokio::spawn(async move {
                let stream = match time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
                    Err(_) => return tracing::debug!("TLS handshake took too long"),
                };
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(IDLE_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!("connection of an API server ended: {error}");
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = cancel.cancelled() => {}
    }
    drop(listener);
    if time::timeout(GRACE, open.shutdown()).await.is_err() {
        tracing::warn!("answers to API servers were cut off after {} s", GRACE.as_secs());
    }
    Ok(())
}

fn router(reviewer: Arc<Reviewer>) -> Router {
    Router::new()
        .route("/inject", post(review))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::disable())
        .with_state(reviewer)
}

async fn review(State(reviewer): State<Arc<Reviewer>>, body: axum::body::Body) -> Response {
    let body: Bytes = match time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return (StatusCode::PAYLOAD_TOO_LARGE, "the review is too large or broke off\n").into_response();
        }
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the review came too slowly\n").into_response(),
    };
    match reviewer.answer(&body).await {
        Some(review) => Json(review).into_response(),
        None => {
            (StatusCode::BAD_REQUEST, "expected an AdmissionReview of admission.k8s.io/v1\n").into_response()
        }
    }
}
