//! How full the broker's log directories are.

use crate::broker::{Presence, Sight};
use doctorkafka_wire::LogDir;
use rustix::fs::{stat, statvfs};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;

/// More directories than any broker has.
const MOST: usize = 100;

/// Measures the log directories once per interval, beside the measuring loop: a file system that hangs (a network
/// volume) hangs this task alone, and the loop reports the last figures. `given` replaces what the broker's properties
/// say. Ends when the receiver is dropped.
pub fn watch_log_dirs(
    given: Vec<PathBuf>,
    sights: watch::Receiver<Sight>,
    interval: Duration,
) -> watch::Receiver<Vec<LogDir>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut known: Vec<Known> = Vec::new();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let (pid, configured) = {
                let sight = sights.borrow();
                let pid = match &sight.presence {
                    Presence::Running(running) => Some(running.process.pid()),
                    Presence::Absent | Presence::Unclear => None,
                };
                (pid, sight.config.log_dirs.clone())
            };
            let paths = if given.is_empty() { configured } else { given.clone() };
            let measuring = tokio::task::spawn_blocking(move || measure(paths, pid, known));
            known = measuring.await.unwrap_or_else(|error| {
                tracing::error!(%error, "measuring the log directories ended unexpectedly");
                Vec::new()
            });
            sender.send_replace(known.iter().map(|dir| dir.figures.clone()).collect());
        }
    });
    receiver
}

/// A directory that was measured, and on which device it lies.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    figures: LogDir,
    device: u64,
}

/// Measures `paths` as the process sees them. One that cannot be measured now keeps the figures it had.
fn measure(mut paths: Vec<PathBuf>, pid: Option<i32>, before: Vec<Known>) -> Vec<Known> {
    paths.truncate(MOST);
    paths
        .iter()
        .filter_map(|path| {
            let name = path.to_string_lossy();
            let last = before.iter().find(|dir| dir.figures.path == name);
            let inside = path.strip_prefix("/").unwrap_or(path);
            let through_process =
                pid.and_then(|pid| look(&Path::new(&format!("/proc/{pid}/root")).join(inside), &name));
            through_process
                .or_else(|| {
                    // Ours may be another file system of the same name, so the device must be the one known before.
                    // Nothing known before, there is nothing better.
                    look(path, &name).filter(|here| last.is_none_or(|last| last.device == here.device))
                })
                .or_else(|| last.cloned())
        })
        .collect()
}

fn look(path: &Path, name: &str) -> Option<Known> {
    let device = stat(path).ok()?.st_dev;
    let space = statvfs(path).ok().filter(|space| space.f_blocks > 0)?;
    let unit = if space.f_frsize > 0 { space.f_frsize } else { space.f_bsize };
    let bytes = |blocks: u64| blocks.saturating_mul(unit);
    // Like `df`: what is reserved for root is neither used nor to be had, so the broker's disk ends before it.
    let used = space.f_blocks.saturating_sub(space.f_bfree);
    let figures = LogDir {
        path: name.to_owned(),
        used_bytes: bytes(used),
        total_bytes: bytes(used.saturating_add(space.f_bavail)),
    };
    Some(Known { figures, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_through_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id().cast_signed();
        let found = measure(vec![dir.path().to_owned()], Some(me), Vec::new());
        assert_eq!(found.len(), 1);
        let figures = &found[0].figures;
        assert_eq!(Path::new(&figures.path), dir.path());
        assert!(figures.total_bytes > 0 && figures.used_bytes <= figures.total_bytes, "{figures:?}");
    }

    #[test]
    fn what_was_known_outlives_the_process_and_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let paths = vec![dir.path().to_owned()];
        let found = measure(paths.clone(), Some(std::process::id().cast_signed()), Vec::new());
        drop(dir);
        assert_eq!(measure(paths, None, found.clone()), found);
    }

    #[test]
    fn a_namesake_on_another_device_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let paths = vec![dir.path().to_owned()];
        let mut known = measure(paths.clone(), None, Vec::new());
        known[0].device += 1;
        known[0].figures.used_bytes = 42;
        assert_eq!(measure(paths, None, known)[0].figures.used_bytes, 42);
    }

    #[test]
    fn a_directory_that_never_was_is_left_out() {
        assert!(measure(vec![PathBuf::from("/nowhere/at/all")], None, Vec::new()).is_empty());
    }
}
