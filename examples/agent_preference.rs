//! An agent that learns what its user likes from how its actions turned out: it takes the likeliest of some actions, hears success
//! or failure, and learns from that alone. Offline, with the built-in model.
//!
//! cargo run --release --example agent_preference

use sharpwave::error::Result;
use sharpwave::memory::Memory;
use sharpwave::memory::context_target::surprise;
use sharpwave::memory::exchange::Request;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::key_statistics::Statistics;
use sharpwave::memory::questions::built_in_prompts;
use sharpwave::memory::settings::Settings;
use sharpwave::transformer::Source;
use sharpwave::transformer::decoder::Logits;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const QUESTION: &str = "Tom was hungry. For lunch he wanted some";
const ACTIONS: [&str; 4] = ["cake", "fish", "bread", "apples"];
/// What the user likes; the agent is never told.
const LIKED: &str = "apples";

fn main() -> Result<()> {
    let source = Source::open("stories260k")?;
    let host = Arc::new(source.load()?);
    let settings = Settings::new(&source.config);
    let statistics = Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
    let mut memory = Memory::in_memory(host, &settings, &statistics)?;
    for day in 1..=8 {
        let chances = chances(&memory)?;
        let best = (0..ACTIONS.len()).max_by(|a, b| chances[*a].total_cmp(&chances[*b])).unwrap_or(0);
        let liked = ACTIONS[best] == LIKED;
        let shown: Vec<String> = ACTIONS.iter().zip(&chances).map(|(a, p)| format!("{a} {:.1e}", p)).collect();
        println!("day {day}: {} -> {} ({})", shown.join(", "), ACTIONS[best], if liked { "liked" } else { "not liked" });
        let outcome = if liked { Outcome::Success } else { Outcome::Failure };
        memory.observe(&Experience::new(&format!("day-{day}"), QUESTION, ACTIONS[best], outcome))?;
        if liked {
            println!("learned what is liked after {day} days");
            break;
        }
    }
    Ok(())
}

/// Probability of each action, as the memory answers the question.
fn chances(memory: &Memory) -> Result<Vec<f32>> {
    let host = &memory.learner().host;
    let request = Request::of_text(host, QUESTION)?;
    let composition = memory.composition_for(&request)?;
    let of = |action: &&str| {
        let (tokens, answer) = host.exchange(QUESTION, action)?;
        let all = [&tokens[..], &answer[..answer.len() - 1]].concat();
        let wanted = Logits::Tail(answer.len());
        let output =
            host.decoder.forward(&mut [host.decoder.cache()], &[&all], wanted, &mut composition.at_work(request.tokens.len()))?;
        Ok((-answer.iter().enumerate().map(|(i, t)| surprise(output.row(i), *t)).sum::<f32>()).exp())
    };
    ACTIONS.iter().map(of).collect()
}
