//! Apache Kafka from its Maven artifacts.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::node;
use crate::cache::{self, JAVA, MAVEN};
use crate::ids::new_uuid;

const DOWNLOAD_WITHIN: Duration = Duration::from_secs(15 * 60);
const FORMAT_WITHIN: Duration = Duration::from_secs(120);

/// A release of Apache Kafka that the testbed can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaVersion {
    /// 4.3.1
    #[default]
    V4_3_1,
    /// 4.1.2
    V4_1_2,
    /// 3.9.2, the last line before 4.0
    V3_9_2,
}

impl KafkaVersion {
    /// Every release, newest first.
    pub const ALL: [Self; 3] = [Self::V4_3_1, Self::V4_1_2, Self::V3_9_2];

    /// As Kafka writes it: `4.3.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4_3_1 => "4.3.1",
            Self::V4_1_2 => "4.1.2",
            Self::V3_9_2 => "3.9.2",
        }
    }
}

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KafkaVersion {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|version| version.as_str() == text) {
            Some(version) => Ok(version),
            None => bail!(
                "Kafka {text} is not one that the testbed runs: {}",
                Self::ALL.map(Self::as_str).join(", ")
            ),
        }
    }
}

/// An installed Kafka: its jars, logging configuration and a formatted, empty metadata log.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    folder: PathBuf,
    java: PathBuf,
}

impl Installation {
    /// Whether the version has been downloaded.
    pub(crate) fn is_cached(version: KafkaVersion) -> bool {
        cache::has(&part(version))
    }

    /// Downloads the version on first use.
    pub(crate) async fn of(version: KafkaVersion) -> Result<Self> {
        let java = JAVA.find()?;
        let folder = cache::ensure(&part(version), |partial| {
            let java = java.clone();
            async move {
                download(version, &partial).await?;
                Self { folder: partial, java }.format(version).await
            }
        })
        .await?;
        Ok(Self { folder, java })
    }

    /// Java with Kafka's class path and quiet logging to standard output. The caller adds memory, main class
    /// and arguments. Only the client compiler is used (`TieredStopAtLevel=1`): a short-lived JVM is ready
    /// sooner.
    pub(crate) fn java(&self) -> Command {
        let mut java = Command::new(&self.java);
        java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.folder.join("log4j2.properties").display()))
            .arg(format!("-Dlog4j.configuration=file:{}", self.folder.join("log4j.properties").display()))
            .arg("-cp")
            .arg(self.folder.join("libs").join("*"));
        java
    }

    /// The folder of the jars.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.folder.join("libs")
    }

    /// The first records of a metadata log, as Kafka's own `format` writes them; the same for every node.
    pub(crate) fn bootstrap_checkpoint(&self) -> PathBuf {
        self.folder.join("formatted").join("bootstrap.checkpoint")
    }

    /// Formatting needs a JVM of its own for one small file that depends only on the version: done once here,
    /// copied for each node.
    async fn format(&self, version: KafkaVersion) -> Result<()> {
        let formatted = self.folder.join("formatted");
        let properties = self.folder.join("format.properties");
        fs::write(&properties, node::format_properties(&formatted))
            .with_context(|| format!("{} cannot be written", properties.display()))?;
        let mut command = self.java();
        command.args(["-Xmx128m", "kafka.tools.StorageTool", "format", "--cluster-id"]).arg(new_uuid()?);
        command.arg("--config").arg(&properties);
        let log = self.folder.join("format.log");
        cache::step(&format!("Kafka {version}: format"), command, &log, FORMAT_WITHIN).await?;
        if !self.bootstrap_checkpoint().is_file() {
            bail!("Kafka {version} was formatted, but there is no {}", self.bootstrap_checkpoint().display());
        }
        Ok(())
    }
}

/// The version's name in the cache.
fn part(version: KafkaVersion) -> String {
    format!("kafka-{version}")
}

async fn download(version: KafkaVersion, folder: &Path) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    write("pom.xml", &pom(version))?;
    write("log4j2.properties", include_str!("log4j2.properties"))?;
    write("log4j.properties", include_str!("log4j.properties"))?;
    let mut maven = Command::new(MAVEN.find()?);
    maven
        .args([
            "--batch-mode",
            "--no-transfer-progress",
            "dependency:copy-dependencies",
            "-DoutputDirectory=libs",
        ])
        .current_dir(folder);
    cache::step(&format!("Kafka {version}: download"), maven, &folder.join("maven.log"), DOWNLOAD_WITHIN)
        .await
}

/// What Maven shall fetch. Kafka's own artifacts leave the logging backend to the application: from 4.0 on
/// that is log4j 2 behind slf4j 1.7; the 3.9 line brings reload4j by itself.
fn pom(version: KafkaVersion) -> String {
    let mut dependencies = vec![
        ("org.apache.kafka", "kafka_2.13", version.as_str()),
        ("org.apache.kafka", "kafka-tools", version.as_str()),
        ("org.apache.logging.log4j", "log4j-core", "2.25.2"),
    ];
    if version != KafkaVersion::V3_9_2 {
        dependencies.push(("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.2"));
    }
    let dependencies: String = dependencies
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>dev.doctorkafka</groupId>\n  \
         <artifactId>testbed-kafka</artifactId>\n  \
         <version>1</version>\n  \
         <dependencies>\n{dependencies}  </dependencies>\n\
         </project>\n"
    )
}
