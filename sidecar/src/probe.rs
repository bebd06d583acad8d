//! Asks the broker's own listener for its ApiVersions, beside the measuring loop and one question at a time.

use crate::{
    args::ProbeTarget,
    broker::{BrokerConfig, Sight},
};
use doctorkafka_wire::Probe;
use std::time::Duration;
use tokio::sync::watch;

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
        while !sender.is_closed() {
            ticks.tick().await;
            let address = address(&target, &sights.borrow().config);
            let result = match &address {
                Some(Address { at, .. }) => Some(ask(at).await),
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

async fn ask(address: &str) -> Probe {
    // The probe has a timeout of its own; this one holds even if it should not.
    let answer = tokio::time::timeout(TIMEOUT * 2, doctorkafka_kafka::probe(address, TIMEOUT)).await;
    let failed = |error: String| Probe { ok: false, round_trip_ms: None, error: Some(error) };
    match answer {
        Ok(Ok(round_trip)) => {
            Probe { ok: true, round_trip_ms: Some(round_trip.as_secs_f64() * 1_000.0), error: None }
        }
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("no answer within {TIMEOUT:?}")),
    }
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
