//! Experiences to be recalled, as they lie on disk: texts, cells with their codes, token vectors, and what the codes are of. Every change
//! is atomic and on disk when the call returns. In a folder of its own within the memory's, as token vectors are many times as large as all
//! else; locked and read beside a writer as the memory itself is.
//!
//! ```text
//! DIR/recall/recall.redb   about: version, encoder, whitening, …   episodes: order -> JSON   cells: order, piece -> cell
//!                          tokens: order, piece -> int8 vectors    forgotten: id -> JSON, when it was told and forgotten
//! DIR/recall/lock          locked while a process may write        commit.lock: as in the memory's folder
//! ```

use super::error::{Trouble, close, guarded, in_use, io};
use super::files::RECALL;
use super::folder::{Lock, copy, sync};
use super::snapshot::{COMMITS, Commits, Unwritten, copied, patiently};
use crate::error::{Error, Result};
use crate::memory::codec;
use crate::recall::Episode;
use crate::recall::encoder::Tokens;
use crate::recall::hippocampus::{Kept, Place};
use crate::recall::index::Code;
use half::f16;
use redb::{
    Builder, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Version of the files that this program writes. It reads version 1 as well, which says less of an experience.
pub const VERSION: u32 = 2;

const DATABASE: &str = "recall.redb";
const CACHE: usize = 64 << 20;

const ABOUT: TableDefinition<&str, &[u8]> = TableDefinition::new("about");
const EPISODES: TableDefinition<u64, &[u8]> = TableDefinition::new("episodes");
const CELLS: TableDefinition<Place, &[u8]> = TableDefinition::new("cells");
const TOKENS: TableDefinition<Place, &[u8]> = TableDefinition::new("tokens");
const FORGOTTEN: TableDefinition<&str, &[u8]> = TableDefinition::new("forgotten");

/// All that is left of an experience that was forgotten, beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// When the memory was told, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// When it was forgotten, RFC 3339; empty where an earlier version did not write it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub when: String,
}

/// What one commit changes: all of it or nothing. Taking out comes first.
#[derive(Default)]
pub struct Writing {
    /// Everything that is there goes first.
    pub anew: bool,
    /// Orders of experiences that go, with their cells and token vectors.
    pub gone: Vec<u64>,
    /// Experiences by their order.
    pub episodes: Vec<(u64, Episode)>,
    /// Cells by their place.
    pub cells: Vec<(Place, Kept)>,
    /// Token vectors by their place.
    pub tokens: Vec<(Place, Tokens)>,
    /// What is left of experiences that went, by id; None where one of that id came again.
    pub forgotten: Vec<(String, Option<Gone>)>,
    /// What else there is to say, by name.
    pub about: Vec<(&'static str, Vec<u8>)>,
}

/// The experiences of one memory folder, open.
pub struct Episodes {
    folder: PathBuf,
    /// Always there, but while the store is dropped.
    database: Option<Database>,
    hold: Hold,
}

enum Hold {
    Folder(Commits, #[expect(dead_code, reason = "kept until the store is dropped")] Lock),
    Copy,
    Alone,
}

/// Whether a memory folder has experiences to be recalled.
pub fn has_episodes(memory: &Path) -> bool {
    memory.join(RECALL).join(DATABASE).is_file()
}

/// A copy of the file as the last commit left it.
fn snapshot(memory: &Path) -> Result<File> {
    let lock = memory.join(RECALL).join(COMMITS);
    let held = File::open(&lock).map_err(|e| io(&lock, &e))?;
    patiently(|| held.lock_shared()).map_err(|e| io(&lock, &e))?;
    let copy = copied(&memory.join(RECALL).join(DATABASE));
    let _ = held.unlock();
    copy
}

/// The database in a copy, which nothing is written to.
fn opened(copy: File) -> Result<Database, Trouble> {
    let database = Unwritten::database(copy)(Builder::new().set_cache_size(CACHE))?;
    begin(&database)?;
    Ok(database)
}

fn damage(what: &str) -> Trouble {
    Trouble::Damage(what.into())
}

impl Episodes {
    /// Opens those of a memory folder to write, or begins an empty store. Refused where another process writes, and where the files are
    /// damaged or of a later version.
    pub fn open(memory: &Path) -> Result<Episodes> {
        let folder = memory.join(RECALL);
        std::fs::create_dir_all(&folder).map_err(|e| match memory.is_file() {
            true => Error::input(format!("{} is a file, not a folder", memory.display()), "name another folder"),
            false => io(&folder, &e),
        })?;
        let lock = Lock::take(&folder).map_err(|e| if matches!(e, Error::Input(_)) { in_use(memory) } else { e })?;
        let commits = Commits::of(&folder)?;
        let path = folder.join(DATABASE);
        let database = {
            let _held = commits.hold().map_err(|e| io(&folder, &e))?;
            let open = || -> Result<Database, Trouble> {
                // The file has its name once it is whole: a stop in between leaves none. What a stop left is of no use.
                let unfinished = path.with_extension("redb.new");
                if unfinished.exists() {
                    std::fs::remove_file(&unfinished)?;
                }
                if !path.exists() {
                    let mut fresh = Builder::new().set_cache_size(CACHE).create(&unfinished)?;
                    begin(&fresh)?;
                    // A file begins with a megabyte of room.
                    fresh.compact()?;
                    drop(fresh);
                    std::fs::rename(&unfinished, &path)?;
                    sync(&folder);
                }
                let database = Builder::new().set_cache_size(CACHE).open(&path)?;
                begin(&database)?;
                Ok(database)
            };
            guarded(open).map_err(|e| e.about(memory))?
        };
        let own = Episodes { folder: memory.into(), database: Some(database), hold: Hold::Folder(commits, lock) };
        own.check()?;
        Ok(own)
    }

    /// Those of a memory folder for reading only, as the last commit left them, whether or not somebody writes meanwhile.
    pub fn read(memory: &Path) -> Result<Episodes> {
        if !has_episodes(memory) {
            let what = format!("the memory {} holds nothing that could be recalled", memory.display());
            return Err(Error::input(what, "add something: sharpwave memory add --memory DIR FILE"));
        }
        let copy = snapshot(memory)?;
        let database = guarded(|| opened(copy)).map_err(|e| e.about(memory))?;
        let own = Episodes { folder: memory.into(), database: Some(database), hold: Hold::Copy };
        own.check()?;
        Ok(own)
    }

    /// An empty store without a folder, gone when it is dropped.
    pub fn in_memory() -> Result<Episodes> {
        let folder = PathBuf::from("in memory");
        let made = guarded(|| {
            let database = Builder::new().create_with_backend(redb::backends::InMemoryBackend::new())?;
            begin(&database)?;
            Ok(database)
        });
        let database = made.map_err(|e| e.about(&folder))?;
        Ok(Episodes { folder, database: Some(database), hold: Hold::Alone })
    }

    /// Whether changes can be written.
    pub fn is_writable(&self) -> bool {
        !matches!(self.hold, Hold::Copy)
    }

    /// Refuses where changes cannot be written.
    pub fn writable(&self) -> Result<()> {
        let message = || format!("the memory {} is open for reading only", self.folder.display());
        match self.is_writable() {
            true => Ok(()),
            false => Err(Error::input(message(), "wait until the process that writes in it has ended")),
        }
    }

    fn check(&self) -> Result<()> {
        let version = self.about("version")?.and_then(|v| v.try_into().ok()).map(u32::from_le_bytes);
        match version {
            Some(VERSION) => Ok(()),
            Some(later) if later > VERSION => {
                let message = format!(
                    "the experiences of {} have version {later}; this program reads up to {VERSION}",
                    self.folder.display()
                );
                Err(Error::input(message, "use the version of sharpwave that made them, or a later one"))
            }
            _ => Err(damage("it does not say which version its experiences have").about(&self.folder)),
        }
    }

    /// Opens the file anew, as the last commit left it: for after a change that could not be written.
    pub fn reopen(&mut self) -> Result<()> {
        let Hold::Folder(commits, _) = &self.hold else { return Ok(()) };
        let path = self.folder.join(RECALL).join(DATABASE);
        let reopened = guarded(|| {
            let _held = commits.hold()?;
            if let Some(old) = self.database.take() {
                close(old);
            }
            Ok(Builder::new().set_cache_size(CACHE).open(&path)?)
        });
        self.database = Some(reopened.map_err(|e: Trouble| e.about(&self.folder))?);
        Ok(())
    }

    fn look<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>) -> Result<T> {
        let look = || {
            let database = self.database.as_ref().ok_or(redb::StorageError::DatabaseClosed)?;
            work(&database.begin_read()?)
        };
        guarded(look).map_err(|e| e.about(&self.folder))
    }

    /// What is said under a name.
    pub fn about(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.look(|t| Ok(t.open_table(ABOUT)?.get(name)?.map(|value| value.value().to_vec())))
    }

    /// All experiences in their order, each with its cells by piece.
    pub fn all(&self) -> Result<Vec<(u64, Episode, Vec<Kept>)>> {
        self.look(|t| {
            let (episodes, cells) = (t.open_table(EPISODES)?, t.open_table(CELLS)?);
            let mut cells = cells.iter()?.peekable();
            let mut all = Vec::new();
            for row in episodes.iter()? {
                let (order, json) = row?;
                let order = order.value();
                let episode = codec::from_json(json.value()).map_err(|e| damage(&format!("experience {order}: {e}")))?;
                let mut own = Vec::new();
                while let Some(row) = cells.next_if(|row| row.as_ref().map_or(true, |(place, _)| place.value().0 <= order)) {
                    let (place, bytes) = row?;
                    if place.value() != (order, own.len() as u32) {
                        return Err(damage(&format!("a cell of experience {order} does not stand where it should")));
                    }
                    own.push(cell(bytes.value()).ok_or_else(|| damage(&format!("a cell of experience {order} is cut short")))?);
                }
                all.push((order, episode, own));
            }
            match cells.next() {
                None => Ok(all),
                Some(_) => Err(damage("there are cells without an experience")),
            }
        })
    }

    /// What is left of experiences that were forgotten, by id.
    pub fn forgotten(&self) -> Result<BTreeMap<String, Gone>> {
        self.look(|t| {
            let mut all = BTreeMap::new();
            for row in t.open_table(FORGOTTEN)?.iter()? {
                let (id, json) = row?;
                let gone =
                    codec::from_json(json.value()).map_err(|e| damage(&format!("what is left of {:?}: {e}", id.value())))?;
                all.insert(id.value().to_string(), gone);
            }
            Ok(all)
        })
    }

    /// The token vectors, as the last commit left them.
    pub fn tokens(&self) -> Result<TokenTable> {
        self.look(|t| Ok(TokenTable { table: t.open_table(TOKENS)?, folder: self.folder.clone() }))
    }

    /// Makes a change, durably, as a whole.
    pub fn write(&self, change: &Writing) -> Result<()> {
        let work = || {
            self.writable()?;
            let _held = match &self.hold {
                Hold::Folder(commits, _) => Some(commits.hold()?),
                Hold::Copy | Hold::Alone => None,
            };
            let transaction = self.database.as_ref().ok_or(redb::StorageError::DatabaseClosed)?.begin_write()?;
            carry_out(&transaction, change)?;
            transaction.commit()?;
            Ok(())
        };
        guarded(work).map_err(|e: Trouble| e.about(&self.folder))
    }

    /// Bytes of the file; 0 without one.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(self.folder.join(RECALL).join(DATABASE)).map_or(0, |m| m.len())
    }

    /// Writes the file anew with what there is now, and nothing else: no byte of what went is left in it. Needs room for a second file.
    pub fn compact(&mut self) -> Result<()> {
        let Hold::Folder(commits, _) = &self.hold else { return Ok(()) };
        let path = self.folder.join(RECALL).join(DATABASE);
        let unfinished = path.with_extension("redb.new");
        let fresh = guarded(|| {
            if unfinished.exists() {
                std::fs::remove_file(&unfinished)?;
            }
            let from = self.database.as_ref().ok_or(redb::StorageError::DatabaseClosed)?.begin_read()?;
            let mut fresh = Builder::new().set_cache_size(CACHE).create(&unfinished)?;
            let to = fresh.begin_write()?;
            copy(&from, &to, ABOUT)?;
            copy(&from, &to, EPISODES)?;
            copy(&from, &to, CELLS)?;
            copy(&from, &to, TOKENS)?;
            copy(&from, &to, FORGOTTEN)?;
            to.commit()?;
            fresh.compact()?;
            let held = commits.hold()?;
            std::fs::rename(&unfinished, &path)?;
            sync(&self.folder.join(RECALL));
            Ok((fresh, held))
        });
        let (fresh, _held) = fresh.map_err(|e: Trouble| {
            let _ = std::fs::remove_file(&unfinished);
            e.about(&self.folder)
        })?;
        // The old file has no name any more; closing it changes nothing that is left.
        if let Some(old) = self.database.replace(fresh) {
            close(old);
        }
        Ok(())
    }
}

impl Drop for Episodes {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            let _held = match &self.hold {
                Hold::Folder(commits, _) => commits.hold().ok(),
                _ => None,
            };
            close(database);
        }
    }
}

/// Token vectors of one moment.
pub struct TokenTable {
    table: ReadOnlyTable<Place, &'static [u8]>,
    folder: PathBuf,
}

impl TokenTable {
    /// Those of a cell; None where there are none.
    pub fn get(&self, place: Place) -> Result<Option<Tokens>> {
        let look = || match self.table.get(place)? {
            None => Ok(None),
            Some(bytes) => tokens(bytes.value()).map(Some).ok_or_else(|| damage("token vectors are cut short")),
        };
        guarded(look).map_err(|e| e.about(&self.folder))
    }
}

/// What the experiences of a folder are, and what is damaged of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Size of the file.
    pub bytes: u64,
    /// Experiences.
    pub experiences: usize,
    /// Cells of their pieces.
    pub cells: usize,
    /// Cells with token vectors.
    pub tokens: usize,
    /// Ids of experiences that were forgotten.
    pub forgotten: usize,
    /// What is wrong, one sentence each.
    #[serde(skip)]
    pub damage: Vec<String>,
}

/// Looks at every byte in use, of a copy as the last commit left it: pages, records, and that cells and token vectors are those of
/// experiences that are there, piece by piece, and none of one that was forgotten.
pub(super) fn look(memory: &Path) -> Result<Held, Trouble> {
    let copy = snapshot(memory)?;
    let mut held = Held { bytes: copy.metadata()?.len(), ..Held::default() };
    let looked = guarded(|| {
        let mut database = Unwritten::database(copy.try_clone()?)(Builder::new().set_cache_size(CACHE))?;
        let checked = database.check_integrity();
        close(database);
        checked.map_err(|e| match Trouble::from(e) {
            trouble if trouble.damage().is_some() => damage("recall: pages of the file do not agree with their checksums"),
            trouble => trouble,
        })
    });
    note(looked.map(|_| ()), &mut held)?;
    let looked = guarded(|| {
        let own = Episodes { folder: memory.into(), database: Some(opened(copy)?), hold: Hold::Copy };
        own.check()?;
        let transaction = own.database.as_ref().ok_or(redb::StorageError::DatabaseClosed)?.begin_read()?;
        look_at_records(&transaction, &mut held)
    });
    note(looked, &mut held)?;
    Ok(held)
}

/// Puts damage beside what else is known; passes on every other trouble.
fn note(looked: Result<(), Trouble>, held: &mut Held) -> Result<(), Trouble> {
    let Err(trouble) = looked else { return Ok(()) };
    let what = trouble.damage().ok_or(trouble)?;
    if !held.damage.contains(&what) {
        held.damage.push(what);
    }
    Ok(())
}

fn look_at_records(t: &ReadTransaction, held: &mut Held) -> Result<(), Trouble> {
    let forgotten = t.open_table(FORGOTTEN)?;
    held.forgotten = forgotten.len()? as usize;
    let (mut pieces, mut ids): (BTreeMap<u64, usize>, BTreeMap<String, u64>) = (BTreeMap::new(), BTreeMap::new());
    let mut places = Vec::new();
    for row in t.open_table(EPISODES)?.iter()? {
        let (order, json) = row?;
        let order = order.value();
        held.experiences += 1;
        let episode: Episode = match codec::from_json(json.value()) {
            Ok(episode) => episode,
            Err(why) => {
                held.damage.push(format!("recall: experience {order}: {why}"));
                continue;
            }
        };
        if let Err(flaw) = episode.check() {
            held.damage.push(format!("recall: {flaw}"));
        }
        if forgotten.get(episode.id.as_str())?.is_some() {
            held.damage.push(format!("recall: experience {:?} is forgotten and still there", episode.id));
        }
        pieces.insert(order, episode.pieces().len());
        places.extend(episode.superseded_by.map(|by| (episode.id.clone(), by)));
        if ids.insert(episode.id.clone(), order).is_some() {
            held.damage.push(format!("recall: there are two experiences {:?}", episode.id));
        }
    }
    for (id, by) in places.iter().filter(|(_, by)| !ids.contains_key(by)) {
        held.damage.push(format!("recall: experience {id:?} is superseded by {by:?}, which is not there"));
    }
    let mut cells: BTreeMap<u64, usize> = BTreeMap::new();
    for row in t.open_table(CELLS)?.iter()? {
        let (place, bytes) = row?;
        let ((order, piece), of) = (place.value(), cells.entry(place.value().0).or_default());
        held.cells += 1;
        if !pieces.contains_key(&order) {
            held.damage.push(format!("recall: cell {piece} of experience {order}, which is not there"));
        } else if piece as usize != *of || cell(bytes.value()).is_none() {
            held.damage.push(format!("recall: cell {piece} of experience {order} is cut short, or not in its place"));
        }
        *of += 1;
    }
    for (order, count) in pieces.iter().filter(|(order, count)| cells.get(order) != Some(count)) {
        let there = cells.get(order).copied().unwrap_or(0);
        held.damage.push(format!("recall: experience {order} has {there} cells for {count} pieces of its text"));
    }
    for row in t.open_table(TOKENS)?.iter()? {
        let (place, bytes) = row?;
        let (order, piece) = place.value();
        held.tokens += 1;
        if cells.get(&order).is_none_or(|count| piece as usize >= *count) {
            held.damage.push(format!("recall: token vectors of cell {piece} of experience {order}, which is not there"));
        } else if tokens(bytes.value()).is_none() {
            held.damage.push(format!("recall: token vectors of cell {piece} of experience {order} are cut short"));
        }
    }
    Ok(())
}

/// The tables of a store, and its version, where it has none or an earlier one.
fn begin(database: &Database) -> Result<(), Trouble> {
    let transaction = database.begin_write()?;
    let due = {
        let mut about = transaction.open_table(ABOUT)?;
        let there = about.get("version")?.map(|v| v.value().to_vec());
        let due = there.is_none_or(|v| v == 1u32.to_le_bytes());
        if due {
            about.insert("version", VERSION.to_le_bytes().as_slice())?;
            transaction.open_table(EPISODES)?;
            transaction.open_table(CELLS)?;
            transaction.open_table(TOKENS)?;
            transaction.open_table(FORGOTTEN)?;
        }
        due
    };
    match due {
        true => transaction.commit()?,
        false => transaction.abort()?,
    }
    Ok(())
}

fn carry_out(t: &WriteTransaction, change: &Writing) -> Result<(), Trouble> {
    let mut episodes = t.open_table(EPISODES)?;
    let (mut cells, mut tokens) = (t.open_table(CELLS)?, t.open_table(TOKENS)?);
    if change.anew {
        episodes.retain(|_, _| false)?;
        cells.retain(|_, _| false)?;
        tokens.retain(|_, _| false)?;
    }
    for order in &change.gone {
        episodes.remove(order)?;
        let all = (*order, 0)..=(*order, u32::MAX);
        cells.retain_in(all.clone(), |_, _| false)?;
        tokens.retain_in(all, |_, _| false)?;
    }
    for (order, episode) in &change.episodes {
        episodes.insert(order, codec::json(episode).map_err(Trouble::Damage)?.as_slice())?;
    }
    for (place, kept) in &change.cells {
        cells.insert(place, cell_bytes(kept).as_slice())?;
    }
    for (place, own) in &change.tokens {
        tokens.insert(place, token_bytes(own).as_slice())?;
    }
    let mut forgotten = t.open_table(FORGOTTEN)?;
    for (id, gone) in &change.forgotten {
        match gone {
            Some(gone) => drop(forgotten.insert(id.as_str(), codec::json(gone).map_err(Trouble::Damage)?.as_slice())?),
            None => drop(forgotten.remove(id.as_str())?),
        }
    }
    let mut about = t.open_table(ABOUT)?;
    for (name, value) in &change.about {
        about.insert(*name, value.as_slice())?;
    }
    Ok(())
}

/// A cell as bytes, to be kept.
pub(in crate::memory) fn cell_bytes(kept: &Kept) -> Vec<u8> {
    let mut bytes = kept.version.to_le_bytes().to_vec();
    let count = |n: usize| (n.min(usize::from(u16::MAX)) as u16).to_le_bytes();
    bytes.extend(count(kept.vector.len()));
    kept.vector.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    for words in [&kept.code.words, &kept.code.around] {
        bytes.extend(count(words.len()));
        words.iter().for_each(|(cell, n)| bytes.extend([cell.to_le_bytes()[0], cell.to_le_bytes()[1], *n]));
    }
    for sense in [&kept.code.sense, &kept.code.sense_around] {
        bytes.extend(count(sense.len()));
        sense.iter().for_each(|cell| bytes.extend(cell.to_le_bytes()));
    }
    bytes
}

/// The reverse of [`cell_bytes`]; None for anything else.
pub(in crate::memory) fn cell(bytes: &[u8]) -> Option<Kept> {
    let mut rest = bytes;
    let version = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
    let mut part = |size: usize| -> Option<std::slice::ChunksExact<'_, u8>> {
        let n = usize::from(u16::from_le_bytes(*rest.split_off(..2)?.first_chunk()?));
        Some(rest.split_off(..n * size)?.chunks_exact(size))
    };
    let vector = part(2)?.map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
    let [words, around] = [part(3)?, part(3)?].map(|all| all.map(|b| (u16::from_le_bytes([b[0], b[1]]), b[2])).collect());
    let [sense, sense_around] = [part(2)?, part(2)?].map(|all| all.map(|b| u16::from_le_bytes([b[0], b[1]])).collect());
    rest.is_empty().then_some(Kept { vector, code: Code { words, around, sense, sense_around }, version })
}

/// Token vectors as bytes, to be kept.
pub(in crate::memory) fn token_bytes(tokens: &Tokens) -> Vec<u8> {
    let mut bytes = (tokens.width as u32).to_le_bytes().to_vec();
    bytes.extend((tokens.len() as u32).to_le_bytes());
    tokens.ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
    tokens.scales.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    bytes.extend(tokens.values.iter().map(|x| *x as u8));
    bytes
}

/// The reverse of [`token_bytes`]; None for anything else.
pub(in crate::memory) fn tokens(bytes: &[u8]) -> Option<Tokens> {
    let mut rest = bytes;
    let mut word = || Some(u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?));
    let (width, n) = (word()? as usize, word()? as usize);
    let ids = rest.split_off(..4 * n)?.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let scales = rest.split_off(..4 * n)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let values: Vec<i8> = rest.iter().map(|x| *x as i8).collect();
    (values.len() == n * width).then_some(Tokens { width, ids, scales, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let code = Code { words: vec![(3, 1), (60_000, 2)], around: vec![(3, 9)], sense: vec![1, 8191], sense_around: vec![] };
        Kept { vector: vec![f16::from_f32(0.5), f16::from_f32(-2.0)], code, version: 7 }
    }

    #[test]
    fn records_come_back_and_cut_ones_do_not() {
        let bytes = cell_bytes(&kept());
        assert_eq!(cell(&bytes), Some(kept()));
        assert!((0..bytes.len()).all(|n| cell(&bytes[..n]).is_none()));
        let mut own = Tokens::default();
        own.push(5, &[0.1, -0.9, 0.3]);
        own.push(9, &[1.0, 0.0, 0.0]);
        let bytes = token_bytes(&own);
        assert_eq!(tokens(&bytes), Some(own));
        assert!((0..bytes.len()).all(|n| tokens(&bytes[..n]).is_none()));
    }

    #[test]
    fn what_does_not_agree_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Episodes::open(folder.path()).unwrap();
        let mut own = Tokens::default();
        own.push(5, &[0.1, -0.9]);
        let episodes = ["a", "b"].map(|id| Episode { id: id.into(), ..Episode::of_text(id) });
        let told = Writing {
            episodes: (0..).zip(episodes).collect(),
            cells: vec![((0, 0), kept()), ((1, 0), kept())],
            tokens: vec![((1, 0), own.clone())],
            ..Writing::default()
        };
        store.write(&told).unwrap();
        let held = look(folder.path()).unwrap();
        assert_eq!((held.experiences, held.cells, held.tokens, held.forgotten), (2, 2, 1, 0));
        assert!(held.damage.is_empty() && held.bytes > 0, "{held:?}");
        let wrong = Writing {
            episodes: vec![(1, Episode { id: "b".into(), superseded_by: Some("z".into()), ..Episode::of_text("b") })],
            cells: vec![((7, 0), kept()), ((1, 2), kept())],
            tokens: vec![((0, 3), own)],
            forgotten: vec![("a".into(), Some(Gone::default()))],
            ..Writing::default()
        };
        store.write(&wrong).unwrap();
        let damage = look(folder.path()).unwrap().damage.join("\n");
        for what in [
            "\"a\" is forgotten and still there",
            "\"b\" is superseded by \"z\"",
            "cell 0 of experience 7, which is not there",
            "cell 2 of experience 1 is cut short, or not in its place",
            "experience 1 has 2 cells for 1 pieces",
            "token vectors of cell 3 of experience 0",
        ] {
            assert!(damage.contains(what), "{what}: {damage}");
        }
    }

    #[test]
    fn a_store_keeps_what_it_was_told_and_loses_what_goes() {
        let folder = tempfile::tempdir().unwrap();
        let episode = |text: &str| Episode { id: text.into(), ..Episode::of_text(text) };
        let mut own = Tokens::default();
        own.push(5, &[0.1, -0.9]);
        {
            let store = Episodes::open(folder.path()).unwrap();
            let cells = vec![((0, 0), kept()), ((0, 1), kept()), ((1, 0), kept())];
            let episodes = vec![(0, episode("a")), (1, episode("b"))];
            let tokens = vec![((0, 1), own.clone()), ((1, 0), own.clone())];
            store.write(&Writing { episodes, cells, tokens, about: vec![("x", vec![1])], ..Writing::default() }).unwrap();
            assert!(Episodes::open(folder.path()).err().unwrap().to_string().contains("in use"));
            // A reader beside the writer.
            let reader = Episodes::read(folder.path()).unwrap();
            assert_eq!(reader.all().unwrap().len(), 2);
            assert!(reader.write(&Writing::default()).is_err());
            store.write(&Writing { gone: vec![0], ..Writing::default() }).unwrap();
            assert_eq!(reader.all().unwrap()[0].2.len(), 2);
        }
        let mut store = Episodes::open(folder.path()).unwrap();
        store.compact().unwrap();
        assert_eq!(store.all().unwrap(), [(1, episode("b"), vec![kept()])]);
        let table = store.tokens().unwrap();
        assert_eq!((table.get((0, 1)).unwrap(), table.get((1, 0)).unwrap()), (None, Some(own)));
        assert_eq!(store.about("x").unwrap(), Some(vec![1]));
        assert!(has_episodes(folder.path()) && !has_episodes(&folder.path().join("x")));
    }
}
