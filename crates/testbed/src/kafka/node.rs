//! The configuration of one node: roles, listeners, properties and the files of a formatted data directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::secure::Listener;
use crate::ids::new_uuid;

/// How many nodes, the first ones, take part in the metadata quorum; all others are brokers only.
pub(crate) const MAX_CONTROLLERS: i32 = 3;

/// Loopback ports of one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// Where clients are served.
    pub client: u16,
    /// What clients are told to connect to: [`client`](Self::client), or the port of a proxy before it.
    pub advertised: u16,
    /// Where the other brokers replicate from: never through a proxy.
    pub internal: u16,
    /// The metadata quorum.
    pub controller: u16,
}

/// The `server.properties` of node `id` out of `ports.len()`; `extra` wins over everything. Each further listener has a port
/// for each node.
pub(crate) fn properties(
    id: i32,
    ports: &[Ports],
    further: &[(Listener, Vec<u16>)],
    log_dir: &Path,
    extra: &BTreeMap<String, String>,
) -> Option<String> {
    let index = usize::try_from(id - 1).ok()?;
    let own = ports.get(index)?;
    let brokers = ports.len() as i32;
    let replication = brokers.min(3).to_string();
    let voters: Vec<String> = (1..=MAX_CONTROLLERS)
        .zip(ports)
        .map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller))
        .collect();
    let mut listeners = format!("CLIENT://127.0.0.1:{},INTERNAL://127.0.0.1:{}", own.client, own.internal);
    let mut roles = "broker";
    if id <= MAX_CONTROLLERS {
        roles = "broker,controller";
        let _ = write!(listeners, ",CONTROLLER://127.0.0.1:{}", own.controller);
    }
    let mut advertised =
        format!("CLIENT://127.0.0.1:{},INTERNAL://127.0.0.1:{}", own.advertised, own.internal);
    let mut protocols = "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (listener, ports) in further {
        let address = format!(",{}://127.0.0.1:{}", listener.name(), ports.get(index)?);
        listeners.push_str(&address);
        advertised.push_str(&address);
        let _ = write!(protocols, ",{}:{}", listener.name(), listener.protocol());
    }
    let mut all: BTreeMap<&str, String> = BTreeMap::from([
        ("process.roles", roles.into()),
        ("node.id", id.to_string()),
        ("broker.rack", format!("rack-{id}")),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".into()),
        ("listeners", listeners),
        ("advertised.listeners", advertised),
        ("inter.broker.listener.name", "INTERNAL".into()),
        ("listener.security.protocol.map", protocols),
        ("log.dirs", log_dir.display().to_string()),
        ("offsets.topic.replication.factor", replication.clone()),
        ("transaction.state.log.replication.factor", replication),
        ("transaction.state.log.min.isr", brokers.min(2).to_string()),
        // Little work at the start and little memory: a whole cluster shares a small machine with the tests.
        ("offsets.topic.num.partitions", "5".into()),
        ("transaction.state.log.num.partitions", "5".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
        ("num.network.threads", "2".into()),
        ("num.io.threads", "4".into()),
        ("background.threads", "2".into()),
        // The default, 128 MB, is taken from the heap at the start.
        ("log.cleaner.dedupe.buffer.size", "4194304".into()),
    ]);
    all.extend(extra.iter().map(|(key, value)| (key.as_str(), value.clone())));
    Some(all.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={value}");
        text
    }))
}

/// The least that Kafka's `format` asks for, to format `log_dir`.
pub(crate) fn format_properties(log_dir: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9093\n\
         controller.listener.names=CONTROLLER\nlisteners=CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
         inter.broker.listener.name=CLIENT\nlistener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n",
        log_dir.display()
    )
}

/// Makes `log_dir` a formatted one of node `id`: `meta.properties` version 1 (KIP-858 gives each directory an
/// id) and the first metadata records.
pub(crate) fn format(id: i32, cluster_id: &str, log_dir: &Path, bootstrap_checkpoint: &Path) -> Result<()> {
    let context = || format!("{} cannot be formatted", log_dir.display());
    fs::create_dir_all(log_dir).with_context(context)?;
    let meta = format!("version=1\ncluster.id={cluster_id}\nnode.id={id}\ndirectory.id={}\n", new_uuid()?);
    fs::write(log_dir.join("meta.properties"), meta).with_context(context)?;
    fs::copy(bootstrap_checkpoint, log_dir.join("bootstrap.checkpoint")).with_context(context)?;
    Ok(())
}
