//! An agent that learns what its user likes from how its actions turned out: it takes the likeliest of some actions, hears success
//! or failure, and learns from that alone. Offline, with the built-in model.
//!
//! cargo run --release --example agent_preference

use sharpwave::bridge::decoder::Logits;
use sharpwave::bridge::hooks::Adapter;
use sharpwave::bridge::{Host, Source};
use sharpwave::error::Result;
use sharpwave::memory::contrast::surprise;
use sharpwave::memory::experience::{Experience, Outcome};
use sharpwave::memory::learner::Learner;
use sharpwave::memory::protect::{Statistics, built_in_prompts};
use sharpwave::memory::settings::Settings;
use std::sync::atomic::AtomicBool;

const QUESTION: &str = "Tom was hungry. For lunch he wanted some";
const ACTIONS: [&str; 4] = ["cake", "fish", "bread", "apples"];
/// What the user likes; the agent is never told.
const LIKED: &str = "apples";

fn main() -> Result<()> {
    let source = Source::open("stories260k")?;
    let host = source.load()?;
    let settings = Settings::new(&source.config);
    let statistics = Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
    let mut learner = Learner::new(&host, &settings, &statistics)?;
    for day in 1..=8 {
        let adapter = learner.adapter()?;
        let chances = chances(&host, &adapter)?;
        let best = (0..ACTIONS.len()).max_by(|a, b| chances[*a].total_cmp(&chances[*b])).unwrap_or(0);
        let liked = ACTIONS[best] == LIKED;
        let shown: Vec<String> = ACTIONS.iter().zip(&chances).map(|(a, p)| format!("{a} {:.1e}", p)).collect();
        println!("day {day}: {} -> {} ({})", shown.join(", "), ACTIONS[best], if liked { "liked" } else { "not liked" });
        let outcome = if liked { Outcome::Success } else { Outcome::Failure };
        let experience = Experience::new(&format!("day-{day}"), QUESTION, ACTIONS[best], outcome);
        learner.wake(&experience)?;
        if liked {
            println!("learned what is liked after {day} days");
            break;
        }
    }
    Ok(())
}

/// Probability of each action.
fn chances(host: &Host, adapter: &Adapter) -> Result<Vec<f32>> {
    let of = |action: &&str| {
        let (tokens, answer) = host.exchange(QUESTION, action)?;
        let all = [&tokens[..], &answer[..answer.len() - 1]].concat();
        let wanted = Logits::Tail(answer.len());
        let output = host.decoder.forward(&mut [host.decoder.cache()], &[&all], wanted, &mut &*adapter)?;
        Ok((-answer.iter().enumerate().map(|(i, t)| surprise(output.row(i), *t)).sum::<f32>()).exp())
    };
    ACTIONS.iter().map(of).collect()
}
