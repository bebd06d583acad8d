//! Who may approve a `KafkaReassignment`: the admission policies and roles of `deploy`, on the real API server.

use anyhow::{Context, Result, ensure};
use doctorkafka_api::KafkaReassignment;
use doctorkafka_testbed::{ControlPlane, wait_until};
use kube::{
    Api, Client, Config, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const APPROVE: &str = doctorkafka_api::APPROVE_ANNOTATION;
const REJECT: &str = KafkaReassignment::REJECT_ANNOTATION;
const BY: &str = KafkaReassignment::APPROVED_BY_ANNOTATION;

/// Somebody with some rights.
struct Person {
    name: String,
    treatments: Api<DynamicObject>,
}

impl Person {
    async fn new(plane: &ControlPlane, name: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig_for(name, &["system:authenticated"])?)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let resource = ApiResource::erase::<KafkaReassignment>(&());
        let treatments = Api::namespaced_with(Client::try_from(config)?, "default", &resource);
        Ok(Self { name: name.to_owned(), treatments })
    }

    /// Sets annotations: what the API server says, or the annotations as they are then.
    async fn annotate(&self, annotations: Value) -> Result<Result<Value, String>> {
        let patch = json!({"metadata": {"annotations": annotations}});
        let params = PatchParams::default();
        match self.treatments.patch("prod-1", &params, &Patch::Merge(&patch)).await {
            Ok(object) => Ok(Ok(json!(object.meta().annotations))),
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => Ok(Err(status.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Tries to approve in the own name and, where that is needed, says it.
    async fn approve(&self) -> Result<Result<Value, String>> {
        self.annotate(json!({APPROVE: "0".repeat(64), BY: self.name})).await
    }
}

pub async fn who_may(plane: &ControlPlane, client: &Client) -> Result<()> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    apply(plane, &deploy.join("rbac")).await?;
    apply(plane, &deploy.join("admission/10-approval.yaml")).await?;
    let operator = "system:serviceaccount:doctorkafka:doctorkafka-operator";
    bind(plane, "doctorkafka-viewer", "vera").await?;
    bind(plane, "doctorkafka-editor", "edda").await?;
    bind(plane, "doctorkafka-approver", "ann").await?;
    // Even if somebody lets the operator and an editor change these objects, that is not the right to approve them.
    let writer =
        ["create", "clusterrole", "writer", "--verb=update,patch,create", "--resource=kafkareassignments"];
    kubectl(plane, &writer).await?;
    bind(plane, "writer", operator).await?;
    bind(plane, "writer", "edda").await?;
    let [vera, edda, ann, operator] = [
        Person::new(plane, "vera").await?,
        Person::new(plane, "edda").await?,
        Person::new(plane, "ann").await?,
        Person::new(plane, operator).await?,
    ];

    let resource = ApiResource::erase::<KafkaReassignment>(&());
    let treatments: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    operator.treatments.create(&PostParams::default(), &treatment("prod-1", json!({}))?).await?;
    let attempts = AtomicU32::new(0);
    // The policy is in force some moments after it was stored.
    wait_until("the admission policy to be in force", Duration::from_secs(60), || async {
        // Each try is a change, until one is refused.
        let attempt = attempts.fetch_add(1, Ordering::Relaxed).to_string();
        matches!(edda.annotate(json!({BY: attempt})).await, Ok(Err(_))).then_some(())
    })
    .await?;

    for (person, words) in [
        (&vera, "vera"),
        (
            &edda,
            "edda may not decide about treatments: it takes the verb update on kafkareassignments/approval",
        ),
        (&operator, "doctorkafka-operator may not decide about treatments"),
    ] {
        let said = person.approve().await?;
        ensure!(said.as_ref().is_err_and(|error| error.contains(words)), "{}: {said:?}", person.name);
    }
    // What has nothing to do with approval is nobody's business here.
    ensure!(edda.annotate(json!({"note": "seen"})).await?.is_ok());
    // Born approved.
    let born = treatment("prod-2", json!({APPROVE: "0".repeat(64), BY: operator.name}))?;
    let created = operator.treatments.create(&PostParams::default(), &born).await;
    ensure!(matches!(&created, Err(kube::Error::Api(status)) if status.code == 403), "{created:?}");

    // Who may, may in the own name only.
    let said = ann.annotate(json!({APPROVE: "0".repeat(64), BY: "edda"})).await?;
    ensure!(said.as_ref().is_err_and(|error| error.contains("approved-by=ann")), "{said:?}");
    let said = ann.annotate(json!({APPROVE: "0".repeat(64)})).await?;
    ensure!(said.as_ref().is_err_and(|error| error.contains("approved-by=ann")), "{said:?}");
    ensure!(ann.approve().await?.is_ok());
    // An approval stays what it is, in whole and in part.
    for undone in [json!({APPROVE: null, BY: null}), json!({BY: "edda"}), json!({REJECT: "0".repeat(64)})] {
        let said = edda.annotate(undone).await?;
        ensure!(said.as_ref().is_err_and(|error| error.contains("may not decide")), "{said:?}");
    }
    ensure!(edda.annotate(json!({"note": "seen again"})).await?.is_ok());
    ensure!(ann.annotate(json!({APPROVE: null, BY: null})).await?.is_ok());

    // With the other policy the API server writes the name, whatever was written there.
    apply(plane, &deploy.join("admission/20-approved-by.yaml")).await?;
    wait_until("the name to be written", Duration::from_secs(60), || async {
        let said = ann.annotate(json!({APPROVE: "1".repeat(64)})).await;
        let named = matches!(&said, Ok(Ok(annotations)) if annotations[BY] == "ann");
        if !named {
            ann.annotate(json!({APPROVE: null, BY: null})).await.ok()?.ok()?;
        }
        named.then_some(())
    })
    .await?;
    let said = ann.annotate(json!({REJECT: "0".repeat(64), BY: "edda"})).await?;
    ensure!(said.as_ref().is_ok_and(|annotations| annotations[BY] == "ann"), "{said:?}");
    let said = edda.annotate(json!({APPROVE: "2".repeat(64)})).await?;
    ensure!(said.as_ref().is_err_and(|error| error.contains("edda may not decide")), "{said:?}");

    treatments.delete("prod-1", &DeleteParams::default()).await?;
    Ok(())
}

fn treatment(name: &str, annotations: Value) -> Result<DynamicObject> {
    let object = json!({
        "apiVersion": "doctorkafka.dev/v1alpha1",
        "kind": "KafkaReassignment",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "policyRef": {"name": "prod"},
            "cause": {"broker": 7, "reason": "CpuAbove", "message": "CPU usage 91% > 80%"},
            "leadershipChanges": [{"topic": "orders", "partition": 0, "from": 7, "to": 2}],
            "estimate": {"leadershipChanges": 1},
            "digest": "0".repeat(64),
        },
    });
    Ok(serde_json::from_value(object)?)
}

async fn bind(plane: &ControlPlane, role: &str, user: &str) -> Result<()> {
    let name = format!("{role}-{}", user.replace(':', "-"));
    let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
    kubectl(plane, &["create", "clusterrolebinding", &name, &role, &user]).await
}

async fn apply(plane: &ControlPlane, path: &Path) -> Result<()> {
    let path = path.to_str().context("a path of text")?;
    kubectl(plane, &["apply", "--server-side", "-f", path]).await
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> Result<()> {
    let output = plane.kubectl().args(arguments).output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {arguments:?}: {error}");
    Ok(())
}
