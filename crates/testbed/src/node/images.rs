//! The images of a node that no registry is asked for: the one that holds a pod's namespaces, and Kafka.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::files::PAUSE_IMAGE;
use crate::cache::{self, Tool};
use crate::image::{Image, Rootfs, pack};
use crate::kafka::{self, KafkaVersion};
use crate::process::find_program;

/// The name of Kafka's image: that of the project's own, so that examples run as they are printed.
pub const KAFKA_IMAGE: &str = "docker.io/apache/kafka:4.3.1";
/// Changes when the image does, because images are made once.
const KAFKA_EDITION: u32 = 3;
/// The same of the one for users.
const USERS_EDITION: u32 = 1;
const KAFKA: KafkaVersion = KafkaVersion::V4_3_1;

const COMPILE_WITHIN: Duration = Duration::from_secs(60);
const LINK_WITHIN: Duration = Duration::from_secs(300);

/// What Kafka's brokers and tools use of Java. Its logging needs java.desktop, for JavaBeans.
const MODULES: &str = "java.base,java.desktop,java.logging,java.management,java.naming,java.security.jgss,\
    java.security.sasl,java.sql,java.xml,jdk.crypto.ec,jdk.management,jdk.unsupported";

/// What a start script, `kubectl exec` and a test that gives a container work use of a Unix.
const TOOLS: [&str; 21] = [
    "bash", "cat", "chmod", "cp", "date", "dd", "df", "env", "grep", "head", "id", "kill", "ls", "mkdir",
    "ps", "rm", "sed", "sh", "sleep", "timeout", "tr",
];

const JLINK: Tool = Tool {
    program: "jlink",
    purpose: "make the Java runtime of the Kafka image, once",
    install: "apt-get install openjdk-17-jdk-headless, or any JDK 17 or newer",
};

pub(crate) fn pause_part() -> String {
    "pause-1".to_owned()
}

/// The archive of the image that holds a pod's namespaces.
pub(crate) async fn pause() -> Result<PathBuf> {
    let folder = cache::ensure(&pause_part(), |partial| async move {
        let (source, program) = (partial.join("pause.c"), partial.join("pause"));
        std::fs::write(&source, include_str!("pause.c"))
            .with_context(|| format!("{} cannot be written", source.display()))?;
        let mut compile = Command::new("cc");
        compile.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Os", "-static", "-s", "-o"]);
        compile.arg(&program).arg(&source);
        cache::step("pause: build", compile, &partial.join("pause.log"), COMPILE_WITHIN).await?;
        let mut rootfs = Rootfs::default();
        rootfs.copy("/pause", &program, 0o755);
        let image = Image {
            reference: PAUSE_IMAGE.to_owned(),
            entrypoint: vec!["/pause".to_owned()],
            user: "65535:65535".to_owned(),
            ..Image::default()
        };
        pack(&image, &rootfs, &partial.join("pause.tar")).map(|_packed| ())
    })
    .await?;
    Ok(folder.join("pause.tar"))
}

/// The archive of [`KAFKA_IMAGE`] for pods, made on first use from Kafka's artifacts and this machine's Java. It takes
/// the variables of the project's own image, runs as user 1001 as Strimzi's does, and has a few tools of Unix.
///
/// # Errors
/// Java with `jlink` or a tool is missing, or Kafka cannot be downloaded.
pub async fn kafka_image() -> Result<PathBuf> {
    let folder = cache::ensure(&kafka_part(), |partial| async move {
        let runtime = partial.join("java");
        let mut link = Command::new(JLINK.find()?);
        link.args([
            "--add-modules",
            MODULES,
            "--strip-debug",
            "--no-man-pages",
            "--no-header-files",
            "--output",
        ]);
        link.arg(&runtime);
        cache::step("Kafka image: Java runtime", link, &partial.join("jlink.log"), LINK_WITHIN).await?;
        pack_kafka(Flavour::Pods, runtime, partial).await
    })
    .await?;
    Ok(folder.join("kafka.tar"))
}

/// The same as people use it in containers, as far as `docker-compose.yml` does: as user 1000, a command takes the
/// broker's place, and `/opt/kafka/bin` has tools of Kafka.
///
/// # Errors
/// Those of [`kafka_image`].
pub async fn kafka_image_of_users() -> Result<PathBuf> {
    let runtime = kafka_image().await?.with_file_name("java");
    let part = format!("{}-users-{USERS_EDITION}", kafka_part());
    let folder =
        cache::ensure(&part, |partial| async move { pack_kafka(Flavour::Users, runtime, partial).await })
            .await?;
    Ok(folder.join("kafka.tar"))
}

fn kafka_part() -> String {
    format!("kafka-image-{KAFKA}-{KAFKA_EDITION}")
}

/// Whom an image of Kafka is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Pods,
    Users,
}

impl Flavour {
    fn user(self) -> u32 {
        match self {
            Self::Pods => 1001,
            Self::Users => 1000,
        }
    }
}

/// Tools of Kafka's `bin` folder and their classes.
const KAFKA_TOOLS: [(&str, &str); 2] = [
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-producer-perf-test.sh", "org.apache.kafka.tools.ProducerPerformance"),
];

async fn pack_kafka(flavour: Flavour, runtime: PathBuf, folder: PathBuf) -> Result<()> {
    let kafka = kafka::Installation::of(KAFKA).await?;
    // Thousands of small files are quicker off the processor that answers everybody else.
    tokio::task::spawn_blocking(move || pack_files(flavour, &kafka.libraries(), &runtime, &folder))
        .await
        .context("the task that packs the Kafka image ended")?
}

fn pack_files(flavour: Flavour, libraries: &Path, runtime: &Path, folder: &Path) -> Result<()> {
    let user = flavour.user();
    let mut rootfs = Rootfs::default();
    rootfs.copy_all("/opt/java", runtime)?.copy_all("/opt/kafka/libs", libraries)?;
    // Java loads most of its own libraries by name: ask each what it needs. Some are for machines with a screen.
    for library in shared_objects(&runtime.join("lib"))? {
        rootfs.libraries(&library).ok();
    }
    rootfs.libraries(&runtime.join("bin/java"))?;
    // Compression libraries inside Kafka's jars were linked with older C libraries, which had more parts.
    let c_library = rootfs.copies().find(|path| path.ends_with("libc.so.6")).and_then(|path| path.parent());
    let c_library = c_library.context("Java is not linked with the GNU C library")?.to_path_buf();
    for part in ["libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6"] {
        let library = c_library.join(part);
        rootfs.copy(&library.display().to_string(), &library, 0o755);
    }
    for tool in TOOLS {
        let path = find_program(&tool.into()).with_context(|| format!("there is no program {tool}"))?;
        rootfs.program(&format!("/bin/{tool}"), &path)?;
    }
    rootfs
        .file("/etc/kafka/docker/run", include_str!("kafka.sh").into(), 0o755)
        .file("/opt/kafka/config/log4j2.properties", include_str!("../kafka/log4j2.properties").into(), 0o644)
        .file(
            "/etc/passwd",
            format!("root:x:0:0:root:/root:/bin/sh\nkafka:x:{user}:{user}:kafka:/:/bin/sh\n").into_bytes(),
            0o644,
        )
        .file("/etc/group", format!("root:x:0:\nkafka:x:{user}:\n").into_bytes(), 0o644)
        .file("/etc/nsswitch.conf", b"hosts: files dns\n".to_vec(), 0o644)
        .folder("/tmp", 0o1777, 0)
        .folder("/var/lib/kafka/data", 0o755, u64::from(user));
    let mut entrypoint = "/etc/kafka/docker/run";
    if flavour == Flavour::Users {
        entrypoint = "/entrypoint.sh";
        rootfs.file(entrypoint, include_str!("entrypoint.sh").into(), 0o755);
        for (tool, class) in KAFKA_TOOLS {
            // Expanded by the shell that runs the tool: options may be several words.
            let options = "${KAFKA_HEAP_OPTS:--Xmx256m}";
            let script = format!("#!/bin/sh\nexec java {options} -cp '/opt/kafka/libs/*' {class} \"$@\"\n");
            rootfs.file(&format!("/opt/kafka/bin/{tool}"), script.into_bytes(), 0o755);
        }
    }
    let image = Image {
        reference: KAFKA_IMAGE.to_owned(),
        entrypoint: vec![entrypoint.to_owned()],
        environment: vec!["PATH=/opt/java/bin:/bin".to_owned()],
        user: format!("{user}:{user}"),
        ports: vec!["9092/tcp".to_owned()],
        ..Image::default()
    };
    pack(&image, &rootfs, &folder.join("kafka.tar")).map(|_packed| ())
}

fn shared_objects(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("{} cannot be read", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            found.extend(shared_objects(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "so") {
            found.push(path);
        }
    }
    Ok(found)
}
