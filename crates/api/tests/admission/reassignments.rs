//! `KafkaReassignment`.

use crate::{lay_over, verdict};
use anyhow::{Context, Result, ensure};
use doctorkafka_api::{KafkaReassignment, KafkaReassignmentSpec};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

fn reassignment(spec: &Value) -> Value {
    let mut reassignment = json!({
        "apiVersion": "doctorkafka.dev/v1alpha1",
        "kind": "KafkaReassignment",
        "metadata": {"name": "prod-3f9a1c"},
        "spec": {
            "policyRef": {"name": "prod"},
            "cause": {"broker": 7, "reason": "CpuAbove", "message": "CPU usage 91% > 80%"},
            "leadershipChanges": [{"topic": "orders", "partition": 0, "from": 7, "to": 2}],
            "estimate": {"leadershipChanges": 1},
            "digest": "3f9a1c".repeat(10) + "abcd",
        },
    });
    lay_over(&mut reassignment["spec"], spec);
    reassignment
}

fn moves(count: i32) -> Value {
    let topic = "t".repeat(249);
    let moves = (0..count).map(|partition| {
        json!({
            "topic": topic, "partition": partition, "from": [1, 2, 3], "to": [2, 3, 4], "bytes": 1_i64 << 40,
            "why": "largest replica that fits broker 4",
        })
    });
    json!({"moves": moves.collect::<Value>()})
}

pub async fn accepted_and_refused(client: &Client) -> Result<()> {
    let api: Api<DynamicObject> =
        Api::default_namespaced_with(client.clone(), &ApiResource::erase::<KafkaReassignment>(&()));
    let largest = KafkaReassignmentSpec::MAX_MOVES as i32;
    for spec in
        [json!({}), moves(1), moves(largest), json!({"throttle": 50_000_000, "rules": ["RackSpread"]})]
    {
        let verdict = verdict(&api, &reassignment(&spec)).await?;
        ensure!(verdict.is_none(), "refused: {verdict:?}");
    }
    for (spec, field, words) in [
        (moves(largest + 1), "spec.moves", "must have at most 2000 items"),
        (json!({"leadershipChanges": []}), "spec", "must have moves or leadershipChanges"),
        (
            json!({"digest": "3f9a1c"}),
            "spec.digest",
            "must be a SHA-256 in 64 hexadecimal digits; got 3f9a1c",
        ),
        (json!({"throttle": 0}), "spec.throttle", "greater than or equal to 1"),
        (json!({"cause": {"broker": -1}}), "spec.cause.broker", "greater than or equal to 0"),
        (json!({"policyRef": {"name": ""}}), "spec.policyRef.name", "at least 1 chars"),
    ] {
        let said =
            verdict(&api, &reassignment(&spec)).await?.with_context(|| format!("accepted: {field}"))?;
        ensure!(said.contains(field) && said.contains(words), "{field}: {said}");
    }
    Ok(())
}

/// Once made, a treatment stays as it is; its labels, annotations and status do not.
pub async fn immutable(client: &Client) -> Result<()> {
    let api: Api<KafkaReassignment> = Api::default_namespaced(client.clone());
    let made: KafkaReassignment = serde_json::from_value(reassignment(&moves(2)))?;
    let made = api.create(&PostParams::default(), &made).await?;
    for spec in [
        json!({"throttle": 1}),
        json!({"moves": []}),
        json!({"cause": {"message": "another"}}),
        json!({"digest": "0".repeat(64)}),
    ] {
        let patch = Patch::Merge(json!({"spec": spec}));
        let error = api.patch("prod-3f9a1c", &PatchParams::default(), &patch).await.err();
        let error = error.with_context(|| format!("{spec} is taken"))?.to_string();
        ensure!(error.contains("spec") && error.contains("is immutable"), "{spec}: {error}");
    }
    let digest = &made.spec.digest;
    let approval = Patch::Merge(json!({"metadata": {"annotations": {"doctorkafka.dev/approve": digest}}}));
    api.patch("prod-3f9a1c", &PatchParams::default(), &approval).await.context("approving")?;
    let status = Patch::Merge(json!({"status": {"phase": "Executing", "progress": {"percent": 50}}}));
    let after =
        api.patch_status("prod-3f9a1c", &PatchParams::default(), &status).await.context("its status")?;
    ensure!(after.spec == made.spec && after.status.is_some_and(|status| status.phase.is_some()));
    Ok(())
}
