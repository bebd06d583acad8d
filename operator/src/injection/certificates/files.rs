//! A certificate from a mounted folder, as cert-manager's Secrets are mounted: read again and again, because it changes.

use super::{Serving, state::Pair};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

/// The largest file that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Shows `tls.crt` with `tls.key` of a folder, and what they become, until it is dropped. While they are of no use, what was
/// shown last still is.
pub async fn follow(folder: PathBuf, serving: Arc<Serving>, poll: Duration) {
    let mut said = None;
    loop {
        let outcome = async {
            let certificate = read(&folder, "tls.crt").await?;
            let pair = Pair { certificate, key: read(&folder, "tls.key").await? };
            serving.show(&pair).map_err(|error| format!("{}: {error}", folder.display()))
        };
        match outcome.await {
            Ok(is_new) => {
                said = None;
                serving.note_trusted();
                if is_new {
                    tracing::info!("the injection webhook shows the certificate in {}", folder.display());
                }
            }
            Err(error) => {
                if said.as_ref() != Some(&error) {
                    tracing::warn!("the injection webhook's certificate cannot be used: {error}");
                    said = Some(error);
                }
            }
        }
        tokio::time::sleep(poll).await;
    }
}

async fn read(folder: &std::path::Path, name: &str) -> Result<String, String> {
    let path = folder.join(name);
    let read = async {
        let mut text = String::new();
        let file = tokio::fs::File::open(&path).await?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).await?;
        if text.len() as u64 > MAX_BYTES { Err(io::Error::other("it is too large")) } else { Ok(text) }
    };
    read.await.map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doctorkafka_testbed::{Certificates, wait_until};
    use std::fs;

    #[tokio::test]
    async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let serving = Arc::new(Serving::default());
        let poll = Duration::from_millis(20);
        let task = tokio::spawn(follow(folder.path().to_owned(), serving.clone(), poll));
        let shown = |certificate: String| {
            let serving = serving.clone();
            let pair = Pair { certificate, key: String::new() };
            // Showing what is shown already needs no key.
            move || std::future::ready(serving.show(&pair) == Ok(false))
        };
        let within = Duration::from_secs(30);
        let first = Certificates::generate("first").unwrap().broker;
        put("tls.crt", &first.certificate);
        put("tls.key", &first.key);
        wait_until("the first certificate", within, shown(first.certificate.clone())).await.unwrap();
        assert!(serving.expiry().is_some());

        let second = Certificates::generate("second").unwrap().broker;
        put("tls.crt", &second.certificate);
        // Half of a change: the key is not the certificate's.
        tokio::time::timeout(within, async {
            for _ in 0..5 {
                tokio::time::sleep(poll).await;
            }
        })
        .await
        .unwrap();
        assert!(shown(first.certificate.clone())().await);
        put("tls.key", &second.key);
        wait_until("the second certificate", within, shown(second.certificate)).await.unwrap();
        task.abort();
    }
}
