//! Tokenizers: what is damaged is refused by name and never ends in a panic, texts come back whole however their tokens are cut,
//! and what a GGUF file embeds splits texts as the tokenizer.json of the same model does.

use crate::common::shared;
use crate::transformer::{Tiny, sharpwave, tiny};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Meta;
use proptest::prelude::*;
use serde_json::{Value, json};
use sharpwave::transformer::Source;
use sharpwave::transformer::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

const BUILT_IN: &str = include_str!("../../models/transformers/stories260K/tokenizer.json");

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K")
}

/// A folder with the built-in model and this tokenizer.json.
fn beside(tokenizer: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(stories().join(file), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    folder
}

fn tokenizer(json: &str) -> sharpwave::error::Result<Tokenizer> {
    Tokenizer::from_json(json.as_bytes(), "some/tokenizer.json", 512)
}

#[track_caller]
fn refused(json: &str, word: &str) {
    let error = tokenizer(json).expect_err("this tokenizer is damaged");
    let text = error.to_string();
    assert!(text.contains("some/tokenizer.json") && text.contains(word), "{text}");
    assert!(error.exit_code() == 2 && error.remedy().is_some(), "{text}");
}

/// A tokenizer of three letters with these parts in place of the usual ones.
fn small(parts: Value) -> String {
    let mut json = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}});
    json.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    json.to_string()
}

/// Files cut in the middle of a decoder, and whole ones whose parts do not fit: the library panics over each of them.
#[test]
fn tokenizers_that_do_not_fit_together_are_refused() {
    assert_eq!(tokenizer(&small(json!({}))).unwrap().encode("abba").unwrap(), [2, 1, 0]);
    let cut = |end: &str| {
        format!(r#"{{"model":{{"type":"BPE","vocab":{{"a":0}},"merges":[]}},"decoder":{{"type":"Sequence","decoders":[{end}"#)
    };
    refused(&cut(r#"{"type":"Fuse"},{"t"#), "EOF");
    refused(&cut("\n    "), "EOF");
    refused(r#"{"model": 3}"#, "vocab");
    refused("null", "vocab");
    refused("", "EOF");
    // Takes a character off the end of every token, where the empty text has none.
    let strip =
        json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 0, "stop": 1}]});
    refused(&small(json!({"decoder": strip})), "does not fit together");
    // The prefix of inner pieces is longer than the pieces.
    let model =
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "continuing_subword_prefix": "####"});
    refused(&small(json!({"model": model})), "");
    // A first token that has no embedding.
    let first = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [900], "tokens": ["<s>"]}}});
    refused(&small(json!({"post_processor": first})), "900");
    // A panic is not printed either.
    let folder = beside(&small(json!({"decoder": strip})));
    let (_, errors, code) = sharpwave(&["model", "info", folder.path().to_str().unwrap()]);
    assert!(code == 2 && errors.contains("tokenizer.json cannot be read") && !errors.contains("panicked"), "{errors}");
}

/// Puts something else in the place of the `at`-th value, counted through the tree.
fn replaced(value: &mut Value, at: &mut usize, by: &Value) {
    if *at == 0 {
        *value = by.clone();
        *at = usize::MAX;
        return;
    }
    *at = at.saturating_sub(1);
    match value {
        Value::Array(all) => all.iter_mut().for_each(|v| {
            if *at != usize::MAX {
                replaced(v, at, by)
            }
        }),
        Value::Object(all) => all.values_mut().for_each(|v| {
            if *at != usize::MAX {
                replaced(v, at, by)
            }
        }),
        _ => (),
    }
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let n = BUILT_IN.len();
    let mut short: Value = serde_json::from_str(BUILT_IN).unwrap();
    // Most of the values are merges; the parts that matter come up more often with few of them.
    short["model"]["merges"].as_array_mut().unwrap().truncate(5);
    let values = prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!(7)),
        Just(json!("\u{2581}")),
        Just(json!({"type": "Fuse"})),
        Just(json!({"type": "ByteLevel"})),
        Just(json!({"type": "Strip", "content": " ", "start": 0, "stop": 2})),
        Just(json!({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})),
    ];
    prop_oneof![
        (0..n).prop_map(|keep| BUILT_IN.as_bytes()[..keep].to_vec()),
        (0..n, any::<u8>()).prop_map(|(at, byte)| {
            let mut bytes = BUILT_IN.as_bytes().to_vec();
            bytes[at] = byte;
            bytes
        }),
        (0..n, 1..400usize).prop_map(|(at, length)| {
            let mut bytes = BUILT_IN.as_bytes().to_vec();
            bytes.drain(at..(at + length).min(bytes.len()));
            bytes
        }),
        (0..130usize, values).prop_map(move |(at, by)| {
            let mut json = short.clone();
            replaced(&mut json, &mut { at }, &by);
            json.to_string().into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    /// Whatever is read takes every text and every token afterwards.
    #[test]
    fn no_damaged_tokenizer_panics(bytes in damaged(), text in "\\PC{0,40}") {
        match Tokenizer::from_json(&bytes, "some/tokenizer.json", 512) {
            Err(error) => prop_assert!(error.to_string().contains("some/tokenizer.json") && error.exit_code() == 2, "{error}"),
            Ok(tokenizer) => {
                if let Ok(ids) = tokenizer.encode(&text) {
                    let _ = tokenizer.decode(&ids);
                    let mut stream = tokenizer.stream(&ids);
                    let _ = (0..512).map(|id| stream.push(id)).count();
                }
            }
        }
    }
}

#[test]
fn another_tokenizer_beside_the_same_weights_is_another_model() {
    let fingerprint = |json: &str| Source::open(beside(json).path().to_str().unwrap()).unwrap().fingerprint().unwrap();
    let built_in = Source::built_in().unwrap().fingerprint().unwrap();
    assert_eq!(fingerprint(BUILT_IN), built_in);
    // White space and the limits of the last use are not the tokenizer.
    let mut json: Value = serde_json::from_str(BUILT_IN).unwrap();
    json["padding"] =
        json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"});
    assert_eq!(fingerprint(&json.to_string()), built_in);
    json["model"]["merges"].as_array_mut().unwrap().pop();
    assert_ne!(fingerprint(&json.to_string()), built_in);
}

#[test]
fn the_two_damaged_files_at_hand_are_refused() {
    for name in ["tokenizer-panic-178.json", "tokenizer-panic-70.json"] {
        let Some(file) = shared(&format!("cases/llm/{name}")) else { return };
        let folder = beside(&std::fs::read_to_string(file).unwrap());
        let (_, errors, code) = sharpwave(&["model", "info", folder.path().to_str().unwrap()]);
        assert!(code == 2 && errors.contains("tokenizer.json cannot be read") && !errors.contains("panicked"), "{errors}");
    }
}

fn streamed(tokenizer: &Tokenizer, prompt: &[u32], ids: &[u32]) -> String {
    let mut stream = tokenizer.stream(prompt);
    let mut whole: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    whole += &stream.finish().unwrap();
    whole
}

/// Characters of one to four bytes, those that join to others, white space, and any other at all.
fn texts() -> impl Strategy<Value = String> {
    let known = "aZ0 \n\t'.éßждא中日本語한हि🙂👩🏽\u{200D}\u{301}\u{FFFD}\u{FE0F}\u{0}<>|x";
    let one = prop_oneof![3 => proptest::sample::select(known.chars().collect::<Vec<char>>()), 1 => any::<char>()];
    proptest::collection::vec(one, 0..24).prop_map(|all| all.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// The sign that stands for a space (U+2581) is one afterwards, and only that.
    #[test]
    fn a_stream_of_a_texts_tokens_is_the_text(text in texts(), cut in 0..24usize) {
        let tokenizer = tokenizer(BUILT_IN).unwrap();
        let text = text.replace('\u{2581}', "_");
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        prop_assert_eq!(streamed(&tokenizer, &[], &ids), text.clone());
        // Wherever the tokens end, the text so far is the start of the whole, and what is left are replacement characters.
        let some = &ids[..cut.min(ids.len())];
        let part = streamed(&tokenizer, &[], some);
        prop_assert!(text.starts_with(part.trim_end_matches('\u{FFFD}')), "{:?} of {:?}", part, text);
        // A stream that starts inside a character completes it.
        let rest = streamed(&tokenizer, some, &ids[some.len()..]);
        prop_assert!(text.ends_with(&rest), "{:?} of {:?}", rest, text);
        let whole = |text: &str| text.chars().filter(|c| *c != '\u{FFFD}').count();
        prop_assert!(whole(&part) + whole(&rest) >= whole(&text), "{:?} and {:?} of {:?}", part, rest, text);
    }
}

#[test]
fn bytes_that_are_no_character_take_nothing_with_them() {
    let tokenizer = tokenizer(BUILT_IN).unwrap();
    let bytes = |all: &[u8]| all.iter().map(|b| 3 + *b as u32).collect::<Vec<u32>>();
    for (given, expected) in [
        (&[0xE6, 0x97, 0xA5, 0xE6, 0x9C][..], "日\u{FFFD}\u{FFFD}"),
        (&[0xE2], "\u{FFFD}"),
        (&[0xA5, b'x', 0xF0, 0x9F, 0x99, 0x82, 0xFF], "\u{FFFD}x🙂\u{FFFD}"),
        (&[0xED, 0xA0, 0x80], "\u{FFFD}\u{FFFD}\u{FFFD}"),
    ] {
        assert_eq!(tokenizer.decode(&bytes(given)).unwrap(), expected);
        assert_eq!(streamed(&tokenizer, &[], &bytes(given)), expected);
    }
    assert_eq!(streamed(&tokenizer, &bytes(&[0xE6, 0x97]), &bytes(&[0xA5, b'!'])), "日!");
    // Each character as soon as it is whole.
    let mut stream = tokenizer.stream(&[]);
    let pieces: Vec<String> = bytes("é🙂".as_bytes()).iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(pieces, ["", "é", "", "", "", "🙂"]);
}

#[test]
fn smollm2_streams_every_text() {
    let Some(folder) = shared("models/SmolLM2-135M-Instruct-Q4_1") else { return };
    let bytes = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&bytes, "tokenizer.json", 49_152).unwrap();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() });
    // Its vocabulary has no token for these bytes.
    let lacks = |byte: u8| [0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2].contains(&byte);
    let same = runner.run(&texts(), |text| {
        let text: String = text.chars().filter(|c| !c.to_string().bytes().any(lacks)).collect();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        prop_assert_eq!(streamed(&tokenizer, &[], &ids), text);
        Ok(())
    });
    same.unwrap();
    let smile = tokenizer.encode("🙂").unwrap();
    assert!(smile.len() > 1);
    assert_eq!(streamed(&tokenizer, &[], &smile[..1]), "\u{FFFD}");
}

type Pieces = Vec<(&'static str, Meta)>;

/// Metadata of a SentencePiece tokenizer with the tokens of the built-in model; later pieces have lower scores.
fn pieces() -> Pieces {
    let json: Value = serde_json::from_str(BUILT_IN).unwrap();
    let mut tokens: Vec<(String, u64)> =
        json["model"]["vocab"].as_object().unwrap().iter().map(|(t, id)| (t.clone(), id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    let kind = |id: u64| {
        if id == 0 {
            2
        } else if id < 3 {
            3
        } else if id < 259 {
            6
        } else {
            1
        }
    };
    let list = |value: &dyn Fn(&(String, u64)) -> Meta| Meta::Array(tokens.iter().map(value).collect());
    vec![
        ("tokenizer.ggml.model", Meta::String("llama".into())),
        ("tokenizer.ggml.tokens", list(&|(t, _)| Meta::String(t.clone()))),
        ("tokenizer.ggml.scores", list(&|(_, id)| Meta::F32(if *id < 259 { 0.0 } else { 259.0 - *id as f32 }))),
        ("tokenizer.ggml.token_type", list(&|(_, id)| Meta::I32(kind(*id)))),
        ("tokenizer.ggml.bos_token_id", Meta::U32(1)),
    ]
}

fn sentence_piece(change: impl Fn(&mut Pieces)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let mut meta = pieces();
    change(&mut meta);
    let Tiny { config, tensors } = tiny("llama", json!({"vocab_size": 512}));
    Tiny { config, tensors }.write_gguf(&path, GgmlDType::F32, &meta);
    (folder, path)
}

#[test]
fn sentence_piece_in_gguf_splits_texts_as_the_tokenizer_json_does() {
    let reference = tokenizer(BUILT_IN).unwrap();
    let (_folder, path) = sentence_piece(|_| ());
    let embedded = Source::open(path.to_str().unwrap()).unwrap().tokenizer().unwrap();
    assert!(embedded.source.contains("embedded") && embedded.size() == 512);
    let long = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. ".repeat(9);
    for text in
        ["", " ", "  two  spaces ", "Once upon a time", "The cat's name is \"Zoë\".\n\n", "日本 🙂 a", "<s> x</s>y", &long]
    {
        let ids = embedded.encode(text).unwrap();
        assert_eq!(ids, reference.encode(text).unwrap(), "{text}");
        assert_eq!(embedded.decode(&ids).unwrap(), reference.decode(&ids).unwrap());
    }
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() });
    let texts = prop_oneof![texts(), "[a-zA-Z ,.]{0,60}"];
    let same = runner.run(&texts, |text| {
        prop_assert_eq!(embedded.encode(&text).unwrap(), reference.encode(&text).unwrap());
        Ok(())
    });
    same.unwrap();
    // Without the space before a text, and without its first token.
    let (_folder, path) = sentence_piece(|meta| {
        meta.push(("tokenizer.ggml.add_space_prefix", Meta::Bool(false)));
        meta.push(("tokenizer.ggml.add_bos_token", Meta::Bool(false)));
    });
    let bare = Source::open(path.to_str().unwrap()).unwrap().tokenizer().unwrap();
    let the = bare.id("he").unwrap();
    assert_eq!(bare.encode("he").unwrap(), [the]);
    assert_eq!(bare.decode(&bare.encode(" he is ").unwrap()).unwrap(), " he is ");
    let refused = |change: &dyn Fn(&mut Pieces), words: [&str; 2]| {
        let (_folder, path) = sentence_piece(change);
        let error = Source::open(path.to_str().unwrap()).unwrap().tokenizer().unwrap_err();
        let text = format!("{error} {}", error.remedy().unwrap_or(""));
        assert!(words.iter().all(|word| text.contains(word)) && error.exit_code() == 2, "{text}");
    };
    refused(&|meta| meta.retain(|(key, _)| !key.ends_with("scores")), ["tokenizer.ggml.scores", "tokenizer.json beside"]);
    refused(&|meta| meta[2].1 = Meta::Array(vec![Meta::F32(0.0); 3]), ["3 scores for 512 tokens", "tiny.gguf"]);
    refused(&|meta| meta[0].1 = Meta::String("rwkv".into()), ["`rwkv`", "`llama` (SentencePiece)"]);
}
