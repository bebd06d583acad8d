//! Edits of a file, found by reading it again and again: works for every editor, for symbolic links that are exchanged
//! (as Kubernetes does with mounted ConfigMaps) and on every file system.

use std::{
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};
use tokio::time;

/// How often the file is read.
const POLL: Duration = Duration::from_millis(500);

/// The largest file that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file's content, or why it could not be read.
type Content = Result<String, String>;

/// Follows one file.
#[derive(Debug)]
pub(super) struct Edits {
    path: PathBuf,
    told: Option<Content>,
    seen: Option<Content>,
}

impl Edits {
    /// Follows the file at a path.
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, told: None, seen: None }
    }

    /// The content now.
    pub(super) async fn first(&mut self) -> Content {
        let content = self.read().await;
        self.told = Some(content.clone());
        content
    }

    /// The next content that differs from the last one told and has stayed the same for a whole poll: a file that is
    /// being written is not half a policy. Cancel safe.
    pub(super) async fn next(&mut self) -> Content {
        loop {
            time::sleep(POLL).await;
            let content = Some(self.read().await);
            let settled = content == self.seen;
            self.seen = content.clone();
            if settled && content != self.told {
                self.told = content.clone();
                if let Some(content) = content {
                    return content;
                }
            }
        }
    }

    async fn read(&self) -> Content {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            // One byte more than allowed tells a file that is too large from one that just fits.
            std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
            if text.len() as u64 > MAX_BYTES {
                return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
            }
            Ok(text)
        });
        match read.await {
            Ok(text) => text.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn tells_each_edit_once_and_the_loss_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, "one").unwrap();
        let mut edits = Edits::of(path.clone());
        assert_eq!(edits.first().await.unwrap(), "one");

        fs::write(&path, "two").unwrap();
        assert_eq!(time::timeout(LIMIT, edits.next()).await.unwrap().unwrap(), "two");

        // Written again with the same content: no edit.
        fs::write(&path, "two").unwrap();
        assert!(time::timeout(POLL * 4, edits.next()).await.is_err());

        fs::remove_file(&path).unwrap();
        assert!(time::timeout(LIMIT, edits.next()).await.unwrap().is_err());

        fs::write(&path, "two").unwrap();
        assert_eq!(time::timeout(LIMIT, edits.next()).await.unwrap().unwrap(), "two");
    }

    #[tokio::test]
    async fn a_huge_file_and_one_that_is_no_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert!(Edits::of(path.clone()).first().await.unwrap_err().contains("larger"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Edits::of(path).first().await.is_err());
    }
}
