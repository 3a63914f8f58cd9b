//! What a run or a check prints: tables for people, JSON for programs.

use serde_json::json;
use sharpwave::network::footprint::Estimate;
use sharpwave::record::summary::align;
use sharpwave::run::Outcome;
use sharpwave::scenario::Plan;

/// The summary of a run.
pub fn text(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = heading(plan);
    text += &outcome.statistics.table(&plan.published);
    let c = &outcome.counters;
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("engine", outcome.engine.clone()),
        row("neurons, synapses", format!("{}, {}", count(plan.network.neurons() as u64), count(c.synapses))),
        row(
            "bytes per synapse",
            if c.synapses > 0 { format!("{:.2}", c.synapse_bytes as f64 / c.synapses as f64) } else { "-".into() },
        ),
        row("model time simulated", format!("{:.3} s", outcome.simulated * 1e-3)),
        row("wall time: build, simulate", format!("{:.2} s, {:.2} s", outcome.build_s, outcome.simulate_s)),
        row("real-time factor", format!("{:.3} (wall time over model time)", outcome.real_time_factor())),
        row("spikes", count(c.spikes)),
        row("synaptic events", format!("{} ({}/s)", count(c.synaptic_events), rate(c.synaptic_events, outcome.simulate_s))),
        row("neuron updates", format!("{} ({}/s)", count(c.neuron_updates), rate(c.neuron_updates, outcome.simulate_s))),
    ];
    for (name, file) in [("recorded", &outcome.out), ("checkpoint", &outcome.checkpoint)] {
        rows.extend(file.as_ref().map(|f| row(name, f.display().to_string())));
    }
    let width = rows.iter().map(|r| r[0].len()).max().unwrap_or(0);
    text += "\n";
    for row in rows {
        text += &format!("{:<width$}  {}\n", row[0], row[1]);
    }
    text
}

fn heading(plan: &Plan) -> String {
    let variant = plan.variant.as_ref().map_or(String::new(), |v| format!(", variant {v}"));
    let title = if plan.title.is_empty() { &plan.path } else { &plan.title };
    match plan.citation.is_empty() {
        true => format!("{title}{variant}\n\n"),
        false => format!("{title}{variant}\n{}\n\n", plan.citation),
    }
}

/// What a scenario would need.
pub fn check_text(plan: &Plan, e: &Estimate) -> String {
    let net = &plan.network;
    let mut rows = vec![vec!["population".to_string(), "model".into(), "n".into()]];
    for p in &net.populations {
        let model = match &p.cell {
            sharpwave::network::Cell::Neuron(instance) => instance.model.name.clone(),
            sharpwave::network::Cell::Source(_) => "(source)".into(),
        };
        rows.push(vec![p.name.clone(), model, p.n.to_string()]);
    }
    let mut text = heading(plan);
    text += &align(&rows);
    text += &format!(
        "\n{} neurons, {} projections, about {} synapses\nmemory: {} for synapses, {} in all at the most\n",
        count(e.neurons),
        net.projections.len(),
        count(e.synapses),
        bytes(e.table_bytes),
        bytes(e.peak_bytes)
    );
    text +=
        &format!("{:.1} ms warm-up, {:.1} ms counted, steps of {} ms\nno mistakes found\n", plan.warmup, plan.duration, net.dt);
    text
}

pub fn check_json(plan: &Plan, e: &Estimate) -> String {
    let value = json!({
        "title": plan.title, "neurons": e.neurons, "projections": plan.network.projections.len(), "synapses": e.synapses,
        "table_bytes": e.table_bytes, "state_bytes": e.state_bytes, "peak_bytes": e.peak_bytes,
        "duration_ms": plan.duration, "warmup_ms": plan.warmup, "dt_ms": plan.network.dt,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

/// A number with commas between thousands.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rate(n: u64, seconds: f64) -> String {
    match n as f64 / seconds {
        r if !r.is_finite() => "-".into(),
        r if r >= 1e9 => format!("{:.2} G", r * 1e-9),
        r if r >= 1e6 => format!("{:.1} M", r * 1e-6),
        r => format!("{:.0} k", r * 1e-3),
    }
}

fn bytes(n: u64) -> String {
    match n as f64 {
        n if n >= (1u64 << 30) as f64 => format!("{:.2} GiB", n / (1u64 << 30) as f64),
        n if n >= (1u64 << 20) as f64 => format!("{:.1} MiB", n / (1u64 << 20) as f64),
        n => format!("{:.1} KiB", n / 1024.0),
    }
}
