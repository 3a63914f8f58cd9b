//! Figures of a sweep: each quantity of every population against the first swept key, mean and standard deviation over seeds, one
//! panel for each combination of the other keys. Knows sweeps as plain data.

use super::Figure;
use super::figures::{Area, FAINT, INK, Labels, MARGIN, colour, curve, drawn, figure, panel, style};
use super::html::{document, escape, inline};
use crate::error::Result;
use crate::sweep::{QUANTITIES, Quantity, Run, Spread, Table, population, spread};
use crate::units::split;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::fmt::Write;

/// Panels in one figure.
const PANELS: usize = 8;
const LEFT: u32 = 76;

/// Where the values of the first axis lie.
struct Across {
    title: String,
    /// The values in order, as they are written, and their places.
    values: Vec<(String, f64)>,
    /// Places are numbers, and not mere names side by side.
    numbers: bool,
}

fn across(table: &Table) -> Across {
    let Some(axis) = table.axes.first() else {
        let names = table.populations().into_iter().map(str::to_string);
        return Across { title: "population".into(), values: names.zip((0..).map(f64::from)).collect(), numbers: false };
    };
    let number = |text: &String| {
        let (number, unit) = split(text.trim_matches(['"', '\'']), |_| false);
        Some((number.trim().parse::<f64>().ok().filter(|x| x.is_finite())?, unit.map(str::to_string)))
    };
    let read: Vec<_> = axis.values.iter().map(number).collect();
    let unit = read.first().cloned().flatten().and_then(|r| r.1);
    if axis.values.len() > 1 && read.iter().all(|r| r.as_ref().is_some_and(|r| r.1 == unit)) {
        let mut values: Vec<(String, f64)> = axis.values.iter().cloned().zip(read.into_iter().flatten().map(|r| r.0)).collect();
        values.sort_by(|a, b| a.1.total_cmp(&b.1));
        let title = unit.map_or(axis.key.clone(), |unit| format!("{} ({unit})", axis.key));
        return Across { title, values, numbers: true };
    }
    let values = axis.values.iter().cloned().zip((0..).map(f64::from)).collect();
    Across { title: axis.key.clone(), values, numbers: false }
}

/// The quantities that there are values of: rates and irregularity.
pub(super) fn figures(table: &Table) -> Result<Vec<Figure>> {
    let names = [("rate", "Rates"), ("CV ISI", "CV of inter-spike intervals"), ("synchrony", "Synchrony")];
    let mut drawn = vec![];
    for (name, quantity) in names.iter().filter_map(|n| QUANTITIES.iter().find(|q| q.0 == n.0).map(|q| (n.1, q))) {
        if table.runs.iter().flat_map(|r| &r.statistics.populations).any(|p| p.n > 0 && (quantity.2)(p).is_some()) {
            drawn.push(one(table, name, quantity)?);
        }
    }
    Ok(drawn)
}

fn one(table: &Table, title: &str, quantity: &Quantity) -> Result<Figure> {
    let across = across(table);
    let points = table.points();
    let mut others: Vec<&[String]> = vec![];
    for (values, _) in &points {
        let rest = values.get(1..).unwrap_or(&[]);
        if !others.contains(&rest) {
            others.push(rest);
        }
    }
    let left_out = others.len().saturating_sub(PANELS);
    others.truncate(PANELS);
    let seeds = table.seeds.len();
    let note = match (seeds, left_out) {
        (1, 0) => format!("one seed, {}", table.seeds[0]),
        (_, 0) => format!("points: each of {seeds} seeds; lines: mean, bars: standard deviation over seeds"),
        _ => format!("mean and standard deviation over {seeds} seeds; {left_out} more panels are left out"),
    };
    let each = if others.len() > 1 { 190 } else { 300 };
    let name = match quantity.0 {
        "CV ISI" => "cv_isi",
        other => other,
    };
    figure(name, title, &note, each * others.len() as u32 + 50, |area| {
        let (mut rest, mut extra) = (area.clone(), String::new());
        for (k, combination) in others.iter().enumerate() {
            let bottom = k + 1 == others.len();
            let (top, below) = rest.split_vertically(each + if bottom { 50 } else { 0 });
            rest = below;
            let here = |value: &str| {
                let of = |values: &[String]| {
                    values.first().is_none_or(|v| v == value) && values.get(1..).unwrap_or(&[]) == *combination
                };
                points.iter().find(|(values, _)| of(values)).map_or(&[][..], |(_, runs)| runs)
            };
            let other: Vec<String> =
                table.axes.iter().skip(1).zip(*combination).map(|(a, v)| format!("{} = {v}", a.key)).collect();
            extra += &sheet(table, quantity, &across, &top, bottom, &other.join(", "), here)?;
        }
        Ok(extra)
    })
}

/// One panel.
fn sheet<'a>(
    table: &'a Table,
    quantity: &Quantity,
    across: &Across,
    area: &Area,
    bottom: bool,
    heading: &str,
    here: impl Fn(&str) -> &'a [&'a Run],
) -> Result<String> {
    let populations = table.populations();
    // Without a swept key the populations themselves lie side by side.
    let alone = table.axes.is_empty();
    let (name, unit, read) = *quantity;
    let (first, last) = (across.values[0].1, across.values[across.values.len() - 1].1);
    let pad = if across.numbers { 0.04 * (last - first) } else { 0.5 };
    let x = first - pad..last + pad;
    let of = |value: &str, population_name: &'a str| {
        let runs = if alone && value != population_name { &[] } else { here(value) };
        population(runs, population_name).filter_map(read).collect::<Vec<f64>>()
    };
    let all = || across.values.iter().flat_map(|v| populations.iter().flat_map(|p| of(&v.0, p)).collect::<Vec<_>>());
    let high = all().fold(0.0, f64::max);
    let y = 0.0..(high * 1.08).max(1e-3);
    let y_title = if unit.is_empty() { name.to_string() } else { format!("{name} ({unit})") };
    let names = bottom.then_some(if across.numbers { across.title.as_str() } else { "" });
    let labels = Labels {
        x: names.filter(|n| !n.is_empty()),
        y: &y_title,
        left: LEFT,
        ticks: (if across.numbers { 10 } else { 0 }, 4),
        top: 24,
    };
    // Room for names is kept where there is no axis of numbers.
    let (place, low) = match bottom && !across.numbers {
        true => area.split_vertically(area.dim_in_pixel().1 - 44),
        false => (area.clone(), area.clone()),
    };
    let chart = panel(&place, x.clone(), y.clone(), &labels)?;
    let (columns, down) = chart.plotting_area().get_pixel_range();
    let at = |value: f64| columns.start as f64 + (value - x.start) / (x.end - x.start) * (columns.end - columns.start) as f64;
    let up = |value: f64| down.end as f64 - (value - y.start) / (y.end - y.start) * (down.end - down.start) as f64;
    if bottom && !across.numbers {
        for (value, place) in &across.values {
            drawn(low.draw(&Text::new(value.clone(), (at(*place) as i32, 4), style(12.0, INK, HPos::Center, VPos::Top))))?;
        }
        let middle = (columns.start + columns.end) / 2;
        drawn(low.draw(&Text::new(across.title.clone(), (middle, 24), style(13.0, INK, HPos::Center, VPos::Top))))?;
    }
    let mut svg = String::new();
    for (k, population_name) in populations.iter().enumerate() {
        let RGBColor(r, g, b) = colour(k);
        // Side by side, so that bars of like means are told apart.
        let shift = if alone { 0.0 } else { 5.0 * (k as f64 - (populations.len() - 1) as f64 / 2.0) };
        let mut line = vec![];
        for (value, place) in &across.values {
            let values = of(value, population_name);
            let Some(Spread { mean, sd }) = spread(values.iter().copied()) else { continue };
            let centre = at(*place) + shift;
            line.push((*place, mean));
            if let Some(sd) = sd {
                for each in &values {
                    let _ = writeln!(
                        svg,
                        "<circle cx=\"{centre:.1}\" cy=\"{:.1}\" r=\"1.8\" fill=\"#{r:02x}{g:02x}{b:02x}\" fill-opacity=\"0.45\"/>",
                        up(*each)
                    );
                }
                let (from, to) = (up((mean - sd).max(0.0)), up(mean + sd));
                let _ = writeln!(
                    svg,
                    "<path d=\"M{centre:.1} {from:.1}V{to:.1}M{:.1} {from:.1}h6M{:.1} {to:.1}h6\" fill=\"none\" stroke=\"#{r:02x}{g:02x}{b:02x}\" stroke-width=\"1.2\"/>",
                    centre - 3.0,
                    centre - 3.0
                );
            }
            let _ =
                writeln!(svg, "<circle cx=\"{centre:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>", up(mean));
        }
        if across.numbers {
            let shifted: Vec<(f64, f64)> = line
                .iter()
                .map(|(p, mean)| (p + shift / (columns.end - columns.start) as f64 * (x.end - x.start), *mean))
                .collect();
            svg += &curve(&chart, &x, &y, &shifted, colour(k));
        }
    }
    let mut left = (LEFT + MARGIN) as i32 + 2;
    let words = std::iter::once((heading, FAINT)).filter(|w| !w.0.is_empty());
    for (word, ink) in words.chain(populations.iter().enumerate().map(|(k, name)| (*name, colour(k)))) {
        drawn(area.draw(&Text::new(word.to_string(), (left, 6), style(12.5, ink, HPos::Left, VPos::Top))))?;
        left += word.chars().count() as i32 * 8 + 14;
    }
    Ok(svg)
}

/// The whole page.
pub(super) fn page(table: &Table, figures: &[Figure]) -> String {
    let mut body = String::new();
    figures.iter().for_each(|f| body += &format!("<figure>\n{}\n</figure>\n", inline(f)));
    body += "<h2>Means and standard deviations over seeds</h2>\n<div class=\"scroll\"><table>\n";
    for (k, row) in table.rows().iter().enumerate() {
        let tag = if k == 0 { "th" } else { "td" };
        let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        body += &format!("<tr>{cells}</tr>\n");
    }
    body += "</table></div>\n";
    let seeds = table.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let title = if table.title.is_empty() { &table.scenario } else { &table.title };
    document(title, &format!("{}; seeds {seeds}", table.scenario), &body)
}
