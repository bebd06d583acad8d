//! What stands in for Kafka UI, which is published nowhere but as an image that is pulled.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use doctorkafka_testbed::find_program;
use doctorkafka_testbed::image::{Image, Rootfs, pack};

/// Its name in `docker-compose.yml`.
const REFERENCE: &str = "ghcr.io/kafbat/kafka-ui:v1.3.0";
const PAGE: &str =
    "A stand-in: the image of Kafka UI was not pulled. Port and health check are all that it has.\n";

/// Makes an image of its name that serves a page on 8080, and one where Kafka UI tells of its health; its archive.
///
/// # Errors
/// busybox is missing, or `folder` cannot be written.
pub fn kafka_ui(folder: &Path) -> Result<PathBuf> {
    let busybox = find_program(&"busybox".into()).context("busybox is missing")?;
    let mut rootfs = Rootfs::default();
    rootfs.program("/bin/busybox", &busybox)?;
    rootfs
        .link("/bin/wget", "busybox")
        .file("/pages/index.html", PAGE.into(), 0o644)
        .file("/pages/actuator/health", br#"{"status":"UP"}"#.to_vec(), 0o644)
        .folder("/tmp", 0o1777, 0);
    let image = Image {
        reference: REFERENCE.to_owned(),
        entrypoint: ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/pages"].map(str::to_owned).to_vec(),
        environment: vec!["PATH=/bin".to_owned()],
        user: "65534:65534".to_owned(),
        ports: vec!["8080/tcp".to_owned()],
        ..Image::default()
    };
    let archive = folder.join("kafka-ui.tar");
    pack(&image, &rootfs, &archive)?;
    Ok(archive)
}
