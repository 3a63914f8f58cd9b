//! The one room that every output passes through. Promises: a file or folder appears under its name whole or not at all; what is
//! there is replaced only on request, in one step, and stays when its successor cannot be written; and only regular files are ever
//! replaced, whoever asks: a link, pipe, socket or device never is. Everything that can be refused is refused by `check`, before the
//! work whose result it is to hold.

use crate::error::{Error, Result};
use std::fs::{File, FileType, OpenOptions, symlink_metadata};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What to do about a file that is there.
const ANOTHER: &str = "give --force to replace it, or name another file";

/// The place of an output that is being written; what was written goes away when this is dropped before [`Output::keep`].
pub struct Output {
    path: PathBuf,
    part: PathBuf,
    /// Of a folder: the names of what it may hold to be replaced.
    folder: Option<&'static [&'static str]>,
    force: bool,
}

impl Output {
    /// For a file at `path`, in a folder that is made where it is missing.
    ///
    /// # Errors
    /// As [`check`].
    pub fn file(path: &Path, force: bool) -> Result<Output> {
        Output::begin(path, None, force)
    }

    /// For a folder at `path`; one that is there is replaced with `force`, where it holds nothing but files of the names `ours`.
    ///
    /// # Errors
    /// As [`check_folder`].
    pub fn folder(path: &Path, ours: &'static [&'static str], force: bool) -> Result<Output> {
        Output::begin(path, Some(ours), force)
    }

    fn begin(path: &Path, folder: Option<&'static [&'static str]>, force: bool) -> Result<Output> {
        match folder {
            None => check(path, force)?,
            Some(ours) => check_folder(path, ours, force)?,
        }
        let parent = parent(path);
        std::fs::create_dir_all(parent).map_err(|e| unwritable(parent, &e))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = parent.join(format!(".{name}.{}.part", std::process::id()));
        let output = Output { path: path.into(), part, folder, force };
        // A leftover of a process that had the same id and was killed.
        output.clear();
        if folder.is_some() {
            std::fs::create_dir(&output.part).map_err(|e| unwritable(&output.part, &e))?;
        }
        Ok(output)
    }

    /// What the user calls it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where to write.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Gives what was written its name, once it is on the disk.
    ///
    /// # Errors
    /// What is there under the name may not be replaced; the disk is full or failed. What was there stays.
    pub fn keep(self) -> Result<()> {
        let Some(ours) = self.folder else { return put(&self.part, &self.path, self.force) };
        let failed = |e: std::io::Error| unwritable(&self.path, &e);
        let files =
            std::fs::read_dir(&self.part).and_then(|all| all.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>());
        files.and_then(|files| files.iter().try_for_each(|file| flush(file))).map_err(failed)?;
        check_folder(&self.path, ours, self.force)?;
        // A folder cannot be replaced in one step: the old one waits beside until the new one is there.
        let old = self.part.with_extension("old");
        let replaced = self.path.exists();
        if replaced {
            std::fs::rename(&self.path, &old).map_err(failed)?;
        }
        if let Err(error) = std::fs::rename(&self.part, &self.path) {
            if replaced {
                let _ = std::fs::rename(&old, &self.path);
            }
            return Err(failed(error));
        }
        if replaced {
            let _ = std::fs::remove_dir_all(&old);
        }
        settle(&self.path);
        Ok(())
    }

    fn clear(&self) {
        let _ = if self.part.is_dir() { std::fs::remove_dir_all(&self.part) } else { std::fs::remove_file(&self.part) };
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether a file can be written at `path`: nothing is there, or with `force` a regular file, and its folder can be written.
///
/// # Errors
/// Input that names what is in the way and the remedy; a folder that cannot be written.
pub fn check(path: &Path, force: bool) -> Result<()> {
    check_or(path, force, ANOTHER)
}

/// The same, with what to do about a file that is there.
///
/// # Errors
/// As [`check`].
pub fn check_or(path: &Path, force: bool, remedy: &str) -> Result<()> {
    free(path, force, remedy)?;
    reachable(path)
}

/// Whether a folder can be written at `path`: nothing is there, or with `force` a folder that holds files of the names `ours` only.
///
/// # Errors
/// As [`check`].
pub fn check_folder(path: &Path, ours: &[&str], force: bool) -> Result<()> {
    let refuse = |what: &str, remedy: &str| Err(Error::input(format!("{} {what}", path.display()), remedy));
    named(path)?;
    let Ok(found) = symlink_metadata(path) else { return reachable(path) };
    if let Some(error) = special(path, found.file_type()) {
        return Err(error);
    }
    if !found.is_dir() {
        return refuse("is not a folder, and this output is one", "name another path");
    }
    if !force {
        return refuse("exists already", "give --force to replace it, or name another folder");
    }
    let mut entries = std::fs::read_dir(path).map_err(|e| Error::file(path, e))?.flatten();
    if entries.any(|e| !ours.contains(&e.file_name().to_string_lossy().as_ref())) {
        return refuse("holds more than this output", "name another folder; only one with nothing else in it is replaced");
    }
    reachable(path)
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// As [`check`]; the disk is full or failed: what was there stays.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>, force: bool) -> Result<()> {
    let output = Output::file(path, force)?;
    std::fs::write(output.part(), bytes).map_err(|e| unwritable(path, &e))?;
    output.keep()
}

/// Whether text can be written at `path`: as a file, or into a pipe, a terminal or another device of characters, which it flows
/// through.
///
/// # Errors
/// As [`check`].
pub fn check_text(path: &Path, force: bool) -> Result<()> {
    if standard(path).is_some() || flows(path) { Ok(()) } else { check(path, force) }
}

/// Writes text where [`check_text`] allows it.
///
/// # Errors
/// As [`write`]; nobody reads the pipe any more.
pub fn write_text(path: &Path, text: &str, force: bool) -> Result<()> {
    let through =
        |mut to: Box<dyn Write>| to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|e| unwritable(path, &e));
    match standard(path) {
        Some(stream) => through(stream),
        None if flows(path) => {
            let file = OpenOptions::new().write(true).open(path).map_err(|e| unwritable(path, &e))?;
            through(Box::new(file))
        }
        None => write(path, text, force),
    }
}

/// Gives the file `part`, which lies on the same disk, the name `path`, once it is on the disk.
///
/// # Errors
/// As [`write`]; the part then stays.
pub fn put(part: &Path, path: &Path, force: bool) -> Result<()> {
    flush(part).map_err(|e| unwritable(part, &e))?;
    free(path, force, ANOTHER)?;
    std::fs::rename(part, path).map_err(|e| unwritable(path, &e))?;
    settle(path);
    Ok(())
}

/// Takes an earlier output away, where it is a regular file.
pub fn remove(path: &Path) {
    if symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Whether an input and an output, or two outputs, are one file.
pub fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn named(path: &Path) -> Result<()> {
    let nameless = || Error::input(format!("{} has no name", path.display()), "name a file or folder to write");
    path.file_name().map(|_| ()).ok_or_else(nameless)
}

/// Nothing is at `path`, or a regular file that may be replaced.
fn free(path: &Path, force: bool, remedy: &str) -> Result<()> {
    named(path)?;
    let Ok(found) = symlink_metadata(path) else { return Ok(()) };
    if found.is_dir() {
        return Err(Error::input(format!("{} is a folder", path.display()), "give the name of a file"));
    }
    if let Some(error) = special(path, found.file_type()) {
        return Err(error);
    }
    if !force {
        return Err(Error::input(format!("{} exists already", path.display()), remedy));
    }
    Ok(())
}

/// The refusal of what is neither a regular file nor a folder.
fn special(path: &Path, found: FileType) -> Option<Error> {
    if found.is_symlink() {
        let to = std::fs::read_link(path).unwrap_or_default();
        let to = if to.is_absolute() { to } else { parent(path).join(to) };
        let message = format!("{} is a symbolic link to {}", path.display(), to.display());
        return Some(Error::input(message, "name the file that it points to, or another; links are not written through"));
    }
    if found.is_file() || found.is_dir() {
        return None;
    }
    let message = format!("{} is {}, which is never replaced", path.display(), kind(found));
    Some(Error::input(message, "name a regular file, or one that is not there yet"))
}

#[cfg(unix)]
fn kind(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match found {
        f if f.is_fifo() => "a named pipe",
        f if f.is_socket() => "a socket",
        f if f.is_char_device() || f.is_block_device() => "a device",
        _ => "no regular file",
    }
}
#[cfg(not(unix))]
fn kind(_: FileType) -> &'static str {
    "no regular file"
}

/// Whether what is written at `path` flows on instead of lying there.
#[cfg(unix)]
fn flows(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo() || found.file_type().is_char_device())
}
#[cfg(not(unix))]
fn flows(_: &Path) -> bool {
    false
}

/// This process's own standard output or error, by its path: opened anew, a file behind it would be written over from its start.
fn standard(path: &Path) -> Option<Box<dyn Write>> {
    match path.to_str()? {
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Box::new(std::io::stdout())),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Box::new(std::io::stderr())),
        _ => None,
    }
}

/// Whether a file can be made beside `path`, or, where that folder is not there yet, in the nearest one above it: tried, because only
/// that knows about permissions, read-only disks and who asks.
fn reachable(path: &Path) -> Result<()> {
    let here = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() };
    let Some(there) = parent(path).ancestors().map(here).find(|folder| folder.exists()) else { return Ok(()) };
    if !there.is_dir() {
        return Err(Error::input(format!("{} is not a folder", there.display()), "name a place in a folder"));
    }
    // Several threads may try one folder at a time.
    static TRIALS: AtomicU64 = AtomicU64::new(0);
    let trial = there.join(format!(".sharpwave.{}.{}.trial", std::process::id(), TRIALS.fetch_add(1, Ordering::Relaxed)));
    match OpenOptions::new().write(true).create(true).truncate(true).open(&trial) {
        Ok(_) => std::fs::remove_file(&trial).map_err(|e| unwritable(&there, &e)),
        Err(e) => Err(unwritable(&there, &e)),
    }
}

/// What could not be written, and why.
fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    let (message, remedy) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ("the disk is full (or a size limit is reached)".to_string(), "free some space, or name another place")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (format!("cannot be written: {error}"), "change its permissions, or name another place")
        }
        _ => (format!("cannot be written: {error}"), "check the disk, or name another place"),
    };
    Error::File { path: path.to_path_buf(), message, remedy: Some(remedy.into()) }
}

/// Windows flushes only what is open for writing.
fn flush(file: &Path) -> std::io::Result<()> {
    File::options().write(true).open(file).and_then(|file| file.sync_all())
}

/// A new name survives a loss of power once its folder is on the disk, where folders can be synchronised.
fn settle(path: &Path) {
    if cfg!(unix) {
        let _ = File::open(parent(path)).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(result: Result<T>, part: &str) {
        let error = result.err().unwrap_or_else(|| panic!("not refused: {part}"));
        assert!(error.to_string().contains(part) && error.remedy().is_some(), "{error}");
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_whole_or_absent_and_replaced_on_request_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b").join("c.txt");
        check(&path, false).unwrap();
        assert_eq!(entries(dir.path()), Vec::<String>::new());
        write(&path, "one", false).unwrap();
        refused(write(&path, "two", false), "exists already");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write(&path, "two", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        // One that is dropped on the way leaves nothing.
        let output = Output::file(&path, true).unwrap();
        std::fs::write(output.part(), "three").unwrap();
        drop(output);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(entries(path.parent().unwrap()), ["c.txt"]);
        refused(check(path.parent().unwrap(), true), "is a folder");
        refused(check(&path.join("below"), true), "is not a folder");
        refused(check(Path::new("/"), true), "has no name");
        remove(&path);
        assert!(!path.exists());
    }

    #[test]
    fn folders_are_replaced_where_they_hold_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let fill = |force: bool, text: &str| {
            let output = Output::folder(&path, &["a"], force)?;
            std::fs::write(output.part().join("a"), text).unwrap();
            output.keep()
        };
        fill(false, "one").unwrap();
        refused(fill(false, "two"), "exists already");
        fill(true, "two").unwrap();
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "two");
        std::fs::write(path.join("mine"), "").unwrap();
        refused(fill(true, "three"), "holds more than this output");
        assert_eq!(entries(dir.path()), ["out"]);
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_replaced() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        use std::os::unix::net::UnixListener;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("target"), "mine").unwrap();
        symlink("target", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let name = std::ffi::CString::new(at("pipe").to_str().unwrap()).unwrap();
        // SAFETY: a path that ends in NUL.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for (name, what) in
            [("link", "symbolic link to"), ("dangling", "symbolic link to"), ("socket", "socket"), ("pipe", "pipe")]
        {
            refused(write(&at(name), "", true), what);
            refused(Output::folder(&at(name), &[], true), what);
            remove(&at(name));
            std::fs::symlink_metadata(at(name)).unwrap();
        }
        refused(write(Path::new("/dev/null"), "", true), "a device");
        write_text(Path::new("/dev/null"), "text", false).unwrap();
        refused(write_text(&at("socket"), "", true), "socket");
        assert_eq!(std::fs::read_to_string(at("target")).unwrap(), "mine");
        // Text goes through a pipe to whoever reads it.
        let pipe = at("pipe");
        let reader = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
        check_text(&at("pipe"), false).unwrap();
        write_text(&at("pipe"), "through", false).unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(std::fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    }
}
