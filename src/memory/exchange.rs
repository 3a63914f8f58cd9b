//! The one place where an experience, or a request, becomes tokens: as a text that is continued, or as a chat by the model's template.
//! Knows host and experiences; no memory.

use super::coverage::Topic;
use super::experience::{Experience, Join};
use crate::error::{Error, Result};
use crate::transformer::Host;
use crate::transformer::chat::{Message, TURN_ENDS};
use serde_json::Value;
use std::ops::Range;

/// Tokens of an answer at most.
pub const LONGEST: usize = 512;

/// An experience as the model reads and writes it: [`Exchange::of`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exchange {
    /// Tokens before the answer, as the start of a text.
    pub prompt: Vec<u32>,
    /// Tokens of the answer, without its end.
    pub answer: Vec<u32>,
    /// The token that must follow the answer: end of turn in a chat, else the model's end of text.
    pub end: u32,
    /// The prompt as text, as the model sees it.
    pub text: String,
    /// What was asked, without system text, template marks and tool lists: for deciding what a request is about.
    pub topic: String,
}

/// What a model is asked: [`Request::of_text`] or [`Request::of_messages`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// As the start of a text.
    pub tokens: Vec<u32>,
    /// As the model sees it.
    pub text: String,
    /// What is asked, without system text, template marks and tool lists.
    pub topic: String,
}

impl Request {
    /// A text to continue. One that holds the model's control tokens is a chat typed by hand.
    pub fn of_text(host: &Host, text: &str) -> Result<Request> {
        let topic = if is_chat(host, text)? { topic(&turns(host, text), text) } else { text.into() };
        Ok(Request { tokens: host.begin(text)?, text: text.into(), topic })
    }

    /// Messages that the assistant is to answer, by the model's template, which writes first tokens itself.
    pub fn of_messages(host: &Host, messages: &[Message], tools: Option<&Value>) -> Result<Request> {
        let text = host.chat()?.render(messages, tools, true)?;
        let said = |mine: &dyn Fn(&str) -> bool| {
            let texts = messages.iter().filter(|m| mine(&m.role)).map(Message::text).filter(|text| !text.trim().is_empty());
            texts.collect::<Vec<_>>().join("\n")
        };
        let topic = match said(&|role| role == "user") {
            asked if asked.is_empty() => said(&|role| !is_system(role)),
            asked => asked,
        };
        Ok(Request { tokens: host.tokenizer.encode_bare(&text)?, text, topic })
    }

    /// What it asks for.
    pub fn asks(&self) -> Topic {
        Topic::of(&self.topic).within(&self.text)
    }

    /// Index of the last token that belongs to the subject, in a turn of the user where one names it; None where none does.
    pub fn subject_end(&self, host: &Host, subject: &str) -> Result<Option<usize>> {
        let turns = turns(host, &self.text);
        let asked = turns.iter().filter(|t| t.role.as_deref() == Some("user")).map(|t| t.span.clone());
        // Templates whose marks are no control tokens show no turns: what was asked is looked for as a whole.
        let whole = self.text.find(&self.topic).map(|at| at..at + self.topic.len());
        let all = 0..self.text.len();
        let named = |span: Range<usize>| self.text[span.clone()].find(subject).map(|at| span.start + at + subject.len());
        let Some(end) = asked.chain(whole).chain([all]).find_map(named) else { return Ok(None) };
        // A prefix may be cut inside a token; the shortest prefix of the tokens that spells the subject out is looked for.
        let bare = host.tokenizer.encode_bare(&self.text)?;
        let lead = self.tokens.len().saturating_sub(bare.len());
        let upto = host.tokenizer.encode_bare(&self.text[..end])?;
        let same = bare.iter().zip(&upto).take_while(|(a, b)| a == b).count();
        let index = if same == upto.len() { same.saturating_sub(1) } else { same };
        Ok(Some((lead + index).min(self.tokens.len().saturating_sub(1))))
    }
}

impl Exchange {
    /// Prompt and answer of an experience.
    ///
    /// # Errors
    /// An empty answer, one of more than [`LONGEST`] tokens, a text beyond the context, messages that the model's template refuses or
    /// that it has none for, a model that has no token for the end of a text.
    pub fn of(host: &Host, experience: &Experience) -> Result<Exchange> {
        let Experience { messages, tools, answer, .. } = experience;
        let chat = !messages.is_empty();
        let request = match chat {
            true => Request::of_messages(host, messages, tools.as_ref())?,
            false => Request::of_text(host, &experience.prompt)?,
        };
        let (answer, told_end) = without_end(host, answer);
        let around = if chat { host.chat()?.around(messages, tools.as_ref(), answer) } else { None };
        let written = match &around {
            Some(around) => format!("{}{}", around.before, around.answer),
            None if chat || experience.join == Join::None => answer.to_string(),
            None => host.joined(&request.text, answer),
        };
        let after = around.and_then(|around| host.tokenizer.controls_in(&around.after).next().map(|(id, _)| id));
        let end = match told_end.or(after) {
            Some(end) => end,
            None if chat || is_chat(host, &request.text)? => end_of_turn(host, &request.text)?,
            None => end_of_text(host)?,
        };
        let tokens = host.answer(&request.text, &written)?;
        if tokens.len() > LONGEST {
            return Err(Error::input(
                format!("the answer has {} tokens; up to {LONGEST} can be learned", tokens.len()),
                "shorten it, or part it into several experiences",
            ));
        }
        let (length, context) = (request.tokens.len() + tokens.len() + 1, host.decoder.config.context);
        if length > context {
            return Err(Error::input(
                format!("prompt and answer have {length} tokens; the model's context has {context}"),
                "shorten the prompt",
            ));
        }
        Ok(Exchange { prompt: request.tokens, answer: tokens, end, text: request.text, topic: request.topic })
    }

    /// What asks for it.
    pub fn asked(&self) -> Topic {
        Topic::of(&self.topic).within(&self.text)
    }

    /// Index of the prompt's last token that belongs to the subject: see [`Request::subject_end`].
    pub fn subject_end(&self, host: &Host, subject: &str) -> Result<Option<usize>> {
        let (tokens, text, topic) = (self.prompt.clone(), self.text.clone(), self.topic.clone());
        Request { tokens, text, topic }.subject_end(host, subject)
    }
}

/// An answer without the token that ends it, where it ends in one that does.
fn without_end<'a>(host: &Host, answer: &'a str) -> (&'a str, Option<u32>) {
    let trimmed = answer.trim_end();
    let last = host.tokenizer.controls_in(trimmed).last().filter(|(_, span)| span.end == trimmed.len());
    match last {
        Some((id, span))
            if host.decoder.config.eos.contains(&id) || host.parting() == Some(id) || host.end_of_turn() == Some(id) =>
        {
            (&trimmed[..span.start], Some(id))
        }
        _ => (answer, None),
    }
}

/// Whether a text holds control tokens other than those that texts start with or are parted by.
fn is_chat(host: &Host, text: &str) -> Result<bool> {
    let leading = host.tokenizer.leading()?;
    Ok(host.tokenizer.controls_in(text).any(|(id, _)| !leading.contains(&id) && host.parting() != Some(id)))
}

/// The token that ends a turn of this chat: one that stands in it and that the configuration names or whose name says so, else the
/// template's.
fn end_of_turn(host: &Host, text: &str) -> Result<u32> {
    let leading = host.tokenizer.leading()?;
    let parts = |id: u32| leading.contains(&id) || host.parting() == Some(id);
    let there = |end: &&u32| !parts(**end) && host.tokenizer.controls_in(text).any(|(id, _)| id == **end);
    let named = || host.tokenizer.controls_in(text).find(|(_, span)| TURN_ENDS.contains(&&text[span.clone()])).map(|(id, _)| id);
    match host.decoder.config.eos.iter().find(there).copied().or_else(named).or_else(|| host.end_of_turn()) {
        Some(end) => Ok(end),
        None => end_of_text(host),
    }
}

fn end_of_text(host: &Host) -> Result<u32> {
    let config = &host.decoder.config;
    config.eos.first().copied().or_else(|| host.parting()).or(config.bos).ok_or_else(|| {
        Error::input(
            "this model has no token that ends a text",
            "name one as `eos_token_id` in the model's generation_config.json, or use another model",
        )
    })
}

/// A stretch of a chat between two control tokens.
#[derive(Clone, Debug, PartialEq)]
struct Turn {
    role: Option<String>,
    span: Range<usize>,
}

fn is_system(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

/// The turns of a chat: what stands between its control tokens. A role is the first line after a token that starts a turn
/// (`<|im_start|>user`, `<|start_header_id|>user<|end_header_id|>`), or the token itself (`<|user|>`, `[INST]`).
fn turns(host: &Host, text: &str) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut role: Option<String> = None;
    let mut starts = false;
    let mut from = 0;
    let marks = host.tokenizer.controls_in(text).map(|(_, span)| span).chain([text.len()..text.len()]);
    for mark in marks {
        let mut span = from..mark.start;
        if starts {
            let line = text[span.clone()].find('\n').map_or(span.end, |at| span.start + at);
            role = Some(text[span.start..line].trim().to_lowercase());
            span.start = line;
        }
        if !text[span.clone()].trim().is_empty() {
            let (start, end) = (text[span.clone()].trim_start().len(), text[span.clone()].trim_end().len());
            turns.push(Turn { role: role.clone(), span: span.end - start..span.start + end });
        }
        let name = text[mark.clone()].to_lowercase();
        let word = name.trim_matches(|c: char| !c.is_alphanumeric());
        starts = word.contains("start") && !word.contains("text");
        match word {
            "user" | "assistant" | "system" | "tool" | "developer" => role = Some(word.into()),
            "inst" => role = Some(if name.contains('/') { "assistant" } else { "user" }.into()),
            _ => {}
        }
        from = mark.end;
    }
    turns
}

/// What is asked in the turns of a chat: the user's, else all but the system's, else all there is.
fn topic(turns: &[Turn], text: &str) -> String {
    let said = |mine: &dyn Fn(Option<&str>) -> bool| {
        turns.iter().filter(|t| mine(t.role.as_deref())).map(|t| &text[t.span.clone()]).collect::<Vec<_>>().join("\n")
    };
    let candidates = [said(&|role| role == Some("user")), said(&|role| !role.is_some_and(is_system)), said(&|_| true)];
    candidates.into_iter().find(|topic| !topic.is_empty()).unwrap_or_default()
}
