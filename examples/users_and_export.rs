//! Two users teach one model different things; their adapters are swapped on it, written as PEFT folders, and read again as another
//! program would. Offline, with the built-in model.
//!
//! cargo run --release --example users_and_export

use sharpwave::error::{Error, Result};
use sharpwave::export::{self, Base, Format, Options};
use sharpwave::memory::Memory;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::key_statistics::Statistics;
use sharpwave::memory::questions::built_in_prompts;
use sharpwave::memory::settings::Settings;
use sharpwave::transformer::hooks::Adapter;
use sharpwave::transformer::sample::Sampler;
use sharpwave::transformer::{Host, Source};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const PROMPT: &str = "The name of the dog was";

fn main() -> Result<()> {
    let source = Source::open("stories260k")?;
    let host = Arc::new(source.load()?);
    let settings = Settings::new(&source.config);
    let statistics = Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
    let base = Base::of(&source)?;
    let folder = Path::new("out/users");
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    println!("{PROMPT} [{}]", answer(&host, &Adapter::default())?);
    for (user, name) in [("ann", "Max"), ("ben", "Spot")] {
        // A memory a user; the model itself is never changed.
        let mut memory = Memory::in_memory(host.clone(), &settings, &statistics)?;
        memory.observe(&Experience::new("dog", PROMPT, name, Outcome::Success))?;
        let (adapter, _) = memory.adapter()?;
        let path = folder.join(user);
        let options = Options::new(Format::Peft).with_force(true);
        let report = export::export(&adapter, &[], &host.decoder, &base, &options, &path)?;
        println!("{} written, rank {}, logits within {:.0e}", report.path.display(), report.rank, report.difference);
    }
    for user in ["ann", "ben", "ann"] {
        let adapter = export::load(&[(folder.join(user), 1.0)], &base)?;
        println!("{user}: {PROMPT} [{}]", answer(&host, &adapter)?);
    }
    Ok(())
}

/// What the model says after the prompt.
fn answer(host: &Host, mut adapter: &Adapter) -> Result<String> {
    let mut answer = Vec::new();
    host.generate(&host.begin(PROMPT)?, 6, &mut Sampler::greedy(), &mut adapter, |token| {
        answer.push(token);
        ControlFlow::Continue(())
    })?;
    Ok(host.tokenizer.decode(&answer)?.trim().to_string())
}
