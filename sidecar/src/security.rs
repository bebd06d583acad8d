//! The connection's files, which may come late and may change: certificates are renewed, passwords and tokens are rotated.

use doctorkafka_kafka::{Connection, SecurityFlags};
use std::time::Duration;
use tokio::sync::watch;

/// How often the files are read again.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How often files that are waited for are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The connection that the flags ask for, once their files are there and of use.
pub async fn secure_in_time(flags: &SecurityFlags, plain: Connection) -> Connection {
    let mut said = None;
    loop {
        let (flags, connection) = (flags.clone(), plain.clone());
        let read = tokio::task::spawn_blocking(move || flags.secure(connection)).await;
        let error = match read {
            Ok(Ok(connection)) => return connection,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if said.as_ref() != Some(&error) {
            tracing::warn!("nothing is reported until this is right: {error}");
            said = Some(error);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The same again and again, as the files may change: a certificate is renewed, a password is rotated. While they are
/// of no use, the last good connection stays. The channel is closed at once when there are no files.
pub fn watch(flags: SecurityFlags, plain: Connection, first: Connection) -> watch::Receiver<Connection> {
    let (sender, receiver) = watch::channel(first);
    if flags.reads_files() {
        tokio::spawn(follow(flags, plain, sender));
    }
    receiver
}

async fn follow(flags: SecurityFlags, plain: Connection, connections: watch::Sender<Connection>) {
    let mut said = None;
    loop {
        tokio::time::sleep(READ_AGAIN).await;
        let (flags, plain) = (flags.clone(), plain.clone());
        let Ok(read) = tokio::task::spawn_blocking(move || flags.secure(plain)).await else {
            continue;
        };
        match read {
            Ok(connection) => {
                said = None;
                connections.send_if_modified(|last| {
                    // A new token goes to the publisher that runs.
                    last.renew(&connection);
                    let news = *last != connection;
                    *last = connection;
                    news
                });
            }
            Err(error) => {
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    tracing::warn!("the last good certificates, password and token stay in use: {error}");
                    said = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use doctorkafka_testbed::Certificates;
    use std::fs;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        security: SecurityFlags,
    }

    #[tokio::test]
    async fn files_that_come_later_are_waited_for() {
        let certificates = Certificates::generate("prod-ca").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let flags = ["program", "--tls-ca", path.to_str().unwrap()];
        let flags = Program::try_parse_from(flags).unwrap().security;
        let plain = Connection::new("kafka:9093", "test").unwrap();
        let write = async {
            tokio::task::yield_now().await;
            fs::write(&path, &certificates.authority).unwrap();
        };
        let both = async { tokio::join!(secure_in_time(&flags, plain.clone()), write).0 };
        let connection = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        assert_eq!(connection, flags.secure(plain).unwrap());
    }
}
