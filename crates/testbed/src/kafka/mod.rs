//! A Kafka cluster of real brokers, each a process of its own on loopback ports.

mod broker;
mod disk;
mod group;
mod install;
mod node;
mod secure;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use tokio::process::Command;

pub use self::broker::Broker;
pub(crate) use self::install::Installation;
pub use self::install::KafkaVersion;
pub use self::secure::{Certificates, Identity, Listener, unsecured_token};

use self::broker::Launch;
use self::node::Ports;
use self::wire::Placement;
use crate::ids::new_uuid;
use crate::ports::free_port;
use crate::process::Scratch;
use crate::proxy::Proxy;
use crate::wait::wait_until;

/// How long a cluster may take from the start of its processes until it serves; it is some 10 s on an idle
/// machine.
const START_WITHIN: Duration = Duration::from_secs(180);
/// How long a new topic may take until every broker knows the leaders of all its partitions.
const TOPIC_WITHIN: Duration = Duration::from_secs(30);
const MAX_BROKERS: i32 = 30;
/// How long the making of SCRAM users may take: a Java program for each.
const USER_WITHIN: Duration = Duration::from_secs(60);

/// A running Kafka cluster in KRaft mode. The first three brokers are controllers too. Broker ids are 1 to N,
/// broker `i` is in rack `rack-i` unless [`racks`](KafkaClusterBuilder::racks) says otherwise. Dropping it ends all brokers
/// and removes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    version: KafkaVersion,
    cluster_id: String,
    installation: Installation,
    listeners: Vec<(Listener, Vec<u16>)>,
    certificates: Option<Certificates>,
    // Dropped in this order: brokers, then what stands before them, then their data.
    brokers: Vec<Broker>,
    proxies: Vec<Proxy>,
    _data: Scratch,
}

/// What cluster to start. Made by [`KafkaCluster::builder`].
#[derive(Debug, Clone)]
pub struct KafkaClusterBuilder {
    brokers: i32,
    racks: Vec<String>,
    version: KafkaVersion,
    proxied: bool,
    properties: BTreeMap<String, String>,
    jvm_args: Vec<(Option<i32>, String)>,
    disks: BTreeMap<i32, u64>,
    listeners: Vec<Listener>,
    users: Vec<(String, String)>,
}

impl KafkaClusterBuilder {
    /// How many brokers, 1 to 30; 3 if not said.
    #[must_use]
    pub fn brokers(mut self, brokers: i32) -> Self {
        self.brokers = brokers;
        self
    }

    /// The racks of the brokers, in the order of their ids; again from the first when there are more brokers than racks.
    /// Without this each broker has a rack of its own.
    #[must_use]
    pub fn racks(mut self, racks: &[&str]) -> Self {
        self.racks = racks.iter().map(|rack| (*rack).to_owned()).collect();
        self
    }

    /// Which Kafka.
    #[must_use]
    pub fn version(mut self, version: KafkaVersion) -> Self {
        self.version = version;
        self
    }

    /// Whether clients reach every broker through a [`Proxy`] of its own ([`KafkaCluster::proxy`]). The
    /// traffic between brokers never goes through it: a cut separates clients from a broker that is otherwise
    /// well.
    #[must_use]
    pub fn proxied(mut self, proxied: bool) -> Self {
        self.proxied = proxied;
        self
    }

    /// Sets a property of every broker, over whatever the testbed would set.
    #[must_use]
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// Adds an argument of the JVM of every broker, after the testbed's own ones.
    #[must_use]
    pub fn jvm_arg(mut self, argument: impl Into<String>) -> Self {
        self.jvm_args.push((None, argument.into()));
        self
    }

    /// Adds an argument of the JVM of one broker.
    #[must_use]
    pub fn jvm_arg_of(mut self, broker: i32, argument: impl Into<String>) -> Self {
        self.jvm_args.push((Some(broker), argument.into()));
        self
    }

    /// Gives one broker a disk of its own of this size, bytes. It is in memory, is seen by the broker alone (and through
    /// `/proc/<pid>/root`), and ends with its process: such a broker comes back with what it had at its first start,
    /// nothing. It takes root or user namespaces: [`has_disks`](KafkaCluster::has_disks).
    #[must_use]
    pub fn disk_of(mut self, broker: i32, bytes: u64) -> Self {
        self.disks.insert(broker, bytes);
        self
    }

    /// Adds a listener to every broker, beside the plain one. [`KafkaCluster::bootstrap_of`] tells where it is.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Makes a user known to all listeners that authenticate. Letters and digits only, in the name and the password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Starts the cluster, on first use of a version downloading it, and waits until every broker serves
    /// clients and knows all others.
    ///
    /// # Errors
    /// Java (or, the first time, Maven) is missing, the download fails, or a broker does not come up; the
    /// error then ends with the last lines of its log.
    pub async fn start(self) -> Result<KafkaCluster> {
        if !(1..=MAX_BROKERS).contains(&self.brokers) {
            bail!("a testbed has 1 to {MAX_BROKERS} brokers, not {}", self.brokers);
        }
        let installation = Installation::of(self.version).await?;
        let data = Scratch::new()?;
        let cluster_id = new_uuid()?;

        let certificates = match self.listeners.iter().any(Listener::uses_tls) {
            true => Some(Certificates::generate("testbed-ca")?),
            false => None,
        };
        let mut listeners = Vec::new();
        for listener in &self.listeners {
            let ports = (0..self.brokers).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
            listeners.push((listener.clone(), ports));
        }

        let mut ports = Vec::new();
        let mut proxies = Vec::new();
        for _ in 1..=self.brokers {
            let client = free_port()?;
            let mut advertised = client;
            if self.proxied {
                let proxy = Proxy::start(format!("127.0.0.1:{client}")).await?;
                advertised = proxy.port();
                proxies.push(proxy);
            }
            ports.push(Ports { client, advertised, internal: free_port()?, controller: free_port()? });
        }

        let mut brokers = Vec::new();
        for (id, own) in (1..=self.brokers).zip(&ports) {
            let folder = data.path().join(format!("broker-{id}"));
            let log_dir = folder.join("log");
            node::format(id, &cluster_id, &log_dir, &installation.bootstrap_checkpoint())?;
            let config = folder.join("server.properties");
            let mut extra = BTreeMap::new();
            let rack = usize::try_from(id - 1)?.checked_rem(self.racks.len());
            if let Some(rack) = rack.and_then(|index| self.racks.get(index)) {
                extra.insert("broker.rack".to_owned(), rack.clone());
            }
            for (listener, _) in &listeners {
                extra.extend(listener.properties(certificates.as_ref(), &self.users)?);
            }
            extra.extend(self.properties.clone());
            let text = node::properties(id, &ports, &listeners, &log_dir, &extra)
                .context("a broker without ports")?;
            fs::write(&config, text).with_context(|| format!("{} cannot be written", config.display()))?;
            let jvm_args = self.jvm_args.iter().filter(|(of, _)| of.is_none_or(|of| of == id));
            let launch = Launch {
                installation: installation.clone(),
                jvm_args: jvm_args.map(|(_, argument)| argument.clone()).collect(),
                config,
                disk: self.disks.get(&id).copied(),
            };
            brokers.push(Broker::new(id, own.client, folder, launch));
        }
        let version = self.version;
        let cluster = KafkaCluster {
            version,
            cluster_id,
            installation,
            listeners,
            certificates,
            brokers,
            proxies,
            _data: data,
        };
        for broker in &cluster.brokers {
            broker.spawn()?;
        }
        let all: Vec<i32> = (1..=self.brokers).collect();
        try_join_all(cluster.brokers.iter().map(|broker| broker.serves(&all, START_WITHIN))).await?;
        if self.listeners.iter().any(Listener::uses_scram) {
            for (name, password) in &self.users {
                cluster.set_scram_password(name, password).await?;
            }
        }
        Ok(cluster)
    }
}

impl KafkaCluster {
    /// Three brokers of the default version, unless changed.
    pub fn builder() -> KafkaClusterBuilder {
        KafkaClusterBuilder {
            brokers: 3,
            racks: Vec::new(),
            version: KafkaVersion::default(),
            proxied: false,
            properties: BTreeMap::new(),
            jvm_args: Vec::new(),
            disks: BTreeMap::new(),
            listeners: Vec::new(),
            users: Vec::new(),
        }
    }

    /// Whether a version has been downloaded already, so that a start takes seconds.
    pub fn is_prepared(version: KafkaVersion) -> bool {
        Installation::is_cached(version)
    }

    /// Whether this machine lets brokers have disks of their own ([`KafkaClusterBuilder::disk_of`]).
    pub async fn has_disks() -> bool {
        disk::is_possible().await
    }

    /// Downloads a version now, unless that was done before.
    ///
    /// # Errors
    /// Java or Maven is missing, or the download fails.
    pub async fn prepare(version: KafkaVersion) -> Result<()> {
        Installation::of(version).await.map(|_installation| ())
    }

    /// What to give clients as bootstrap servers: all brokers, or all proxies if there are any.
    pub fn bootstrap(&self) -> String {
        let direct = self.brokers.iter().map(Broker::address);
        let proxied = self.proxies.iter().map(Proxy::address);
        let addresses: Vec<&str> = if self.proxies.is_empty() { direct.collect() } else { proxied.collect() };
        addresses.join(",")
    }

    /// The same for a listener added by [`KafkaClusterBuilder::listener`].
    ///
    /// # Panics
    /// There is no listener of this name.
    pub fn bootstrap_of(&self, listener: &str) -> String {
        let Some((_, ports)) = self.listeners.iter().find(|(found, _)| found.name() == listener) else {
            panic!("there is no listener {listener}");
        };
        ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// What TLS listeners show, and what clients need to trust them and to be trusted.
    ///
    /// # Panics
    /// No listener uses TLS.
    pub fn certificates(&self) -> &Certificates {
        match &self.certificates {
            Some(certificates) => certificates,
            None => panic!("no listener uses TLS"),
        }
    }

    /// Makes a user for SCRAM-SHA-256 and SCRAM-SHA-512, or changes its password. Every broker knows of it moments after
    /// this returns.
    ///
    /// # Errors
    /// Kafka's tool fails, or takes more than a minute.
    pub async fn set_scram_password(&self, user: &str, password: &str) -> Result<()> {
        // Kafka changes one mechanism of a user in one request.
        let change = async |mechanism: &str| {
            let config = format!("{mechanism}=[iterations=4096,password={password}]");
            let mut tool = self.tool("kafka.admin.ConfigCommand");
            tool.args(["--bootstrap-server", &self.bootstrap(), "--alter", "--add-config", &config]);
            tool.args(["--entity-type", "users", "--entity-name", user]);
            let output = tokio::time::timeout(USER_WITHIN, tool.output()).await.with_context(|| {
                format!("SCRAM user {user} was not made within {} s", USER_WITHIN.as_secs())
            })??;
            if !output.status.success() {
                bail!("SCRAM user {user} was not made: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        };
        tokio::try_join!(change("SCRAM-SHA-256"), change("SCRAM-SHA-512")).map(|((), ())| ())
    }

    /// The cluster id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The version that runs.
    pub fn version(&self) -> KafkaVersion {
        self.version
    }

    /// All brokers, by id.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// One broker.
    ///
    /// # Panics
    /// There is no broker of this id.
    pub fn broker(&self, id: i32) -> &Broker {
        match self.find(id) {
            Ok(broker) => broker,
            Err(error) => panic!("{error}"),
        }
    }

    /// The proxy before a broker.
    ///
    /// # Panics
    /// There is no broker of this id, or the cluster was not started with
    /// [`proxied`](KafkaClusterBuilder::proxied).
    pub fn proxy(&self, id: i32) -> &Proxy {
        match usize::try_from(id - 1).ok().and_then(|index| self.proxies.get(index)) {
            Some(proxy) => proxy,
            None => panic!("there is no proxy before broker {id}: start the cluster with proxied(true)"),
        }
    }

    /// Ends a broker with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// There is no such broker, or it is not running.
    pub async fn kill(&self, id: i32) -> Result<()> {
        self.find(id)?.running()?.kill().await?;
        Ok(())
    }

    /// Ends a broker with SIGTERM: it moves its leaderships away first. Killed if it takes more than 30 s.
    ///
    /// # Errors
    /// There is no such broker, or it is not running.
    pub async fn stop(&self, id: i32) -> Result<()> {
        self.find(id)?.running()?.terminate().await?;
        Ok(())
    }

    /// Lets a broker hang (SIGSTOP): its ports still accept connections, nothing is answered.
    ///
    /// # Errors
    /// There is no such broker, or it is not running.
    pub fn pause(&self, id: i32) -> Result<()> {
        self.find(id)?.running()?.pause()
    }

    /// Lets a hanging broker go on (SIGCONT).
    ///
    /// # Errors
    /// There is no such broker, or it is not running.
    pub fn resume(&self, id: i32) -> Result<()> {
        self.find(id)?.running()?.resume()
    }

    /// Starts a broker that was stopped or killed, with its ports, data and ids, and waits until it serves
    /// and is not fenced.
    ///
    /// # Errors
    /// There is no such broker, it runs already, or does not come up.
    pub async fn start(&self, id: i32) -> Result<()> {
        let broker = self.find(id)?;
        broker.spawn()?;
        broker.serves(&[id], START_WITHIN).await
    }

    /// One of Kafka's own command-line tools by its class, for example `org.apache.kafka.tools.TopicCommand`.
    /// The caller adds the arguments (`--bootstrap-server` among them). Ends with its handle.
    pub fn tool(&self, class: &str) -> Command {
        let mut tool = self.installation.java();
        tool.arg("-Xmx128m").arg(class).kill_on_drop(true).stdin(std::process::Stdio::null());
        tool
    }

    /// Creates a topic and waits until every running broker knows a leader for each of its partitions.
    ///
    /// # Errors
    /// No broker runs, Kafka refuses, or the leaders are not there within 30 s.
    pub async fn create_topic(&self, name: &str, partitions: i32, replication_factor: i16) -> Result<()> {
        self.create(name, Placement::Anywhere(partitions, replication_factor)).await
    }

    /// As [`Self::create_topic`], with the replicas of each partition on the given brokers, the preferred leader first.
    pub async fn place_topic(&self, name: &str, brokers: &[Vec<i32>]) -> Result<()> {
        self.create(name, Placement::At(brokers)).await
    }

    async fn create(&self, name: &str, placement: Placement<'_>) -> Result<()> {
        let running: Vec<&Broker> = self.brokers.iter().filter(|broker| broker.pid().is_some()).collect();
        let Some(first) = running.first() else {
            bail!("topic {name} cannot be created: no broker runs");
        };
        wire::create_topic(first.address(), name, placement).await?;
        let wanted = placement.partitions();
        for broker in running {
            let what = format!("{wanted} leaders of topic {name} as broker {} sees it", broker.id());
            wait_until(&what, TOPIC_WITHIN, || async {
                wire::led_partitions(broker.address(), name).await.is_ok_and(|led| led == wanted)
            })
            .await?;
        }
        Ok(())
    }

    fn find(&self, id: i32) -> Result<&Broker> {
        let broker = usize::try_from(id - 1).ok().and_then(|index| self.brokers.get(index));
        broker.with_context(|| format!("there is no broker {id}: ids are 1 to {}", self.brokers.len()))
    }
}

/// The ids of the brokers that a broker at `address` (`host:port`) knows as live: registered and not fenced.
/// Only a broker that serves clients answers.
///
/// # Errors
/// It cannot be reached or does not answer within 2 s.
pub async fn live_brokers(address: &str) -> Result<Vec<i32>> {
    wire::live_brokers(address).await
}
