//! Teaches a language model one fact from one experience, without backpropagation, and asks before and after: the fact is answered, and
//! what is asked about others goes on exactly as before. Offline: the built-in model tells children's stories, so it is taught a
//! story's fact.
//!
//! cargo run --release --example teach_a_fact

use sharpwave::error::{Error, Result};
use sharpwave::memory::Memory;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::facade::Observed;
use sharpwave::memory::key_statistics::Statistics;
use sharpwave::memory::questions::built_in_prompts;
use sharpwave::memory::settings::Settings;
use sharpwave::transformer::Source;
use sharpwave::transformer::sample::Sampler;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const OTHERS: [&str; 2] = ["The name of the cat was", "Once upon a time, there was a"];

fn main() -> Result<()> {
    let source = Source::open("stories260k")?;
    let host = Arc::new(source.load()?);
    let settings = Settings::new(&source.config);
    // What the model should go on doing as before, collected once from its own samples and some prompts.
    let statistics = Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
    let mut memory = Memory::in_memory(host, &settings, &statistics)?;

    let fact = Experience::new("name", "The name of the dog was", "Max", Outcome::Success).with_subject("the dog");
    println!("before:");
    say(&memory, &fact.prompt)?;
    let before = OTHERS.iter().map(|prompt| say(&memory, prompt)).collect::<Result<Vec<_>>>()?;

    let started = Instant::now();
    let observed = memory.observe(&fact)?;
    let (seconds, entry) = (started.elapsed().as_secs_f64(), observed.entry());
    if !matches!(observed, Observed::Learned(_)) {
        return Err(Error::Run { message: format!("{:?}", entry.stage), remedy: "report this".into() });
    }
    println!(
        "\nlearned \"{} {}\" in {:.0} ms, by {} spikes; it had surprised by {:.1} nats\n",
        fact.prompt,
        fact.answer,
        seconds * 1e3,
        memory.learner().spikes(),
        entry.surprise
    );

    println!("after:");
    let answer = say(&memory, &fact.prompt)?;
    let after = OTHERS.iter().map(|prompt| say(&memory, prompt)).collect::<Result<Vec<_>>>()?;
    if answer.trim() != fact.answer || after != before {
        return Err(Error::Run {
            message: "the fact is not said, or another text is another one now".into(),
            remedy: "report this".into(),
        });
    }
    println!("\nThe fact is answered, and then the answer ends; the others are as before, to the letter.");
    Ok(())
}

/// Prints what the model says after a prompt, and gives it back.
fn say(memory: &Memory, prompt: &str) -> Result<String> {
    let request = Request::of_text(&memory.learner().host, prompt)?;
    let answer = memory.answer(&request, 12, &mut Sampler::greedy(), |_| ControlFlow::Continue(()))?;
    println!("  {prompt} [{}]", answer.text.trim());
    Ok(answer.text)
}
