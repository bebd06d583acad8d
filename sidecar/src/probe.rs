//! Asks the broker's own listener for its ApiVersions, beside the measuring loop and one question at a time.

use crate::{
    args::ProbeTarget,
    broker::{BrokerConfig, Sight},
};
use doctorkafka_kafka::ProbeError;
use doctorkafka_wire::Probe;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The customary listener, tried when the broker's properties cannot be read.
const CUSTOMARY: &str = "127.0.0.1:9092";

/// Probes once per interval. The receiver holds the newest result; `None` while there is nothing to probe or to say.
/// Ends when the receiver is dropped.
pub fn watch_listener(
    target: ProbeTarget,
    sights: watch::Receiver<Sight>,
    interval: Duration,
) -> watch::Receiver<Option<Probe>> {
    let (sender, receiver) = watch::channel(None);
    if target == ProbeTarget::Off {
        return receiver;
    }
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut guess_answered = false;
        let mut listener = Listener::default();
        while !sender.is_closed() {
            ticks.tick().await;
            let address = address(&target, &sights.borrow().config);
            let result = match &address {
                Some(Address { at, .. }) => ask(&listener.addresses(at).await).await,
                None => None,
            };
            let answered = result.as_ref().is_some_and(|probe| probe.ok);
            let guessed = address.is_some_and(|address| address.guessed);
            guess_answered |= guessed && answered;
            // A guessed listener that has never answered may just not exist; that proves nothing against the broker.
            let result = result.filter(|_| !guessed || guess_answered);
            sender.send_replace(result);
        }
    });
    receiver
}

struct Address {
    at: String,
    guessed: bool,
}

fn address(target: &ProbeTarget, config: &BrokerConfig) -> Option<Address> {
    match target {
        ProbeTarget::Off => None,
        ProbeTarget::Fixed(at) => Some(Address { at: at.clone(), guessed: false }),
        ProbeTarget::Auto if config.known => {
            config.plain_listener.clone().map(|at| Address { at, guessed: false })
        }
        ProbeTarget::Auto => Some(Address { at: CUSTOMARY.into(), guessed: true }),
    }
}

/// What a name stands for, looked up anew for each probe. While no name server answers, what it stood for last: that says
/// nothing of the broker.
#[derive(Default)]
struct Listener {
    name: String,
    known: Vec<SocketAddr>,
    /// The look-up under way. One at a time, because each holds up a thread for as long as the name server lets it wait.
    looking: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    /// Whether the last look-up failed.
    failed: bool,
}

impl Listener {
    /// The addresses behind `name` (`host:port`); none while it has never been resolved.
    async fn addresses(&mut self, name: &str) -> Vec<SocketAddr> {
        if let Ok(address) = name.parse() {
            return vec![address];
        }
        if self.name != name {
            *self = Self { name: name.to_owned(), ..Self::default() };
        }
        let looking = self.looking.get_or_insert_with(|| {
            let name = name.to_owned();
            tokio::spawn(async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
        });
        let outcome = match tokio::time::timeout(TIMEOUT, looking).await {
            Ok(looked) => {
                self.looking = None;
                looked.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(_) => Err(io::Error::other(format!("no name server answered within {TIMEOUT:?}"))),
        };
        match outcome {
            Ok(found) => {
                self.known = found;
                self.failed = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(listener = name, %error, "cannot look up the broker's listener, trying again");
                }
            }
        }
        self.known.clone()
    }
}

/// Asks at the first address that takes the connection; `None` without an address.
async fn ask(addresses: &[SocketAddr]) -> Option<Probe> {
    let mut failed = None;
    for address in addresses {
        match doctorkafka_kafka::probe(&address.to_string(), TIMEOUT).await {
            Ok(round_trip) => {
                let round_trip_ms = Some(round_trip.as_secs_f64() * 1_000.0);
                return Some(Probe { ok: true, round_trip_ms, error: None });
            }
            Err(error) => {
                let no_answer = matches!(error, ProbeError::TimedOut(_));
                failed = Some(Probe { ok: false, round_trip_ms: None, error: Some(error.to_string()) });
                // `localhost` may be two addresses, of which the broker listens on one. It listens where nothing refuses.
                if no_answer {
                    break;
                }
            }
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Presence;
    use std::sync::Arc;

    fn at(target: &ProbeTarget, config: &BrokerConfig) -> Option<(String, bool)> {
        address(target, config).map(|address| (address.at, address.guessed))
    }

    #[test]
    fn the_address_is_given_read_or_guessed() {
        let unknown = BrokerConfig::default();
        let plain =
            BrokerConfig { known: true, plain_listener: Some("127.0.0.1:29092".into()), ..unknown.clone() };
        let tls_only = BrokerConfig { known: true, ..unknown.clone() };
        let fixed = ProbeTarget::Fixed("b:1".into());
        assert_eq!(at(&fixed, &plain), Some(("b:1".into(), false)));
        assert_eq!(at(&ProbeTarget::Auto, &plain), Some(("127.0.0.1:29092".into(), false)));
        assert_eq!(at(&ProbeTarget::Auto, &unknown), Some((CUSTOMARY.into(), true)));
        assert_eq!(at(&ProbeTarget::Auto, &tls_only), None);
        assert_eq!(at(&ProbeTarget::Off, &plain), None);
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_says_nothing_of_the_broker() {
        let mut listener = Listener::default();
        let nowhere = "no-such-host.invalid:9092";
        assert!(listener.addresses(nowhere).await.is_empty());
        assert!(ask(&[]).await.is_none());
        // It was known once, and is asked where it was then.
        let then = SocketAddr::from(([127, 0, 0, 1], 9_092));
        listener.known = vec![then];
        assert_eq!(listener.addresses(nowhere).await, [then]);
        assert_eq!(listener.addresses("127.0.0.1:7").await, [SocketAddr::from(([127, 0, 0, 1], 7))]);
    }

    #[tokio::test]
    async fn a_name_is_asked_at_each_of_its_addresses() {
        let mut listener = Listener::default();
        let addresses = listener.addresses("localhost:1").await;
        assert!(addresses.iter().all(|address| address.ip().is_loopback()) && !addresses.is_empty());
        assert!(ask(&addresses).await.is_some_and(|probe| !probe.ok));
    }

    #[tokio::test]
    async fn a_listener_that_refuses_is_told_as_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let (_sights, sights) = watch::channel(Sight {
            presence: Presence::Absent,
            restarts: 0,
            config: Arc::new(BrokerConfig::default()),
        });
        let mut results = watch_listener(ProbeTarget::Fixed(address), sights, Duration::from_millis(50));
        results.changed().await.unwrap();
        let probe = results.borrow().clone().unwrap();
        assert!(!probe.ok && probe.round_trip_ms.is_none());
        assert!(!probe.error.unwrap().is_empty());
    }
}
