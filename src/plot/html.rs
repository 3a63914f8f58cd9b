//! The report: one page with its figures inside, light or dark as the reader has it, that loads nothing from anywhere.

use super::Figure;
use super::collect::Data;
use super::figures::{FAINT, GRID, INK, count, number};
use crate::record::read::Recording;
use plotters::style::RGBColor;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1f23; --faint: #5c636b; --grid: #d5d9dd; --page: #ffffff; --box: #f4f6f8;
  --blue: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --faint: #a2a9b1; --grid: #3a4047; --page: #14171a; --box: #1e2226;
    --blue: #4fa6dd; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 'DejaVu Sans', system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p.lead, figcaption { color: var(--faint); } figure { margin: 0 0 1.2rem; } figure svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { font-weight: 600; color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 0; } dt { color: var(--faint); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
/* On a phone a figure keeps a size at which it can be read, and is moved sideways. */
@media (max-width: 46rem) { figure { overflow-x: auto; } figure svg { min-width: 46rem; } h1 { overflow-wrap: anywhere; } }
pre { background: var(--box); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; font: 13px/1.45 ui-monospace, monospace; }
.warning { border-left: 4px solid #d55e00; padding: .2rem .8rem; background: var(--box); }
";

/// Text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// The drawing with the page's colours for paper, ink and grid.
pub(super) fn inline(figure: &Figure) -> String {
    let label = format!("<svg role=\"img\" aria-label=\"{}: {}\" ", escape(&figure.title), escape(&figure.note));
    figure
        .svg
        .replace(&hex(INK), "var(--ink)")
        .replace(&hex(FAINT), "var(--faint)")
        .replace(&hex(GRID), "var(--grid)")
        // The one colour that is too dark on a dark page.
        .replace("#0072B2", "var(--blue)")
        .replace("#0072b2", "var(--blue)")
        .replace("fill=\"#FFFFFF\"", "fill=\"none\"")
        .replacen("<svg ", &label, 1)
}

fn facts(recording: &Recording) -> Vec<(&'static str, String)> {
    let (info, ending) = (&recording.info, &recording.ending);
    let mut facts = Vec::new();
    if recording.own {
        facts.push(("scenario", info.scenario_path.clone()));
        facts.extend(info.variant.iter().map(|variant| ("variant", variant.clone())));
        if !info.overrides.is_empty() {
            facts.push(("settings", info.overrides.join(", ")));
        }
        if !info.models.is_empty() {
            facts.push(("own models", info.models.iter().map(|m| m.0.as_str()).collect::<Vec<_>>().join(", ")));
        }
        if !info.command.is_empty() {
            facts.push(("command", info.command.clone()));
        }
        facts.push(("engine", format!("{}, {} thread{}", info.engine, info.threads, if info.threads == 1 { "" } else { "s" })));
        facts.push(("seed", info.seed.to_string()));
        if info.stimulus_seed != info.seed {
            facts.push(("seed of the stimuli", info.stimulus_seed.to_string()));
        }
        facts.push(("step", format!("{} ms", number(ending.dt))));
        facts.push((
            "simulated",
            format!("{} ms, of which {} ms warm-up do not count", number(ending.until), number(info.warmup)),
        ));
        facts.push(("version", info.version.clone()));
    }
    if !ending.resumed.is_empty() {
        let times = ending.resumed.iter().map(|&t| format!("{} ms", number(t))).collect::<Vec<_>>().join(", ");
        facts.push(("continued at", times));
    }
    if let (Some(wall), Some(counters)) = (ending.wall, &ending.counters) {
        let simulated = (ending.until - ending.start) / 1000.0;
        if simulated > 0.0 {
            facts.push(("real-time factor", format!("{:.2} (wall time over model time)", wall / simulated)));
        }
        facts.push(("synapses", count(counters.synapses)));
        if counters.synapses > 0 {
            facts.push(("bytes per synapse", format!("{:.2}", counters.synapse_bytes as f64 / counters.synapses as f64)));
        }
        facts.push(("synaptic events", count(counters.synaptic_events)));
    }
    facts
}

fn table(data: &Data) -> String {
    let some = |value: Option<f64>, digits: usize| value.map_or("&ndash;".into(), |v| format!("{v:.digits$}"));
    let mut rows = String::from(
        "<tr><th>population</th><th>neurons</th><th>spikes</th><th>rate (Hz)</th><th>sd (Hz)</th><th>CV of ISI</th>\
         <th>correlation</th><th>synchrony</th></tr>\n",
    );
    for p in data.statistics.populations.iter().filter(|p| p.n > 0) {
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(&p.name),
            count(p.n as u64),
            count(p.spikes),
            p.rate,
            p.rate_sd,
            some(p.cv_isi, 2),
            some(p.correlation, 4),
            some(p.synchrony, 2)
        );
    }
    rows
}

/// The whole page.
pub(super) fn page(recording: &Recording, data: &Data, figures: &[Figure]) -> String {
    let file = recording.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let title = if recording.info.title.is_empty() { file.clone() } else { recording.info.title.clone() };
    let mut page = String::new();
    if !recording.ending.complete {
        page += &format!(
            "<p class=\"warning\">The run was cut off: data reach to {} ms of {} ms.</p>\n",
            number(recording.ending.until),
            number(recording.info.warmup + recording.info.duration)
        );
    }
    let facts = facts(recording);
    if !facts.is_empty() {
        let list: String = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
        page += &format!("<h2>Run</h2>\n<dl>\n{list}</dl>\n");
    }
    page += &format!(
        "<h2>Activity</h2>\n<div class=\"scroll\"><table>\n{}</table></div>\n<p class=\"lead\">Recorded neurons, {} to {} ms. CV of \
         inter-spike intervals: mean over neurons with at least {} spikes. Correlation: of spike counts in {} ms bins, mean over \
         pairs of up to {} neurons. Synchrony: variance over mean of the population's count in {} ms bins.</p>\n",
        table(data),
        number(data.start),
        number(data.stop),
        crate::record::summary::MIN_SPIKES_CV,
        number(crate::record::summary::CORRELATION_BIN),
        crate::record::summary::CORRELATION_SAMPLE,
        number(crate::record::summary::SYNCHRONY_BIN)
    );
    for figure in figures {
        page += &format!("<figure>\n{}\n</figure>\n", inline(figure));
    }
    if recording.own {
        page += &format!("<h2>Scenario</h2>\n<pre>{}</pre>\n", escape(&recording.info.scenario_text));
        let applied = recording.info.variant.is_some() || !recording.info.overrides.is_empty();
        if applied && !recording.info.resolved.is_empty() {
            page += &format!("<h2>The same as it was run</h2>\n<pre>{}</pre>\n", escape(&recording.info.resolved));
        }
        for (file, text) in &recording.info.models {
            page += &format!("<h2>Model {}</h2>\n<pre>{}</pre>\n", escape(file), escape(text));
        }
    }
    document(&title, &file, &page)
}

/// A page with a title, a line below it, and what follows.
pub(super) fn document(title: &str, lead: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{0}</h1>\n<p class=\"lead\">{1}</p>\n{body}</body>\n</html>\n",
        escape(title),
        escape(lead)
    )
}
