//! A child process that ends with its owner.
//!
//! Every child gets a *lifeline*: a pipe whose writing end only this process holds. A small shell in the
//! child's process group reads from it and, at the end of file, kills the whole group with SIGKILL. The
//! kernel closes the pipe however this process ends (return, panic, Ctrl-C, `kill -9`), so nothing outlives
//! it, stopped children included.
//!
//! Why not `PR_SET_PDEATHSIG`: it is bound to the *thread* that forked, not to the process, and needs either
//! unsafe code or another program. The shell is everywhere, forks before the real program is in place (so
//! there is no moment without a watcher), and catches the grandchildren too.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{PipeWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::watch;

/// The watcher reads the lifeline (file descriptor 3) in the background; the real program takes over the
/// shell's process, so that its id is the child's id. `exec` of a second shell keeps the program's name out
/// of the watcher's command line: whoever looks for the program by its command line finds one process.
const WATCHED: &str = r#"exec 3<&0
(exec sh -c 'read -r _; kill -s KILL -- "-$1"' lifeline "$$" <&3 3<&-) >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-"#;

/// How long [`Process::terminate`] waits after SIGTERM before it sends SIGKILL.
const TERMINATE_WITHIN: Duration = Duration::from_secs(30);
/// How long the kernel may take to end a process that was sent SIGKILL.
const KILL_WITHIN: Duration = Duration::from_secs(10);
/// How long the threads of a process that was sent SIGSTOP may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// How much of the end of a log goes into an error.
const LOG_TAIL: u64 = 3_000;

/// A running program, in a process group of its own, its output in a log file. Dropping it kills it with
/// SIGKILL and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// While this is held the watcher lives, so the group exists and its id cannot be given to anyone else:
    /// signals cannot hit a stranger.
    lifeline: Mutex<Option<PipeWriter>>,
}

impl Process {
    /// Starts `command` under `name` (for messages), with standard output and error appended to `log_file`
    /// and standard input empty. Program, arguments, working directory and environment of `command` are kept;
    /// its redirections, `env_clear` and `kill_on_drop` are not.
    ///
    /// # Errors
    /// The program cannot be found, or the log file cannot be written.
    pub fn spawn(
        name: impl Into<String>,
        command: tokio::process::Command,
        log_file: impl AsRef<Path>,
    ) -> Result<Self> {
        let name = name.into();
        let log = log_file.as_ref().to_path_buf();
        let wanted = command.as_std();
        let program = find_program(&wanted.get_program().to_os_string()).with_context(|| {
            format!("{name} cannot start: there is no program {:?}", wanted.get_program())
        })?;
        let output =
            File::options().create(true).append(true).open(&log).with_context(|| {
                format!("{name} cannot start: its log {} cannot be written", log.display())
            })?;
        let errors = output.try_clone().context("a log file cannot be duplicated")?;
        let (reader, lifeline) = std::io::pipe().context("no pipe can be made")?;

        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(WATCHED).arg("sh").arg(program).args(wanted.get_args());
        for (key, value) in wanted.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(directory) = wanted.get_current_dir() {
            shell.current_dir(directory);
        }
        let mut child = shell
            .stdin(reader)
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} cannot start: sh does not run"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("{name} has no usable process id: {}", child.id()))?;

        // A thread of its own reaps the child the moment it ends: no zombie is ever taken for a running
        // process.
        let (ended, exit) = watch::channel(None);
        std::thread::Builder::new()
            .name(format!("wait-{name}"))
            .spawn(move || {
                let status = child.wait();
                ended.send_replace(Some(status.unwrap_or_default()));
            })
            .context("no thread can be started to wait for a process")?;
        Ok(Self { name, pid, log, exit, lifeline: Mutex::new(Some(lifeline)) })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, of the program itself. It stays this number after the process ended.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Where standard output and error go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log, for messages; empty if there is none.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// Whether the process has not ended yet. A paused process is running.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// How the process ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Sends SIGTERM, waits up to 30 s, then kills. Returns how the process ended; at once if it already has.
    ///
    /// # Errors
    /// The process survives even SIGKILL.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::TERM)?;
            if let Ok(status) = self.wait(TERMINATE_WITHIN).await {
                self.finish();
                return Ok(status);
            }
        }
        self.kill().await
    }

    /// Kills the process and everything in its group with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// The kernel does not end it within 10 s.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.finish();
        self.wait(KILL_WITHIN).await
    }

    /// Stops the process where it stands (SIGSTOP), like a machine that hangs. When this returns, none of its threads runs
    /// any more; on a busy machine some do so for a moment after the signal.
    ///
    /// # Errors
    /// It has ended, or has not stopped within 5 s.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + STOPS_WITHIN;
        while !has_stopped(self.pid()) {
            if Instant::now() > deadline {
                bail!("{} has not stopped within {} s", self.name, STOPS_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// It still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(timeout, exit.wait_for(Option::is_some)).await;
        match ended {
            Ok(Ok(status)) => (*status).ok_or_else(|| anyhow!("{} ended without a status", self.name)),
            Ok(Err(_)) => bail!("nobody waits for {} any more", self.name),
            Err(_) => {
                bail!("{} (process {}) still runs after {} s", self.name, self.pid(), timeout.as_secs_f32())
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // The lock keeps the watcher, and with it the process id, ours for the length of the call.
        let lifeline = self.lock();
        if lifeline.is_none() || !self.is_running() {
            bail!(
                "{} has ended{}",
                self.name,
                self.exit_status().map(|s| format!(" ({s})")).unwrap_or_default()
            );
        }
        kill_process(self.pid, signal)
            .with_context(|| format!("{} cannot be sent signal {signal:?}", self.name))
    }

    /// Kills the group, the watcher with it, at most once: afterwards the group's id is anybody's.
    fn finish(&self) {
        if self.lock().take().is_some()
            && let Err(error) = kill_process_group(self.pid, Signal::KILL)
        {
            tracing::debug!(process = self.name, %error, "the process group could not be killed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PipeWriter>> {
        self.lifeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
        let deadline = Instant::now() + KILL_WITHIN;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A directory for the data of a testbed, removed with everything in it at the end, by the same kind of
/// watcher as ends the processes: also after `kill -9` of this process.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lifeline: Option<PipeWriter>,
    remover: std::process::Child,
}

/// Processes that are being killed at the same moment may still write: try again for some seconds.
const REMOVE: &str = r#"read -r _
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
  rm -rf -- "$1" && exit 0
  sleep 0.2
done"#;

impl Scratch {
    /// Makes an empty directory that only this user can read, under the system's temporary directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("doctorkafka-testbed-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .with_context(|| format!("no directory can be made in {}", std::env::temp_dir().display()))?;
        let (reader, lifeline) = std::io::pipe().context("no pipe can be made")?;
        let remover = std::process::Command::new("sh")
            .args(["-c", REMOVE, "sh"])
            .arg(directory.path())
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("sh does not run")?;
        Ok(Self { path: directory.keep(), lifeline: Some(lifeline), remover })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if let Err(error) = self.remover.wait() {
            tracing::warn!(path = %self.path.display(), %error, "a testbed's directory may be left behind");
        }
    }
}

/// Whether no thread of a process runs: each is stopped or has ended (proc_pid_stat(5)).
fn has_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name stands in brackets and may contain any. A thread that is gone has no state.
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        matches!(state, None | Some('T' | 't' | 'X' | 'Z'))
    })
}

/// The path of a program: as given if it has a slash in it, else the first match in `PATH`.
pub fn find_program(program: &OsString) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let given = Path::new(program);
    if given.components().count() > 1 {
        return runs(given).then(|| given.to_path_buf());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(given)).find(|path| runs(path))
}

/// The last lines of a log file; empty if it cannot be read.
pub(crate) fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default()
}
