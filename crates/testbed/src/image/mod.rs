//! Container images made without a container engine, the same bytes for the same input.
//!
//! An archive is an OCI image layout that also carries the index of `docker save`, as Docker itself writes since
//! version 25: `docker load`, `podman load`, `ctr images import`, `skopeo` and `kind load image-archive` take it.

mod rootfs;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ring::digest::{Context as Hasher, SHA256};
use serde_json::{Value, json};

pub use rootfs::Rootfs;

/// What an image is and runs.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its whole name, `docker.io/doctorkafka/operator:1.2.3`.
    pub reference: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Variables, `NAME=value`.
    pub environment: Vec<String>,
    /// `UID:GID`, numbers, so that a kubelet can tell that it is not root.
    pub user: String,
    /// Ports that it serves, `3000/tcp`.
    pub ports: Vec<String>,
    /// Labels (`org.opencontainers.image.…`).
    pub labels: BTreeMap<String, String>,
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The manifest's digest, `sha256:…`.
    pub digest: String,
    /// Bytes of the files in it, uncompressed.
    pub size: u64,
}

/// Writes an archive of `image` with the files of `rootfs` as its only layer.
///
/// # Errors
/// A file of `rootfs` cannot be read, or the archive cannot be written.
pub fn pack(image: &Image, rootfs: &Rootfs, archive: &Path) -> Result<Packed> {
    let context = || format!("{} cannot be written", archive.display());
    let folder = archive.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut layer = Digesting::new(tempfile::tempfile_in(folder).with_context(context)?);
    rootfs.write(&mut layer)?;
    let (mut layer, layer_digest, size) = layer.finish();

    let config = pretty(&config(image, &layer_digest));
    let config_digest = sha256(&config);
    let manifest = pretty(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config_digest, config.len() as u64),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, size)],
        "annotations": image.labels,
    }));
    let manifest_digest = sha256(&manifest);
    let mut entry =
        descriptor("application/vnd.oci.image.manifest.v1+json", &manifest_digest, manifest.len() as u64);
    entry["annotations"] = json!({
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": image.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag),
    });
    entry["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry],
    });
    let of_docker = json!([{
        "Config": blob(&config_digest), "RepoTags": [image.reference], "Layers": [blob(&layer_digest)],
    }]);

    // Under another name until it is whole.
    let partial = tempfile::Builder::new().prefix(".image-").tempfile_in(folder).with_context(context)?;
    let mut tar = tar::Builder::new(io::BufWriter::new(partial.as_file()));
    add(&mut tar, &blob(&config_digest), &config)?;
    add(&mut tar, &blob(&manifest_digest), &manifest)?;
    layer.rewind()?;
    tar.append_data(&mut rootfs::header(size, 0o644, tar::EntryType::Regular), blob(&layer_digest), layer)
        .with_context(context)?;
    add(&mut tar, "index.json", &pretty(&index))?;
    add(&mut tar, "manifest.json", &pretty(&of_docker))?;
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.into_inner().and_then(|mut file| file.flush()).with_context(context)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    partial.as_file().set_permissions(readable).with_context(context)?;
    partial.persist(archive).with_context(context)?;
    Ok(Packed { digest: manifest_digest, size })
}

/// The architecture this program was built for, as Go and so OCI call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn config(image: &Image, layer: &str) -> Value {
    let ports: BTreeMap<&str, Value> = image.ports.iter().map(|port| (port.as_str(), json!({}))).collect();
    json!({
        "architecture": architecture(),
        "os": "linux",
        // The time of making would make each image another.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": image.user,
            "Env": image.environment,
            "Entrypoint": image.entrypoint,
            "ExposedPorts": ports,
            "Labels": image.labels,
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask images" }],
    })
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// `blobs/sha256/…` of `sha256:…`.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn add(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = rootfs::header(bytes.len() as u64, 0o644, tar::EntryType::Regular);
    tar.append_data(&mut header, name, bytes).with_context(|| format!("{name} cannot be added to an image"))
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(&SHA256);
    hasher.update(bytes);
    hex(hasher)
}

fn hex(hasher: Hasher) -> String {
    let digits: String = hasher.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// A file that counts and digests what is written to it.
struct Digesting {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Digesting {
    fn new(file: File) -> Self {
        Self { file, hasher: Hasher::new(&SHA256), size: 0 }
    }

    fn finish(self) -> (File, String, u64) {
        (self.file, hex(self.hasher), self.size)
    }
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The SHA-256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// It cannot be read.
pub fn digest_of(path: &Path) -> Result<String> {
    let context = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut hasher = Hasher::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => return Ok(hex(hasher).trim_start_matches("sha256:").to_owned()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn small() -> (Image, Rootfs) {
        let image = Image {
            reference: "docker.io/doctorkafka/test:1".into(),
            entrypoint: vec!["/test".into()],
            user: "65532:65532".into(),
            ..Image::default()
        };
        let mut rootfs = Rootfs::default();
        rootfs.folder("/tmp", 0o1777, 0).file("/test", b"#!/bin/sh\n".to_vec(), 0o755).link("/other", "test");
        (image, rootfs)
    }

    fn entries(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut tar = tar::Archive::new(File::open(archive).unwrap());
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (image, rootfs) = small();
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        let packed = pack(&image, &rootfs, &one).unwrap();
        assert_eq!(pack(&image, &rootfs, &two).unwrap(), packed);
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let mut other = rootfs.clone();
        other.file("/test", b"#!/bin/sh -e\n".to_vec(), 0o755);
        assert_ne!(pack(&image, &other, &two).unwrap().digest, packed.digest);
    }

    #[test]
    fn every_blob_is_called_as_it_digests_and_is_referred_to() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        let (image, rootfs) = small();
        let packed = pack(&image, &rootfs, &archive).unwrap();
        let entries = entries(&archive);
        let mut blobs = BTreeSet::new();
        for (name, bytes) in entries.iter().filter(|(name, _)| name.starts_with("blobs/")) {
            assert_eq!(blob(&sha256(bytes)), *name);
            blobs.insert(name.clone());
        }
        let parsed = |name: &str| serde_json::from_slice::<Value>(&entries[name]).unwrap();
        let index = parsed("index.json");
        assert_eq!(index["manifests"][0]["digest"], packed.digest);
        let manifest = parsed(&blob(&packed.digest));
        let docker = parsed("manifest.json");
        let config = blob(manifest["config"]["digest"].as_str().unwrap());
        let layer = blob(manifest["layers"][0]["digest"].as_str().unwrap());
        assert_eq!(docker[0]["Config"], config);
        assert_eq!(docker[0]["Layers"][0], layer);
        assert_eq!(parsed(&config)["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(blobs, BTreeSet::from([blob(&packed.digest), config, layer]));
    }
}
