//! Text to tokens and back: a tokenizer.json, or the byte-level BPE that a GGUF file embeds. Knows no weights; a vocabulary
//! that does not fit the embedding is refused.

use super::gguf::Gguf;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::ops::Range;
use std::path::Path;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Where it was read from.
    pub source: String,
    /// Control tokens and their texts, longer ones first.
    controls: Vec<(u32, String)>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer of {} tokens from {}", self.size(), self.source)
    }
}

impl Tokenizer {
    /// From the bytes of a tokenizer.json, which `file` names in messages. `vocabulary` is the number of embeddings.
    pub fn from_json(bytes: &[u8], file: &str, vocabulary: usize) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| {
            Error::input(format!("{file} cannot be read: {e}"), "take tokenizer.json as it was published with the model")
        })?;
        Tokenizer::checked(inner, file, vocabulary)
    }

    /// From a file.
    pub fn from_file(path: &Path, vocabulary: usize) -> Result<Tokenizer> {
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
        Tokenizer::from_json(&bytes, &path.display().to_string(), vocabulary)
    }

    fn checked(mut inner: tokenizers::Tokenizer, file: &str, vocabulary: usize) -> Result<Tokenizer> {
        // A text is never cut or filled up here, whatever the tokenizer was last used for.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Error::input(format!("{file}: {e}"), "take the tokenizer as it was published"))?;
        let beyond = inner.get_vocab(true).into_iter().filter(|(_, id)| *id as usize >= vocabulary).max_by_key(|(_, id)| *id);
        match beyond {
            Some((token, id)) => Err(Error::input(
                format!("{file}: token `{token}` has the number {id}, the model has {vocabulary} embeddings"),
                "use the tokenizer that belongs to the model",
            )),
            None => {
                let added = inner.get_added_tokens_decoder();
                let control = |(id, token): (u32, tokenizers::AddedToken)| {
                    (token.special && !token.content.is_empty()).then_some((id, token.content))
                };
                let mut controls: Vec<(u32, String)> = added.into_iter().filter_map(control).collect();
                controls.sort_by(|(a, one), (b, other)| other.len().cmp(&one.len()).then(a.cmp(b)));
                Ok(Tokenizer { inner, source: file.into(), controls })
            }
        }
    }

    /// From the metadata of a GGUF file.
    pub(super) fn from_gguf(gguf: &Gguf, vocabulary: usize) -> Result<Tokenizer> {
        let file = gguf.path.display().to_string();
        let beside = "put the model's tokenizer.json beside the file";
        let model = gguf.text("tokenizer.ggml.model")?.unwrap_or("none");
        if model != "gpt2" {
            let what =
                format!("{file}: the embedded tokenizer is of the kind `{model}`; only `gpt2` (byte-level BPE) is understood");
            return Err(Error::input(what, beside));
        }
        let missing = |key: &str| Error::input(format!("{file}: the embedded tokenizer has no `{key}`"), beside);
        let tokens = gguf.texts("tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let merges = gguf.texts("tokenizer.ggml.merges")?.ok_or_else(|| missing("tokenizer.ggml.merges"))?;
        let kinds = gguf.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
        let name = gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let Some((steps, first_token, ignore_merges)) = pre_tokenizer(name) else {
            let what = format!("{file}: the embedded tokenizer splits text by the rules of `{name}`, which are not understood");
            return Err(Error::input(what, beside));
        };
        let merges: Option<Vec<(&str, &str)>> = merges.iter().map(|m| m.split_once(' ')).collect();
        let merges =
            merges.ok_or_else(|| Error::input(format!("{file}: a merge of the embedded tokenizer is not a pair"), beside))?;
        let vocab: serde_json::Map<String, Value> =
            tokens.iter().enumerate().map(|(id, token)| (token.to_string(), Value::from(id))).collect();
        // Control tokens (3) are not text; those that users defined (4) are.
        let added =
            kinds.iter().zip(&tokens).enumerate().filter(|(_, (kind, _))| matches!(**kind, 3 | 4)).map(|(id, (kind, token))| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": *kind == 3})
            });
        let bos = gguf.integer("tokenizer.ggml.bos_token_id")?.filter(|_| first_token);
        let bos = match gguf.flag("tokenizer.ggml.add_bos_token")? {
            Some(false) => None,
            Some(true) => gguf.integer("tokenizer.ggml.bos_token_id")?,
            None => bos,
        };
        let bos = bos.and_then(|id| tokens.get(id as usize).map(|token| (id, *token)));
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let post = bos.map(|(id, token)| {
            let first = json!({"SpecialToken": {"id": token, "type_id": 0}});
            let special = json!({ token: {"id": token, "ids": [id], "tokens": [token]} });
            json!({"type": "TemplateProcessing", "single": [first, text], "pair": [first, text], "special_tokens": special})
        });
        let whole = json!({
            "version": "1.0",
            "added_tokens": added.collect::<Vec<Value>>(),
            "normalizer": if name.contains("qwen") { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": post,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges},
        });
        Tokenizer::from_json(whole.to_string().as_bytes(), &format!("{file} (embedded)"), vocabulary)
    }

    /// Tokens that it knows.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The tokens of a text, with those that the model's texts start with.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokens(text, true)
    }

    /// The tokens of a text and nothing else.
    pub fn encode_bare(&self, text: &str) -> Result<Vec<u32>> {
        self.tokens(text, false)
    }

    fn tokens(&self, text: &str, dressed: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, dressed);
        let encoding = encoding
            .map_err(|e| Error::input(format!("the text cannot be tokenized: {e}"), "use a text that this model knows"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens that follow the text `before` when `text` stands after it, as far as those of `before` stay what they are alone;
    /// else the tokens that spell `text` out there. What a model is to write after a prompt.
    pub fn encode_after(&self, before: &str, text: &str) -> Result<Vec<u32>> {
        let start = self.encode_bare(before)?;
        let whole = self.encode_bare(&format!("{before}{text}"))?;
        if let Some(rest) = whole.strip_prefix(&start[..]) {
            return Ok(rest.to_vec());
        }
        // The tokenizer joins the two where they meet: the text's own tokens, then. Some tokenizers put a space before a text of its
        // own, but none after the end of a line.
        let alone = self.encode_bare(text)?;
        let spelled = self.spell(&whole)?;
        if self.spell(&[&start[..], &alone].concat())? == spelled {
            return Ok(alone);
        }
        let line = self.encode_bare("\n")?;
        let below = self.encode_bare(&format!("\n{text}"))?;
        Ok(match below.strip_prefix(&line[..]) {
            Some(rest) if self.spell(&[&start[..], rest].concat())? == spelled => rest.to_vec(),
            _ => alone,
        })
    }

    /// What it puts before a text; may be empty.
    pub fn leading(&self) -> Result<Vec<u32>> {
        let (mut dressed, bare) = (self.encode("a")?, self.encode_bare("a")?);
        let at = dressed.windows(bare.len().max(1)).position(|window| window == bare).unwrap_or(dressed.len());
        dressed.truncate(at);
        Ok(dressed)
    }

    /// The number of a control token by its text.
    pub fn control(&self, text: &str) -> Option<u32> {
        self.controls.iter().find(|(_, token)| token == text).map(|(id, _)| *id)
    }

    /// The text of a token, as the vocabulary has it.
    pub fn name(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The control tokens in a text, and where they stand.
    pub fn controls_in<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (u32, Range<usize>)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() {
                let rest = &text[at..];
                if let Some((id, token)) = self.controls.iter().find(|(_, token)| rest.starts_with(token.as_str())) {
                    let span = at..at + token.len();
                    at = span.end;
                    return Some((*id, span));
                }
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
            None
        })
    }

    /// The text of tokens; control tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, true)
    }

    /// The text of tokens, control tokens included.
    pub fn spell(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, false)
    }

    fn text(&self, ids: &[u32], plain: bool) -> Result<String> {
        let text = self.inner.decode(ids, plain);
        text.map_err(|e| {
            Error::input(format!("tokens of {} cannot be decoded: {e}", self.source), "use the model's own tokenizer")
        })
    }

    /// The number of a token by its text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Text that appears token by token after `prompt`.
    pub fn stream(&self, prompt: &[u32]) -> TextStream<'_> {
        let mut start = prompt.len().saturating_sub(6);
        // Not inside a character: some tokenizers spell a run of bytes that starts there as no text at all.
        while start > 0 && self.decode(&prompt[start..]).is_ok_and(|text| text.starts_with('\u{FFFD}')) {
            start = start.saturating_sub(5);
        }
        TextStream { tokenizer: self, ids: prompt.to_vec(), start, read: prompt.len() }
    }
}

/// Whole characters as soon as their tokens are there: a token may end inside one.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Decoding starts here, a little before what is new, because the text of a token may depend on the one before.
    start: usize,
    /// Tokens whose text was given out.
    read: usize,
}

impl TextStream<'_> {
    /// The text that this token completes; may be empty.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.ids.push(token);
        let new = self.rest()?;
        if new.is_empty() || new.ends_with('\u{FFFD}') {
            return Ok(String::new());
        }
        if !self.tokenizer.decode(&self.ids[self.start..self.read])?.ends_with('\u{FFFD}') {
            self.start = self.read;
        }
        self.read = self.ids.len();
        Ok(new)
    }

    /// What is left at the end: a character that was never completed, as a replacement character.
    pub fn finish(self) -> Result<String> {
        self.rest()
    }

    fn rest(&self) -> Result<String> {
        let old = self.tokenizer.decode(&self.ids[self.start..self.read])?;
        let all = self.tokenizer.decode(&self.ids[self.start..])?;
        if let Some(new) = all.strip_prefix(&old) {
            return Ok(new.to_string());
        }
        // A prompt may end inside a character, which a later token completes.
        let same = all.chars().zip(old.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum::<usize>();
        Ok(all[same..].to_string())
    }
}

/// How llama.cpp's `tokenizer.ggml.pre` splits text: the steps, whether texts start with the first token unless the file says
/// otherwise, and whether whole words of the vocabulary are taken without merging.
fn pre_tokenizer(name: &str) -> Option<(Value, bool, bool)> {
    const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
    const REST: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |digits: &str| {
        let regex = format!("{WORDS}{digits}{REST}");
        json!([{"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}, bytes(false)])
    };
    match name {
        "default" | "gpt2" | "gpt-2" => Some((json!([bytes(true)]), false, false)),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Some((json!([{"type": "Digits", "individual_digits": true}, bytes(true)]), false, false))
        }
        "llama3" | "llama-v3" | "llama-bpe" => Some((split(r"\p{N}{1,3}"), true, true)),
        "qwen2" | "deepseek-r1-qwen" => Some((split(r"\p{N}"), false, false)),
        _ => None,
    }
}
