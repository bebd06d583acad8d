//! A small HTTP/1.1 server with bounds: on connections, on the time a client may take to ask, and on the time that
//! ending takes. `axum::serve` has none of these.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_util::sync::CancellationToken;

/// Connections served at once on one port; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to send a request's head, and keep an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long answers under way may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// How long to wait after a failed accept: the usual cause is that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `cancel` is cancelled and the open connections are done, or [`GRACE`] is over.
pub(super) async fn serve(listener: TcpListener, router: Router, cancel: &CancellationToken) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = GracefulShutdown::new();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = connections.clone().acquire_owned().await {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept an HTTP connection: {error}");
                    time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = open.watch(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone())),
            );
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("HTTP connection ended: {error}");
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
        tracing::warn!("HTTP answers under way were cut off after {} s", GRACE.as_secs());
    }
}
