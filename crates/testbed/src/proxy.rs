//! A wire that can be cut and can be slow: a TCP proxy on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::ports::free_port;

/// How much is read at once; with [`IN_FLIGHT`] it bounds what a slow wire holds: 2 MB in each direction.
const CHUNK: usize = 32 << 10;
const IN_FLIGHT: usize = 64;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A TCP proxy before one address. It works on the runtime it was started on, and ends, with its connections,
/// when it is dropped.
///
/// If the target refuses, the proxy has accepted already: a client then sees its connection reset instead of
/// refused.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    text: String,
    target: Arc<str>,
    delays: Delays,
    open: Mutex<Option<Open>>,
}

/// A wire that is not cut.
#[derive(Debug)]
struct Open {
    /// The same socket as the accepting task has: shutting it down here refuses connections at once.
    listener: StdListener,
    connections: CancellationToken,
}

/// How long each direction takes, read anew for every chunk; and a count of the bytes.
#[derive(Debug, Clone)]
struct Delays {
    to_target: watch::Sender<Duration>,
    to_client: watch::Sender<Duration>,
    /// What was carried in both directions together.
    carried: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a free loopback port and connects each client through to `target` (`host:port`), which need
    /// not be there yet.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(target: impl Into<String>) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let proxy = Self {
            address,
            text: address.to_string(),
            target: target.into().into(),
            delays: Delays {
                to_target: watch::Sender::new(Duration::ZERO),
                to_client: watch::Sender::new(Duration::ZERO),
                carried: Arc::default(),
            },
            open: Mutex::new(None),
        };
        proxy.restore()?;
        Ok(proxy)
    }

    /// Where clients connect to: `127.0.0.1:<port>`. It stays the same when the wire is cut and restored.
    pub fn address(&self) -> &str {
        &self.text
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts the wire: from now on connections are refused, and the ones there are get reset. Nothing if it is
    /// cut.
    pub fn cut(&self) {
        if let Some(open) = self.lock().take() {
            // Linux leaves the listening state at once, whoever else holds the socket.
            if let Err(error) = shutdown(&open.listener, Shutdown::Both) {
                tracing::debug!(proxy = %self.address, %error, "the listener was closed already");
            }
            open.connections.cancel();
        }
    }

    /// Puts a cut wire together again, on the same address. Nothing if it is not cut.
    ///
    /// # Errors
    /// The port was taken by somebody else in the meantime.
    pub fn restore(&self) -> Result<()> {
        let mut open = self.lock();
        if open.is_some() {
            return Ok(());
        }
        let listen = || -> io::Result<(StdListener, TcpListener)> {
            let listener = StdListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            let accepting = TcpListener::from_std(listener.try_clone()?)?;
            Ok((listener, accepting))
        };
        let (listener, accepting) = listen()
            .with_context(|| format!("the proxy before {} cannot listen on {}", self.target, self.address))?;
        let connections = CancellationToken::new();
        tokio::spawn(accept(accepting, Arc::clone(&self.target), self.delays.clone(), connections.clone()));
        *open = Some(Open { listener, connections });
        Ok(())
    }

    /// Makes every byte arrive this much later, in both directions, on open connections too. Zero ends it.
    /// Establishing a connection is not delayed, and the throughput is not limited below 2 MB in flight.
    pub fn delay(&self, delay: Duration) {
        self.delay_to_target(delay);
        self.delay_to_client(delay);
    }

    /// Delays what clients send only.
    pub fn delay_to_target(&self, delay: Duration) {
        self.delays.to_target.send_replace(delay);
    }

    /// Delays what clients receive only.
    pub fn delay_to_client(&self, delay: Duration) {
        self.delays.to_client.send_replace(delay);
    }

    /// Bytes that came from clients and from the target since the start, TCP and IP headers not counted.
    pub fn carried(&self) -> u64 {
        self.delays.carried.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, delays: Delays, connections: CancellationToken) {
    loop {
        let client = tokio::select! {
            () = connections.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(error) => {
                    if !connections.is_cancelled() {
                        tracing::warn!(%target, %error, "a proxy cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    continue;
                }
            },
        };
        let (target, delays, connections) = (Arc::clone(&target), delays.clone(), connections.clone());
        tokio::spawn(async move {
            if let Err(error) = connect(client, &target, &delays, &connections).await {
                tracing::debug!(%target, %error, "a connection through a proxy ended");
            }
        });
    }
}

/// Carries one connection until both sides have closed, one of them failed, or the wire is cut.
async fn connect(
    mut client: TcpStream,
    target: &str,
    delays: &Delays,
    cut: &CancellationToken,
) -> io::Result<()> {
    let ended = tokio::select! {
        () = cut.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
        server = timeout(CONNECT_WITHIN, TcpStream::connect(target)) => match server {
            Ok(Ok(mut server)) => carry_both(&mut client, &mut server, delays, cut).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    };
    if ended.is_err() {
        client.set_zero_linger()?; // closing it is then a reset
    }
    ended
}

async fn carry_both(
    client: &mut TcpStream,
    server: &mut TcpStream,
    delays: &Delays,
    cut: &CancellationToken,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // Borrowed halves: unlike owned ones they do not end the stream in an orderly way when they are dropped.
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let ended = tokio::select! {
        () = cut.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
        both = async {
            tokio::try_join!(
                carry(from_client, to_server, delays.to_target.subscribe(), &delays.carried),
                carry(from_server, to_client, delays.to_client.subscribe(), &delays.carried),
            )
        } => both.map(|((), ())| ()),
    };
    if ended.is_err() {
        server.set_zero_linger()?;
    }
    ended
}

/// One direction: what is read is written when it is due, in order; an end of stream travels like the bytes
/// do.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    delay: watch::Receiver<Duration>,
    carried: &AtomicU64,
) -> io::Result<()> {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = from.read(&mut buffer).await?;
            carried.fetch_add(length as u64, Ordering::Relaxed);
            let due = Instant::now() + *delay.borrow();
            let chunk = buffer.get(..length).unwrap_or_default().to_vec();
            if send.send((due, chunk)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receive.recv().await {
            sleep_until(due).await;
            if chunk.is_empty() {
                break;
            }
            to.write_all(&chunk).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}
