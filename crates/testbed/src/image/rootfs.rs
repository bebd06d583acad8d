//! The files of an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

/// Files by their absolute path in the image. Folders above them need not be named. All times are 0 and, unless said
/// otherwise, all owners root, so that the layer depends on names, contents and modes alone.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder { mode: u32, owner: u64 },
    Bytes { bytes: Vec<u8>, mode: u32 },
    Copy { from: PathBuf, mode: u32 },
    Link { to: String },
}

impl Rootfs {
    /// A folder, owned by user and group `owner`.
    pub fn folder(&mut self, path: &str, mode: u32, owner: u64) -> &mut Self {
        self.add(path, Entry::Folder { mode, owner })
    }

    /// A file of these bytes.
    pub fn file(&mut self, path: &str, bytes: Vec<u8>, mode: u32) -> &mut Self {
        self.add(path, Entry::Bytes { bytes, mode })
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) -> &mut Self {
        self.add(path, Entry::Link { to: to.to_owned() })
    }

    /// A copy of a file of this machine, links followed. It is read when the image is written.
    pub fn copy(&mut self, path: &str, from: &Path, mode: u32) -> &mut Self {
        self.add(path, Entry::Copy { from: from.to_path_buf(), mode })
    }

    /// A copy of everything below a folder of this machine, links followed. Files that can be run there can be run
    /// in the image.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn copy_all(&mut self, path: &str, from: &Path) -> Result<&mut Self> {
        let context = || format!("{} cannot be read", from.display());
        for entry in std::fs::read_dir(from).with_context(context)? {
            let source = entry.with_context(context)?.path();
            let name = source.file_name().and_then(|name| name.to_str()).with_context(context)?;
            let target = format!("{path}/{name}");
            let metadata =
                source.metadata().with_context(|| format!("{} cannot be read", source.display()))?;
            if metadata.is_dir() {
                self.copy_all(&target, &source)?;
            } else {
                let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                self.copy(&target, &source, mode);
            }
        }
        Ok(self)
    }

    /// A program of this machine with every shared library that it is linked with, each where the dynamic linker
    /// looks for it.
    ///
    /// # Errors
    /// The program is not there, or a library of its is not.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<&mut Self> {
        self.libraries(from)?;
        Ok(self.copy(path, from, 0o755))
    }

    /// The shared libraries that a program or library of this machine is linked with, as ldd(1) finds them.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn libraries(&mut self, of: &Path) -> Result<&mut Self> {
        let output = std::process::Command::new("ldd")
            .arg(of)
            .env("LC_ALL", "C")
            .output()
            .context("ldd, which comes with the C library, cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let told = String::from_utf8_lossy(&output.stderr);
        let is_static = text.contains("statically linked") || told.contains("not a dynamic executable");
        ensure!(output.status.success() || is_static, "ldd {} failed: {}", of.display(), told.trim());
        for line in text.lines() {
            let line = line.trim();
            ensure!(
                !line.ends_with("not found"),
                "{} needs a library that is not here: {line}",
                of.display()
            );
            let Some(library) = library_of(line) else { continue };
            // Found beside the program itself, by its run path ($ORIGIN/../lib): it comes with the program.
            let is_beside = |folder: &Path| Path::new(library).starts_with(folder);
            if library.contains("/../") || of.parent().is_some_and(is_beside) {
                continue;
            }
            self.copy(library, Path::new(library), 0o755);
        }
        Ok(self)
    }

    /// The files of this machine that are copied, by their paths here.
    pub fn copies(&self) -> impl Iterator<Item = &PathBuf> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Copy { from, .. } => Some(from),
            _ => None,
        })
    }

    fn add(&mut self, path: &str, entry: Entry) -> &mut Self {
        self.entries.insert(path.trim_matches('/').to_owned(), entry);
        self
    }

    /// Writes the layer.
    pub(super) fn write(&self, output: impl Write) -> Result<()> {
        let mut all = BTreeMap::new();
        for path in self.entries.keys() {
            for (end, _) in path.match_indices('/') {
                all.insert(path[..end].to_owned(), Entry::Folder { mode: 0o755, owner: 0 });
            }
        }
        all.extend(self.entries.clone());
        let mut tar = Builder::new(output);
        for (path, entry) in &all {
            write(&mut tar, path, entry).with_context(|| format!("/{path} cannot be added to an image"))?;
        }
        tar.into_inner().and_then(|mut output| output.flush()).context("a layer cannot be written")
    }
}

/// The path in a line of ldd's: `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
/// Others, such as `linux-vdso.so.1 (0x…)`, have none.
fn library_of(line: &str) -> Option<&str> {
    let path = line.rsplit_once(" (0x")?.0;
    let path = path.split_once(" => ").map_or(path, |(_, path)| path);
    path.starts_with('/').then_some(path)
}

fn write(tar: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Folder { mode, owner } => {
            let mut header = header(0, *mode, EntryType::Directory);
            header.set_uid(*owner);
            header.set_gid(*owner);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Entry::Bytes { bytes, mode } => {
            tar.append_data(
                &mut header(bytes.len() as u64, *mode, EntryType::Regular),
                path,
                bytes.as_slice(),
            )?;
        }
        Entry::Copy { from, mode } => {
            let file = File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
            let size = file.metadata()?.len();
            tar.append_data(&mut header(size, *mode, EntryType::Regular), path, file)?;
        }
        Entry::Link { to } => tar.append_link(&mut header(0, 0o777, EntryType::Symlink), path, to)?,
    }
    Ok(())
}

/// With time and owner 0.
pub(super) fn header(size: u64, mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldds_lines_name_files_or_none() {
        assert_eq!(library_of("libm.so.6 => /lib/libm.so.6 (0x00007f)"), Some("/lib/libm.so.6"));
        assert_eq!(library_of("/lib64/ld-linux-x86-64.so.2 (0x00007f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library_of("linux-vdso.so.1 (0x00007ffc)"), None);
        assert_eq!(library_of("statically linked"), None);
    }

    #[test]
    fn folders_above_files_need_not_be_named() {
        let mut rootfs = Rootfs::default();
        rootfs.file("/a/b/c", b"text".to_vec(), 0o644).folder("/a", 0o700, 7);
        let mut layer = Vec::new();
        rootfs.write(&mut layer).unwrap();
        let mut tar = tar::Archive::new(layer.as_slice());
        let entries: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.uid().unwrap())
            })
            .collect();
        let expected = [("a/", 0o700, 7), ("a/b/", 0o755, 0), ("a/b/c", 0o644, 0)];
        assert_eq!(entries, expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner)));
    }

    #[test]
    fn a_program_brings_its_libraries() {
        let shell = crate::find_program(&"sh".into()).unwrap();
        let mut rootfs = Rootfs::default();
        rootfs.program("/bin/sh", &shell).unwrap();
        assert!(rootfs.entries.contains_key("bin/sh"));
        assert!(rootfs.entries.keys().any(|path| path.contains("libc.so")), "{:?}", rootfs.entries.keys());
    }
}
