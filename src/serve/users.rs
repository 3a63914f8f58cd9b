//! The users: each one's folder, opened when it is asked for, closed when it has not been for long. No call reaches a folder but that of the
//! user it names, and a name is never a path.

use super::brain::Brain;
use super::encoders::Encoders;
use super::user::User;
use crate::error::{Error, Result};
use crate::memory::store::user_folder;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes of a user's name at most.
const LONGEST_NAME: usize = 256;

/// All users.
pub struct Users {
    root: PathBuf,
    most: usize,
    open: Mutex<HashMap<String, Arc<Seat>>>,
    turns: AtomicU64,
    /// The encoders at work.
    pub encoders: Encoders,
    /// The model, where there is one.
    pub brain: Option<Brain>,
}

/// A user's place: opening a folder, which may take long, keeps nobody else waiting.
type Seat = Mutex<Option<Arc<User>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of the last call of who sits there, where nobody works for them; whoever is at work holds a second handle.
fn idle_since(seat: &Arc<Seat>) -> Option<u64> {
    let user = seat.try_lock().ok().filter(|_| Arc::strong_count(seat) == 1)?;
    match &*user {
        Some(user) if Arc::strong_count(user) > 1 => None,
        user => Some(user.as_ref().map_or(0, |user| user.turn())),
    }
}

impl Users {
    /// Users whose folders lie under `root`, of which `most` are open at a time.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn new(root: &Path, most: usize, encoders: Encoders, brain: Option<Brain>) -> Result<Users> {
        std::fs::create_dir_all(root).map_err(|e| Error::file(root, e))?;
        let root = root.canonicalize().map_err(|e| Error::file(root, e))?;
        Ok(Users { root, most: most.max(1), open: Mutex::default(), turns: AtomicU64::new(0), encoders, brain })
    }

    /// The user of a name.
    ///
    /// # Errors
    /// A name that cannot be one, a folder that another process works on, and more users at once than may be open.
    pub fn get(&self, name: &str) -> Result<Arc<User>> {
        if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let what = format!("a user's name has 1 to {LONGEST_NAME} bytes and no control characters");
            return Err(Error::input(what, "give another one"));
        }
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let seat = {
            let mut open = lock(&self.open);
            while !open.contains_key(name) && open.len() >= self.most {
                let idle = open.iter().filter_map(|(name, seat)| Some((idle_since(seat)?, name)));
                let Some(oldest) = idle.min().map(|(_, name)| name.clone()) else {
                    let what = format!("{} users are at work at once", open.len());
                    return Err(Error::Run { message: what, remedy: "call again in a moment".into() });
                };
                open.remove(&oldest);
            }
            open.entry(name.into()).or_default().clone()
        };
        let mut place = lock(&seat);
        let user = match &*place {
            Some(user) => user.clone(),
            None => match User::open(name, user_folder(&self.root, name), &self.encoders) {
                Ok(user) => place.insert(Arc::new(user)).clone(),
                Err(error) => {
                    drop(place);
                    let mut open = lock(&self.open);
                    // Who waits for the same place may find it better.
                    if Arc::strong_count(&seat) == 2 {
                        open.remove(name);
                    }
                    return Err(error);
                }
            },
        };
        drop(place);
        user.call(turn);
        Ok(user)
    }

    /// Those whose folders are open, as long as they are.
    pub fn at_work(&self) -> Vec<Weak<User>> {
        let at_work = |seat: &Arc<Seat>| seat.try_lock().ok()?.as_ref().map(Arc::downgrade);
        lock(&self.open).values().filter_map(at_work).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::Episode;

    #[test]
    fn a_name_is_never_a_path_and_few_folders_are_open() {
        let root = tempfile::tempdir().unwrap();
        let users = Users::new(&root.path().join("all"), 2, Encoders::default(), None).unwrap();
        for name in ["../../etc", "/tmp/x", "a/b", "..", "C:\\x", "Ada", "ada"] {
            let user = users.get(name).unwrap();
            user.notes_mut().add(Episode { id: "n".into(), ..Episode::of_text(name) }).unwrap();
            assert_eq!(user.folder.parent().unwrap(), root.path().canonicalize().unwrap().join("all"), "{name}");
        }
        assert_eq!(users.at_work().len(), 2);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        for name in ["Ada", "ada", ".."] {
            let user = users.get(name).unwrap();
            let notes = user.notes();
            assert_eq!(notes.all().map(|n| n.text.as_str()).collect::<Vec<_>>(), [name]);
        }
        for wrong in ["", " ", "a\nb", &"x".repeat(300)] {
            assert!(users.get(wrong).err().unwrap().remedy().is_some());
        }
        let (_a, _b) = (users.get("a").unwrap(), users.get("b").unwrap());
        assert!(users.get("c").is_err());
    }
}
