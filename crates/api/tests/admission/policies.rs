//! `KafkaHealthPolicy`.

use crate::{
    cases::{policy, right, wrong},
    verdict,
};
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
        // Folders hold what goes with a policy on one distribution or another; tested with the operator.
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        if !text.contains("kind: KafkaHealthPolicy") {
            continue;
        }
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
