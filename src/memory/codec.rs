//! The bytes in which a memory keeps its values: a version, the content, a CRC-32 of both, little-endian. Numbers come back bit
//! for bit; bytes that are not exactly what was written come back as words that say what is wrong. Knows no database.

use super::Engram;
use crate::transformer::site::{Linear, Site};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of every record. Engrams had another form in version 1; all else is as it was.
const VERSION: u8 = 2;
/// Numbers in a chunk of statistics: 4 KiB less than 1 MiB, as the database gives values whole powers of two.
pub const CHUNK: usize = (1 << 18) - (1 << 10);

/// A value as JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut record = Writer::new();
    serde_json::to_writer(&mut record.0, value).map_err(|e| e.to_string())?;
    Ok(record.sealed())
}

/// The value of a JSON record.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(Reader::opened(bytes, 1)?.0).map_err(|e| e.to_string())
}

pub fn engram(engram: &Engram) -> Vec<u8> {
    let mut record = Writer::new();
    record.text(&engram.experience);
    record.site(engram.site);
    record.0.extend(engram.place.to_le_bytes());
    record.0.extend(engram.ridge.to_le_bytes());
    for numbers in [&engram.key, &engram.trace, &engram.factor, &engram.value] {
        record.numbers(numbers);
    }
    record.sealed()
}

pub fn from_engram(bytes: &[u8]) -> Result<Engram, String> {
    let mut record = Reader::opened(bytes, VERSION)?;
    let (experience, site) = (record.text()?, record.site()?);
    let (place, ridge) = (u64::from_le_bytes(record.array()?), f32::from_le_bytes(record.array()?));
    let (key, trace) = (record.numbers()?, record.numbers()?);
    let (factor, value) = (record.numbers()?, record.numbers()?);
    record.done()?;
    Ok(Engram { experience, site, place, key, trace, factor, value, ridge })
}

/// Whose an engram of any version is, and where. Of version 1 no more is of use.
pub fn owner_of_engram(bytes: &[u8]) -> Result<(String, Site), String> {
    let mut record = Reader::opened(bytes, 1)?;
    Ok((record.text()?, record.site()?))
}

/// A part of the statistics of a site, at most `CHUNK` numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    pub site: Site,
    pub name: String,
    /// Place among the chunks, from 0.
    pub index: u32,
    /// Numbers in all chunks together.
    pub total: u64,
    pub numbers: Vec<f32>,
}

impl Chunk {
    pub fn record(site: Site, name: &str, index: u32, total: u64, numbers: &[f32]) -> Vec<u8> {
        let mut record = Writer::new();
        record.site(site);
        record.text(name);
        record.0.extend(index.to_le_bytes());
        record.0.extend(total.to_le_bytes());
        record.numbers(numbers);
        record.sealed()
    }

    pub fn from_record(bytes: &[u8]) -> Result<Chunk, String> {
        let mut record = Reader::opened(bytes, 1)?;
        let (site, name) = (record.site()?, record.text()?);
        let (index, total) = (u32::from_le_bytes(record.array()?), u64::from_le_bytes(record.array()?));
        let numbers = record.numbers()?;
        record.done()?;
        Ok(Chunk { site, name, index, total, numbers })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        Writer(vec![VERSION])
    }

    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn site(&mut self, site: Site) {
        self.0.extend((site.layer as u32).to_le_bytes());
        self.text(site.linear.name());
    }

    fn numbers(&mut self, numbers: &[f32]) {
        self.0.extend((numbers.len() as u32).to_le_bytes());
        if cfg!(target_endian = "little") {
            self.0.extend_from_slice(bytemuck::cast_slice(numbers));
        } else {
            numbers.iter().for_each(|x| self.0.extend(x.to_le_bytes()));
        }
    }

    fn sealed(mut self) -> Vec<u8> {
        let sum = crc32fast::hash(&self.0);
        self.0.extend(sum.to_le_bytes());
        self.0
    }
}

/// What is left to read of a record whose checksum agrees.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads records from version `first` on.
    fn opened(bytes: &'a [u8], first: u8) -> Result<Reader<'a>, String> {
        let (content, sum) = bytes.split_last_chunk().ok_or("it is cut short")?;
        if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
            return Err("its checksum does not agree".into());
        }
        match content.split_first() {
            Some((version, rest)) if (first..=VERSION).contains(version) => Ok(Reader(rest)),
            Some((version, _)) => Err(format!("it has version {version}; this program reads version {VERSION}")),
            None => Err("it is empty".into()),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("it is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it is cut short".to_string())
    }

    fn length(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|e| e.to_string())
    }

    fn site(&mut self) -> Result<Site, String> {
        let (layer, name) = (self.length()?, self.text()?);
        let linear = Linear::named(&name).ok_or_else(|| format!("it names the linear layer {name:?}"))?;
        Ok(Site { layer, linear })
    }

    fn numbers(&mut self) -> Result<Vec<f32>, String> {
        let length = self.length()?;
        let bytes = self.take(length.checked_mul(4).ok_or("it is cut short")?)?;
        let mut numbers = vec![0f32; length];
        bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(bytes);
        if cfg!(target_endian = "big") {
            numbers.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
        }
        Ok(numbers)
    }

    fn done(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("it has {} bytes too many", self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn site() -> impl Strategy<Value = Site> {
        (0..100usize, 0..7usize).prop_map(|(layer, i)| Site { layer, linear: Linear::IN_LAYER[i] })
    }

    /// Numbers of every kind, NaN with its payload too.
    fn numbers() -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..20)
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|x| x.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn engrams_come_back_bit_for_bit(
            experience: String, site in site(), place: u64, ridge: u32,
            key in numbers(), trace in numbers(), factor in numbers(), value in numbers()
        ) {
            let before = Engram { experience, site, place, key, trace, factor, value, ridge: f32::from_bits(ridge) };
            let bytes = engram(&before);
            let after = from_engram(&bytes).unwrap();
            prop_assert_eq!(owner_of_engram(&bytes).unwrap(), (before.experience.clone(), before.site));
            prop_assert_eq!(&after.experience, &before.experience);
            prop_assert_eq!((after.site, after.place, after.ridge.to_bits()), (before.site, before.place, ridge));
            prop_assert_eq!(bits(&after.key), bits(&before.key));
            prop_assert_eq!(bits(&after.trace), bits(&before.trace));
            prop_assert_eq!(bits(&after.factor), bits(&before.factor));
            prop_assert_eq!(bits(&after.value), bits(&before.value));
        }

        #[test]
        fn chunks_come_back_bit_for_bit(site in site(), name: String, index: u32, total: u64, numbers in numbers()) {
            let after = Chunk::from_record(&Chunk::record(site, &name, index, total, &numbers)).unwrap();
            prop_assert_eq!((after.site, after.name, after.index, after.total), (site, name, index, total));
            prop_assert_eq!(bits(&after.numbers), bits(&numbers));
        }

        #[test]
        fn a_changed_byte_is_noticed(at: prop::sample::Index, by in 1..=255u8, cut: prop::sample::Index) {
            let site = Site { layer: 3, linear: Linear::Down };
            let (key, trace, factor, value) = (vec![1.0, -0.0, 2.5], vec![0.25; 3], vec![], vec![0.5; 4]);
            let whole = engram(&Engram { experience: "a".into(), site, place: 7, key, trace, factor, value, ridge: 0.1 });
            let mut bytes = whole.clone();
            bytes[at.index(whole.len())] ^= by;
            prop_assert!(from_engram(&bytes).is_err());
            prop_assert!(from_engram(&whole[..cut.index(whole.len())]).is_err());
        }

        #[test]
        fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut record = Writer(bytes);
            record.0.insert(0, VERSION);
            let _ = from_engram(&record.0);
            let sealed = record.sealed();
            let _ = (owner_of_engram(&sealed), from_engram(&sealed));
            let _ = (Chunk::from_record(&sealed), from_json::<crate::memory::journal::Entry>(&sealed));
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let later = Writer(vec![VERSION + 1]).sealed();
        assert!(from_engram(&later).unwrap_err().contains("version 3"));
        assert!(from_json::<u8>(&later).unwrap_err().contains("version 3"));
    }

    #[test]
    fn engrams_alone_must_have_the_last_version() {
        let record = |version: u8, content: &[u8]| Writer([&[version], content].concat()).sealed();
        assert_eq!(from_json::<u8>(&record(1, b"7")), Ok(7));
        assert!(from_json::<u8>(&record(0, b"7")).unwrap_err().contains("version 0"));
        let engram = engram(&Engram {
            experience: "a".into(),
            site: Site::HEAD,
            place: 0,
            key: vec![],
            trace: vec![],
            factor: vec![],
            value: vec![],
            ridge: 1.0,
        });
        let before = record(1, &engram[1..engram.len() - 4]);
        assert!(from_engram(&before).unwrap_err().contains("version 1"));
        assert_eq!(owner_of_engram(&before).unwrap(), ("a".to_string(), Site::HEAD));
    }
}
