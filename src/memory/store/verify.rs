//! Whether a memory is whole: pages of its files, checksums of all records, and that the records agree with each other and with
//! the sizes of the model. Changes nothing, and works beside a writer: it looks at copies, as the last commits left them.

use super::episodes::{self, Held, has_episodes};
use super::error::{Trouble, close, guarded};
use super::files::DATABASE;
use super::folder::CACHE;
use super::snapshot::{Unwritten, snapshot};
use super::{ENGRAMS, ENTRIES, IDS, Meta, PLACES, STATISTICS, VERSION, get_meta, places, site};
use crate::error::Result;
use crate::memory::codec;
use crate::memory::journal::{Entry, Stage};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a memory holds, and what of it is damaged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Size of the file.
    pub bytes: u64,
    /// Experiences, forgotten ones included.
    pub entries: usize,
    /// Entries by the name of their stage.
    pub stages: BTreeMap<&'static str, usize>,
    /// Engrams of all experiences and layers.
    pub engrams: usize,
    /// Layers and names under which statistics are kept.
    pub statistics: usize,
    /// What can be recalled, where there is anything.
    pub recall: Option<Held>,
    /// What is wrong, one sentence each; empty where the memory is whole.
    pub damage: Vec<String>,
}

/// Looks at every byte in use of the memory in a folder. Errors are those of a folder that cannot be looked at: no memory, one
/// of a later version. Damage is reported, not an error. Of a folder of version 1, engrams are looked at no closer than that
/// their bytes are whole.
pub fn verify(folder: impl AsRef<Path>) -> Result<Report> {
    let folder = folder.as_ref();
    let mut report = Report::default();
    // What agents tell a memory may be all that there is.
    if folder.join(DATABASE).exists() || !has_episodes(folder) {
        let copy = snapshot(folder)?;
        let mut whole = || {
            report.bytes = copy.metadata()?.len();
            look(folder, || Unwritten::over(copy.try_clone()?), &mut report)
        };
        whole().map_err(|e: Trouble| e.about(folder))?;
    }
    if has_episodes(folder) {
        let mut held = episodes::look(folder).map_err(|e| e.about(folder))?;
        report.damage.append(&mut held.damage);
        report.recall = Some(held);
    }
    Ok(report)
}

/// Looks at a memory wherever its bytes are, at the pages and then at the records; each look has its own view of the bytes.
pub(super) fn look<B: StorageBackend>(
    folder: &Path,
    bytes: impl Fn() -> Result<B, Trouble>,
    report: &mut Report,
) -> Result<(), Trouble> {
    let open = || -> Result<Database, Trouble> { Ok(Builder::new().set_cache_size(CACHE).create_with_backend(bytes()?)?) };
    let looked = guarded(|| {
        let mut database = open()?;
        // Damaged pages are an error. A no says little: it also stands for a list of free pages that was written in another form.
        let checked = database.check_integrity();
        close(database);
        checked.map_err(|e| match Trouble::from(e) {
            trouble if trouble.damage().is_some() => {
                Trouble::Damage("pages of the file do not agree with their checksums".into())
            }
            trouble => trouble,
        })
    });
    note(looked.map(|_| ()), report)?;
    let looked = guarded(|| {
        let database = open()?;
        let t = database.begin_read()?;
        let meta = get_meta(&t, folder)?;
        let stages = look_at_entries(&t, &meta, report)?;
        look_at_engrams(&t, &meta, &stages, report)?;
        look_at_statistics(&t, &meta, report)
    });
    note(looked, report)
}

/// Puts damage into the report; passes on every other trouble.
fn note(looked: Result<(), Trouble>, report: &mut Report) -> Result<(), Trouble> {
    let Err(trouble) = looked else { return Ok(()) };
    let what = trouble.damage().ok_or(trouble)?;
    if !report.damage.contains(&what) {
        report.damage.push(what);
    }
    Ok(())
}

/// Returns the stage of each experience.
fn look_at_entries(t: &ReadTransaction, meta: &Meta, report: &mut Report) -> Result<HashMap<String, Stage>, Trouble> {
    let (entries, ids) = (t.open_table(ENTRIES)?, t.open_table(IDS)?);
    let mut stages = HashMap::new();
    for row in entries.iter()? {
        let (arrived, bytes) = row?;
        let arrived = arrived.value();
        report.entries += 1;
        let entry: Entry = match codec::from_json(bytes.value()) {
            Ok(entry) => entry,
            Err(why) => {
                report.damage.push(format!("entry {arrived}: {why}"));
                continue;
            }
        };
        *report.stages.entry(entry.stage.name()).or_default() += 1;
        let id = entry.experience.id.clone();
        let known = ids.get(id.as_str())?.map(|arrived| arrived.value());
        if entry.arrived != arrived || known != Some(arrived) {
            report.damage.push(format!("entry {arrived} of experience {id:?} does not stand where it should"));
        }
        if entry.stage == Stage::Forgotten {
            if entry.clone().forgotten() != entry {
                report.damage.push(format!("experience {id:?} is forgotten and still has content"));
            }
        } else if let Some(flaw) = entry.experience.flaw() {
            report.damage.push(format!("experience {id:?}: {}", flaw.message));
        }
        let user = entry.experience.user.as_deref();
        if meta.version == VERSION && user.is_some_and(|_| user != meta.user.as_deref()) {
            report.damage.push(format!("experience {id:?} is of another user than the memory"));
        }
        if let Stage::Superseded { by } = &entry.stage
            && ids.get(by.as_str())?.is_none()
        {
            report.damage.push(format!("experience {id:?} is superseded by {by:?}, which has no entry"));
        }
        stages.insert(id, entry.stage);
    }
    if ids.len()? != entries.len()? {
        report.damage.push(format!("there are {} entries and {} ids", entries.len()?, ids.len()?));
    }
    Ok(stages)
}

fn look_at_engrams(
    t: &ReadTransaction,
    meta: &Meta,
    stages: &HashMap<String, Stage>,
    report: &mut Report,
) -> Result<(), Trouble> {
    let (engrams, index) = (t.open_table(ENGRAMS)?, t.open_table(PLACES)?);
    for row in engrams.iter()? {
        let (order, bytes) = row?;
        let order = order.value();
        report.engrams += 1;
        let looked = match meta.version {
            VERSION => codec::from_engram(bytes.value()).map(|e| (meta.misfit(&e), e.experience, e.site)),
            _ => codec::owner_of_engram(bytes.value()).map(|(id, site)| (meta.misplaced(site), id, site)),
        };
        let (misfit, id, site) = match looked {
            Ok(looked) => looked,
            Err(why) => {
                report.damage.push(format!("engram {order}: {why}"));
                continue;
            }
        };
        if let Some(why) = misfit {
            report.damage.push(format!("engram {order} of experience {id:?}: {why}"));
        }
        match stages.get(&id) {
            None => report.damage.push(format!("engram {order} belongs to experience {id:?}, which has no entry")),
            Some(stage) if !stage.may_have_engrams() => {
                report.damage.push(format!("engram {order} belongs to experience {id:?}, which is {}", stage.name()));
            }
            Some(_) => {}
        }
        if !places(&index, &id)?.contains(&(site, order)) {
            report.damage.push(format!("engram {order} of experience {id:?} is not in the index"));
        }
    }
    if index.len()? != engrams.len()? {
        report.damage.push(format!("there are {} engrams and {} in the index", engrams.len()?, index.len()?));
    }
    Ok(())
}

fn look_at_statistics(t: &ReadTransaction, meta: &Meta, report: &mut Report) -> Result<(), Trouble> {
    // Numbers that are still to come of the statistics being read.
    let mut open: Option<(String, u64)> = None;
    let incomplete = |open: &Option<(String, u64)>| {
        let (what, missing) = open.as_ref().filter(|(_, missing)| *missing > 0)?;
        Some(format!("{what}: {missing} numbers are not there"))
    };
    for row in t.open_table(STATISTICS)?.iter()? {
        let (key, bytes) = row?;
        let (layer, linear, name, index) = key.value();
        let site = site(layer, linear)?;
        let what = format!("statistics {name:?} of {site}");
        if index == 0 {
            report.statistics += 1;
        }
        report.damage.extend(meta.misplaced(site));
        match codec::Chunk::from_record(bytes.value()) {
            Ok(chunk) if (chunk.site, chunk.name.as_str(), chunk.index) == (site, name, index) => {
                if index == 0 {
                    report.damage.extend(incomplete(&open));
                    open = Some((what.clone(), chunk.total));
                }
                match &mut open {
                    Some((at, missing)) if *at == what => *missing = missing.saturating_sub(chunk.numbers.len() as u64),
                    _ => report.damage.push(format!("{what}: the beginning is not there")),
                }
            }
            Ok(_) => report.damage.push(format!("{what}: part {index} does not stand where it should")),
            Err(why) => report.damage.push(format!("{what}: part {index}: {why}")),
        }
    }
    report.damage.extend(incomplete(&open));
    Ok(())
}
