//! Figures of a recording: raster, rates, traces, intervals, weights, as SVG and PNG, and a report in one HTML file that needs
//! nothing else. Promises files that stay small whatever the length of the recording (what is left out is said in the figure)
//! and that nothing is overwritten unasked. Knows recordings only through `record::read`, protocols only as their results.

mod collect;
mod digits;
#[cfg(feature = "llm")]
mod eval;
mod figures;
mod html;
mod pdf;
mod protocol;
mod suite;
mod sweep;

use crate::error::{Error, Result};
use crate::io::output;
use crate::protocol::results::Results;
use crate::record::read::Recording;
use rayon::prelude::*;
use resvg::{tiny_skia, usvg};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The fonts named in every figure. The first is built in (a subset) and used for PNG.
pub(crate) const FONT: &str = "DejaVu Sans, sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

/// What is drawn of a recording, and how. By default all of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ms; nothing before it is shown or counted.
    pub from: Option<f64>,
    /// ms; nothing after it.
    pub to: Option<f64>,
    /// Width of the bins of the rates, ms.
    pub bin: Option<f64>,
    /// By name; all where empty.
    pub populations: Vec<String>,
    /// SVG and PNG where empty.
    pub formats: Vec<Format>,
    /// Replaces existing files.
    pub force: bool,
}

/// A kind of picture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text as text.
    Svg,
    /// Two pixels to the unit.
    Png,
    /// Text as outlines.
    Pdf,
}

impl std::str::FromStr for Format {
    type Err = Error;
    fn from_str(word: &str) -> Result<Format> {
        match word {
            "svg" => Ok(Format::Svg),
            "png" => Ok(Format::Png),
            "pdf" => Ok(Format::Pdf),
            _ => Err(Error::input(format!("pictures cannot be written as `{word}`"), "give svg, png or pdf")),
        }
    }
}

/// One drawing.
pub struct Figure {
    /// Ends the file name: "raster", "rates", "traces", "isi", "weights" or "courses".
    pub name: &'static str,
    /// Heading of the drawing.
    pub title: String,
    /// What is shown and what was left out.
    pub note: String,
    /// On white, text as text.
    pub svg: String,
}

/// Draws every figure that the recording has data for.
///
/// # Errors
/// A recording that cannot be read; a time or population that it does not hold.
pub fn figures(recording: &Recording, options: &Options) -> Result<Vec<Figure>> {
    let data = collect::collect(recording, options)?;
    figures::all(recording, &data)
}

/// Draws a recording into `folder` (beside the recording when None): `<name>_<figure>.svg`, `.png` and `<name>.html`. Gives the
/// files written.
///
/// # Errors
/// A recording that cannot be read; a time or population that it does not hold; a file that exists already without `force`; a folder
/// that cannot be written.
pub fn report(file: &Path, folder: Option<&Path>, options: &Options) -> Result<Vec<PathBuf>> {
    let recording = Recording::open(file)?;
    let folder = folder.map_or_else(|| file.parent().unwrap_or(Path::new("")).to_path_buf(), Path::to_path_buf);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let data = collect::collect(&recording, options)?;
    let figures = figures::all(&recording, &data)?;
    let page = (format!("{stem}.html"), html::page(&recording, &data, &figures));
    write(&folder, &format!("{stem}_"), &figures, page, &options.formats, options.force)
}

/// The file of the page in a folder of its own.
const PAGE: &str = "index.html";

/// The files that [`protocol`] may write into a folder.
pub fn protocol_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    files(folder, &["matrix", "accuracy", "learning"])
}

/// The files that [`digits`] may write into a folder.
pub fn digits_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    files(folder, &["fields", "learning", "confusion"])
}

/// The files that [`eval`] may write into a folder.
#[cfg(feature = "llm")]
pub fn eval_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    files(folder, &["scores", "sequence"])
}

fn files(folder: &Path, figures: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    let names = figures.iter().flat_map(|name| ["svg", "png"].map(|end| format!("{name}.{end}")));
    names.chain([PAGE.to_string()]).map(|name| folder.join(name)).collect::<Vec<_>>().into_iter()
}

/// Draws what came out of a protocol into its folder, in place of earlier figures: `matrix.svg`, `accuracy.svg`, `learning.svg`
/// (those that there are results for), their `.png` and `index.html`. Gives the files written.
///
/// # Errors
/// A folder that cannot be written.
pub fn protocol(folder: &Path, results: &Results) -> Result<Vec<PathBuf>> {
    let figures = protocol::figures(results)?;
    let page = (PAGE.to_string(), protocol::page(results, &figures));
    write(folder, "", &figures, page, &[], true)
}

/// The files that [`suite`] may write into a folder.
pub fn suite_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    files(folder, &["kept", "spikes"])
}

/// Draws what came out of several protocols with the same methods into a folder, in place of earlier figures: `kept` and `spikes`, each
/// `.svg` and `.png`, and `index.html`, which leads to the pages of the parts. Gives the files written.
///
/// # Errors
/// A folder that cannot be written.
pub fn suite(folder: &Path, title: &str, citation: &str, parts: &[(String, Results)]) -> Result<Vec<PathBuf>> {
    let figures = suite::figures(parts)?;
    let page = (PAGE.to_string(), suite::page(title, citation, parts, &figures));
    write(folder, "", &figures, page, &[], true)
}

/// Draws what came out of digits learned without labels into its folder, in place of earlier figures: `fields`, `learning` and
/// `confusion`, each `.svg` and `.png`, and `index.html`. Gives the files written.
///
/// # Errors
/// A folder that cannot be written.
pub fn digits(folder: &Path, results: &crate::protocol::diehl_cook::Results) -> Result<Vec<PathBuf>> {
    let figures = digits::figures(results)?;
    let page = (PAGE.to_string(), digits::page(results, &figures));
    write(folder, "", &figures, page, &[], true)
}

/// Draws what evaluations gave into a folder: `scores` and `sequence`, each `.svg` and `.png`, and `index.html`. Gives the files
/// written.
///
/// # Errors
/// A file that exists already without `force`; a folder that cannot be written.
#[cfg(feature = "llm")]
pub fn eval(folder: &Path, report: &crate::eval::report::Report, force: bool) -> Result<Vec<PathBuf>> {
    let figures = eval::figures(report)?;
    let page = (PAGE.to_string(), eval::page(report, &figures));
    write(folder, "", &figures, page, &[], force)
}

/// Draws what came of a sweep into its folder, in place of earlier figures: `sweep_rate`, `sweep_cv_isi` and `sweep_synchrony`, each
/// `.svg` and `.png`, and `sweep.html`. Gives the files written.
///
/// # Errors
/// A folder that cannot be written.
pub fn sweep(folder: &Path, table: &crate::sweep::Table) -> Result<Vec<PathBuf>> {
    let figures = sweep::figures(table)?;
    let page = ("sweep.html".to_string(), sweep::page(table, &figures));
    write(folder, "sweep_", &figures, page, &[], true)
}

/// Write figures, their names behind a prefix, and a page (name, text) into a folder.
fn write(
    folder: &Path,
    prefix: &str,
    figures: &[Figure],
    page: (String, String),
    formats: &[Format],
    force: bool,
) -> Result<Vec<PathBuf>> {
    let formats = if formats.is_empty() { &[Format::Svg, Format::Png] } else { formats };
    let pictures: Vec<(&Figure, Format)> = figures.iter().flat_map(|f| formats.iter().map(move |format| (f, *format))).collect();
    let picture = |(figure, format): &(&Figure, Format)| {
        let (ending, bytes) = match format {
            Format::Svg => ("svg", figure.svg.clone().into_bytes()),
            Format::Png => ("png", png(&figure.svg, 2.0)?),
            Format::Pdf => ("pdf", pdf::pdf(&tree(&figure.svg)?)),
        };
        Ok((folder.join(format!("{prefix}{}.{ending}", figure.name)), bytes))
    };
    let mut files: Vec<(PathBuf, Vec<u8>)> = pictures.par_iter().map(picture).collect::<Result<_>>()?;
    files.push((folder.join(page.0), page.1.into_bytes()));
    files.iter().try_for_each(|(path, _)| output::check(path, force))?;
    files.iter().try_for_each(|(path, bytes)| output::write(path, bytes, force))?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The built-in font as a database.
fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(FONT_FILE.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}

fn failed(what: String) -> Error {
    Error::Run { message: format!("a figure cannot be drawn: {what}"), remedy: "please report it".into() }
}

/// A figure read, with its text in outlines of the built-in font.
fn tree(svg: &str) -> Result<usvg::Tree> {
    let options = usvg::Options { fontdb: fonts(), ..Default::default() };
    usvg::Tree::from_str(svg, &options).map_err(|e| failed(e.to_string()))
}

/// Rasterises a figure, `scale` pixels to the unit.
fn png(svg: &str, scale: f32) -> Result<Vec<u8>> {
    let tree = tree(svg)?;
    let size = tree.size();
    let (width, height) = ((size.width() * scale).ceil() as u32, (size.height() * scale).ceil() as u32);
    let mut pixels = tiny_skia::Pixmap::new(width, height).ok_or_else(|| failed("it is too large".into()))?;
    pixels.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Counters, Sink, Spike};
    use crate::network::{Network, Probe, Window};
    use crate::record::Recorder;
    use crate::record::tests::{info, network, projection};
    use crate::rng::{Purpose, Stream, key};

    /// Poisson trains of a rate (Hz) for each population, to 0.1 ms, in order.
    fn poisson(net: &Network, rates: &[f64], stop: f64) -> Vec<Spike> {
        let mut spikes = Vec::new();
        for (population, rate) in net.populations.iter().zip(rates) {
            for id in population.first..population.first + population.n {
                let mut stream = Stream::new(key(3, 0), Purpose::PoissonSource, id, 0);
                let mut time = 0.0;
                loop {
                    time -= stream.uniform().ln() * 1000.0 / rate;
                    if time > stop {
                        break;
                    }
                    spikes.push(Spike { time: (time * 10.0).ceil() / 10.0, id });
                }
            }
        }
        spikes.sort_by(|a, b| a.time.total_cmp(&b.time).then(a.id.cmp(&b.id)));
        spikes
    }

    fn names(files: &[PathBuf]) -> Vec<String> {
        files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Everything at once: a large network, traces, weights, rates.
    fn large(path: &Path) {
        let sizes = [
            ("L23E", 20683),
            ("L23I", 5834),
            ("L4E", 21915),
            ("L4I", 5479),
            ("L5E", 4850),
            ("L5I", 1065),
            ("L6E", 14395),
            ("L6I", 2948),
        ];
        let mut net = network(&sizes);
        net.projections = vec![projection("L23E_L23I", 0, 1), projection("L4E_L4I", 2, 3), projection("L5E_L5I", 4, 5)];
        net.probes = vec![
            Probe::State {
                population: 0,
                variables: vec!["V_m".into(), "I_syn_ex".into()],
                neurons: (0..6).collect(),
                interval: 0.1,
                window: Window::ALWAYS,
            },
            Probe::Rate { population: 2, bin: 5.0, window: Window::ALWAYS },
            Probe::Weights { projection: 0, states: vec![], interval: None, window: Window::ALWAYS },
            Probe::Weights { projection: 1, states: vec![], interval: None, window: Window::ALWAYS },
            Probe::Weights { projection: 2, states: vec![], interval: None, window: Window::ALWAYS },
        ];
        let mut run = info();
        (run.duration, run.warmup) = (2000.0, 500.0);
        let mut recorder = Recorder::create(path, &net, &run, false).unwrap();
        let mut stream = Stream::new(key(4, 0), Purpose::Weight, 0, 0);
        for (p, change) in [0.0f32, 20.0, 60.0].into_iter().enumerate() {
            let first: Vec<(u32, u32, f32)> =
                (0..5000).map(|k| (k % 900, 21_000 + k % 7, 87.8 + 8.8 * stream.normal() as f32)).collect();
            recorder.weights(p, 0.0, &first, &[]).unwrap();
            if change > 0.0 {
                let last: Vec<_> = first.iter().map(|e| (e.0, e.1, e.2 + change * stream.uniform() as f32)).collect();
                recorder.weights(p, 2500.0, &last, &[]).unwrap();
            }
        }
        let rates = [0.86, 2.8, 4.4, 5.8, 7.6, 8.6, 1.1, 7.8];
        let spikes = poisson(&net, &rates, 2500.0);
        for part in spikes.chunks(4096) {
            recorder.spikes(part).unwrap();
        }
        for step in 1..=25_000 {
            let t = step as f64 * 0.1;
            let v = |k: usize| (-58.0 + 4.0 * (t / (7.0 + k as f64)).sin() + 2.0 * (t / 1.7).cos()) as f32;
            let i = |k: usize| (300.0 + 40.0 * (t / 11.0 + k as f64).sin()) as f32;
            let row: Vec<f32> = (0..6).map(v).chain((0..6).map(i)).collect();
            recorder.sample(0, t, &row).unwrap();
        }
        let counters = Counters {
            spikes: spikes.len() as u64,
            synaptic_events: 1_234_567_890,
            synapses: 298_880_941,
            synapse_bytes: 1_195_523_764,
            ..Default::default()
        };
        recorder.finish(true, &counters, 61.2).unwrap();
    }

    /// Two neurons and a trace, as a first scenario has it.
    fn small(path: &Path) {
        let mut net = network(&[("pre", 1), ("post", 1)]);
        net.probes = vec![Probe::State {
            population: 1,
            variables: vec!["V_m".into()],
            neurons: vec![0],
            interval: 0.1,
            window: Window::ALWAYS,
        }];
        let mut run = info();
        (run.duration, run.warmup) = (200.0, 0.0);
        let mut recorder = Recorder::create(path, &net, &run, false).unwrap();
        for step in 1..=2000u32 {
            let t = step as f64 * 0.1;
            if step % 150 == 0 {
                recorder.spikes(&[Spike { time: t, id: 0 }]).unwrap();
            }
            if step % 370 == 0 {
                recorder.spikes(&[Spike { time: t, id: 1 }]).unwrap();
            }
            recorder.sample(0, t, &[-70.0 + 15.0 * (1.0 - (-((step % 370) as f64) / 150.0).exp()) as f32]).unwrap();
        }
        recorder.finish(true, &Counters::default(), 0.1).unwrap();
    }

    #[test]
    fn a_large_recording_gives_small_figures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        large(&path);
        let out = dir.path().join("figures");
        let files = report(&path, Some(&out), &Options::default()).unwrap();
        let expected =
            ["raster", "rates", "traces", "isi", "weights"].iter().flat_map(|f| [format!("run_{f}.svg"), format!("run_{f}.png")]);
        assert_eq!(names(&files), expected.chain(["run.html".to_string()]).collect::<Vec<_>>());
        for file in &files {
            let bytes = std::fs::read(file).unwrap();
            assert!(bytes.len() < 3_000_000 && bytes.len() > 1000, "{} has {} bytes", file.display(), bytes.len());
            match file.extension().unwrap().to_str().unwrap() {
                "svg" => {
                    let text = String::from_utf8(bytes).unwrap();
                    usvg::roxmltree::Document::parse(&text).unwrap();
                    assert!(text.contains("<text") && text.contains(FONT));
                }
                "png" => assert_eq!(&bytes[1..4], b"PNG"),
                _ => {
                    let text = String::from_utf8(bytes).unwrap();
                    // Self-contained: the only address is the name of SVG's namespace.
                    assert_eq!(text.matches("http").count(), text.matches("http://www.w3.org/2000/svg").count());
                    assert_eq!(text.matches("<svg ").count(), 5);
                    assert!(!text.contains("src=") && !text.contains("@import") && !text.contains("#222222"));
                    assert!(text.contains("A test, with ümlauts") && text.contains("duration = 100"));
                }
            }
        }
        let drawn = figures(&Recording::open(&path).unwrap(), &Options::default()).unwrap();
        assert!(drawn[0].note.contains("of 77\u{a0}169 neurons"), "{}", drawn[0].note);
        let error = report(&path, Some(&out), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("exists already") && error.remedy().unwrap().contains("--force"));
        report(&path, Some(&out), &Options { force: true, ..Options::default() }).unwrap();
    }

    #[test]
    fn a_small_recording_is_shown_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.h5");
        small(&path);
        let files = report(&path, None, &Options::default()).unwrap();
        assert!(files.iter().all(|f| f.parent() == Some(dir.path())));
        let recording = Recording::open(&path).unwrap();
        let data = collect::collect(&recording, &Options::default()).unwrap();
        assert_eq!(data.raster.spikes.len(), 2000 / 150 + 2000 / 370);
        assert!(data.raster.spikes.iter().filter(|s| s.1 == 1).map(|s| s.0).eq((1..=5).map(|k| (370 * k) as f64 * 0.1)));
        let curve = &data.traces[0].curves[0].1;
        let extreme = |f: fn(f64, f64) -> f64, from: f64| curve.iter().map(|p| p.1).fold(from, f);
        assert!(curve.len() <= 1800 && curve.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(extreme(f64::min, 0.0), -70.0);
        assert!((extreme(f64::max, -100.0) - (-70.0 + 15.0 * (1.0 - (-369.0f64 / 150.0).exp()))).abs() < 1e-4);
        assert!(data.intervals[0].values.iter().all(|i| (i - 15.0).abs() < 1e-6));
        assert_eq!(data.rates[0].points.iter().map(|p| p.1 * data.rates[0].bin / 1000.0).sum::<f64>().round(), 13.0);
    }

    #[test]
    fn a_window_populations_bins_and_formats_are_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.h5");
        small(&path);
        let recording = Recording::open(&path).unwrap();
        let options = Options {
            from: Some(50.0),
            to: Some(150.0),
            bin: Some(20.0),
            populations: vec!["post".into()],
            formats: vec![Format::Pdf, Format::Svg],
            force: false,
        };
        let data = collect::collect(&recording, &options).unwrap();
        assert_eq!((data.begin, data.stop, data.raster.start, data.raster.stop), (50.0, 150.0, 50.0, 150.0));
        // Every 37 ms: at 74, 111 and 148.
        assert_eq!(data.raster.spikes.iter().map(|s| s.0.round()).collect::<Vec<_>>(), [74.0, 111.0, 148.0]);
        assert_eq!(
            data.traces[0].spikes.iter().map(|s| (s.0, s.1.round())).collect::<Vec<_>>(),
            [(0, 74.0), (0, 111.0), (0, 148.0)]
        );
        assert!(data.traces[0].curves[0].1.iter().all(|p| (50.0..=150.0).contains(&p.0)));
        let rates: Vec<(f64, f64)> = data.rates[0].points.iter().map(|p| (p.0, p.1.round())).collect();
        assert_eq!(rates, [(60.0, 0.0), (80.0, 50.0), (100.0, 0.0), (120.0, 50.0), (140.0, 50.0)]);
        assert_eq!(data.rates.len(), 1);
        let out = dir.path().join("out");
        let files = report(&path, Some(&out), &options).unwrap();
        assert!(names(&files).contains(&"two_rates.pdf".into()) && !names(&files).iter().any(|f| f.ends_with(".png")));
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "pdf")) {
            let bytes = std::fs::read(file).unwrap();
            assert!(bytes.starts_with(b"%PDF-") && bytes.len() > 1500, "{} has {} bytes", file.display(), bytes.len());
        }
        for (wrong, said) in [
            (Options { from: Some(300.0), ..Options::default() }, "the recording reaches from 0 to 200 ms"),
            (Options { from: Some(50.0), to: Some(40.0), ..Options::default() }, "nothing is recorded from 50 to 40 ms"),
            (Options { populations: vec!["pots".into()], ..Options::default() }, "did you mean `post`?"),
            (Options { bin: Some(0.01), ..Options::default() }, "bins of 0.01 ms do not fit"),
            (Options { bin: Some(900.0), ..Options::default() }, "bins of 900 ms do not fit"),
        ] {
            let error = report(&path, Some(&out), &wrong).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!("gif".parse::<Format>().is_err());
    }

    #[test]
    fn weights_and_signals_over_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let mut net = network(&[("A", 2), ("B", 1)]);
        net.projections = vec![projection("learning", 0, 1)];
        net.probes = vec![Probe::Weights { projection: 0, states: vec![], interval: Some(25.0), window: Window::ALWAYS }];
        let spikes = crate::network::ModulatorSpikes { population: 0, delay: 2.0, amount: 0.5 };
        let signal = |name: &str, spikes| crate::network::Modulator {
            name: name.into(),
            tau: 20.0,
            initial: 1.0,
            jumps: vec![(40.0, 2.0)],
            spikes,
        };
        net.modulators = vec![signal("given", None), signal("of_spikes", Some(spikes))];
        let mut run = info();
        (run.duration, run.warmup) = (80.0, 20.0);
        let mut recorder = Recorder::create(&path, &net, &run, false).unwrap();
        for k in 0..5 {
            recorder.weights(0, 25.0 * k as f64, &[(0, 0, 1.0 + k as f32), (1, 0, 3.0 + k as f32)], &[]).unwrap();
        }
        recorder.spikes(&[Spike { time: 50.0, id: 1 }]).unwrap();
        recorder.finish(true, &Counters::default(), 0.1).unwrap();
        let recording = Recording::open(&path).unwrap();
        let data = collect::collect(&recording, &Options::default()).unwrap();
        assert_eq!(data.courses[0].mean, [(0.0, 2.0), (25.0, 3.0), (50.0, 4.0), (75.0, 5.0), (100.0, 6.0)]);
        assert_eq!((data.courses[0].range[0], data.courses[0].single.len()), ((0.0, 1.0, 3.0), 2));
        let level = |course: &[(f64, f64)], at: f64| course.iter().rfind(|p| p.0 <= at + 1e-9).unwrap().1;
        let expected =
            |t: f64, extra: f64| (-t / 20.0).exp() + if t >= 40.0 { 2.0 * (-(t - 40.0) / 20.0).exp() } else { 0.0 } + extra;
        assert_eq!((data.signals[0].0.as_str(), data.signals[1].0.as_str()), ("given", "of_spikes"));
        for at in [0.0, 10.0, 40.0, 70.0, 100.0] {
            let late = if at >= 52.0 { 0.5 * (-(at - 52.0) / 20.0f64).exp() } else { 0.0 };
            assert!((level(&data.signals[0].1, at) - expected(at, 0.0)).abs() < 1e-9, "{at}");
            assert!((level(&data.signals[1].1, at) - expected(at, late)).abs() < 0.02, "{at}");
        }
        let drawn = figures(&recording, &Options::default()).unwrap();
        let course = drawn.iter().find(|f| f.name == "courses").unwrap();
        assert!(course.title == "Weights and signals over time" && course.note.contains("shaded: warm-up"), "{}", course.note);
        // A shade a panel: one projection, two signals.
        assert_eq!(course.svg.matches("fill-opacity=\"0.13\"").count(), 3);
        assert!(course.svg.contains("modulator of_spikes"));
    }

    /// The statistics on the page are those of the run.
    #[test]
    fn statistics_come_from_the_spikes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.h5");
        let net = network(&[("A", 300), ("B", 40)]);
        let mut run = info();
        (run.duration, run.warmup) = (9000.0, 1000.0);
        let spikes = poisson(&net, &[12.0, 30.0], 10_000.0);
        let mut recorder = Recorder::create(&path, &net, &run, false).unwrap();
        let mut summary = crate::record::summary::Summary::new(&net, 1000.0, 10_000.0);
        recorder.spikes(&spikes).unwrap();
        summary.spikes(&spikes).unwrap();
        recorder.finish(true, &Counters::default(), 1.0).unwrap();
        let data = collect::collect(&Recording::open(&path).unwrap(), &Options::default()).unwrap();
        assert_eq!(data.statistics, summary.finish());
        let mean = data.intervals[1].values.iter().sum::<f64>() / data.intervals[1].values.len() as f64;
        assert!((mean - 1000.0 / 30.0).abs() < 1.0);
        let rate = data.rates[1].points.iter().map(|p| p.1).sum::<f64>() / data.rates[1].points.len() as f64;
        assert!((rate - 30.0).abs() < 0.5, "{rate}");
    }

    #[test]
    fn silent_cut_off_and_empty_recordings_are_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let silent = dir.path().join("silent.h5");
        let mut net = network(&[("A", 3), ("B", 1)]);
        net.populations[1].record_spikes = None;
        net.probes = vec![Probe::State {
            population: 0,
            variables: vec!["V_m".into()],
            neurons: vec![0],
            interval: 1.0,
            window: Window::ALWAYS,
        }];
        let mut recorder = Recorder::create(&silent, &net, &info(), false).unwrap();
        recorder.sample(0, 1.0, &[f32::NAN]).unwrap();
        recorder.flush().unwrap();
        drop(recorder);
        let files = report(&silent, None, &Options::default()).unwrap();
        assert!(names(&files).contains(&"silent_raster.png".to_string()));
        let page = std::fs::read_to_string(dir.path().join("silent.html")).unwrap();
        assert!(page.contains("was cut off"));
        let nothing = dir.path().join("nothing.h5");
        net.populations[0].record_spikes = None;
        net.probes.clear();
        Recorder::create(&nothing, &net, &info(), false).unwrap().finish(true, &Counters::default(), 0.0).unwrap();
        assert_eq!(names(&report(&nothing, None, &Options::default()).unwrap()), ["nothing.html"]);
        assert!(report(&dir.path().join("absent.h5"), None, &Options::default()).is_err());
        assert!(report(&dir.path().join("nothing.html"), None, &Options::default()).is_err());
    }
}
