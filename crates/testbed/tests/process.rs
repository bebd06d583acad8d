//! Nothing outlives the process that started it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use doctorkafka_testbed::{Process, Scratch, wait_until};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(10);
/// Set in a copy of this test program that shall start things and then die; names the file to write their ids
/// to.
const VICTIM: &str = "DOCTORKAFKA_TESTBED_VICTIM";

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The processes whose group is that of `pid`, as `/proc` has them.
fn group(pid: i32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let in_group = |path: &PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(2) == Some(&pid.to_string())
    };
    let command =
        |path: PathBuf| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
    processes.map(|entry| entry.path()).filter(in_group).map(command).collect()
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[tokio::test]
async fn the_process_is_the_program_itself() -> Result<()> {
    let scratch = Scratch::new()?;
    let log = scratch.path().join("log");
    let mut command = shell(r#"echo "$WORD $$ $(pwd) $1"; cat; echo errors >&2; exit 7"#);
    command.args(["zero", "an argument with \"quotes\" and $HOME"]).env("WORD", "hello").current_dir("/");
    let process = Process::spawn("speaker", command, &log)?;
    let status = process.wait(SOON).await?;
    assert_eq!(status.code(), Some(7));
    assert_eq!(process.exit_status(), Some(status));
    let expected = format!("hello {} / an argument with \"quotes\" and $HOME\nerrors", process.pid());
    assert_eq!(process.log_tail(), expected);
    assert!(!process.is_running() && process.pause().is_err() && process.resume().is_err());
    assert_eq!(process.terminate().await?, status, "it ended as it ended");
    Ok(())
}

#[tokio::test]
async fn only_one_process_carries_the_name_of_the_program() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut sleep = Command::new("sleep");
    sleep.arg("3600.25");
    let process = Process::spawn("sleeper", sleep, scratch.path().join("log"))?;
    wait_until("the program and its watcher", SOON, || async {
        let group = group(process.pid());
        group.len() == 2 && group.iter().filter(|command| command.contains("3600.25")).count() == 1
    })
    .await
}

#[test]
fn scratch_is_private_and_goes_with_what_is_in_it() -> Result<()> {
    let scratch = Scratch::new()?;
    let path = scratch.path().to_path_buf();
    assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o700);
    std::fs::create_dir_all(path.join("a/b"))?;
    std::fs::write(path.join("a/b/c"), "text")?;
    drop(scratch);
    assert!(!path.exists());
    Ok(())
}

#[tokio::test]
async fn a_missing_program_and_a_bad_log_are_named() {
    let scratch = Scratch::new().unwrap();
    let missing =
        Process::spawn("ghost", Command::new("no-such-program"), scratch.path().join("log")).unwrap_err();
    assert!(
        format!("{missing:#}").contains("ghost cannot start: there is no program \"no-such-program\""),
        "{missing:#}"
    );
    let log = scratch.path().join("no-such-folder/log");
    let unwritable = Process::spawn("mute", shell("true"), &log).unwrap_err();
    assert!(format!("{unwritable:#}").contains("no-such-folder"), "{unwritable:#}");
}

#[tokio::test]
async fn ends_by_term_kill_and_drop_with_its_children() -> Result<()> {
    let scratch = Scratch::new()?;
    let log = |name: &str| scratch.path().join(name);

    let polite =
        Process::spawn("polite", shell("trap 'exit 3' TERM; while :; do sleep 0.05; done"), log("polite"))?;
    wait_until("the trap", SOON, || async { group(polite.pid()).iter().any(|c| c.starts_with("sleep")) })
        .await?;
    assert_eq!(polite.terminate().await?.code(), Some(3));

    let family = Process::spawn("family", shell("sleep 1000 & sleep 1000 & echo $!; wait"), log("family"))?;
    wait_until("the grandchildren", SOON, || async { group(family.pid()).len() == 4 }).await?;
    family.kill().await?;
    wait_until("all of them gone", SOON, || async { group(family.pid()).is_empty() }).await?;

    let dropped = Process::spawn("dropped", shell("exec sleep 1000"), log("dropped"))?;
    let pid = dropped.pid();
    dropped.pause()?;
    wait_until("it to be stopped", SOON, || async {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    })
    .await?;
    assert!(dropped.is_running());
    drop(dropped);
    assert!(!exists(pid), "a stopped process dies too");

    let by_itself = Process::spawn("by itself", shell("exit 0"), log("itself"))?;
    wait_until("it to be reaped", SOON, || async { !exists(by_itself.pid()) }).await
}

#[tokio::test]
async fn waiting_is_bounded() -> Result<()> {
    let scratch = Scratch::new()?;
    let process = Process::spawn("sleeper", shell("exec sleep 1000"), scratch.path().join("log"))?;
    let error = process.wait(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("sleeper") && error.to_string().contains("still runs"), "{error}");
    let error = wait_until("pigs to fly", Duration::from_millis(120), || async { false }).await.unwrap_err();
    assert!(error.to_string().contains("pigs to fly"), "{error}");
    let hanging =
        wait_until("a look that hangs", Duration::from_millis(120), std::future::pending::<bool>).await;
    assert!(hanging.is_err());
    assert_eq!(wait_until("a value", SOON, || async { Some(7) }).await?, 7);
    Ok(())
}

/// Not a test of its own: what the copy runs that [`nothing_is_left_of_a_killed_parent`] and its twin start.
#[tokio::test]
#[ignore = "started by other tests as a process of its own"]
async fn victim() -> Result<()> {
    let Some(report) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        return Ok(());
    };
    let scratch = Scratch::new()?;
    let running = Process::spawn("running", shell("sleep 1000 & exec sleep 1000"), scratch.path().join("1"))?;
    let paused = Process::spawn("paused", shell("exec sleep 1000"), scratch.path().join("2"))?;
    paused.pause()?;
    wait_until("the grandchild", SOON, || async { group(running.pid()).len() == 3 }).await?;
    let text = format!("{} {} {}", running.pid(), paused.pid(), scratch.path().display());
    let partial = report.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, &report)?;
    if std::env::var_os("DOCTORKAFKA_TESTBED_PANIC").is_some() {
        panic!("as the test wants it");
    }
    std::future::pending().await
}

async fn nothing_is_left(panics: bool, kill: impl AsyncFnOnce(&Process) -> Result<()>) -> Result<()> {
    let scratch = Scratch::new()?;
    let report = scratch.path().join("report");
    let mut copy = Command::new(std::env::current_exe()?);
    copy.args(["--ignored", "--exact", "victim"]).env(VICTIM, &report);
    if panics {
        copy.env("DOCTORKAFKA_TESTBED_PANIC", "1");
    }
    let parent = Process::spawn("victim", copy, scratch.path().join("victim"))?;
    let text = wait_until("the victim to start its processes", SOON, || async {
        std::fs::read_to_string(&report).ok()
    })
    .await
    .with_context(|| parent.log_tail())?;
    let mut fields = text.split(' ');
    let pids: Vec<i32> = fields.by_ref().take(2).map(str::parse).collect::<Result<_, _>>()?;
    let data = Path::new(fields.next().context("a folder")?);
    if !panics {
        assert!(pids.iter().all(|pid| exists(*pid)) && data.exists());
    }
    kill(&parent).await?;
    wait_until("everything to be gone", SOON, || async {
        pids.iter().all(|pid| group(*pid).is_empty() && !exists(*pid)) && !data.exists()
    })
    .await
}

#[tokio::test]
async fn nothing_is_left_of_a_killed_parent() -> Result<()> {
    nothing_is_left(false, async |parent| parent.kill().await.map(drop)).await
}

#[tokio::test]
async fn nothing_is_left_of_a_panicking_parent() -> Result<()> {
    nothing_is_left(true, async |parent| {
        let status = parent.wait(SOON).await?;
        assert!(!status.success(), "{}", parent.log_tail());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_left_of_an_interrupted_parent() -> Result<()> {
    nothing_is_left(false, async |parent| {
        let pid = rustix::process::Pid::from_raw(parent.pid()).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        parent.wait(SOON).await.map(drop)
    })
    .await
}
