//! `KafkaHealthPolicy`.

use crate::{lay_over, verdict};
use anyhow::{Context, Result, ensure};
use doctorkafka_api::{
    BrokerStatus, KafkaHealthPolicy, KafkaHealthPolicySpec, KafkaHealthPolicyStatus, from_yaml,
};
use doctorkafka_testbed::ControlPlane;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective},
    core::object::HasSpec,
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

fn untyped(client: &Client) -> Api<DynamicObject> {
    Api::default_namespaced_with(client.clone(), &ApiResource::erase::<KafkaHealthPolicy>(&()))
}

/// A policy that says the least, with something laid over its spec.
fn policy(name: &str, spec: &Value) -> Value {
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

fn oauth(uri: &str) -> Value {
    json!({"clientId": "doctor", "clientSecret": {"secretName": "doctor", "key": "secret"}, "tokenEndpointUri": uri})
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
fn right() -> Vec<Value> {
    vec![
        json!({}),
        bootstrap("localhost:9092"),
        bootstrap("a:1,b.c-d_e.svc:65535, 10.0.0.1:9092"),
        bootstrap("[::1]:9092"),
        authentication(json!({"scramSha512": password()})),
        authentication(json!({"scramSha256": password()})),
        authentication(json!({"plain": password()})),
        authentication(json!({"tls": certificate()})),
        authentication(json!({"oauthbearer": oauth("https://sso/token")})),
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
        json!({"maintenance": {"brokers": (0..1000).collect::<Vec<_>>()}}),
        json!({"executor": {"native": {}}}),
        json!({"executor": {"cruiseControl": {"url": "http://cruise-control:9090"}}}),
    ]
}

/// Specs that are wrong, the field that both the API server and `from_yaml` must name, and words that both must say
/// ("" where types and schema, each in its own words, stop it before any rule).
fn wrong() -> Vec<(Value, &'static str, &'static str)> {
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
            authentication(json!({"tls": certificate(), "oauthbearer": oauth("https://sso")})),
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
            authentication(json!({"oauthbearer": oauth("ftp://sso")})),
            "spec.kafka.authentication.oauthbearer.tokenEndpointUri",
            "must be a URL that starts with http:// or https://; got ftp://sso",
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
            "must be auto or a rate such as 50MB/s",
        ),
        (
            json!({"limits": {"replicationThrottle": "0MB/s"}}),
            "spec.limits.replicationThrottle",
            "must be auto or a rate such as 50MB/s",
        ),
        (window("24:00", "1h", json!([])), "spec.maintenance.windows[0].start", "must be a time of day"),
        (window("1:00", "1h", json!([])), "spec.maintenance.windows[0].start", "must be a time of day"),
        (window("01:00", "25h", json!([])), "spec.maintenance.windows[0].duration", duration),
        (window("01:00", "1s", json!([])), "spec.maintenance.windows[0].duration", duration),
        (window("01:00", "1h", json!(["Someday"])), "spec.maintenance.windows[0].days[0]", ""),
        (window("01:00", "1h", json!(["Monday", "Monday"])), "spec.maintenance.windows[0].days[1]", ""),
        (json!({"maintenance": {"brokers": [-1]}}), "spec.maintenance.brokers[0]", ""),
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

pub async fn accepted(client: &Client) -> Result<()> {
    let api = untyped(client);
    for spec in right() {
        let policy = policy("right", &spec);
        let verdict = verdict(&api, &policy).await.with_context(|| spec.to_string())?;
        ensure!(verdict.is_none(), "{spec}: the API server refuses it: {verdict:?}");
        from_yaml(&policy.to_string()).with_context(|| format!("{spec}: from_yaml refuses it"))?;
    }
    Ok(())
}

pub async fn refused(client: &Client) -> Result<()> {
    let api = untyped(client);
    for (spec, field, words) in wrong() {
        let policy = policy("wrong", &spec);
        let server = verdict(&api, &policy).await.with_context(|| spec.to_string())?;
        let server = server.with_context(|| format!("{spec}: the API server accepts it"))?;
        let file =
            from_yaml(&policy.to_string()).err().with_context(|| format!("{spec}: from_yaml accepts it"))?;
        for (who, said) in [("API server", server), ("from_yaml", file.to_string())] {
            ensure!(said.contains(field) && said.contains(words), "{spec}: the {who} says only: {said}");
        }
    }
    Ok(())
}

/// The API server fills in the same defaults as the types do.
pub async fn defaults(client: &Client) -> Result<()> {
    let api: Api<KafkaHealthPolicy> = Api::default_namespaced(client.clone());
    let raw = untyped(client);
    for (n, spec) in right().iter().enumerate() {
        let name = format!("defaults-{n}");
        let given = policy(&name, spec);
        raw.create(&PostParams::default(), &serde_json::from_value(given.clone())?).await?;
        let stored = api.get(&name).await?;
        let read = from_yaml(&given.to_string())?;
        ensure!(stored.spec() == read.spec(), "{spec}: {:?} is not {:?}", stored.spec(), read.spec());
        if *spec == json!({}) {
            let stored = raw.get(&name).await?.data["spec"].clone();
            let expected = serde_json::to_value(KafkaHealthPolicySpec::new("kafka:9092"))?;
            ensure!(stored == expected, "{stored} is not {expected}");
        }
        raw.delete(&name, &Default::default()).await?;
    }
    Ok(())
}

/// An update that breaks a rule is refused, and what was there stays; the next one that does not is taken.
pub async fn updates(client: &Client) -> Result<()> {
    let api: Api<KafkaHealthPolicy> = Api::default_namespaced(client.clone());
    let before = KafkaHealthPolicy::new("edited", KafkaHealthPolicySpec::new("kafka:9092"));
    let before = api.create(&PostParams::default(), &before).await?;
    let raw = untyped(client);
    for (spec, field, words) in wrong() {
        let mut edited = policy("edited", &spec);
        edited["metadata"]["resourceVersion"] = before.metadata.resource_version.clone().into();
        let edited: DynamicObject = serde_json::from_value(edited)?;
        let error = raw.replace("edited", &PostParams::default(), &edited).await.err();
        let error = error.with_context(|| format!("{spec}: the update is taken"))?.to_string();
        ensure!(error.contains(field) && error.contains(words), "{spec}: {error}");
    }
    let after = api.get("edited").await?;
    ensure!(after.spec == before.spec && after.metadata.resource_version == before.metadata.resource_version);
    let patch =
        Patch::Merge(json!({"spec": {"detection": {"cpu": {"overloadedAbove": 90, "recoveredBelow": 85}}}}));
    let after = api.patch("edited", &PatchParams::default(), &patch).await?;
    ensure!(after.spec.detection.cpu.recovered_below.get() == 85 && after.metadata.generation == Some(2));

    // kubectl asks for this: a misspelled field is refused with its path.
    let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..Default::default() };
    let patch = Patch::Merge(json!({"spec": {"detection": {"cpu": {"recoverBelow": 70}}}}));
    let error =
        api.patch("edited", &params, &patch).await.err().context("a misspelled field is taken")?.to_string();
    ensure!(error.contains("spec.detection.cpu.recoverBelow"), "{error}");
    api.delete("edited", &Default::default()).await?;
    Ok(())
}

/// What we hand out as examples works, on the API server and from a file.
pub async fn examples(client: &Client) -> Result<()> {
    let api = untyped(client);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let mut examples = 0;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let mut example: Value = serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        from_yaml(&text).with_context(|| path.display().to_string())?;
        // The namespace of the example is the user's to make.
        example["metadata"]["namespace"] = "default".into();
        let params = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::apply("example")
        };
        let name = example["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        api.patch(&name, &params, &Patch::Apply(example))
            .await
            .with_context(|| path.display().to_string())?;
        examples += 1;
    }
    ensure!(examples >= 3, "only {examples} examples");
    Ok(())
}

/// A status of a thousand brokers, each as bad as can be, is stored, and written again while the old one is there.
pub async fn large_status(client: &Client) -> Result<()> {
    let api: Api<KafkaHealthPolicy> = Api::default_namespaced(client.clone());
    let policy = KafkaHealthPolicy::new("large", KafkaHealthPolicySpec::new("kafka:9092"));
    api.create(&PostParams::default(), &policy).await?;
    for round in 0..2 {
        let brokers: Vec<BrokerStatus> = (0..1_000)
            .map(|id| {
                let text = "quoted \" and long ".repeat(100);
                serde_json::from_value(json!({
                    "id": id, "host": "h".repeat(253), "rack": "r".repeat(253), "pod": "p".repeat(253), "state": "Unhealthy",
                    "reason": "HeartbeatLost", "message": text, "next": text, "cpuPercent": round, "networkIn": 1_i64 << 40,
                    "evidence": {"figures": [1, 2.5, null, {"nested": true}], "text": text},
                }))
            })
            .collect::<Result<_, _>>()?;
        let status = KafkaHealthPolicyStatus { brokers, ..Default::default() }.bounded();
        let patch =
            json!({"apiVersion": "doctorkafka.dev/v1alpha1", "kind": "KafkaHealthPolicy", "status": status});
        let params = PatchParams::apply("doctorkafka").force();
        let stored = api
            .patch_status("large", &params, &Patch::Apply(patch))
            .await
            .context("writing a large status")?;
        ensure!(stored.status.as_ref() == Some(&status), "what is stored is not what was written");
    }
    api.delete("large", &Default::default()).await?;
    Ok(())
}

/// What users see.
pub async fn kubectl(plane: &ControlPlane, client: &Client) -> Result<()> {
    let api: Api<KafkaHealthPolicy> = Api::default_namespaced(client.clone());
    let policy = KafkaHealthPolicy::new("seen", KafkaHealthPolicySpec::new("kafka:9092"));
    api.create(&PostParams::default(), &policy).await?;
    let status: KafkaHealthPolicyStatus = serde_json::from_value(json!({
        "mode": "Recommend",
        "summary": {"brokers": 9, "healthy": 7, "overloaded": 1, "unhealthy": 1},
    }))?;
    api.patch_status("seen", &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    for short in ["kafkahealth", "khp", "kafkahealthpolicies", "kafkahealthpolicy"] {
        let table = run(plane, &["get", short]).await?;
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        ensure!(
            lines.first().is_some_and(|line| *line
                == ["NAME", "BROKERS", "HEALTHY", "OVERLOADED", "UNHEALTHY", "MODE", "ACTING", "AGE"]),
            "{table}"
        );
        ensure!(
            lines.get(1).is_some_and(|line| line[..6] == ["seen", "9", "7", "1", "1", "Recommend"]),
            "{table}"
        );
    }
    for (field, words) in [
        ("kafkahealthpolicy.spec", "How far the doctor may go by itself"),
        ("kafkahealthpolicy.spec.detection.cpu", "Overloaded when use stays above this"),
        ("kafkahealthpolicy.status.brokers", "Why, in one word such as HeartbeatLost"),
        ("kreassign.spec.moves", "Bytes that are copied for it"),
    ] {
        let explained = run(plane, &["explain", field]).await?;
        ensure!(
            explained.split_whitespace().collect::<Vec<_>>().join(" ").contains(words),
            "{field}: {explained}"
        );
    }
    ensure!(
        api.list(&ListParams::default()).await?.items.len() == 1,
        "something was left behind by the other checks"
    );
    api.delete("seen", &Default::default()).await?;
    Ok(())
}

async fn run(plane: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let output =
        tokio::time::timeout(Duration::from_secs(60), plane.kubectl().args(arguments).output()).await??;
    ensure!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
