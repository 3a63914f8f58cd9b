//! How well experiences are recalled: questions whose evidence is known (LoCoMo's layout, Maharana et al. 2024), by the network and by
//! controls that do not use it. Promises that no method sees which turns are evidence, and that all see the same texts and vectors.
//!
//! recall@k: the share of a question's evidence among the first k turns of its own conversation, averaged over questions; session hit@k: one
//! of the first k distinct sessions has evidence; kept: the share of the evidence that fits a budget of tokens, all conversations in one
//! memory; AUC: the probability that a question that can be answered has a higher confidence than one that cannot.

use crate::error::{Error, Result};
use crate::memory::episodic::Episodic;
use crate::recall::encoder::{Embedding, Encoder};
use crate::recall::hippocampus::{Late, Wiring};
use crate::recall::index::{PORTS, SENSE, SENSE_AROUND};
use crate::recall::words;
use crate::recall::{Ask, Episode, Filter, Mix};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Category of questions that cannot be answered.
const ADVERSARIAL: u64 = 5;
/// Turns that are ranked.
const DEPTH: usize = 200;
/// Tokens of the budget.
const BUDGET: usize = 4000;

/// A question about a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// As it is asked.
    pub text: String,
    /// Ids of the turns that answer it.
    pub evidence: Vec<String>,
    /// 1 several turns, 2 time, 3 knowledge of the world, 4 one turn, 5 no answer.
    pub category: u64,
}

/// A conversation and questions about it.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its name, and the tag of its turns.
    pub name: String,
    /// Turns in their order.
    pub turns: Vec<Episode>,
    /// Questions with evidence among the turns.
    pub questions: Vec<Question>,
}

/// What one method reached.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scores {
    /// Percent of the evidence among the first k turns.
    #[serde(rename = "recall@1")]
    pub recall_1: f64,
    /// See `recall_1`.
    #[serde(rename = "recall@5")]
    pub recall_5: f64,
    /// See `recall_1`.
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    /// See `recall_1`.
    #[serde(rename = "recall@50")]
    pub recall_50: f64,
    /// Percent of questions with evidence in one of the first 5 sessions.
    #[serde(rename = "session@5")]
    pub session_5: f64,
    /// In one of the first 10.
    #[serde(rename = "session@10")]
    pub session_10: f64,
    /// recall@10 by category.
    pub by_category: BTreeMap<u64, f64>,
    /// Milliseconds a question, the encoding of questions left out.
    pub ms: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub data: String,
    /// The encoder; empty for words alone.
    pub encoder: String,
    /// Conversations, turns and questions.
    pub size: [usize; 3],
    /// Weights of what is summed.
    pub mix: Mix,
    /// By method.
    pub methods: BTreeMap<String, Scores>,
    /// Percent of the evidence in a budget of 4,000 tokens, all conversations in one memory, by method.
    pub kept: BTreeMap<String, f64>,
    /// Questions that can be answered against those of category 5, and against questions about another conversation.
    pub auc: BTreeMap<String, f64>,
    /// Milliseconds that a turn took: encoding it, and all else.
    pub adding_ms: [f64; 2],
}

/// Reads conversations.
///
/// # Errors
/// A file that is not of LoCoMo's layout.
pub fn read(path: &Path) -> Result<Vec<Conversation>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let wrong = |what: String| Error::input(format!("{}: {what}", path.display()), "give a file of LoCoMo's layout");
    let all: Vec<Value> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    all.iter()
        .enumerate()
        .map(|(i, value)| conversation(i, value).ok_or_else(|| wrong(format!("conversation {}", i + 1))))
        .collect()
}

fn conversation(number: usize, value: &Value) -> Option<Conversation> {
    let name = value["sample_id"].as_str().map_or(format!("conversation {}", number + 1), String::from);
    let sessions = value["conversation"].as_object()?;
    let mut order: Vec<(u64, &Vec<Value>)> = Vec::new();
    for (key, turns) in sessions {
        if let (Some(n), Some(turns)) = (key.strip_prefix("session_").and_then(|n| n.parse().ok()), turns.as_array()) {
            order.push((n, turns));
        }
    }
    order.sort_by_key(|(n, _)| *n);
    let mut turns = Vec::new();
    for (n, list) in order {
        for turn in list {
            let caption = turn["blip_caption"].as_str().map_or(String::new(), |c| format!(" [image: {c}]"));
            turns.push(Episode {
                id: format!("{name} {}", turn["dia_id"].as_str()?),
                speaker: turn["speaker"].as_str().map(String::from),
                session: Some(format!("{name} {n}")),
                tags: vec![name.clone()],
                ..Episode::of_text(format!("{}{caption}", turn["text"].as_str()?))
            });
        }
    }
    turns.retain(|turn| !turn.text.trim().is_empty());
    let ids: HashSet<&str> = turns.iter().map(|t| t.id.as_str()).collect();
    let mut questions = Vec::new();
    for question in value["qa"].as_array()? {
        let mut evidence = Vec::new();
        for said in question["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // Some name several in one text.
            for part in said.split(|c: char| !(c.is_alphanumeric() || c == ':')) {
                let id = format!("{name} {part}");
                if ids.contains(id.as_str()) && !evidence.contains(&id) {
                    evidence.push(id);
                }
            }
        }
        if !evidence.is_empty() {
            let text = question["question"].as_str()?.to_string();
            questions.push(Question { text, evidence, category: question["category"].as_u64()? });
        }
    }
    Some(Conversation { name, turns, questions })
}

/// An encoder that remembers what it encoded, so that every method sees the same vectors and no time of encoding is counted twice.
struct Remembering {
    inner: Arc<dyn Encoder>,
    known: Mutex<HashMap<String, Embedding>>,
}

impl Encoder for Remembering {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn fingerprint(&self) -> &str {
        self.inner.fingerprint()
    }
    fn width(&self) -> usize {
        self.inner.width()
    }
    fn encode(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let lock = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh: Vec<&str> = texts.iter().copied().filter(|t| !lock().contains_key(*t)).collect();
        if !fresh.is_empty() {
            let made = self.inner.encode(&fresh)?;
            lock().extend(fresh.iter().map(|t| t.to_string()).zip(made));
        }
        let known = lock();
        Ok(texts.iter().filter_map(|t| known.get(*t).cloned()).collect())
    }
}

/// Measures all methods. `say` hears what is going on, and how far it is.
pub fn measure(
    data: &Path,
    encoder: Option<Arc<dyn Encoder>>,
    mix: &Mix,
    controls: bool,
    say: &dyn Fn(&str, f64),
    stop: &AtomicBool,
) -> Result<Report> {
    let conversations = read(data)?;
    let encoder = encoder.map(|inner| Arc::new(Remembering { inner, known: Mutex::default() }));
    let as_encoder = encoder.clone().map(|e| e as Arc<dyn Encoder>);
    let mut memory = Episodic::in_memory(as_encoder.clone())?;
    memory.network_mut().mix = mix.clone();
    let turns: Vec<&Episode> = conversations.iter().flat_map(|c| &c.turns).collect();
    let (mut encoding, mut adding, mut done) = (0.0, 0.0, 0);
    for batch in turns.chunks(128) {
        halted(stop)?;
        say("adding turns", done as f64 / turns.len() as f64);
        let started = Instant::now();
        if let Some(encoder) = &encoder {
            let texts: Vec<String> = batch.iter().flat_map(|e| e.pieces()).collect();
            encoder.encode(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        encoding += started.elapsed().as_secs_f64();
        let started = Instant::now();
        memory.add(batch.iter().map(|e| (*e).clone()).collect())?;
        adding += started.elapsed().as_secs_f64();
        done += batch.len();
    }
    memory.network_mut().settle_all();
    let n = turns.len().max(1) as f64;
    let questions: Vec<(&Conversation, &Question)> =
        conversations.iter().flat_map(|c| c.questions.iter().map(move |q| (c, q))).collect();
    if let Some(encoder) = &encoder {
        for (i, batch) in questions.chunks(128).enumerate() {
            halted(stop)?;
            say("encoding questions", (128 * i) as f64 / questions.len() as f64);
            encoder.encode(&batch.iter().map(|(_, q)| q.text.as_str()).collect::<Vec<_>>())?;
        }
    }
    let mut report = Report {
        data: data.display().to_string(),
        encoder: encoder.as_ref().map_or(String::new(), |e| e.name().into()),
        size: [conversations.len(), turns.len(), questions.len()],
        mix: mix.clone(),
        methods: BTreeMap::new(),
        kept: BTreeMap::new(),
        auc: BTreeMap::new(),
        adding_ms: [1e3 * encoding / n, 1e3 * adding / n],
    };
    let mut confidences = Vec::new();
    network(&memory, Late::On, "fused", &questions, &mut report, &mut confidences, say, stop)?;
    network(&memory, Late::Off, "spikes", &questions, &mut report, &mut Vec::new(), say, stop)?;
    budget(&memory, &questions, &mut report, say, stop)?;
    abstention(&memory, &conversations, &questions, &confidences, &mut report, say, stop)?;
    scans(&memory, encoder.as_deref(), &conversations, &questions, &mut report, say, stop)?;
    if controls {
        for (name, wiring) in [("links off", Wiring::Off), ("links shuffled", Wiring::Shuffled(1))] {
            memory.network_mut().rewire(wiring);
            memory.network_mut().settle_all();
            network(&memory, Late::On, &format!("fused, {name}"), &questions, &mut report, &mut Vec::new(), say, stop)?;
            network(&memory, Late::Off, &format!("spikes, {name}"), &questions, &mut report, &mut Vec::new(), say, stop)?;
        }
        memory.network_mut().rewire(Wiring::InOrder);
        if encoder.is_some() {
            // Cues through another projection than the one the codes were made by.
            memory.network_mut().settle_all();
            memory.network_mut().estrange(1);
            network(&memory, Late::Off, "spikes, projection shuffled", &questions, &mut report, &mut Vec::new(), say, stop)?;
        }
    }
    Ok(report)
}

fn halted(stop: &AtomicBool) -> Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(Error::Run { message: "stopped".into(), remedy: "start it again".into() }),
        false => Ok(()),
    }
}

#[expect(clippy::too_many_arguments, reason = "what is measured and where it goes")]
fn network(
    memory: &Episodic,
    late: Late,
    name: &str,
    questions: &[(&Conversation, &Question)],
    report: &mut Report,
    confidences: &mut Vec<f32>,
    say: &dyn Fn(&str, f64),
    stop: &AtomicBool,
) -> Result<()> {
    let tokens = memory.tokens()?;
    let (mut ranked, started) = (Vec::with_capacity(questions.len()), Instant::now());
    for (i, (conversation, question)) in questions.iter().enumerate() {
        halted(stop)?;
        say(name, i as f64 / questions.len() as f64);
        let filter = Filter { tags: vec![conversation.name.clone()], ..Filter::default() };
        let answer = memory.asked(&tokens, &Ask { k: DEPTH, filter, ..Ask::new(&question.text) }, late)?;
        confidences.push(answer.confidence);
        ranked.push(answer.recalled.into_iter().map(|r| r.episode.id).collect());
    }
    let ms = 1e3 * started.elapsed().as_secs_f64() / questions.len().max(1) as f64;
    report.methods.insert(name.into(), Scores { ms, ..score(questions, &ranked) });
    Ok(())
}

/// What rankings are worth; ids by rank, for each question.
pub fn score(questions: &[(&Conversation, &Question)], ranked: &[Vec<String>]) -> Scores {
    let session = |id: &str| id.rsplit_once(':').map_or(id.to_string(), |(session, _)| session.to_string());
    let mut scores = Scores::default();
    let mut by_category: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for ((_, question), ranked) in questions.iter().zip(ranked) {
        let found = |k: usize| {
            let hits = question.evidence.iter().filter(|e| ranked.iter().take(k).any(|id| id == *e)).count();
            100.0 * hits as f64 / question.evidence.len() as f64
        };
        let mut sessions: Vec<String> = Vec::new();
        for id in ranked {
            let session = session(id);
            if !sessions.contains(&session) {
                sessions.push(session);
            }
        }
        let wanted: HashSet<String> = question.evidence.iter().map(|e| session(e)).collect();
        let hit = |k: usize| 100.0 * f64::from(sessions.iter().take(k).any(|s| wanted.contains(s)));
        scores.recall_1 += found(1);
        scores.recall_5 += found(5);
        scores.recall_10 += found(10);
        scores.recall_50 += found(50);
        scores.session_5 += hit(5);
        scores.session_10 += hit(10);
        let (sum, n) = by_category.entry(question.category).or_default();
        (*sum, *n) = (*sum + found(10), *n + 1.0);
    }
    let n = questions.len().max(1) as f64;
    let Scores { recall_1, recall_5, recall_10, recall_50, session_5, session_10, .. } = &mut scores;
    [recall_1, recall_5, recall_10, recall_50, session_5, session_10].into_iter().for_each(|x| *x /= n);
    scores.by_category = by_category.into_iter().map(|(category, (sum, n))| (category, sum / n)).collect();
    scores
}

/// Evidence in a budget of tokens, all conversations in one memory.
fn budget(
    memory: &Episodic,
    questions: &[(&Conversation, &Question)],
    report: &mut Report,
    say: &dyn Fn(&str, f64),
    stop: &AtomicBool,
) -> Result<()> {
    let tokens = memory.tokens()?;
    for (name, late) in [("fused", Late::On), ("spikes", Late::Off)] {
        let mut kept = 0.0;
        for (i, (_, question)) in questions.iter().enumerate() {
            halted(stop)?;
            say(&format!("{name}, 4,000 tokens of everything"), i as f64 / questions.len() as f64);
            let ask = Ask { k: 400, max_tokens: BUDGET, ..Ask::new(&question.text) };
            let answer = memory.asked(&tokens, &ask, late)?;
            let there: HashSet<&str> = answer.recalled.iter().map(|r| r.episode.id.as_str()).collect();
            let hits = question.evidence.iter().filter(|e| there.contains(e.as_str())).count();
            kept += 100.0 * hits as f64 / question.evidence.len() as f64;
        }
        report.kept.insert(name.into(), kept / questions.len().max(1) as f64);
    }
    Ok(())
}

/// Confidence in what can be answered against what cannot.
fn abstention(
    memory: &Episodic,
    conversations: &[Conversation],
    questions: &[(&Conversation, &Question)],
    confidences: &[f32],
    report: &mut Report,
    say: &dyn Fn(&str, f64),
    stop: &AtomicBool,
) -> Result<()> {
    let of = |adversarial: bool| -> Vec<f32> {
        let own = questions.iter().zip(confidences).filter(|((_, q), _)| (q.category == ADVERSARIAL) == adversarial);
        own.map(|(_, c)| *c).collect()
    };
    let (answerable, adversarial) = (of(false), of(true));
    report.auc.insert("category 5".into(), auc(&answerable, &adversarial));
    if conversations.len() > 1 {
        let tokens = memory.tokens()?;
        let mut foreign = Vec::new();
        for (i, (conversation, question)) in questions.iter().enumerate().filter(|(_, (_, q))| q.category != ADVERSARIAL) {
            halted(stop)?;
            say("questions about others", i as f64 / questions.len() as f64);
            let own = conversations.iter().position(|c| c.name == conversation.name).unwrap_or(0);
            let other = &conversations[(own + 1) % conversations.len()];
            let filter = Filter { tags: vec![other.name.clone()], ..Filter::default() };
            foreign.push(memory.asked(&tokens, &Ask { filter, ..Ask::new(&question.text) }, Late::On)?.confidence);
        }
        report.auc.insert("foreign questions".into(), auc(&answerable, &foreign));
    }
    Ok(())
}

/// The probability that one of the first is larger than one of the others, ties counting half.
pub fn auc(larger: &[f32], smaller: &[f32]) -> f64 {
    let mut all: Vec<(f32, bool)> = larger.iter().map(|x| (*x, true)).chain(smaller.iter().map(|x| (*x, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let own = group.iter().filter(|(_, larger)| *larger).count() as f64;
        let others = group.len() as f64 - own;
        wins += own * (below + 0.5 * others);
        below += others;
    }
    wins / (larger.len() as f64 * smaller.len() as f64).max(1.0)
}

/// Controls without a network: cosine of the plain vectors, BM25, both by reciprocal ranks, and an exact scan over the same codes.
fn scans(
    memory: &Episodic,
    encoder: Option<&Remembering>,
    conversations: &[Conversation],
    questions: &[(&Conversation, &Question)],
    report: &mut Report,
    say: &dyn Fn(&str, f64),
    stop: &AtomicBool,
) -> Result<()> {
    let mut ranked: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    let order = |conversation: &Conversation, scores: &[f32]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..conversation.turns.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order
    };
    let ids = |conversation: &Conversation, order: &[usize]| -> Vec<String> {
        order.iter().take(DEPTH).map(|i| conversation.turns[*i].id.clone()).collect()
    };
    let mut asked = 0;
    for conversation in conversations {
        let texts: Vec<String> = conversation.turns.iter().map(Episode::said).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = encoder.map(|e| e.encode(&texts)).transpose()?;
        let bm25 = Bm25::new(&texts);
        let own: Vec<&Question> = questions.iter().filter(|(c, _)| c.name == conversation.name).map(|(_, q)| *q).collect();
        for question in own {
            halted(stop)?;
            asked += 1;
            say("scans", asked as f64 / questions.len() as f64);
            let by_words = order(conversation, &bm25.scores(&question.text));
            ranked.entry("BM25").or_default().push(ids(conversation, &by_words));
            if let (Some(vectors), Some(encoder)) = (&vectors, encoder) {
                let cue = encoder.encode(&[&question.text])?;
                let dot = |v: &Embedding| v.vector.iter().zip(&cue[0].vector).map(|(a, b)| a * b).sum::<f32>();
                let by_cosine = order(conversation, &vectors.iter().map(dot).collect::<Vec<_>>());
                ranked.entry("dense cosine").or_default().push(ids(conversation, &by_cosine));
                let mut reciprocal = vec![0.0; texts.len()];
                for list in [&by_words, &by_cosine] {
                    list.iter().enumerate().for_each(|(rank, i)| reciprocal[*i] += 1.0 / (61 + rank) as f32);
                }
                let both = order(conversation, &reciprocal);
                ranked.entry("RRF").or_default().push(ids(conversation, &both));
            }
            let drives = memory.network().scan(&question.text)?;
            let named = memory.network().named(&conversation.turns.iter().map(|t| t.id.as_str()).collect::<Vec<_>>());
            let mut total = vec![0.0; texts.len()];
            let mix = &report.mix;
            for (port, weight) in (0..PORTS).zip([mix.words, mix.around, mix.sense, mix.sense_around]) {
                let values: Vec<f32> = named.iter().map(|cell| drives[port][*cell]).collect();
                debug_assert!(encoder.is_some() || !(SENSE..=SENSE_AROUND).contains(&port) || values.iter().all(|x| *x == 0.0));
                crate::recall::fuse::add_scores(&mut total, &values, &vec![true; values.len()], weight);
            }
            let linked: Vec<f32> = (0..total.len())
                .map(|i| {
                    let beside = [i.checked_sub(1), Some(i + 1)].into_iter().flatten().filter(|j| *j < total.len());
                    let same = beside.filter(|j| conversation.turns[*j].session == conversation.turns[i].session);
                    total[i] + mix.links * same.map(|j| total[j]).sum::<f32>()
                })
                .collect();
            let by_scan = order(conversation, &linked);
            ranked.entry("exact scan of the codes").or_default().push(ids(conversation, &by_scan));
        }
    }
    for (name, ranked) in ranked {
        report.methods.insert(name.into(), score(questions, &ranked));
    }
    Ok(())
}

/// BM25 as published (Robertson and Zaragoza 2009), k1 1.2, b 0.75, on the same stems.
struct Bm25 {
    texts: Vec<Vec<(u16, u8)>>,
    lengths: Vec<f32>,
    holding: HashMap<u16, f32>,
}

impl Bm25 {
    fn new(texts: &[&str]) -> Bm25 {
        let texts: Vec<Vec<(u16, u8)>> = texts.iter().map(|t| words::cells(t)).collect();
        let mut holding = HashMap::new();
        texts.iter().flatten().for_each(|(cell, _)| *holding.entry(*cell).or_insert(0.0) += 1.0);
        let lengths = texts.iter().map(|t| t.iter().map(|(_, n)| f32::from(*n)).sum()).collect();
        Bm25 { texts, lengths, holding }
    }

    fn scores(&self, question: &str) -> Vec<f32> {
        let asked = words::cells(question);
        let (n, mean) = (self.texts.len() as f32, self.lengths.iter().sum::<f32>() / self.texts.len().max(1) as f32);
        let one = |(text, length): (&Vec<(u16, u8)>, &f32)| {
            let norm = 1.2 * (0.25 + 0.75 * length / mean);
            let of = |(cell, count): &(u16, u8)| {
                let asked = asked.iter().any(|(c, _)| c == cell);
                let (df, tf) = (self.holding[cell], f32::from(*count));
                if asked { (1.0 + (n - df + 0.5) / (df + 0.5)).ln() * tf * 2.2 / (tf + norm) } else { 0.0 }
            };
            text.iter().map(of).sum()
        };
        self.texts.iter().zip(&self.lengths).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_rankings_by_hand() {
        let question = |evidence: &[&str], category| Question {
            text: String::new(),
            evidence: evidence.iter().map(|e| e.to_string()).collect(),
            category,
        };
        let conversation = Conversation { name: "c".into(), turns: vec![], questions: vec![] };
        let (one, two) = (question(&["c D1:1"], 4), question(&["c D1:2", "c D3:1"], 1));
        let asked = [(&conversation, &one), (&conversation, &two)];
        let rank = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>();
        let scores = score(&asked, &[rank(&["c D2:1", "c D1:1"]), rank(&["c D3:1", "c D1:1"])]);
        assert_eq!((scores.recall_1, scores.recall_5, scores.recall_10), (25.0, 75.0, 75.0));
        assert_eq!((scores.session_5, scores.by_category[&1], scores.by_category[&4]), (100.0, 50.0, 100.0));
        assert_eq!(auc(&[0.9, 0.5], &[0.1, 0.5]), 3.5 / 4.0);
    }
}
