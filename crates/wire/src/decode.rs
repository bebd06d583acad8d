//! Reading untrusted bytes.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The largest record value that is looked at, bytes. A report is about 1 KB.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Why a record's value was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MAX_RECORD_BYTES`].
    #[error("{bytes} bytes are more than the {MAX_RECORD_BYTES} allowed")]
    TooLarge {
        /// Size of the value.
        bytes: usize,
    },
    /// Written by a newer release.
    #[error("version {version} is newer than this release understands")]
    NewerVersion {
        /// The record's version.
        version: u64,
    },
    /// Not JSON, or not of this shape.
    #[error("malformed: {reason}")]
    Malformed {
        /// What the JSON reader said.
        reason: String,
    },
    /// The shape is right and a figure cannot be true.
    #[error("field {field} cannot be true")]
    Absurd {
        /// The field, as a path.
        field: &'static str,
    },
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

pub(crate) fn json<T: DeserializeOwned>(
    value: &[u8],
    version_of: fn(&T) -> u32,
    newest: u32,
) -> Result<T, DecodeError> {
    if value.len() > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLarge { bytes: value.len() });
    }
    let newer = |version: u64| DecodeError::NewerVersion { version };
    match serde_json::from_slice::<T>(value) {
        Ok(record) if version_of(&record) > newest => Err(newer(version_of(&record).into())),
        Ok(record) if version_of(&record) == 0 => {
            Err(DecodeError::Malformed { reason: "versions begin at 1".to_owned() })
        }
        Ok(record) => Ok(record),
        // Only a record that could not be read is worth a second look at its version.
        Err(error) => match serde_json::from_slice::<Versioned>(value) {
            Ok(Versioned { version }) if version > u64::from(newest) => Err(newer(version)),
            _ => Err(DecodeError::Malformed { reason: error.to_string() }),
        },
    }
}

pub(crate) fn to_json<T: Serialize>(record: &T) -> Vec<u8> {
    // Fails only for maps with keys that are not strings and for failing writers; these types have neither.
    serde_json::to_vec(record).unwrap_or_default()
}
