//! How a second terminal speaks to a running demo: one line of JSON each way over a Unix socket that only this user can
//! open.

use anyhow::{Context, bail};
use doctorkafka_testbed::runtime_dir;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// The longest line either side takes.
const LINE: u64 = 64 << 10;
/// How long the other side may take to say its line once it has been let in.
const SAY_WITHIN: Duration = Duration::from_secs(5);
/// How long the demo may take to do what it was told; starting a broker after a crash is the longest.
const DO_WITHIN: Duration = Duration::from_secs(240);

/// What a running demo can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Subcommand)]
#[serde(tag = "request", rename_all = "camelCase")]
pub enum Request {
    /// Kill a broker (kill -9), as a crash does; its sidecar lives on
    StopBroker {
        /// Broker id
        broker: i32,
    },
    /// Start a broker again
    StartBroker {
        /// Broker id
        broker: i32,
    },
    /// Lay a spike of CPU over a broker's figures
    SpikeBroker {
        /// Broker id
        broker: i32,
    },
    /// End the leading doctor; the other takes over
    StopDoctor,
    /// Start the doctor that was ended
    StartDoctor,
}

impl fmt::Display for Request {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopBroker { broker } => write!(f, "stop-broker {broker}"),
            Self::StartBroker { broker } => write!(f, "start-broker {broker}"),
            Self::SpikeBroker { broker } => write!(f, "spike-broker {broker}"),
            Self::StopDoctor => f.write_str("stop-doctor"),
            Self::StartDoctor => f.write_str("start-doctor"),
        }
    }
}

/// What came of a request, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// It was done.
    Done(String),
    /// It was not.
    Refused(String),
}

/// The demo's end. The socket goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

/// A request whose sender waits for a reply.
#[derive(Debug)]
pub struct Asked {
    /// What was asked for.
    pub request: Request,
    stream: BufReader<UnixStream>,
}

impl Server {
    /// Opens the socket.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn start() -> anyhow::Result<Self> {
        Self::at(socket(&runtime_dir()?, std::process::id()))
    }

    fn at(path: PathBuf) -> anyhow::Result<Self> {
        // One of this name can only be what a killed process of the same id has left.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("{} cannot be removed", path.display()));
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        Ok(Self { listener, path })
    }

    /// The next request that makes sense. Who says nothing, or nonsense, is sent away.
    pub async fn next(&self) -> Asked {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of file descriptors, say: try again when something may have been closed.
                tokio::time::sleep(SAY_WITHIN).await;
                continue;
            };
            let mut stream = BufReader::new(stream);
            match timeout(SAY_WITHIN, read_line(&mut stream)).await {
                Ok(Ok(request)) => return Asked { request, stream },
                Ok(Err(error)) => {
                    let reply = Reply::Refused(format!("{error:#}"));
                    // Whoever spoke nonsense may be gone already.
                    let _gone = write_line(stream.get_mut(), &reply).await;
                }
                Err(_elapsed) => {}
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Left behind it does no harm: `ask` removes sockets that nobody listens on.
        let _left = fs::remove_file(&self.path);
    }
}

impl Asked {
    /// Says what came of it. The sender may have gone away meanwhile.
    pub async fn answer(mut self, outcome: anyhow::Result<String>) {
        let reply = match outcome {
            Ok(message) => Reply::Done(message),
            Err(error) => Reply::Refused(format!("{error:#}")),
        };
        if let Err(error) = write_line(self.stream.get_mut(), &reply).await {
            tracing::debug!("the reply was not heard: {error:#}");
        }
    }
}

/// Tells the running demo, or the one with process id `pid`, what to do, and prints what came of it.
///
/// # Errors
/// No demo runs, several do and none was named, or it refused.
pub async fn ask(request: &Request, pid: Option<u32>) -> anyhow::Result<()> {
    let reply = exchange(request, reach(&runtime_dir()?, pid).await?).await?;
    match reply {
        Reply::Done(message) => {
            println!("{message}");
            Ok(())
        }
        Reply::Refused(message) => bail!("{message}"),
    }
}

async fn exchange(request: &Request, mut stream: UnixStream) -> anyhow::Result<Reply> {
    write_line(&mut stream, request).await?;
    let mut stream = BufReader::new(stream);
    match timeout(DO_WITHIN, read_line(&mut stream)).await {
        Ok(reply) => reply.context("the demo ended before it answered"),
        Err(_elapsed) => {
            bail!("the demo did not answer within {} s: look at its terminal", DO_WITHIN.as_secs())
        }
    }
}

/// Connects to the one demo that runs. Sockets that nobody listens on any more are removed.
async fn reach(folder: &Path, pid: Option<u32>) -> anyhow::Result<UnixStream> {
    if let Some(pid) = pid {
        let path = socket(folder, pid);
        return UnixStream::connect(&path)
            .await
            .with_context(|| format!("process {pid} is no demo of yours"));
    }
    let mut running = Vec::new();
    for pid in known(folder)? {
        let path = socket(folder, pid);
        match UnixStream::connect(&path).await {
            Ok(stream) => running.push((pid, stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Somebody else may have removed it at the same time.
                let _gone = fs::remove_file(&path);
            }
            Err(error) => tracing::debug!(path = %path.display(), "cannot connect: {error}"),
        }
    }
    match (running.pop(), running.as_slice()) {
        (Some((_, stream)), []) => Ok(stream),
        (None, _) => bail!("no demo is running: start one in another terminal with cargo xtask demo"),
        (Some((last, _)), others) => {
            let pids: Vec<String> =
                others.iter().map(|(pid, _)| *pid).chain([last]).map(|p| p.to_string()).collect();
            bail!("{} demos are running: say which with --pid (one of {})", pids.len(), pids.join(", "))
        }
    }
}

fn socket(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("demo-{pid}.sock"))
}

/// Process ids of the demos whose sockets are there, in order.
fn known(folder: &Path) -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix("demo-")?.strip_suffix(".sock")?.parse().ok()
        })
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

async fn read_line<T: for<'a> Deserialize<'a>>(stream: &mut BufReader<UnixStream>) -> anyhow::Result<T> {
    let mut line = String::new();
    stream.take(LINE).read_line(&mut line).await.context("nothing could be read")?;
    serde_json::from_str(&line).with_context(|| format!("not understood: {}", line.trim()))
}

async fn write_line<T: Serialize>(stream: &mut UnixStream, what: &T) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what).context("cannot be written as JSON")?;
    line.push(b'\n');
    timeout(SAY_WITHIN, stream.write_all(&line)).await.context("the other side does not listen")??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn serve_one(server: Server, outcome: anyhow::Result<String>) -> Request {
        let asked = server.next().await;
        let request = asked.request.clone();
        asked.answer(outcome).await;
        request
    }

    #[tokio::test]
    async fn a_request_reaches_the_demo_and_its_reply_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket(folder.path(), 1);
        let served = tokio::spawn(serve_one(Server::at(path.clone()).unwrap(), Ok("killed".to_owned())));
        let stream = reach(folder.path(), None).await.unwrap();
        let reply = exchange(&Request::StopBroker { broker: 2 }, stream).await.unwrap();
        assert_eq!(reply, Reply::Done("killed".to_owned()));
        assert_eq!(served.await.unwrap(), Request::StopBroker { broker: 2 });
        assert!(!path.exists(), "the socket goes with its demo");
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_does_not_stop_the_demo() {
        let folder = tempfile::tempdir().unwrap();
        let served = tokio::spawn(serve_one(
            Server::at(socket(folder.path(), 1)).unwrap(),
            Err(anyhow::anyhow!("no")),
        ));
        let mut stream = reach(folder.path(), None).await.unwrap();
        stream.write_all(b"{\"request\":\"dance\"}\n").await.unwrap();
        let reply: Reply = read_line(&mut BufReader::new(stream)).await.unwrap();
        assert!(matches!(reply, Reply::Refused(reason) if reason.contains("not understood")));
        let stream = reach(folder.path(), Some(1)).await.unwrap();
        let reply = exchange(&Request::StopDoctor, stream).await.unwrap();
        assert_eq!(reply, Reply::Refused("no".to_owned()));
        assert_eq!(served.await.unwrap(), Request::StopDoctor);
    }

    #[tokio::test]
    async fn it_is_said_when_no_demo_runs_or_several_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = |outcome: anyhow::Result<UnixStream>| format!("{:#}", outcome.unwrap_err());
        assert!(error(reach(folder.path(), None).await).contains("no demo is running"));
        assert!(error(reach(folder.path(), Some(9)).await).contains("process 9 is no demo"));
        let one = Server::at(socket(folder.path(), 5)).unwrap();
        let _two = Server::at(socket(folder.path(), 40)).unwrap();
        let several = error(reach(folder.path(), None).await);
        assert!(several.contains("2 demos") && several.contains("5, 40"), "{several}");
        drop(one);
        assert!(reach(folder.path(), None).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_killed_demo_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket(folder.path(), 8);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(reach(folder.path(), None).await.is_err());
        assert!(!path.exists());
    }
}
