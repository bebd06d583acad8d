//! How messages name the broker that they are about.

use doctorkafka_wire::BrokerId;

/// A message about a broker that names the broker, once: `broker 2: CPU usage 95% > 80%`, and
/// `broker 2 leads 5 partitions` as it is.
pub fn about(broker: Option<BrokerId>, message: &str) -> String {
    let Some(broker) = broker else { return message.to_owned() };
    let after = message.strip_prefix("broker ").and_then(|rest| rest.strip_prefix(&broker.to_string()));
    match after {
        Some(after) if !after.starts_with(|c: char| c.is_ascii_digit()) => message.to_owned(),
        _ => format!("broker {broker}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_broker_once() {
        let two = Some(BrokerId(2));
        for (message, told) in [
            ("CPU usage 95% > 80%", "broker 2: CPU usage 95% > 80%"),
            ("broker 2 leads 5 partitions", "broker 2 leads 5 partitions"),
            ("broker 2: 3 of 3 brokers are down", "broker 2: 3 of 3 brokers are down"),
            ("broker 20 is gone", "broker 2: broker 20 is gone"),
        ] {
            assert_eq!(about(two, message), told);
            assert_eq!(about(two, &about(two, message)), told, "said twice");
        }
        assert_eq!(about(None, "all reports stopped"), "all reports stopped");
    }
}
