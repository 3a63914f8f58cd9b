//! Figures of the evaluations: every method's scores side by side, and what is left of them while more are taught. Knows
//! reports as plain data.

use super::Figure;
use super::figures::{FAINT, GRID, INK, WIDTH, colour, figure};
use super::html::{document, escape, inline};
use super::protocol::{dashes, label};
use crate::error::Result;
use crate::eval::Scores;
use crate::eval::report::{Report, Spread};
use crate::eval::run::Row;
use crate::eval::sequence::{Point, Way};
use plotters::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write;

type Score = (&'static str, fn(&Scores) -> f64);

const SCORES: [Score; 6] =
    [("ES", |s| s.es), ("EA", |s| s.ea), ("PS", |s| s.ps), ("NS", |s| s.ns), ("NK", |s| s.nk), ("S", |s| s.s)];

pub(super) fn figures(report: &Report) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if !report.edits.is_empty() {
        figures.push(scores(report)?);
    }
    if report.sequences.iter().any(|s| !s.points.is_empty()) {
        figures.push(courses(report)?);
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

type Course = (&'static str, fn(&Point) -> f64);

const COURSES: [Course; 8] = [
    ("W: whole answers", |p| p.scores.w),
    ("EA", |p| p.scores.ea),
    ("PS", |p| p.scores.ps),
    ("PA", |p| p.scores.pa),
    ("NS", |p| p.scores.ns),
    ("EA of the first 1,000", |p| p.first),
    ("other questions kept", |p| p.other_kept),
    ("other questions: the fact", |p| p.other_said),
];

/// A panel a score, over the number of facts; a line a way.
fn courses(report: &Report) -> Result<Figure> {
    const ACROSS: usize = 4;
    let points = || report.sequences.iter().flat_map(|s| &s.points);
    let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| points().any(|p| p.way == *way)).collect();
    let numbers: BTreeSet<usize> = points().map(|p| p.facts).collect();
    let (least, most) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(1));
    let (wide, tall, gap, left, first) = (186.0, 170.0, 46.0, 50.0, 92.0);
    let down = COURSES.len().div_ceil(ACROSS) as f64 * (tall + 56.0);
    let note = "percent, over the facts in the memory (logarithmic); a line a way of answering, mean over seeds";
    let height = 30.0 + down + ways.len().div_ceil(ACROSS) as f64 * 18.0;
    figure("sequence", "Many facts in one memory", note, height as u32, |_| {
        let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
        let span = (most as f64 / least as f64).ln().max(1e-9);
        let mut svg = String::new();
        for (k, (name, get)) in COURSES.iter().enumerate() {
            let x0 = left + (k % ACROSS) as f64 * (wide + gap);
            let y0 = first + (k / ACROSS) as f64 * (tall + 56.0);
            let across = |n: usize| x0 + 6.0 + (n as f64 / least as f64).ln() / span * (wide - 12.0);
            let up = |percent: f64| y0 + tall * (1.0 - percent / 100.0);
            svg += &label(x0, y0 - 8.0, 12.5, "start", INK, name);
            for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
                let y = up(percent);
                let _ = writeln!(svg, "<path d=\"M{x0:.1} {y:.1}h{wide:.1}\" stroke=\"{}\"/>", hex(GRID));
                svg += &label(x0 - 5.0, y + 4.0, 10.5, "end", FAINT, &format!("{percent:.0}"));
            }
            for n in &numbers {
                svg += &label(across(*n), y0 + tall + 15.0, 10.5, "middle", FAINT, &n.to_string());
            }
            for (i, way) in ways.iter().enumerate() {
                let of = |n: usize| points().filter(move |p| p.way == *way && p.facts == n).map(get);
                let means = numbers.iter().filter(|n| of(**n).next().is_some()).map(|n| (*n, Spread::of(of(*n)).mean));
                let places: Vec<(f64, f64)> = means.map(|(n, mean)| (across(n), up(mean))).collect();
                let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
                let (path, colour) = (path.join("L"), hex(colour(i)));
                let _ =
                    writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{}/>", dashes(i));
                for (x, y) in places {
                    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\" fill=\"{colour}\"/>");
                }
            }
        }
        for (i, way) in ways.iter().enumerate() {
            let x = left + (i % ACROSS) as f64 * (wide + gap);
            let y = first + down + (i / ACROSS) as f64 * 18.0;
            let stroke = hex(colour(i));
            let _ = writeln!(svg, "<path d=\"M{x:.1} {y:.1}h26\" stroke=\"{stroke}\" stroke-width=\"2\"{}/>", dashes(i));
            svg += &label(x + 32.0, y + 4.0, 12.0, "start", INK, way.name());
        }
        Ok(svg)
    })
}

/// The whole page.
pub(super) fn page(report: &Report, figures: &[Figure]) -> String {
    let mut body = String::new();
    let seeds = report.table().first().map_or(report.sequences.len(), |(_, rows)| rows.len());
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
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let table = report.table();
    if !table.is_empty() {
        let head = ["method", "ES", "EA", "PS", "PA", "NS", "NK", "KL", "S", "s a fact", "ms a write", "rank"];
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
    for sequence in &report.sequences {
        let head =
            ["facts", "", "W", "WP", "ES", "EA", "PS", "PA", "NS", "NK", "KL", "first 1,000 EA", "other kept", "other: the fact"];
        body += &format!("<h2>Many facts, seed {}</h2>\n<div class=\"scroll\"><table>\n", sequence.seed);
        body += &row(&head.map(String::from), "th");
        for p in &sequence.points {
            let s = &p.scores;
            let numbers = [s.w, s.wp, s.es, s.ea, s.ps, s.pa, s.ns, s.nk].map(|x| format!("{x:.1}"));
            let ends = [
                format!("{:.3}", s.kl),
                format!("{:.1}", p.first),
                format!("{:.1}", p.other_kept),
                format!("{:.1}", p.other_said),
            ];
            let cells = [&[p.facts.to_string(), p.way.name().into()][..], &numbers, &ends].concat();
            body += &row(&cells, "td");
        }
        body += "</table></div>\n";
    }
    document("Learning from single experiences", "cases of CounterFact (Meng et al. 2022)", &body)
}
