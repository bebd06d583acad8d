//! Text that nobody may see.

use std::{fmt, sync::Arc};

/// A password or a private key. Neither `Debug` nor any error shows it; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Takes one line of text, as files and Kubernetes Secrets hold passwords: what ends the line is left out. `None` when
    /// the bytes are not UTF-8.
    pub fn from_line(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Some(Self::new(text.strip_suffix('\r').unwrap_or(text)))
    }

    /// The text, for whom it is meant.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
        assert_eq!(format!("{:#?}", Some(Secret::new("hunter2"))), "Some(\n    [redacted],\n)");
    }

    #[test]
    fn the_end_of_the_line_is_no_part_of_it() {
        for line in ["a b", "a b\n", "a b\r\n"] {
            assert_eq!(Secret::from_line(line.as_bytes()), Some(Secret::new("a b")));
        }
        assert_eq!(Secret::from_line(b"a\n\n"), Some(Secret::new("a\n")));
        assert_eq!(Secret::from_line(&[0xff]), None);
    }
}
