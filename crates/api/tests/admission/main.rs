//! The CRDs on a real API server: what it accepts, what it refuses and in which words.
//!
//! Every example is also given to `from_yaml`, which states the same rules for policies that no API server sees.

mod approvals;
mod cases;
mod policies;
mod reassignments;

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::{ControlPlane, wait_until};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config,
    api::{DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

#[tokio::test]
async fn the_api_server_takes_the_crds_and_holds_objects_to_their_rules() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    install(&client).await?;

    policies::accepted(&client).await?;
    policies::refused(&client).await?;
    policies::defaults(&client).await?;
    policies::updates(&client).await?;
    policies::examples(&client).await?;
    policies::large_status(&client).await?;
    policies::kubectl(&plane, &client).await?;
    reassignments::accepted_and_refused(&client).await?;
    reassignments::immutable(&client).await?;
    approvals::who_may(&plane, &client).await?;
    Ok(())
}

/// Applies the files that users apply.
async fn install(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let crd: CustomResourceDefinition = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
        let name = crd.metadata.name.clone().context("a CRD has a name")?;
        api.create(&PostParams::default(), &crd)
            .await
            .with_context(|| format!("applying {}", path.display()))?;
        wait_until(&format!("{name} to be established"), Duration::from_secs(30), || async {
            let crd = api.get(&name).await.ok()?;
            let conditions = crd.status?.conditions?;
            // NonStructuralSchema and the like would show here too.
            let bad = conditions.iter().find(|c| c.type_ == "NonStructuralSchema" && c.status == "True");
            assert!(bad.is_none(), "{name}: {bad:?}");
            conditions.iter().any(|c| c.type_ == "Established" && c.status == "True").then_some(())
        })
        .await?;
    }
    Ok(())
}

/// What the API server says to an object: nothing when it takes it, else its message. Nothing is stored.
async fn verdict(api: &Api<DynamicObject>, object: &Value) -> Result<Option<String>> {
    let params = PostParams { dry_run: true, ..Default::default() };
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    match api.create(&params, &object).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message)),
        Err(error) => bail!("neither accepted nor refused: {error}"),
    }
}

/// Lays one JSON value over another (RFC 7396, except that a null is kept as a null).
fn lay_over(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (name, patch) in patch {
                lay_over(base.entry(name.clone()).or_insert(Value::Null), patch);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}
