//! The API server answers, knows its users, and survives being stopped, killed, paused and cut off.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use doctorkafka_testbed::{ControlPlane, wait_until};

async fn kubectl(kube: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<Output> {
    let mut kubectl = kube.kubectl();
    kubectl.env("KUBECONFIG", kubeconfig).args(arguments).arg("--request-timeout=3s");
    Ok(tokio::time::timeout(Duration::from_secs(30), kubectl.output()).await??)
}

async fn admin(kube: &ControlPlane, arguments: &[&str]) -> Result<String> {
    let output = kubectl(kube, kube.kubeconfig(), arguments).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn answers_and_keeps_its_data() -> Result<()> {
    let kube = ControlPlane::start_proxied().await?;
    assert_eq!(admin(&kube, &["get", "--raw", "/readyz"]).await?, "ok");
    assert!(admin(&kube, &["version"]).await?.contains(&format!("Server Version: v{}", kube.version())));
    let (url, pid) = (kube.url(), kube.api_server_pid());

    // RBAC is on: a stranger may do nothing until he is given a role, by name or by group
    let stranger = kube.kubeconfig_for("ann \"the\" stranger", &["strangers"])?;
    let refused = kubectl(&kube, &stranger, &["get", "configmaps"]).await?;
    let reason = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success() && reason.contains("Forbidden"), "{reason}");
    admin(&kube, &["create", "role", "reader", "--verb=list", "--resource=configmaps"]).await?;
    admin(&kube, &["create", "rolebinding", "strangers", "--role=reader", "--group=strangers"]).await?;
    wait_until("the role to be granted", Duration::from_secs(30), || async {
        kubectl(&kube, &stranger, &["get", "configmaps"]).await.is_ok_and(|output| output.status.success())
    })
    .await?;
    let who = kubectl(&kube, &stranger, &["auth", "whoami", "-o", "json"]).await?;
    assert!(String::from_utf8(who.stdout)?.contains(r#""ann \"the\" stranger""#));

    // service account tokens are issued and accepted
    admin(&kube, &["create", "serviceaccount", "doctor"]).await?;
    let token = admin(&kube, &["create", "token", "doctor"]).await?;
    let token = format!("--token={}", token.trim());
    let server = format!("--server={}", kube.url());
    let anonymous = ["--insecure-skip-tls-verify", &server, &token, "auth", "whoami"];
    let whoami = kubectl(&kube, Path::new("/dev/null"), &anonymous).await?;
    assert!(String::from_utf8(whoami.stdout)?.contains("system:serviceaccount:default:doctor"));

    // stopped, killed: the same address, the same data
    admin(&kube, &["create", "configmap", "kept"]).await?;
    kube.stop_api_server().await?;
    assert!(admin(&kube, &["get", "configmap", "kept"]).await.is_err());
    kube.stop_api_server().await.unwrap_err();
    kube.start_api_server().await?;
    kube.start_api_server().await.unwrap_err();
    assert_eq!(kube.url(), url);
    assert_ne!(kube.api_server_pid(), pid);
    admin(&kube, &["get", "configmap", "kept"]).await?;
    kube.kill_api_server().await?;
    kube.start_api_server().await?;
    admin(&kube, &["get", "configmap", "kept"]).await?;

    // paused: the port is open, nothing is answered
    kube.pause_api_server()?;
    assert!(admin(&kube, &["get", "configmap", "kept"]).await.is_err());
    kube.resume_api_server()?;
    admin(&kube, &["get", "configmap", "kept"]).await?;

    // the wire cut
    kube.proxy().cut();
    let error = admin(&kube, &["get", "configmap", "kept"]).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    kube.proxy().restore()?;
    admin(&kube, &["get", "configmap", "kept"]).await?;
    Ok(())
}
