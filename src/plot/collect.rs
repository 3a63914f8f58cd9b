//! What the figures need, gathered from a recording in one pass over each population and in bounded memory. Knows no drawing.

use crate::engine::{Sink, Spike};
use crate::error::Result;
use crate::record::read::{Recording, Report};
use crate::record::summary::{Statistics, Summary};

/// Rows (neurons) of the raster over all populations, and spikes drawn.
const RASTER_ROWS: u64 = 2_400;
const RASTER_SPIKES: f64 = 50_000.0;
/// Inter-spike intervals kept for a histogram, and neurons they come from.
const INTERVALS: usize = 500_000;
const INTERVAL_NEURONS: u64 = 2_000;
/// Points of a rate curve, and of a trace (two a column: least and greatest).
const RATE_POINTS: usize = 600;
const TRACE_COLUMNS: usize = 900;
/// Traces in one panel, and the time (ms) up to which they are shown whole.
const TRACES: usize = 3;
const TRACE_WHOLE: f64 = 2_000.0;
const TRACE_PART: f64 = 1_000.0;

pub(super) struct Data {
    /// ms: what counts, after the warm-up.
    pub start: f64,
    pub stop: f64,
    pub statistics: Statistics,
    pub raster: Raster,
    pub rates: Vec<Curve>,
    pub intervals: Vec<Intervals>,
    pub traces: Vec<Traces>,
    pub weights: Vec<WeightChange>,
}

/// Spikes of evenly spaced neurons of each population, row upon row.
#[derive(Default)]
pub(super) struct Raster {
    /// ms
    pub start: f64,
    pub stop: f64,
    pub bands: Vec<Band>,
    /// (ms, row)
    pub spikes: Vec<(f64, u32)>,
}

pub(super) struct Band {
    /// Index of the population in the recording.
    pub population: usize,
    pub name: String,
    pub first: u32,
    pub rows: u32,
    pub n: u64,
    stride: u64,
}

pub(super) struct Curve {
    pub population: usize,
    pub name: String,
    pub bin: f64,
    /// (ms at the middle of the bin, Hz)
    pub points: Vec<(f64, f64)>,
}

pub(super) struct Intervals {
    pub population: usize,
    pub name: String,
    /// ms
    pub values: Vec<f64>,
    pub neurons: u64,
    pub n: u64,
}

pub(super) struct Traces {
    pub report: Report,
    pub start: f64,
    pub stop: f64,
    /// (local id, curve)
    pub curves: Vec<(u64, Vec<(f64, f64)>)>,
}

pub(super) struct WeightChange {
    pub projection: String,
    pub unit: String,
    /// ms
    pub first_time: f64,
    pub last_time: f64,
    pub first: Vec<f32>,
    pub last: Vec<f32>,
}

/// 1, 2 or 5 times a power of ten, at least `x`.
pub(super) fn round_up(x: f64) -> f64 {
    if !(x.is_finite() && x > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&v| v >= x * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

pub(super) fn collect(recording: &Recording) -> Result<Data> {
    let stop = recording.ending.until.max(recording.ending.start);
    let begin = recording.ending.start;
    let start = recording.info.warmup.max(begin);
    let start = if start < stop { start } else { begin };
    let mut raster = lay_out_raster(recording, start, stop)?;
    let recorded: Vec<_> =
        recording.populations.iter().map(|p| (p.name.clone(), p.recorded.unwrap_or(0) as u32, p.source)).collect();
    let mut summary = Summary::of(&recorded, start, stop);
    let mut intervals = Vec::new();
    let mut rates = Vec::new();
    let bin = round_up(((stop - begin) / RATE_POINTS as f64).max(recording.ending.dt).max(1.0));
    let mut first = 0u32;
    for (index, population) in recording.populations.iter().enumerate() {
        let Some(n) = population.recorded.filter(|&n| n > 0) else { continue };
        let band = raster.bands.iter().find(|b| b.population == index).map(|b| (b.first, b.rows as u64, b.stride));
        let stride = n.div_ceil(INTERVAL_NEURONS);
        let mut last = vec![f64::NAN; n.div_ceil(stride) as usize];
        let mut values: Vec<f64> = Vec::new();
        let mut counts = vec![0u64; ((stop - begin) / bin).ceil() as usize];
        let mut block: Vec<Spike> = Vec::new();
        let mut result = Ok(());
        recording.each_block(&population.name, |times, ids| {
            block.clear();
            for (&time, &id) in times.iter().zip(ids).filter(|&(_, &id)| id < n) {
                block.push(Spike { time, id: first + id as u32 });
                if let Some((row, rows, every)) = band {
                    if id % every == 0 && id / every < rows && time >= raster.start && time <= raster.stop {
                        raster.spikes.push((time, row + (id / every) as u32));
                    }
                }
                if let Some(count) = counts.get_mut(((time - begin) / bin - 1e-9).max(0.0) as usize) {
                    *count += 1;
                }
                if id % stride == 0 && time > start {
                    let before = std::mem::replace(&mut last[(id / stride) as usize], time);
                    if before.is_finite() && values.len() < INTERVALS {
                        values.push(time - before);
                    }
                }
            }
            if result.is_ok() {
                result = summary.spikes(&block);
            }
        })?;
        result?;
        let name = population.name.clone();
        let whole = ((stop - begin) / bin + 1e-9) as usize;
        let point = |(k, &c): (usize, &u64)| (begin + (k as f64 + 0.5) * bin, c as f64 * 1000.0 / (n as f64 * bin));
        rates.push(Curve {
            population: index,
            name: name.clone(),
            bin,
            points: counts[..whole].iter().enumerate().map(point).collect(),
        });
        intervals.push(Intervals { population: index, name, values, neurons: last.len() as u64, n });
        first += n as u32;
    }
    for series in recording.rates()? {
        let Some(population) = recording.populations.iter().position(|p| p.name == series.population) else { continue };
        let merged = series.rate.len().div_ceil(RATE_POINTS).max(1);
        let bin = series.bin * merged as f64;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let at = |k: usize| series.start + (k as f64 + 0.5) * bin;
        let points = series.rate.chunks_exact(merged).enumerate().map(|(k, part)| (at(k), mean(part))).collect();
        let curve = Curve { population, name: series.population.clone(), bin, points };
        match rates.iter_mut().find(|c| c.population == population) {
            Some(old) => *old = curve,
            None => rates.push(curve),
        }
    }
    rates.sort_by_key(|c| c.population);
    let traces = recording.reports()?.into_iter().map(|r| read_traces(recording, r, start)).collect::<Result<Vec<_>>>()?;
    let weights = read_weights(recording)?;
    Ok(Data { start, stop, statistics: summary.finish(), raster, rates, intervals, traces, weights })
}

/// Chooses neurons and a stretch of time so that the raster stays legible and small.
fn lay_out_raster(recording: &Recording, start: f64, stop: f64) -> Result<Raster> {
    let shown = || recording.populations.iter().enumerate().filter_map(|(i, p)| Some((i, p, p.recorded.filter(|&n| n > 0)?)));
    let total: u64 = shown().map(|(.., n)| n).sum();
    let (mut bands, mut first, mut expected) = (Vec::new(), 0, 0.0);
    for (population, of, n) in shown() {
        let share = if total <= RASTER_ROWS { n } else { (n * RASTER_ROWS / total).clamp(8.min(n), n) };
        let stride = n.div_ceil(share);
        let rows = n.div_ceil(stride) as u32;
        expected += recording.spike_count(&of.name)? as f64 * rows as f64 / n as f64;
        bands.push(Band { population, name: of.name.clone(), first, rows, n, stride });
        first += rows;
    }
    let all = stop - recording.ending.start;
    let fits = (RASTER_SPIKES / expected.max(1.0)).min(1.0) * all.max(0.0);
    let stop = if fits < stop - start { start + floor_nice(fits) } else { stop };
    Ok(Raster { start, stop, bands, spikes: Vec::new() })
}

/// 1, 2 or 5 times a power of ten, at most `x`.
fn floor_nice(x: f64) -> f64 {
    let up = round_up(x);
    if up <= x {
        up
    } else {
        [up / 2.0, up / 2.5, up / 5.0].into_iter().find(|&v| v <= x && round_up(v) <= v * 1.001).unwrap_or(up / 5.0)
    }
}

/// Curves of the first few neurons of a report; where there are more samples than columns, least and greatest of each column.
fn read_traces(recording: &Recording, report: Report, from: f64) -> Result<Traces> {
    let end = report.start + report.rows as f64 * report.interval;
    let (start, stop) =
        if end - report.start <= TRACE_WHOLE { (report.start, end) } else { (from, (from + TRACE_PART).min(end)) };
    let row = |time: f64| (((time - report.start) / report.interval).max(0.0) as usize).min(report.rows);
    let (low, high) = (row(start), row(stop));
    let columns = (0..report.ids.len().min(TRACES)).collect::<Vec<_>>();
    let width = report.ids.len().max(1);
    let per_column = (high - low).div_ceil(TRACE_COLUMNS).max(1);
    let mut curves: Vec<(u64, Vec<(f64, f64)>)> = columns.iter().map(|&c| (report.ids[c], Vec::new())).collect();
    let step = ((1 << 22) / width / per_column).max(1) * per_column;
    for at in (low..high).step_by(step) {
        let until = (at + step).min(high);
        let values = recording.report_rows(&report, at..until)?;
        for (&c, (_, curve)) in columns.iter().zip(&mut curves) {
            let sample = |k: usize| (report.start + k as f64 * report.interval, values[(k - at) * width + c] as f64);
            for from in (at..until).step_by(per_column) {
                let part = (from..(from + per_column).min(until)).map(sample);
                match per_column {
                    1 | 2 => curve.extend(part),
                    _ => {
                        let least = part.clone().min_by(|a, b| a.1.total_cmp(&b.1));
                        let greatest = part.max_by(|a, b| a.1.total_cmp(&b.1));
                        let mut both: Vec<_> = least.into_iter().chain(greatest).collect();
                        both.sort_by(|a, b| a.0.total_cmp(&b.0));
                        curve.extend(both);
                    }
                }
            }
        }
    }
    Ok(Traces { report, start, stop, curves })
}

fn read_weights(recording: &Recording) -> Result<Vec<WeightChange>> {
    let mut changes = Vec::new();
    for series in recording.weights()? {
        let (Some(&first_time), Some(&last_time)) = (series.times.first(), series.times.last()) else { continue };
        let first = recording.weight_row(&series, 0)?;
        let last = recording.weight_row(&series, series.times.len() - 1)?;
        changes.push(WeightChange { projection: series.projection, unit: series.unit, first_time, last_time, first, last });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        for (x, up, down) in
            [(1.0, 1.0, 1.0), (1.2, 2.0, 1.0), (3.0, 5.0, 2.0), (7.0, 10.0, 5.0), (480.0, 500.0, 200.0), (0.03, 0.05, 0.02)]
        {
            assert!((round_up(x) - up).abs() < 1e-9 * up, "{x} {}", round_up(x));
            assert!((floor_nice(x) - down).abs() < 1e-9 * down, "{x} {}", floor_nice(x));
        }
        assert_eq!(round_up(f64::NAN), 1.0);
    }
}
