//! What the figures need, gathered from a recording in one pass over each population and in bounded memory. Knows no drawing.

use super::Options;
use crate::engine::{Sink, Spike};
use crate::error::{Error, Result, nearest};
use crate::network::SpikeRecord;
use crate::record::read::{PopulationInfo, Recording, Report, SignalSeries, WeightSeries};
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
/// Spikes marked on the traces of a population.
const MARKS: usize = 20_000;
/// Bins of a rate curve at most, where their width is asked for.
const MOST_BINS: f64 = 20_000.0;
/// Readings of a projection's weights in a course, weights read for it in all, synapses that quantiles are taken of, and synapses shown
/// by themselves.
const COURSE_POINTS: usize = 200;
const COURSE_VALUES: usize = 300_000_000;
const COURSE_SAMPLE: usize = 10_000;
const COURSE_SINGLE: usize = 4;
/// Points of the course of a signal.
const SIGNAL_POINTS: usize = 900;

pub(super) struct Data {
    /// ms: what is shown begins here.
    pub begin: f64,
    /// ms: what counts, after the warm-up.
    pub start: f64,
    pub stop: f64,
    pub statistics: Statistics,
    pub raster: Raster,
    pub rates: Vec<Curve>,
    pub intervals: Vec<Intervals>,
    pub traces: Vec<Traces>,
    pub weights: Vec<WeightChange>,
    pub courses: Vec<Course>,
    pub signals: Vec<(String, Vec<(f64, f64)>)>,
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
    /// (ms at the middle of the bin, Hz), without gaps
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
    /// (curve, ms): the spikes of these neurons, where they are recorded.
    pub spikes: Vec<(usize, f64)>,
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

/// The weights of a projection over time.
pub(super) struct Course {
    pub projection: String,
    pub unit: String,
    pub synapses: usize,
    /// (ms, mean)
    pub mean: Vec<(f64, f64)>,
    /// (ms, tenth and ninetieth percentile)
    pub range: Vec<(f64, f64, f64)>,
    pub single: Vec<Vec<(f64, f64)>>,
}

/// 1, 2 or 5 times a power of ten, at least `x`.
pub(super) fn round_up(x: f64) -> f64 {
    if !(x.is_finite() && x > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(x.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&v| v >= x * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

pub(super) fn collect(recording: &Recording, options: &Options) -> Result<Data> {
    let (begin, stop) = window(recording, options)?;
    let start = recording.info.warmup.max(begin);
    let start = if start < stop { start } else { begin };
    let chosen = |name: &str| options.populations.is_empty() || options.populations.iter().any(|p| p == name);
    let mut raster = lay_out_raster(recording, &chosen, begin, start, stop)?;
    let none = SpikeRecord::first(0);
    let shown = |p: &'_ PopulationInfo| p.recorded.clone().filter(|_| chosen(&p.name)).unwrap_or(none.clone());
    let recorded = recording.populations.iter().map(|p| (p, shown(p)));
    let recorded: Vec<_> = recorded.map(|(p, of)| (p.name.clone(), of.neurons.count(), p.source, of.window)).collect();
    let reports: Vec<Report> = recording.reports()?.into_iter().filter(|r| chosen(&r.population)).collect();
    let mut summary = Summary::of(&recorded, start, stop);
    let mut intervals = Vec::new();
    let mut rates = Vec::new();
    let bin = options.bin.unwrap_or(round_up(((stop - begin) / RATE_POINTS as f64).max(recording.ending.dt).max(1.0)));
    let mut marks: Vec<Vec<(u64, f64)>> = vec![vec![]; recording.populations.len()];
    let mut first = 0u32;
    for (index, population) in recording.populations.iter().enumerate() {
        let of = shown(population);
        let n = u64::from(of.neurons.count());
        if n == 0 {
            continue;
        }
        let traced = reports.iter().filter(|r| r.population == population.name);
        let mut traced: Vec<u64> = traced.flat_map(|r| r.ids.iter().take(TRACES).copied()).collect();
        traced.sort_unstable();
        traced.dedup();
        let marked = &mut marks[index];
        let band = raster.bands.iter().find(|b| b.population == index).map(|b| (b.first, b.rows as u64, b.stride));
        let stride = n.div_ceil(INTERVAL_NEURONS);
        let mut last = vec![f64::NAN; n.div_ceil(stride) as usize];
        let mut values: Vec<f64> = Vec::new();
        let mut counts = vec![0u64; ((stop - begin) / bin).ceil() as usize];
        let mut block: Vec<Spike> = Vec::new();
        let mut result = Ok(());
        recording.each_block(&population.name, |times, ids| {
            block.clear();
            for (&time, &own) in times.iter().zip(ids) {
                // Neurons count among those that are recorded.
                let Some(id) = u32::try_from(own).ok().and_then(|own| of.neurons.rank(own)).map(u64::from) else { continue };
                block.push(Spike { time, id: first + id as u32 });
                if let Some((row, rows, every)) = band {
                    if id % every == 0 && id / every < rows && time >= raster.start && time <= raster.stop {
                        raster.spikes.push((time, row + (id / every) as u32));
                    }
                }
                if time < begin - 1e-9 || time > stop + 1e-9 {
                    continue;
                }
                if let Some(count) = counts.get_mut(((time - begin) / bin - 1e-9).max(0.0) as usize) {
                    *count += 1;
                }
                if marked.len() < MARKS && traced.binary_search(&own).is_ok() {
                    marked.push((own, time));
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
        // Bins that lie within what is recorded.
        let known =
            |k: usize| of.window.start < begin + k as f64 * bin + 1e-9 && begin + (k + 1) as f64 * bin < of.window.stop + 1e-9;
        let point = |(k, &c): (usize, &u64)| (begin + (k as f64 + 0.5) * bin, c as f64 * 1000.0 / (n as f64 * bin));
        rates.push(Curve {
            population: index,
            name: name.clone(),
            bin,
            points: counts[..whole].iter().enumerate().filter(|(k, _)| known(*k)).map(point).collect(),
        });
        intervals.push(Intervals { population: index, name, values, neurons: last.len() as u64, n });
        first += n as u32;
    }
    for series in recording.rates()? {
        let Some(population) = recording.populations.iter().position(|p| p.name == series.population) else { continue };
        // Bins of another width than those that were recorded come of the spikes.
        if !chosen(&series.population) || options.bin.is_some() && rates.iter().any(|c| c.population == population) {
            continue;
        }
        let skipped = (((begin - series.start) / series.bin).ceil().max(0.0) as usize).min(series.rate.len());
        let until = (((stop - series.start) / series.bin + 1e-9).max(0.0) as usize).clamp(skipped, series.rate.len());
        let kept = &series.rate[skipped..until];
        let wanted = options.bin.map(|bin| (bin / series.bin).round() as usize);
        let merged = wanted.unwrap_or(kept.len().div_ceil(RATE_POINTS)).max(1);
        let bin = series.bin * merged as f64;
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let at = |k: usize| series.start + skipped as f64 * series.bin + (k as f64 + 0.5) * bin;
        let points = kept.chunks_exact(merged).enumerate().map(|(k, part)| (at(k), mean(part))).collect();
        let curve = Curve { population, name: series.population.clone(), bin, points };
        match rates.iter_mut().find(|c| c.population == population) {
            Some(old) => *old = curve,
            None => rates.push(curve),
        }
    }
    rates.sort_by_key(|c| c.population);
    let (mut traces, all) = (vec![], (begin, stop));
    for report in reports {
        let index = recording.populations.iter().position(|p| p.name == report.population);
        let whole = options.from.is_some() || options.to.is_some();
        let own = index.map_or(&[][..], |i| &marks[i]);
        traces.extend(read_traces(
            recording,
            report,
            if whole { (begin, begin, stop) } else { (begin, start, f64::INFINITY) },
            own,
        )?);
    }
    let (mut weights, mut courses) = (vec![], vec![]);
    for series in recording.weights()? {
        if chosen(&series.source_population) || chosen(&series.target_population) {
            courses.extend(read_course(recording, &series, all)?);
            weights.extend(read_weights(recording, series)?);
        }
    }
    let signals = recording.signals()?;
    let signals = signals.iter().map(|s| (s.name.clone(), read_signal(s, all))).collect();
    Ok(Data { begin, start, stop, statistics: summary.finish(), raster, rates, intervals, traces, weights, courses, signals })
}

/// The time that is asked for, as far as the recording reaches.
fn window(recording: &Recording, options: &Options) -> Result<(f64, f64)> {
    let (first, last) = (recording.ending.start, recording.ending.until.max(recording.ending.start));
    let (begin, stop) = (options.from.unwrap_or(first).max(first), options.to.unwrap_or(last).min(last));
    if (options.from.is_some() || options.to.is_some()) && begin >= stop {
        let asked = |t: Option<f64>, other: f64| t.unwrap_or(other);
        let message = format!("nothing is recorded from {} to {} ms", asked(options.from, first), asked(options.to, last));
        return Err(Error::input(message, format!("the recording reaches from {first} to {last} ms")));
    }
    for name in &options.populations {
        if recording.population(name).is_none() {
            let names: Vec<&str> = recording.populations.iter().map(|p| p.name.as_str()).collect();
            let near = nearest(name, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let remedy = near.unwrap_or_else(|| format!("there are {}", names.join(", ")));
            return Err(Error::input(format!("there is no population `{name}` in the recording"), remedy));
        }
    }
    if let Some(bin) = options.bin {
        let least = recording.ending.dt.max((stop - begin) / MOST_BINS);
        if !(bin.is_finite() && bin >= least * (1.0 - 1e-9)) || bin > (stop - begin).max(least) {
            let message = format!("bins of {bin} ms do not fit what is shown, from {begin} to {stop} ms");
            return Err(Error::input(message, format!("give --bin from {least} to {} ms", (stop - begin).max(least))));
        }
    }
    Ok((begin, stop))
}

/// Chooses neurons and a stretch of time so that the raster stays legible and small: all of it, or from the end of the warm-up on.
fn lay_out_raster(recording: &Recording, chosen: &dyn Fn(&str) -> bool, begin: f64, start: f64, stop: f64) -> Result<Raster> {
    let shown = || {
        let all = recording.populations.iter().enumerate().filter(|(_, p)| chosen(&p.name));
        all.filter_map(|(i, p)| Some((i, p, p.recorded.as_ref().map(|r| r.neurons.count().into()).filter(|&n: &u64| n > 0)?)))
    };
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
    let start = if fits >= stop - begin { begin } else { start };
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
/// (begin, from, until): all of it from `begin` on where that is short, else a part of it from `from` on, or all up to `until`. None where
/// there is nothing in that time.
fn read_traces(
    recording: &Recording,
    report: Report,
    (begin, from, until): (f64, f64, f64),
    marks: &[(u64, f64)],
) -> Result<Option<Traces>> {
    let end = report.start + report.rows as f64 * report.interval;
    let first = report.start.max(begin);
    let (start, stop) = match until.is_finite() {
        true => (first, until.min(end)),
        false if end - first <= TRACE_WHOLE => (first, end),
        false => (from, (from + TRACE_PART).min(end)),
    };
    if stop <= start {
        return Ok(None);
    }
    // The samples from `start` to `stop`, both included.
    let row = |time: f64| (time - report.start) / report.interval;
    let low = (row(start) - 1e-6).ceil().max(0.0) as usize;
    let high = (((row(stop) + 1e-6).floor() + 1.0).max(0.0) as usize).min(report.rows);
    let low = low.min(high);
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
    let curve_of = |id: u64| curves.iter().position(|c| c.0 == id);
    let spikes = marks.iter().filter(|m| (start..=stop).contains(&m.1)).filter_map(|m| Some((curve_of(m.0)?, m.1))).collect();
    Ok(Some(Traces { report, start, stop, curves, spikes }))
}

fn read_weights(recording: &Recording, series: WeightSeries) -> Result<Option<WeightChange>> {
    let (Some(&first_time), Some(&last_time)) = (series.times.first(), series.times.last()) else { return Ok(None) };
    let first = recording.weight_row(&series, 0)?;
    let last = recording.weight_row(&series, series.times.len() - 1)?;
    Ok(Some(WeightChange { projection: series.projection, unit: series.unit, first_time, last_time, first, last }))
}

/// The weights of a projection over time, of so many readings as are soon read; None of fewer than three.
fn read_course(recording: &Recording, series: &WeightSeries, (begin, stop): (f64, f64)) -> Result<Option<Course>> {
    let within = |t: &f64| *t >= begin - 1e-9 && *t <= stop + 1e-9;
    let rows: Vec<usize> = (0..series.times.len()).filter(|&k| within(&series.times[k])).collect();
    if rows.len() < 3 || series.edges == 0 {
        return Ok(None);
    }
    let most = (COURSE_VALUES / series.edges).clamp(3, COURSE_POINTS).min(rows.len());
    let mut course = Course {
        projection: series.projection.clone(),
        unit: series.unit.clone(),
        synapses: series.edges,
        mean: vec![],
        range: vec![],
        single: vec![vec![]; COURSE_SINGLE.min(series.edges)],
    };
    for k in 0..most {
        let row = rows[k * (rows.len() - 1) / (most - 1)];
        let (time, values) = (series.times[row], recording.weight_row(series, row)?);
        let finite = || values.iter().filter(|w| w.is_finite()).map(|&w| w as f64);
        course.mean.push((time, finite().sum::<f64>() / finite().count().max(1) as f64));
        let mut sample: Vec<f64> = finite().step_by(values.len().div_ceil(COURSE_SAMPLE).max(1)).collect();
        sample.sort_by(f64::total_cmp);
        let quantile = |q: f64| sample.get(((sample.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN);
        course.range.push((time, quantile(0.1), quantile(0.9)));
        let stride = values.len() / course.single.len();
        course.single.iter_mut().enumerate().for_each(|(i, curve)| curve.push((time, values[i * stride] as f64)));
    }
    Ok(Some(course))
}

/// The course of a signal, which decays between its jumps.
fn read_signal(signal: &SignalSeries, (begin, stop): (f64, f64)) -> Vec<(f64, f64)> {
    let (mut level, mut at, mut jumps) = (signal.initial, 0.0, signal.jumps.iter().copied().peekable());
    let mut course = vec![];
    let mut until = |time: f64, course: &mut Vec<(f64, f64)>, few: bool| {
        while let Some((jump, amount)) = jumps.next_if(|j| j.0 <= time) {
            level *= (-(jump - at) / signal.tau).exp();
            if few && jump >= begin {
                course.push((jump, level));
            }
            (level, at) = (level + amount, jump);
            if few && jump >= begin {
                course.push((jump, level));
            }
        }
        course.push((time, level * (-(time - at) / signal.tau).exp()));
    };
    let few = signal.jumps.len() < SIGNAL_POINTS;
    for k in 0..=SIGNAL_POINTS {
        until(begin + (stop - begin) * k as f64 / SIGNAL_POINTS as f64, &mut course, few);
    }
    course
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
