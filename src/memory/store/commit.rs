//! Changing a memory: one change is one transaction, checked as a whole, and leaves the rules of a memory kept or nothing changed.
//! The rules: entries keep the rules of experiences; an engram belongs to an experience that is awake, asleep or superseded, and
//! fits the model; all are one user's; a forgotten experience has no text; what superseded another is in the memory, in whatever
//! stage.

use super::{ABOUT, ENGRAMS, ENTRIES, IDS, Meta, PLACES, Place, Store, Trouble, entry, meta_in, places};
use crate::error::{Error, Result};
use crate::memory::journal::{Change, Entry, Stage};
use crate::memory::{Engram, codec};
use crate::transformer::site::Site;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// What went when an experience was forgotten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Left {
    /// `id` of the experience.
    pub id: String,
    /// The stage it had.
    pub was: Stage,
    /// Where its engrams were, one name for each.
    pub engrams: Vec<String>,
}

impl Store {
    /// Makes a change, durably, as a whole. An invalid change is refused and nothing of it is done. New entries get the next
    /// places in the order of arrival; replaced ones keep theirs, but for those that arrive anew.
    pub fn commit(&self, change: &Change) -> Result<()> {
        check(change, &self.meta)?;
        let owned = self.write(|t| Tables::open(t)?.carry_out(change, &self.folder))?;
        self.own(owned);
        Ok(())
    }

    /// Keeps in mind what the memory belongs to since its first user came.
    fn own(&self, meta: Option<Meta>) {
        if let Some(meta) = meta {
            // That happens once, as then there is a user.
            let _ = self.owned.set(meta);
        }
    }

    /// Forgets experiences: their engrams are erased, their text is emptied; id, time and tags stay. All of them or, where one
    /// id is unknown, none. The bytes of the text are gone from the file after `compact`. An id that was derived stays, and
    /// whoever guesses the whole text can recognise it by that. `also` is carried out afterwards, in the same transaction: what
    /// becomes of other experiences, such as one that a forgotten one had superseded. The forgotten are not its to change.
    pub fn forget(&self, ids: &[&str], also: &Change) -> Result<Vec<Left>> {
        check(also, &self.meta)?;
        if let Some(entry) = also.entries.iter().find(|entry| ids.contains(&entry.experience.id.as_str())) {
            let message = format!("experience {:?} is to be forgotten and to be changed at once", entry.experience.id);
            return Err(Error::input(message, "change only what stays"));
        }
        let (left, owned) = self.write(|t| {
            let mut tables = Tables::open(t)?;
            let mut left = Vec::new();
            for id in ids {
                let Some(entry) = tables.entry(id)? else { return Err(self.unknown(id, &tables.ids)?.into()) };
                let engrams = tables.erase(id, None)?.iter().map(Site::to_string).collect();
                left.push(Left { id: id.to_string(), was: entry.stage.clone(), engrams });
                tables.put(&entry.forgotten(), false)?;
            }
            Ok((left, tables.carry_out(also, &self.folder)?))
        })?;
        self.own(owned);
        Ok(left)
    }
}

/// All that can be judged without the database.
fn check(change: &Change, meta: &Meta) -> Result<()> {
    let mut ids = BTreeSet::new();
    for entry in &change.entries {
        let id = &entry.experience.id;
        let wrong = |message: &str, remedy: &str| Err(Error::input(format!("experience {id:?}: {message}"), remedy));
        if !ids.insert(id) {
            return wrong("it is in one change twice", "give each experience once");
        }
        if entry.stage == Stage::Forgotten {
            if entry.clone().forgotten() != *entry {
                return wrong("it is forgotten and still has content", "use `forget`");
            }
        } else if let Some(flaw) = entry.experience.flaw() {
            return Err(flaw.of(id));
        }
        if !entry.surprise.is_finite() {
            return wrong("its surprise is not finite", "check the model's probabilities");
        }
        if matches!(&entry.stage, Stage::Superseded { by } if by == id) {
            return wrong("it cannot supersede itself", "name the experience that takes its place");
        }
    }
    if let Some(id) = change.anew.iter().find(|id| !ids.contains(id)) {
        let message = format!("experience {id:?} is to arrive anew and has no entry in the change");
        return Err(Error::input(message, "put its entry into the same change"));
    }
    for engram in &change.write {
        if let Some(why) = meta.misfit(engram) {
            let message = format!("an engram of experience {:?} does not fit: {why}", engram.experience);
            return Err(Error::input(message, format!("learn with the model of this memory, {}", meta.model)));
        }
    }
    Ok(())
}

/// The tables of a transaction that changes them.
struct Tables<'t> {
    about: Table<'t, &'static str, &'static [u8]>,
    entries: Table<'t, u64, &'static [u8]>,
    ids: Table<'t, &'static str, u64>,
    engrams: Table<'t, u64, &'static [u8]>,
    places: Table<'t, Place, ()>,
}

impl<'t> Tables<'t> {
    fn open(t: &'t WriteTransaction) -> Result<Tables<'t>, Trouble> {
        Ok(Tables {
            about: t.open_table(ABOUT)?,
            entries: t.open_table(ENTRIES)?,
            ids: t.open_table(IDS)?,
            engrams: t.open_table(ENGRAMS)?,
            places: t.open_table(PLACES)?,
        })
    }

    /// Returns what the memory belongs to where the change brought its first user.
    fn carry_out(&mut self, change: &Change, folder: &Path) -> Result<Option<Meta>, Trouble> {
        let owned = self.own(change, folder)?;
        for (id, site) in &change.erase {
            if self.erase(id, Some(*site))?.is_empty() {
                let message = format!("experience {id:?} has no engram at {site} that could be erased");
                return Err(Error::input(message, "erase only what was written").into());
            }
        }
        for entry in &change.entries {
            self.put(entry, change.anew.contains(&entry.experience.id))?;
        }
        for engram in &change.write {
            self.append(engram)?;
        }
        if let Some(plan) = &change.plan {
            self.about.insert("plan", codec::json(plan).map_err(Trouble::Damage)?.as_slice())?;
        }
        self.check(change)?;
        Ok(owned)
    }

    /// Keeps the first user that comes, and refuses every other.
    fn own(&mut self, change: &Change, folder: &Path) -> Result<Option<Meta>, Trouble> {
        let mut users = change.entries.iter().filter_map(|entry| entry.experience.user.as_ref()).peekable();
        let Some(first) = users.peek() else { return Ok(None) };
        let meta = meta_in(&self.about, folder)?;
        let owned = meta.user.is_none().then(|| Meta { user: Some(first.to_string()), ..meta.clone() });
        users.try_for_each(|user| owned.as_ref().unwrap_or(&meta).check_user(Some(user), folder))?;
        if let Some(owned) = &owned {
            self.about.insert("meta", codec::json(owned).map_err(Trouble::Damage)?.as_slice())?;
        }
        Ok(owned)
    }

    fn entry(&self, id: &str) -> Result<Option<Entry>, Trouble> {
        let Some(arrived) = self.ids.get(id)? else { return Ok(None) };
        let row = self.entries.get(arrived.value())?;
        row.map(|row| entry(row.value())).ok_or_else(|| Trouble::Damage(format!("the entry of {id:?} is not there")))?.map(Some)
    }

    /// Inserts an entry, or puts it in the place of the one with its id; of one that arrives anew the old place is emptied.
    fn put(&mut self, entry: &Entry, anew: bool) -> Result<(), Trouble> {
        let id = entry.experience.id.as_str();
        let known = self.ids.get(id)?.map(|arrived| arrived.value());
        let arrived = match known.filter(|_| !anew) {
            Some(arrived) => arrived,
            None => self.entries.last()?.map_or(0, |(last, _)| last.value() + 1),
        };
        if let Some(before) = known.filter(|before| *before != arrived) {
            self.entries.remove(before)?;
        }
        let bytes = codec::json(&Entry { arrived, ..entry.clone() }).map_err(Trouble::Damage)?;
        self.entries.insert(arrived, bytes.as_slice())?;
        self.ids.insert(id, arrived)?;
        Ok(())
    }

    fn append(&mut self, engram: &Engram) -> Result<(), Trouble> {
        let order = self.engrams.last()?.map_or(0, |(last, _)| last.value() + 1);
        let Engram { experience, site, .. } = engram;
        self.engrams.insert(order, codec::engram(engram).as_slice())?;
        self.places.insert((experience.as_str(), site.layer as u32, site.linear.name(), order), ())?;
        Ok(())
    }

    /// Takes out the engrams of an experience, at one site or at all; returns where each was.
    fn erase(&mut self, id: &str, only: Option<Site>) -> Result<Vec<Site>, Trouble> {
        let mut erased = places(&self.places, id)?;
        erased.retain(|(site, _)| only.is_none_or(|only| only == *site));
        for (site, order) in &erased {
            self.engrams.remove(order)?;
            self.places.remove((id, site.layer as u32, site.linear.name(), *order))?;
        }
        Ok(erased.into_iter().map(|(site, _)| site).collect())
    }

    /// Whether the rules that concern several records are kept by all that a change touched.
    fn check(&self, change: &Change) -> Result<(), Trouble> {
        let mut touched: BTreeSet<&str> = change.write.iter().map(|engram| engram.experience.as_str()).collect();
        touched.extend(change.entries.iter().map(|entry| entry.experience.id.as_str()));
        for id in touched {
            let Some(entry) = self.entry(id)? else {
                let message = format!("an engram belongs to the experience {id:?}, which is not in the memory");
                return Err(Error::input(message, "put its entry into the same change").into());
            };
            if !entry.stage.may_have_engrams() && !places(&self.places, id)?.is_empty() {
                let message = format!("experience {id:?} is {} and has engrams", entry.stage.name());
                return Err(Error::input(message, "erase them in the same change, or make it awake, asleep or superseded").into());
            }
            if let Stage::Superseded { by } = &entry.stage
                && self.ids.get(by.as_str())?.is_none()
            {
                let message = format!("experience {id:?} is superseded by {by:?}, which is not in the memory");
                return Err(Error::input(message, "put that one into the same change").into());
            }
        }
        Ok(())
    }
}
