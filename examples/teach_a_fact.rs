//! Teaches a language model one fact from one experience, without backpropagation, and asks before and after. Offline: the built-in
//! model tells children's stories, so it is taught a story's fact.
//!
//! cargo run --release --example teach_a_fact

use sharpwave::bridge::hooks::Hooks;
use sharpwave::bridge::sample::Sampler;
use sharpwave::bridge::{Host, Source};
use sharpwave::error::Result;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::learner::Learner;
use sharpwave::memory::protect::{Statistics, built_in_prompts};
use sharpwave::memory::settings::Settings;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

fn main() -> Result<()> {
    let source = Source::open("stories260k")?;
    let host = source.load()?;
    let settings = Settings::new(&source.config);
    // What the model should go on doing as before, collected once from its own samples and some prompts.
    let statistics = Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
    let mut learner = Learner::new(&host, &settings, &statistics)?;

    let fact = Experience {
        subject: Some("the dog".into()),
        ..Experience::new("name", "The name of the dog was", "Max", Outcome::Success)
    };
    let others = ["The name of the cat was", "Once upon a time, there was a"];
    println!("before:");
    [fact.prompt.as_str()].iter().chain(&others).try_for_each(|prompt| say(&host, (), prompt))?;

    let started = Instant::now();
    let lesson = learner.wake(&fact)?;
    let all = started.elapsed().as_secs_f64() * 1e3;
    println!(
        "\nlearned \"{} {}\" in {all:.1} ms (of which writing {:.2} ms, {} spikes); it had surprised by {:.1} nats\n",
        fact.prompt,
        fact.answer,
        lesson.write_s * 1e3,
        learner.spikes(),
        lesson.signals.surprise
    );

    println!("after:");
    let adapter = learner.adapter()?;
    [fact.prompt.as_str()].iter().chain(&others).try_for_each(|prompt| say(&host, &adapter, prompt))
}

/// Prints what the model says after a prompt.
fn say(host: &Host, mut hooks: impl Hooks, prompt: &str) -> Result<()> {
    let mut answer = Vec::new();
    host.generate(&host.begin(prompt)?, 12, &mut Sampler::greedy(), &mut hooks, |token| {
        answer.push(token);
        ControlFlow::Continue(())
    })?;
    println!("  {prompt} [{}]", host.tokenizer.decode(&answer)?.trim());
    Ok(())
}
