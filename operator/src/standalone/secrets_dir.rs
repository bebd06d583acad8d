//! Secrets as files: `DIR/<secret>/<key>`, as Kubernetes mounts them.

use crate::credentials::{SecretReference, Values};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The largest file that is read, bytes; the API server takes no larger Secret.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads the values of all references.
///
/// # Errors
/// Each file that cannot be read, by field and path.
pub(super) fn read(directory: Option<&Path>, references: &[SecretReference]) -> Result<Values, Vec<String>> {
    let mut values = Values::default();
    let mut errors = Vec::new();
    for reference in references {
        let SecretReference { field, secret, key } = reference;
        let Some(directory) = directory else {
            errors.push(format!(
                "{field} names Secret {secret}, key {key}: give --secrets-dir DIR, a directory that has it as the file \
                 DIR/{secret}/{key}"
            ));
            continue;
        };
        if [secret, key].into_iter().any(|name| matches!(name.as_str(), "." | "..") || name.contains('/')) {
            errors.push(format!("{field}: {secret}/{key} is not the name of a Secret and of a key in it"));
            continue;
        }
        let path = directory.join(secret).join(key);
        match read_file(&path) {
            Ok(value) => values.add(reference, path.display().to_string(), value),
            Err(error) => errors.push(format!("{field}: cannot read {}: {error}", path.display())),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(errors) }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    match content.len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        length if length > MAX_BYTES => Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes"))),
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn reference(secret: &str, key: &str) -> SecretReference {
        SecretReference { field: "spec.x".into(), secret: secret.into(), key: key.into() }
    }

    fn errors(directory: Option<&Path>, references: &[SecretReference]) -> Vec<String> {
        read(directory, references).err().unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_read_is_named_by_field_and_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("doctor")).unwrap();
        fs::write(path.join("doctor/password"), "hunter2").unwrap();
        fs::write(path.join("doctor/empty"), "").unwrap();
        fs::write(path.join("doctor/huge"), vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert!(errors(Some(path), &[reference("doctor", "password")]).is_empty());
        let all = ["empty", "huge", "missing"].map(|key| reference("doctor", key));
        let said = errors(Some(path), &all);
        let shown = path.display();
        assert_eq!(said[0], format!("spec.x: cannot read {shown}/doctor/empty: it is empty"));
        assert!(said[1].contains("larger than 1048576 bytes"), "{said:?}");
        assert!(said[2].starts_with(&format!("spec.x: cannot read {shown}/doctor/missing: No such file")));
        for (secret, key) in [("..", "password"), ("doctor", "../doctor/password"), ("doctor", "..")] {
            assert!(
                errors(Some(path), &[reference(secret, key)])[0].contains("is not the name"),
                "{secret}/{key}"
            );
        }
    }

    #[test]
    fn without_a_directory_the_flag_is_named() {
        let said = errors(None, &[reference("prod-ca", "ca.crt")]);
        assert_eq!(
            said,
            [
                "spec.x names Secret prod-ca, key ca.crt: give --secrets-dir DIR, a directory that has it as the file \
              DIR/prod-ca/ca.crt"
            ]
        );
    }
}
