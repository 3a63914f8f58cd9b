//! The page of several protocols with the same methods: what each method keeps of old tasks against the bytes that it remembers and the
//! spikes that it takes, a panel a protocol, and one table of all. Knows results as plain data.

use super::Figure;
use super::figures::{FAINT, GRID, INK, Labels, colour, figure, number, room};
use super::html::{document, escape, inline};
use super::protocol::{cells, label};
use crate::error::Result;
use crate::protocol::results::{Results, Run};
use plotters::prelude::*;
use std::fmt::Write;

/// Height of a panel.
const TALL: u32 = 330;

/// Names of the methods of all parts, in the order in which they come.
fn methods(parts: &[(String, Results)]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for (name, _) in parts.iter().flat_map(|(_, results)| &results.methods) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

pub(super) fn figures(parts: &[(String, Results)]) -> Result<Vec<Figure>> {
    let kilobytes = |run: &Run| (1.0 + run.bytes as f64 / 1000.0).log10();
    let spikes = |run: &Run| (1.0 + run.spikes_per_image).log10();
    Ok(vec![
        scatter(parts, "kept", "Accuracy against bytes kept of old tasks", "kept (kB)", &kilobytes)?,
        scatter(parts, "spikes", "Accuracy against spikes of the hidden units an image", "spikes an image", &spikes)?,
    ])
}

/// A panel a part: a dot a method at the mean over seeds, with a bar for its deviation. `place` gives the logarithm of 1 + x.
fn scatter(
    parts: &[(String, Results)],
    name: &'static str,
    title: &str,
    axis: &str,
    place: &dyn Fn(&Run) -> f64,
) -> Result<Figure> {
    let names = methods(parts);
    let rows = parts.len().div_ceil(2) as u32;
    let legend = names.len().div_ceil(4) as u32 * 18 + 12;
    let note = "mean accuracy over all tasks at the end; bars: standard deviation over seeds; the axis is logarithmic";
    figure(name, title, note, rows * (TALL + 18) + legend, |area| {
        let mut svg = String::new();
        let (top, _) = area.split_vertically(rows * (TALL + 18));
        for (cell, (part, results)) in top.split_evenly((rows as usize, 2)).iter().zip(parts) {
            let (head, cell) = cell.split_vertically(18);
            let (left, up) = (head.get_pixel_range().0.start as f64, head.get_pixel_range().1.start as f64);
            svg += &label(left + 66.0, up + 13.0, 12.5, "start", INK, part);
            let points: Vec<(usize, f64, f64, f64)> = names
                .iter()
                .enumerate()
                .filter_map(|(k, name)| {
                    let acc = results.spread(name, |run| Some(100.0 * run.acc))?;
                    let x = results.spread(name, |run| Some(place(run)))?.mean;
                    Some((k, x, acc.mean, acc.deviation.unwrap_or(0.0)))
                })
                .collect();
            let span = |of: &dyn Fn(&(usize, f64, f64, f64)) -> (f64, f64)| {
                points.iter().map(of).fold((f64::MAX, f64::MIN), |(l, h), (a, b)| (l.min(a), h.max(b)))
            };
            let (low, high) = if points.is_empty() { (0.0, 100.0) } else { span(&|p| (p.2 - p.3, p.2 + p.3)) };
            let far = if points.is_empty() { 1.0 } else { span(&|p| (p.1, p.1)).1 };
            let y = room(low, high);
            let (x, y) = (-0.15..far.max(0.5) * 1.08, y.start.max(0.0)..y.end.min(100.5));
            // The mesh knows no logarithms: ticks of this axis are drawn here.
            let labels = Labels { x: Some(axis), y: "accuracy (%)", left: 66, top: 6, ticks: (0, 6) };
            let chart = super::figures::panel(&cell, x.clone(), y.clone(), &labels)?;
            let (across, down) = chart.plotting_area().get_pixel_range();
            let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
            let place_x = |v: f64| across.start as f64 + (v - x.start) / (x.end - x.start) * width;
            for (value, at) in ticks(x.end).map(|(value, at)| (value, place_x(at))) {
                let RGBColor(r, g, b) = GRID;
                let _ = writeln!(
                    svg,
                    "<path d=\"M{at:.1} {}V{}\" stroke=\"#{r:02x}{g:02x}{b:02x}\"/>{}",
                    down.start,
                    down.end,
                    label(at, down.end as f64 + 17.0, 12.0, "middle", INK, &number(value))
                );
            }
            for (k, px, py, deviation) in &points {
                let RGBColor(r, g, b) = colour(*k);
                let at_x = place_x(*px);
                let at_y = |v: f64| down.end as f64 - (v - y.start) / (y.end - y.start) * tall;
                let _ = writeln!(
                    svg,
                    "<path d=\"M{at_x:.1} {:.1}V{:.1}\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"1.5\"/>{}",
                    at_y((py - deviation).max(y.start)),
                    at_y((py + deviation).min(y.end)),
                    mark(*k, at_x, at_y(*py))
                );
            }
        }
        for (k, name) in names.iter().enumerate() {
            let x = 80.0 + (k % 4) as f64 * 215.0;
            let y = 58.0 + (rows * (TALL + 18)) as f64 + 14.0 + (k / 4) as f64 * 18.0;
            svg += &mark(k, x + 12.0, y);
            svg += &label(x + 26.0, y + 4.0, 12.0, "start", FAINT, name);
        }
        Ok(svg)
    })
}

/// 0, 1, 10, 100 and so on, and where they lie on an axis of the logarithm of 1 + x, up to its end.
fn ticks(end: f64) -> impl Iterator<Item = (f64, f64)> {
    let values = std::iter::once(0.0).chain((0..).map(|decade| 10f64.powi(decade)));
    values.map(|value| (value, (1.0 + value).log10())).take_while(move |(_, at)| *at <= end)
}

/// A dot, a square or a diamond: colours come round after eight.
fn mark(k: usize, x: f64, y: f64) -> String {
    let RGBColor(r, g, b) = colour(k);
    let path = match k / 8 % 3 {
        0 => return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>\n"),
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        _ => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", y - 5.5),
    };
    format!("<path d=\"{path}\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>\n")
}

/// The whole page; each part's own page lies in a folder of its name.
pub(super) fn page(title: &str, citation: &str, parts: &[(String, Results)], figures: &[Figure]) -> String {
    let mut body = String::new();
    if parts.iter().any(|(_, results)| !results.complete) {
        body += "<p class=\"warning\">Not all runs are finished.</p>\n";
    }
    let heads = parts.iter().map(|(name, _)| format!("<a href=\"{0}/index.html\">{0}</a>", escape(name)));
    let head: Vec<String> =
        ["method".to_string()].into_iter().chain(heads).chain(["kept (kB)".into(), "spikes an image".into()]).collect();
    body += &format!("<h2>All methods</h2>\n<div class=\"scroll\"><table>\n{}", cells("th", &head));
    for name in methods(parts) {
        let of = |number: &dyn Fn(&Run) -> f64, digits: usize| {
            let all = parts.iter().flat_map(|(_, results)| results.of(&name)).map(number).collect::<Vec<f64>>();
            let (low, high) = all.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            match all.is_empty() {
                true => "&ndash;".to_string(),
                false if high - low < 0.05 * high.max(1.0) => format!("{high:.digits$}"),
                false => format!("{low:.digits$} to {high:.digits$}"),
            }
        };
        let accuracy = parts
            .iter()
            .map(|(_, results)| results.spread(&name, |run| Some(run.acc)).map_or("&ndash;".to_string(), |s| s.text(100.0, 2)));
        let own = [of(&|run| run.bytes as f64 / 1000.0, 0), of(&|run| run.spikes_per_image, 0)];
        body += &cells("td", &[escape(&name)].into_iter().chain(accuracy).chain(own).collect::<Vec<_>>());
    }
    body += "</table></div>\n<p class=\"lead\">Mean accuracy (%) over all tasks at the end, with the standard deviation over seeds where \
             there are several. Kept: what a method remembers of old tasks beside the network that all have. Spikes: of hidden units, while \
             learning.</p>\n";
    figures.iter().for_each(|figure| body += &format!("<figure>\n{}\n</figure>\n", inline(figure)));
    document(title, citation, &body)
}
