//! The users: each one's folder, opened when it is asked for, closed when it has not been for long. No call reaches a folder but that of the
//! user it names, and a name is never a path.

use super::brain::Brain;
use super::user::User;
use crate::error::{Error, Result};
use crate::memory::store::user_folder;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a user's name at most.
const LONGEST_NAME: usize = 256;

/// All users.
pub struct Users {
    root: PathBuf,
    most: usize,
    open: Mutex<HashMap<String, Arc<User>>>,
    turns: AtomicU64,
    /// The model, where there is one.
    pub brain: Option<Brain>,
}

impl Users {
    /// Users whose folders lie under `root`, of which `most` are open at a time.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn new(root: &Path, most: usize, brain: Option<Brain>) -> Result<Users> {
        std::fs::create_dir_all(root).map_err(|e| Error::file(root, e))?;
        let root = root.canonicalize().map_err(|e| Error::file(root, e))?;
        Ok(Users { root, most: most.max(1), open: Mutex::default(), turns: AtomicU64::new(0), brain })
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
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let user = match open.get(name) {
            Some(user) => user.clone(),
            None => {
                while open.len() >= self.most {
                    // Whoever is at work holds a second handle.
                    let idle = open.iter().filter(|(_, user)| Arc::strong_count(user) == 1);
                    let Some(oldest) = idle.min_by_key(|(_, user)| user.turn()).map(|(name, _)| name.clone()) else {
                        let what = format!("{} users are at work at once", open.len());
                        return Err(Error::Run { message: what, remedy: "call again in a moment".into() });
                    };
                    open.remove(&oldest);
                }
                let folder = user_folder(&self.root, name);
                let user = Arc::new(User::open(name, folder)?);
                open.insert(name.into(), user.clone());
                user
            }
        };
        user.call(turn);
        Ok(user)
    }

    /// Those whose folders are open, as long as they are.
    pub fn at_work(&self) -> Vec<Weak<User>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::downgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::note::Note;

    #[test]
    fn a_name_is_never_a_path_and_few_folders_are_open() {
        let root = tempfile::tempdir().unwrap();
        let users = Users::new(&root.path().join("all"), 2, None).unwrap();
        for name in ["../../etc", "/tmp/x", "a/b", "..", "C:\\x", "Ada", "ada"] {
            let user = users.get(name).unwrap();
            let note = Note { id: "n".into(), text: name.into(), told: "2026-03-09T17:05:00Z".into(), ..Note::default() };
            user.notes_mut().keep(vec![note]).unwrap();
            assert_eq!(user.folder.parent().unwrap(), root.path().canonicalize().unwrap().join("all"), "{name}");
        }
        assert_eq!(users.at_work().len(), 2);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        for name in ["Ada", "ada", ".."] {
            let user = users.get(name).unwrap();
            let notes = user.notes();
            assert_eq!(notes.all().iter().map(|n| n.text.as_str()).collect::<Vec<_>>(), [name]);
        }
        for wrong in ["", " ", "a\nb", &"x".repeat(300)] {
            assert!(users.get(wrong).err().unwrap().remedy().is_some());
        }
        let (_a, _b) = (users.get("a").unwrap(), users.get("b").unwrap());
        assert!(users.get("c").is_err());
    }
}
