//! The wire can be cut, restored and slowed down.

use std::time::{Duration, Instant};

use anyhow::Result;
use doctorkafka_testbed::{KafkaCluster, Proxy, free_port, live_brokers, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(5);

/// Sends back what it gets, until the other side closes.
async fn echo() -> Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", free_port()?)).await?;
    let address = listener.local_addr()?.to_string();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    Ok((address, server))
}

async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> Result<Duration> {
    let started = Instant::now();
    let mut answer = vec![0; text.len()];
    let exchange = async {
        stream.write_all(text).await?;
        stream.read_exact(&mut answer).await
    };
    tokio::time::timeout(SOON, exchange).await??;
    assert_eq!(answer, text);
    Ok(started.elapsed())
}

#[tokio::test]
async fn carries_bytes_and_the_end_of_a_stream() -> Result<()> {
    let (address, _server) = echo().await?;
    let proxy = Proxy::start(address).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut got = Vec::new();
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&large).await?;
        write.shutdown().await
    };
    tokio::time::timeout(SOON, async { tokio::try_join!(send, read.read_to_end(&mut got)) }).await??;
    assert!(got == large, "5 MB there and back, and then the end");
    Ok(())
}

#[tokio::test]
async fn a_cut_refuses_and_resets_and_can_be_undone() -> Result<()> {
    let (address, _server) = echo().await?;
    let proxy = Proxy::start(address).await?;
    for round in 0..20 {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        round_trip(&mut stream, b"hello").await?;
        proxy.cut();
        proxy.cut();
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "round {round}");
        let reset = tokio::time::timeout(SOON, stream.read_u8()).await?.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset, "round {round}");
        proxy.restore()?;
        proxy.restore()?;
    }
    let mut stream = TcpStream::connect(proxy.address()).await?;
    round_trip(&mut stream, b"hello again").await?;

    let gone = proxy.address().to_owned();
    drop(proxy);
    assert!(TcpStream::connect(gone).await.is_err());
    let reset = tokio::time::timeout(SOON, stream.read_u8()).await?.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    Ok(())
}

#[tokio::test]
async fn each_direction_has_its_own_delay() -> Result<()> {
    const DELAY: Duration = Duration::from_millis(200);
    let (address, _server) = echo().await?;
    let proxy = Proxy::start(address).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(round_trip(&mut stream, b"fast").await? < DELAY);
    proxy.delay_to_target(DELAY);
    assert!(round_trip(&mut stream, b"there").await? >= DELAY);
    proxy.delay(DELAY);
    assert!(round_trip(&mut stream, b"there and back").await? >= 2 * DELAY);
    proxy.delay_to_target(Duration::ZERO);
    assert!(round_trip(&mut stream, b"back").await? >= DELAY);
    proxy.delay(Duration::ZERO);
    assert!(round_trip(&mut stream, b"fast again").await? < DELAY);
    Ok(())
}

#[tokio::test]
async fn a_target_that_is_not_there_resets_the_client() -> Result<()> {
    let proxy = Proxy::start(format!("127.0.0.1:{}", free_port()?)).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let reset = tokio::time::timeout(SOON, stream.read_u8()).await?.unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    Ok(())
}

#[tokio::test]
async fn clients_reach_brokers_only_through_their_proxies() -> Result<()> {
    let kafka = KafkaCluster::builder().brokers(3).proxied(true).start().await?;
    assert!(!kafka.bootstrap().contains(kafka.broker(1).address()));
    kafka.create_topic("orders", 3, 3).await?;
    for id in 1..=3 {
        live_brokers(kafka.proxy(id).address()).await?;
    }
    // Brokers tell each other's proxies to clients: with the wire to broker 2 cut, a client that begins at
    // broker 1 cannot work with a partition of broker 2, although broker 2 is well and known to the others.
    kafka.proxy(2).cut();
    assert!(live_brokers(kafka.proxy(2).address()).await.is_err());
    let mut leaders = kafka.tool("org.apache.kafka.tools.GetOffsetShell");
    leaders.args(["--bootstrap-server", kafka.proxy(1).address(), "--topic", "orders"]);
    let cut_off = tokio::time::timeout(Duration::from_secs(5), leaders.output()).await;
    assert!(cut_off.is_err(), "the partition led by broker 2 cannot be asked: {cut_off:?}");
    wait_until("broker 1 to know all three still", SOON, || async {
        live_brokers(kafka.proxy(1).address()).await.is_ok_and(|live| live.len() == 3)
    })
    .await?;
    kafka.proxy(2).restore()?;
    live_brokers(kafka.proxy(2).address()).await?;
    let mut leaders = kafka.tool("org.apache.kafka.tools.GetOffsetShell");
    leaders.args(["--bootstrap-server", kafka.proxy(1).address(), "--topic", "orders"]);
    let offsets = tokio::time::timeout(Duration::from_secs(60), leaders.output()).await??;
    assert_eq!(String::from_utf8(offsets.stdout)?.lines().count(), 3, "one line for each partition");
    Ok(())
}
