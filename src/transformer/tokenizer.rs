//! Text to tokens and back: a tokenizer.json, or what a GGUF file embeds (byte-level BPE, SentencePiece with scores), which is put
//! into the form of a tokenizer.json first. Knows no weights; a vocabulary that does not fit the embedding is refused, and so is a
//! description over which the tokenizer's library gives up, when it is read and not when it is used.

use super::gguf::Gguf;
use crate::error::{Error, Result, quietly};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::Range;
use tokenizers::{Decoder as _, Model as _};

/// Texts that a tokenizer must be able to take before it is used: scripts, white space, marks, nothing, and what is not text.
const TRIED: [&str; 12] = [
    "",
    " ",
    "a",
    "The capital of France is Paris, isn't it? 12345 + 6.7",
    "  def f(x):\n\treturn x  \r\n\n",
    "Zoë läuft über die Straße; naïve façade",
    "Съешь же ещё этих мягких булок",
    "日本語の文と漢字、한국어 문장",
    "مرحبا بالعالم שלום",
    "हिन्दी ไทย",
    "🙂👩‍👩‍👧🏽 e\u{301}",
    "\u{0}\u{7F}\u{2581}\u{FFFD}\u{10FFFF}",
];

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Whether tokens like `<0xE2>` are joined to characters.
    byte_tokens: bool,
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

/// What the bytes of a tokenizer.json say; `file` names it in messages.
fn description(bytes: &[u8], file: &str) -> Result<Value> {
    let json: Value = serde_json::from_slice(bytes).map_err(|e| unreadable(file, &e.to_string()))?;
    let model = json.get("model").is_some_and(|m| m.get("vocab").is_some_and(|v| v.is_object() || v.is_array()));
    if model { Ok(json) } else { Err(unreadable(file, "it has no `model` with a `vocab`")) }
}

/// The same text for every tokenizer.json that splits texts in the same way as far as its layout goes: without white space, and
/// without the limits on the length of texts, which are not used here.
pub(super) fn canonical(bytes: &[u8], file: &str) -> Result<String> {
    let mut json = description(bytes, file)?;
    for limit in ["truncation", "padding"] {
        json.as_object_mut().map(|all| all.remove(limit));
    }
    json.sort_all_objects();
    Ok(json.to_string())
}

fn unreadable(file: &str, what: &str) -> Error {
    let what = what.lines().next().unwrap_or("");
    Error::input(format!("{file} cannot be read: {what}"), "take tokenizer.json as it was published with the model")
}

/// Work of the tokenizer's library, which panics over some damaged descriptions.
fn guarded<T>(file: &str, work: impl FnOnce() -> T) -> Result<T> {
    quietly(work).map_err(|_| unreadable(file, "what it says about text does not fit together"))
}

/// Whether a decoder, or a step of it, joins tokens of single bytes.
fn joins_bytes(decoder: &Value) -> bool {
    let steps = decoder.get("decoders").and_then(Value::as_array);
    decoder.get("type").is_some_and(|t| t == "ByteFallback") || steps.is_some_and(|all| all.iter().any(joins_bytes))
}

/// The byte that a token like `<0xE2>` stands for.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Tokenizer {
    /// From the bytes of a tokenizer.json, which `file` names in messages. `vocabulary` is the number of embeddings.
    ///
    /// # Errors
    /// Bytes that are not a tokenizer, tokens without an embedding, and a tokenizer that cannot take some text or token.
    pub fn from_json(bytes: &[u8], file: &str, vocabulary: usize) -> Result<Tokenizer> {
        let byte_tokens = description(bytes, file)?.get("decoder").is_some_and(joins_bytes);
        let inner = guarded(file, || {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
            // A text is never cut or filled up here, whatever the tokenizer was last used for.
            inner.with_padding(None);
            inner.with_truncation(None)?;
            Ok(inner)
        })?;
        let inner = inner.map_err(|e: tokenizers::Error| unreadable(file, &e.to_string()))?;
        let added = guarded(file, || inner.get_added_tokens_decoder())?;
        let control = |(id, token): (u32, tokenizers::AddedToken)| {
            (token.special && !token.content.is_empty()).then_some((id, token.content))
        };
        let mut controls: Vec<(u32, String)> = added.into_iter().filter_map(control).collect();
        controls.sort_by(|(a, one), (b, other)| other.len().cmp(&one.len()).then(a.cmp(b)));
        let tokenizer = Tokenizer { inner, byte_tokens, source: file.into(), controls };
        tokenizer.tried(vocabulary)?;
        Ok(tokenizer)
    }

    /// Refuses tokens beyond the embeddings, and what the library gives up over. A text that a small vocabulary has no token for
    /// is not a flaw of the tokenizer.
    fn tried(&self, vocabulary: usize) -> Result<()> {
        let beyond = |token: &str, id: u32| {
            Err(Error::input(
                format!("{}: token `{token}` has the number {id}, the model has {vocabulary} embeddings", self.source),
                "use the tokenizer that belongs to the model",
            ))
        };
        let all = guarded(&self.source, || self.inner.get_vocab(true))?;
        if let Some((token, id)) = all.iter().filter(|(_, id)| **id as usize >= vocabulary).max_by_key(|(_, id)| **id) {
            return beyond(token, *id);
        }
        for text in TRIED {
            let ids = guarded(&self.source, || self.inner.encode_fast(text, true).map_or(Vec::new(), |e| e.get_ids().to_vec()))?;
            if let Some(id) = ids.into_iter().find(|id| *id as usize >= vocabulary) {
                return beyond(&self.inner.id_to_token(id).unwrap_or_default(), id);
            }
        }
        let mut ids: Vec<u32> = all.into_values().collect();
        ids.sort_unstable();
        guarded(&self.source, || {
            let _ = self.joined(&[], true);
            ids.iter().for_each(|id| drop(self.joined(&[*id], true)));
            let _ = self.joined(&ids, true);
        })
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
        let encoding = guarded(&self.source, || self.inner.encode_fast(text, dressed))?;
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

    /// The text of tokens; control tokens are left out. Bytes that are not a character become replacement characters, one for each
    /// byte where tokens are bytes, and take nothing with them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, true)
    }

    /// The text of tokens, control tokens included.
    pub fn spell(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, false)
    }

    fn text(&self, ids: &[u32], plain: bool) -> Result<String> {
        let text = guarded(&self.source, || self.joined(ids, plain))?;
        text.map_err(|e| {
            Error::input(format!("tokens of {} cannot be decoded: {e}", self.source), "use the model's own tokenizer")
        })
    }

    fn joined(&self, ids: &[u32], plain: bool) -> tokenizers::Result<String> {
        let Some(decoder) = self.inner.get_decoder().filter(|_| self.byte_tokens) else { return self.inner.decode(ids, plain) };
        let added = self.inner.get_added_vocabulary();
        let token = |id: &u32| added.simple_id_to_token(*id).or_else(|| self.inner.get_model().id_to_token(*id));
        let mut tokens: Vec<String> =
            ids.iter().filter_map(token).filter(|token| !(plain && added.is_special_token(token))).collect();
        // The library gives up a whole run of bytes where one of them is wrong.
        for run in tokens.chunk_by_mut(|a, b| byte(a).is_some() && byte(b).is_some()) {
            let bytes: Vec<u8> = run.iter().filter_map(|token| byte(token)).collect();
            let mut at = 0;
            for chunk in bytes.utf8_chunks() {
                at += chunk.valid().len();
                let end = at + chunk.invalid().len();
                run[at..end].fill(char::REPLACEMENT_CHARACTER.into());
                at = end;
            }
        }
        decoder.decode(tokens)
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
        if new.is_empty() || new.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        if !self.tokenizer.decode(&self.ids[self.start..self.read])?.ends_with('\u{FFFD}') {
            self.start = self.read;
        }
        self.read = self.ids.len();
        Ok(new)
    }

    /// What is left at the end: the bytes of a character that was never completed, as replacement characters.
    pub fn finish(self) -> Result<String> {
        self.rest()
    }

    /// What the new tokens add. The old ones may end inside a character (the prompt may), which the new ones complete.
    fn rest(&self) -> Result<String> {
        let old = self.tokenizer.decode(&self.ids[self.start..self.read])?;
        let all = self.tokenizer.decode(&self.ids[self.start..])?;
        if let Some(new) = all.strip_prefix(&old) {
            return Ok(new.to_string());
        }
        let same = old.chars().zip(all.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum();
        Ok(all[same..].to_string())
    }
}

/// What a GGUF file embeds, in the form of a tokenizer.json.
pub(super) fn embedded(gguf: &Gguf) -> Result<Vec<u8>> {
    let embedded = Embedded { gguf, file: gguf.path.display().to_string() };
    let whole = match gguf.text("tokenizer.ggml.model")?.unwrap_or("none") {
        "gpt2" => embedded.byte_level()?,
        "llama" => embedded.sentence_piece()?,
        "bert" => embedded.word_piece()?,
        other => {
            return Err(embedded.flaw(&format!(
                "is of the kind `{other}`; `gpt2` (byte-level BPE), `llama` (SentencePiece) and `bert` (WordPiece) are understood"
            )));
        }
    };
    Ok(whole.to_string().into_bytes())
}

/// llama.cpp's kinds of tokens.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const BYTE: i64 = 6;

/// The tokenizer in the metadata of a GGUF file.
struct Embedded<'a> {
    gguf: &'a Gguf,
    file: String,
}

impl<'a> Embedded<'a> {
    fn flaw(&self, what: &str) -> Error {
        Error::input(format!("{}: the embedded tokenizer {what}", self.file), "put the model's tokenizer.json beside the file")
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>> {
        self.gguf.texts(key)?.ok_or_else(|| self.flaw(&format!("has no `{key}`")))
    }

    fn kinds(&self) -> Result<Vec<i64>> {
        Ok(self.gguf.integers("tokenizer.ggml.token_type")?.unwrap_or_default())
    }

    fn byte_level(&self) -> Result<Value> {
        let tokens = self.texts("tokenizer.ggml.tokens")?;
        let merges = self.texts("tokenizer.ggml.merges")?;
        let name = self.gguf.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let Some((steps, first_token, ignore_merges)) = pre_tokenizer(name) else {
            return Err(self.flaw(&format!("splits text by the rules of `{name}`, which are not understood")));
        };
        let merges: Option<Vec<(&str, &str)>> = merges.iter().map(|m| m.split_once(' ')).collect();
        let merges = merges.ok_or_else(|| self.flaw("has a merge that is not a pair"))?;
        Ok(json!({
            "version": "1.0",
            "added_tokens": added(&tokens, &self.kinds()?),
            "normalizer": if name.contains("qwen") { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": self.first(&tokens, first_token)?,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "ignore_merges": ignore_merges, "vocab": vocabulary(&tokens), "merges": merges},
        }))
    }

    /// SentencePiece joins the neighbours whose union has the highest score; the same as merges in the order of these scores.
    fn sentence_piece(&self) -> Result<Value> {
        let tokens = self.texts("tokenizer.ggml.tokens")?;
        let scores = self.gguf.numbers("tokenizer.ggml.scores")?.ok_or_else(|| self.flaw("has no `tokenizer.ggml.scores`"))?;
        if scores.len() != tokens.len() {
            return Err(self.flaw(&format!("has {} scores for {} tokens", scores.len(), tokens.len())));
        }
        let kinds = self.kinds()?;
        let is = |id: usize, kind: i64| kinds.get(id) == Some(&kind);
        let known: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
        let whole = |id: &usize| !(is(*id, UNKNOWN) || is(*id, CONTROL) || is(*id, BYTE));
        let mut order: Vec<usize> = (0..tokens.len()).filter(whole).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut merges: Vec<(&str, &str)> = Vec::new();
        for id in order {
            let splits = tokens[id].char_indices().skip(1).map(|(at, _)| tokens[id].split_at(at));
            let mut pairs: Vec<(&str, &str)> = splits.filter(|(l, r)| known.contains_key(l) && known.contains_key(r)).collect();
            pairs.sort_by_key(|(l, r)| (known[l], known[r]));
            merges.extend(pairs);
        }
        let space = self.gguf.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
        let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if space {
            steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0",
            "added_tokens": added(&tokens, &kinds),
            "normalizer": {"type": "Sequence", "normalizers": if space { vec![prefix, spaces] } else { vec![spaces] }},
            "pre_tokenizer": null,
            "post_processor": self.first(&tokens, true)?,
            "decoder": {"type": "Sequence", "decoders": steps},
            "model": {
                "type": "BPE", "unk_token": (0..tokens.len()).find(|id| is(*id, UNKNOWN)).map(|id| tokens[id]), "fuse_unk": true,
                "byte_fallback": (0..tokens.len()).any(|id| is(id, BYTE)), "vocab": vocabulary(&tokens), "merges": merges,
            },
        }))
    }

    /// WordPiece in lower case. llama.cpp marks the tokens that begin a word, the vocabulary of BERT those that go on with one.
    fn word_piece(&self) -> Result<Value> {
        let (tokens, kinds) = (self.texts("tokenizer.ggml.tokens")?, self.kinds()?);
        let as_published = tokens.iter().any(|token| token.starts_with("##"));
        let is_mark = |id: usize| kinds.get(id).is_some_and(|kind| [CONTROL, UNKNOWN].contains(kind));
        let spelled = |(id, token): (usize, &&str)| match token.strip_prefix('\u{2581}') {
            _ if as_published || is_mark(id) => token.to_string(),
            Some(start) => start.to_string(),
            None => format!("##{token}"),
        };
        let words: Vec<String> = tokens.iter().enumerate().map(spelled).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let marked = |key: &str, usual: &'static str| -> Result<Value> {
            let id = self.gguf.integer(key)?.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < words.len());
            let id = id.or_else(|| words.iter().position(|word| *word == usual)).ok_or_else(|| self.flaw("has no marks"))?;
            Ok(json!([words[id], id]))
        };
        let (first, last) =
            (marked("tokenizer.ggml.cls_token_id", "[CLS]")?, marked("tokenizer.ggml.seperator_token_id", "[SEP]")?);
        Ok(json!({
            "version": "1.0",
            "added_tokens": added(&words, &kinds.iter().map(|k| if *k == UNKNOWN { CONTROL } else { *k }).collect::<Vec<_>>()),
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": last, "cls": first},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary(&words)},
        }))
    }

    /// The step that puts the first token before a text, where the file or else the kind of tokenizer wants it.
    fn first(&self, tokens: &[&str], usual: bool) -> Result<Value> {
        let wanted = self.gguf.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(usual);
        let id = self.gguf.integer("tokenizer.ggml.bos_token_id")?.filter(|_| wanted);
        let Some((id, token)) = id.and_then(|id| Some((id, *tokens.get(usize::try_from(id).ok()?)?))) else {
            return Ok(Value::Null);
        };
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let first = json!({"SpecialToken": {"id": token, "type_id": 0}});
        let special = json!({ token: {"id": token, "ids": [id], "tokens": [token]} });
        Ok(json!({"type": "TemplateProcessing", "single": [first, text], "pair": [first, text], "special_tokens": special}))
    }
}

fn vocabulary(tokens: &[&str]) -> serde_json::Map<String, Value> {
    tokens.iter().enumerate().map(|(id, token)| (token.to_string(), Value::from(id))).collect()
}

/// Tokens that are found in a text before it is split. Control tokens are not text; those that users defined are.
fn added(tokens: &[&str], kinds: &[i64]) -> Vec<Value> {
    let chosen = tokens.iter().zip(kinds).enumerate().filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(*kind));
    chosen
        .map(|(id, (token, kind))| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": *kind == CONTROL})
        })
        .collect()
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
