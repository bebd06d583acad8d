//! Loopback ports that stay ours.
//!
//! Asking the kernel for any port (`bind` to 0) gives one from the ephemeral range, which the next outgoing
//! connection of anybody may take before our server binds it, or while our server is down for a moment. So
//! ports come from below that range, and a lock file per port keeps other testbeds on this machine off it for
//! as long as this process lives.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// The locks of the ports given out, held until this process ends.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A loopback TCP port that nobody listens on, kept from other testbeds until this process ends.
///
/// # Errors
/// No port is free, or the folder of the lock files cannot be used.
pub fn free_port() -> Result<u16> {
    let locks = runtime_dir()?.join("ports");
    fs::create_dir_all(&locks).with_context(|| format!("{} cannot be made", locks.display()))?;
    let range = range();
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Start where the last search of this process ended, and different processes at different places.
    let count = usize::from(range.end - range.start);
    let start = std::process::id() as usize * 61 + taken.len();
    for port in (0..count).map(|step| range.start + ((start + step) % count) as u16) {
        let path = locks.join(port.to_string());
        let lock = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.push(lock);
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}: stop what listens there", range.start, range.end)
}

/// From well above the ports of ordinary services up to where the ephemeral range begins.
fn range() -> Range<u16> {
    const FROM: u16 = 12_000;
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = ephemeral.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
    FROM..if first > FROM + 1_000 { first } else { 32_768 }
}

/// Where the running testbeds of this user leave their marks: `$XDG_RUNTIME_DIR/doctorkafka`, else
/// `/tmp/doctorkafka-<uid>`, readable by this user only.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn runtime_dir() -> Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let path = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() && folder.is_dir() => folder.join("doctorkafka"),
        _ => PathBuf::from(format!("/tmp/doctorkafka-{uid}")),
    };
    fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    let owner = fs::symlink_metadata(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    if owner.uid() != uid || !owner.is_dir() {
        bail!("{} is not a directory of this user: remove it, or set XDG_RUNTIME_DIR", path.display());
    }
    fs::set_permissions(&path, Permissions::from_mode(0o700))
        .with_context(|| format!("{} cannot be closed to others", path.display()))?;
    Ok(path)
}
