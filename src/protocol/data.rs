//! The images that a protocol learns and is tested on. Promises that they fit the network, or a refusal that says what to change.
//! Knows files and pixels; no training.

use super::{Asked, Tasks};
use crate::dataset::fetch;
use crate::dataset::idx::Images;
use crate::error::{Error, Result};
use crate::learning::local::{Samples, order};
use crate::rng::{Purpose, Stream, key};
use crate::scenario::tree::Spot;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a protocol asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Name of the folder with the four files of MNIST's names; or `patterns`, noisy copies of one random pattern a class.
    pub set: String,
    /// The first so many images for training and test; all where none.
    pub train: Option<usize>,
    /// The first so many images for the test; all where none.
    pub test: Option<usize>,
    /// Test on the last so many training images, which are not learned then, and leave the test set alone: to choose settings by.
    pub validation: Option<usize>,
    /// A pixel p becomes the current scale * (p / 255 - offset).
    pub offset: f32,
    /// Factor of that current.
    pub scale: f32,
    /// Part of noise in `patterns`, 0 to 1.
    pub noise: f64,
    /// Pixels an image: the network's inputs.
    pub inputs: usize,
    /// Classes that labels tell apart: the network's outputs.
    pub classes: usize,
}

/// Images and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// count x size, 0 to 255.
    pub pixels: Vec<u8>,
    /// Class of each image, from 0.
    pub labels: Vec<u8>,
}

/// All that a protocol reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// Images to learn.
    pub train: Arc<Set>,
    /// Images to test on, which are never learned.
    pub test: Arc<Set>,
    /// Images of other sets, for the uncertainty; none where the set was not found.
    pub outside: Vec<(String, Option<Set>)>,
    wanted: Wanted,
}

impl Data {
    /// Read what is wanted from the first of `folders` that has it; `against` are the sets outside of the distribution, `sizes` is
    /// where the network's sizes are written.
    ///
    /// # Errors
    /// A set that is nowhere, files that cannot be read, images that do not fit the network's inputs, labels outside its classes.
    pub fn load(wanted: &Wanted, against: &[String], folders: &[PathBuf], sizes: &Spot) -> Result<Data> {
        let read = |part: &str, most: Option<usize>| match wanted.set.as_str() {
            "patterns" => Ok(patterns(wanted, part, most)),
            set => {
                let (images, labels) = files(folders, set, part).ok_or_else(|| absent(set, folders))?;
                let images = Images::read(&images, Some(&labels))?;
                fit(images, most, wanted, set, sizes)
            }
        };
        let outside = |set: &String| -> Result<(String, Option<Set>)> {
            let found = match set.as_str() {
                "permuted" => None,
                "noise" => Some(patterns(&Wanted { noise: 1.0, ..wanted.clone() }, "outside", Some(10_000))),
                set => match files(folders, set, "t10k") {
                    None => None,
                    Some((images, labels)) => {
                        let same = Wanted { classes: 256, ..wanted.clone() };
                        Some(fit(Images::read(&images, Some(&labels))?, None, &same, set, sizes)?)
                    }
                },
            };
            Ok((set.clone(), found))
        };
        let (train, test) = match wanted.validation {
            None => (read("train", wanted.train)?, read("t10k", wanted.test)?),
            Some(held) => read("train", None)?.split(held, wanted)?,
        };
        let mut data = Data { train: Arc::new(train), test: Arc::new(test), outside: vec![], wanted: wanted.clone() };
        data.outside = against.iter().map(outside).collect::<Result<_>>()?;
        if let Some((_, found)) = data.outside.iter_mut().find(|(name, _)| name == "permuted") {
            *found = Some((*data.test).clone());
        }
        Ok(data)
    }

    /// A set as the network sees it, through a permutation where there is one.
    pub fn samples<'a>(&self, set: &'a Set, permutation: Option<&'a [u32]>) -> Samples<'a> {
        let Wanted { offset, scale, inputs, .. } = self.wanted;
        Samples { permutation, offset, scale, ..Samples::new(&set.pixels, inputs, &set.labels) }
    }

    /// What every task shows of the images.
    ///
    /// # Errors
    /// A task without images to learn or to test on.
    pub(super) fn views(&self, tasks: Tasks, seed: u64) -> Result<Vec<View>> {
        let whole = |permutation| View { permutation, train: self.train.clone(), test: self.test.clone(), scores: None };
        match tasks {
            Tasks::Supervised => Ok(vec![whole(None)]),
            Tasks::Permuted { count } => Ok((0..count).map(|t| whole(permutation(seed, t, self.wanted.inputs))).collect()),
            Tasks::Split { count, classes, asked } => (0..count)
                .map(|task| {
                    let own = task * classes..(task + 1) * classes;
                    let part = |set: &Set, what: &str| {
                        let part = set.part(&own, if asked == Asked::Domain { own.start } else { 0 }, self.wanted.inputs);
                        if part.labels.is_empty() {
                            return Err(Error::input(
                                format!("{} has no images of the classes {own:?} to {what}", self.wanted.set),
                                "lower [tasks] count or classes, or use more images (train, test)",
                            ));
                        }
                        Ok(Arc::new(part))
                    };
                    let scores = (asked == Asked::Task).then(|| own.clone());
                    Ok(View { permutation: None, train: part(&self.train, "learn")?, test: part(&self.test, "test on")?, scores })
                })
                .collect(),
        }
    }

    /// A sum over all pixels and labels, to know the same data again.
    pub fn checksum(&self) -> u64 {
        let mut sum = flate2::Crc::new();
        for part in [&self.train.pixels, &self.train.labels, &self.test.pixels, &self.test.labels] {
            part.chunks(1 << 24).for_each(|bytes| sum.update(bytes));
        }
        sum.sum() as u64
    }
}

/// What one task shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Input i sees pixel `permutation[i]`.
    pub permutation: Option<Vec<u32>>,
    /// Images to learn.
    pub train: Arc<Set>,
    /// Images to test on.
    pub test: Arc<Set>,
    /// Only these classes are asked about.
    pub scores: Option<Range<usize>>,
}

impl View {
    /// The images of all views in turn, as one task.
    pub fn joined(views: &[View]) -> View {
        let all = |of: fn(&View) -> &Arc<Set>| {
            let mut set = Set { pixels: vec![], labels: vec![] };
            for view in views {
                set.pixels.extend_from_slice(&of(view).pixels);
                set.labels.extend_from_slice(&of(view).labels);
            }
            Arc::new(set)
        };
        View { permutation: None, train: all(|v| &v.train), test: all(|v| &v.test), scores: None }
    }
}

impl Set {
    /// Images of some classes, their labels counted from `first`.
    fn part(&self, classes: &Range<usize>, first: usize, size: usize) -> Set {
        let chosen = self.labels.iter().zip(self.pixels.chunks_exact(size)).filter(|(l, _)| classes.contains(&(**l as usize)));
        let (mut pixels, mut labels) = (vec![], vec![]);
        for (label, image) in chosen {
            labels.push(label - first as u8);
            pixels.extend_from_slice(image);
        }
        Set { pixels, labels }
    }

    /// Those to learn, and the last `held` to test on.
    fn split(mut self, held: usize, wanted: &Wanted) -> Result<(Set, Set)> {
        let (count, size) = (self.labels.len(), wanted.inputs);
        let learned = wanted.train.unwrap_or(count.saturating_sub(held));
        if learned == 0 || learned + held > count {
            return Err(Error::input(
                format!("{learned} images to learn and {held} to test on are wanted, the training set has {count}"),
                "lower [data] validation, or train",
            ));
        }
        let rest = Set { pixels: self.pixels.split_off((count - held) * size), labels: self.labels.split_off(count - held) };
        self.pixels.truncate(learned * size);
        self.labels.truncate(learned);
        Ok((self, rest))
    }
}

/// The permutation of a task: the first task sees the images as they are.
pub fn permutation(seed: u64, task: usize, inputs: usize) -> Option<Vec<u32>> {
    (task > 0).then(|| order(seed ^ 0x0050_4552_4d55_5445, task as u32, inputs))
}

fn files(folders: &[PathBuf], set: &str, part: &str) -> Option<(PathBuf, PathBuf)> {
    folders.iter().find_map(|folder| {
        // What lies in the folder itself is taken for MNIST only.
        let of = |name: String| match set {
            "mnist" => fetch::find(folder, set, &name),
            _ => fetch::find(&folder.join(set), "", &name),
        };
        Some((of(format!("{part}-images-idx3-ubyte"))?, of(format!("{part}-labels-idx1-ubyte"))?))
    })
}

fn absent(set: &str, folders: &[PathBuf]) -> Error {
    let looked = folders.iter().map(|f: &PathBuf| Path::new(f).join(set).display().to_string()).collect::<Vec<_>>().join(", ");
    let remedy = match set {
        "mnist" => "get it with `sharpwave data fetch mnist`, or name the folder that holds it with --data",
        _ => "name with --data the folder that holds a folder of this name with the four files (train-images-idx3-ubyte, ...)",
    };
    Error::input(format!("the data set {set} is not in {}", if looked.is_empty() { "any folder" } else { &looked }), remedy)
}

fn fit(images: Images, most: Option<usize>, wanted: &Wanted, name: &str, sizes: &Spot) -> Result<Set> {
    let size = images.size();
    if size != wanted.inputs {
        return Err(sizes.error(
            format!(
                "the images of {name} have {} x {} pixels, the network has {} inputs",
                images.rows, images.columns, wanted.inputs
            ),
            format!("set the first of sizes to {size}"),
        ));
    }
    let labels = images.labels.unwrap_or_default();
    if let Some(at) = labels.iter().position(|l| *l as usize >= wanted.classes) {
        return Err(sizes.error(
            format!("label {} of image {at} of {name} is outside the network's {} classes", labels[at], wanted.classes),
            format!("set the last of sizes to at least {}", labels.iter().max().map_or(1, |l| *l as usize + 1)),
        ));
    }
    let count = most.unwrap_or(labels.len());
    if count > labels.len() {
        return Err(Error::input(
            format!("{count} images of {name} are wanted, there are {}", labels.len()),
            "lower [data] train or test",
        ));
    }
    Ok(Set { pixels: images.pixels[..count * size].to_vec(), labels: labels[..count].to_vec() })
}

/// Noisy copies of one random pattern a class, the same every time.
fn patterns(wanted: &Wanted, part: &str, most: Option<usize>) -> Set {
    let Wanted { inputs, classes, noise, .. } = *wanted;
    let (owner, count) = match part {
        "train" => (1, most.unwrap_or(2000)),
        "t10k" => (2, most.unwrap_or(500)),
        _ => (3, most.unwrap_or(500)),
    };
    let labels: Vec<u8> = (0..count).map(|i| (i % classes) as u8).collect();
    let pixel = |owner, row: usize| {
        let mut stream = Stream::new(key(7, owner), Purpose::Encoder, row as u32, 0);
        (0..inputs).map(|_| stream.uniform()).collect::<Vec<f64>>()
    };
    let clean: Vec<Vec<f64>> = (0..classes).map(|class| pixel(0, class)).collect();
    let row = |i: usize| {
        let blend = clean[labels[i] as usize].iter().zip(pixel(owner, i));
        blend.map(|(c, n)| (255.0 * ((1.0 - noise) * c + noise * n)) as u8).collect::<Vec<u8>>()
    };
    Set { pixels: (0..count).flat_map(row).collect(), labels }
}
