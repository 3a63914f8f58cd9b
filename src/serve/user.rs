//! One user at work: notes, weights, and the last answers, each behind a lock of its own. Knows its folder alone.

use super::encoders::Encoders;
use super::notes::Notes;
use crate::error::Result;
use crate::memory::Memory;
use crate::transformer::chat::Message;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Answers that an outcome may still name.
const ANSWERS: usize = 64;

/// What was answered to a chat: for an outcome that comes later.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Id of the answer.
    pub id: String,
    /// The messages as they came, without what was recalled for them.
    pub messages: Vec<Message>,
    /// What was said.
    pub answer: String,
}

/// One user.
pub struct User {
    /// Who it is.
    pub name: String,
    /// What is theirs.
    pub folder: PathBuf,
    /// Set by whoever wants the weights now: sleep ends.
    pub wake: AtomicBool,
    notes: RwLock<Notes>,
    memory: Mutex<Option<Memory>>,
    answers: Mutex<VecDeque<Answered>>,
    /// When a call came last.
    called: Mutex<Instant>,
    /// The same in the order of all calls.
    turn: AtomicU64,
}

impl User {
    /// The user whose folder this is; made where there is none.
    ///
    /// # Errors
    /// A folder that another process works on, or damaged files.
    pub fn open(name: &str, folder: PathBuf, encoders: &Encoders) -> Result<User> {
        Ok(User {
            name: name.into(),
            notes: RwLock::new(Notes::open(&folder, encoders)?),
            folder,
            wake: AtomicBool::new(false),
            memory: Mutex::new(None),
            answers: Mutex::default(),
            called: Mutex::new(Instant::now()),
            turn: AtomicU64::new(0),
        })
    }

    /// Their notes, to read; held for moments alone.
    pub fn notes(&self) -> RwLockReadGuard<'_, Notes> {
        self.notes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their notes, to search.
    pub fn settled(&self) -> RwLockReadGuard<'_, Notes> {
        loop {
            let notes = self.notes();
            if notes.is_settled() {
                return notes;
            }
            drop(notes);
            self.notes_mut().settle();
        }
    }

    /// Their notes, to write.
    pub fn notes_mut(&self) -> RwLockWriteGuard<'_, Notes> {
        self.notes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their weights, where they are open; held while an experience is learned or replayed.
    pub fn memory(&self) -> MutexGuard<'_, Option<Memory>> {
        self.memory.lock().unwrap_or_else(|poisoned| {
            self.memory.clear_poison();
            let mut memory = poisoned.into_inner();
            // What a panic left half done is read anew from the folder.
            *memory = None;
            memory
        })
    }

    /// Whether their weights are open and nobody works on them.
    pub fn rests(&self) -> bool {
        self.memory.try_lock().is_ok_and(|memory| memory.is_some())
    }

    /// Closes their weights, where nobody works on them; they are opened again when they are asked for.
    pub fn close(&self) {
        if let Ok(mut memory) = self.memory.try_lock() {
            *memory = None;
        }
    }

    /// Keeps an answer in mind, for an outcome.
    pub fn said(&self, answered: Answered) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() == ANSWERS {
            answers.pop_front();
        }
        answers.push_back(answered);
    }

    /// The answer of an id, where it was one of the last.
    pub fn answered(&self, id: &str) -> Option<Answered> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|a| a.id == id).cloned()
    }

    /// A call comes, in this turn among those of all users.
    pub fn call(&self, turn: u64) {
        self.turn.store(turn, Ordering::Relaxed);
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The turn of the last call.
    pub fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// How long nobody has called.
    pub fn idle(&self) -> Duration {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
