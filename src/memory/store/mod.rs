//! The memory folder: one user's experiences, what each left in the model, statistics of keys, settings. Every change is atomic
//! and on disk when the call returns; a power cut loses at most the change being written. One process at a time writes in a
//! folder; any number read beside it, each what the last commit left when it came. The only place that knows the database (redb).
//!
//! ```text
//! DIR/memory.redb   about: version, meta, plan  entries: arrival -> entry          ids: id -> arrival
//!                   engrams: order -> engram    places: id, site, order            statistics: site, name, chunk -> numbers
//! DIR/lock          locked while a process may write in the folder
//! DIR/commit.lock   locked while it does; shared by readers while they copy memory.redb
//! DIR/recall/       what can be recalled (`episodes`)       DIR/notes.*     what earlier versions of `sharpwave serve` kept
//! ```
//!
//! Folders of version 1 have engrams of another form. They are read, but for those, and never written.

mod commit;
pub mod episodes;
mod error;
mod files;
mod folder;
pub mod former;
mod snapshot;
mod verify;

#[cfg(test)]
mod tests;

pub use commit::Left;
pub use folder::{Compaction, user_folder};
pub use verify::{Report, verify};

use super::journal::Entry;
use super::{Engram, codec};
use crate::error::{Error, Result, nearest, quoted};
use crate::transformer::site::{Linear, Site};
use error::{Trouble, close, guarded};
use folder::Lock;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use snapshot::{Commits, Held};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Version of the folders that this program writes, and the last that it reads; of the first it reads all but the engrams.
pub const VERSION: u32 = 2;

const ABOUT: TableDefinition<&str, &[u8]> = TableDefinition::new("about");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const IDS: TableDefinition<&str, u64> = TableDefinition::new("ids");
const ENGRAMS: TableDefinition<u64, &[u8]> = TableDefinition::new("engrams");
const PLACES: TableDefinition<Place, ()> = TableDefinition::new("places");
const STATISTICS: TableDefinition<Part, &[u8]> = TableDefinition::new("statistics");

/// Experience, layer, linear layer, order of the engram.
type Place = (&'static str, u32, &'static str, u64);
/// Layer, linear layer, name, chunk.
type Part = (u32, &'static str, &'static str, u32);

/// What a memory belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the folder; `VERSION` in a new one.
    #[serde(skip)]
    pub version: u32,
    /// The model, by name or path as it was given.
    pub model: String,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// The name of the architecture, such as `llama`.
    pub architecture: String,
    /// Decoder layers of the model.
    pub layers: usize,
    /// Of the residual stream.
    pub width: usize,
    /// Width of the feed-forward.
    pub feed_forward: usize,
    /// When the folder was made, RFC 3339; `experience::now` tells the present.
    pub created: String,
    /// Whose experiences it holds; None until the first that names a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The learning program's own.
    pub settings: serde_json::Value,
}

impl Meta {
    /// Refuses another user than the one of the memory in `folder`.
    fn check_user(&self, user: Option<&str>, folder: &Path) -> Result<()> {
        match (user, self.user.as_deref()) {
            (Some(user), Some(own)) if user != own => {
                let message = format!("the memory {} is the user {own:?}'s, not {user:?}'s", folder.display());
                Err(Error::input(message, "give each user a memory folder of their own"))
            }
            _ => Ok(()),
        }
    }

    /// Inputs and outputs of a linear layer, where these sizes tell them.
    fn shape(&self, linear: Linear) -> (Option<usize>, Option<usize>) {
        let (width, feed_forward) = (Some(self.width), Some(self.feed_forward));
        match linear {
            Linear::Q | Linear::K | Linear::V | Linear::Head => (width, None),
            Linear::O => (None, width),
            Linear::Gate | Linear::Up => (width, feed_forward),
            Linear::Down => (feed_forward, width),
        }
    }

    /// Why this cannot be a site of the model.
    fn misplaced(&self, site: Site) -> Option<String> {
        let last = self.layers.min(u32::MAX as usize);
        (site.layer >= last).then(|| format!("{site}: the model has {} layers", self.layers))
    }

    /// Why this cannot be an engram of the model.
    fn misfit(&self, engram: &Engram) -> Option<String> {
        let (site, inputs, outputs) = (engram.site, engram.key.len(), engram.value.len());
        let (wanted_inputs, wanted_outputs) = self.shape(site.linear);
        if let Some(why) = self.misplaced(site) {
            return Some(why);
        }
        if inputs == 0 || wanted_inputs.is_some_and(|n| n != inputs) {
            return Some(format!("{site}: the key has {inputs} numbers{}", instead(wanted_inputs)));
        }
        if outputs == 0 || wanted_outputs.is_some_and(|n| n != outputs) {
            return Some(format!("{site}: the value has {outputs} numbers{}", instead(wanted_outputs)));
        }
        for (name, numbers) in [("trace", &engram.trace), ("factor", &engram.factor)] {
            if numbers.len() != inputs {
                return Some(format!("{site}: the {name} has {} numbers{}", numbers.len(), instead(Some(inputs))));
            }
        }
        let mut all = [&engram.key, &engram.trace, &engram.factor, &engram.value].into_iter().flatten();
        if !engram.ridge.is_finite() || all.any(|x| !x.is_finite()) {
            return Some(format!("{site}: it holds numbers that are not finite"));
        }
        (engram.ridge <= 0.0).then(|| format!("{site}: its ridge is {}, not above 0", engram.ridge))
    }
}

fn instead(wanted: Option<usize>) -> String {
    wanted.map_or(String::new(), |n| format!(" instead of {n}"))
}

/// A memory folder, open: to write, which nobody else can meanwhile, in this process or another, or for reading only.
pub struct Store {
    folder: PathBuf,
    /// As it was when the store was opened or it was last set.
    meta: Meta,
    /// The same with the first user, who came since then.
    owned: OnceLock<Meta>,
    /// Always there, but while the store is dropped.
    database: Option<Database>,
    hold: Hold,
}

/// What a store works on.
enum Hold {
    /// The file in the folder.
    Folder(Commits, #[expect(dead_code, reason = "kept until the store is dropped")] Lock),
    /// A copy, for reading only.
    Copy,
    /// What nobody else can know.
    Alone,
}

impl Store {
    fn new(folder: &Path, meta: Meta, database: Database, hold: Hold) -> Store {
        Store { folder: folder.to_path_buf(), meta, owned: OnceLock::new(), database: Some(database), hold }
    }

    /// The folder; None of what is in memory alone.
    pub fn folder(&self) -> Option<&Path> {
        (!matches!(self.hold, Hold::Alone)).then_some(&self.folder)
    }

    /// What the memory belongs to.
    pub fn meta(&self) -> &Meta {
        self.owned.get().unwrap_or(&self.meta)
    }

    /// Refuses a model other than the one of this memory.
    pub fn check_model(&self, fingerprint: &str) -> Result<()> {
        let Meta { model, fingerprint: own, .. } = self.meta();
        if fingerprint == own {
            return Ok(());
        }
        let folder = self.folder.display();
        let message =
            format!("the memory {folder} belongs to the model {model} (fingerprint {own}), not to the one with {fingerprint}");
        Err(Error::input(message, "name the model it was made with, or use another memory folder for this model"))
    }

    /// Refuses an experience of a user other than the one of this memory. One that names no user is welcome, and so is every
    /// user while the memory has none: the commit that brings the first one keeps the name.
    pub fn check_user(&self, user: Option<&str>) -> Result<()> {
        self.meta().check_user(user, &self.folder)
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: serde_json::Value) -> Result<()> {
        self.set_meta(Meta { settings, ..self.meta().clone() })
    }

    /// Says whose experiences the memory holds, before the first of them says so.
    pub fn set_user(&mut self, user: Option<String>) -> Result<()> {
        self.set_meta(Meta { user, ..self.meta().clone() })
    }

    fn set_meta(&mut self, meta: Meta) -> Result<()> {
        self.write(|t| put_meta(t, &meta))?;
        (self.meta, self.owned) = (meta, OnceLock::new());
        Ok(())
    }

    /// Refuses a memory whose engrams have another form.
    pub fn check_version(&self) -> Result<()> {
        let Meta { version, .. } = self.meta;
        if version == VERSION {
            return Ok(());
        }
        let folder = self.folder.display();
        let message = format!(
            "the memory {folder} has version {version}; this program only lists, shows and checks what is in it, and learns in \
             version {VERSION}"
        );
        let remedy = format!(
            "`sharpwave memory journal --memory {folder} > old.jsonl` writes down its experiences; then `sharpwave learn` \
             old.jsonl into a new folder"
        );
        Err(Error::input(message, remedy))
    }

    /// What the learning program means to do next, as its last change with a plan said; None where none did.
    pub fn plan(&self) -> Result<Option<serde_json::Value>> {
        self.look(|t| match t.open_table(ABOUT)?.get("plan")? {
            Some(plan) => codec::from_json(plan.value()).map(Some).map_err(|e| Trouble::Damage(format!("the plan: {e}"))),
            None => Ok(None),
        })
    }

    /// All entries in the order in which their experiences arrived.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.look(|t| {
            t.open_table(ENTRIES)?.iter()?.map(|row| row.map_err(Trouble::from).and_then(|(_, v)| entry(v.value()))).collect()
        })
    }

    /// The entry of an experience; None where the memory does not know the id.
    pub fn entry(&self, id: &str) -> Result<Option<Entry>> {
        self.look(|t| {
            let Some(arrived) = t.open_table(IDS)?.get(id)? else { return Ok(None) };
            let entries = t.open_table(ENTRIES)?;
            let row =
                entries.get(arrived.value())?.ok_or_else(|| Trouble::Damage(format!("the entry of {id:?} is not there")))?;
            entry(row.value()).map(Some)
        })
    }

    /// The entry of an experience. An unknown id is refused, and the nearest one suggested.
    pub fn find(&self, id: &str) -> Result<Entry> {
        match self.entry(id)? {
            Some(entry) => Ok(entry),
            None => self.look(|t| Err(self.unknown(id, &t.open_table(IDS)?)?.into())),
        }
    }

    /// All engrams in the order in which they were written.
    pub fn engrams(&self) -> Result<Vec<Engram>> {
        self.check_version()?;
        self.look(|t| {
            t.open_table(ENGRAMS)?.iter()?.map(|row| row.map_err(Trouble::from).and_then(|(_, v)| engram(v.value()))).collect()
        })
    }

    /// The engrams of one experience: by site, and at one site in the order in which they were written.
    pub fn engrams_of(&self, id: &str) -> Result<Vec<Engram>> {
        self.check_version()?;
        self.look(|t| {
            let engrams = t.open_table(ENGRAMS)?;
            let read = |(_, order): (Site, u64)| match engrams.get(order)? {
                Some(row) => engram(row.value()),
                None => Err(Trouble::Damage(format!("engram {order} of {id:?} is not there"))),
            };
            places(&t.open_table(PLACES)?, id)?.into_iter().map(read).collect()
        })
    }

    /// Where an experience has engrams, each site once: what `Change::erase` needs to take it out.
    pub fn sites(&self, id: &str) -> Result<Vec<Site>> {
        let mut sites: Vec<Site> = self.look(|t| places(&t.open_table(PLACES)?, id))?.into_iter().map(|(site, _)| site).collect();
        sites.dedup();
        Ok(sites)
    }

    /// Numbers kept about a linear layer under a name, such as the second moment of its keys; None where there are none.
    pub fn statistics(&self, site: Site, name: &str) -> Result<Option<Vec<f32>>> {
        let (layer, linear) = (site.layer as u32, site.linear.name());
        self.look(|t| {
            let table = t.open_table(STATISTICS)?;
            let mut numbers: Option<(u64, Vec<f32>)> = None;
            for row in table.range((layer, linear, name, 0u32)..=(layer, linear, name, u32::MAX))? {
                let damage = |what: &str| Trouble::Damage(format!("statistics {name:?} of {site}: {what}"));
                let chunk = codec::Chunk::from_record(row?.1.value()).map_err(|e| damage(&e))?;
                let (_, all) = numbers.get_or_insert_with(|| (chunk.total, Vec::new()));
                if chunk.index as usize * codec::CHUNK != all.len() {
                    return Err(damage("a part is not there"));
                }
                all.extend(chunk.numbers);
            }
            match numbers {
                Some((total, all)) if total != all.len() as u64 => {
                    Err(Trouble::Damage(format!("statistics {name:?} of {site}: {} numbers of {total} are there", all.len())))
                }
                numbers => Ok(numbers.map(|(_, all)| all)),
            }
        })
    }

    /// Keeps numbers about a linear layer under a name, in the place of those that had it. Refused for a layer that the model
    /// does not have and for numbers that are not finite.
    pub fn put_statistics(&self, site: Site, name: &str, numbers: &[f32]) -> Result<()> {
        let wrong = match numbers.iter().any(|x| !x.is_finite()) {
            true => Some(format!("statistics {name:?} of {site} hold numbers that are not finite")),
            false => self.meta().misplaced(site),
        };
        if let Some(wrong) = wrong {
            return Err(Error::input(wrong, "take the statistics of this model again"));
        }
        let (layer, linear, total) = (site.layer as u32, site.linear.name(), numbers.len() as u64);
        self.write(|t| {
            let mut table = t.open_table(STATISTICS)?;
            table.retain_in((layer, linear, name, 0u32)..=(layer, linear, name, u32::MAX), |_, _| false)?;
            // No numbers at all are one empty chunk.
            let chunks = numbers.chunks(codec::CHUNK).chain(numbers.is_empty().then_some(numbers));
            for (chunk, index) in chunks.zip(0..) {
                let bytes = codec::Chunk::record(site, name, index, total, chunk);
                table.insert((layer, linear, name, index), bytes.as_slice())?;
            }
            Ok(())
        })
    }

    /// Which statistics there are.
    pub fn statistics_kept(&self) -> Result<Vec<(Site, String)>> {
        self.look(|t| {
            let mut kept = Vec::new();
            for row in t.open_table(STATISTICS)?.iter()? {
                let key = row?.0;
                let (layer, linear, name, index) = key.value();
                if index == 0 {
                    kept.push((site(layer, linear)?, name.to_string()));
                }
            }
            Ok(kept)
        })
    }

    fn database(&self) -> Result<&Database, Trouble> {
        self.database.as_ref().ok_or_else(|| redb::StorageError::DatabaseClosed.into())
    }

    fn look<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>) -> Result<T> {
        guarded(|| work(&self.database()?.begin_read()?)).map_err(|e| e.about(&self.folder))
    }

    /// Keeps readers from copying the file while it is written.
    fn held(&self) -> Result<Option<Held<'_>>, Trouble> {
        match &self.hold {
            Hold::Folder(commits, _) => Ok(Some(commits.hold()?)),
            Hold::Copy => Err(self.read_only().into()),
            Hold::Alone => Ok(None),
        }
    }

    /// Whether changes are taken: not by a copy that was opened to be read.
    pub fn may_write(&self) -> bool {
        !matches!(self.hold, Hold::Copy)
    }

    fn read_only(&self) -> Error {
        let message = format!("the memory {} is open for reading only", self.folder.display());
        Error::input(message, "open it to write (`Store::open`)")
    }

    /// Commits what `work` did where it succeeds; leaves everything as it was where it does not.
    fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, Trouble>) -> Result<T> {
        let whole = || {
            let _held = self.held()?;
            let transaction = self.database()?.begin_write()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        guarded(whole).map_err(|e| e.about(&self.folder))
    }

    /// The refusal of an id that the memory does not know.
    fn unknown(&self, id: &str, ids: &impl ReadableTable<&'static str, u64>) -> Result<Error, Trouble> {
        let mut known = Vec::new();
        for row in ids.iter()? {
            known.push(row?.0.value().to_string());
        }
        let folder = self.folder.display();
        let remedy = match nearest(id, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("`sharpwave memory list --memory {}` shows the ids", quoted(&self.folder.to_string_lossy())),
        };
        Ok(Error::input(format!("the memory {folder} has no experience {id:?}"), remedy))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            // Nobody is to be kept away from a copy.
            let _held = self.held();
            close(database);
        }
    }
}

fn put_meta(t: &WriteTransaction, meta: &Meta) -> Result<(), Trouble> {
    let mut about = t.open_table(ABOUT)?;
    about.insert("version", meta.version.to_le_bytes().as_slice())?;
    about.insert("meta", codec::json(meta).map_err(Trouble::Damage)?.as_slice())?;
    Ok(())
}

/// Reads what the memory in `folder` belongs to. A later version of the folder is refused.
fn get_meta(t: &ReadTransaction, folder: &Path) -> Result<Meta, Trouble> {
    meta_in(&t.open_table(ABOUT)?, folder)
}

fn meta_in(about: &impl ReadableTable<&'static str, &'static [u8]>, folder: &Path) -> Result<Meta, Trouble> {
    let missing = || Trouble::Damage("it does not say what it belongs to".into());
    let version = about.get("version")?.ok_or_else(missing)?.value().try_into().map_err(|_| missing())?;
    let version = u32::from_le_bytes(version);
    if version > VERSION {
        let message = format!("the memory {} has version {version}; this program reads up to {VERSION}", folder.display());
        return Err(Error::input(message, "use the version of sharpwave that made it, or a later one").into());
    }
    let meta: Meta = codec::from_json(about.get("meta")?.ok_or_else(missing)?.value())
        .map_err(|e| Trouble::Damage(format!("what it belongs to: {e}")))?;
    Ok(Meta { version, ..meta })
}

fn entry(bytes: &[u8]) -> Result<Entry, Trouble> {
    codec::from_json(bytes).map_err(|e| Trouble::Damage(format!("an entry: {e}")))
}

fn engram(bytes: &[u8]) -> Result<Engram, Trouble> {
    codec::from_engram(bytes).map_err(|e| Trouble::Damage(format!("an engram: {e}")))
}

fn site(layer: u32, linear: &str) -> Result<Site, Trouble> {
    let linear = Linear::named(linear).ok_or_else(|| Trouble::Damage(format!("a key names the linear layer {linear:?}")))?;
    Ok(Site { layer: layer as usize, linear })
}

/// Sites and orders of the engrams of an experience, by site.
fn places(table: &impl ReadableTable<Place, ()>, id: &str) -> Result<Vec<(Site, u64)>, Trouble> {
    let mut found = Vec::new();
    for row in table.range((id, 0u32, "", 0u64)..)? {
        let key = row?.0;
        let (owner, layer, linear, order) = key.value();
        if owner != id {
            break;
        }
        found.push((site(layer, linear)?, order));
    }
    Ok(found)
}
