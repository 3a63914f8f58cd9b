//! The trials of an e-prop protocol: cues on two sides, to be counted and told after a delay, made from a seed; or spoken digits as
//! spikes of an auditory model, read from a file. Promises the same trial for the same seed and number, or a refusal that names what is
//! wrong with the file. Knows files and spikes; no network.

use crate::error::{Error, Result};
use crate::learning::eprop::Trial;
use crate::rng::{Purpose, Stream, key};
use std::io::Read;
use std::path::PathBuf;

/// Owners of the random numbers of cues and of shifts.
const CUES: u32 = 15 << 16;
const SHIFTS: u32 = 16 << 16;
/// Where spoken digits lie in a folder of data sets.
pub const SPOKEN: &str = "fsdd-spikes/fsdd-spikes.bin.gz";
/// What such a file begins with.
const MAGIC: &[u8; 8] = b"FSDDSPK1";
/// Recordings of a speaker and digit that are the published test set: the first so many.
pub const OFFICIAL: u8 = 5;

/// What a trial is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To be learned.
    Learn,
    /// To see how far learning is.
    Look,
    /// To be tested on at the end.
    Test,
}

/// Evidence accumulation (Morcos & Harvey 2016; as spikes Bellec et al. 2020). Times in ms, rates in Hz. Four groups of channels in turn:
/// cues on the left, on the right, the signal to answer, noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Channels of all four groups.
    pub channels: usize,
    /// Cues of a trial, an odd number.
    pub cues: usize,
    /// Length of a cue.
    pub cue: f64,
    /// Time before each cue.
    pub gap: f64,
    /// Time between the last cue and the signal.
    pub delay: f64,
    /// Length of the signal, in which the answer counts.
    pub signal: f64,
    /// Rate of a channel while its group is on, and of noise always.
    pub rates: [f64; 2],
    /// Chance of each cue to be on the side that is drawn to be the weaker one.
    pub weaker: f64,
}

impl Evidence {
    /// Channels of each group.
    fn group(&self) -> usize {
        self.channels / 4
    }

    /// One trial of steps of `dt` ms: which side had more cues (0 left, 1 right).
    pub fn trial(&self, dt: f64, seed: u64, purpose: Use, number: u32) -> Trial {
        let mut random = Stream::new(key(seed, CUES + purpose as u32), Purpose::Encoder, number, 0);
        let side = (random.uniform() < 0.5) as usize;
        let cues: Vec<usize> = (0..self.cues).map(|_| if random.uniform() < self.weaker { 1 - side } else { side }).collect();
        let steps = |time: f64| (time / dt).round() as usize;
        let (gap, cue, signal) = (steps(self.gap), steps(self.cue), steps(self.signal));
        let from = self.cues * (gap + cue) + steps(self.delay);
        let chance = self.rates.map(|rate| rate * dt / 1000.0);
        let mut spikes = vec![];
        for t in 0..from + signal {
            let on = match cues.get(t / (gap + cue)) {
                Some(side) if t % (gap + cue) >= gap => Some(*side),
                _ if t >= from => Some(2),
                _ => None,
            };
            let groups = on.map(|group| (group, chance[0])).into_iter().chain([(3, chance[1])]);
            for (group, chance) in groups {
                let own = (0..self.group()).filter(|_| random.uniform() < chance);
                spikes.extend(own.map(|i| (t as u32, (group * self.group() + i) as u32)));
            }
        }
        let right: usize = cues.iter().sum();
        Trial { steps: from + signal, spikes, label: (2 * right > self.cues) as u8, from }
    }
}

/// One spoken digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The digit.
    pub label: u8,
    /// Who speaks, from 0.
    pub speaker: u8,
    /// Which of this speaker's recordings of this digit.
    pub index: u8,
    /// Time in units of the file and channel of every spike.
    spikes: Vec<(u32, u8)>,
}

/// Spoken digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// Channels of the auditory model.
    pub channels: usize,
    /// Microseconds.
    unit: f64,
    /// In the order of the file.
    pub recordings: Vec<Recording>,
}

impl Spoken {
    /// Reads the first of `folders` that has them.
    ///
    /// # Errors
    /// None has; a file that is none of this kind or not whole.
    pub fn load(folders: &[PathBuf]) -> Result<Spoken> {
        let Some(path) = folders.iter().map(|folder| folder.join(SPOKEN)).find(|path| path.exists()) else {
            let looked = folders.iter().map(|f| f.join(SPOKEN).display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::input(
                format!("the spoken digits are not there: {}", if looked.is_empty() { "no folder was named" } else { &looked }),
                format!("name with --data the folder that holds {SPOKEN}"),
            ));
        };
        let refuse = |message: String| Error::File {
            path: path.clone(),
            message,
            remedy: Some("get the file again: spoken digits of the kind FSDDSPK1, gzip".into()),
        };
        let file = std::fs::File::open(&path).map_err(|e| refuse(format!("cannot be opened: {e}")))?;
        let mut bytes = vec![];
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        Spoken::parse(&bytes).ok_or_else(|| refuse("is no file of spoken digits, or not whole".into()))
    }

    fn parse(bytes: &[u8]) -> Option<Spoken> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut take = |count: usize| {
            let (own, after) = rest.split_at_checked(count)?;
            rest = after;
            Some(own)
        };
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let head = take(16)?.chunks(4).map(number).collect::<Option<Vec<u32>>>()?;
        let [n, total, channels, unit] = head[..] else { return None };
        let (n, total) = (n as usize, total as usize);
        let counts = take(n.checked_mul(4)?)?.chunks(4).map(number).collect::<Option<Vec<u32>>>()?;
        let [labels, speakers, indices] = [take(n)?, take(n)?, take(n)?];
        let (times, channel) = (take(total.checked_mul(2)?)?, take(total)?);
        let sound = counts.iter().map(|c| *c as usize).sum::<usize>() == total && rest.is_empty();
        if !sound || unit == 0 || channel.iter().any(|c| *c as u32 >= channels) || labels.iter().any(|label| *label > 9) {
            return None;
        }
        let mut at = 0;
        let recordings = (0..n).map(|i| {
            let mut now = 0;
            let spikes = (at..at + counts[i] as usize).map(|s| {
                now += u16::from_le_bytes([times[2 * s], times[2 * s + 1]]) as u32;
                (now, channel[s])
            });
            let spikes = spikes.collect();
            at += counts[i] as usize;
            Recording { label: labels[i], speaker: speakers[i], index: indices[i], spikes }
        });
        Some(Spoken { channels: channels as usize, unit: unit as f64, recordings: recordings.collect() })
    }

    /// A sum over everything, to know the same recordings again.
    pub fn checksum(&self) -> u64 {
        let mut sum = flate2::Crc::new();
        for Recording { label, speaker, index, spikes } in &self.recordings {
            sum.update(&[*label, *speaker, *index]);
            let bytes: Vec<u8> = spikes.iter().flat_map(|(t, c)| t.to_le_bytes().into_iter().chain([*c])).collect();
            sum.update(&bytes);
        }
        sum.sum() as u64
    }

    /// A recording in steps of `dt` ms, all of whose steps count. With `shift`, moved along the channels by up to so many, the same for
    /// all of its spikes, and drawn from `seed` and `number`.
    pub fn trial(&self, at: usize, dt: f64, shift: u32, seed: u64, number: u32) -> Trial {
        let recording = &self.recordings[at];
        let mut random = Stream::new(key(seed, SHIFTS), Purpose::Encoder, number, at as u32);
        let moved = if shift > 0 { random.below(2 * shift + 1) as i64 - shift as i64 } else { 0 };
        let step = |time: u32| (time as f64 * self.unit / 1000.0 / dt) as u32;
        let place = |(time, channel): &(u32, u8)| {
            let channel = *channel as i64 + moved;
            (0..self.channels as i64).contains(&channel).then_some((step(*time), channel as u32))
        };
        let steps = recording.spikes.last().map_or(0, |last| step(last.0)) as usize + 1;
        Trial { steps, spikes: recording.spikes.iter().filter_map(place).collect(), label: recording.label, from: 0 }
    }
}
