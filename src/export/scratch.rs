//! A file or folder that appears under its name at once and whole, or not at all. Nothing that is there is replaced unasked, and
//! never a folder that holds more than an adapter.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a folder may hold to be replaced.
const OURS: [&str; 3] = ["adapter_config.json", super::peft::WEIGHTS, super::mlx::WEIGHTS];

/// The place to write to; it is removed when dropped before `keep`.
pub struct Scratch {
    out: PathBuf,
    path: PathBuf,
    folder: bool,
    force: bool,
}

impl Scratch {
    /// For a file or a folder at `out`. Refused when something is there that may not be replaced.
    pub fn new(out: &Path, folder: bool, force: bool) -> Result<Scratch> {
        check(out, folder, force)?;
        let Some(name) = out.file_name() else {
            return Err(Error::input(format!("{} has no name", out.display()), "name a file or folder to write"));
        };
        let parent = parent(out);
        if !parent.is_dir() {
            return Err(Error::input(format!("there is no folder {}", parent.display()), "make it, or name another place"));
        }
        let path = parent.join(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let scratch = Scratch { out: out.into(), path, folder, force };
        scratch.clear();
        if folder {
            std::fs::create_dir(&scratch.path).map_err(|e| Error::file(&scratch.path, e))?;
        }
        Ok(scratch)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives what was written its name, once it is on the disk.
    pub fn keep(self) -> Result<()> {
        let failed = |e: std::io::Error| Error::file(&self.out, e);
        let written = match self.folder {
            true => std::fs::read_dir(&self.path).and_then(|all| all.map(|e| e.map(|e| e.path())).collect()).map_err(failed)?,
            false => vec![self.path.clone()],
        };
        // Windows flushes only what is open for writing.
        let flush = |file: &PathBuf| File::options().write(true).open(file).and_then(|file| file.sync_all());
        written.iter().try_for_each(flush).map_err(failed)?;
        check(&self.out, self.folder, self.force)?;
        // A folder cannot be replaced in one step: the old one waits beside until the new one is there.
        let old = self.path.with_extension("old");
        let replaced = self.folder && self.out.exists();
        if replaced {
            std::fs::rename(&self.out, &old).map_err(failed)?;
        }
        if let Err(error) = std::fs::rename(&self.path, &self.out) {
            if replaced {
                let _ = std::fs::rename(&old, &self.out);
            }
            return Err(failed(error));
        }
        if replaced {
            let _ = std::fs::remove_dir_all(&old);
        }
        #[cfg(unix)]
        let _ = File::open(parent(&self.out)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn clear(&self) {
        let _ = if self.path.is_dir() { std::fs::remove_dir_all(&self.path) } else { std::fs::remove_file(&self.path) };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check(out: &Path, folder: bool, force: bool) -> Result<()> {
    let Ok(found) = std::fs::symlink_metadata(out) else { return Ok(()) };
    let refuse = |what: &str, remedy: &str| Err(Error::input(format!("{} {what}", out.display()), remedy));
    if !force {
        return refuse("exists", "name another path, or replace it with --force");
    }
    if folder != found.is_dir() {
        let what = if folder { "is not a folder, and this format is one" } else { "is not a file, and this format is one" };
        return refuse(what, "name another path");
    }
    if folder {
        let mut entries = std::fs::read_dir(out).map_err(|e| Error::file(out, e))?.flatten();
        if entries.any(|e| !OURS.contains(&e.file_name().to_string_lossy().as_ref())) {
            return refuse("holds more than an adapter", "name another folder; only an adapter's folder is replaced");
        }
    }
    Ok(())
}
