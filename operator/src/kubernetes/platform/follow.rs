//! Following all objects of one kind that matter, cut down to what matters of them.
//!
//! A watch that fails is begun anew with a list, so that a success is a proof of what is there. What fails for longer than
//! a moment makes everything of this kind unknown: the last answer is no answer about now.

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    api::ListParams,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// A watch is begun anew after so long, so that one on a dead line, or one that is not permitted any more, is noticed.
const WATCH_SECONDS: u32 = 30;

/// Longest wait for the first answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// For so long after a failure what was seen last still counts.
const GRACE: Duration = Duration::from_secs(10);

/// Pause after a failure, after a refusal, and before a kind that does not exist is looked for again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
const AFTER_REFUSAL: Duration = Duration::from_secs(15);
const WITHOUT_KIND: Duration = Duration::from_secs(60);

/// More objects than this are not followed: no Kafka cluster has them, so the selector is wrong.
const MOST_OBJECTS: usize = 5_000;

/// What is known of all objects of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen<T> {
    /// They have not been listed yet.
    NotYet,
    /// These, by name, and no others.
    Known(BTreeMap<String, T>),
    /// Why they are not known.
    Unknown(String),
}

impl<T> Seen<T> {
    /// What is known, if it is.
    pub fn known(&self) -> Option<&BTreeMap<String, T>> {
        match self {
            Self::Known(objects) => Some(objects),
            Self::NotYet | Self::Unknown(_) => None,
        }
    }
}

/// How one kind is followed.
pub(super) struct Kind<Find, Trim> {
    /// `pods in namespace kafka`.
    pub what: String,
    /// Finds the way to it; `None` when the API server does not know such a kind.
    pub find: Find,
    /// Which objects of it.
    pub labels: Option<String>,
    /// What matters of one; `None` when nothing does.
    pub trim: Trim,
}

/// Objects of one kind, followed for as long as this lives.
#[derive(Debug)]
pub(super) struct Followed<T> {
    seen: watch::Receiver<Seen<T>>,
    _task: AbortOnDropHandle<()>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Begins to follow a kind. Whenever something is new, `news` is notified.
    pub fn start<K, Find, Found, Trim>(kind: Kind<Find, Trim>, news: Arc<Notify>) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        Find: Fn() -> Found + Send + Sync + 'static,
        Found: Future<Output = kube::Result<Option<Api<K>>>> + Send + 'static,
        Trim: Fn(&K) -> Option<T> + Send + Sync + 'static,
    {
        let (out, seen) = watch::channel(Seen::NotYet);
        let collection = Collection { what: kind.what.clone(), out, news, trouble: None };
        let task = tokio::spawn(follow(kind, collection));
        Self { seen, _task: AbortOnDropHandle::new(task) }
    }

    /// What is known now.
    pub fn seen(&self) -> watch::Ref<'_, Seen<T>> {
        self.seen.borrow()
    }
}

async fn follow<K, T, Find, Found, Trim>(kind: Kind<Find, Trim>, mut collection: Collection<T>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    Find: Fn() -> Found,
    Found: Future<Output = kube::Result<Option<Api<K>>>>,
    Trim: Fn(&K) -> Option<T>,
{
    loop {
        let pause = match attempt(&kind, &mut collection).await {
            Ok(()) => AFTER_FAILURE,
            Err(pause) => pause,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Lists and watches until that fails. Gives the pause until the next attempt where that is not the usual one.
async fn attempt<K, T, Find, Found, Trim>(
    kind: &Kind<Find, Trim>,
    collection: &mut Collection<T>,
) -> Result<(), Duration>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    Find: Fn() -> Found,
    Found: Future<Output = kube::Result<Option<Api<K>>>>,
    Trim: Fn(&K) -> Option<T>,
{
    let Some(api) = in_time((kind.find)()).await.map_err(|error| collection.fail(error, Instant::now()))?
    else {
        collection.replace(BTreeMap::new());
        return Err(WITHOUT_KIND);
    };
    // The watcher itself tells refusals to the log, each time.
    let mut first = ListParams::default().limit(1);
    first.label_selector.clone_from(&kind.labels);
    in_time(api.list(&first)).await.map_err(|error| collection.fail(error, Instant::now()))?;

    let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
    config.label_selector.clone_from(&kind.labels);
    let events = watcher::watcher(api, config);
    pin_mut!(events);
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| collection.fail(Failure::of_watch(error), Instant::now()))?;
        let name = |object: &K| object.meta().name.clone().unwrap_or_default();
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                if let Some(trimmed) = (kind.trim)(&object) {
                    listed.insert(name(&object), trimmed);
                }
                if listed.len() > MOST_OBJECTS {
                    return Err(collection.overflow());
                }
            }
            Event::InitDone => collection.replace(std::mem::take(&mut listed)),
            Event::Apply(object) => {
                let room = collection.set(name(&object), (kind.trim)(&object));
                if !room {
                    return Err(collection.overflow());
                }
            }
            Event::Delete(object) => {
                collection.set(name(&object), None);
            }
        }
    }
    Ok(())
}

/// Why an attempt failed.
enum Failure {
    /// The API server refuses it.
    Forbidden(String),
    /// There is no such kind.
    NoKind,
    /// Something that may pass.
    Other(String),
}

impl Failure {
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message),
            kube::Error::Api(status) if status.code == 404 => Self::NoKind,
            error => Self::Other(error.to_string()),
        }
    }

    fn of_watch(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::of(error),
            watcher::Error::WatchError(status) => Self::of(kube::Error::Api(status)),
            error => Self::Other(error.to_string()),
        }
    }
}

async fn in_time<V>(call: impl Future<Output = kube::Result<V>>) -> Result<V, Failure> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(result) => result.map_err(Failure::of),
        Err(_) => Err(Failure::Other(format!("no answer within {TIMEOUT:?}"))),
    }
}

/// Where what was seen is kept.
struct Collection<T> {
    what: String,
    out: watch::Sender<Seen<T>>,
    news: Arc<Notify>,
    /// Since when it fails, and whether that was told.
    trouble: Option<(Instant, bool)>,
}

impl<T> Collection<T> {
    fn replace(&mut self, objects: BTreeMap<String, T>) {
        if let Some((_, true)) = self.trouble.take() {
            tracing::info!("{} are known again", self.what);
        }
        self.put(Seen::Known(objects));
    }

    /// Puts what matters of an object in its place; false when there are too many.
    fn set(&mut self, name: String, object: Option<T>) -> bool {
        let mut room = true;
        self.out.send_modify(|seen| {
            if let Seen::Known(objects) = seen {
                match object {
                    Some(object) => objects.insert(name, object),
                    None => objects.remove(&name),
                };
                room = objects.len() <= MOST_OBJECTS;
            }
        });
        self.news.notify_one();
        room
    }

    fn overflow(&mut self) -> Duration {
        let why =
            format!("there are more than {MOST_OBJECTS} {}; narrow spec.brokers.podSelector", self.what);
        self.unknown(why);
        AFTER_REFUSAL
    }

    /// Notes a failure. Gives the pause until the next attempt.
    fn fail(&mut self, failure: Failure, now: Instant) -> Duration {
        match failure {
            Failure::NoKind => {
                self.replace(BTreeMap::new());
                WITHOUT_KIND
            }
            Failure::Forbidden(message) => {
                let why =
                    format!("cannot list {}: {message}; grant the operator list and watch there", self.what);
                self.unknown(why);
                AFTER_REFUSAL
            }
            Failure::Other(error) => {
                let (since, _) = *self.trouble.get_or_insert((now, false));
                let is_known = matches!(*self.out.borrow(), Seen::Known(_));
                if !is_known || now.duration_since(since) >= GRACE {
                    self.unknown(format!("cannot list {}: {error}; it is tried again", self.what));
                }
                AFTER_FAILURE
            }
        }
    }

    fn unknown(&mut self, why: String) {
        let (since, told) = self.trouble.unwrap_or((Instant::now(), false));
        if !told {
            tracing::warn!("{why}");
        }
        self.trouble = Some((since, true));
        self.put(Seen::Unknown(why));
    }

    fn put(&self, seen: Seen<T>) {
        self.out.send_replace(seen);
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection() -> (Collection<u8>, watch::Receiver<Seen<u8>>) {
        let (out, seen) = watch::channel(Seen::NotYet);
        (
            Collection { what: "pods in namespace kafka".into(), out, news: Arc::default(), trouble: None },
            seen,
        )
    }

    fn one() -> BTreeMap<String, u8> {
        [("a".to_owned(), 1)].into()
    }

    #[test]
    fn a_failure_of_a_moment_takes_nothing_away_and_a_longer_one_everything() {
        let (mut collection, seen) = collection();
        let begin = Instant::now();
        collection.replace(one());
        collection.fail(Failure::Other("reset".into()), begin);
        assert_eq!(*seen.borrow(), Seen::Known(one()));
        collection.fail(Failure::Other("reset".into()), begin + GRACE);
        let Seen::Unknown(why) = seen.borrow().clone() else { panic!("{seen:?}") };
        assert_eq!(why, "cannot list pods in namespace kafka: reset; it is tried again");
        collection.replace(one());
        collection.fail(Failure::Other("reset".into()), begin + GRACE * 2);
        assert_eq!(*seen.borrow(), Seen::Known(one()), "the moment begins anew");
    }

    #[test]
    fn a_refusal_counts_at_once_and_a_kind_that_does_not_exist_has_no_objects() {
        let (mut collection, seen) = collection();
        collection.replace(one());
        collection.fail(Failure::Forbidden("pods is forbidden".into()), Instant::now());
        assert!(matches!(&*seen.borrow(), Seen::Unknown(why) if why.contains("pods is forbidden; grant")));
        collection.fail(Failure::NoKind, Instant::now());
        assert_eq!(*seen.borrow(), Seen::Known(BTreeMap::new()));
    }

    #[test]
    fn changes_of_what_is_not_known_make_nothing_known() {
        let (mut collection, seen) = collection();
        collection.set("a".into(), Some(1));
        assert_eq!(*seen.borrow(), Seen::NotYet);
        collection.replace(BTreeMap::new());
        assert!(collection.set("a".into(), Some(1)));
        assert_eq!(*seen.borrow(), Seen::Known(one()));
        collection.set("a".into(), None);
        assert_eq!(*seen.borrow(), Seen::Known(BTreeMap::new()));
        let too_many = (0..MOST_OBJECTS).map(|n| (n.to_string(), 1)).collect();
        collection.replace(too_many);
        assert!(!collection.set("a".into(), Some(1)));
    }
}
