//! Open pages follow the fleet by server-sent events.
//!
//! One task renders for all of them, at most once in [`PACE`] and only when somebody looks; a slow reader skips to the
//! newest. So an open page costs a connection and one page of memory, whatever the number of changes.

use super::page;
use crate::fleet::Fleet;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time,
};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

/// Pages that may be open at once on one instance.
pub(super) const MAX_CLIENTS: usize = 64;

/// The shortest time between two pushes.
const PACE: Duration = Duration::from_millis(500);

/// How often a comment is sent on a quiet stream, so that proxies keep it and a lost client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Name of the event that carries the content of the page.
const FLEET_EVENT: &str = "fleet";

/// What open pages follow.
pub(super) struct Live {
    fleet: Fleet,
    rendered: watch::Sender<Arc<str>>,
    clients: Arc<Semaphore>,
    cancel: CancellationToken,
}

impl Live {
    /// Starts the rendering task, which ends with `cancel`.
    pub(super) fn start(fleet: Fleet, cancel: CancellationToken) -> Arc<Self> {
        let live = Arc::new(Self {
            fleet,
            rendered: watch::Sender::new(Arc::from("")),
            clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
            cancel: cancel.clone(),
        });
        // Subscribed here and not in the task, so that no change before the task's first turn is lost.
        let changed = live.fleet.changed();
        tokio::spawn({
            let live = live.clone();
            async move { cancel.run_until_cancelled(live.render_changes(changed)).await }
        });
        live
    }

    async fn render_changes(&self, mut changed: watch::Receiver<()>) {
        while changed.changed().await.is_ok() {
            if self.rendered.receiver_count() > 0 {
                self.rendered.send_replace(self.render());
            }
            time::sleep(PACE).await;
        }
    }

    fn render(&self) -> Arc<str> {
        Arc::from(page::content(&self.fleet.view(), Timestamp::now()).into_string())
    }

    /// The content of the page now and after each change; `None` when [`MAX_CLIENTS`] already follow.
    pub(super) fn follow(&self) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
        let place = self.clients.clone().try_acquire_owned().ok()?;
        // Subscribed before the first rendering, so that no change falls between the two.
        let changes = WatchStream::from_changes(self.rendered.subscribe());
        let now = self.render();
        let events = stream::iter([now])
            .chain(changes)
            .map(move |content| {
                let _held_while_the_stream_lives = &place;
                Ok(Event::default().event(FLEET_EVENT).data(&*content))
            })
            .take_until(self.cancel.clone().cancelled_owned());
        Some(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
    }
}
