//! Figures of a learning protocol: the task-by-task matrix of every method, accuracy over the tasks, and one page with both and the
//! numbers. Knows results as plain data.

use super::figures::{FAINT, GRID, INK, WIDTH, colour, drawn, figure, number, panel, room, style};
use super::figures::{Labels, MARGIN};
use super::html::{document, escape, inline};
use super::{FONT, Figure};
use crate::error::Result;
use crate::protocol::results::{Results, Run};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::fmt::Write;

/// Every figure that there are results for.
pub(super) fn figures(results: &Results) -> Result<Vec<Figure>> {
    let methods: Vec<&(String, String)> = results.methods.iter().filter(|m| results.of(&m.0).next().is_some()).collect();
    if methods.is_empty() {
        return Ok(vec![]);
    }
    if results.tasks < 2 {
        let mut all = vec![final_accuracy(results, &methods)?];
        if results.runs.iter().any(|run| run.curve.len() > 1) {
            all.push(learning(results, &methods)?);
        }
        return Ok(all);
    }
    if results.runs.iter().all(|run| run.matrix.len() == 1) {
        return Ok(vec![by_task(results, &methods)?]);
    }
    Ok(vec![matrices(results, &methods)?, over_tasks(results, &methods)?])
}

/// Accuracy on the way, a line a run.
fn learning(results: &Results, methods: &[&(String, String)]) -> Result<Figure> {
    let legend = methods.len().div_ceil(4) as u32 * 18 + 12;
    let note = "accuracy on trials on the way, a line a seed; a line ends where its run did";
    figure("learning", "Accuracy over the trials learned", note, 360 + legend, |area| {
        let (top, _) = area.split_vertically(360);
        let points = || results.runs.iter().flat_map(|run| &run.curve);
        let last = points().fold(1.0f64, |last, p| last.max(p.0 as f64));
        let (low, high) = points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(100.0 * p.1), h.max(100.0 * p.1)));
        let y = room(low, high);
        let y = y.start.max(0.0)..y.end.min(100.5);
        let labels = Labels { x: Some("trials learned"), y: "accuracy (%)", left: 66, top: 6, ticks: (8, 6) };
        let chart = panel(&top, 0.0..last, y.clone(), &labels)?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
        let mut svg = String::new();
        for (k, (name, _)) in methods.iter().enumerate() {
            for run in results.of(name) {
                let at = |(trials, a): &(u64, f64)| {
                    let up = (100.0 * a - y.start) / (y.end - y.start) * tall;
                    (across.start as f64 + *trials as f64 / last * width, down.end as f64 - up)
                };
                svg += &line(run.curve.iter().map(at), k, 1.6);
            }
        }
        svg += &legend_of(methods, 58.0 + 360.0 + 14.0);
        Ok(svg)
    })
}

/// A line through points in pixels, in the colour of the method with this number.
fn line(points: impl Iterator<Item = (f64, f64)>, k: usize, wide: f64) -> String {
    let RGBColor(r, g, b) = colour(k);
    let path = points
        .enumerate()
        .fold(String::new(), |path, (i, (x, y))| path + &format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
    let dashes = dashes(k);
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"{wide}\"{dashes}/>\n")
}

/// Where all tasks are tested at the end alone: the accuracy on each of them then.
fn by_task(results: &Results, methods: &[&(String, String)]) -> Result<Figure> {
    let tasks = results.tasks;
    let note = format!("test accuracy on every task after the last one was learned; the newest on the right; {}", seeds(results));
    let legend = methods.len().div_ceil(4) as u32 * 18 + 12;
    figure("accuracy", "Accuracy on every task at the end", &note, 360 + legend, |area| {
        let (top, _) = area.split_vertically(360);
        let rows: Vec<Vec<f64>> = methods.iter().map(|m| results.matrix(&m.0).unwrap_or_default().concat()).collect();
        let (low, high) = rows.iter().flatten().fold((f64::MAX, f64::MIN), |(l, h), a| (l.min(100.0 * a), h.max(100.0 * a)));
        let y = room(low, high);
        let (x, y) = (0.5..tasks as f64 + 0.5, y.start.max(0.0)..y.end.min(100.5));
        let labels = Labels { x: Some("task"), y: "accuracy (%)", left: 66, top: 6, ticks: (tasks.min(10), 6) };
        let chart = panel(&top, x.clone(), y.clone(), &labels)?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
        let mut svg = String::new();
        for (k, row) in rows.iter().enumerate() {
            let at = |(t, a): (usize, &f64)| {
                let right = (t as f64 + 1.0 - x.start) / (x.end - x.start) * width;
                (across.start as f64 + right, down.end as f64 - (100.0 * a - y.start) / (y.end - y.start) * tall)
            };
            svg += &line(row.iter().enumerate().map(at), k, 1.6);
        }
        svg += &legend_of(methods, 58.0 + 360.0 + 14.0);
        Ok(svg)
    })
}

/// Names of methods beside their lines, four in a row.
fn legend_of(methods: &[&(String, String)], top: f64) -> String {
    let mut svg = String::new();
    for (k, (name, _)) in methods.iter().enumerate() {
        let RGBColor(r, g, b) = colour(k);
        let x = 80.0 + (k % 4) as f64 * 215.0;
        let y = top + (k / 4) as f64 * 18.0;
        let _ =
            writeln!(svg, "<path d=\"M{x:.1} {y:.1}h26\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"2\"{}/>", dashes(k));
        svg += &label(x + 32.0, y + 4.0, 12.0, "start", INK, name);
    }
    svg
}

/// "mean over 3 seeds", or the one there is.
fn seeds(results: &Results) -> String {
    match &results.seeds[..] {
        [one] => format!("seed {one}"),
        several => format!("mean over {} seeds", several.len()),
    }
}

/// A line of text as SVG; `anchor` is start, middle or end.
pub(super) fn label(x: f64, y: f64, size: f64, anchor: &str, RGBColor(r, g, b): RGBColor, text: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-family=\"{FONT}\" font-size=\"{size}\" text-anchor=\"{anchor}\" \
         fill=\"#{r:02X}{g:02X}{b:02X}\">{}</text>\n",
        escape(text)
    )
}

/// Viridis, 0 to 1.
pub(super) fn viridis(x: f64) -> RGBColor {
    const STOPS: [(u8, u8, u8); 6] = [(68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)];
    let at = x.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let low = (at as usize).min(STOPS.len() - 2);
    let mix = |a: u8, b: u8| (a as f64 + (b as f64 - a as f64) * (at - low as f64)).round() as u8;
    let (a, b) = (STOPS[low], STOPS[low + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

fn matrices(results: &Results, methods: &[&(String, String)]) -> Result<Figure> {
    const COLUMNS: usize = 4;
    const SIDE: f64 = 168.0;
    const ROW: f64 = 236.0;
    let tasks = results.tasks;
    let all: Vec<Vec<Vec<f64>>> = methods.iter().filter_map(|m| results.matrix(&m.0)).collect();
    let least = all.iter().flatten().flatten().fold(1.0f64, |a, b| a.min(*b));
    let low = ((least * 10.0).floor() / 10.0).clamp(0.0, 0.9);
    let note = format!("test accuracy (%) on each task (across) after learning each task (down); {}", seeds(results));
    let rows = methods.len().div_ceil(COLUMNS);
    figure("matrix", "Task by task", &note, (rows as f64 * ROW) as u32 + 44, |_| {
        let mut svg = String::new();
        let cell = SIDE / tasks as f64;
        for (k, (matrix, (name, _))) in all.iter().zip(methods).enumerate() {
            let left = 34.0 + (k % COLUMNS) as f64 * (WIDTH as f64 - 30.0) / COLUMNS as f64;
            let top = 92.0 + (k / COLUMNS) as f64 * ROW;
            let acc = results.spread(name, |r| Some(r.acc)).map_or(String::new(), |s| s.text(100.0, 1));
            svg += &label(left, top - 20.0, 12.5, "start", INK, name);
            let bwt = results.spread(name, |r| r.bwt).map_or(String::new(), |s| format!(", BWT {}", s.text(100.0, 1)));
            svg += &label(left, top - 6.0, 11.0, "start", FAINT, &format!("ACC {acc}{}", bwt.replace('-', "\u{2212}")));
            for (i, row) in matrix.iter().enumerate() {
                for (j, a) in row.iter().enumerate() {
                    let part = (a - low) / (1.0 - low);
                    let RGBColor(r, g, b) = viridis(part);
                    let (x, y) = (left + j as f64 * cell, top + i as f64 * cell);
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>",
                        cell + 0.3,
                        cell + 0.3
                    );
                    if tasks <= 10 {
                        let ink = if part > 0.6 { RGBColor(0, 0, 1) } else { RGBColor(255, 255, 254) };
                        let size = (cell * 0.42).min(11.0);
                        svg += &label(
                            x + cell / 2.0,
                            y + cell / 2.0 + size * 0.36,
                            size,
                            "middle",
                            ink,
                            &format!("{:.0}", 100.0 * a),
                        );
                    }
                }
            }
            let every = tasks.div_ceil(10);
            for task in (0..tasks).filter(|t| t % every == 0) {
                let middle = (task as f64 + 0.5) * cell;
                let bottom = top + matrix.len() as f64 * cell + 12.0;
                svg += &label(left + middle, bottom, 9.5, "middle", FAINT, &(task + 1).to_string());
                if task < matrix.len() && matrix.len() > 1 {
                    svg += &label(left - 5.0, top + middle + 3.5, 9.5, "end", FAINT, &(task + 1).to_string());
                }
            }
        }
        let (y, wide) = (66.0 + rows as f64 * ROW, 240.0);
        for i in 0..60 {
            let RGBColor(r, g, b) = viridis(i as f64 / 59.0);
            let x = 34.0 + i as f64 * wide / 60.0;
            let _ =
                writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"4.3\" height=\"10\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>");
        }
        svg += &label(34.0, y + 23.0, 10.5, "start", FAINT, &format!("{} %", number(100.0 * low)));
        svg += &label(34.0 + wide, y + 23.0, 10.5, "end", FAINT, "100 %");
        Ok(svg)
    })
}

/// Mean over seeds of a number after each task learned.
fn curve_of(results: &Results, method: &str, number: impl Fn(&[f64], usize) -> f64) -> Vec<(f64, f64)> {
    let Some(matrix) = results.matrix(method) else { return vec![] };
    matrix.iter().enumerate().map(|(t, row)| ((t + 1) as f64, number(row, t))).collect()
}

fn over_tasks(results: &Results, methods: &[&(String, String)]) -> Result<Figure> {
    let tasks = results.tasks;
    let note = format!("left: mean over the tasks learned so far; right: the first task; {}", seeds(results));
    let legend = methods.len().div_ceil(4) as u32 * 18 + 12;
    let learned = |row: &[f64], t: usize| row[..=t].iter().sum::<f64>() / (t + 1) as f64;
    let first = |row: &[f64], _: usize| row[0];
    figure("accuracy", "Accuracy over the tasks", &note, 330 + legend, |area| {
        let mut svg = String::new();
        let (top, _) = area.split_vertically(330);
        let halves = top.split_evenly((1, 2));
        let numbers: [(&dyn Fn(&[f64], usize) -> f64, &str); 2] =
            [(&learned, "accuracy, tasks so far (%)"), (&first, "accuracy, first task (%)")];
        for (half, (number, text)) in halves.iter().zip(numbers) {
            let is_joint = |name: &str| results.of(name).any(|run| run.joint || run.matrix.len() == 1);
            // Joint training has one row: a level across all tasks.
            let points = |name: &str| -> Vec<(f64, f64)> {
                let percent = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (x, 100.0 * y)).collect::<Vec<_>>();
                match is_joint(name) {
                    true => {
                        let row = results.matrix(name).unwrap_or_default().concat();
                        let level = number(&row, row.len().saturating_sub(1));
                        percent(vec![(1.0, level), (tasks as f64, level)])
                    }
                    false => percent(curve_of(results, name, number)),
                }
            };
            let all: Vec<Vec<(f64, f64)>> = methods.iter().map(|m| points(&m.0)).collect();
            let (low, high) = all.iter().flatten().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1), h.max(p.1)));
            let (x, y) = (0.8..tasks as f64 + 0.2, room(low, high));
            let y = y.start.max(0.0)..y.end.min(100.5);
            let labels = Labels { x: Some("tasks learned"), y: text, left: 66, ticks: (tasks.min(10), 6), top: 6 };
            let chart = panel(half, x.clone(), y.clone(), &labels)?;
            let (across, down) = chart.plotting_area().get_pixel_range();
            let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
            for (k, points) in all.iter().enumerate() {
                let RGBColor(r, g, b) = colour(k);
                let at = |p: &(f64, f64)| {
                    let right = (p.0 - x.start) / (x.end - x.start) * width;
                    (across.start as f64 + right, down.end as f64 - (p.1 - y.start) / (y.end - y.start) * tall)
                };
                svg += &line(points.iter().map(at), k, 1.8);
                if !is_joint(&methods[k].0) {
                    for p in points {
                        let (px, py) = at(p);
                        let _ =
                            writeln!(svg, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"2.6\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>");
                    }
                }
            }
        }
        svg += &legend_of(methods, 58.0 + 330.0 + 14.0);
        Ok(svg)
    })
}

/// Colours come round; dashes tell the rounds apart.
pub(super) fn dashes(k: usize) -> &'static str {
    ["", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 3\""][k / 8 % 3]
}

fn final_accuracy(results: &Results, methods: &[&(String, String)]) -> Result<Figure> {
    let values = |name: &str| results.of(name).map(|run| 100.0 * run.acc).collect::<Vec<f64>>();
    let (low, high) = methods.iter().flat_map(|m| values(&m.0)).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let range = room(low, high);
    let range = range.start.max(0.0)..range.end.min(100.0).max(range.start + 1e-6);
    let longest = methods.iter().map(|m| m.0.chars().count()).max().unwrap_or(0) as u32;
    let left = (longest * 8 + 24).clamp(48, 260);
    let n = methods.len();
    let note = "test accuracy; a dot a seed, a bar for their mean";
    figure("accuracy", "Accuracy", note, n as u32 * 34 + 64, |area| {
        let mut builder = ChartBuilder::on(area);
        builder.margin_left(MARGIN).margin_right(30).margin_top(6).margin_bottom(4).x_label_area_size(46).y_label_area_size(left);
        let mut chart = drawn(builder.build_cartesian_2d(range.clone(), n as f64..0.0))?;
        let format = |v: &f64| number(*v);
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().disable_y_axis().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK);
        mesh.label_style(style(12.0, INK, HPos::Left, VPos::Top)).axis_desc_style(style(13.0, INK, HPos::Left, VPos::Top));
        drawn(mesh.x_labels(8).x_label_formatter(&format).x_desc("test accuracy (%)").draw())?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        let mut svg = String::new();
        for (k, (name, _)) in methods.iter().enumerate() {
            let RGBColor(r, g, b) = colour(k);
            let x =
                |v: f64| across.start as f64 + (v - range.start) / (range.end - range.start) * (across.end - across.start) as f64;
            let y = down.start as f64 + (k as f64 + 0.5) / n as f64 * (down.end - down.start) as f64;
            let values = values(name);
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            svg += &label(across.start as f64 - 8.0, y + 4.0, 12.5, "end", INK, name);
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}v18\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"2.5\"/>",
                x(mean),
                y - 9.0
            );
            for v in &values {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#{r:02x}{g:02x}{b:02x}\" fill-opacity=\"0.6\"/>",
                    x(*v)
                );
            }
        }
        Ok(svg)
    })
}

pub(super) fn cells(tag: &str, cells: &[String]) -> String {
    format!("<tr>{}</tr>\n", cells.iter().map(|c| format!("<{tag}>{c}</{tag}>")).collect::<String>())
}

/// The whole page.
pub(super) fn page(results: &Results, figures: &[Figure]) -> String {
    let sizes = results.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    let title = if results.title.is_empty() { &results.file } else { &results.title };
    let mut body = String::new();
    if !results.complete {
        body += "<p class=\"warning\">Not all runs are finished.</p>\n";
    }
    let warnings = results.runs.iter().flat_map(|run| {
        let said = run.reports.iter().filter_map(|line| line.strip_prefix("warning:"));
        said.map(|line| format!("{}, seed {}:{line}", run.method, run.seed))
    });
    for warning in warnings {
        body += &format!("<p class=\"warning\">{}</p>\n", escape(&warning));
    }
    let seeds = results.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let facts = [
        ("protocol", results.file.clone()),
        ("settings", results.settings.join(", ")),
        ("network", sizes),
        ("tasks", format!("{} ({})", results.tasks, results.kind)),
        ("data", format!("{}: {} samples to learn, {} to test", results.data.set, results.data.train, results.data.test)),
        ("seeds", seeds),
        ("threads", results.threads.to_string()),
        ("version", results.version.clone()),
    ];
    let shown = facts.iter().filter(|f| !f.1.is_empty());
    let list: String = shown.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
    body += &format!("<h2>Run</h2>\n<dl>\n{list}</dl>\n<h2>Methods</h2>\n<div class=\"scroll\"><table>\n");
    let one = results.tasks == 1;
    let head = [
        "method",
        if one { "test (%)" } else { "ACC (%)" },
        "BWT (points)",
        "forgetting (points)",
        "kept (kB)",
        "spikes a sample",
        "training (s)",
        "testing (s)",
    ];
    body += &cells("th", &head.map(String::from));
    for (name, title) in &results.methods {
        let cell = |factor: f64, digits: usize, number: &dyn Fn(&Run) -> Option<f64>| {
            results.spread(name, number).map_or("&ndash;".into(), |s| s.text(factor, digits).replace('-', "\u{2212}"))
        };
        body += &cells(
            "td",
            &[
                escape(title),
                cell(100.0, 2, &|r| Some(r.acc)),
                cell(100.0, 2, &|r| r.bwt),
                cell(100.0, 2, &|r| r.forgetting),
                cell(1e-3, 0, &|r| Some(r.bytes as f64)),
                cell(1.0, 0, &|r| Some(r.spikes_per_image)),
                cell(1.0, 1, &|r| Some(r.train_s)),
                cell(1.0, 1, &|r| Some(r.test_s)),
            ],
        );
    }
    body += "</table></div>\n<p class=\"lead\">Mean over seeds, with the standard deviation where there are several. ACC: mean accuracy \
             over all tasks at the end. BWT: mean change of a task's accuracy since it was learned. Forgetting: mean fall from its best. \
             Kept: bytes of old tasks beside the network that all methods have.</p>\n";
    for figure in figures {
        body += &format!("<figure>\n{}\n</figure>\n", inline(figure));
    }
    body += &(doubts(results) + &ranks(results));
    body += &format!("<h2>Protocol</h2>\n<pre>{}</pre>\n", escape(&results.protocol));
    document(title, &results.citation, &body)
}

fn doubts(results: &Results) -> String {
    let with: Vec<&Run> = results.runs.iter().filter(|run| run.uncertainty.is_some()).collect();
    if with.is_empty() {
        return String::new();
    }
    let some = |x: Option<f64>| x.map_or("&ndash;".into(), |x| format!("{x:.4}"));
    let head = [
        "method, seed",
        "images",
        "accuracy (%)",
        "calibration error",
        "epistemic",
        "aleatoric",
        "AUC epistemic",
        "AUC aleatoric",
        "AUC total",
    ];
    let mut table = cells("th", &head.map(String::from));
    for run in with {
        let Some(doubt) = &run.uncertainty else { continue };
        let name = format!("{}, {}", escape(&run.method), run.seed);
        let own = [
            format!("{:.2}", 100.0 * doubt.accuracy),
            some(doubt.calibration_error),
            some(Some(doubt.epistemic)),
            some(Some(doubt.aleatoric)),
        ];
        table += &cells("td", &[&[name.clone(), "test".into()], &own[..], &["".into(), "".into(), "".into()]].concat());
        for o in &doubt.outside {
            let own = [String::new(), String::new(), some(Some(o.epistemic)), some(Some(o.aleatoric))];
            let aucs = [o.auc_epistemic, o.auc_aleatoric, o.auc_total].map(some);
            table += &cells("td", &[&[name.clone(), escape(&o.set)], &own[..], &aucs].concat());
        }
    }
    format!(
        "<h2>Uncertainty</h2>\n<div class=\"scroll\"><table>\n{table}</table></div>\n<p class=\"lead\">Nats, under samples of the posterior. AUC: \
         the chance that an image of the other set is the more uncertain one.</p>\n"
    )
}

fn ranks(results: &Results) -> String {
    let mut table = String::new();
    for run in results.runs.iter().filter(|run| !run.layers.is_empty()) {
        let last = run.layers.iter().map(|l| l.tasks).max().unwrap_or(0);
        for l in run.layers.iter().filter(|l| l.tasks == last) {
            table += &cells(
                "td",
                &[
                    format!("{}, {}", escape(&run.method), run.seed),
                    l.layer.to_string(),
                    format!("{:.0}", l.rank),
                    format!("{:.0}", l.free),
                    format!("{:.1}", 100.0 * l.energy),
                ],
            );
        }
    }
    if table.is_empty() {
        return table;
    }
    let head = cells("th", &["method, seed", "layer", "rank", "free", "energy of the last task (%)"].map(String::from));
    format!("<h2>Projections after the last task</h2>\n<div class=\"scroll\"><table>\n{head}{table}</table></div>\n")
}
