//! The folder itself: made, opened, locked, rewritten, and where it lies among those of other users. A database file appears
//! under its name only when it is complete: it is built under another name, synced and renamed, so that a power cut leaves the
//! old state or the new one.

use super::error::{Trouble, close, guarded, in_use, io};
use super::files::{DATABASE, LOCK, NOTES, RECALL, UNFINISHED, existing};
use super::snapshot::{COMMITS, Commits, Unwritten, snapshot};
use super::{ABOUT, ENGRAMS, ENTRIES, Hold, IDS, Meta, PLACES, STATISTICS, Store, VERSION, get_meta, put_meta};
use crate::error::{Error, Result};
use redb::{Builder, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Bytes of the file that the database keeps in memory at most.
pub(super) const CACHE: usize = 128 << 20;

/// Bytes of a user's folder name that stand for the user as they are; a longer name ends in a digest. With that, no name is
/// longer than any file system allows (255 bytes).
const LONGEST_NAME: usize = 160;

/// The memory folder of a user among those of all users under `root`. Any text names a user, each its own folder, on file
/// systems too that do not tell capital letters from small ones or accents from accents. Small letters, digits and `-`, `_`,
/// `@`, `.` stand for themselves and everything else for its bytes, as `%` and two digits; a long name is cut and its SHA-256
/// put behind it.
pub fn user_folder(root: &Path, user: &str) -> PathBuf {
    // With this in front, no name is empty, hidden, `..`, or one of a device.
    let mut name = String::from("user-");
    for (i, byte) in user.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'@' => name.push(char::from(byte)),
            // Some file systems drop a point at the end.
            b'.' if i + 1 < user.len() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST_NAME {
        let digest = Sha256::digest(user);
        name.truncate(LONGEST_NAME);
        name.push('~');
        name.extend(digest.iter().map(|byte| format!("{byte:02x}")));
    }
    root.join(name)
}

/// Size of a memory's file before and after it was compacted, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compaction {
    /// Size before.
    pub before: u64,
    /// Size after.
    pub after: u64,
}

impl Store {
    /// Makes an empty memory. The folder is made where it is missing; one that holds a memory or other files is refused. What
    /// an interrupted call left behind does not stand in the way of the next.
    pub fn create(folder: impl AsRef<Path>, meta: &Meta) -> Result<Store> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| match folder.exists() {
            true => Error::input(format!("{} is a file, not a folder", folder.display()), "name another folder"),
            false => io(folder, &e),
        })?;
        vacant(folder)?;
        let lock = Lock::take(folder)?;
        // Another process may have made a memory here meanwhile.
        vacant(folder)?;
        let (meta, commits) = (Meta { version: VERSION, ..meta.clone() }, Commits::of(folder)?);
        let database = guarded(|| {
            let database = build(folder, |t| begin(t, &meta))?;
            finish(folder)?;
            Ok(database)
        });
        let database = database.map_err(|e| unfinished(folder, e))?;
        Ok(Store::new(folder, meta, database, Hold::Folder(commits, lock)))
    }

    /// Opens a memory. Refused where there is none, where another process works on it, where another version of this program
    /// made it, and where its file is damaged.
    pub fn open(folder: impl AsRef<Path>) -> Result<Store> {
        let folder = folder.as_ref();
        let path = existing(folder)?;
        let lock = Lock::take(folder)?;
        // Opening may write, and a folder of version 1 stays as it is.
        let file = File::open(&path).map_err(|e| io(&path, &e))?;
        Store::over(folder, Hold::Copy, Unwritten::database(file))?.check_version()?;
        // What an interrupted `compact` left behind; the memory itself is whole.
        let _ = std::fs::remove_file(folder.join(UNFINISHED));
        let commits = Commits::of(folder)?;
        let (database, meta) = {
            let _held = commits.hold().map_err(|e| io(folder, &e))?;
            opened(folder, |builder| Ok(builder.open(&path)?))?
        };
        Ok(Store::new(folder, meta, database, Hold::Folder(commits, lock)))
    }

    /// Opens a memory for reading only, as its last commit left it, whether or not somebody works on it meanwhile; later commits
    /// are not seen. Nothing in the folder is changed, nor need it be writable. A memory of version 1 shows its entries, but not
    /// its engrams. Refused where there is none, where a later version of this program made it, and where its file is damaged.
    ///
    /// Works on a copy in the folder for temporary files, which needs room for that.
    pub fn read(folder: impl AsRef<Path>) -> Result<Store> {
        let folder = folder.as_ref();
        Store::over(folder, Hold::Copy, Unwritten::database(snapshot(folder)?))
    }

    /// Opens the memory in a folder, or makes an empty one where there is none. Refused where it belongs to another model.
    pub fn open_or_create(folder: impl AsRef<Path>, meta: &Meta) -> Result<Store> {
        let folder = folder.as_ref();
        if !folder.join(DATABASE).exists() {
            return Store::create(folder, meta);
        }
        let store = Store::open(folder)?;
        store.check_model(&meta.fingerprint)?;
        Ok(store)
    }

    /// An empty memory without a folder, gone when it is dropped.
    pub fn in_memory(meta: &Meta) -> Result<Store> {
        let meta = Meta { version: VERSION, ..meta.clone() };
        let database = guarded(|| {
            let database = Builder::new().create_with_backend(redb::backends::InMemoryBackend::new())?;
            let transaction = database.begin_write()?;
            begin(&transaction, &meta)?;
            transaction.commit()?;
            Ok(database)
        });
        let folder = PathBuf::from("in memory");
        let database = database.map_err(|e: Trouble| e.about(&folder))?;
        Ok(Store::new(&folder, meta, database, Hold::Alone))
    }

    /// A memory over a database that `open` opens.
    pub(super) fn over(folder: &Path, hold: Hold, open: impl FnOnce(&mut Builder) -> Result<Database, Trouble>) -> Result<Store> {
        let (database, meta) = opened(folder, open)?;
        Ok(Store::new(folder, meta, database, hold))
    }

    /// Writes the file anew with what the memory holds now, and nothing else: no byte of what was erased, replaced or forgotten
    /// is left in it. Needs room for a second file meanwhile.
    pub fn compact(&mut self) -> Result<Compaction> {
        let Hold::Folder(commits, _) = &self.hold else { return Err(self.read_only()) };
        let (folder, path) = (self.folder.as_path(), self.folder.join(DATABASE));
        let size = || std::fs::metadata(&path).map(|m| m.len()).map_err(|e| io(&path, &e));
        let before = size()?;
        let fresh = guarded(|| {
            let from = self.database()?.begin_read()?;
            let mut fresh = build(folder, |to| {
                copy(&from, to, ABOUT)?;
                copy(&from, to, ENTRIES)?;
                copy(&from, to, IDS)?;
                copy(&from, to, ENGRAMS)?;
                copy(&from, to, PLACES)?;
                copy(&from, to, STATISTICS)
            })?;
            fresh.compact()?;
            let held = commits.hold()?;
            finish(folder)?;
            Ok((fresh, held))
        });
        let (fresh, _held) = fresh.map_err(|e| unfinished(folder, e))?;
        // The old file has no name any more; closing it changes nothing that is left.
        if let Some(old) = self.database.replace(fresh) {
            close(old);
        }
        Ok(Compaction { before, after: size()? })
    }
}

/// The database that `open` opens, and what it belongs to.
fn opened(folder: &Path, open: impl FnOnce(&mut Builder) -> Result<Database, Trouble>) -> Result<(Database, Meta)> {
    let opened = guarded(|| {
        let database = open(Builder::new().set_cache_size(CACHE))?;
        let meta = get_meta(&database.begin_read()?, folder)?;
        Ok((database, meta))
    });
    opened.map_err(|e| e.about(folder))
}

/// Refuses a folder that holds a memory or other files; what an interrupted call left behind counts as nothing.
fn vacant(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| io(folder, &e))? {
        let name = entry.map_err(|e| io(folder, &e))?.file_name();
        let shown = folder.display();
        if name == DATABASE {
            return Err(Error::input(format!("{shown} holds a memory already"), "open that one, or name another folder"));
        } else if ![UNFINISHED, LOCK, COMMITS, RECALL].iter().any(|own| name == *own)
            && !name.to_string_lossy().starts_with(NOTES)
        {
            let message = format!("{shown} holds other files, such as {}", name.to_string_lossy());
            return Err(Error::input(message, "name a folder that is empty or does not exist yet"));
        }
    }
    Ok(())
}

/// What stands in a memory before its first experience.
pub(super) fn begin(t: &WriteTransaction, meta: &Meta) -> Result<(), Trouble> {
    put_meta(t, meta)?;
    t.open_table(ENTRIES)?;
    t.open_table(IDS)?;
    t.open_table(ENGRAMS)?;
    t.open_table(PLACES)?;
    t.open_table(STATISTICS)?;
    Ok(())
}

/// Builds a database with the content that `fill` writes, on disk but not yet under its name.
fn build(folder: &Path, fill: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>) -> Result<Database, Trouble> {
    let path = folder.join(UNFINISHED);
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let database = Builder::new().set_cache_size(CACHE).create(&path)?;
    let transaction = database.begin_write()?;
    fill(&transaction)?;
    transaction.commit()?;
    Ok(database)
}

/// Gives a database that was built its name.
fn finish(folder: &Path) -> Result<(), Trouble> {
    std::fs::rename(folder.join(UNFINISHED), folder.join(DATABASE))?;
    sync(folder);
    Ok(())
}

/// Brings the names in a folder to disk. A folder can be synced on Unix only; elsewhere they are the file system's to keep.
pub(super) fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Takes away what could not be finished.
fn unfinished(folder: &Path, trouble: Trouble) -> Error {
    let _ = std::fs::remove_file(folder.join(UNFINISHED));
    trouble.about(folder)
}

pub(super) fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<K, V>,
) -> Result<(), Trouble> {
    let mut copy = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        copy.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Kept while a process works on a folder. The system lets go of it when the process ends, however it ends.
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Lock> {
        let path = folder.join(LOCK);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|e| io(&path, &e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(in_use(folder)),
            // Where a file system has no locks, the database's own is all there is.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(Lock(file)),
            Err(TryLockError::Error(error)) => Err(io(&path, &error)),
            Ok(()) => Ok(Lock(file)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started may have a copy of it for a moment.
        let _ = self.0.unlock();
    }
}
