//! All models that can be named: the built-in files, and those of the user's folders, which extend and override them.

use super::file::{self, Model};
use super::{Modifier, NeuronModel, SynapseModel};
use crate::error::{Error, Place, Result, nearest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

mod built_in {
    include!(concat!(env!("OUT_DIR"), "/models.rs"));
}

/// All models that a scenario may name: those built in, and those of the user's folders.
#[derive(Clone, Debug, Default)]
pub struct Library {
    neurons: BTreeMap<String, Arc<NeuronModel>>,
    synapses: BTreeMap<String, Arc<SynapseModel>>,
    modifiers: BTreeMap<String, Arc<Modifier>>,
}

impl Library {
    /// Built-in models, then every `*.toml` in the folders given and in their subfolders; later ones win.
    pub fn load(folders: &[PathBuf]) -> Result<Library> {
        let mut library = Library::built_in()?.clone();
        for folder in folders {
            let mut files = vec![];
            collect(folder, 0, &mut files)?;
            let read = |path: PathBuf| {
                let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
                Ok((path.to_string_lossy().into_owned(), text))
            };
            library.extend(&files.into_iter().map(read).collect::<Result<Vec<_>>>()?)?;
        }
        Ok(library)
    }

    /// Adds models by file name and text; they stand before those of the same name that are there.
    ///
    /// # Errors
    /// A text that is no model, two of one name.
    pub fn extend(&mut self, files: &[(String, String)]) -> Result<()> {
        let mut own = Library::default();
        files.iter().try_for_each(|(file, text)| own.add(file, text))?;
        self.neurons.append(&mut own.neurons);
        self.synapses.append(&mut own.synapses);
        self.modifiers.append(&mut own.modifiers);
        Ok(())
    }

    /// Names and places of the models that are not built in.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Place)> {
        let built_in = |place: &Place| built_in::FILES.iter().any(|(path, text)| *path == place.file && *text == &*place.text);
        let neurons = self.neurons.iter().map(|(name, m)| (name.as_str(), &m.place));
        let synapses = self.synapses.iter().map(|(name, m)| (name.as_str(), &m.place));
        let modifiers = self.modifiers.iter().map(|(name, m)| (name.as_str(), &m.place));
        neurons.chain(synapses).chain(modifiers).filter(move |(_, place)| !built_in(place))
    }

    /// Whether a model of any kind has this name.
    pub fn has(&self, name: &str) -> bool {
        self.neurons.contains_key(name) || self.synapses.contains_key(name) || self.modifiers.contains_key(name)
    }

    /// The models that are part of the program.
    pub fn built_in() -> Result<&'static Library> {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        let mut library = Library::default();
        for (path, text) in built_in::FILES {
            library.add(path, text)?;
        }
        Ok(LIBRARY.get_or_init(|| library))
    }

    /// Read a model file's text into the library. A name may stand once in a folder.
    pub fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let (name, other, place) = match file::read(file, text)? {
            Model::Neuron(model) => {
                let (name, place) = (model.name.clone(), model.place.clone());
                (name.clone(), self.neurons.insert(name, Arc::new(model)).map(|m| m.place.file.clone()), place)
            }
            Model::Synapse(model) => {
                let (name, place) = (model.name.clone(), model.place.clone());
                (name.clone(), self.synapses.insert(name, Arc::new(model)).map(|m| m.place.file.clone()), place)
            }
            Model::Modifier(model) => {
                let (name, place) = (model.name.clone(), model.place.clone());
                (name.clone(), self.modifiers.insert(name, Arc::new(model)).map(|m| m.place.file.clone()), place)
            }
        };
        match other {
            Some(other) => Err(Error::at(
                place,
                format!("`{name}` is also the name of the model in {other}"),
                "give each model its own name",
            )),
            None => Ok(()),
        }
    }

    /// The neuron model of this name; the refusal of an unknown one names the nearest.
    pub fn neuron(&self, name: &str) -> Result<Arc<NeuronModel>> {
        self.neurons.get(name).cloned().ok_or_else(|| unknown("neuron", name, self.neurons.keys()))
    }

    /// The synapse model of this name; the refusal of an unknown one names the nearest.
    pub fn synapse(&self, name: &str) -> Result<Arc<SynapseModel>> {
        self.synapses.get(name).cloned().ok_or_else(|| unknown("synapse", name, self.synapses.keys()))
    }

    /// The modifier of this name; the refusal of an unknown one names the nearest.
    pub fn modifier(&self, name: &str) -> Result<Arc<Modifier>> {
        self.modifiers.get(name).cloned().ok_or_else(|| unknown("modifier", name, self.modifiers.keys()))
    }

    /// All neuron models by name.
    pub fn neurons(&self) -> impl Iterator<Item = &Arc<NeuronModel>> {
        self.neurons.values()
    }

    /// All synapse models by name.
    pub fn synapses(&self) -> impl Iterator<Item = &Arc<SynapseModel>> {
        self.synapses.values()
    }

    /// All modifiers of plastic synapses by name.
    pub fn modifiers(&self) -> impl Iterator<Item = &Arc<Modifier>> {
        self.modifiers.values()
    }
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let remedy = nearest(name, known.iter().copied())
        .map_or_else(|| format!("known are {}", known.join(", ")), |n| format!("did you mean `{n}`?"));
    let kind = if kind == "modifier" { kind.to_string() } else { format!("{kind} model") };
    Error::input(format!("there is no {kind} `{name}`"), remedy)
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    let remedy = Some("--models takes a folder of model files, TOML in UTF-8".into());
    Error::File { path: path.to_path_buf(), message: format!("cannot be read: {cause}"), remedy }
}

/// The `*.toml` files of a folder, sorted by path.
fn collect(folder: &Path, depth: u32, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| unreadable(folder, e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && depth < 8 {
            collect(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_models_load_and_are_documented() {
        let library = Library::load(&[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(library.neuron("iaf_psc_exp").is_ok() && library.synapse("static_synapse").is_ok());
        for model in library.neurons() {
            assert_eq!(model.place.file, format!("models/neurons/{}.toml", model.name));
            assert!(!model.doc.is_empty() && !model.source.is_empty(), "{}", model.name);
            assert!(model.params.iter().all(|p| !p.doc.is_empty()), "{}", model.name);
            crate::network::NeuronInstance::new(model, &[], 0.1).unwrap_or_else(|e| panic!("{e}"));
        }
        for model in library.synapses() {
            assert_eq!(model.place.file, format!("models/synapses/{}.toml", model.name));
            crate::network::SynapseInstance::new(model, &[], 0.1).unwrap_or_else(|e| panic!("{e}"));
        }
        for modifier in library.modifiers() {
            assert_eq!(modifier.place.file, format!("models/modifiers/{}.toml", modifier.name));
            assert!(!modifier.doc.is_empty() && !modifier.source.is_empty(), "{}", modifier.name);
            assert!(modifier.params.iter().all(|p| !p.doc.is_empty()), "{}", modifier.name);
            for model in library.synapses().filter(|m| m.plasticity.is_some()) {
                let composed = crate::model::compose(model, &[modifier]).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(composed.model.name, format!("{}+{}", model.name, modifier.name));
                crate::network::SynapseInstance::new(&Arc::new(composed.model), &[], 0.1).unwrap_or_else(|e| panic!("{e}"));
            }
        }
        let error = library.neuron("iaf_psc_ex").unwrap_err();
        assert_eq!(error.to_string(), "there is no neuron model `iaf_psc_ex` (did you mean `iaf_psc_exp`?)");
    }

    #[test]
    fn user_folders_override_and_must_not_repeat_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = \"static_synapse\"\nkind = \"synapse\"\ndoc = \"mine\"\n";
        std::fs::write(folder.path().join("a.toml"), text).unwrap();
        let library = Library::load(&[folder.path().to_path_buf()]).unwrap();
        assert_eq!(library.synapse("static_synapse").unwrap().doc, "mine");
        assert!(library.neuron("iaf_psc_exp").is_ok());
        std::fs::write(folder.path().join("b.toml"), text).unwrap();
        let error = Library::load(&[folder.path().to_path_buf()]).unwrap_err().to_string();
        assert!(error.contains("is also the name of the model in"), "{error}");
        assert!(Library::load(&[folder.path().join("absent")]).is_err());
    }
}
