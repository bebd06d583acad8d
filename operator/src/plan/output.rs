//! Writing a plan or an instance, line by line.

use anyhow::Context;
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Writes all lines or none: what is at `path` stays what it is until they are complete. `-` is standard output.
///
/// # Errors
/// The file cannot be written; the message says what (`the plan`) and where.
pub(super) fn write_lines(
    what: &str,
    path: &Path,
    lines: impl IntoIterator<Item = io::Result<String>>,
) -> anyhow::Result<()> {
    let lines = |out: &mut dyn Write| -> io::Result<()> {
        for line in lines {
            out.write_all(line?.as_bytes())?;
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    if path == Path::new("-") {
        return lines(&mut BufWriter::new(io::stdout().lock()))
            .with_context(|| format!("cannot write {what} to standard output"));
    }
    let cannot = || format!("cannot write {what} to {}", path.display());
    // A device or a pipe is written to as it is.
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).with_context(cannot)?;
        return lines(&mut BufWriter::new(file)).with_context(cannot);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = File::create(&partial).with_context(cannot)?;
    let written = lines(&mut BufWriter::new(file)).and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // The error that matters is the one that is given back.
        let _ = std::fs::remove_file(&partial);
    }
    written.with_context(cannot)
}
