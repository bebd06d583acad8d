//! The process that a testbed belongs to.

use std::fmt::Write as _;
use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use doctorkafka_testbed::{ControlPlane, KafkaCluster};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Up;
use super::state::{Claim, Kubernetes, Record};

/// Everything that runs; dropping it ends it.
struct Running {
    kafka: KafkaCluster,
    kubernetes: Option<ControlPlane>,
}

/// Starts a testbed and holds it until Ctrl-C or `down`.
pub async fn foreground(up: &Up) -> Result<()> {
    hold(up, std::future::pending(), |lines, claim| {
        print!("{lines}");
        eprintln!("testbed {}: ready; Ctrl-C ends it", claim.name);
        Ok(())
    })
    .await
}

/// The same in a session of its own, away from the terminal it was started on.
pub async fn detached(up: &Up) -> Result<()> {
    rustix::process::setsid().context("no session of its own can be started")?;
    // While it starts, its starter holds the other end of standard input: the end of that is a Ctrl-C.
    let (gave_up, given_up) = oneshot::channel();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        gave_up.send(()).ok();
    });
    let given_up = async {
        given_up.await.ok();
    };
    hold(up, given_up, |lines, claim| {
        eprintln!("testbed {0}: ready; `cargo xtask testbed down --name {0}` ends it", claim.name);
        print!("{lines}");
        std::io::Write::flush(&mut std::io::stdout()).ok();
        // From here on nobody listens. Closing standard output tells the starter that all is said.
        let log = File::create(claim.log())
            .with_context(|| format!("{} cannot be written", claim.log().display()))?;
        rustix::stdio::dup2_stderr(&log).context("standard error cannot be redirected")?;
        rustix::stdio::dup2_stdout(&log).context("standard output cannot be redirected")
    })
    .await
}

/// Starts, says so, holds, ends. `given_up` counts only until the testbed is ready.
async fn hold(
    up: &Up,
    given_up: impl Future<Output = ()>,
    ready: impl FnOnce(&str, &Claim) -> Result<()>,
) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let asked_to_end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    tokio::pin!(asked_to_end);

    let mut record = Record {
        pid: i32::try_from(std::process::id()).context("a process id")?,
        started: SystemTime::now(),
        kafka: up.kafka.to_string(),
        bootstrap: String::new(),
        kubernetes: None,
    };
    let mut claim = Claim::new(up.name.as_ref(), &record)?;
    let running = tokio::select! {
        started = start(up) => started?,
        () = given_up => bail!("given up while starting; all of it has ended"),
        () = &mut asked_to_end => bail!("ended while starting; nothing is left"),
    };
    record.bootstrap = running.kafka.bootstrap();
    record.kubernetes = running.kubernetes.as_ref().map(|kubernetes| Kubernetes {
        version: kubernetes.version().to_owned(),
        kubeconfig: kubernetes.kubeconfig().to_path_buf(),
        kubectl: PathBuf::from(kubernetes.kubectl().as_std().get_program()),
    });
    claim.write(&record)?;
    ready(&lines(&claim, &record), &claim)?;
    asked_to_end.await;
    drop(running); // before the claim: who sees the mark gone may rely on everything being gone
    Ok(())
}

async fn start(up: &Up) -> Result<Running> {
    let begun = Instant::now();
    eprintln!("testbed: starting {} of Kafka {} ...", plural(up.brokers, "broker"), up.kafka);
    let kafka = async {
        let kafka = KafkaCluster::builder().brokers(up.brokers).version(up.kafka).start().await;
        let kafka = kafka.context("Kafka did not start")?;
        eprintln!("testbed: {} serving after {} s", plural(up.brokers, "broker"), begun.elapsed().as_secs());
        anyhow::Ok(kafka)
    };
    let kubernetes = async {
        if !up.kubernetes {
            return Ok(None);
        }
        eprintln!("testbed: starting etcd and kube-apiserver ...");
        let kubernetes = ControlPlane::start().await.context("Kubernetes did not start")?;
        eprintln!("testbed: the API server is ready after {} s", begun.elapsed().as_secs());
        Ok(Some(kubernetes))
    };
    let (kafka, kubernetes) = tokio::try_join!(kafka, kubernetes)?;
    Ok(Running { kafka, kubernetes })
}

fn plural(count: i32, thing: &str) -> String {
    if count == 1 { format!("{count} {thing}") } else { format!("{count} {thing}s") }
}

/// What a shell evaluates.
fn lines(claim: &Claim, record: &Record) -> String {
    let mut lines = format!("TESTBED={}\nKAFKA_BROKERS={}\n", claim.name, quoted(&record.bootstrap));
    if let Some(kubernetes) = &record.kubernetes {
        let _ = writeln!(lines, "KUBECONFIG={}", quoted(&kubernetes.kubeconfig.to_string_lossy()));
    }
    lines
}

/// A word of a shell, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:,".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell() {
        for text in ["127.0.0.1:1,127.0.0.1:2", "/tmp/a b/it's $HOME", ""] {
            let script = format!("printf %s {}", quoted(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
