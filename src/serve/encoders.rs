//! The encoders at work, each once for all users: the one that the server was started with, and those that folders were made with.

use crate::error::Result;
use crate::memory::episodic::{Chosen, Mark, encoder};
use crate::recall::encoder::Encoder;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Encoders by name.
#[derive(Default)]
pub struct Encoders {
    /// Of new memories, and of /v1/embeddings; None for words alone.
    pub served: Option<Arc<dyn Encoder>>,
    others: Mutex<HashMap<String, Arc<dyn Encoder>>>,
}

impl Encoders {
    /// With an encoder for new memories.
    ///
    /// # Errors
    /// One that is not there or cannot be used.
    pub fn new(name: Option<&str>) -> Result<Encoders> {
        Ok(Encoders { served: name.map(encoder).transpose()?, others: Mutex::default() })
    }

    /// The encoder of a memory: the one that its vectors are of; where it has none, the server's. Words alone where that cannot be
    /// opened, with the reason.
    pub fn choose(&self, kept: Option<&Mark>) -> Result<Chosen> {
        let own = |mark: &&Mark| self.served.as_ref().is_none_or(|served| served.fingerprint() != mark.fingerprint);
        let Some(mark) = kept.filter(|mark| mark.width > 0).filter(own) else { return Ok((self.served.clone(), None)) };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = others.get(&mark.name) {
            return Ok((Some(there.clone()), None));
        }
        match encoder(&mark.name) {
            Ok(opened) if opened.fingerprint() == mark.fingerprint => {
                others.insert(mark.name.clone(), opened.clone());
                Ok((Some(opened), None))
            }
            Ok(_) => Ok((None, Some(format!("{} is not the encoder any more that it was", mark.name)))),
            Err(error) => Ok((None, Some(error.to_string()))),
        }
    }
}
