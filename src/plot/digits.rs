//! Figures of digits learned without labels: what each neuron has learned to see, accuracy while learning, the confusion of
//! classes; and one page with them. Knows results as plain data.

use super::Figure;
use super::figures::{FAINT, GRID, INK, Labels, WIDTH, figure, number, panel};
use super::html::{document, escape, inline};
use super::protocol::{cells, label, viridis};
use crate::error::Result;
use crate::protocol::diehl_cook::Results;
use plotters::prelude::*;
use std::fmt::Write;

/// Neurons drawn at most, and shades of a weight.
const FIELDS: usize = 1600;
const SHADES: usize = 64;

/// Every figure that there are results for.
pub(super) fn figures(results: &Results) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    if !results.weights.is_empty() {
        figures.push(fields(results)?);
    }
    if results.curve.len() > 1 {
        figures.push(curve(results)?);
    }
    if results.outcome.is_some() {
        figures.push(confusion(results)?);
    }
    Ok(figures)
}

/// The weights onto each neuron as an image of the pixels they come from (one row where they make no square), white to dark.
fn fields(results: &Results) -> Result<Figure> {
    let [inputs, neurons, _] = results.sizes;
    let side = inputs.isqrt();
    let (rows, columns) = if side * side == inputs { (side, side) } else { (1, inputs) };
    let shown = neurons.min(FIELDS);
    let across = shown.isqrt().max(1) + (shown.isqrt().pow(2) < shown) as usize;
    let down = shown.div_ceil(across);
    let cell = (WIDTH as f64 - 32.0) / (across * (columns + 1)) as f64;
    let most = results.weights.iter().fold(0.0f32, |a, w| a.max(w.abs())).max(f32::MIN_POSITIVE);
    let mut note = format!("the weights onto each neuron, white 0 to dark {}", number(most as f64));
    if let Some(left) = neurons.checked_sub(shown).filter(|n| *n > 0) {
        note += &format!("; {left} neurons are left out");
    }
    let height = (down * (rows + 1)) as f64 * cell;
    figure("fields", "Receptive fields", &note, height as u32 + 16, |_| {
        // One path a shade: runs of equal pixels as horizontal strokes.
        let mut paths = vec![String::new(); SHADES];
        for neuron in 0..shown {
            let weights = &results.weights[neuron * inputs..(neuron + 1) * inputs];
            let (left, top) = (neuron % across * (columns + 1), neuron / across * (rows + 1));
            for (row, pixels) in weights.chunks(columns).enumerate() {
                let shade = |w: f32| ((w.abs() / most * (SHADES - 1) as f32).round() as usize).min(SHADES - 1);
                let mut from = 0;
                while from < columns {
                    let this = shade(pixels[from]);
                    let length = pixels[from..].iter().take_while(|w| shade(**w) == this).count();
                    if this > 0 {
                        let _ = write!(paths[this], "M{} {}.5h{length}", left + from, top + row);
                    }
                    from += length;
                }
            }
        }
        let mut svg = format!("<g transform=\"translate(16 60) scale({cell:.5})\" stroke-width=\"1.04\">\n");
        for (shade, path) in paths.iter().enumerate().filter(|p| !p.1.is_empty()) {
            let RGBColor(r, g, b) = viridis(1.0 - shade as f64 / (SHADES - 1) as f64);
            let _ = writeln!(svg, "<path d=\"{path}\" stroke=\"#{r:02x}{g:02x}{b:02x}\"/>");
        }
        let RGBColor(r, g, b) = GRID;
        for neuron in 0..shown {
            let (left, top) = (neuron % across * (columns + 1), neuron / across * (rows + 1));
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"0.3\"/>",
                left as f64 - 0.3,
                top as f64 - 0.3,
                columns as f64 + 0.6,
                rows as f64 + 0.6
            );
        }
        svg += "</g>\n";
        Ok(svg)
    })
}

fn curve(results: &Results) -> Result<Figure> {
    let note = "digits told right by what the neurons stood for in the interval before, while all weights change";
    figure("learning", "Accuracy while learning", note, 320, |area| {
        let last = results.curve.last().map_or(1.0, |c| c.0 as f64);
        let (x, y) = (0.0..last, 0.0..100.0);
        let labels = Labels { x: Some("digits learned"), y: "told right (%)", left: 60, ticks: (8, 6), top: 6 };
        let chart = panel(area, x, y, &labels)?;
        let points: Vec<(f64, f64)> = results.curve.iter().map(|(done, right)| (*done as f64, 100.0 * right)).collect();
        let (across, down) = chart.plotting_area().get_pixel_range();
        let at = |p: &(f64, f64)| {
            let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
            (across.start as f64 + p.0 / last * width, down.end as f64 - p.1 / 100.0 * tall)
        };
        let path = points.iter().enumerate().fold(String::new(), |path, (i, p)| {
            let (px, py) = at(p);
            path + &format!("{}{px:.1} {py:.1}", if i == 0 { 'M' } else { 'L' })
        });
        Ok(format!("<path d=\"{path}\" fill=\"none\" stroke=\"#0072b2\" stroke-width=\"1.8\"/>\n"))
    })
}

fn confusion(results: &Results) -> Result<Figure> {
    let Some(outcome) = &results.outcome else { unreachable!("asked for with an outcome only") };
    let classes = outcome.confusion.len();
    let note = "test digits of each class (down) and what they were told to be (across), in % of the class";
    let cell = 420.0 / classes as f64;
    figure("confusion", &format!("{:.2} % of the test digits told right", 100.0 * outcome.accuracy), note, 470, |_| {
        let mut svg = String::new();
        let (left, top) = (60.0, 70.0);
        for (c, row) in outcome.confusion.iter().enumerate() {
            let total = row.iter().sum::<u64>().max(1) as f64;
            let middle = (c as f64 + 0.5) * cell;
            svg += &label(left - 8.0, top + middle + 4.0, 11.0, "end", FAINT, &c.to_string());
            svg += &label(left + middle, top + 420.0 + 16.0, 11.0, "middle", FAINT, &c.to_string());
            for (told, n) in row.iter().enumerate() {
                let share = *n as f64 / total;
                let RGBColor(r, g, b) = viridis(share);
                let (x, y) = (left + told as f64 * cell, top + c as f64 * cell);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{0:.2}\" height=\"{0:.2}\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>",
                    cell + 0.3
                );
                if classes <= 12 {
                    let ink = if share > 0.6 { INK } else { RGBColor(255, 255, 254) };
                    let text = format!("{:.1}", 100.0 * share);
                    svg += &label(x + cell / 2.0, y + cell / 2.0 + 4.0, 10.5, "middle", ink, &text);
                }
            }
        }
        Ok(svg)
    })
}

/// The whole page.
pub(super) fn page(results: &Results, figures: &[Figure]) -> String {
    let [inputs, neurons, _] = results.sizes;
    let title = if results.title.is_empty() { &results.file } else { &results.title };
    let (wall, cpu) = results.speed();
    let mut body = String::new();
    if !results.complete {
        body += "<p class=\"warning\">Learning is not finished.</p>\n";
    }
    let mut facts = vec![
        ("protocol", results.file.clone()),
        ("settings", results.settings.join(", ")),
        ("network", format!("{inputs} inputs, {neurons} neurons")),
        ("data", format!("{}: {} digits to learn, {} to test", results.data.set, results.data.train, results.data.test)),
        ("learned", format!("{} digits, {:.2} passes", results.digits, results.passes)),
        ("shown", format!("{} times, stronger where too few spikes answered", results.presentations)),
        ("spikes a digit", format!("{:.1}", results.spikes_per_digit)),
        ("digits a second", format!("{wall:.1}{}", cpu.map_or(String::new(), |c| format!(" ({c:.1} of processor time)")))),
        ("seed", results.seed.to_string()),
        ("version", results.version.clone()),
    ];
    if let Some(o) = &results.outcome {
        facts.push(("test", format!("{:.2} % of {} digits, by {} labelled ones", 100.0 * o.accuracy, o.tested, o.labelled)));
        facts.push(("test, spikes shared", format!("{:.2} %", 100.0 * o.weighted)));
    }
    let list: String = facts
        .iter()
        .filter(|f| !f.1.is_empty())
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)))
        .collect();
    body += &format!("<h2>Run</h2>\n<dl>\n{list}</dl>\n");
    for figure in figures {
        body += &format!("<figure>\n{}\n</figure>\n", inline(figure));
    }
    if let Some(o) = &results.outcome {
        let own = |c: usize| o.class.iter().filter(|x| **x == Some(c)).count().to_string();
        let classes = o.confusion.len();
        let head: Vec<String> = std::iter::once("class".into()).chain((0..classes).map(|c| c.to_string())).collect();
        let row: Vec<String> = std::iter::once("neurons".into()).chain((0..classes).map(own)).collect();
        body += &format!(
            "<h2>Neurons of each class</h2>\n<div class=\"scroll\"><table>\n{}{}</table></div>\n",
            cells("th", &head),
            cells("td", &row)
        );
    }
    body += &format!("<h2>Protocol</h2>\n<pre>{}</pre>\n", escape(&results.protocol));
    document(title, &results.citation, &body)
}
