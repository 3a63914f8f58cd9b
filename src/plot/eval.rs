//! Figures of the evaluations: every method's scores side by side, and how the first facts last while more are taught. Knows
//! reports as plain data.

use super::Figure;
use super::figures::{FAINT, GRID, INK, Labels, WIDTH, colour, figure, panel};
use super::html::{document, escape, inline};
use super::protocol::label;
use crate::error::Result;
use crate::eval::Scores;
use crate::eval::report::{Report, Spread};
use crate::eval::run::Row;
use plotters::prelude::*;
use std::fmt::Write;

type Score = (&'static str, fn(&Scores) -> f64);

const SCORES: [Score; 6] =
    [("ES", |s| s.es), ("EA", |s| s.ea), ("PS", |s| s.ps), ("NS", |s| s.ns), ("NK", |s| s.nk), ("S", |s| s.s)];

pub(super) fn figures(report: &Report) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if !report.edits.is_empty() {
        figures.push(scores(report)?);
    }
    if report.sequences.iter().any(|s| s.curve.len() > 1) {
        figures.push(lasting(report)?);
    }
    Ok(figures)
}

fn scores(report: &Report) -> Result<Figure> {
    const ROW: f64 = 30.0;
    let table = report.table();
    let note =
        "percent; bars are means over seeds, thin lines their 95 % confidence intervals; S is the harmonic mean of ES, PS, NS";
    let height = 40.0 + table.len() as f64 * ROW;
    figure("scores", "Facts taught, method by method", note, height as u32 + 20, |_| {
        let (left, top) = (150.0, 92.0);
        let room = (WIDTH as f64 - left - 20.0) / SCORES.len() as f64;
        let full = room - 46.0;
        let mut svg = String::new();
        let RGBColor(gr, gg, gb) = GRID;
        let RGBColor(ir, ig, ib) = INK;
        for (k, (name, get)) in SCORES.iter().enumerate() {
            let x = left + k as f64 * room;
            svg += &label(x, top - 8.0, 12.5, "start", INK, name);
            for (m, (method, rows)) in table.iter().enumerate() {
                let y = top + m as f64 * ROW;
                if k == 0 {
                    svg += &label(left - 12.0, y + 15.0, 12.0, "end", INK, method);
                }
                let spread = Spread::of(rows.iter().map(|r: &&Row| get(&r.scores)));
                let RGBColor(r, g, b) = colour(k);
                let long = full * spread.mean / 100.0;
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{full:.1}\" height=\"14\" fill=\"none\" stroke=\"#{gr:02X}{gg:02X}{gb:02X}\"/>\
                     <rect x=\"{x:.1}\" y=\"{0:.1}\" width=\"{long:.1}\" height=\"14\" fill=\"#{r:02X}{g:02X}{b:02X}\"/>",
                    y + 4.0
                );
                if let Some(half) = spread.half {
                    let (from, to) = ((spread.mean - half).max(0.0), (spread.mean + half).min(100.0));
                    let _ = writeln!(
                        svg,
                        "<path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"#{ir:02X}{ig:02X}{ib:02X}\" stroke-width=\"1.4\"/>",
                        x + full * from / 100.0,
                        y + 11.0,
                        x + full * to / 100.0
                    );
                }
                svg += &label(x + full + 5.0, y + 15.5, 10.5, "start", FAINT, &format!("{:.1}", spread.mean));
            }
        }
        Ok(svg)
    })
}

fn lasting(report: &Report) -> Result<Figure> {
    let note = "EA (%) of the first 50 facts after so many were taught, one at a time; a line a seed";
    figure("sequence", "How the first facts last", note, 320, |area| {
        let last = report.sequences.iter().map(|s| s.facts).max().unwrap_or(1) as f64;
        let labels = Labels { x: Some("facts taught"), y: "first 50 known (%)", left: 60, ticks: (8, 6), top: 6 };
        let chart = panel(area, 0.0..last, 0.0..100.0, &labels)?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        let (width, tall) = (f64::from(across.end - across.start), f64::from(down.end - down.start));
        let mut svg = String::new();
        for (i, sequence) in report.sequences.iter().enumerate() {
            let at = |(n, ea): &(usize, f64)| {
                (f64::from(across.start) + *n as f64 / last * width, f64::from(down.end) - ea / 100.0 * tall)
            };
            let path = sequence
                .curve
                .iter()
                .map(at)
                .enumerate()
                .fold(String::new(), |path, (i, (x, y))| path + &format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' }));
            let RGBColor(r, g, b) = colour(i);
            let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"#{r:02X}{g:02X}{b:02X}\" stroke-width=\"1.8\"/>");
        }
        Ok(svg)
    })
}

/// The whole page.
pub(super) fn page(report: &Report, figures: &[Figure]) -> String {
    let mut body = String::new();
    let seeds = report.table().first().map_or(0, |(_, rows)| rows.len());
    let facts = [
        ("model", report.model.clone()),
        ("cases", report.data.clone()),
        ("seeds", seeds.to_string()),
        ("prompts protected", report.protected.to_string()),
        ("layers", format!("awake {}, asleep {}", report.settings.wake_layer, report.settings.sleep_layer)),
        ("version", report.version.to_string()),
    ];
    let list: String = facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
    body += &format!("<h2>Run</h2>\n<dl>\n{list}</dl>\n");
    figures.iter().for_each(|f| body += &format!("<figure>\n{}\n</figure>\n", inline(f)));
    let table = report.table();
    if !table.is_empty() {
        let head = ["method", "ES", "EA", "PS", "PA", "NS", "NK", "KL", "S", "s a fact", "ms a write", "rank"];
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        body += "<h2>Scores</h2>\n<div class=\"scroll\"><table>\n";
        body += &row(&head.map(String::from), "th");
        for (method, rows) in table {
            let of = |get: fn(&Scores) -> f64, digits| Spread::of(rows.iter().map(|r| get(&r.scores))).text(digits);
            let mean = |get: fn(&Row) -> f64| Spread::of(rows.iter().map(|r| get(r))).mean;
            body += &row(
                &[
                    method.into(),
                    of(|s| s.es, 1),
                    of(|s| s.ea, 1),
                    of(|s| s.ps, 1),
                    of(|s| s.pa, 1),
                    of(|s| s.ns, 1),
                    of(|s| s.nk, 1),
                    of(|s| s.kl, 3),
                    of(|s| s.s, 1),
                    format!("{:.3}", mean(|r| r.seconds)),
                    format!("{:.2}", mean(|r| r.write_ms)),
                    rows[0].rank.to_string(),
                ],
                "td",
            );
        }
        body += "</table></div>\n";
    }
    document("Learning from single experiences", "cases of CounterFact (Meng et al. 2022)", &body)
}
