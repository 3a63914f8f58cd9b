//! What a user told, as agents see it: the episodes of the user's folder by their ids and in order of arrival, with what took whose place,
//! what waits to be learned, and what is left of those that were forgotten. `sharpwave recall` and `memory` work on the same. Knows no
//! protocol.

use super::encoders::Encoders;
use crate::error::{Error, Result};
use crate::memory::episodic::Episodic;
use crate::memory::store::episodes::Gone;
use crate::recall::hippocampus::{Answer, Late, Receipt};
use crate::recall::{Ask, Episode, Filter};
use jiff::Timestamp;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What fits less is not found: 0 to 1.
const LEAST: f32 = 0.1;
/// As sure one has to be of what is put before a chat unasked: as likely as not (`recall::fuse::confidence` says what it is fitted on).
pub const SURE: f32 = 0.5;

/// A user's notes.
pub struct Notes {
    memory: Episodic,
    /// Experiences that wait to be learned.
    waiting: usize,
}

/// Whether it is an experience that the weights wait for.
pub fn waits(note: &Episode) -> bool {
    note.quarantine.is_none() && note.superseded_by.is_none() && note.act.as_ref().is_some_and(|act| act.learned.is_none())
}

impl Notes {
    /// Those of a folder, which is made where there is none.
    ///
    /// # Errors
    /// A folder that another process works on, and damaged files.
    pub fn open(folder: &Path, encoders: &Encoders) -> Result<Notes> {
        let memory = Episodic::open_choosing(folder, |kept| encoders.choose(kept))?;
        if let Some(why) = memory.without() {
            super::log(&format!("words alone are at work in a memory: {why}"));
        }
        let mut notes = Notes { memory, waiting: 0 };
        notes.count();
        Ok(notes)
    }

    fn count(&mut self) {
        self.waiting = self.all().filter(|note| waits(note)).count();
    }

    /// Experiences that wait to be learned.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether [`Notes::search`] can be called: after changes [`Notes::settle`] has to be first.
    pub fn is_settled(&self) -> bool {
        self.memory.is_settled()
    }

    /// Takes what changed into the tables.
    pub fn settle(&mut self) {
        self.memory.settle();
    }

    /// All notes, in order of arrival.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Episode> {
        self.memory.network().episodes()
    }

    /// What holds now, oldest first.
    pub fn current(&self) -> impl DoubleEndedIterator<Item = &Episode> {
        let now = Timestamp::now();
        self.all().filter(move |note| note.holds(now))
    }

    /// What is left of those that were forgotten.
    pub fn gone(&self) -> impl Iterator<Item = (&String, &Gone)> {
        self.memory.all_gone().iter()
    }

    /// The note of an id; what is left of it, where it was forgotten.
    ///
    /// # Errors
    /// An unknown id; the nearest is suggested.
    pub fn look_up(&self, id: &str) -> Result<std::result::Result<&Episode, &Gone>> {
        if let Some(note) = self.memory.network().get(id) {
            return Ok(Ok(note));
        }
        if let Some(gone) = self.memory.gone(id) {
            return Ok(Err(gone));
        }
        let near = crate::error::nearest(id, self.all().rev().take(2000).map(|n| n.id.as_str()));
        let remedy = near.map_or("memory_list shows the ids".into(), |near| format!("did you mean {near:?}?"));
        Err(Error::input(format!("there is no memory {id:?}"), remedy))
    }

    /// The note of an id.
    ///
    /// # Errors
    /// An unknown id, and one that was forgotten.
    pub fn find(&self, id: &str) -> Result<&Episode> {
        self.look_up(id)?.map_err(|_| Error::input(format!("{id:?} was forgotten"), "tell it anew with memory_add"))
    }

    /// The note of an id whose place nothing took.
    ///
    /// # Errors
    /// Those of [`Notes::find`], and one that was superseded.
    pub fn latest(&self, id: &str) -> Result<&Episode> {
        let note = self.find(id)?;
        match &note.superseded_by {
            None => Ok(note),
            Some(by) => Err(Error::input(format!("{by:?} took the place of {id:?}"), format!("name {by:?} instead"))),
        }
    }

    /// The ids of what an id superseded, itself, and what superseded it, oldest first.
    ///
    /// # Errors
    /// An unknown id.
    pub fn chain(&self, id: &str) -> Result<Vec<String>> {
        self.look_up(id)?.ok();
        let known = |id: &str| self.memory.network().get(id);
        let mut chain = vec![id.to_string()];
        while let Some(old) = known(&chain[0]).and_then(|note| known(note.supersedes.as_deref()?))
            && !chain.contains(&old.id)
        {
            chain.insert(0, old.id.clone());
        }
        while let Some(new) = known(&chain[chain.len() - 1]).and_then(|note| known(note.superseded_by.as_deref()?))
            && !chain.contains(&new.id)
        {
            chain.push(new.id.clone());
        }
        Ok(chain)
    }

    /// An id like this one that is not taken, nor was.
    pub fn free_id(&self, id: &str) -> String {
        let taken = |id: &String| self.memory.network().get(id).is_some() || self.memory.gone(id).is_some();
        let ids = std::iter::once(id.to_string()).chain((2..).map(|n| format!("{id}-{n}")));
        ids.into_iter().find(|id| !taken(id)).unwrap_or_default()
    }

    /// Keeps a note: it is on disk when the call returns, or, after an error, does not count.
    ///
    /// # Errors
    /// What breaks a rule, and what a disk refuses.
    pub fn add(&mut self, note: Episode) -> Result<()> {
        let relates = note.supersedes.is_some() || note.act.is_some();
        self.memory.add(vec![note])?;
        if relates {
            self.count();
        }
        Ok(())
    }

    /// Changes what is known of notes beside their words, likewise.
    ///
    /// # Errors
    /// An unknown id, what breaks a rule, and what a disk refuses.
    pub fn amend(&mut self, ids: &[&str], change: impl FnMut(&mut Episode)) -> Result<()> {
        self.memory.amend(ids, change)?;
        self.count();
        Ok(())
    }

    /// Takes notes out of everything, the files included; ids and times stay. What one of them had superseded holds again.
    ///
    /// # Errors
    /// An unknown id (nothing is forgotten then), and what a disk refuses.
    pub fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>> {
        let receipts = self.memory.forget(ids)?;
        self.count();
        self.memory.compact()?;
        Ok(receipts)
    }

    /// What a hint brings to mind, best first; what hardly fits stays out. Tables are to be settled.
    ///
    /// # Errors
    /// A text that the encoder cannot take, and files that cannot be read.
    pub fn search(&self, hint: &str, most: usize, filter: Filter) -> Result<Answer> {
        let ask = Ask { k: most, filter, explain: true, ..Ask::new(hint) };
        let mut answer = self.memory.asked(&self.memory.tokens()?, &ask, Late::On)?;
        answer.recalled.retain(|recalled| recalled.fit >= LEAST);
        if answer.recalled.is_empty() {
            answer.confidence = 0.0;
        }
        Ok(answer)
    }

    /// The files of a folder, and of those within it, that hold a text, as JSON writes it.
    ///
    /// # Errors
    /// What a disk refuses.
    pub fn trace(folder: &Path, text: &str) -> Result<Vec<String>> {
        let needle = serde_json::to_string(text).unwrap_or_default();
        let needle = needle.trim_matches('"').as_bytes();
        let mut found = Vec::new();
        if needle.is_empty() {
            return Ok(found);
        }
        for file in std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))?.flatten() {
            let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                found.extend(Notes::trace(&path, text)?.into_iter().map(|inner| format!("{name}/{inner}")));
                continue;
            }
            if holds(&path, needle).map_err(|e| Error::file(&path, e))? {
                found.push(name);
            }
        }
        Ok(found)
    }
}

/// Whether a file holds these bytes.
fn holds(path: &Path, needle: &[u8]) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        // What a part ends with may go on in the next.
        let rest = bytes.len().saturating_sub(needle.len() - 1);
        bytes.drain(..rest);
        if (&mut file).take(1 << 20).read_to_end(&mut bytes)? == 0 {
            return Ok(false);
        }
        if bytes.windows(needle.len()).any(|window| window == needle) {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(id: &str, text: &str) -> Episode {
        Episode { id: id.into(), ..Episode::of_text(text) }
    }

    fn open(folder: &Path) -> Notes {
        Notes::open(folder, &Encoders::default()).unwrap()
    }

    fn found(notes: &mut Notes, hint: &str) -> Vec<String> {
        notes.settle();
        notes.search(hint, 5, Filter::default()).unwrap().recalled.into_iter().map(|r| r.episode.id).collect()
    }

    #[test]
    fn what_took_whose_place_is_there_again_and_no_id_comes_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = open(folder.path());
        let taken = Notes::open(folder.path(), &Encoders::default()).err().unwrap();
        assert!(taken.to_string().contains("in use"));
        notes.add(note("a", "The passport lies in the drawer")).unwrap();
        notes.add(note("b", "Ada likes tea")).unwrap();
        notes.add(Episode { supersedes: Some("a".into()), ..note("c", "The passport lies in the safe") }).unwrap();
        // What is held back takes nobody's place until it is released.
        let held =
            Episode { supersedes: Some("c".into()), quarantine: Some("a key".into()), ..note("d", "The passport is lost") };
        notes.add(held).unwrap();
        drop(notes);
        let mut notes = open(folder.path());
        assert_eq!(notes.current().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(found(&mut notes, "the passport"), ["c"]);
        assert_eq!(notes.chain("a").unwrap(), ["a", "c"]);
        notes.amend(&["d"], |note| note.quarantine = None).unwrap();
        assert_eq!(notes.chain("c").unwrap(), ["a", "c", "d"]);
        assert!(notes.latest("a").unwrap_err().remedy().unwrap().contains("\"c\""));
        notes.forget(&["d"]).unwrap();
        assert!(notes.find("d").unwrap_err().to_string().contains("forgotten") && notes.latest("c").is_ok());
        assert_eq!((notes.free_id("d"), notes.free_id("e")), ("d-2".into(), "e".into()));
    }

    #[test]
    fn what_is_forgotten_leaves_no_word() {
        let folder = tempfile::tempdir().unwrap();
        let said = "The \"passport\" lies in the drawer";
        let mut notes = open(folder.path());
        notes.add(note("a", said)).unwrap();
        notes.add(Episode { supersedes: Some("a".into()), ..note("b", "It lies in the safe") }).unwrap();
        assert_eq!(Notes::trace(folder.path(), said).unwrap(), ["recall/recall.redb"]);
        notes.forget(&["b"]).unwrap();
        assert!(notes.find("a").unwrap().superseded_by.is_none());
        let receipts = notes.forget(&["a"]).unwrap();
        assert!(receipts[0].cells == 1 && receipts[0].synapses > 0, "{receipts:?}");
        assert!(Notes::trace(folder.path(), said).unwrap().is_empty());
        assert!(found(&mut notes, "passport safe drawer").is_empty());
        drop(notes);
        let bytes = std::fs::read(folder.path().join("recall/recall.redb")).unwrap();
        assert!(!["passport", "safe"].iter().any(|word| bytes.windows(word.len()).any(|w| w == word.as_bytes())));
        assert_eq!(open(folder.path()).gone().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
