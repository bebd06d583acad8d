//! Random ids.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// A random id as Kafka writes them: 16 bytes in unpadded URL-safe base64, not beginning with a dash.
pub(crate) fn new_uuid() -> Result<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("no random numbers")?;
    // A version 4 UUID, as Java makes them; its first character must not look like an option of a command
    // line.
    bytes[0] &= 0x7f;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let number = u128::from_be_bytes(bytes);
    // 128 bits are 21 characters of 6 bits and one of 2, filled up with zeros.
    let sextet = |index: u32| match 122_u32.checked_sub(index * 6) {
        Some(shift) => number >> shift,
        None => number << 4,
    };
    Ok((0..22).map(|index| char::from(ALPHABET[(sextet(index) & 63) as usize])).collect())
}

#[cfg(test)]
mod tests {
    use super::new_uuid;

    #[test]
    fn ids_are_ids_of_kafka_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..2_000).map(|_| new_uuid().unwrap()).collect();
        assert_eq!(ids.len(), 2_000);
        for id in ids {
            assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{id}");
            // The last character carries two bits; Java's decoder refuses anything in the other four.
            assert!(id.ends_with(['A', 'Q', 'g', 'w']), "{id}");
        }
    }
}
