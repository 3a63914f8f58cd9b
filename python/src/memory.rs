//! A memory of a language model, as the command line uses it: experiences in, answers and adapters out.

use crate::error::refuse;
use crate::recording::matrix;
use crate::watch::{Ears, Stop, json, lock, same_process, watched};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;
use sharpwave::error::{Error, Result};
use sharpwave::export::{Budget, Format, Options};
use sharpwave::memory::Memory as Inner;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::experience::Experience;
use sharpwave::memory::facade::{Observed, model_of};
use sharpwave::memory::journal::{Entry, Stage};
use sharpwave::memory::jsonl::Lines;
use sharpwave::memory::key_statistics::{Statistics, cache_folder};
use sharpwave::memory::questions::{Prompt, built_in_prompts, prompts};
use sharpwave::memory::settings::Settings;
use sharpwave::memory::store::Store;
use sharpwave::transformer::sample::Sampler;
use sharpwave::transformer::{Ending, Source};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::watch::Post;

struct Open {
    source: Source,
    memory: Inner,
    protected: Vec<Prompt>,
}

impl Open {
    /// The memory of a folder, made where there is none; with no folder, one that is gone when it is closed.
    fn new(
        model: Option<&str>,
        folder: Option<PathBuf>,
        settings: &[String],
        protect: Option<PathBuf>,
        post: &Post,
        stop: &AtomicBool,
    ) -> Result<Open> {
        post.part(0.0, || "reading the model".into());
        let there = folder.as_ref().filter(|folder| folder.join("memory.redb").exists());
        if there.is_some() && !(settings.is_empty() && protect.is_none()) {
            return Err(Error::input("this memory has settings already", "leave out settings and protect, or make a new memory"));
        }
        let source = match (model, there) {
            (Some(model), _) => Source::open(model)?,
            (None, Some(folder)) => model_of(&Store::read(folder)?, None)?,
            (None, None) => return Err(Error::input("a new memory is of no model yet", "name the model")),
        };
        let protected = protect.map_or_else(|| Ok(built_in_prompts()), |path| prompts(&path))?;
        let settings = Settings::new(&source.config).with(settings, &source.config)?;
        let host = Arc::new(source.load()?);
        let memory = match folder {
            Some(folder) => Inner::open_or_create(&folder, &source, host, &settings)?,
            None => Inner::in_memory(host.clone(), &settings, &collect(&source, &host, &settings, &protected, post, stop)?)?,
        };
        Ok(Open { source, memory, protected })
    }

    /// Ready to learn.
    fn ready(&mut self, post: &Post, stop: &AtomicBool) -> Result<()> {
        let (source, host, protected) = (&self.source, self.memory.learner().host.clone(), &self.protected);
        self.memory.prepare(|settings| collect(source, &host, settings, protected, post, stop))
    }

    fn request(&self, asked: &Asked) -> Result<Request> {
        let host = &self.memory.learner().host;
        let wrong = |e: serde_json::Error| {
            Error::input(format!("the messages: {e}"), "give a list of {\"role\": \"user\", \"content\": \"…\"}")
        };
        match asked {
            Asked::Prompt(text) => Request::of_text(host, text),
            Asked::Messages(messages, tools) => {
                let messages: Vec<sharpwave::transformer::chat::Message> = serde_json::from_str(messages).map_err(wrong)?;
                let tools = tools.as_deref().map(serde_json::from_str).transpose().map_err(wrong)?;
                Request::of_messages(host, &messages, tools.as_ref())
            }
        }
    }
}

/// Statistics of a model's keys, from the cache where they are there.
fn collect(
    source: &Source,
    host: &sharpwave::transformer::Host,
    settings: &Settings,
    protected: &[Prompt],
    post: &Post,
    stop: &AtomicBool,
) -> Result<Statistics> {
    let mut tell = |done: f64| post.part(done, || "reading what to protect".into());
    Statistics::cached(&cache_folder(), &source.fingerprint()?, host, settings, protected, &mut tell, stop)
}

/// What a model is asked: a text, or messages and tools in JSON.
enum Asked {
    Prompt(String),
    Messages(String, Option<String>),
}

/// An entry as JSON, with what came of it.
fn entry(entry: &Entry, status: &str) -> serde_json::Value {
    let reason = if let Stage::Refused { reason } = &entry.stage { Some(reason) } else { None };
    let by = if let Stage::Superseded { by } = &entry.stage { Some(by) } else { None };
    json!({
        "status": status, "stage": entry.stage.name(), "reason": reason, "superseded_by": by, "note": entry.note,
        "surprise": entry.surprise, "replays": entry.replays, "told": entry.told, "experience": entry.experience,
    })
}

fn observed(observed: &Observed) -> Result<String> {
    let status = match observed {
        Observed::Learned(_) => "learned",
        Observed::Before(_) => "known before",
        Observed::Refused(_) => "refused",
    };
    json(&entry(observed.entry(), status))
}

fn entries<'a>(all: impl IntoIterator<Item = &'a Entry>) -> Result<String> {
    json(&all.into_iter().map(|e| entry(e, e.stage.name())).collect::<Vec<_>>())
}

/// A memory. None once it is closed.
#[pyclass(frozen, module = "sharpwave._sharpwave")]
pub struct Memory(Mutex<Option<Open>>);

impl Memory {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        ears: &Ears<'_, '_>,
        work: impl FnOnce(&mut Open, &Post, &AtomicBool) -> Result<T> + Send,
    ) -> PyResult<T> {
        same_process(py)?;
        let mut guard = lock(py, &self.0, "memory")?;
        let Some(open) = guard.as_mut() else { return Err(refuse(py, "this memory is closed", "open it again")) };
        watched(py, ears, |post, stop| work(open, post, stop))
    }
}

#[pymethods]
impl Memory {
    #[new]
    #[pyo3(signature = (model, folder, settings, protect=None, progress=None))]
    fn new(
        py: Python<'_>,
        model: Option<&str>,
        folder: Option<PathBuf>,
        settings: Vec<String>,
        protect: Option<PathBuf>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Memory> {
        let ears = Ears { progress, ..Ears::default() };
        let open = watched(py, &ears, |post, stop| Open::new(model, folder, &settings, protect, post, stop))?;
        Ok(Memory(Mutex::new(Some(open))))
    }

    /// Takes an experience in, a JSON object as in files of experiences; what came of it, as JSON.
    #[pyo3(signature = (experience, progress=None))]
    fn observe(&self, py: Python<'_>, experience: &str, progress: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
        self.with(py, &Ears { progress, ..Ears::default() }, |open, post, stop| {
            let read: Option<(usize, Result<Experience>)> = Lines::new(experience.as_bytes(), "experience").next();
            let Some((_, experience)) = read else { return Err(Error::input("there is no experience", "give one")) };
            let experience = experience?;
            open.ready(post, stop)?;
            observed(&open.memory.observe(&experience)?)
        })
    }

    /// Another answer in the place of what an experience taught; what came of it, as JSON.
    #[pyo3(signature = (id, answer, new_id=None, progress=None))]
    fn supersede(
        &self,
        py: Python<'_>,
        id: &str,
        answer: &str,
        new_id: Option<&str>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        self.with(py, &Ears { progress, ..Ears::default() }, |open, post, stop| {
            open.ready(post, stop)?;
            observed(&open.memory.supersede(id, answer, new_id)?)
        })
    }

    /// What the model says to a text or to messages, and the experiences that spoke, as JSON; `said` hears it piece by piece.
    #[pyo3(signature = (prompt, messages, tools, limit, temperature, seed, said=None, stop=None))]
    #[allow(clippy::too_many_arguments)]
    fn answer(
        &self,
        py: Python<'_>,
        prompt: Option<String>,
        messages: Option<String>,
        tools: Option<String>,
        limit: usize,
        temperature: f64,
        seed: u64,
        said: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, Stop>>,
    ) -> PyResult<String> {
        let hears = said.is_some();
        self.with(py, &Ears { said, stop: stop.map(Bound::get), progress: None }, |open, post, stop| {
            let asked = messages.map_or(Asked::Prompt(prompt.unwrap_or_default()), |m| Asked::Messages(m, tools));
            let request = open.request(&asked)?;
            let mut sampler = Sampler::new(temperature, seed)?;
            let answer = open.memory.answer(&request, limit, &mut sampler, |piece| {
                match stop.load(Ordering::Relaxed) || hears && !post.say(piece) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
            let ending = match answer.ending {
                Ending::Token => "token",
                Ending::Length => "length",
                Ending::Context => "context",
                Ending::Caller => "caller",
            };
            json(&json!({ "text": answer.text, "ending": ending, "parts": answer.composition.parts }))
        })
    }

    /// Replays what was learned awake; how many moved. `said` hears of each, as JSON.
    #[pyo3(signature = (seconds, progress=None, said=None))]
    fn sleep(
        &self,
        py: Python<'_>,
        seconds: Option<f64>,
        progress: Option<&Bound<'_, PyAny>>,
        said: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let budget = seconds.map(Duration::try_from_secs_f64).transpose();
        let budget = budget.map_err(|e| refuse(py, format!("the time to sleep: {e}"), "give seconds above 0"))?;
        self.with(py, &Ears { progress, said, stop: None }, |open, post, stop| {
            let until = budget.map(|budget| Instant::now() + budget);
            let mut progress = |done: f64| {
                post.part(done, || "replaying".into());
            };
            open.memory.sleep(until, stop, &mut progress, &mut |slept, _| {
                let told = json!({
                    "id": slept.entry.experience.id, "stage": slept.entry.stage.name(), "note": slept.entry.note,
                    "probability": slept.probability, "seconds": slept.seconds,
                });
                if !post.say(&told.to_string()) {
                    stop.store(true, Ordering::Relaxed);
                }
            })
        })
    }

    /// Forgets experiences: (id, stage before, layers that it had changed).
    fn forget(&self, py: Python<'_>, ids: Vec<String>) -> PyResult<Vec<(String, String, Vec<String>)>> {
        self.with(py, &Ears::default(), |open, _, _| {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let left = open.memory.forget(&ids)?;
            Ok(left.into_iter().map(|left| (left.id, left.was.name().to_string(), left.engrams)).collect())
        })
    }

    /// All experiences, in order of arrival, as JSON.
    fn entries(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| entries(open.memory.entries()))
    }

    /// What was told about the same question as an experience, in order of time, as JSON.
    fn history(&self, py: Python<'_>, id: &str) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| entries(&open.memory.history(id)?))
    }

    /// How full it is, as JSON.
    fn capacity(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| json(&open.memory.capacity()?))
    }

    /// What a check of everything that stands found, as JSON.
    #[pyo3(signature = (progress=None))]
    fn check(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<String> {
        self.with(py, &Ears { progress, ..Ears::default() }, |open, post, stop| {
            json(&open.memory.check(&mut |done| post.part(done, || "asking for everything".into()), stop)?)
        })
    }

    /// Lets the one adapter of all change other texts by so many nats.
    fn set_damage(&self, py: Python<'_>, nats: f32) -> PyResult<()> {
        self.with(py, &Ears::default(), |open, _, _| open.memory.set_damage(nats))
    }

    /// Writes the one adapter for another program; what was written, as JSON.
    #[pyo3(signature = (out, format, rank, force, lossy))]
    fn export(
        &self,
        py: Python<'_>,
        out: PathBuf,
        format: &str,
        rank: Vec<String>,
        force: bool,
        lossy: bool,
    ) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| {
            let budget = Budget::from_words(&rank)?;
            let options = Options::new(Format::named(format)?).with_budget(budget).with_force(force).with_lossy(lossy);
            json(&open.memory.export(&open.source, &options, &out)?)
        })
    }

    /// The one adapter: {layer: (A (rank x inputs), B (outputs x rank), scale)}, and the experiences that it leaves out.
    fn adapter<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyDict>, Vec<String>)> {
        let (adapter, left_out) = self.with(py, &Ears::default(), |open, _, _| open.memory.adapter())?;
        let terms = PyDict::new(py);
        for (site, term) in adapter.terms() {
            let (inputs, outputs) = (term.a.len() / term.rank, term.b.len() / term.rank);
            let (a, b) = (matrix(py, term.a.clone(), term.rank, inputs)?, matrix(py, term.b.clone(), outputs, term.rank)?);
            terms.set_item(site.to_string(), (a, b, term.scale))?;
        }
        Ok((terms, left_out))
    }

    /// Name of the model.
    #[getter]
    fn model(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| Ok(open.source.name.clone()))
    }

    /// Settings, as JSON.
    fn settings(&self, py: Python<'_>) -> PyResult<String> {
        self.with(py, &Ears::default(), |open, _, _| json(&open.memory.learner().settings))
    }

    /// Frees the model and lets other processes write the folder.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let open = lock(py, &self.0, "memory")?.take();
        py.detach(|| drop(open));
        Ok(())
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(lock(py, &self.0, "memory")?.is_none())
    }
}
