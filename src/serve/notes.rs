//! The log of a user's notes, beside the weights' own database in one folder: a JSON object a line, the last line of an id counts. A line is
//! on disk when the call returns; a stop in the midst of one loses that line alone. Forgetting writes the log anew without the words.
//!
//! ```text
//! DIR/notes.jsonl   the log      DIR/notes.lock   locked while a process works on it
//! ```

use super::note::Note;
use super::search::{Search, Words};
use crate::error::{Error, Result};
use jiff::Timestamp;
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const LOG: &str = "notes.jsonl";
const UNFINISHED: &str = "notes.jsonl.new";
const LOCK: &str = "notes.lock";

/// A user's notes, in order of arrival.
pub struct Notes {
    folder: PathBuf,
    log: File,
    /// Bytes of whole lines in the log.
    length: u64,
    lines: usize,
    notes: Vec<Note>,
    places: HashMap<String, usize>,
    search: Box<dyn Search>,
    /// Experiences that wait to be learned.
    waiting: usize,
    _lock: File,
}

impl Notes {
    /// The notes in a folder, which is made where there is none.
    ///
    /// # Errors
    /// A folder that another process works on, and a log that is damaged before its end.
    pub fn open(folder: &Path) -> Result<Notes> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        let path = folder.join(LOCK);
        let lock = options().truncate(false).open(&path).map_err(|e| Error::file(&path, e))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let what = format!("the memory {} is in use by another process", folder.display());
                return Err(Error::input(what, "stop that process, or use another folder of memories"));
            }
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => return Err(Error::file(&path, e)),
            _ => {}
        }
        let path = folder.join(LOG);
        let log = options().truncate(false).open(&path).map_err(|e| Error::file(&path, e))?;
        let mut notes = Notes {
            folder: folder.to_path_buf(),
            log,
            length: 0,
            lines: 0,
            notes: Vec::new(),
            places: HashMap::new(),
            search: Box::new(Words::new()),
            waiting: 0,
            _lock: lock,
        };
        let _ = std::fs::remove_file(folder.join(UNFINISHED));
        notes.read()?;
        if notes.lines > 2 * notes.notes.len() + 1000 {
            notes.write_anew()?;
        }
        Ok(notes)
    }

    /// Reads the log; a last line without its end was never acknowledged and goes.
    fn read(&mut self) -> Result<()> {
        let path = self.folder.join(LOG);
        let fault = |e: std::io::Error| Error::file(&path, e);
        let mut reader = BufReader::new(self.log.try_clone().map_err(fault)?);
        let (mut line, mut bad) = (Vec::new(), None);
        let mut notes: Vec<Note> = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(fault)?;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            if let Some((number, why)) = bad.take() {
                return Err(Error::File {
                    path: path.clone(),
                    message: format!("line {number} is damaged: {why}"),
                    remedy: Some("take that line out, or bring the file back from a copy; the other lines are whole".into()),
                });
            }
            self.lines += 1;
            match serde_json::from_slice::<Note>(&line) {
                Ok(note) => self.place(note, &mut notes),
                // As after a power cut, when the end of a line came to disk before its beginning.
                Err(error) => {
                    bad = Some((self.lines, error.to_string()));
                    continue;
                }
            }
            self.length += read as u64;
        }
        self.log.set_len(self.length).and_then(|()| self.log.seek(SeekFrom::End(0))).map_err(fault)?;
        self.notes = notes;
        self.index();
        Ok(())
    }

    fn place(&mut self, note: Note, notes: &mut Vec<Note>) {
        match self.places.get(&note.id) {
            Some(at) => notes[*at] = note,
            None => {
                self.places.insert(note.id.clone(), notes.len());
                notes.push(note);
            }
        }
    }

    /// What follows from the notes: what is history, and what finds them.
    fn index(&mut self) {
        self.relate();
        self.search.clear();
        for (note, place) in self.notes.iter().zip(0..) {
            if !note.forgotten {
                self.search.add(place, &note.said());
            }
        }
    }

    /// Of notes that name the same one the last took its place. What is held back takes nobody's.
    fn relate(&mut self) {
        self.notes.iter_mut().for_each(|note| note.superseded_by = None);
        for at in 0..self.notes.len() {
            let note = &self.notes[at];
            let (by, old) = (note.id.clone(), note.supersedes.as_ref().and_then(|old| self.places.get(old)).copied());
            if let Some(old) = old.filter(|old| *old != at && note.quarantine.is_none() && !note.forgotten) {
                self.notes[old].superseded_by = Some(by);
            }
        }
        self.waiting = self.notes.iter().filter(|note| note.waits()).count();
    }

    /// Experiences that wait to be learned.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// All notes, in order of arrival.
    pub fn all(&self) -> &[Note] {
        &self.notes
    }

    /// The note of an id.
    ///
    /// # Errors
    /// An unknown id; the nearest is suggested.
    pub fn find(&self, id: &str) -> Result<&Note> {
        match self.places.get(id) {
            Some(at) => Ok(&self.notes[*at]),
            None => {
                let near = crate::error::nearest(id, self.notes.iter().rev().take(2000).map(|n| n.id.as_str()));
                let remedy = near.map_or("memory_list shows the ids".into(), |near| format!("did you mean {near:?}?"));
                Err(Error::input(format!("there is no memory {id:?}"), remedy))
            }
        }
    }

    /// The ids of what an id superseded, itself, and what superseded it, oldest first.
    ///
    /// # Errors
    /// An unknown id.
    pub fn chain(&self, id: &str) -> Result<Vec<String>> {
        let mut chain = vec![self.find(id)?.id.clone()];
        while let Some(old) = self.find(&chain[0])?.supersedes.clone().filter(|old| self.knows(old) && !chain.contains(old)) {
            chain.insert(0, old);
        }
        while let Some(new) = self.find(&chain[chain.len() - 1])?.superseded_by.clone().filter(|new| !chain.contains(new)) {
            chain.push(new);
        }
        Ok(chain)
    }

    /// Whether an id is taken.
    pub fn knows(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// An id like this one that is not taken.
    pub fn free_id(&self, id: &str) -> String {
        let ids = std::iter::once(id.to_string()).chain((2..).map(|n| format!("{id}-{n}")));
        ids.into_iter().find(|id| !self.knows(id)).unwrap_or_default()
    }

    /// Keeps notes, new or changed: all of them are on disk when the call returns, or, after an error, none counts.
    ///
    /// # Errors
    /// What a disk refuses.
    pub fn keep(&mut self, notes: Vec<Note>) -> Result<()> {
        let mut lines = Vec::new();
        for note in &notes {
            serde_json::to_writer(&mut lines, note).map_err(|e| self.broken(e.into()))?;
            lines.push(b'\n');
        }
        if let Err(error) = self.log.write_all(&lines).and_then(|()| self.log.sync_data()) {
            // What is there of it is taken back.
            let _ = self.log.set_len(self.length).and_then(|()| self.log.seek(SeekFrom::End(0)));
            return Err(self.broken(error));
        }
        self.length += lines.len() as u64;
        self.lines += notes.len();
        let mut anew = false;
        for note in notes {
            let relates = note.supersedes.is_some() || note.experience.is_some();
            match self.places.get(&note.id).copied() {
                Some(at) => {
                    anew |= self.notes[at].said() != note.said();
                    self.notes[at] = Note { superseded_by: self.notes[at].superseded_by.clone(), ..note };
                }
                None => {
                    let at = self.notes.len();
                    self.search.add(at as u32, &note.said());
                    self.places.insert(note.id.clone(), at);
                    self.notes.push(note);
                }
            }
            if relates {
                self.relate();
            }
        }
        if anew {
            self.index();
        }
        Ok(())
    }

    /// Takes the words of notes out of everything, the file included; their ids and times stay. What one of them had superseded holds again.
    ///
    /// # Errors
    /// What a disk refuses; nothing is forgotten then.
    pub fn forget(&mut self, ids: &[String]) -> Result<()> {
        let before = self.notes.clone();
        for note in self.notes.iter_mut().filter(|note| ids.contains(&note.id)) {
            *note = Note { id: note.id.clone(), told: note.told.clone(), forgotten: true, ..Note::default() };
        }
        if let Err(error) = self.write_anew() {
            self.notes = before;
            return Err(error);
        }
        self.index();
        Ok(())
    }

    /// The log with what counts alone, in the place of the old one.
    fn write_anew(&mut self) -> Result<()> {
        let path = self.folder.join(UNFINISHED);
        let written = || -> std::io::Result<(File, u64)> {
            let mut file = options().truncate(true).open(&path)?;
            let mut lines = Vec::new();
            for note in &self.notes {
                serde_json::to_writer(&mut lines, note)?;
                lines.push(b'\n');
                if lines.len() > 1 << 20 {
                    file.write_all(&lines)?;
                    lines.clear();
                }
            }
            file.write_all(&lines)?;
            file.sync_all()?;
            std::fs::rename(&path, self.folder.join(LOG))?;
            // A folder can be synced on Unix only; elsewhere the rename is the file system's to keep.
            if let Ok(folder) = File::open(&self.folder) {
                let _ = folder.sync_all();
            }
            let length = file.stream_position()?;
            Ok((file, length))
        };
        match written() {
            Ok((log, length)) => {
                (self.log, self.length, self.lines) = (log, length, self.notes.len());
                Ok(())
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(self.broken(error))
            }
        }
    }

    /// Notes that a hint asks for, best first, each with how well it fits, 0 to 1; of those that `allowed` lets pass.
    pub fn search(&self, hint: &str, most: usize, allowed: impl Fn(&Note) -> bool) -> Vec<(&Note, f64)> {
        let found = self.search.search(hint, most, &|place| allowed(&self.notes[place as usize]));
        found.into_iter().map(|(place, fit)| (&self.notes[place as usize], fit)).collect()
    }

    /// What holds now, oldest first.
    pub fn current(&self) -> impl DoubleEndedIterator<Item = &Note> {
        let now = Timestamp::now();
        self.notes.iter().filter(move |note| note.holds(now))
    }

    /// The files of the folder that hold a text, as JSON writes it.
    ///
    /// # Errors
    /// What a disk refuses.
    pub fn trace(&self, text: &str) -> Result<Vec<String>> {
        let needle = serde_json::to_string(text).unwrap_or_default();
        let needle = needle.trim_matches('"').as_bytes();
        let mut found = Vec::new();
        if needle.is_empty() {
            return Ok(found);
        }
        for file in std::fs::read_dir(&self.folder).map_err(|e| Error::file(&self.folder, e))?.flatten() {
            let mut bytes = Vec::new();
            let path = file.path();
            let whole = File::open(&path).and_then(|mut f| f.read_to_end(&mut bytes)).map_err(|e| Error::file(&path, e))?;
            if whole >= needle.len() && bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(file.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(found)
    }

    fn broken(&self, error: std::io::Error) -> Error {
        Error::File {
            path: self.folder.join(LOG),
            message: error.to_string(),
            remedy: Some("make room on the disk, and call again: nothing of this call was kept".into()),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(id: &str, text: &str) -> Note {
        Note { id: id.into(), text: text.into(), told: "2026-03-09T17:05:00Z".into(), ..Note::default() }
    }

    #[test]
    fn what_is_kept_is_there_again_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = Notes::open(folder.path()).unwrap();
        assert!(Notes::open(folder.path()).err().unwrap().to_string().contains("in use"));
        notes.keep(vec![note("a", "The passport lies in the drawer"), note("b", "Ada likes tea")]).unwrap();
        notes.keep(vec![Note { supersedes: Some("a".into()), ..note("c", "The passport lies in the safe") }]).unwrap();
        let kept = notes.all().to_vec();
        drop(notes);
        let path = folder.path().join(LOG);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"d\",\"text\":\"half").unwrap();
        let mut notes = Notes::open(folder.path()).unwrap();
        assert_eq!(notes.all(), kept);
        assert_eq!(notes.find("a").unwrap().superseded_by.as_deref(), Some("c"));
        assert_eq!(notes.current().map(|n| n.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(notes.search("the passport", 5, |_| true).len(), 2);
        // What comes after the half line stands on a line of its own.
        notes.keep(vec![note("e", "Rex is a dog")]).unwrap();
        drop(notes);
        assert_eq!(Notes::open(folder.path()).unwrap().all().len(), 4);
    }

    #[test]
    fn what_is_forgotten_leaves_no_word() {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = Notes::open(folder.path()).unwrap();
        notes.keep(vec![note("a", "The \"passport\" lies in the drawer")]).unwrap();
        notes.keep(vec![Note { supersedes: Some("a".into()), ..note("b", "It lies in the safe") }]).unwrap();
        assert_eq!(notes.trace("The \"passport\" lies in the drawer").unwrap(), [LOG]);
        notes.forget(&["b".into()]).unwrap();
        assert!(notes.find("b").unwrap().forgotten && notes.find("a").unwrap().superseded_by.is_none());
        notes.forget(&["a".into()]).unwrap();
        assert!(notes.trace("The \"passport\" lies in the drawer").unwrap().is_empty());
        assert!(notes.search("passport safe drawer", 5, |_| true).is_empty());
        drop(notes);
        let text = std::fs::read_to_string(folder.path().join(LOG)).unwrap();
        assert!(!text.contains("passport") && !text.contains("safe") && text.contains("\"a\""), "{text}");
    }

    #[test]
    fn damage_in_the_midst_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOG), "{\"id\":\"a\",\"text\":\"x\"}\nrubbish\n{\"id\":\"b\",\"text\":\"y\"}\n")
            .unwrap();
        let error = Notes::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("line 2 is damaged") && error.remedy().is_some(), "{error}");
        std::fs::write(folder.path().join(LOG), "{\"id\":\"a\",\"text\":\"x\"}\nrubbish\n").unwrap();
        assert_eq!(Notes::open(folder.path()).unwrap().all().len(), 1);
    }
}
