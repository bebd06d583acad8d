//! The limits of the broker's cgroup, version 1, version 2 or both at once.
//!
//! A process's place in each hierarchy (`/proc/PID/cgroup`) and the mounts it sees (`/proc/PID/mountinfo`) are both told
//! relative to the *reader's* cgroup namespace, so the one less the other is the directory below the mount, whichever
//! namespaces the two live in. The files are then read through the broker's own root directory. Limits apply down the
//! hierarchy, so the tightest of a directory and those above it counts.

use procfs::{
    FromBufRead, ProcessCGroups,
    process::{MountInfos, Process},
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Where the files of the broker's cgroup are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// In the hierarchy of version 2.
    unified: Option<Place>,
    /// In the version 1 hierarchy of the `cpu` controller.
    cpu: Option<Place>,
    /// In the version 1 hierarchy of the `memory` controller.
    memory: Option<Place>,
}

/// A directory in a mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    mount: PathBuf,
    below: PathBuf,
}

impl Cgroup {
    /// Finds the cgroup of a process, through its own root directory where that is accessible.
    pub fn of(process: &Process) -> Self {
        let text = |path: String| std::fs::read_to_string(path).unwrap_or_default();
        let pid = process.pid();
        let cgroups = text(format!("/proc/{pid}/cgroup"));
        let theirs = Self::locate(&text(format!("/proc/{pid}/mountinfo")), &cgroups);
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let seen_by_it = theirs.under(&root);
        if seen_by_it.is_readable() {
            return seen_by_it;
        }
        // Another user's process: its root is closed to us, our own mounts may still show its cgroup.
        Self::locate(&text("/proc/self/mountinfo".into()), &cgroups)
    }

    /// Finds the directories from the texts of `mountinfo` and `cgroup`.
    fn locate(mountinfo: &str, cgroups: &str) -> Self {
        let mounts =
            MountInfos::from_buf_read(mountinfo.as_bytes()).map(|mounts| mounts.0).unwrap_or_default();
        let groups =
            ProcessCGroups::from_buf_read(cgroups.as_bytes()).map(|groups| groups.0).unwrap_or_default();
        let place = |group: Option<&procfs::ProcessCGroup>, controller: Option<&str>| {
            let path = Path::new(&group?.pathname);
            mounts
                .iter()
                .filter(|mount| match controller {
                    None => mount.fs_type == "cgroup2",
                    Some(name) => mount.fs_type == "cgroup" && mount.super_options.contains_key(name),
                })
                .find_map(|mount| {
                    let below = path.strip_prefix(&mount.root).ok()?.to_owned();
                    Some(Place { mount: mount.mount_point.clone(), below })
                })
        };
        let version_1 = |name: &str| {
            groups.iter().find(|group| group.controllers.iter().any(|controller| controller == name))
        };
        Self {
            unified: place(groups.iter().find(|group| group.hierarchy == 0), None),
            cpu: place(version_1("cpu"), Some("cpu")),
            memory: place(version_1("memory"), Some("memory")),
        }
    }

    fn under(&self, root: &Path) -> Self {
        let moved = |place: &Option<Place>| {
            let Place { mount, below } = place.clone()?;
            let inside = mount.strip_prefix("/").map(Path::to_owned).unwrap_or(mount);
            Some(Place { mount: root.join(inside), below })
        };
        Self { unified: moved(&self.unified), cpu: moved(&self.cpu), memory: moved(&self.memory) }
    }

    fn is_readable(&self) -> bool {
        [&self.unified, &self.cpu, &self.memory]
            .into_iter()
            .flatten()
            .any(|place| place.mount.join(&place.below).read_dir().is_ok())
    }

    /// The quota in cores (`cpu.max`, or `cpu.cfs_quota_us` and `cpu.cfs_period_us`); `None` without one.
    pub fn cpu_limit(&self) -> Option<f64> {
        let unified = self.unified.iter().flat_map(Place::upwards).filter_map(|dir| {
            let text = read(&dir.join("cpu.max"))?;
            let (quota, period) = text.split_once(' ')?;
            cores(quota, period)
        });
        let version_1 = self.cpu.iter().flat_map(Place::upwards).filter_map(|dir| {
            cores(&read(&dir.join("cpu.cfs_quota_us"))?, &read(&dir.join("cpu.cfs_period_us"))?)
        });
        unified.chain(version_1).min_by(f64::total_cmp)
    }

    /// The memory limit in bytes (`memory.max`, or `memory.limit_in_bytes`); `None` without one.
    pub fn memory_limit(&self) -> Option<u64> {
        let read_in = |place: &Option<Place>, file: &str| {
            let dirs = place.iter().flat_map(Place::upwards);
            dirs.filter_map(|dir| read(&dir.join(file))?.trim().parse::<u64>().ok()).min()
        };
        // Version 1 says "no limit" by the largest number of pages there is.
        let limits = [read_in(&self.unified, "memory.max"), read_in(&self.memory, "memory.limit_in_bytes")];
        limits.into_iter().flatten().filter(|limit| (1..1 << 60).contains(limit)).min()
    }

    /// A file of the version 2 directory, such as `cpu.pressure`.
    pub fn read_unified(&self, file: &str) -> Option<String> {
        let place = self.unified.as_ref()?;
        read(&place.mount.join(&place.below).join(file))
    }
}

impl Place {
    /// The directory and those above it, up to the mount.
    fn upwards(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.below.ancestors().map(|below| self.mount.join(below))
    }
}

fn cores(quota: &str, period: &str) -> Option<f64> {
    // "max" and -1 mean that there is no quota; neither parses as a positive number.
    let positive = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
    Some(positive(quota)? / positive(period)?)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_MOUNTS: &str = "\
24 1 0:21 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:13 - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:14 - cgroup cgroup rw,memory
";
    const V1_GROUPS: &str = "\
4:memory:/kubepods/podab/c1
2:cpu,cpuacct:/kubepods/podab/c1
1:name=systemd:/kubepods/podab/c1
";
    const V2_MOUNTS: &str =
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// Files of a made-up `/sys/fs/cgroup`, and the cgroup of these texts seen below it.
    fn cgroup(mounts: &str, groups: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("sys/fs/cgroup").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let cgroup = Cgroup::locate(mounts, groups).under(root.path());
        (root, cgroup)
    }

    #[test]
    fn version_1() {
        let (_root, cgroup) = cgroup(
            V1_MOUNTS,
            V1_GROUPS,
            &[
                ("cpu,cpuacct/kubepods/podab/c1/cpu.cfs_quota_us", "150000\n"),
                ("cpu,cpuacct/kubepods/podab/c1/cpu.cfs_period_us", "100000\n"),
                ("cpu,cpuacct/kubepods/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/kubepods/cpu.cfs_period_us", "100000\n"),
                ("memory/kubepods/podab/c1/memory.limit_in_bytes", "2147483648\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        assert!(cgroup.is_readable());
        assert_eq!(cgroup.cpu_limit(), Some(1.5));
        assert_eq!(cgroup.memory_limit(), Some(2 << 30));
    }

    #[test]
    fn version_1_without_limits() {
        let (_root, cgroup) = cgroup(
            V1_MOUNTS,
            V1_GROUPS,
            &[
                ("cpu,cpuacct/kubepods/podab/c1/cpu.cfs_quota_us", "-1\n"),
                ("cpu,cpuacct/kubepods/podab/c1/cpu.cfs_period_us", "100000\n"),
                ("memory/kubepods/podab/c1/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        assert_eq!((cgroup.cpu_limit(), cgroup.memory_limit()), (None, None));
    }

    #[test]
    fn version_2_and_the_tightest_of_the_levels() {
        let (_root, cgroup) = cgroup(
            V2_MOUNTS,
            "0::/kafka.slice/kafka.service\n",
            &[
                ("kafka.slice/kafka.service/cpu.max", "max 100000\n"),
                ("kafka.slice/cpu.max", "400000 100000\n"),
                ("kafka.slice/kafka.service/memory.max", "max\n"),
                ("kafka.slice/memory.max", "4294967296\n"),
                (
                    "kafka.slice/kafka.service/cpu.pressure",
                    "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\n",
                ),
            ],
        );
        assert_eq!(cgroup.cpu_limit(), Some(4.0));
        assert_eq!(cgroup.memory_limit(), Some(4 << 30));
        assert!(cgroup.read_unified("cpu.pressure").unwrap().starts_with("some"));
    }

    #[test]
    fn a_container_seen_from_its_neighbour_in_the_pod() {
        // Each has a cgroup namespace of its own; to the reader, the other's mount and group begin with "..".
        let (_root, cgroup) = cgroup(
            "29 23 0:26 /../cri-broker.scope /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n",
            "0::/../cri-broker.scope\n",
            &[("cpu.max", "200000 100000\n"), ("memory.max", "1073741824\n")],
        );
        assert_eq!(cgroup.cpu_limit(), Some(2.0));
        assert_eq!(cgroup.memory_limit(), Some(1 << 30));
    }

    #[test]
    fn both_versions_at_once() {
        let mounts = format!("{V1_MOUNTS}40 24 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let (_root, cgroup) = cgroup(
            &mounts,
            &format!("{V1_GROUPS}0::/\n"),
            &[
                ("cpu,cpuacct/kubepods/podab/cpu.cfs_quota_us", "50000\n"),
                ("cpu,cpuacct/kubepods/podab/cpu.cfs_period_us", "100000\n"),
                ("unified/cgroup.procs", ""),
            ],
        );
        assert_eq!((cgroup.cpu_limit(), cgroup.memory_limit()), (Some(0.5), None));
    }

    #[test]
    fn no_cgroups_and_nonsense() {
        for (mounts, groups) in [
            ("", ""),
            ("1 2 0:1 / / rw - ext4 /dev/sda rw\n", ""),
            ("1 2 0:1 / / rw - ext4 /dev/sda rw\n", "0::/\n"),
            ("nonsense\n", "nonsense\n"),
            ("29 23 0:26 /elsewhere /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/here\n"),
        ] {
            let cgroup = Cgroup::locate(mounts, groups);
            assert_eq!(cgroup, Cgroup::default(), "{mounts}{groups}");
            assert!(!cgroup.is_readable());
            assert_eq!((cgroup.cpu_limit(), cgroup.memory_limit()), (None, None));
        }
    }

    #[test]
    fn quotas_that_cannot_be() {
        assert_eq!(cores("0", "100000"), None);
        assert_eq!(cores("100000", "0"), None);
        assert_eq!(cores("max", "100000"), None);
        assert_eq!(cores("nan", "100000"), None);
        assert_eq!(cores("50000\n", "100000\n"), Some(0.5));
    }

    #[test]
    fn our_own_process_has_a_place() {
        // Whatever this machine has, reading it must not fail.
        let cgroup = Cgroup::of(&Process::myself().unwrap());
        assert!(cgroup.cpu_limit().is_none_or(|cores| cores > 0.0));
        assert!(cgroup.memory_limit().is_none_or(|bytes| bytes > 0));
    }
}
