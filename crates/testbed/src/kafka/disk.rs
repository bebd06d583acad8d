//! Disks of any size for brokers: a file system in memory over the log directory, in a mount namespace of the broker's
//! own. The kernel takes it away with the last process of the namespace, so that nothing has to be unmounted.

use std::path::Path;

use tokio::process::Command;

/// Becomes the program: its process id is that of the shell.
const MOUNT: &str = r#"
mkdir "$1.seed" 2>/dev/null && cp -a "$1/." "$1.seed/"
mount -t tmpfs -o "size=$2" none "$1" && cp -a "$1.seed/." "$1/" || exit 1
shift 2
exec "$@""#;

/// The user namespace gives the right to mount where the user is not root, and maps the user to root in it alone.
const NAMESPACES: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// The same command, with a disk of so many bytes over `folder`, and on it what is in the folder at the first start.
pub(super) fn with_disk(command: &Command, folder: &Path, bytes: u64) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new("unshare");
    outer.args(NAMESPACES).args(["sh", "-c", MOUNT, "sh"]).arg(folder).arg(bytes.to_string());
    outer.arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// Whether the kernel allows it.
pub(super) async fn is_possible() -> bool {
    let mut attempt = Command::new("unshare");
    attempt.args(NAMESPACES).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
    attempt.output().await.is_ok_and(|output| output.status.success())
}
