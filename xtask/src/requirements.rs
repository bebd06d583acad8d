//! Programs that a task needs beyond the Rust toolchain: are they there, and how do they get there?

use anyhow::{Context, bail};
use doctorkafka_testbed::find_program;
use std::{path::Path, process::Command};

/// A program that must be on `PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub program: &'static str,
    /// What it is needed for, as the end of "needed to …".
    pub purpose: &'static str,
    /// The Debian package that has it, when the packaged one is new enough.
    pub package: Option<&'static str>,
    /// How to get it elsewhere.
    pub elsewhere: &'static str,
}

/// Runs Kafka.
pub const JAVA: Requirement = Requirement {
    program: "java",
    purpose: "run Apache Kafka",
    package: Some("openjdk-17-jdk-headless"),
    elsewhere: "any Java 17 or newer, for example from https://adoptium.net",
};

/// Downloads Kafka.
pub const MAVEN: Requirement = Requirement {
    program: "mvn",
    purpose: "download Apache Kafka, once",
    package: Some("maven"),
    elsewhere: "https://maven.apache.org/install.html",
};

/// Builds the API server.
pub const GO: Requirement = Requirement {
    program: "go",
    purpose: "build etcd and the Kubernetes API server from Go modules, once",
    package: None,
    elsewhere: "Go 1.26 or newer from https://go.dev/doc/install",
};

/// Shows the dashboard in tests.
pub const CHROMIUM: Requirement = Requirement {
    program: "chromium",
    purpose: "look at the dashboard as a person does",
    package: Some("chromium"),
    elsewhere: "https://www.chromium.org/getting-involved/download-chromium",
};

/// Steers Chromium in tests.
pub const CHROMEDRIVER: Requirement = Requirement {
    program: "chromedriver",
    purpose: "steer Chromium",
    package: Some("chromium-driver"),
    elsewhere: "https://googlechromelabs.github.io/chrome-for-testing",
};

/// Watches the doctor in tests.
pub const PROMETHEUS: Requirement = Requirement {
    program: "prometheus",
    purpose: "scrape operator and sidecars and run the dashboard's queries",
    package: Some("prometheus"),
    elsewhere: "https://prometheus.io/download",
};

/// Judges the alert rules.
pub const PROMTOOL: Requirement = Requirement {
    program: "promtool",
    purpose: "check and test the alert rules",
    package: Some("prometheus"),
    elsewhere: "https://prometheus.io/download, beside Prometheus",
};

/// Everything that the tests use.
pub const FOR_TESTS: [Requirement; 7] = [JAVA, MAVEN, GO, CHROMIUM, CHROMEDRIVER, PROMETHEUS, PROMTOOL];

/// Makes the node's network.
pub const IP: Requirement = Requirement {
    program: "ip",
    purpose: "make a network for the Kubernetes node",
    package: Some("iproute2"),
    elsewhere: "iproute2",
};

/// Keeps the node's processes together.
pub const UNSHARE: Requirement = Requirement {
    program: "unshare",
    purpose: "keep the Kubernetes node apart from this machine",
    package: Some("util-linux"),
    elsewhere: "util-linux",
};

/// Sets what the node's network needs.
const SYSCTL: Requirement = Requirement {
    program: "sysctl",
    purpose: "let the Kubernetes node forward packets",
    package: Some("procps"),
    elsewhere: "procps",
};

/// Runs the node's containers.
const RUNC: Requirement = Requirement {
    program: "runc",
    purpose: "run containers on the Kubernetes node",
    package: Some("runc"),
    elsewhere: "https://github.com/opencontainers/runc",
};

/// Connects the node's pods.
const CNI: Requirement = Requirement {
    program: "/usr/lib/cni/bridge",
    purpose: "connect pods on the Kubernetes node",
    package: Some("containernetworking-plugins"),
    elsewhere: "https://github.com/containernetworking/plugins, in /usr/lib/cni",
};

/// Routes services to pods.
const NFT: Requirement = Requirement {
    program: "nft",
    purpose: "route services to pods on the Kubernetes node",
    package: Some("nftables"),
    elsewhere: "nftables",
};

/// Lets pods reach beyond their subnet.
pub const IPTABLES: Requirement = Requirement {
    program: "iptables",
    purpose: "connect pods with the machine",
    package: Some("iptables"),
    elsewhere: "iptables",
};

/// Forgets connections to pods that ended.
const CONNTRACK: Requirement = Requirement {
    program: "conntrack",
    purpose: "forget connections to pods that ended",
    package: Some("conntrack"),
    elsewhere: "conntrack-tools",
};

/// Compiles the pause program.
const CC: Requirement = Requirement {
    program: "cc",
    purpose: "compile the program that holds a pod's namespaces, once",
    package: Some("build-essential"),
    elsewhere: "any C compiler with a static C library",
};

/// Makes the Java runtime of the Kafka image.
const JLINK: Requirement = Requirement {
    program: "jlink",
    purpose: "make the Java runtime of the Kafka image, once",
    package: Some("openjdk-17-jdk-headless"),
    elsewhere: "any JDK 17 or newer, for example from https://adoptium.net",
};

/// Everything that a Kubernetes node on this machine uses.
pub const FOR_NODE: [Requirement; 10] = [IP, UNSHARE, SYSCTL, RUNC, CNI, NFT, IPTABLES, CONNTRACK, CC, GO];

/// What the images of the node's tests need beyond that.
pub const FOR_KAFKA_IMAGE: [Requirement; 3] = [JAVA, MAVEN, JLINK];

/// Those of `wanted` that are not there.
pub fn missing(wanted: &[Requirement]) -> Vec<Requirement> {
    wanted.iter().filter(|r| find_program(&r.program.into()).is_none()).copied().collect()
}

/// Fails with one line for each program of `wanted` that is not there: what it is for and how to get it.
///
/// # Errors
/// Something is missing.
pub fn demand(wanted: &[Requirement]) -> anyhow::Result<()> {
    match missing(wanted).as_slice() {
        [] => Ok(()),
        absent => bail!("{}", explain(absent)),
    }
}

/// As [`demand`], but on Debian, as root and with `CI=true` installs Debian's packages of what is missing first.
///
/// # Errors
/// Something is missing and cannot be installed.
pub fn provide(wanted: &[Requirement]) -> anyhow::Result<()> {
    let packages: Vec<_> = missing(wanted).iter().filter_map(|requirement| requirement.package).collect();
    if !packages.is_empty() && may_install() {
        println!("  installing   {}", packages.join(" "));
        apt_get(&["update"])?;
        apt_get(&[["install", "--yes", "--no-install-recommends"].as_slice(), &packages].concat())?;
    }
    demand(wanted)
}

fn explain(absent: &[Requirement]) -> String {
    let lines = absent.iter().map(|requirement| {
        let Requirement { program, purpose, package, elsewhere } = requirement;
        let how = match package {
            Some(package) => format!("on Debian: apt-get install {package}; elsewhere: {elsewhere}"),
            None => format!("install {elsewhere}"),
        };
        format!("{program} not found: needed to {purpose}; {how}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Nobody's machine is changed without being asked: only a CI machine that says so.
fn may_install() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
        && Path::new("/etc/debian_version").exists()
        && rustix::process::geteuid().is_root()
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("--quiet")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("apt-get cannot be run")?;
    if !status.success() {
        bail!("apt-get {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURELY_ABSENT: Requirement = Requirement {
        program: "doctorkafka-no-such-program",
        purpose: "show that it is missed",
        package: None,
        elsewhere: "it does not exist",
    };

    #[test]
    fn what_is_there_is_not_missed() {
        let shell = Requirement { program: "sh", ..SURELY_ABSENT };
        assert_eq!(missing(&[shell, SURELY_ABSENT]), [SURELY_ABSENT]);
        assert!(demand(&[shell]).is_ok());
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        assert_eq!(
            explain(&[GO]),
            "go not found: needed to build etcd and the Kubernetes API server from Go modules, once; \
             install Go 1.26 or newer from https://go.dev/doc/install"
        );
        assert!(explain(&[MAVEN]).contains("apt-get install maven"));
        assert!(demand(&[SURELY_ABSENT]).is_err());
    }
}
