//! Policies that are right and policies that are wrong.

use crate::lay_over;
use serde_json::{Value, json};

/// A policy that says the least, with something laid over its spec.
pub fn policy(name: &str, spec: &Value) -> Value {
    let mut policy = json!({
        "apiVersion": "doctorkafka.dev/v1alpha1",
        "kind": "KafkaHealthPolicy",
        "metadata": {"name": name},
        "spec": {"kafka": {"bootstrapServers": "kafka:9092"}},
    });
    lay_over(&mut policy["spec"], spec);
    policy
}

fn password() -> Value {
    json!({"username": "doctor", "passwordSecret": {"secretName": "doctor", "password": "password"}})
}

fn certificate() -> Value {
    json!({"certificateAndKey": {"secretName": "doctor", "certificate": "user.crt", "key": "user.key"}})
}

fn oauth(secret: &str) -> Value {
    json!({"accessToken": {"secretName": secret, "key": "token"}})
}

fn bootstrap(servers: &str) -> Value {
    json!({"kafka": {"bootstrapServers": servers}})
}

fn authentication(authentication: Value) -> Value {
    json!({"kafka": {"tls": {}, "authentication": authentication}})
}

fn cpu(thresholds: Value) -> Value {
    json!({"detection": {"cpu": thresholds}})
}

fn window(start: &str, duration: &str, days: Value) -> Value {
    json!({"maintenance": {"windows": [{"start": start, "duration": duration, "days": days}]}})
}

/// Specs that are right, at the edge where there is one.
pub fn right() -> Vec<Value> {
    vec![
        json!({}),
        bootstrap("localhost:9092"),
        bootstrap("a:1,b.c-d_e.svc:65535, 10.0.0.1:9092"),
        bootstrap("[::1]:9092"),
        authentication(json!({"scramSha512": password()})),
        authentication(json!({"scramSha256": password()})),
        authentication(json!({"plain": password()})),
        authentication(json!({"tls": certificate()})),
        authentication(json!({"oauthbearer": oauth("doctor-token")})),
        authentication(json!({"plain": password(), "scramSha512": null, "tls": null})),
        json!({"kafka": {"tls": null, "authentication": null}, "brokers": {"podSelector": null}}),
        json!({"kafka": {"authentication": {"plain": password()}}}),
        json!({"kafka": {"tls": {"trustedCertificates": [{"secretName": "ca", "certificate": "ca.crt"}]}}}),
        json!({"brokers": {"podSelector": {"matchLabels": {"strimzi.io/name": "prod-kafka"}}}}),
        json!({"brokers": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}}),
        json!({"topics": {"metrics": "m", "actionsLog": "a.b_c-D9"}}),
        json!({"topics": {"actionsLog": "log"}}),
        json!({"detection": {}}),
        json!({"detection": {"heartbeatTimeout": "2s"}}),
        json!({"detection": {"heartbeatTimeout": "10m"}}),
        json!({"detection": {"heartbeatTimeout": "1m30s500ms"}}),
        cpu(json!({"overloadedAbove": 100, "recoveredBelow": 99})),
        cpu(json!({"overloadedAbove": 2, "recoveredBelow": 1, "sustainedFor": "1h"})),
        cpu(json!({"recoveredBelow": 79})),
        json!({"detection": {"memory": {"recoveredBelow": 94}, "disk": {"overloadedAbove": 81}, "network": {}}}),
        json!({"mode": "Observe"}),
        json!({"mode": "Auto", "remedies": {"replicas": {"mode": "Approve"}, "brokerFailure": {"mode": "Observe"}}}),
        json!({"remedies": {"brokerFailure": {"healAfter": "1s"}}}),
        json!({"remedies": {"brokerFailure": {"healAfter": "168h"}}}),
        json!({"limits": {"movesPerBroker": 10}}),
        json!({"limits": {"movesPerBroker": 1000, "movesPerCluster": 1000, "maxDisk": 100, "cooldown": "24h"}}),
        json!({"limits": {"replicationThrottle": "auto"}}),
        json!({"limits": {"replicationThrottle": "50MB/s"}}),
        json!({"limits": {"replicationThrottle": "999999kB/s"}}),
        window("00:00", "24h", json!([])),
        window("23:59", "1m", json!(["Monday", "Sunday"])),
        json!({"maintenance": {"brokers": [0, 7, 2147483647]}}),
        json!({"drain": {"brokers": [4]}, "demote": {"brokers": [0, 7]}}),
        json!({"limits": {"replicationThrottle": "none"}}),
        json!({"maintenance": {"brokers": (0..1000).collect::<Vec<_>>()}}),
        json!({"executor": {"native": {}}}),
        json!({"executor": {"cruiseControl": {"url": "http://cruise-control:9090"}}}),
    ]
}

/// Specs that are wrong, the field that both the API server and `from_yaml` must name, and words that both must say
/// ("" where types and schema, each in its own words, stop it before any rule).
pub fn wrong() -> Vec<(Value, &'static str, &'static str)> {
    let address = "must be host:port[,host:port...]; got ";
    let duration = "must be a duration from ";
    let bootstrap_servers = "spec.kafka.bootstrapServers";
    let auth = "spec.kafka.authentication";
    let exactly_one = "must have exactly one of scramSha512, scramSha256, plain, tls, oauthbearer";
    vec![
        (bootstrap(""), bootstrap_servers, ""),
        (bootstrap("kafka"), bootstrap_servers, address),
        (bootstrap("kafka:"), bootstrap_servers, address),
        (bootstrap(":9092"), bootstrap_servers, address),
        (bootstrap("kafka:0"), bootstrap_servers, address),
        (bootstrap("kafka:65536"), bootstrap_servers, address),
        (bootstrap("kafka:+1"), bootstrap_servers, address),
        (bootstrap("kafka:9092,"), bootstrap_servers, address),
        (bootstrap("kafka:9092 other:9092"), bootstrap_servers, address),
        (bootstrap("SASL_SSL://kafka:9092"), bootstrap_servers, address),
        (bootstrap(" kafka:9092"), bootstrap_servers, address),
        (bootstrap("-kafka:9092"), bootstrap_servers, address),
        (bootstrap("[]:9092"), bootstrap_servers, address),
        (bootstrap(&["kafka:9092"; 200].join(",")), bootstrap_servers, ""),
        (json!({"kafka": {"bootstrapServers": 9092}}), bootstrap_servers, ""),
        (authentication(json!({})), auth, exactly_one),
        (authentication(json!({"plain": password(), "scramSha512": password()})), auth, exactly_one),
        (
            authentication(json!({"tls": certificate(), "oauthbearer": oauth("doctor-token")})),
            auth,
            exactly_one,
        ),
        (
            json!({"kafka": {"authentication": {"tls": certificate()}}}),
            "spec.kafka.tls",
            "must be set when authentication.tls is: a client certificate needs an encrypted connection",
        ),
        (authentication(json!({"plain": {"username": "doctor"}})), "passwordSecret", ""),
        (
            authentication(json!({"oauthbearer": oauth("")})),
            "spec.kafka.authentication.oauthbearer.accessToken.secretName",
            "",
        ),
        (
            json!({"kafka": {"tls": {"trustedCertificates": [{"secretName": "", "certificate": "ca.crt"}]}}}),
            "spec.kafka.tls.trustedCertificates[0].secretName",
            "",
        ),
        (
            json!({"topics": {"metrics": "same", "actionsLog": "same"}}),
            "spec.topics.actionsLog",
            "must be another topic than metrics (same)",
        ),
        (
            json!({"topics": {"metrics": "_doctor_actions_log"}}),
            "spec.topics.actionsLog",
            "must be another topic than metrics (_doctor_actions_log)",
        ),
        (json!({"topics": {"metrics": "a b"}}), "spec.topics.metrics", "must be a topic name"),
        (json!({"topics": {"metrics": ".."}}), "spec.topics.metrics", "must be a topic name"),
        (json!({"topics": {"actionsLog": "ä"}}), "spec.topics.actionsLog", "must be a topic name"),
        (json!({"topics": {"actionsLog": "a".repeat(250)}}), "spec.topics.actionsLog", ""),
        (json!({"detection": {"heartbeatTimeout": "1s"}}), "spec.detection.heartbeatTimeout", duration),
        (json!({"detection": {"heartbeatTimeout": "601s"}}), "spec.detection.heartbeatTimeout", duration),
        (json!({"detection": {"heartbeatTimeout": "10"}}), "spec.detection.heartbeatTimeout", ""),
        (json!({"detection": {"heartbeatTimeout": "-10s"}}), "spec.detection.heartbeatTimeout", ""),
        (json!({"detection": {"heartbeatTimeout": ""}}), "spec.detection.heartbeatTimeout", ""),
        (json!({"detection": {"heartbeatTimeout": "1.5m"}}), "spec.detection.heartbeatTimeout", ""),
        (json!({"detection": {"heartbeatTimeout": 10}}), "spec.detection.heartbeatTimeout", ""),
        (
            cpu(json!({"recoveredBelow": 85})),
            "spec.detection.cpu.recoveredBelow",
            "must be below overloadedAbove (80), got 85",
        ),
        (
            cpu(json!({"overloadedAbove": 70})),
            "spec.detection.cpu.recoveredBelow",
            "must be below overloadedAbove (70), got 70",
        ),
        (
            json!({"detection": {"memory": {"overloadedAbove": 90}}}),
            "spec.detection.memory.recoveredBelow",
            "must be below overloadedAbove (90), got 90",
        ),
        (
            json!({"detection": {"disk": {"recoveredBelow": 86}}}),
            "spec.detection.disk.recoveredBelow",
            "must be below overloadedAbove (85), got 86",
        ),
        (
            json!({"detection": {"network": {"recoveredBelow": 100}}}),
            "spec.detection.network.recoveredBelow",
            "must be below overloadedAbove (80), got 100",
        ),
        (cpu(json!({"overloadedAbove": 101})), "spec.detection.cpu.overloadedAbove", ""),
        (cpu(json!({"overloadedAbove": 300})), "spec.detection.cpu.overloadedAbove", ""),
        (cpu(json!({"recoveredBelow": 0})), "spec.detection.cpu.recoveredBelow", ""),
        (cpu(json!({"recoveredBelow": -1})), "spec.detection.cpu.recoveredBelow", ""),
        (cpu(json!({"overloadedAbove": "80%"})), "spec.detection.cpu.overloadedAbove", ""),
        (cpu(json!({"overloadedAbove": 80.5})), "spec.detection.cpu.overloadedAbove", ""),
        (cpu(json!({"sustainedFor": "0s"})), "spec.detection.cpu.sustainedFor", duration),
        (cpu(json!({"sustainedFor": "999ms"})), "spec.detection.cpu.sustainedFor", duration),
        (cpu(json!({"sustainedFor": "2h"})), "spec.detection.cpu.sustainedFor", duration),
        (json!({"mode": "Brave"}), "spec.mode", ""),
        (json!({"mode": "auto"}), "spec.mode", ""),
        (json!({"remedies": {"leadership": {"mode": "Yes"}}}), "spec.remedies.leadership.mode", ""),
        (
            json!({"remedies": {"brokerFailure": {"healAfter": "0s"}}}),
            "spec.remedies.brokerFailure.healAfter",
            duration,
        ),
        (
            json!({"remedies": {"brokerFailure": {"healAfter": "99999h"}}}),
            "spec.remedies.brokerFailure.healAfter",
            duration,
        ),
        (json!({"limits": {"movesPerBroker": 0}}), "spec.limits.movesPerBroker", ""),
        (json!({"limits": {"movesPerCluster": 1001}}), "spec.limits.movesPerCluster", ""),
        (
            json!({"limits": {"movesPerBroker": 11}}),
            "spec.limits.movesPerBroker",
            "must be at most movesPerCluster (10), got 11",
        ),
        (json!({"limits": {"maxDisk": 0}}), "spec.limits.maxDisk", ""),
        (json!({"limits": {"cooldown": "25h"}}), "spec.limits.cooldown", duration),
        (
            json!({"limits": {"replicationThrottle": "fast"}}),
            "spec.limits.replicationThrottle",
            "must be auto, none or a rate such as 50MB/s",
        ),
        (
            json!({"limits": {"replicationThrottle": "0MB/s"}}),
            "spec.limits.replicationThrottle",
            "must be auto, none or a rate such as 50MB/s",
        ),
        (window("24:00", "1h", json!([])), "spec.maintenance.windows[0].start", "must be a time of day"),
        (window("1:00", "1h", json!([])), "spec.maintenance.windows[0].start", "must be a time of day"),
        (window("01:00", "25h", json!([])), "spec.maintenance.windows[0].duration", duration),
        (window("01:00", "1s", json!([])), "spec.maintenance.windows[0].duration", duration),
        (window("01:00", "1h", json!(["Someday"])), "spec.maintenance.windows[0].days[0]", ""),
        (window("01:00", "1h", json!(["Monday", "Monday"])), "spec.maintenance.windows[0].days[1]", ""),
        (json!({"maintenance": {"brokers": [-1]}}), "spec.maintenance.brokers[0]", ""),
        (json!({"drain": {"brokers": [-1]}}), "spec.drain.brokers[0]", ""),
        (json!({"demote": {"brokers": [3, 3]}}), "spec.demote.brokers[1]", ""),
        (json!({"maintenance": {"brokers": [1, 2, 1]}}), "spec.maintenance.brokers[2]", ""),
        (json!({"maintenance": {"brokers": (0..1001).collect::<Vec<_>>()}}), "spec.maintenance.brokers", ""),
        (json!({"executor": {}}), "spec.executor", "must have exactly one of native, cruiseControl"),
        (
            json!({"executor": {"native": {}, "cruiseControl": {"url": "http://cruise-control:9090"}}}),
            "spec.executor",
            "must have exactly one of native, cruiseControl",
        ),
        (
            json!({"executor": {"cruiseControl": {"url": "cruise-control:9090"}}}),
            "spec.executor.cruiseControl.url",
            "must be a URL that starts with http:// or https://; got cruise-control:9090",
        ),
        (
            json!({"executor": {"cruiseControl": {"url": "https:///x"}}}),
            "spec.executor.cruiseControl.url",
            "must be a URL",
        ),
    ]
}
