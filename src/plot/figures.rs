//! The drawings. Axes and histograms by plotters; curves and the dots of a raster as paths of our own, finer than its whole pixels
//! and a tenth of the size. Colours are those of Okabe & Ito (2008), told apart by the colour-blind.

use super::collect::{Data, Raster, round_up};
use super::{FONT, Figure};
use crate::error::{Error, Result};
use crate::record::read::Recording;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Write;
use std::ops::Range;

/// Text and axes, secondary text, and grid: the page replaces these by its own colours.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x67);
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xde);
const PALETTE: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x80, 0x80, 0x40),
    RGBColor(0x7f, 0x7f, 0x7f),
];
pub(super) const WIDTH: u32 = 960;
/// Height of title and note.
const HEAD: u32 = 58;
/// Room left of the labels of an axis.
pub(super) const MARGIN: u32 = 12;
/// Panels in one figure.
const PANELS: usize = 12;
/// Room above a panel's plotting area for its name.
const TITLE: u32 = 22;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Drawing into memory does not fail; should it, that is said.
pub(super) fn drawn<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|e| Error::Run { message: format!("a figure cannot be drawn: {e}"), remedy: "please report it".into() })
}

pub(super) fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// A font size in pixels: plotters writes sizes divided by 1.24.
pub(super) fn style(pixels: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    (FONT, pixels * 1.24).into_font().color(&colour).pos(Pos::new(h, v))
}

/// A number for an axis: no more digits than it needs.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 || x.abs() < 1e-12 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&x.abs()) {
        let text = format!("{x:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'));
    }
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').replace('-', "\u{2212}")
}

/// A count with its thousands apart.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// Opens a figure with a title and a note; `draw` gets the area below them.
pub(super) fn figure(
    name: &'static str,
    title: &str,
    note: &str,
    height: u32,
    draw: impl FnOnce(&Area) -> Result<String>,
) -> Result<Figure> {
    let mut svg = String::new();
    let extra = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height + HEAD)).into_drawing_area();
        drawn(root.fill(&WHITE))?;
        drawn(root.draw(&Text::new(title.to_string(), (16, 12), style(17.0, INK, HPos::Left, VPos::Top))))?;
        drawn(root.draw(&Text::new(note.to_string(), (16, 37), style(12.0, FAINT, HPos::Left, VPos::Top))))?;
        let extra = draw(&root.margin(HEAD, 0, 0, 0))?;
        drawn(root.present())?;
        extra
    };
    if let Some(end) = svg.rfind("</svg>") {
        svg.insert_str(end, &extra);
    }
    Ok(Figure { name, title: title.into(), note: note.into(), svg })
}

/// Labels of a panel.
pub(super) struct Labels<'a> {
    pub x: Option<&'a str>,
    pub y: &'a str,
    /// Width for the labels of the y axis.
    pub left: u32,
    /// Ticks of the axes, about.
    pub ticks: (usize, usize),
    /// Room above, for a name.
    pub top: u32,
}

/// Axes in an area.
pub(super) fn panel<'a>(area: &Area<'a>, x: Range<f64>, y: Range<f64>, labels: &Labels) -> Result<Chart<'a>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_left(MARGIN)
        .margin_right(30)
        .margin_top(labels.top)
        .margin_bottom(4)
        .x_label_area_size(if labels.x.is_some() { 46 } else { 4 });
    let mut chart = drawn(builder.y_label_area_size(labels.left).build_cartesian_2d(x, y))?;
    let format = |v: &f64| number(*v);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(style(12.0, INK, HPos::Left, VPos::Top))
        .axis_desc_style(style(13.0, INK, HPos::Left, VPos::Top))
        .x_label_formatter(&format)
        .y_label_formatter(&format)
        .x_labels(labels.ticks.0)
        .y_labels(labels.ticks.1)
        .y_desc(labels.y);
    match labels.x {
        Some(x) => mesh.x_desc(x),
        None => mesh.disable_x_axis(),
    };
    if labels.ticks.0 == 0 {
        mesh.disable_x_mesh();
    }
    drawn(mesh.draw())?;
    Ok(chart)
}

/// A name above a panel's plotting area.
fn heading(area: &Area, left: u32, text: &str) -> Result<()> {
    let at = ((left + MARGIN) as i32 + 2, 5);
    drawn(area.draw(&Text::new(text.to_string(), at, style(12.5, INK, HPos::Left, VPos::Top))))
}

/// Where the warm-up lies in a panel of time, as a shade.
fn warmup(chart: &Chart, time: &Range<f64>, recording: &Recording) -> String {
    let end = recording.info.warmup.min(time.end);
    if end <= time.start {
        return String::new();
    }
    let (across, down) = chart.plotting_area().get_pixel_range();
    let width = (end - time.start) / (time.end - time.start) * (across.end - across.start) as f64;
    let (x, y, tall) = (across.start, down.start, down.end - down.start);
    format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{tall}\" fill=\"#808080\" fill-opacity=\"0.13\"/>\n")
}

/// What a note says of the shade, where there is one.
fn shaded(from: f64, recording: &Recording) -> &'static str {
    if from < recording.info.warmup { "; shaded: warm-up" } else { "" }
}

/// The outline of bins: a level for the width of each.
fn steps(points: &[(f64, f64)], bin: f64) -> Vec<(f64, f64)> {
    points.iter().flat_map(|&(middle, value)| [(middle - bin / 2.0, value), (middle + bin / 2.0, value)]).collect()
}

/// A curve as a path, cut where it has no value.
pub(super) fn curve(chart: &Chart, x: &Range<f64>, y: &Range<f64>, points: &[(f64, f64)], RGBColor(r, g, b): RGBColor) -> String {
    let (across, down) = chart.plotting_area().get_pixel_range();
    let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
    let mut path = String::new();
    let mut pen = 'M';
    for &(time, value) in points {
        if !value.is_finite() {
            pen = 'M';
            continue;
        }
        let at = across.start as f64 + (time - x.start) / (x.end - x.start) * width;
        let up = down.end as f64 - (value - y.start) / (y.end - y.start) * tall;
        let _ = write!(path, "{pen}{at:.1} {up:.1}");
        pen = 'L';
    }
    format!(
        "<path d=\"{path}\" fill=\"none\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"1.1\" stroke-linejoin=\"round\"/>\n"
    )
}

/// A range that holds the values with some room, also when they are all the same.
pub(super) fn room(low: f64, high: f64) -> Range<f64> {
    if !(low.is_finite() && high.is_finite()) {
        return 0.0..1.0;
    }
    let pad = if high > low { 0.06 * (high - low) } else { low.abs().max(1.0) * 0.1 };
    low - pad..high + pad
}

/// A range of time that is never empty.
fn span(start: f64, stop: f64) -> Range<f64> {
    if stop > start { start..stop } else { start..start + 1.0 }
}

/// How much is left out when there are more panels than are drawn.
fn left_out(n: usize, what: &str) -> String {
    if n > PANELS { format!("; the first {PANELS} of {n} {what}") } else { String::new() }
}

/// Every figure that there are data for.
pub(super) fn all(recording: &Recording, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if !data.raster.bands.is_empty() {
        figures.push(raster(&data.raster, recording)?);
    }
    if !data.rates.is_empty() {
        figures.push(rates(data, recording)?);
    }
    if !data.traces.is_empty() {
        figures.push(traces(data, recording)?);
    }
    if data.intervals.iter().any(|i| !i.values.is_empty()) {
        figures.push(intervals(data)?);
    }
    if !data.weights.is_empty() {
        figures.push(weights(data)?);
    }
    if !data.courses.is_empty() || !data.signals.is_empty() {
        figures.push(courses(data, recording)?);
    }
    Ok(figures)
}

fn raster(raster: &Raster, recording: &Recording) -> Result<Figure> {
    let rows: u32 = raster.bands.iter().map(|b| b.rows).sum();
    let all: u64 = raster.bands.iter().map(|b| b.n).sum();
    let neurons = match rows as u64 == all {
        true => format!("{} neurons", count(all)),
        false => format!("{} of {} neurons, evenly spaced", count(rows as u64), count(all)),
    };
    let until = recording.ending.until;
    let time = match raster.start <= recording.ending.start && raster.stop >= until {
        true => format!("{} ms", number(raster.stop - raster.start)),
        false => format!("{} to {} ms of {} ms", number(raster.start), number(raster.stop), number(until)),
    };
    let shaded = shaded(raster.start, recording);
    let note = format!("{neurons}; {time}; {} spikes, one mark each{shaded}", count(raster.spikes.len() as u64));
    let height = (rows * 14).clamp(170, 560);
    let longest = raster.bands.iter().map(|b| b.name.chars().count()).max().unwrap_or(0) as u32;
    let left = (longest * 8 + 24).clamp(48, 260);
    figure("raster", "Spikes", &note, height + 56, |area| {
        let mut builder = ChartBuilder::on(area);
        builder.margin_right(30).margin_top(6).margin_bottom(4).x_label_area_size(46).y_label_area_size(left);
        let time = span(raster.start, raster.stop);
        let mut chart = drawn(builder.build_cartesian_2d(time.clone(), rows as f64..0.0))?;
        let format = |v: &f64| number(*v);
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().disable_y_axis().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK);
        mesh.label_style(style(12.0, INK, HPos::Left, VPos::Top)).axis_desc_style(style(13.0, INK, HPos::Left, VPos::Top));
        drawn(mesh.x_labels(10).x_label_formatter(&format).x_desc("time (ms)").draw())?;
        let (across, down) = chart.plotting_area().get_pixel_range();
        let (width, tall) = ((across.end - across.start) as f64, (down.end - down.start) as f64);
        let x = |t: f64| across.start as f64 + (t - time.start) / (time.end - time.start) * width;
        let y = |row: f64| down.start as f64 + row / rows.max(1) as f64 * tall;
        let step = tall / rows.max(1) as f64;
        let mut extra = warmup(&chart, &time, recording);
        for band in &raster.bands {
            let ours = colour(band.population);
            let middle = y(band.first as f64 + band.rows as f64 / 2.0) - HEAD as f64;
            let at = (across.start - 10, middle as i32);
            drawn(area.draw(&Text::new(band.name.clone(), at, style(12.5, INK, HPos::Right, VPos::Center))))?;
            let mut path = String::new();
            let rows = band.first..band.first + band.rows;
            for &(time, row) in raster.spikes.iter().filter(|s| rows.contains(&s.1)) {
                // Bars where rows are wide enough to be told apart, dots elsewhere.
                let (from, mark) = if step >= 4.0 { (0.15 * step, 0.7 * step) } else { (step / 2.0, 0.0) };
                let _ = write!(path, "M{:.1} {:.1}v{}", x(time), y(row as f64) + from, (mark * 10.0).round() / 10.0);
            }
            let (width, cap) = if step >= 4.0 { (1.3, "butt") } else { (1.7, "round") };
            let RGBColor(r, g, b) = ours;
            let _ = writeln!(
                extra,
                r##"<path d="{path}" fill="none" stroke="#{r:02x}{g:02x}{b:02x}" stroke-width="{width}" stroke-linecap="{cap}"/>"##
            );
            if band.first > 0 {
                let edge = y(band.first as f64);
                let (from, to) = (across.start, across.end);
                let _ = writeln!(extra, r##"<path d="M{from} {edge:.1}H{to}" fill="none" stroke="#DDDDDE" stroke-width="1"/>"##);
            }
        }
        Ok(extra)
    })
}

fn rates(data: &Data, recording: &Recording) -> Result<Figure> {
    let shown = &data.rates[..data.rates.len().min(PANELS)];
    let mut bins: Vec<f64> = shown.iter().map(|c| c.bin).collect();
    bins.sort_by(f64::total_cmp);
    bins.dedup();
    let bins = bins.iter().map(|&b| number(b)).collect::<Vec<_>>().join(", ");
    let shaded = shaded(data.begin, recording);
    let note = format!("spikes per neuron and second, in bins of {bins} ms{shaded}{}", left_out(data.rates.len(), "populations"));
    let (each, last) = (TITLE + if shown.len() > 4 { 70 } else { 110 }, 50);
    figure("rates", "Population rates", &note, each * shown.len() as u32 + last, |area| {
        let (mut rest, mut extra) = (area.clone(), String::new());
        for (k, of) in shown.iter().enumerate() {
            let bottom = k + 1 == shown.len();
            let (top, below) = rest.split_vertically(each + if bottom { last } else { 0 });
            rest = below;
            let high = of.points.iter().map(|p| p.1).fold(0.0, f64::max);
            let (time, range) = (span(data.begin, data.stop), 0.0..if high > 0.0 { high * 1.08 } else { 1.0 });
            let labels = Labels { x: bottom.then_some("time (ms)"), y: "rate (Hz)", left: 76, ticks: (10, 3), top: TITLE };
            let chart = panel(&top, time.clone(), range.clone(), &labels)?;
            extra += &warmup(&chart, &time, recording);
            extra += &curve(&chart, &time, &range, &steps(&of.points, of.bin), colour(of.population));
            let statistics = data.statistics.populations.iter().find(|p| p.name == of.name && p.n > 0);
            let mean = match statistics {
                _ if high == 0.0 => ": silent".into(),
                Some(s) => {
                    let known =
                        s.window.map_or(String::new(), |(start, stop)| format!(" from {} to {} ms", number(start), number(stop)));
                    format!(", mean {} Hz{known}", number((s.rate * 100.0).round() / 100.0))
                }
                None => String::new(),
            };
            heading(&top, 76, &format!("{}{mean}", of.name))?;
        }
        Ok(extra)
    })
}

fn traces(data: &Data, recording: &Recording) -> Result<Figure> {
    let shown = &data.traces[..data.traces.len().min(PANELS)];
    let part = shown.iter().any(|t| t.stop - t.start < t.report.rows as f64 * t.report.interval - 1e-6);
    let most = shown.iter().map(|t| t.curves.len()).max().unwrap_or(0);
    // One axis of time for all panels.
    let ends = shown.iter().map(|t| (t.start, t.stop)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0.0, 1.0));
    let time = span(ends.0, ends.1);
    let whole = if part { ", a part of the recording" } else { "" };
    let neurons = if most == 1 { "neuron".into() } else { format!("{most} neurons") };
    let marked = if shown.iter().any(|t| !t.spikes.is_empty()) { "; marks above: their spikes" } else { "" };
    let shaded = shaded(time.start, recording);
    let left = left_out(data.traces.len(), "variables");
    let note = format!("the first {neurons} recorded in each population{whole}{marked}{shaded}{left}");
    let (each, last) = (TITLE + if shown.len() > 3 { 110 } else { 180 }, 50);
    figure("traces", "State variables", &note, each * shown.len() as u32 + last, |area| {
        let (mut rest, mut extra) = (area.clone(), String::new());
        for (k, traces) in shown.iter().enumerate() {
            let bottom = k + 1 == shown.len();
            let (top, below) = rest.split_vertically(each + if bottom { last } else { 0 });
            rest = below;
            let values = || traces.curves.iter().flat_map(|(_, c)| c.iter().map(|p| p.1));
            let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let full = room(low, high);
            let rows = if traces.spikes.is_empty() { 0 } else { traces.curves.len() };
            // A band at the top for the marks, one row a neuron.
            let y = full.start..full.end + 0.07 * rows as f64 * (full.end - full.start);
            let (name, unit) = (&traces.report.variable, &traces.report.unit);
            let y_label = if unit.is_empty() { name.clone() } else { format!("{name} ({unit})") };
            let labels = Labels { x: bottom.then_some("time (ms)"), y: &y_label, left: 84, ticks: (10, 4), top: TITLE };
            let chart = panel(&top, time.clone(), y.clone(), &labels)?;
            extra += &warmup(&chart, &time, recording);
            for (c, (_, points)) in traces.curves.iter().enumerate() {
                extra += &curve(&chart, &time, &y, points, colour(c));
            }
            let (across, down) = chart.plotting_area().get_pixel_range();
            let row = f64::from(down.end - down.start) * (y.end - full.end) / (y.end - y.start) / rows.max(1) as f64;
            for c in 0..rows {
                let RGBColor(r, g, b) = colour(c);
                let mut path = String::new();
                for (_, spike) in traces.spikes.iter().filter(|s| s.0 == c) {
                    let at = f64::from(across.start)
                        + (spike - time.start) / (time.end - time.start) * f64::from(across.end - across.start);
                    let _ = write!(path, "M{at:.1} {:.1}v{:.1}", f64::from(down.start) + (c as f64 + 0.12) * row, 0.76 * row);
                }
                let _ =
                    writeln!(extra, "<path d=\"{path}\" fill=\"none\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"1.1\"/>");
            }
            let mut at = 86 + MARGIN as i32;
            let title = format!("{}:", traces.report.population);
            drawn(top.draw(&Text::new(title.clone(), (at, 5), style(12.5, INK, HPos::Left, VPos::Top))))?;
            at += title.chars().count() as i32 * 8 + 8;
            for (c, (id, _)) in traces.curves.iter().enumerate() {
                let text = format!("neuron {id}");
                drawn(top.draw(&Text::new(text.clone(), (at, 5), style(12.5, colour(c), HPos::Left, VPos::Top))))?;
                at += text.chars().count() as i32 * 8 + 12;
            }
        }
        Ok(extra)
    })
}

/// Shares of the values in equal bins of a range; values beyond it are counted in no bin.
fn histogram(values: impl Iterator<Item = f64>, range: &Range<f64>, bins: usize) -> Vec<f64> {
    let mut counts = vec![0u64; bins];
    let mut all = 0u64;
    for value in values {
        all += 1;
        let bin = (value - range.start) / (range.end - range.start) * bins as f64;
        if bin >= 0.0 && value <= range.end {
            counts[(bin as usize).min(bins - 1)] += 1;
        }
    }
    counts.iter().map(|&c| c as f64 / all.max(1) as f64).collect()
}

/// Corners of the outline of a histogram.
fn outline(shares: &[f64], range: &Range<f64>) -> Vec<(f64, f64)> {
    let width = (range.end - range.start) / shares.len() as f64;
    let mut corners = vec![(range.start, 0.0)];
    for (k, &share) in shares.iter().enumerate() {
        corners.push((range.start + k as f64 * width, share * 100.0));
        corners.push((range.start + (k + 1) as f64 * width, share * 100.0));
    }
    corners.push((range.end, 0.0));
    corners
}

/// Panels side by side, two a row (one when there is only one), each of a height; `draw` gets the number and the area.
fn grid(area: &Area, n: usize, height: u32, mut draw: impl FnMut(usize, &Area) -> Result<()>) -> Result<()> {
    let columns = if n == 1 { 1 } else { 2 };
    let mut rest = area.clone();
    for row in 0..n.div_ceil(columns) {
        let (top, below) = rest.split_vertically(height);
        rest = below;
        for (column, cell) in top.split_evenly((1, columns)).iter().enumerate() {
            if row * columns + column < n {
                draw(row * columns + column, cell)?;
            }
        }
    }
    Ok(())
}

fn rows_of(n: usize) -> u32 {
    if n == 1 { 1 } else { n.div_ceil(2) as u32 }
}

fn intervals(data: &Data) -> Result<Figure> {
    let with: Vec<_> = data.intervals.iter().filter(|i| !i.values.is_empty()).collect();
    let shown = &with[..with.len().min(PANELS)];
    let sampled = shown.iter().any(|i| i.neurons < i.n || i.values.len() >= 500_000);
    let from = if sampled { " of a sample of the neurons" } else { "" };
    let without: Vec<&str> = data.intervals.iter().filter(|i| i.values.is_empty()).map(|i| i.name.as_str()).collect();
    let none = match without.len() {
        0 => String::new(),
        1..=6 => format!("; none in {}", without.join(", ")),
        more => format!("; none in {more} populations"),
    };
    let note = format!(
        "inter-spike intervals{from} after {} ms, up to the 99th percentile{}{none}",
        number(data.start),
        left_out(with.len(), "populations")
    );
    let height = 200;
    figure("isi", "Inter-spike intervals", &note, height * rows_of(shown.len()) + 8, |area| {
        grid(area, shown.len(), height, |k, cell| {
            let of = shown[k];
            let mut sorted = of.values.clone();
            sorted.sort_by(f64::total_cmp);
            let most = sorted[((sorted.len() - 1) as f64 * 0.99) as usize];
            let range = 0.0..round_up(most * 1.02 / 10.0) * ((most * 1.02) / round_up(most * 1.02 / 10.0)).ceil();
            let shares = histogram(of.values.iter().copied(), &range, 50);
            let corners = outline(&shares, &range);
            let high = corners.iter().map(|c| c.1).fold(0.0, f64::max) * 1.08;
            let labels = Labels { x: Some("interval (ms)"), y: "share (%)", left: 76, ticks: (6, 4), top: TITLE };
            let mut chart = panel(cell, range, 0.0..high.max(1e-6), &labels)?;
            let ours = colour(of.population);
            drawn(chart.draw_series(AreaSeries::new(corners, 0.0, ours.mix(0.45)).border_style(ours.stroke_width(1))))?;
            let statistics = data.statistics.populations.iter().find(|p| p.name == of.name);
            let cv = statistics.and_then(|s| Some((s.cv_isi?, s.cv_neurons)));
            let cv = cv.map_or(String::new(), |(cv, n)| {
                format!(", CV {cv:.2} ({} neuron{})", count(n as u64), if n == 1 { "" } else { "s" })
            });
            heading(cell, 76, &format!("{}{cv}", of.name))
        })?;
        Ok(String::new())
    })
}

fn weights(data: &Data) -> Result<Figure> {
    let shown = &data.weights[..data.weights.len().min(PANELS)];
    let note = format!("filled: at the end; line: at the first recorded time{}", left_out(data.weights.len(), "projections"));
    let height = 210;
    figure("weights", "Weights", &note, height * rows_of(shown.len()) + 8, |area| {
        grid(area, shown.len(), height, |k, cell| {
            let of = &shown[k];
            let finite = |w: &&f32| w.is_finite();
            let all = || of.first.iter().chain(&of.last).filter(finite).map(|&w| w as f64);
            let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let range = room(low, high);
            let shares =
                |values: &[f32]| outline(&histogram(values.iter().filter(finite).map(|&w| w as f64), &range, 60), &range);
            let (first, last) = (shares(&of.first), shares(&of.last));
            let most = first.iter().chain(&last).map(|c| c.1).fold(0.0, f64::max) * 1.08;
            let x_label = if of.unit.is_empty() { "weight".to_string() } else { format!("weight ({})", of.unit) };
            let labels = Labels { x: Some(&x_label), y: "share (%)", left: 76, ticks: (6, 4), top: TITLE };
            let mut chart = panel(cell, range.clone(), 0.0..most.max(1e-6), &labels)?;
            let ours = colour(k);
            drawn(chart.draw_series(AreaSeries::new(last, 0.0, ours.mix(0.45)).border_style(ours.mix(0.0))))?;
            drawn(chart.draw_series(LineSeries::new(first, INK.stroke_width(1))))?;
            let times = match of.last_time > of.first_time {
                true => format!(", {} and {} ms", number(of.first_time), number(of.last_time)),
                false => format!(", {} ms", number(of.last_time)),
            };
            heading(cell, 76, &format!("{}: {} synapses{times}", of.projection, count(of.last.len() as u64)))
        })?;
        Ok(String::new())
    })
}

/// Weights and signals over time, a panel each.
fn courses(data: &Data, recording: &Recording) -> Result<Figure> {
    let shown = &data.courses[..data.courses.len().min(PANELS)];
    let signals = &data.signals[..data.signals.len().min(PANELS - shown.len().min(PANELS - 1))];
    let panels = shown.len() + signals.len();
    let single = if shown.is_empty() { "" } else { "line: mean, band: tenth to ninetieth percentile, thin: some synapses" };
    let more = format!("{}{}", shaded(data.begin, recording), left_out(data.courses.len() + data.signals.len(), "courses"));
    let note = format!("{single}{more}");
    let note = note.trim_start_matches("; ");
    let (each, last) = (TITLE + if panels > 3 { 90 } else { 140 }, 50);
    let title = match (shown.is_empty(), signals.is_empty()) {
        (false, true) => "Weights over time",
        (true, false) => "Signals over time",
        _ => "Weights and signals over time",
    };
    figure("courses", title, note, each * panels as u32 + last, |area| {
        let (mut rest, mut extra) = (area.clone(), String::new());
        let time = span(data.begin, data.stop);
        let mut sheet = |k: usize, y: &Range<f64>, y_label: &str, name: &str, curves: &dyn Fn(&Chart) -> String| -> Result<()> {
            let bottom = k + 1 == panels;
            let (top, below) = rest.split_vertically(each + if bottom { last } else { 0 });
            rest = below;
            let labels = Labels { x: bottom.then_some("time (ms)"), y: y_label, left: 84, ticks: (10, 4), top: TITLE };
            let chart = panel(&top, time.clone(), y.clone(), &labels)?;
            extra += &warmup(&chart, &time, recording);
            extra += &curves(&chart);
            heading(&top, 84, name)
        };
        for (k, course) in shown.iter().enumerate() {
            let values = || {
                let singles = course.single.iter().flatten().map(|p| p.1);
                course.range.iter().flat_map(|r| [r.1, r.2]).chain(course.mean.iter().map(|p| p.1)).chain(singles)
            };
            let (low, high) =
                values().filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            let y = room(low, high);
            let y_label = if course.unit.is_empty() { "weight".to_string() } else { format!("weight ({})", course.unit) };
            let name = format!("{}: {} synapses", course.projection, count(course.synapses as u64));
            sheet(k, &y, &y_label, &name, &|chart| {
                let edge = course.range.iter().map(|r| (r.0, r.2)).chain(course.range.iter().rev().map(|r| (r.0, r.1)));
                let band = curve(chart, &time, &y, &edge.collect::<Vec<_>>(), colour(k));
                let mut svg = band.replace("fill=\"none\" stroke=", "stroke=\"none\" fill-opacity=\"0.25\" fill=");
                for single in &course.single {
                    svg += &curve(chart, &time, &y, single, FAINT).replace("stroke-width=\"1.1\"", "stroke-width=\"0.6\"");
                }
                svg + &curve(chart, &time, &y, &course.mean, colour(k)).replace("stroke-width=\"1.1\"", "stroke-width=\"1.8\"")
            })?;
        }
        for (k, (name, points)) in signals.iter().enumerate() {
            let (low, high) = points.iter().fold((0.0f64, 0.0f64), |(l, h), p| (l.min(p.1), h.max(p.1)));
            let y = room(low, high);
            sheet(shown.len() + k, &y, "signal", &format!("modulator {name}"), &|chart| {
                curve(chart, &time, &y, points, colour(shown.len() + k))
            })?;
        }
        Ok(extra)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes() {
        let cases = [
            (0.0, "0"),
            (1000.0, "1000"),
            (0.5, "0.5"),
            (-65.0, "\u{2212}65"),
            (2.5e-5, "2.5e-5"),
            (3e7, "3e7"),
            (1.0 / 3.0, "0.333"),
        ];
        for (x, text) in cases {
            assert_eq!(number(x), text);
        }
        assert_eq!(
            (count(999), count(7717), count(77169), count(1234567)),
            ("999".into(), "7717".into(), "77\u{a0}169".into(), "1\u{a0}234\u{a0}567".into())
        );
    }

    #[test]
    fn rates_are_steps() {
        assert_eq!(steps(&[(5.0, 2.0), (15.0, 0.0)], 10.0), [(0.0, 2.0), (10.0, 2.0), (10.0, 0.0), (20.0, 0.0)]);
    }

    #[test]
    fn shares_of_a_histogram() {
        let shares = histogram([0.0, 0.5, 1.0, 1.5, 2.0, 7.0, -1.0].into_iter(), &(0.0..2.0), 4);
        assert_eq!(shares, [1.0 / 7.0, 1.0 / 7.0, 1.0 / 7.0, 2.0 / 7.0]);
        assert_eq!(outline(&shares, &(0.0..2.0)).len(), 10);
    }
}
