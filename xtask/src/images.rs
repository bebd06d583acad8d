//! `cargo xtask images`: the images of operator and sidecar, with Docker or Podman or without either.
//!
//! Without an engine the same files come together from this machine: the program, the shared libraries that it is
//! linked with, certificates of authorities, and a user who is not root. The same input gives the same digest.

mod sbom;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use doctorkafka_testbed::find_program;
use doctorkafka_testbed::image::{Image, Rootfs, pack};
use serde_json::Value;

use crate::steps::{cargo, root, succeed};

/// The version of operator, sidecar and of this program: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The user of distroless' nonroot images.
const NONROOT: u32 = 65_532;

/// Arguments of `cargo xtask images`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where to write the archives and their bills of materials
    #[arg(long, value_name = "DIR", default_value = "target/images")]
    out: PathBuf,
    /// Pack them here, whether or not Docker or Podman runs
    #[arg(long)]
    pack: bool,
    /// Pack the programs as cargo built them last, without building them anew
    #[arg(long)]
    no_build: bool,
}

/// Whether cargo is asked to build the programs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// It is.
    Built,
    /// They are taken as it built them last.
    Found,
}

impl Programs {
    /// From `--no-build`.
    pub fn from_flag(no_build: bool) -> Self {
        if no_build { Self::Found } else { Self::Built }
    }
}

/// A program that has an image.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The image's name, and that of its Dockerfile.
    pub name: &'static str,
    /// The program's, and its package's.
    pub binary: &'static str,
    ports: &'static [&'static str],
}

/// Both programs.
pub const PROGRAMS: [Program; 2] = [
    Program {
        name: "operator",
        binary: "doctorkafka-operator",
        ports: &["3000/tcp", "3001/tcp", "9443/tcp"],
    },
    Program { name: "sidecar", binary: "doctorkafka-sidecar", ports: &["7070/tcp"] },
];

impl Program {
    /// `doctorkafka/operator:VERSION`, as the chart has it.
    pub fn tag(self) -> String {
        format!("doctorkafka/{}:{VERSION}", self.name)
    }

    /// Its archive below a folder.
    pub fn archive(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.tar", self.name))
    }
}

/// Runs `cargo xtask images`.
///
/// # Errors
/// A build fails, or a file cannot be written.
pub fn run(arguments: Arguments) -> Result<()> {
    let out = if arguments.out.is_absolute() { arguments.out } else { root().join(arguments.out) };
    match engine().filter(|_| !arguments.pack && !arguments.no_build) {
        Some(engine) => build_with(engine, &out),
        None => pack_all(&out, Programs::from_flag(arguments.no_build)),
    }
}

/// The container engine that answers, if any does.
fn engine() -> Option<&'static str> {
    ["docker", "podman"].into_iter().find(|engine| {
        let asked = Command::new(engine).args(["info", "--format", "{{.ID}}"]).output();
        // Without an engine behind it the program may succeed and say nothing.
        find_program(&engine.into()).is_some() && asked.is_ok_and(|output| output.status.success())
    })
}

/// Builds them as their Dockerfiles say.
fn build_with(engine: &str, out: &Path) -> Result<()> {
    let folder = make(out)?;
    let metadata = sbom::metadata()?;
    for program in PROGRAMS {
        let dockerfile = root().join("deploy/docker").join(format!("{}.Dockerfile", program.name));
        println!("{engine}: building {} ...", program.tag());
        let mut build = Command::new(engine);
        // Podman puts images without a registry under localhost/, where no chart looks for them.
        let tag = format!("docker.io/{}", program.tag());
        build.args(["build", "--tag", &tag, "--build-arg", &format!("VERSION={VERSION}")]);
        if let Some(revision) = revision() {
            build.args(["--build-arg", &format!("REVISION={revision}")]);
        }
        build.arg("--file").arg(dockerfile).arg(root()).env("DOCKER_BUILDKIT", "1");
        succeed(&mut build)?;
        let archive = program.archive(&folder);
        succeed(Command::new(engine).args(["save", "--output"]).arg(&archive).arg(&tag))?;
        write_sbom(&folder, program, &sbom::of(&metadata, program.binary, &[])?)?;
        println!("{}: {}", archive.display(), megabytes(archive.metadata()?.len()));
    }
    Ok(())
}

/// Packs both programs; their archives are those of [`Program::archive`].
///
/// # Errors
/// The build fails, a file of this machine is missing, or `out` cannot be written.
pub fn pack_all(out: &Path, programs: Programs) -> Result<()> {
    ensure!(cfg!(target_os = "linux"), "without Docker or Podman images can be packed on Linux only");
    let folder = make(out)?;
    let metadata = sbom::metadata()?;
    if programs == Programs::Built {
        let packages = PROGRAMS.map(|program| ["--package", program.binary]).concat();
        succeed(&mut cargo(&[["build", "--release", "--locked"].as_slice(), &packages].concat()))?;
    }
    let target = metadata["target_directory"].as_str().context("cargo names no target directory")?;
    for program in PROGRAMS {
        let binary = Path::new(target).join("release").join(program.binary);
        let inside = format!("/usr/local/bin/{}", program.binary);
        let mut rootfs = Rootfs::default();
        rootfs.program(&inside, &binary)?;
        let libraries: Vec<PathBuf> = rootfs.copies().filter(|from| **from != binary).cloned().collect();
        let bill = sbom::of(&metadata, program.binary, &libraries)?;
        base(&mut rootfs)?;
        rootfs.file(&format!("/usr/share/doc/{}.cdx.json", program.binary), bill.clone(), 0o644);
        let image = Image {
            reference: format!("docker.io/{}", program.tag()),
            entrypoint: vec![inside],
            environment: vec![
                "PATH=/usr/local/bin".to_owned(),
                "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".to_owned(),
            ],
            user: format!("{NONROOT}:{NONROOT}"),
            ports: program.ports.iter().map(|port| (*port).to_owned()).collect(),
            labels: labels(&metadata, program)?,
        };
        let archive = program.archive(&folder);
        let packed = pack(&image, &rootfs, &archive)?;
        write_sbom(&folder, program, &bill)?;
        println!("{}\n  {}, {}, {}", archive.display(), program.tag(), megabytes(packed.size), packed.digest);
    }
    Ok(())
}

/// What every image has: certificates of authorities, users, how names resolve, a folder for temporary files.
fn base(rootfs: &mut Rootfs) -> Result<()> {
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    ensure!(
        authorities.is_file(),
        "{} is missing: needed for TLS to public names; on Debian: apt-get install ca-certificates",
        authorities.display()
    );
    let passwd = format!(
        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n"
    );
    rootfs
        .copy("/etc/ssl/certs/ca-certificates.crt", authorities, 0o644)
        .file("/etc/passwd", passwd.into_bytes(), 0o644)
        .file("/etc/group", format!("root:x:0:\nnonroot:x:{NONROOT}:\n").into_bytes(), 0o644)
        .file("/etc/nsswitch.conf", b"hosts: files dns\n".to_vec(), 0o644)
        .folder("/home/nonroot", 0o700, u64::from(NONROOT))
        .folder("/tmp", 0o1777, 0);
    Ok(())
}

fn labels(metadata: &Value, program: Program) -> Result<BTreeMap<String, String>> {
    let package = sbom::package(metadata, program.binary)?;
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut labels = BTreeMap::from([
        ("title", program.binary.to_owned()),
        ("description", text("description")),
        ("version", VERSION.to_owned()),
        ("licenses", text("license")),
        ("source", text("repository")),
    ]);
    if let Some(revision) = revision() {
        labels.insert("revision", revision);
    }
    labels.retain(|_, value| !value.is_empty());
    Ok(labels.into_iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect())
}

/// The commit, when everything in the checkout is as it says.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let clean = git(&["status", "--porcelain"])?.is_empty();
    git(&["rev-parse", "HEAD"]).filter(|_| clean)
}

fn make(out: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    Ok(out.to_path_buf())
}

fn write_sbom(folder: &Path, program: Program, bill: &[u8]) -> Result<()> {
    let path = folder.join(format!("{}.cdx.json", program.name));
    if let Err(error) = std::fs::write(&path, bill) {
        bail!("{} cannot be written: {error}", path.display());
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
