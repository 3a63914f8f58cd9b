//! Reading beside a writer. The database cannot share its file, so a reader works on a copy of it, as the last commit left it.
//! `commit.lock` keeps copying and writing apart: a writer holds it alone while it commits, opens or closes, and writes nothing
//! in between; readers hold it together while they copy. Reading changes nothing in the folder.

use super::error::{Trouble, in_use, io};
use super::files::{LOCK, existing};
use crate::error::Result;
use redb::{Builder, Database, StorageBackend};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// There from the moment on at which a program of this version may write in the folder.
pub(super) const COMMITS: &str = "commit.lock";

/// How long a folder may be locked and have no `commit.lock` before that means a program of version 1.
const PATIENCE: Duration = Duration::from_secs(1);

/// A writer's side of `commit.lock`.
pub(super) struct Commits(Mutex<File>);

impl Commits {
    pub(super) fn of(folder: &Path) -> Result<Commits> {
        let path = folder.join(COMMITS);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| io(&path, &e))?;
        Ok(Commits(Mutex::new(file)))
    }

    /// Waits for readers to finish their copies, and keeps others from beginning one until the result is dropped.
    pub(super) fn hold(&self) -> std::io::Result<Held<'_>> {
        // One lock of the file is all that this process can have: its threads take turns.
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        patiently(|| file.lock())?;
        Ok(Held(file))
    }
}

/// No copy is being made.
pub(super) struct Held<'a>(MutexGuard<'a, File>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes a lock, however often a signal interrupts the wait. Where a file system has no locks there is nothing to wait for.
pub(super) fn patiently(lock: impl Fn() -> std::io::Result<()>) -> std::io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            done => return done,
        }
    }
}

/// A copy of the database file as the last commit left it, or a killed writer, which the database repairs. No name leads to the
/// copy; it is gone when it is closed.
pub(super) fn snapshot(folder: &Path) -> Result<File> {
    let started = Instant::now();
    loop {
        let (path, lock) = (existing(folder)?, folder.join(COMMITS));
        match File::open(&lock) {
            Ok(lock) => {
                patiently(|| lock.lock_shared()).map_err(|e| io(&folder.join(COMMITS), &e))?;
                let copied = copied(&path);
                let _ = lock.unlock();
                return copied;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&lock, &error)),
            Err(_) => {}
        }
        // Nobody has written here yet but programs of version 1, which lock the folder for as long as they work on it.
        let Some(_alone) = unused(folder)? else {
            if started.elapsed() > PATIENCE {
                return Err(in_use(folder));
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let copied = copied(&path)?;
        if !lock.exists() {
            return Ok(copied);
        }
        // The first writer came meanwhile.
    }
}

pub(super) fn copied(path: &Path) -> Result<File> {
    let wrong = |error: std::io::Error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => io(&std::env::temp_dir(), &error),
        _ => io(path, &error),
    };
    let mut from = File::open(path).map_err(|e| io(path, &e))?;
    let mut copy = tempfile::tempfile().map_err(|e| io(&std::env::temp_dir(), &e))?;
    std::io::copy(&mut from, &mut copy).map_err(wrong)?;
    Ok(copy)
}

/// The lock of a folder that no process works on, shared; None where one does. A folder that never had one needs none.
fn unused(folder: &Path) -> Result<Option<Option<File>>> {
    let path = folder.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(None)),
        Err(error) => return Err(io(&path, &error)),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(io(&path, &error)),
        _ => Ok(Some(Some(file))),
    }
}

/// A file that is read; what is written over it stays in memory.
#[derive(Debug)]
pub(super) struct Unwritten {
    file: Mutex<File>,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    length: u64,
    /// Pages that were written to, by number.
    pages: HashMap<u64, Vec<u8>>,
}

const PAGE: u64 = 4096;

impl Unwritten {
    pub(super) fn over(file: File) -> Result<Unwritten, Trouble> {
        let length = file.metadata()?.len();
        if length == 0 {
            return Err(Trouble::Damage("the file is empty".into()));
        }
        Ok(Unwritten { file: Mutex::new(file), changed: Mutex::new(Changed { length, pages: HashMap::new() }) })
    }

    /// What opens the database in a file, for reading.
    pub(super) fn database(file: File) -> impl FnOnce(&mut Builder) -> Result<Database, Trouble> {
        |builder| Ok(builder.create_with_backend(Unwritten::over(file)?)?)
    }

    /// Fills `out` from the file; zeros beyond its end.
    fn from_file(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(0);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let there = file.metadata()?.len().saturating_sub(offset).min(out.len() as u64);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut out[..there as usize])
    }
}

/// The parts of pages that a range of bytes touches: page, bytes within it, bytes within the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let end = offset + length as u64;
    (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let (from, to) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
        let within = |start: u64| (from - start) as usize..(to - start) as usize;
        (page, within(page * PAGE), (from - offset) as usize..(to - offset) as usize)
    })
}

impl StorageBackend for Unwritten {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.changed.lock().unwrap_or_else(PoisonError::into_inner).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.saturating_add(out.len() as u64) > changed.length {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file is cut short"));
        }
        self.from_file(offset, out)?;
        for (page, within, at) in parts(offset, out.len()) {
            if let Some(bytes) = changed.pages.get(&page) {
                out[at].copy_from_slice(&bytes[within]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).length = length;
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for (page, within, at) in parts(offset, data.len()) {
            let bytes = match changed.pages.entry(page) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(new) => {
                    let mut bytes = vec![0; PAGE as usize];
                    self.from_file(page * PAGE, &mut bytes)?;
                    new.insert(bytes)
                }
            };
            bytes[within].copy_from_slice(&data[at]);
        }
        Ok(())
    }
}
