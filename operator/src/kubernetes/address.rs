//! Where a policy's Kafka is, seen from the operator's own namespace.

/// Bootstrap servers with Services named in full. A name without a dot is that of a Service in the policy's namespace, where
/// its author and the sidecars are; the operator, which is in another one, would look for it in its own.
pub(super) fn qualified(servers: &str, namespace: &str) -> String {
    let full = |server: &str| match server.rsplit_once(':') {
        Some((host, port)) if is_service(host) => format!("{host}.{namespace}.svc:{port}"),
        _ => server.to_owned(),
    };
    servers.split(',').map(|server| full(server.trim())).collect::<Vec<_>>().join(",")
}

/// Whether it can be the name of a Service (RFC 1035): not `localhost`, and no address, whose characters are others.
fn is_service(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    host != "localhost" && host.starts_with(|c: char| c.is_ascii_lowercase()) && host.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_dot_are_services_beside_the_policy() {
        for (written, meant) in [
            ("prod-kafka-bootstrap:9093", "prod-kafka-bootstrap.kafka.svc:9093"),
            ("a:9092, b.other.svc:9092", "a.kafka.svc:9092,b.other.svc:9092"),
            ("localhost:9092,127.0.0.1:9092,[::1]:9092", "localhost:9092,127.0.0.1:9092,[::1]:9092"),
            ("kafka.example.com:9092", "kafka.example.com:9092"),
            ("nowhere", "nowhere"),
        ] {
            assert_eq!(qualified(written, "kafka"), meant);
        }
    }
}
