//! May every crate that DoctorKafka is built from be used? A small check that runs everywhere; `cargo deny` knows more.

use crate::steps::{cargo, root};
use anyhow::{Context, bail};
use std::{collections::BTreeSet, fs};

/// Checks the licence of every crate in `Cargo.lock` against `licenses.allow` of `deny.toml`; gives how many there are.
///
/// # Errors
/// A crate's licence is not allowed, or cannot be known.
pub fn check() -> anyhow::Result<usize> {
    let deny = fs::read_to_string(root().join("deny.toml")).context("deny.toml cannot be read")?;
    let allowed = allow_list(&deny)?;
    let output = cargo(&["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("cargo metadata cannot be run")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let refused: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let licence = package["license"].as_str();
            let reason = match licence.map(|expression| is_allowed(expression, &allowed)) {
                Some(Ok(true)) => return None,
                Some(Ok(false)) => licence.unwrap_or_default().to_owned(),
                Some(Err(error)) => format!("{}: {error}", licence.unwrap_or_default()),
                None => "it names none".to_owned(),
            };
            Some(format!("{} {}: {reason}", package["name"], package["version"]).replace('"', ""))
        })
        .collect();
    if !refused.is_empty() {
        bail!("licences that deny.toml does not allow:\n  {}", refused.join("\n  "));
    }
    Ok(packages.len())
}

fn allow_list(deny: &str) -> anyhow::Result<BTreeSet<String>> {
    let document: toml_edit::DocumentMut = deny.parse().context("deny.toml is not TOML")?;
    let allow = document
        .get("licenses")
        .and_then(|licenses| licenses.get("allow"))
        .and_then(toml_edit::Item::as_array)
        .context("deny.toml has no licenses.allow")?;
    Ok(allow.iter().filter_map(|licence| licence.as_str().map(str::to_owned)).collect())
}

/// Whether an SPDX licence expression can be satisfied with allowed licences alone. `/`, as older crates write it,
/// means `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> anyhow::Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0 };
    let satisfied = words.either(allowed)?;
    match words.peek() {
        None => Ok(satisfied),
        Some(word) => bail!("unexpected {word:?}"),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.next += 1;
        word
    }

    fn take_if(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn either(&mut self, allowed: &BTreeSet<String>) -> anyhow::Result<bool> {
        let mut satisfied = self.both(allowed)?;
        while self.take_if("OR") {
            satisfied |= self.both(allowed)?;
        }
        Ok(satisfied)
    }

    fn both(&mut self, allowed: &BTreeSet<String>) -> anyhow::Result<bool> {
        let mut satisfied = self.one(allowed)?;
        while self.take_if("AND") {
            satisfied &= self.one(allowed)?;
        }
        Ok(satisfied)
    }

    fn one(&mut self, allowed: &BTreeSet<String>) -> anyhow::Result<bool> {
        if self.take_if("(") {
            let satisfied = self.either(allowed)?;
            if !self.take_if(")") {
                bail!("a parenthesis is not closed");
            }
            return Ok(satisfied);
        }
        let licence = match self.take() {
            None | Some(")" | "OR" | "AND" | "WITH") => bail!("a licence is missing"),
            Some(licence) => licence,
        };
        if self.take_if("WITH") {
            let exception = self.take().context("an exception is missing after WITH")?;
            return Ok(allowed.contains(&format!("{licence} WITH {exception}")));
        }
        Ok(allowed.contains(licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(expression: &str) -> anyhow::Result<bool> {
        let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"];
        is_allowed(expression, &allowed.map(str::to_owned).into())
    }

    #[test]
    fn expressions_are_satisfied_or_not() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "(MIT OR GPL-3.0-only) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
            "MIT OR GPL-3.0-only AND GPL-2.0-only",
        ] {
            assert!(judge(good).unwrap(), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND LGPL-2.1-only",
            "(MIT OR ISC) AND GPL-3.0-only",
            "MIT WITH Some-exception",
            "mit",
        ] {
            assert!(!judge(bad).unwrap(), "{bad}");
        }
        for nonsense in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT ISC", "MIT WITH"] {
            assert!(judge(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn the_allow_list_is_read_and_holds_no_copyleft() {
        let allowed = allow_list(include_str!("../../deny.toml")).unwrap();
        assert!(allowed.contains("Apache-2.0") && allowed.contains("MIT"));
        assert!(allowed.iter().all(|licence| !licence.contains("GPL")));
        assert!(allow_list("[licenses]").is_err());
    }
}
