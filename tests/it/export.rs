//! Adapters as files: every format read back, others' files, what a rank loses, what is refused and how it is said, nothing half
//! written; and the readers themselves, llama.cpp and PEFT, where Python has them.

use crate::common::{python, script, shared};
use crate::transformer::{TOKENS, Tiny, drawn, largest, plain, said, sharpwave, stories, tiny};
use candle_core::quantized::gguf_file::{self, Value as Meta};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use sharpwave::error::{Error, Result};
use sharpwave::export::{self, Base, Budget, Fact, Format, Options, Rank, Report};
use sharpwave::transformer::decoder::{Decoder, Logits};
use sharpwave::transformer::hooks::{Adapter, LowRank, Recorder};
use sharpwave::transformer::low_rank::{self, combined};
use sharpwave::transformer::site::{Linear, Site};
use sharpwave::transformer::{Host, Source};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const PROMPT: &str = "Once upon a time there was a red ball";
const MLP: [Linear; 3] = [Linear::Gate, Linear::Up, Linear::Down];

fn base(host: &Host) -> Base {
    Base { name: "stories260k".into(), fingerprint: "5eed".into(), config: host.decoder.config.clone() }
}

/// Random terms of different ranks and scales on all seven kinds of linear layers, spread over the layers.
fn random(host: &Host, seed: u32) -> Adapter {
    let config = &host.decoder.config;
    let mut adapter = Adapter::default();
    for (i, linear) in Linear::IN_LAYER.into_iter().enumerate() {
        for layer in [i % config.layers, (i + 2) % config.layers] {
            let ((outputs, inputs), rank, sub) = (config.shape(linear), 1 + i % 4, seed + 100 * i as u32 + layer as u32);
            let (a, b) = (drawn(rank * inputs, 0.1, 2 * sub), drawn(outputs * rank, 0.3, 2 * sub + 1));
            adapter.insert(config, Site { layer, linear }, LowRank { rank, a, b, scale: 0.5 + 0.2 * i as f32 }).unwrap();
        }
    }
    adapter
}

fn one(host: &Host, linear: Linear, rank: usize, sub: u32) -> Adapter {
    let (outputs, inputs) = host.decoder.config.shape(linear);
    let (a, b) = (drawn(rank * inputs, 0.1, sub), drawn(outputs * rank, 0.3, sub + 1));
    let mut adapter = Adapter::default();
    adapter.insert(&host.decoder.config, Site { layer: 1, linear }, LowRank { rank, a, b, scale: 1.0 }).unwrap();
    adapter
}

fn logits(decoder: &Decoder, adapter: &Adapter, tokens: &[u32]) -> Vec<f32> {
    decoder.forward(&mut [decoder.cache()], &[tokens], Logits::All, &mut { adapter }).unwrap_or_else(|e| panic!("{e}")).logits
}

fn write(host: &Host, adapter: &Adapter, options: &Options, out: &Path) -> Result<Report> {
    export::export(adapter, &[], &host.decoder, &base(host), options, out)
}

fn reread(host: &Host, path: &Path) -> Result<Adapter> {
    export::read(path)?.adapter(&base(host))
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("this should have been refused");
    let text = format!("{error} {}", error.remedy().unwrap_or(""));
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(error.exit_code() == 2 && error.remedy().is_some_and(|r| !r.is_empty()), "{text}");
}

fn entries(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into()).collect();
    all.sort();
    all
}

/// The file of an adapter that holds its numbers.
fn weights(path: &Path) -> PathBuf {
    let names = ["adapter_model.safetensors", "adapters.safetensors"];
    names.map(|name| path.join(name)).into_iter().find(|p| p.is_file()).unwrap_or(path.into())
}

#[test]
fn every_format_gives_the_adapter_back() {
    let host = stories();
    let adapter = random(&host, 1);
    let tokens = host.tokenizer.encode(PROMPT).unwrap();
    let (before, with) = (plain(&host.decoder, &tokens), logits(&host.decoder, &adapter, &tokens));
    assert!(largest(&before, &with) > 1.0, "the adapter changes too little to be a test");
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let out = folder.path().join(format!("{}.gguf", format.name()));
        let options = Options::new(format).with_prompts(vec![tokens.clone()]);
        let report = write(&host, &adapter, &options, &out).unwrap();
        assert_eq!(report.rank, if format == Format::VllmDir { 8 } else { 4 });
        assert!(report.difference < 1e-5 && report.sites.len() == 14 && report.lost.is_empty(), "{report:?}");
        assert!(report.sites.iter().all(|s| s.energy == 1.0 && s.rank == s.terms));
        let read = export::read(&out).unwrap();
        assert_eq!(read.fingerprint.as_deref(), Some("5eed"));
        assert_eq!(read.base.as_deref(), Some("stories260k"));
        let again = read.adapter(&base(&host)).unwrap();
        assert!(again.terms().all(|(_, term)| term.rank == report.rank && term.scale == 1.0));
        let worst = largest(&with, &logits(&host.decoder, &again, &tokens));
        assert!(worst < 1e-4, "{}: {worst}", format.name());
        // The same adapter is the same bytes.
        let first = std::fs::read(weights(&out)).unwrap();
        write(&host, &adapter, &options.with_force(true), &out).unwrap();
        assert!(first == std::fs::read(weights(&out)).unwrap(), "{}", format.name());
    }
    assert_eq!(entries(folder.path()), ["gguf.gguf", "mlx.gguf", "peft.gguf", "vllm-dir.gguf"]);
    assert_eq!(entries(&folder.path().join("peft.gguf")), ["adapter_config.json", "adapter_model.safetensors"]);
}

/// The files as their readers' sources want them, read here without the code that wrote them.
#[test]
fn names_shapes_and_settings_are_the_readers() {
    let host = stories();
    let config = &host.decoder.config;
    let site = |layer, linear| Site { layer, linear };
    let mut adapter = Adapter::default();
    let down = LowRank { rank: 2, a: drawn(2 * 172, 0.1, 1), b: drawn(64 * 2, 0.1, 2), scale: 2.0 };
    adapter.insert(config, site(1, Linear::Down), down.clone()).unwrap();
    adapter
        .insert(config, site(3, Linear::Q), LowRank { rank: 1, a: drawn(64, 0.1, 3), b: drawn(64, 0.1, 4), scale: 1.0 })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |path: PathBuf| serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let load = |path: PathBuf| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();

    write(&host, &adapter, &Options::new(Format::Peft), &at("peft")).unwrap();
    let settings = text(at("peft/adapter_config.json"));
    assert_eq!((&settings["r"], &settings["lora_alpha"], &settings["peft_type"]), (&json!(2), &json!(2), &json!("LORA")));
    assert_eq!(settings["target_modules"], json!(["q_proj", "down_proj"]));
    assert_eq!((&settings["layers_to_transform"], &settings["layers_pattern"]), (&json!([1, 3]), &json!("layers")));
    let tensors = load(at("peft/adapter_model.safetensors"));
    // Both kinds in both layers: what the adapter lacks is zero.
    assert_eq!(tensors.len(), 8);
    let name = "base_model.model.model.layers.1.mlp.down_proj";
    assert_eq!(numbers(&tensors[&format!("{name}.lora_A.weight")]), down.a);
    assert_eq!(numbers(&tensors[&format!("{name}.lora_B.weight")]), down.b.iter().map(|x| 2.0 * x).collect::<Vec<f32>>());
    assert_eq!(tensors["base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"].dims(), [2, 64]);
    assert!(numbers(&tensors["base_model.model.model.layers.3.mlp.down_proj.lora_B.weight"]).iter().all(|x| *x == 0.0));

    write(&host, &adapter, &Options::new(Format::Mlx), &at("mlx")).unwrap();
    let settings = text(at("mlx/adapter_config.json"));
    assert_eq!((&settings["fine_tune_type"], &settings["num_layers"]), (&json!("lora"), &json!(4)));
    let keys = json!(["mlp.down_proj", "self_attn.q_proj"]);
    assert_eq!(settings["lora_parameters"], json!({"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": keys}));
    let tensors = load(at("mlx/adapters.safetensors"));
    let (a, b) = (&tensors["model.layers.1.mlp.down_proj.lora_a"], &tensors["model.layers.1.mlp.down_proj.lora_b"]);
    assert_eq!((a.dims(), b.dims(), tensors.len()), (&[172, 2][..], &[2, 64][..], 4));
    assert_eq!(numbers(&a.t().unwrap().contiguous().unwrap()), down.a);

    write(&host, &adapter, &Options::new(Format::Gguf), &at("one.gguf")).unwrap();
    let bytes = std::fs::read(at("one.gguf")).unwrap();
    assert_eq!(bytes[..8], [b'G', b'G', b'U', b'F', 3, 0, 0, 0]);
    let content = gguf_file::Content::read(&mut std::io::Cursor::new(&bytes)).unwrap();
    let said = |key: &str| content.metadata[key].to_string().unwrap().clone();
    assert_eq!(
        (said("general.architecture"), said("general.type"), said("adapter.type")),
        ("llama".into(), "adapter".into(), "lora".into())
    );
    assert_eq!(content.metadata["adapter.lora.alpha"].to_f32().unwrap(), 2.0);
    assert_eq!(content.tensor_infos.len(), 4);
    assert!(content.tensor_infos.values().all(|t| t.offset.is_multiple_of(32)) && content.tensor_data_offset.is_multiple_of(32));
    assert_eq!(content.tensor_infos["blk.1.ffn_down.weight.lora_a"].shape.dims(), [2, 172]);
    assert_eq!(content.tensor_infos["blk.3.attn_q.weight.lora_b"].shape.dims(), [64, 2]);
}

/// stories260K for llama.cpp.
fn stories_gguf(path: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K");
    let text = |name: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap();
    let loaded = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let numbers = |t: &Tensor| (t.dims().to_vec(), t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    let tensors = loaded.iter().map(|(name, t)| (name.clone(), numbers(t))).collect();
    let vocabulary = text("tokenizer.json")["model"]["vocab"].clone();
    let mut tokens: Vec<(String, u64)> =
        vocabulary.as_object().unwrap().iter().map(|(t, id)| (t.clone(), id.as_u64().unwrap())).collect();
    tokens.sort_by_key(|(_, id)| *id);
    // llama.cpp's kinds: 2 unknown, 3 control, 6 byte, 1 text.
    let kind = |id: u64| {
        Meta::I32(if id == 0 {
            2
        } else if id < 3 {
            3
        } else if id < 259 {
            6
        } else {
            1
        })
    };
    let list = |value: &dyn Fn(&(String, u64)) -> Meta| Meta::Array(tokens.iter().map(value).collect());
    let more = [
        ("llama.rope.dimension_count", Meta::U32(8)),
        ("tokenizer.ggml.model", Meta::String("llama".into())),
        ("tokenizer.ggml.tokens", list(&|(t, _)| Meta::String(t.clone()))),
        ("tokenizer.ggml.scores", list(&|(_, id)| Meta::F32(-(*id as f32)))),
        ("tokenizer.ggml.token_type", list(&|(_, id)| kind(*id))),
        ("tokenizer.ggml.bos_token_id", Meta::U32(1)),
        ("tokenizer.ggml.eos_token_id", Meta::U32(2)),
    ];
    Tiny { config: text("config.json"), tensors }.write_gguf(path, GgmlDType::F32, &more);
}

/// llama.cpp adds `lora_b lora_a` to the weights of its own file, in which the rows of q and k are turned. The same is done here
/// to the base's file; read with the host's loader, it must be the adapter.
#[test]
fn a_gguf_adapter_merged_into_the_bases_file_is_the_adapter() {
    let host = stories();
    let adapter = random(&host, 2);
    let folder = tempfile::tempdir().unwrap();
    let (out, merged) = (folder.path().join("a.gguf"), folder.path().join("merged.gguf"));
    write(&host, &adapter, &Options::new(Format::Gguf), &out).unwrap();
    stories_gguf(&merged);
    let open = |path: &Path| {
        let mut file = std::fs::File::open(path).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let mut read = |name: &String| content.tensor(&mut file, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        let all: HashMap<String, Tensor> = content.tensor_infos.keys().map(|name| (name.clone(), read(name))).collect();
        (content.metadata, all)
    };
    let ((metadata, mut weights), (_, factors)) = (open(&merged), open(&out));
    for (name, b) in &factors {
        let Some(target) = name.strip_suffix(".lora_b") else { continue };
        let change = b.matmul(&factors[&format!("{target}.lora_a")]).unwrap();
        let changed = (&weights[target] + change).unwrap();
        weights.insert(target.into(), changed);
    }
    let tensors: Vec<(&str, QTensor)> =
        weights.iter().map(|(n, t)| (n.as_str(), QTensor::quantize(t, GgmlDType::F32).unwrap())).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
    let metadata: Vec<(&str, &Meta)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    gguf_file::write(&mut std::fs::File::create(&merged).unwrap(), &metadata, &tensors).unwrap();
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K/tokenizer.json"),
        folder.path().join("tokenizer.json"),
    )
    .unwrap();
    let merged = Host::open(merged.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    let tokens = host.tokenizer.encode(PROMPT).unwrap();
    let worst = largest(&plain(&merged.decoder, &tokens), &logits(&host.decoder, &adapter, &tokens));
    assert!(worst < 2e-4, "{worst}");
}

/// Qwen's rows are not turned, Mistral goes by the name of llama; heads are wider than the width divided by their number.
#[test]
fn gguf_adapters_of_other_architectures() {
    for (name, theirs) in [("llama", "llama"), ("mistral", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3")] {
        let host = tiny(name, json!({"head_dim": 16})).host();
        let (adapter, base) = (random(&host, 3), base(&host));
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a.gguf");
        export::export(&adapter, &[], &host.decoder, &base, &Options::new(Format::Gguf), &out).unwrap();
        let read = export::read(&out).unwrap();
        assert_eq!(read.architecture.as_deref(), Some(theirs));
        let again = read.adapter(&base).unwrap();
        assert!(largest(&logits(&host.decoder, &adapter, &TOKENS), &logits(&host.decoder, &again, &TOKENS)) < 1e-5, "{name}");
        let content = gguf_file::Content::read(&mut std::fs::File::open(&out).unwrap()).unwrap();
        let mut file = std::fs::File::open(&out).unwrap();
        let b = content.tensor(&mut file, "blk.0.attn_q.weight.lora_b", &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        let rows = b.to_vec2::<f32>().unwrap();
        let (_, term) = adapter.terms().find(|(s, _)| *s == Site { layer: 0, linear: Linear::Q }).unwrap();
        // The second row of a head: its partner of the first pair in llama's files, the next row elsewhere.
        let second = if theirs == "llama" { 8 } else { 1 };
        assert_eq!(rows[1][0], term.b[second * term.rank] * term.scale, "{name}");
    }
}

/// Other programs have phi3's q, k and v in one layer; what its memory writes, down_proj, is the same for all.
#[test]
fn adapters_of_phi3() {
    let host = tiny("phi3", json!({})).host();
    let base = base(&host);
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let out = folder.path().join(format!("{}.gguf", format.name()));
        let write = |linear| export::export(&one(&host, linear, 2, 3), &[], &host.decoder, &base, &Options::new(format), &out);
        for linear in [Linear::Q, Linear::K, Linear::V, Linear::Gate, Linear::Up] {
            refused(write(linear), &[linear.name(), "phi3", "o_proj or down_proj"]);
        }
        for linear in [Linear::O, Linear::Down] {
            write(linear).unwrap();
            assert_eq!(export::read(&out).unwrap().adapter(&base).unwrap().terms().count(), 1);
            let _ = std::fs::remove_file(&out).or_else(|_| std::fs::remove_dir_all(&out));
        }
    }
}

#[test]
fn adapters_add_up() {
    let host = stories();
    let config = &host.decoder.config;
    let (first, second) = (random(&host, 4), random(&host, 5));
    let sum = combined(config, &[(&first, 1.0), (&second, -0.5)]).unwrap();
    let mut halved = Adapter::default();
    for (site, term) in second.terms() {
        halved.insert(config, site, LowRank { scale: term.scale * -0.5, ..term.clone() }).unwrap();
    }
    assert_eq!(combined(config, &[(&second, -0.5)]).unwrap(), halved);
    let tokens = host.tokenizer.encode(PROMPT).unwrap();
    let both = host.decoder.forward(&mut [host.decoder.cache()], &[&tokens], Logits::All, &mut (&first, &halved)).unwrap().logits;
    assert!(largest(&both, &logits(&host.decoder, &sum, &tokens)) < 1e-4);
    // The sum of two opposites is nothing, at any rank.
    let nothing = combined(config, &[(&first, 1.0), (&first, -1.0)]).unwrap();
    let fit = export::fit(config, &nothing, &[], &most(1)).unwrap();
    assert!(largest(&plain(&host.decoder, &tokens), &logits(&host.decoder, &fit.adapter, &tokens)) < 1e-3);
    assert!(combined(config, &[(&first, f32::NAN)]).is_err());
}

fn most(rank: usize) -> Budget {
    Budget::same(Rank::Most(rank))
}

/// A layer with many facts and one with few: each gets the rank it is given, or what its facts need, in one file.
#[test]
fn layers_have_ranks_of_their_own() {
    let host = stories();
    let config = &host.decoder.config;
    let (late, early) = (Site { layer: 3, linear: Linear::Down }, Site { layer: 1, linear: Linear::Down });
    let mut adapter = Adapter::default();
    let (keys, few) = (drawn(12 * 172, 1.0, 31), drawn(2 * 172, 1.0, 32));
    adapter.insert(config, late, low_rank::events(172, 64, &keys, &drawn(12 * 64, 1.0, 33)).unwrap()).unwrap();
    adapter.insert(config, early, low_rank::events(172, 64, &few, &drawn(2 * 64, 1.0, 34)).unwrap()).unwrap();
    let at = |site, keys: &'static str| move |key: &'_ [f32]| (keys, site, key.to_vec());
    let all: Vec<(&str, Site, Vec<f32>)> =
        keys.chunks(172).map(at(late, "late")).chain(few.chunks(172).map(at(early, "early"))).collect();
    let facts: Vec<Fact> = all.iter().map(|(name, site, key)| Fact { name, site: *site, key }).collect();

    let fit = |words: &[&str]| export::fit(config, &adapter, &facts, &Budget::from_words(words).unwrap());
    let ranks = |words: &[&str]| fit(words).unwrap().sites.iter().map(|s| s.rank).collect::<Vec<_>>();
    let (early_needs, late_needs) = (fit(&["all"]).unwrap().sites[0].sufficient, fit(&["all"]).unwrap().sites[1].sufficient);
    assert!(early_needs <= 2 && late_needs > 5 && late_needs < 12, "{early_needs} {late_needs}");
    assert_eq!(ranks(&["all"]), [2, 12]);
    assert_eq!(ranks(&["enough"]), [early_needs, late_needs]);
    assert_eq!(fit(&["enough"]).unwrap().lost, []);
    assert_eq!(ranks(&["1", "layers.3.down_proj=11"]), [1, 11]);
    assert_eq!(ranks(&["enough", "layers.1.down_proj=2"]), [2, late_needs]);
    refused(fit(&["layers.2.down_proj=4"]), &["layers.2.down_proj", "layers.1.down_proj, layers.3.down_proj"]);

    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [(Format::Gguf, "a.gguf"), (Format::Peft, "b")] {
        let options = |words: &[&str]| Options::new(format).with_budget(Budget::from_words(words).unwrap());
        let export =
            |words| export::export(&adapter, &facts, &host.decoder, &base(&host), &options(words), &folder.path().join(name));
        refused(export(&["all", "layers.3.down_proj=1"]), &["would lose", &format!("layers.3.down_proj needs {late_needs}")]);
        let report = export(&["enough"]).unwrap();
        assert_eq!((report.rank, report.lost.len()), (late_needs, 0));
        assert_eq!(reread(&host, &folder.path().join(name)).unwrap().terms().count(), 2);
    }
}

/// Twelve facts in one layer, three of them weak: rank 9 loses these three, says so, and names the rank that keeps all.
#[test]
fn facts_that_a_rank_would_lose_are_named() {
    let host = stories();
    let config = &host.decoder.config;
    let (site, n, inputs, outputs) = (Site { layer: 2, linear: Linear::Down }, 12, 172, 64);
    let unit = |rows: Vec<f32>, width: usize, length: &dyn Fn(usize) -> f32| -> Vec<f32> {
        let scaled = |(i, row): (usize, &[f32])| {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(|x| x / norm * length(i)).collect::<Vec<f32>>()
        };
        rows.chunks(width).enumerate().flat_map(scaled).collect()
    };
    let keys = unit(drawn(n * inputs, 1.0, 1), inputs, &|_| 1.0);
    let values = unit(drawn(n * outputs, 1.0, 2), outputs, &|i| if i < 3 { 0.3 } else { 1.0 });
    let mut adapter = Adapter::default();
    adapter.insert(config, site, low_rank::events(inputs, outputs, &keys, &values).unwrap()).unwrap();
    let names: Vec<String> = (0..n).map(|i| format!("fact {i}")).collect();
    let facts: Vec<Fact> =
        names.iter().zip(keys.chunks(inputs)).map(|(name, key)| Fact { name: name.as_str(), site, key }).collect();
    // What the rank-9 change gives at each key, by the sum written out.
    let fit = export::fit(config, &adapter, &facts, &most(9)).unwrap();
    let output = |adapter: &Adapter, key: &[f32]| -> Vec<f64> {
        let (_, t) = adapter.terms().next().unwrap();
        let inner = |r: usize| key.iter().zip(&t.a[r * inputs..]).map(|(x, y)| *x as f64 * *y as f64).sum::<f64>();
        let inner: Vec<f64> = (0..t.rank).map(inner).collect();
        (0..outputs).map(|o| (0..t.rank).map(|r| t.b[o * t.rank + r] as f64 * inner[r]).sum::<f64>()).collect()
    };
    let lost: Vec<&str> = facts
        .iter()
        .filter(|f| {
            let (all, kept) = (output(&adapter, f.key), output(&fit.adapter, f.key));
            let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
            length(&mut all.iter().zip(&kept).map(|(x, y)| x - y)) > export::LOST * length(&mut all.iter().copied())
        })
        .map(|f| f.name)
        .collect();
    assert!(!lost.is_empty());
    assert_eq!(fit.lost.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), lost);
    assert!(fit.sites[0].energy > 0.95 && fit.sites[0].energy < 1.0 && (fit.sites[0].terms, fit.sites[0].rank) == (12, 9));
    assert!(fit.sufficient > 9 && export::fit(config, &adapter, &facts, &most(fit.sufficient)).unwrap().lost.is_empty());
    assert!(!export::fit(config, &adapter, &facts, &most(fit.sufficient - 1)).unwrap().lost.is_empty());

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("memory");
    let export = |rank: usize, lossy: bool, facts: &[Fact]| {
        let options = Options::new(Format::Peft).with_budget(most(rank)).with_lossy(lossy);
        export::export(&adapter, facts, &host.decoder, &base(&host), &options, &out)
    };
    let words =
        [format!("rank 9 would lose {} of 12 facts", lost.len()), format!("`{}`", lost[0]), format!("rank {}", fit.sufficient)];
    refused(export(9, false, &facts), &words.each_ref().map(String::as_str));
    refused(export(1, false, &facts), &["rank 1 would lose", "more"]);
    refused(export(9, false, &[Fact { key: &keys[..64], ..facts[0] }]), &["fact 0", "64", "172", "layers.2.down_proj"]);
    refused(export(0, true, &facts), &["rank 0"]);
    assert_eq!(entries(folder.path()), Vec::<String>::new());
    let report = export(9, true, &facts).unwrap();
    assert_eq!((report.lost, report.facts, report.max_lora_rank), (fit.lost.clone(), 12, None));
    // Two places a fact: each fact is counted once, and named once with the place where it is off most.
    let pairs: Vec<String> = (0..n).map(|i| format!("pair {}", i / 2)).collect();
    let two: Vec<Fact> = facts.iter().zip(&pairs).map(|(fact, name)| Fact { name, ..*fact }).collect();
    let grouped = export::fit(config, &adapter, &two, &most(3)).unwrap();
    let single = export::fit(config, &adapter, &facts, &most(3)).unwrap();
    assert!(single.lost.len() > grouped.lost.len() && grouped.facts == 6 && grouped.lost.len() <= 6);
    for lost in &grouped.lost {
        let of = |other: &&export::Lost| pairs[names.iter().position(|n| *n == other.name).unwrap()] == lost.name;
        let worst = single.lost.iter().filter(of).map(|l| l.error).fold(0.0, f64::max);
        assert_eq!((lost.error, grouped.lost.iter().filter(|l| l.name == lost.name).count()), (worst, 1));
    }
    std::fs::remove_dir_all(&out).unwrap();
    refused(export(3, false, &two), &[&format!("rank 3 would lose {} of 6 facts", grouped.lost.len())]);
    export(9, true, &facts).unwrap();
    assert_eq!(reread(&host, &out).unwrap().terms().next().unwrap().1.rank, 9);
}

#[test]
fn ranks_that_vllm_allows() {
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    for (rank, written) in [(1, 1), (2, 8), (8, 8), (9, 16), (65, 128), (300, 320), (512, 512)] {
        let out = folder.path().join(rank.to_string());
        let report = write(&host, &one(&host, Linear::V, rank, 7), &Options::new(Format::VllmDir), &out).unwrap();
        assert_eq!(report.max_lora_rank, Some(written));
        assert_eq!((report.rank, reread(&host, &out).unwrap().terms().next().unwrap().1.rank), (written, written));
    }
    let large = one(&host, Linear::V, 513, 7);
    refused(write(&host, &large, &Options::new(Format::VllmDir), &folder.path().join("no")), &["513", "at most 512"]);
    let cut = Options::new(Format::VllmDir).with_budget(most(32));
    assert_eq!(write(&host, &large, &cut, &folder.path().join("cut")).unwrap().rank, 32);
    refused(Format::named("pefd"), &["pefd", "did you mean `peft`"]);
    refused(Format::named("onnx"), &["peft, gguf, mlx, vllm-dir"]);
}

#[test]
fn nothing_is_replaced_unasked_or_left_half_written() {
    let host = stories();
    let (old, new) = (random(&host, 6), random(&host, 7));
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let out = folder.path().join("adapter");
        let options = Options::new(format);
        let force = Options::new(format).with_force(true);
        write(&host, &old, &options, &out).unwrap();
        let before = std::fs::read(weights(&out)).unwrap();
        refused(write(&host, &new, &options, &out), &["adapter exists", "--force"]);
        // Logits that are no numbers compare with nothing: what was written is gone, what was there stays.
        let mut wild = Adapter::default();
        let term = LowRank { rank: 1, a: vec![1e20; 64], b: vec![1e20; 64], scale: 1.0 };
        wild.insert(&host.decoder.config, Site { layer: 0, linear: Linear::Q }, term.clone()).unwrap();
        wild.insert(&host.decoder.config, Site { layer: 0, linear: Linear::O }, term).unwrap();
        let error = write(&host, &wild, &force, &out).unwrap_err();
        assert!(matches!(error, Error::Run { .. }) && error.to_string().contains("not finite"), "{error}");
        assert!(before == std::fs::read(weights(&out)).unwrap());
        write(&host, &new, &force, &out).unwrap();
        assert!(before != std::fs::read(weights(&out)).unwrap());
        assert_eq!(entries(folder.path()), ["adapter"]);
        if format == Format::Gguf {
            std::fs::remove_file(&out).unwrap();
            std::fs::create_dir(&out).unwrap();
            refused(write(&host, &new, &force, &out), &["is a folder"]);
        } else {
            std::fs::write(out.join("notes.txt"), "mine").unwrap();
            refused(write(&host, &new, &force, &out), &["holds more than this output"]);
            assert_eq!(std::fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
        }
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::write(&out, "mine").unwrap();
        if format != Format::Gguf {
            refused(write(&host, &new, &force, &out), &["is not a folder"]);
        }
        std::fs::remove_file(&out).unwrap();
        refused(write(&host, &new, &options, Path::new("/")), &["/"]);
        refused(write(&host, &Adapter::default(), &options, &out), &["changes nothing"]);
        let silent = combined(&host.decoder.config, &[(&new, 0.0)]).unwrap();
        refused(write(&host, &silent, &options, &out), &["changes nothing"]);
        let mut head = Adapter::default();
        let term = LowRank { rank: 1, a: vec![0.1; 64], b: vec![0.1; 512], scale: 1.0 };
        head.insert(&host.decoder.config, Site::HEAD, term).unwrap();
        refused(write(&host, &head, &options, &out), &["lm_head"]);
        assert_eq!(entries(folder.path()), Vec::<String>::new());
    }
}

#[test]
fn adapters_of_another_model_are_refused() {
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    let adapter = random(&host, 8);
    let mine = base(&host);
    for format in Format::ALL {
        let out = folder.path().join(format!("{}.gguf", format.name()));
        write(&host, &adapter, &Options::new(format), &out).unwrap();
        let read = export::read(&out).unwrap();
        let other = Base { fingerprint: "beef".into(), name: "another".into(), ..mine.clone() };
        refused(read.adapter(&other), &["another", "fingerprints differ", "stories260k"]);
        // Without a fingerprint the shapes, the layers and the architecture still count.
        let mut anonymous = read;
        anonymous.fingerprint = None;
        assert!(anonymous.adapter(&other).is_ok());
        for (name, change) in [("llama", json!({})), ("llama", json!({"hidden_size": 64, "num_hidden_layers": 2}))] {
            let config = tiny(name, change).host().decoder.config;
            refused(
                anonymous.adapter(&Base { config, ..other.clone() }),
                &["layers.", "made for"].map(|w| if w == "made for" { "model" } else { w }),
            );
        }
        if format == Format::Gguf {
            let config = tiny("qwen2", json!({})).host().decoder.config;
            refused(anonymous.adapter(&Base { config, ..other }), &["`llama`", "`qwen2`"]);
        }
    }
}

/// Settings and tensors of a PEFT folder as others write it.
fn peft(folder: &Path, settings: Value, tensors: &[(&str, Vec<usize>, Vec<f32>)], kind: DType) {
    let mut all = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["down_proj"]});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    std::fs::write(folder.join("adapter_config.json"), all.to_string()).unwrap();
    save(&folder.join("adapter_model.safetensors"), tensors, kind);
}

fn save(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)], kind: DType) {
    let tensor = |shape: &Vec<usize>, data: &Vec<f32>| {
        Tensor::from_vec(data.clone(), shape.clone(), &Device::Cpu).unwrap().to_dtype(kind).unwrap()
    };
    let all: HashMap<String, Tensor> = tensors.iter().map(|(n, s, d)| (n.to_string(), tensor(s, d))).collect();
    candle_core::safetensors::save(&all, path).unwrap();
}

#[test]
fn peft_folders_of_others() {
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = |layer: usize, side: &str| format!("base_model.model.model.layers.{layer}.mlp.down_proj.lora_{side}.weight");
    let names = [name(1, "A"), name(1, "B"), name(3, "A"), name(3, "B")];
    let (a, b) = (drawn(2 * 172, 0.1, 1), drawn(64 * 2, 0.1, 2));
    let tensors: Vec<(&str, Vec<usize>, Vec<f32>)> = (0..4)
        .map(|i| {
            (
                names[i].as_str(),
                if i % 2 == 0 { vec![2, 172] } else { vec![64, 2] },
                if i % 2 == 0 { a.clone() } else { b.clone() },
            )
        })
        .collect();
    let scales = |settings: Value| -> Vec<f32> {
        peft(at, settings, &tensors, DType::F32);
        let adapter = reread(&host, at).unwrap();
        assert!(adapter.terms().all(|(_, t)| t.a == a && t.b == b));
        adapter.terms().map(|(_, t)| t.scale).collect()
    };
    assert_eq!(scales(json!({})), [3.0, 3.0]);
    assert_eq!(scales(json!({"use_rslora": true})), [(6.0 / 2f64.sqrt()) as f32; 2]);
    assert_eq!(scales(json!({"alpha_pattern": {"layers.3.mlp.down_proj": 1}})), [3.0, 0.5]);
    assert_eq!(scales(json!({"alpha_pattern": {"down_proj": 4, "q_proj": 1}})), [2.0, 2.0]);
    assert_eq!(scales(json!({"r": 9, "rank_pattern": {"down_proj": 2}})), [3.0, 3.0]);
    // Keys are regular expressions for the end of a name, whole parts of it only.
    assert_eq!(scales(json!({"alpha_pattern": {".*down_proj": 4}})), [2.0, 2.0]);
    assert_eq!(scales(json!({"alpha_pattern": {r"layers\.(0|1)\.mlp\.(?!up).*_proj": 1}})), [0.5, 3.0]);
    assert_eq!(scales(json!({"alpha_pattern": {"own_proj": 1, "3": 1, "down": 1}})), [3.0, 3.0]);
    assert_eq!(scales(json!({"r": 5, "rank_pattern": {"[0-2].mlp.*": 2, r"\w+_proj": 2}})), [3.0, 3.0]);
    for target in [json!(r".*\.(up|down)_proj"), json!("all-linear"), json!(["mlp.down_proj"]), json!(null)] {
        assert_eq!(scales(json!({"target_modules": target})), [3.0, 3.0]);
    }
    // Of several keys the first in the file counts, not the first by name.
    let ordered = |patterns: &str| {
        peft(at, json!({"alpha_pattern": "HERE"}), &tensors, DType::F32);
        let file = at.join("adapter_config.json");
        let text = std::fs::read_to_string(&file).unwrap().replace("\"HERE\"", patterns);
        std::fs::write(file, text).unwrap();
        reread(&host, at).unwrap().terms().map(|(_, t)| t.scale).collect::<Vec<f32>>()
    };
    assert_eq!(ordered(r#"{"mlp.down_proj": 1, "down_proj": 2}"#), [0.5, 0.5]);
    assert_eq!(ordered(r#"{"down_proj": 2, "mlp.down_proj": 1}"#), [1.0, 1.0]);
    assert_eq!(ordered(r#"{"x_proj": 7, "layers.3.*": 2, "down_proj": 1}"#), [0.5, 1.0]);
    assert_eq!(
        scales(json!({"modules_to_save": [], "bias": "none", "use_dora": false, "layer_replication": null,
        "init_lora_weights": "gaussian", "peft_version": "0.21.2"})),
        [3.0, 3.0]
    );
    // A file inside the folder names it as well.
    assert!(reread(&host, &at.join("adapter_config.json")).is_ok());
    for (kind, bound) in [(DType::F16, 1e-4), (DType::BF16, 1e-3)] {
        peft(at, json!({}), &tensors, kind);
        let adapter = reread(&host, at).unwrap();
        assert!(adapter.terms().all(|(_, t)| largest(&t.a, &a) < bound && t.a != a));
    }
    for (settings, words) in [
        (json!({"use_dora": true}), ["DoRA", "use_dora"]),
        (json!({"bias": "lora_only"}), ["biases", "bias"]),
        (json!({"modules_to_save": ["lm_head"]}), ["modules_to_save", "trained whole"]),
        (json!({"peft_type": "IA3"}), ["`IA3`", "LoRA"]),
        (json!({"fan_in_fan_out": true}), ["fan_in_fan_out", "adapter_config.json"]),
        (json!({"init_lora_weights": "pissa_niter_16"}), ["`pissa_niter_16`", "init_lora_weights"]),
        (json!({"alora_invocation_tokens": [5, 6]}), ["alora_invocation_tokens", "wait for a token"]),
        (json!({"r": 3}), ["rank 2", "should have 3"]),
        (json!({"lora_alpha": "six"}), ["lora_alpha", "number"]),
        (json!({"alpha_pattern": {"down_(proj": 4}}), ["`down_(proj`", "alpha_pattern"]),
        (json!({"alpha_pattern": {"down_proj": "x"}}), ["down_proj", "alpha_pattern"]),
        (json!({"alpha_pattern": [4]}), ["adapter_config.json", "patterns"]),
        (json!({"rank_pattern": {r".*\.3\..*": 5}}), ["layers.3.down_proj has rank 2", "should have 5"]),
        (json!({"target_modules": ["q_proj", "proj"]}), ["target_modules", "layers.1.down_proj"]),
        (json!({"target_modules": r".*\.1\.mlp\.down_proj"}), ["target_modules", "layers.3.down_proj"]),
        (json!({"target_modules": "down_proj"}), ["target_modules", "layers.1.down_proj"]),
        (json!({"target_modules": ".*("}), ["target_modules", "`.*(`"]),
    ] {
        peft(at, settings, &tensors, DType::F32);
        refused(reread(&host, at), &words);
    }
    let refuse = |more: (&str, Vec<usize>, Vec<f32>), words: &[&str]| {
        let all: Vec<_> = tensors[..2].iter().cloned().chain([more]).collect();
        peft(at, json!({}), &all, DType::F32);
        refused(reread(&host, at), words);
    };
    refuse(
        ("base_model.model.model.embed_tokens.lora_embedding_A", vec![2, 512], vec![0.0; 1024]),
        &["embeddings", "lora_embedding_A"],
    );
    refuse(
        ("base_model.model.model.layers.1.mlp.down_proj.lora_magnitude_vector", vec![64], vec![0.0; 64]),
        &["lora_magnitude_vector"],
    );
    refuse(("base_model.model.model.layers.1.mlp.experts.lora_A.weight", vec![2, 4], vec![0.0; 8]), &["experts"]);
    refuse((&names[2], vec![2, 172], a.clone()), &["layers.3.down_proj", "one factor"]);
    refuse((&names[1], vec![43, 3], vec![0.0; 129]), &["rank 2", "rank 3"]);
    refuse((&names[1], vec![128], vec![0.0; 128]), &["[128]", "two dimensions"]);
    peft(at, json!({}), &[(&names[0], vec![2, 64], vec![0.1; 128]), (&names[1], vec![64, 2], vec![0.1; 128])], DType::F32);
    refused(reread(&host, at), &["layers.1.down_proj", "172", "made for this model"]);
    peft(at, json!({}), &[(&names[0], vec![2, 172], vec![f32::NAN; 344]), (&names[1], vec![64, 2], vec![0.1; 128])], DType::F32);
    refused(reread(&host, at), &["not finite"]);
    peft(at, json!({}), &[], DType::F32);
    refused(reread(&host, at), &["no terms"]);
    peft(at, json!({}), &tensors, DType::U8);
    refused(reread(&host, at), &["stored as U8", "F32, F16 or BF16"]);
    std::fs::remove_file(at.join("adapter_model.safetensors")).unwrap();
    refused(reread(&host, at), &["is not an adapter"]);
    std::fs::write(at.join("adapter_model.bin"), "").unwrap();
    refused(reread(&host, at), &["adapter_model.bin", "safe_serialization"]);
    refused(reread(&host, &at.join("nothing")), &["nothing does not exist"]);
}

#[test]
fn mlx_folders_of_others() {
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = "model.layers.1.self_attn.k_proj";
    let (a, b) = (drawn(64 * 2, 0.1, 1), drawn(2 * 32, 0.1, 2));
    let (left, right) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
    save(&at.join("adapters.safetensors"), &[(&left, vec![64, 2], a.clone()), (&right, vec![2, 32], b.clone())], DType::F32);
    let settings = |value: Value| std::fs::write(at.join("adapter_config.json"), value.to_string()).unwrap();
    settings(json!({"lora_parameters": {"rank": 2, "scale": 20.0, "dropout": 0.0}, "num_layers": 4}));
    let adapter = reread(&host, at).unwrap();
    let (site, term) = adapter.terms().next().unwrap();
    assert_eq!((site, term.rank, term.scale), (Site { layer: 1, linear: Linear::K }, 2, 20.0));
    assert_eq!((term.a[1], term.a[64], term.b[1], term.b[2]), (a[2], a[1], b[32], b[1]));
    settings(json!({"fine_tune_type": "dora", "lora_parameters": {"scale": 20.0}}));
    refused(reread(&host, at), &["`dora`"]);
    settings(json!({"fine_tune_type": "lora"}));
    refused(reread(&host, at), &["lora_parameters.scale"]);
}

/// As convert_lora_to_gguf writes them: halves or blocks of 8 bits, alpha beside the rank.
#[test]
fn gguf_files_of_others() {
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let (a, b) = (drawn(32 * 64, 0.1, 1), drawn(64 * 32, 0.1, 2));
    let make = |kind: GgmlDType, more: &[(&str, Meta)], name: &str| {
        let text = |t: &str| Meta::String(t.into());
        let mut meta = HashMap::from([
            ("general.architecture", text("llama")),
            ("general.type", text("adapter")),
            ("adapter.type", text("lora")),
            ("adapter.lora.alpha", Meta::F32(16.0)),
        ]);
        meta.extend(more.iter().cloned());
        let tensor = |data: &[f32], shape: (usize, usize)| {
            QTensor::quantize(&Tensor::from_vec(data.to_vec(), shape, &Device::Cpu).unwrap(), kind).unwrap()
        };
        let (a, b) = (tensor(&a, (32, 64)), tensor(&b, (64, 32)));
        let names = [format!("{name}.lora_a"), format!("{name}.lora_b")];
        let meta: Vec<(&str, &Meta)> = meta.iter().map(|(k, v)| (*k, v)).collect();
        gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &meta, &[(&names[0], &a), (&names[1], &b)]).unwrap();
    };
    for (kind, bound) in [(GgmlDType::F32, 0.0), (GgmlDType::F16, 1e-3), (GgmlDType::Q8_0, 5e-3)] {
        make(kind, &[], "blk.2.attn_output.weight");
        let adapter = reread(&host, &path).unwrap();
        let (site, term) = adapter.terms().next().unwrap();
        assert_eq!((site, term.rank, term.scale), (Site { layer: 2, linear: Linear::O }, 32, 0.5));
        assert!(largest(&term.a, &a) <= bound && largest(&term.b, &b) <= bound, "{kind:?}");
    }
    let f32 = GgmlDType::F32;
    make(f32, &[("adapter.lora.alpha", Meta::F32(0.0))], "blk.2.attn_output.weight");
    assert_eq!(reread(&host, &path).unwrap().terms().next().unwrap().1.scale, 1.0);
    make(f32, &[("general.type", Meta::String("model".into()))], "blk.2.attn_output.weight");
    refused(reread(&host, &path), &["is not an adapter", "a.gguf"]);
    make(f32, &[("adapter.type", Meta::String("control_vector".into()))], "blk.2.attn_output.weight");
    refused(reread(&host, &path), &["`control_vector`"]);
    make(f32, &[], "token_embd.weight");
    refused(reread(&host, &path), &["token_embd.weight.lora_"]);
    make(f32, &[("general.architecture", Meta::String("gemma".into()))], "blk.2.attn_output.weight");
    refused(reread(&host, &path), &["`gemma`", "`llama`"]);
    make(f32, &[], "blk.9.attn_output.weight");
    refused(reread(&host, &path), &["layers.9.o_proj", "layers 0 to 4"]);
    stories_gguf(&path);
    refused(reread(&host, &path), &["is not an adapter", "not the model's"]);
}

/// Every part of a file is missed when it is missing, and no wrong byte ends in a panic.
#[test]
fn damaged_files_are_refused_by_name() {
    let host = stories();
    let adapter = one(&host, Linear::Down, 2, 1);
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Peft, Format::Gguf, Format::Mlx] {
        let out = folder.path().join(format!("{}.gguf", format.name()));
        write(&host, &adapter, &Options::new(format), &out).unwrap();
        let file = weights(&out);
        let name = file.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = std::fs::read(&file).unwrap();
        for keep in [0, 3, 12, 100, 300, bytes.len() / 2, bytes.len() - 33] {
            std::fs::write(&file, &bytes[..keep]).unwrap();
            refused(export::read(&out), &[&name, "cannot be read", "cut short"]);
        }
        for at in 0..bytes.len().min(700) {
            for flip in [0xFF, 0x01] {
                let mut wrong = bytes.clone();
                wrong[at] ^= flip;
                std::fs::write(&file, &wrong).unwrap();
                let _ = export::read(&out).and_then(|read| read.adapter(&base(&host)));
            }
        }
        std::fs::write(&file, &bytes).unwrap();
        if format != Format::Gguf {
            let settings = out.join("adapter_config.json");
            std::fs::write(&settings, "{").unwrap();
            refused(export::read(&out), &["adapter_config.json", "cannot be read"]);
            std::fs::remove_file(&settings).unwrap();
            assert!(export::read(&out).unwrap_err().to_string().contains("adapter_config.json"));
        }
    }
}

#[test]
fn the_command_line_writes_with_adapters_and_converts_them() {
    let source = Source::built_in().unwrap();
    let (host, base) = (source.load().unwrap(), Base::of(&source).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (first, second) = (random(&host, 9), random(&host, 10));
    for (adapter, name, format) in [(&first, "a", Format::Peft), (&second, "b.gguf", Format::Gguf)] {
        export::export(adapter, &[], &host.decoder, &base, &Options::new(format), Path::new(&at(name))).unwrap();
    }
    let text = |arguments: &[&str]| {
        let all = [&["model", "generate", "--model", "stories260k", "Once upon", "--tokens", "12"][..], arguments].concat();
        let (text, errors, code) = sharpwave(&all);
        assert_eq!(code, 0, "{errors}");
        text
    };
    let (a, b) = (at("a"), at("b.gguf"));
    let (with_a, half_b) = (text(&["--adapter", &a]), format!("{b}:0.5"));
    let both = text(&["--adapter", &a, "--adapter", &half_b]);
    assert_ne!(text(&[]), with_a);
    assert_ne!(with_a, both);
    assert_eq!(text(&[]), text(&["--adapter", &format!("{a}:0")]));

    let out = at("sum");
    let convert = ["adapter", "convert", "--model", "stories260k", "--adapter", &a, "--adapter", &half_b, "--out", &out];
    let run = |more: &[&str]| sharpwave(&[&convert[..], more].concat());
    let (said, errors, code) = run(&["--format", "mlx"]);
    assert!(code == 0 && said.contains("mlx, rank 8") && said.contains("100.00 % of the energy"), "{said}{errors}");
    assert_eq!(both, text(&["--adapter", &out]));
    let (said, _, _) = run(&["--format", "vllm-dir", "--rank", "3", "--force"]);
    assert!(said.contains("--max-lora-rank 8"), "{said}");
    let (said, _, code) = run(&["--format", "vllm-dir", "--rank", "3", "--force", "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &report["rank"], &report["format"], report["sites"].as_array().unwrap().len()),
        (0, &json!(8), &json!("vllm-dir"), 14)
    );
    assert!(report["sites"].as_array().unwrap().iter().any(|s| s["energy"].as_f64().unwrap() < 1.0));
    let (said, _, _) = sharpwave(&["adapter", "info", &out]);
    for word in ["peft", "rank          8", "stories260k", &base.fingerprint, "layers 0, 2", "q_proj", "down_proj"] {
        assert!(said.contains(word), "{word} missing in\n{said}");
    }
    let (said, _, _) = sharpwave(&["adapter", "info", &b, "--json"]);
    let info: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&info["format"], &info["architecture"], &info["rank"]), (&json!("gguf"), &json!("llama"), &json!([4, 4])));

    for (arguments, word) in [
        (vec!["adapter", "info", "nowhere"], "nowhere does not exist"),
        (vec!["model", "generate", "--model", "stories260k", "x", "--adapter", "nowhere:2"], "nowhere does not exist"),
        (vec!["model", "generate", "--model", "stories260k", "x", "--adapter", "a:inf"], "finite"),
        ([&convert[..], &["--format", "peft"]].concat(), "--force"),
        ([&convert[..], &["--format", "onnx", "--force"]].concat(), "peft, gguf, mlx, vllm-dir"),
        ([&convert[..], &["--format", "peft", "--force", "--rank", "0"]].concat(), "rank 0"),
    ] {
        let (_, errors, code) = sharpwave(&arguments);
        assert!(code == 2 && errors.contains(word), "{word}: {errors}");
    }
}

const TEXTS: [&str; 10] = [
    "Once upon a time",
    "The capital of France is",
    "One day, a little girl named Lily",
    "Tom and his dog went to the",
    "She looked at the big red ball and",
    "My favourite food is",
    "The sun was shining and the birds",
    "\"What is your name?\" asked",
    "In the morning he wakes up and",
    "They played all day until",
];

fn last_row(decoder: &Decoder, adapter: &Adapter, tokens: &[u32]) -> Vec<f32> {
    decoder.forward(&mut [decoder.cache()], &[tokens], Logits::Last, &mut { adapter }).unwrap().logits
}

/// Top token and the ten largest log-probabilities of the last position of every prompt.
fn expected(decoder: &Decoder, adapter: &Adapter, prompts: &[Vec<u32>]) -> Value {
    let case = |tokens: &Vec<u32>| {
        let row = last_row(decoder, adapter, tokens);
        let top = row.iter().copied().fold(f32::MIN, f32::max) as f64;
        let sum = top + row.iter().map(|x| (*x as f64 - top).exp()).sum::<f64>().ln();
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let logprobs: serde_json::Map<String, Value> =
            order[..10].iter().map(|id| (id.to_string(), json!(row[*id] as f64 - sum))).collect();
        json!({"tokens": tokens, "top": order[0], "logprobs": logprobs})
    };
    Value::Array(prompts.iter().map(case).collect())
}

/// What llama.cpp says to the base at `gguf` under the adapter: parts of top tokens that agree, largest log-probability difference.
fn llama_cpp(python: &Path, host: &Host, gguf: &Path, adapter: &Adapter, prompts: &[Vec<u32>]) -> (f64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let (out, cases) = (folder.path().join("a.gguf"), folder.path().join("expected.json"));
    write(host, adapter, &Options::new(Format::Gguf), &out).unwrap();
    std::fs::write(&cases, expected(&host.decoder, adapter, prompts).to_string()).unwrap();
    let found = script(python, "check_llama_cpp.py", &[gguf, &out, &cases]);
    assert_eq!(found["cases"], prompts.len());
    (found["same"].as_f64().unwrap() / prompts.len() as f64, found["difference"].as_f64().unwrap())
}

#[test]
fn llama_cpp_gives_the_same_logits_with_an_adapter_on_every_linear_layer() {
    let Some(python) = python("xllamacpp") else { return };
    let host = stories();
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("stories.gguf");
    stories_gguf(&gguf);
    let prompts: Vec<Vec<u32>> = TEXTS.iter().map(|t| host.tokenizer.encode(t).unwrap()).collect();
    let adapter = random(&host, 11);
    let changed =
        |p: &&Vec<u32>| largest(&last_row(&host.decoder, &adapter, p), &last_row(&host.decoder, &Adapter::default(), p)) > 1.0;
    assert_eq!(prompts.iter().filter(changed).count(), prompts.len());
    let (same, worst) = llama_cpp(&python, &host, &gguf, &adapter, &prompts);
    said(&format!(
        "llama.cpp, stories260K: same top token {:.0} %, largest difference of a log-probability {worst:.1e}",
        100.0 * same
    ));
    assert!(same == 1.0 && worst < 0.05, "{same} {worst}");
}

/// The weights are quantised, and llama.cpp quantises the activations as well, so the logits differ; top tokens agree.
#[test]
fn llama_cpp_gives_the_same_top_tokens_with_an_adapter_of_smollm2() {
    let Some(python) = python("xllamacpp") else { return };
    let Some(folder) = shared("models/SmolLM2-135M-Instruct-Q4_1") else { return };
    let gguf = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let host = Host::open(gguf.to_str().unwrap()).unwrap();
    let prompts: Vec<Vec<u32>> = TEXTS.iter().map(|t| host.tokenizer.encode(t).unwrap()).collect();
    let (same, worst) = llama_cpp(&python, &host, &gguf, &memory(&host, &prompts), &prompts);
    said(&format!(
        "llama.cpp, SmolLM2-135M Q4_1: same top token {:.0} %, largest difference of a log-probability {worst:.2}",
        100.0 * same
    ));
    assert!(same >= 0.95, "{same}");
}

/// What a memory would write: at every prompt's last key the layer's output moves by a fifth of its length.
fn memory(host: &Host, prompts: &[Vec<u32>]) -> Adapter {
    let config = &host.decoder.config;
    let site = Site { layer: config.layers * 4 / 5, linear: Linear::Down };
    let (outputs, inputs) = config.shape(site.linear);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (i, tokens) in prompts.iter().enumerate() {
        let mut seen = Recorder::new(&[site], &[]);
        host.decoder.forward(&mut [host.decoder.cache()], &[tokens], Logits::Skip, &mut seen).unwrap();
        let record = &seen.linears[seen.linears.len() - 1];
        let key = &record.input[record.input.len() - inputs..];
        let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let wanted = 0.2 * length(&record.output[record.output.len() - outputs..]) / (outputs as f32).sqrt();
        keys.extend(key.iter().map(|x| x / length(key).powi(2)));
        values.extend(drawn(outputs, wanted as f64, 50 + i as u32));
    }
    let mut adapter = Adapter::default();
    adapter.insert(config, site, low_rank::events(inputs, outputs, &keys, &values).unwrap()).unwrap();
    adapter
}

/// Run by `make test-peft`, which installs what it needs.
#[test]
fn peft_gives_the_same_logits() {
    let Some(python) = python("torch, transformers, peft") else { return };
    let check = |host: &Host, model: &Path, adapter: &Adapter, prompts: &[Vec<u32>]| {
        let folder = tempfile::tempdir().unwrap();
        let (out, cases) = (folder.path().join("adapter"), folder.path().join("expected.json"));
        write(host, adapter, &Options::new(Format::Peft), &out).unwrap();
        let rows = |tokens: &Vec<u32>| {
            let (with, without) =
                (last_row(&host.decoder, adapter, tokens), last_row(&host.decoder, &Adapter::default(), tokens));
            json!({"tokens": tokens, "logits": with, "plain": without})
        };
        std::fs::write(&cases, Value::Array(prompts.iter().map(rows).collect()).to_string()).unwrap();
        let found = script(&python, "check_peft.py", &[model, &out, &cases]);
        (found["plain"].as_f64().unwrap(), found["difference"].as_f64().unwrap())
    };
    let host = stories();
    let prompts: Vec<Vec<u32>> = TEXTS.iter().map(|t| host.tokenizer.encode(t).unwrap()).collect();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K");
    for (name, adapter) in [("seven kinds", random(&host, 12)), ("feed-forward", feed_forward(&host))] {
        let (plain, worst) = check(&host, &model, &adapter, &prompts);
        said(&format!("PEFT, stories260K, {name}: largest difference of a logit {worst:.1e} (without the adapter {plain:.1e})"));
        assert!(worst <= 1e-3, "{worst}");
    }
    if std::env::var_os("SHARPWAVE_PEFT_GGUF").is_none() {
        return;
    }
    let Some(folder) = shared("models/SmolLM2-135M-Instruct-Q4_1") else { return };
    let gguf = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let host = Host::open(gguf.to_str().unwrap()).unwrap();
    let prompts: Vec<Vec<u32>> = TEXTS.iter().map(|t| host.tokenizer.encode(t).unwrap()).collect();
    let (plain, worst) = check(&host, &gguf, &memory(&host, &prompts), &prompts);
    said(&format!("PEFT, SmolLM2-135M: largest difference of a logit {worst:.1e} (without the adapter {plain:.1e})"));
    assert!(worst <= 1e-3, "{worst}");
}

fn feed_forward(host: &Host) -> Adapter {
    let config = &host.decoder.config;
    let parts: Vec<Adapter> = MLP.into_iter().enumerate().map(|(i, linear)| one(host, linear, 3, 60 + 2 * i as u32)).collect();
    combined(config, &parts.iter().map(|a| (a, 1.0)).collect::<Vec<_>>()).unwrap()
}
