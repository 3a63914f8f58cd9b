//! Backpropagation through the transformer: its forward against the decoder for every architecture, its gradient against
//! differences of the decoder's own log-probabilities, and that the descent finds a value with which the model gives an answer.

use crate::common::shared;
use crate::transformer::{drawn, largest, said, stories, tiny};
use serde_json::json;
use sharpwave::transformer::Host;
use sharpwave::transformer::decoder::{Cache, Decoder, Logits};
use sharpwave::transformer::gradient::{Descent, Objective, value};
use sharpwave::transformer::hooks::{Perturbation, Recorder};

/// The decoder's own way to the same numbers: the answer's logits with v added to a residual.
struct Plain<'a> {
    decoder: &'a Decoder,
    layer: usize,
    position: usize,
    residual: Vec<f32>,
    cache: Cache,
    positions: usize,
    answer: Vec<u32>,
}

impl<'a> Plain<'a> {
    fn new(decoder: &'a Decoder, layer: usize, prompt: &[u32], position: usize, answer: &[u32]) -> Plain<'a> {
        let tokens = [prompt, &answer[..answer.len() - 1]].concat();
        let mut seen = Recorder::new(&[], &[layer]);
        let mut cache = [decoder.cache()];
        decoder.forward(&mut cache, &[&tokens], Logits::Skip, &mut seen).unwrap();
        let [mut cache] = cache;
        cache.rewind(layer, 0).unwrap();
        let residual = seen.residuals.remove(0).2;
        Plain { decoder, layer, position, residual, cache, positions: tokens.len(), answer: answer.to_vec() }
    }

    fn logits(&self, v: &[f32]) -> Vec<f32> {
        let change = Perturbation { layer: self.layer, sequence: 0, position: self.position, delta: v.to_vec() };
        let mut cache = [self.cache.clone()];
        let all = self.decoder.resume(self.layer, &self.residual, &mut cache, &[self.positions], Logits::All, &mut &change);
        let first = (self.positions - self.answer.len()) * self.decoder.config.vocabulary;
        all.unwrap().logits.split_off(first)
    }

    fn log_probability(&self, v: &[f32]) -> f64 {
        let logits = self.logits(v);
        let rows = logits.chunks_exact(self.decoder.config.vocabulary).zip(&self.answer);
        rows.map(|(row, token)| {
            let sum = row.iter().map(|x| (*x as f64).exp()).sum::<f64>();
            row[*token as usize] as f64 - sum.ln()
        })
        .sum()
    }
}

/// Largest difference of the forward's logits, and largest relative error of the gradient, in the coordinates in which it is
/// largest and along a random direction.
fn check(decoder: &Decoder, layer: usize, prompt: &[u32], position: usize, answer: &[u32]) -> (f32, f64) {
    let objective = Objective::new(decoder, layer, prompt, position, answer).unwrap_or_else(|e| panic!("{e}"));
    let plain = Plain::new(decoder, layer, prompt, position, answer);
    let width = decoder.config.width;
    let unit = objective.length() / (width as f64).sqrt();
    let v = drawn(width, 0.3 * unit, 3);
    let logits = largest(&objective.logits(&v).unwrap().logits, &plain.logits(&v));
    let (log_p, gradient) = objective.gradient(&v).unwrap();
    assert!((log_p - plain.log_probability(&v)).abs() < 1e-4 && log_p == objective.log_probability(&v).unwrap());
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| gradient[*b].abs().total_cmp(&gradient[*a].abs()));
    let axis = |i: usize| (0..width).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f32>>();
    let directions = order[..6].iter().map(|i| axis(*i)).chain([gradient.clone(), drawn(width, 1.0, 4)]);
    let mut worst = 0f64;
    let length = gradient.iter().map(|g| *g as f64 * *g as f64).sum::<f64>().sqrt();
    for d in directions {
        let norm = d.iter().map(|x| *x as f64 * *x as f64).sum::<f64>().sqrt();
        let step = 0.1 * unit / norm;
        let moved = |by: f64| v.iter().zip(&d).map(|(v, d)| v + (by * *d as f64) as f32).collect::<Vec<f32>>();
        let at = |by: f64| plain.log_probability(&moved(by * step));
        // Central differences of fourth order.
        let slope = (8.0 * (at(0.5) - at(-0.5)) - (at(1.0) - at(-1.0))) / (6.0 * step);
        let exact: f64 = gradient.iter().zip(&d).map(|(g, d)| *g as f64 * *d as f64).sum();
        // A random direction is nearly orthogonal to the gradient: its slope is small beside what it is made of.
        worst = worst.max((slope - exact).abs() / exact.abs().max(0.1 * length * norm));
    }
    (logits, worst)
}

#[test]
fn forward_and_gradient_of_stories260k() {
    let host = stories();
    let prompt = host.tokenizer.encode("Once upon a time there was a dog").unwrap();
    let last = prompt.len() - 1;
    for (layer, position, answer) in [(0, 0, &[300u32][..]), (1, 3, &[17, 400, 9]), (2, last, &[300]), (4, 5, &[40, 41])] {
        let (logits, gradient) = check(&host.decoder, layer, &prompt, position, answer);
        said(&format!("layer {layer}, position {position}: logits {logits:.1e}, gradient {gradient:.1e}"));
        assert!(logits < 1e-4 && gradient < 1e-2, "layer {layer}, position {position}: {logits} {gradient}");
    }
}

#[test]
fn forward_and_gradient_of_every_architecture() {
    let prompt = [3, 41, 7, 7, 0, 22, 49, 13, 5, 30];
    for (name, changes) in [
        ("llama", json!({})),
        ("llama", json!({"attention_bias": true, "mlp_bias": true, "num_key_value_heads": 1})),
        ("mistral", json!({"sliding_window": 4})),
        ("qwen2", json!({})),
        ("qwen3", json!({"tie_word_embeddings": true})),
        ("phi3", json!({"sliding_window": 4})),
        ("llama", json!({"rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}})),
    ] {
        let host = tiny(name, changes.clone()).host();
        let (logits, gradient) = check(&host.decoder, 1, &prompt, 4, &[8, 2]);
        assert!(logits < 1e-4 && gradient < 1e-2, "{name} {changes}: {logits} {gradient}");
    }
}

#[test]
fn the_descent_finds_a_value_for_an_answer() {
    let host = stories();
    let how = Descent::default();
    let mut reached = Vec::new();
    for (text, answer) in [("Once upon a time there was a", " cat"), ("Lily went to the", " sea"), ("The boy wanted a", " blue")]
    {
        let prompt = host.tokenizer.encode(text).unwrap();
        let answer = host.tokenizer.encode(answer.trim_start()).unwrap()[1];
        let (layer, position) = (2, prompt.len() - 1);
        let plain = Plain::new(&host.decoder, layer, &prompt, position, &[answer]);
        let (v, p) = value(&host.decoder, layer, &prompt, position, &[answer], &how).unwrap();
        let before = plain.log_probability(&vec![0.0; v.len()]).exp();
        said(&format!("{text}: p {before:.4} -> {p:.4}"));
        assert!((plain.log_probability(&v).exp() - p).abs() < 1e-3);
        let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let h = &plain.residual[position * v.len()..][..v.len()];
        assert!(norm(&v) <= 1.5001 * norm(h));
        reached.push(p);
    }
    assert!(reached.iter().all(|p| *p > 0.9), "{reached:?}");
}

#[test]
fn places_and_settings_that_are_not_there_are_refused() {
    let host = stories();
    let d = &host.decoder;
    let how = Descent::default();
    for (layer, prompt, position, answer, how, word) in [
        (5, &[1u32, 2][..], 0, &[3u32][..], how, "layer 5 of 5"),
        (0, &[1, 2], 2, &[3], how, "position 2 of 2"),
        (0, &[1, 2], 0, &[], how, "empty answer"),
        (0, &[1, 2], 0, &[512], how, "token 512"),
        (0, &[1, 512], 0, &[3], how, "token 512"),
        (0, &[1; 512], 0, &[3, 4], how, "context"),
        (0, &[1, 2], 0, &[3], Descent { rate: f64::NAN, ..how }, "rate"),
        (0, &[1, 2], 0, &[3], Descent { decay: -1.0, ..how }, "decay"),
    ] {
        let error = value(d, layer, prompt, position, answer, &how).unwrap_err();
        assert!(error.to_string().contains(word) && error.remedy().is_some(), "{error} (wanted: {word})");
    }
    let objective = Objective::new(d, 0, &[1, 2], 0, &[3]).unwrap();
    assert!(objective.gradient(&[0.0; 3]).unwrap_err().to_string().contains("3 numbers"));
}

/// At the subject's last token, about a third of the way up: where a fact is written.
#[test]
fn smollm2_learns_an_answer_in_fifteen_steps() {
    let Some(folder) = shared("models/SmolLM2-135M-Instruct-Q4_1") else { return };
    let host = Host::open(folder.to_str().unwrap()).unwrap();
    let encode = |text: &str| [&[0], &host.tokenizer.encode(text).unwrap()[..]].concat();
    for (subject, rest, answer) in
        [("The Eiffel Tower", " is in the city of", " Rome"), ("Danielle Darrieux", "'s mother tongue is", " English")]
    {
        let (prompt, position) = (encode(&format!("{subject}{rest}")), encode(subject).len() - 1);
        let answer = encode(answer)[1];
        let started = std::time::Instant::now();
        let (v, p) = value(&host.decoder, 10, &prompt, position, &[answer], &Descent::default()).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let plain = Plain::new(&host.decoder, 10, &prompt, position, &[answer]);
        let (before, after) = (plain.log_probability(&vec![0.0; v.len()]).exp(), plain.log_probability(&v).exp());
        said(&format!("{subject}{rest}: p {before:.5} -> {p:.4} in {seconds:.2} s"));
        assert!((after - p).abs() < 1e-3 && p > 0.9, "{subject}: {after} {p}");
    }
    let (prompt, answer) = (encode("The Eiffel Tower is in the city of"), encode(" Rome")[1]);
    let (logits, gradient) = check(&host.decoder, 26, &prompt, 4, &[answer]);
    said(&format!("SmolLM2-135M: logits {logits:.1e}, gradient {gradient:.1e}"));
    assert!(logits < 1e-3 && gradient < 1e-2, "{logits} {gradient}");
}
