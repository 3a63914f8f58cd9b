//! What recall costs: processor time to add and to ask, by the number of memories, on one thread, against an exact scan of the same vectors in the
//! same run; and what the same costs elsewhere, by the clock. Texts are drawn (words by Zipf's law) and so are vectors (sums of a random vector a word), so that nothing is encoded.

use crate::error::{Error, Result};
use crate::memory::episodic::{Episodic, Recall};
use crate::recall::encoder::{Embedding, Encoder, Tokens, dot, unit};
use crate::recall::hippocampus::Late;
use crate::recall::words;
use crate::recall::{Ask, Episode};
use crate::rng::{Purpose, Stream, key};
use crate::simd::level;
use crate::system::cpu_seconds;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Numbers of a vector: those of MiniLM.
const WIDTH: usize = 384;
/// Words there are, and words of a text.
const VOCABULARY: f64 = 30_000.0;
const WORDS: usize = 16;
/// Memories of a commit.
const BATCH: usize = 250;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Memories.
    pub memories: usize,
    /// Milliseconds to add one, of the first 1,000 and of the last 1,000: coding, tables and commits; nothing is encoded.
    pub add_ms: [f64; 2],
    /// Percentiles 50 and 99 of a question with late interaction, ms, on one thread.
    pub recall_ms: [f64; 2],
    /// The same of the spikes alone.
    pub spikes_ms: [f64; 2],
    /// The same of an exact scan of int8 vectors, which finds by the vectors alone.
    pub scan_ms: [f64; 2],
    /// Synaptic events a question.
    pub events: f64,
    /// Percent of questions (half the words of a memory) that bring that memory first, with late interaction, by the spikes, by the scan.
    pub first: [f64; 3],
    /// Bytes of the synapse tables, and of the file.
    pub bytes: [u64; 2],
    /// Seconds to open the folder again.
    pub open_s: f64,
    /// The same memories elsewhere, where they were put there as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
}

/// What a memory elsewhere costs by the clock, in the process that asks; encoding is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Elsewhere {
    /// Milliseconds to add one, of the first 1,000 and of the last 1,000.
    pub add_ms: [f64; 2],
    /// Percentiles 50 and 99 of a question with late interaction, ms.
    pub recall_ms: [f64; 2],
    /// The same of the spikes alone.
    pub spikes_ms: [f64; 2],
    /// The same of the folder by the same clock: with late interaction, by the spikes alone.
    pub folder_ms: [[f64; 2]; 2],
    /// Percent of answers that are the folder's: the same ids in the same order.
    pub same: f64,
}

/// Opens a memory elsewhere, with an encoder.
pub type Opening<'a> = dyn Fn(Arc<dyn Encoder>) -> Result<Box<dyn Recall>> + Sync + 'a;

/// Vectors made of words.
struct Drawn;

fn word_vector(cell: u16) -> Vec<f32> {
    let mut stream = Stream::new(key(7, 0), Purpose::Encoder, u32::from(cell), 0);
    (0..WIDTH).map(|_| stream.normal() as f32).collect()
}

impl Encoder for Drawn {
    fn name(&self) -> &str {
        "drawn"
    }
    fn fingerprint(&self) -> &str {
        "drawn"
    }
    fn width(&self) -> usize {
        WIDTH
    }
    fn encode(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let one = |text: &&str| {
            let mut embedding = Embedding { vector: vec![0.0; WIDTH], tokens: Tokens::default() };
            for (_, cell) in words::content(text) {
                let vector = word_vector(cell);
                embedding.vector.iter_mut().zip(&vector).for_each(|(sum, x)| *sum += x);
                embedding.tokens.push(u32::from(cell), &vector);
            }
            unit(&mut embedding.vector);
            embedding
        };
        Ok(texts.iter().map(one).collect())
    }
}

/// Seconds of processor time so far: what else runs on the machine does not count. The wall clock where the system does not tell.
fn seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    cpu_seconds().unwrap_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64())
}

fn percentiles(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    let at = |p: usize| times.get((times.len() * p / 100).min(times.len().saturating_sub(1))).copied().unwrap_or(0.0);
    [at(50), at(99)]
}

fn text(i: usize) -> Vec<String> {
    let mut stream = Stream::new(key(9, 0), Purpose::Encoder, i as u32, 1);
    // Zipf's law by its inverse: the r-th word with a probability of about 1 / r.
    (0..WORDS).map(|_| format!("word{}", VOCABULARY.powf(stream.uniform()) as u32)).collect()
}

/// Adds `n` memories to a folder that is new, and to one elsewhere, and asks `questions` of them.
///
/// # Errors
/// A place elsewhere that has experiences already, and those of both places.
pub fn measure(
    n: usize,
    questions: usize,
    folder: &Path,
    elsewhere: Option<&Opening>,
    say: &(dyn Fn(&str, f64) + Sync),
    stop: &AtomicBool,
) -> Result<Speed> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|e| Error::Run { message: e.to_string(), remedy: "start it again".into() })?;
    pool.install(|| run(n.max(BATCH), questions.max(1), folder, elsewhere, say, stop))
}

/// Milliseconds of the clock that work takes, without those of encoding.
fn clocked<T>(encoding: f64, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let started = Instant::now();
    let done = work()?;
    Ok((done, 1e3 * (started.elapsed().as_secs_f64() - encoding).max(0.0)))
}

fn run(
    n: usize,
    questions: usize,
    folder: &Path,
    elsewhere: Option<&Opening>,
    say: &(dyn Fn(&str, f64) + Sync),
    stop: &AtomicBool,
) -> Result<Speed> {
    let encoder: Arc<dyn Encoder> = Arc::new(Drawn);
    let mut there = elsewhere.map(|open| open(encoder.clone())).transpose()?;
    if let Some(there) = &mut there
        && there.count()? > 0
    {
        return Err(Error::input("the memory elsewhere has experiences already", "name another user"));
    }
    let (mut added_there, mut clocks, mut same) = (Vec::new(), [(); 4].map(|()| Vec::new()), 0);
    let mut memory = Episodic::open_with(folder, encoder.clone())?;
    let mut added = Vec::new();
    let mut scan: Vec<i8> = Vec::with_capacity(n * WIDTH);
    for start in (0..n).step_by(BATCH) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Run { message: "stopped".into(), remedy: "start it again".into() });
        }
        say("adding", start as f64 / n as f64);
        let end = n.min(start + BATCH);
        let note = |i: usize| Episode {
            id: format!("m{i}"),
            session: Some(format!("s{}", i / 20)),
            ..Episode::of_text(text(i).join(" "))
        };
        let batch: Vec<Episode> = (start..end).map(note).collect();
        let started = seconds();
        let embedded = encoder.encode(&batch.iter().map(|e| e.text.as_str()).collect::<Vec<_>>())?;
        let encoding = seconds() - started;
        let most = |v: &[f32]| v.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        embedded.iter().for_each(|e| scan.extend(e.vector.iter().map(|x| (x / most(&e.vector) * 127.0).round() as i8)));
        if let Some(there) = &mut there {
            added_there.push(clocked(encoding, || there.add(batch.clone()))?.1 / (end - start) as f64);
        }
        let started = seconds();
        memory.add(batch)?;
        // The encoder was asked once more inside.
        added.push(1e3 * (seconds() - started - encoding).max(0.0) / (end - start) as f64);
    }
    drop(memory);
    say("opening", 1.0);
    let started = seconds();
    let mut memory = Episodic::open_with(folder, encoder.clone())?;
    memory.network_mut().settle();
    let open_s = seconds() - started;
    let tokens = memory.tokens()?;
    let (mut late, mut spikes, mut scans) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut events) = ([0usize; 3], 0);
    for q in 0..questions {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Run { message: "stopped".into(), remedy: "start it again".into() });
        }
        say("asking", q as f64 / questions as f64);
        let of = q * (n / questions).max(1) % n;
        let hint = text(of)[..WORDS / 2].join(" ");
        let started = seconds();
        let cue = encoder.encode(&[&hint])?;
        let encoding = seconds() - started;
        let ask = Ask::new(&hint);
        for (i, how, times) in [(0, Late::On, &mut late), (1, Late::Off, &mut spikes)] {
            let started = seconds();
            let (answer, clock) = clocked(encoding, || memory.asked(&tokens, &ask, how))?;
            times.push(1e3 * ((seconds() - started) - encoding).max(0.0));
            if let Some(there) = &mut there {
                let (other, its) = clocked(encoding, || there.recall_by(&ask, how))?;
                clocks[i].push(its);
                clocks[2 + i].push(clock);
                same += other.recalled.iter().map(|r| &r.episode.id).eq(answer.recalled.iter().map(|r| &r.episode.id)) as usize;
            }
            first[i] += answer.recalled.first().is_some_and(|r| r.episode.id == format!("m{of}")) as usize;
            events += answer.events;
        }
        let started = seconds();
        let most = cue[0].vector.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let vector: Vec<i8> = cue[0].vector.iter().map(|x| (x / most * 127.0).round() as i8).collect();
        let mut best: Vec<(i32, usize)> = scan.chunks_exact(WIDTH).map(|v| dot(level(), v, &vector)).zip(0..).collect();
        best.select_nth_unstable_by(10.min(n - 1), |a, b| b.0.cmp(&a.0));
        scans.push(1e3 * (seconds() - started));
        first[2] += best[..10.min(n)].iter().max().is_some_and(|(_, i)| *i == of) as usize;
    }
    let few = (1000 / BATCH).min(added.len());
    let ends = |ms: &[f64]| [&ms[..few], &ms[ms.len() - few..]].map(|s| s.iter().sum::<f64>() / few.max(1) as f64);
    let size = memory.size();
    let [recall_there, spikes_there, recall_here, spikes_here] = clocks.map(percentiles);
    let elsewhere = there.map(|_| Elsewhere {
        add_ms: ends(&added_there),
        recall_ms: recall_there,
        spikes_ms: spikes_there,
        folder_ms: [recall_here, spikes_here],
        same: 100.0 * same as f64 / (2 * questions) as f64,
    });
    Ok(Speed {
        memories: n,
        add_ms: ends(&added),
        recall_ms: percentiles(late),
        spikes_ms: percentiles(spikes),
        scan_ms: percentiles(scans),
        events: events as f64 / (2 * questions) as f64,
        first: first.map(|n| 100.0 * n as f64 / questions as f64),
        bytes: [size.table_bytes, size.file_bytes],
        open_s,
        elsewhere,
    })
}
