//! Words of a text, their stems, and the granule cell that each stem has for its own. Promises the same words in every script: runs of
//! letters and digits in lower case; where a script puts no spaces between words, pairs of neighbouring characters.

use std::collections::HashMap;

/// Granule cells of words.
pub const CELLS: usize = 1 << 16;

/// Scripts that put no spaces between words.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF | 0x0F00..=0x0FFF | 0x1000..=0x109F | 0x1780..=0x17FF // Thai, Lao, Tibetan, Burmese, Khmer
        | 0x3040..=0x30FF | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0xFF66..=0xFF9F // kana, han
        | 0x20000..=0x3FFFF)
}

/// Marks that belong to the letter before them (combining accents, Arabic and Indic vowel signs, joiners).
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036F | 0x0591..=0x05C7 | 0x0610..=0x061A | 0x064B..=0x065F | 0x0900..=0x0DFF | 0x200C | 0x200D)
}

/// The words of a text in their order.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut run: Vec<char> = Vec::new();
    let close = |word: &mut String, run: &mut Vec<char>, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
        match run.len() {
            0 => {}
            1 => words.push(run[0].to_string()),
            _ => words.extend(run.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
        run.clear();
    };
    for c in text.chars() {
        if is_unspaced(c) {
            if !word.is_empty() {
                close(&mut word, &mut run, &mut words);
            }
            run.push(c);
        } else if c.is_alphanumeric() || (is_mark(c) && !word.is_empty()) {
            if !run.is_empty() {
                close(&mut word, &mut run, &mut words);
            }
            word.extend(c.to_lowercase());
        } else {
            close(&mut word, &mut run, &mut words);
        }
    }
    close(&mut word, &mut run, &mut words);
    words
}

/// Words that say nothing about what a text is about, in English: articles, pronouns, auxiliaries, question words. What they leave of other
/// languages is weighed down by its frequency.
const EMPTY: &str = " a an the of to in on at is are was were be been do did does has have had what when who where which how why and or for \
    with from by it its this that these those as i you he she they we his her their my your our me him them s t m re ve ll d ";

/// Whether a word carries no content.
pub fn is_empty(word: &str) -> bool {
    EMPTY.contains(&format!(" {word} "))
}

/// A word without the endings -ing, -ed, -es and -s, where three letters are left.
pub fn stem(word: &str) -> &str {
    for ending in ["ing", "ed", "es", "s"] {
        if let Some(stem) = word.strip_suffix(ending)
            && stem.chars().count() >= 3
        {
            return stem;
        }
    }
    word
}

/// The granule cell of a stem: FNV-1a, folded.
pub fn cell(stem: &str) -> u16 {
    let hash = stem.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
}

/// Content words of a text as (word as written, in lower case; granule cell), in their order.
pub fn content(text: &str) -> Vec<(String, u16)> {
    words(text)
        .into_iter()
        .filter(|word| !is_empty(word))
        .map(|word| {
            let cell = cell(stem(&word));
            (word, cell)
        })
        .collect()
}

/// Granule cells of a text with how often each is said, by cell.
pub fn cells(text: &str) -> Vec<(u16, u8)> {
    let mut counts: HashMap<u16, u8> = HashMap::new();
    for (_, cell) in content(text) {
        let count = counts.entry(cell).or_insert(0);
        *count = count.saturating_add(1);
    }
    let mut cells: Vec<(u16, u8)> = counts.into_iter().collect();
    cells.sort_unstable();
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_scripts() {
        assert_eq!(words("The Wi-Fi password, of 2026!"), ["the", "wi", "fi", "password", "of", "2026"]);
        assert_eq!(words("Die Straße von Größe"), ["die", "straße", "von", "größe"]);
        assert_eq!(words("李小龙 kung fu是"), ["李小", "小龙", "kung", "fu", "是"]);
        assert_eq!(words("田中さんの"), ["田中", "中さ", "さん", "んの"]);
        assert_eq!(words("عاصمة مملكة"), ["عاصمة", "مملكة"]);
        assert_eq!(words("हिन्दी भाषा"), ["हिन्दी", "भाषा"]);
        assert!(words("🦔🎉 -> !").is_empty());
    }

    #[test]
    fn forms_of_a_word_share_its_cell_and_words_differ() {
        assert_eq!(stem("painting"), stem("painted"));
        assert_eq!(stem("keys"), "key");
        assert_eq!(stem("is"), "is");
        assert_eq!(cells("Keys, keys and the key!"), [(cell("key"), 3)]);
        let names: Vec<String> = (0..2000).map(|i| format!("word{i}")).collect();
        let mut all: Vec<u16> = names.iter().map(|name| cell(name)).collect();
        all.sort_unstable();
        all.dedup();
        // 2,000 of 65,536 cells: 30 expected to be shared.
        assert!(all.len() > 1940, "{}", all.len());
    }
}
