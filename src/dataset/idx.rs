//! Reader of IDX files (MNIST and its kin), plain or gzip. Promises that a truncated, foreign or oversized file is refused with
//! its name and a remedy, and that no more is read than the header announces. Knows no network.

use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Unsigned bytes with up to 8 dimensions, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// Lengths of the dimensions, the slowest first.
    pub dims: Vec<usize>,
    /// All bytes, row-major.
    pub data: Vec<u8>,
}

/// Grey images of one size, and their labels where there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Pixels from top to bottom.
    pub rows: usize,
    /// Pixels from left to right.
    pub columns: usize,
    /// `count` x `rows` x `columns`, 0 to 255.
    pub pixels: Vec<u8>,
    /// One an image.
    pub labels: Option<Vec<u8>>,
}

impl Images {
    /// Reads images (3 dimensions) and, if given, labels (1 dimension, one an image).
    pub fn read(images: impl AsRef<Path>, labels: Option<&Path>) -> Result<Self> {
        let path = images.as_ref();
        Images::of((path, read(path)?), labels.map(|labels| Ok((labels, read(labels)?))).transpose()?)
    }

    /// The same of files that are read already; the paths are for refusals.
    pub fn of((path, images): (&Path, Idx), labels: Option<(&Path, Idx)>) -> Result<Self> {
        let Idx { dims, data } = images;
        let [count, rows, columns] = dims[..] else {
            let message = format!("holds {} dimensions, images have 3 (count, rows, columns)", dims.len());
            return Err(refuse(path, message, "give the file of the images (train-images-idx3-ubyte) here"));
        };
        if data.is_empty() {
            return Err(refuse(
                path,
                format!("holds no pixels ({count} images of {rows} x {columns})"),
                "give a file with images",
            ));
        }
        let labels = labels.map(|(path, labels)| labels_of(path, labels, count)).transpose()?;
        Ok(Images { count, rows, columns, pixels: data, labels })
    }

    /// Samples of `width` intensities from 0 to 1 (clipped), as images of one row.
    pub fn from_intensities(values: &[f32], width: usize) -> Result<Self> {
        if width == 0 || values.is_empty() || values.len() % width != 0 {
            let message = format!("{} intensities do not make samples of {width}", values.len());
            return Err(Error::input(message, "give whole samples, at least one"));
        }
        if let Some(i) = values.iter().position(|x| x.is_nan()) {
            return Err(Error::input(
                format!("intensity {} of sample {} is NaN", i % width, i / width),
                "give numbers from 0 to 1",
            ));
        }
        let pixels = values.iter().map(|x| (x.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
        Ok(Images { count: values.len() / width, rows: 1, columns: width, pixels, labels: None })
    }

    /// Pixels an image.
    pub fn size(&self) -> usize {
        self.rows * self.columns
    }

    /// The pixels of one image.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.size()..][..self.size()]
    }
}

fn labels_of(path: &Path, labels: Idx, count: usize) -> Result<Vec<u8>> {
    let Idx { dims, data } = labels;
    if dims.len() != 1 {
        let message = format!("holds {} dimensions, labels have 1", dims.len());
        return Err(refuse(path, message, "give the file of the labels (train-labels-idx1-ubyte) here"));
    }
    if data.len() != count {
        let message = format!("holds {} labels for {count} images", data.len());
        return Err(refuse(path, message, "images and labels must be of the same part (train or t10k)"));
    }
    Ok(data)
}

/// Reads an IDX file of unsigned bytes.
pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
    let path = path.as_ref();
    let open =
        || File::open(path).map(BufReader::new).map_err(|e| refuse(path, format!("cannot be read: {e}"), "check the path"));
    let mut magic = [0u8; 2];
    let zipped = open()?.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    match zipped {
        true => parse(path, MultiGzDecoder::new(open()?)),
        false => parse(path, open()?),
    }
}

/// Reads the content of an IDX file; `path` is for refusals.
pub fn parse(path: &Path, mut input: impl Read) -> Result<Idx> {
    const AGAIN: &str = "the file was cut off or damaged: fetch it again";
    let mut take = |bytes: &mut [u8], what: &str| {
        input.read_exact(bytes).map_err(|e| refuse(path, format!("ends within {what}: {e}"), AGAIN))
    };
    let mut magic = [0u8; 4];
    take(&mut magic, "its magic number")?;
    let [0, 0, kind, n_dims] = magic else {
        let message = format!("is not an IDX file (it starts with {magic:02x?})");
        return Err(refuse(path, message, "give an IDX file as MNIST uses, plain or .gz"));
    };
    if kind != 0x08 {
        let name = match kind {
            0x09 => "signed bytes",
            0x0b => "16-bit integers",
            0x0c => "32-bit integers",
            0x0d => "32-bit floats",
            0x0e => "64-bit floats",
            _ => {
                return Err(refuse(
                    path,
                    format!("is not an IDX file (element type {kind:#04x})"),
                    "give an IDX file as MNIST uses, plain or .gz",
                ));
            }
        };
        return Err(refuse(
            path,
            format!("holds {name}, only unsigned bytes are read"),
            "scale the values to 0..255 and write them as bytes",
        ));
    }
    if !(1..=8).contains(&n_dims) {
        return Err(refuse(path, format!("announces {n_dims} dimensions"), AGAIN));
    }
    let mut dims = Vec::new();
    for _ in 0..n_dims {
        let mut word = [0u8; 4];
        take(&mut word, "its header")?;
        dims.push(u32::from_be_bytes(word) as usize);
    }
    let size = dims.iter().try_fold(1usize, |size, &d| size.checked_mul(d)).filter(|&s| s < 1 << 40);
    let size = size.ok_or_else(|| refuse(path, format!("announces {dims:?} values"), AGAIN))?;
    let mut data = Vec::new();
    // One byte more than announced, to notice a file that is too long.
    input.take(size as u64 + 1).read_to_end(&mut data).map_err(|e| refuse(path, format!("ends too early: {e}"), AGAIN))?;
    if data.len() < size {
        return Err(refuse(path, format!("holds {} of {size} values that its header announces", data.len()), AGAIN));
    }
    if data.len() > size {
        return Err(refuse(path, format!("is longer than the {size} values that its header announces"), AGAIN));
    }
    Ok(Idx { dims, data })
}

fn refuse(path: &Path, message: impl Into<String>, remedy: &str) -> Error {
    Error::File { path: path.to_path_buf(), message: message.into(), remedy: Some(remedy.into()) }
}

/// The folder of reference data for tests; None (and a printed reason) where it is absent.
#[cfg(test)]
pub(crate) fn shared_data(file: &str) -> Option<std::path::PathBuf> {
    use std::io::Write;
    let folder = std::env::var_os("SHARPWAVE_SHARED").map(std::path::PathBuf::from);
    let path = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("data").join(file);
    if !path.exists() {
        // Straight to stderr: what a passing test prints with eprintln! is not shown.
        let _ = writeln!(std::io::stderr(), "skipped: no data/{file} (set SHARPWAVE_SHARED to the folder that holds data/)");
        return None;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn zip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn plain_and_zipped_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, zipped, labels) = (folder.path().join("a"), folder.path().join("a.gz"), folder.path().join("l"));
        let pixels: Vec<u8> = (0..24).collect();
        let bytes = idx(8, &[2, 3, 4], &pixels);
        std::fs::write(&plain, &bytes).unwrap();
        std::fs::write(&zipped, zip(&bytes)).unwrap();
        std::fs::write(&labels, idx(8, &[2], &[7, 9])).unwrap();
        let images = Images::read(&plain, Some(&labels)).unwrap();
        assert_eq!(images, Images::read(&zipped, Some(&labels)).unwrap());
        assert_eq!((images.count, images.rows, images.columns, images.size()), (2, 3, 4, 12));
        assert_eq!(images.image(1), &pixels[12..]);
        assert_eq!(images.labels, Some(vec![7, 9]));
    }

    #[test]
    fn bad_files_are_refused_with_name_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad-idx");
        let good = idx(8, &[2, 2, 2], &[1; 8]);
        let zipped = zip(&idx(8, &[100, 28, 28], &[3; 78400]));
        let long = [good.clone(), vec![0]].concat();
        let cases: [(&[u8], &str); 10] = [
            (&good[..13], "ends within its header"),
            (&good[..20], "holds 4 of 8 values"),
            (&[], "ends within its magic"),
            (&long, "is longer"),
            (b"\x89PNG....", "is not an IDX file"),
            (&idx(0x0d, &[1], &[0; 4]), "32-bit floats"),
            (&idx(8, &[u32::MAX, u32::MAX, 2], &[]), "announces"),
            (&idx(8, &[], &[]), "announces 0 dimensions"),
            (&idx(8, &[0, 28, 28], &[]), "holds no pixels"),
            (&zipped[..zipped.len() - 20], "ends"),
        ];
        for (bytes, part) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = Images::read(&path, None).unwrap_err();
            assert!(error.to_string().contains("bad-idx") && error.to_string().contains(part), "{error} (wanted: {part})");
            assert!(!error.remedy().unwrap().is_empty());
        }
        std::fs::write(&path, &good).unwrap();
        let labels = folder.path().join("labels");
        std::fs::write(&labels, idx(8, &[3], &[1; 3])).unwrap();
        assert!(Images::read(&path, Some(&labels)).unwrap_err().to_string().contains("3 labels for 2 images"));
        assert!(Images::read(&labels, None).unwrap_err().to_string().contains("1 dimensions"));
        assert!(Images::read(folder.path().join("none"), None).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn intensities_become_bytes() {
        let images = Images::from_intensities(&[0.0, 0.5, 1.0, -1.0, 2.0, 0.25], 3).unwrap();
        assert_eq!((images.count, images.image(0), images.image(1)), (2, &[0u8, 128, 255][..], &[0u8, 255, 64][..]));
        assert!(Images::from_intensities(&[0.0; 5], 3).is_err());
        assert!(Images::from_intensities(&[f32::NAN], 1).unwrap_err().to_string().contains("NaN"));
    }

    /// Class counts and moments of the published files.
    #[test]
    fn the_real_mnist() {
        let Some(folder) = shared_data("mnist") else { return };
        let labels = folder.join("t10k-labels-idx1-ubyte.gz");
        let test = Images::read(folder.join("t10k-images-idx3-ubyte.gz"), Some(&labels)).unwrap();
        assert_eq!((test.count, test.rows, test.columns), (10_000, 28, 28));
        let mut classes = [0; 10];
        test.labels.as_ref().unwrap().iter().for_each(|&l| classes[l as usize] += 1);
        assert_eq!(classes, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
        let train = Images::read(folder.join("train-images-idx3-ubyte.gz"), None).unwrap();
        let mean = train.pixels.iter().map(|&p| p as u64).sum::<u64>() as f64 / train.pixels.len() as f64 / 255.0;
        assert!((mean - 0.13066).abs() < 1e-5, "mean {mean}");
        assert!(Images::read(folder.join("train-images-idx3-ubyte.gz"), Some(&labels)).is_err());
    }

    #[test]
    fn the_other_idx_sets() {
        for (images, labels, shape) in [
            ("usps/t10k-images-idx3-ubyte.gz", "usps/t10k-labels-idx1-ubyte.gz", (2007, 16, 16)),
            ("optdigits/images-idx3-ubyte.gz", "optdigits/labels-idx1-ubyte.gz", (1797, 8, 8)),
            ("kmnist/t10k-images-idx3-ubyte.gz", "kmnist/t10k-labels-idx1-ubyte.gz", (10_000, 28, 28)),
        ] {
            let (Some(images), Some(labels)) = (shared_data(images), shared_data(labels)) else { continue };
            let read = Images::read(images, Some(&labels)).unwrap();
            assert_eq!((read.count, read.rows, read.columns), shape);
            assert!(read.labels.unwrap().iter().all(|&l| l < 10));
        }
    }
}
