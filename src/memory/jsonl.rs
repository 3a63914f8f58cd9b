//! Experiences as JSONL: one JSON object a line, each read and judged on its own, so that a bad line costs nothing but itself.
//! Reads a stream of any length in little memory; knows no store.

use super::experience::{Experience, Join, OUTCOME_RULE, Outcome};
use crate::error::{Error, Place, Result, nearest};
use crate::transformer::chat::Message;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, Read};
use std::ops::Range;

/// Bytes of a line at most, its end not counted.
pub const LONGEST_LINE: usize = 1 << 20;

const KEYS: [&str; 12] =
    ["id", "user", "prompt", "messages", "tools", "answer", "join", "outcome", "subject", "time", "tags", "supersedes"];

/// Reads experiences line by line: for each line that is not blank its number, from 1, and what it holds or why not. Lines may
/// end in LF or CRLF, the last one in neither, and a byte order mark may stand in front. After an error of the reader itself
/// nothing more comes; every other error concerns its own line only.
pub struct Lines<R> {
    reader: R,
    file: String,
    line: usize,
    /// Where each id that was written down was met first.
    ids: HashMap<String, usize>,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// `file` is what messages call the stream.
    pub fn new(reader: R, file: impl Into<String>) -> Lines<R> {
        Lines { reader, file: file.into(), line: 0, ids: HashMap::new(), ended: false }
    }

    /// The next line without its end; None after the last. Of a line that is too long only the beginning is kept.
    fn bytes(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        // Room for a byte order mark, CRLF, and one byte that shows that there is more.
        let limit = LONGEST_LINE as u64 + 6;
        if self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        match bytes.strip_suffix(b"\n") {
            Some(line) => bytes.truncate(line.strip_suffix(b"\r").unwrap_or(line).len()),
            None => self.skip_line()?,
        }
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Ok(Some(bytes))
    }

    /// Leaves the reader at the start of the next line.
    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (used, done) = match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.reader.consume(used);
            if done {
                return Ok(());
            }
        }
    }

    fn judge(&mut self, bytes: &[u8]) -> Result<Experience> {
        let text = String::from_utf8_lossy(bytes);
        let line = Line { file: &self.file, number: self.line, text: &text };
        if bytes.len() > LONGEST_LINE {
            let message = format!("the line is longer than {LONGEST_LINE} bytes");
            return Err(line.error(0..1, message, "shorten the prompt, or check that the file is JSONL"));
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            let at = error.valid_up_to();
            return Err(line.error(at..at + 1, "the line is not UTF-8", "save the file as UTF-8"));
        }
        let (experience, derived) = line.experience()?;
        // What came without an id and is told twice is one occurrence: the memory knows it.
        if derived {
            return Ok(experience);
        }
        if let Some(first) = self.ids.get(&experience.id) {
            let message = format!("the id {:?} stands on line {first} already", experience.id);
            return Err(line.error(line.value("id"), message, "give each experience an id of its own, or take one line out"));
        }
        self.ids.insert(experience.id.clone(), self.line);
        Ok(experience)
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = (usize, Result<Experience>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.bytes() {
                Ok(Some(bytes)) if bytes.trim_ascii().is_empty() => {}
                Ok(Some(bytes)) => return Some((self.line, self.judge(&bytes))),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some((self.line + 1, Err(Error::file(&self.file, error))));
                }
            }
        }
        None
    }
}

/// A line that is text.
struct Line<'a> {
    file: &'a str,
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// What the line holds, and whether its id was made up from it.
    fn experience(&self) -> Result<(Experience, bool)> {
        let Keyed(entries) = serde_json::from_str(self.text).map_err(|e| self.syntax(&e))?;
        let mut values: HashMap<&str, &Value> = HashMap::new();
        for (key, value) in &entries {
            if !KEYS.contains(&key.as_str()) {
                let remedy = match nearest(key, KEYS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the keys are {}", KEYS.join(", ")),
                };
                return Err(self.error(self.key(key), format!("unknown key `{key}`"), remedy));
            }
            if values.insert(key, value).is_some() {
                return Err(self.error(self.key(key), format!("the key `{key}` is given twice"), "take one of them out"));
            }
        }
        values.retain(|_, value| !value.is_null());
        let text = |key: &str| match values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.error(self.value(key), format!("`{key}` is not a text"), "put it in double quotes")),
        };
        let missing = |key: &str, remedy: &str| self.error(0..self.text.len(), format!("`{key}` is missing"), remedy);
        let mut messages = values.get("messages").map_or(Ok(Vec::new()), |list| self.messages(list))?;
        let prompt = text("prompt")?;
        if prompt.is_none() && !values.contains_key("messages") {
            return Err(missing("prompt", "add it to the line, or `messages`"));
        }
        if prompt.is_some() && values.contains_key("messages") {
            return Err(self.error(self.value("messages"), "both `prompt` and `messages` are given", "take one of them out"));
        }
        let answer = match (text("answer")?, messages.pop_if(|m| m.role == "assistant" && !values.contains_key("answer"))) {
            (Some(answer), _) => answer,
            (None, Some(last)) if !last.text().is_empty() => last.text(),
            (None, Some(_)) => {
                return Err(self.error(
                    self.value("messages"),
                    "the assistant's last message has no text to learn",
                    "give its `content`, or take it out and write what it should say as `answer`",
                ));
            }
            (None, None) => return Err(missing("answer", "add it to the line")),
        };
        if values.contains_key("messages") && messages.is_empty() {
            let remedy = "give the messages that the answer follows, from the user's on";
            return Err(self.error(self.value("messages"), "nothing is asked before the answer", remedy));
        }
        let join = match values.get("join") {
            None => Join::Auto,
            Some(Value::String(word)) if word == "auto" => Join::Auto,
            Some(Value::String(word)) if word == "none" => Join::None,
            Some(other) => {
                let remedy = "write \"auto\", or \"none\" where the answer follows the prompt just as both are given";
                return Err(self.error(self.value("join"), format!("`join` is {}", brief(other)), remedy));
            }
        };
        let outcome = match values.get("outcome").ok_or_else(|| missing("outcome", "add it to the line"))? {
            Value::String(word) if word == "success" => Outcome::Success,
            Value::String(word) if word == "failure" => Outcome::Failure,
            Value::Number(number) => Outcome::Reward(number.as_f64().unwrap_or(f64::NAN)),
            other => return Err(self.error(self.value("outcome"), format!("`outcome` is {}", brief(other)), OUTCOME_RULE)),
        };
        let subject = values.get("subject").map(|subject| self.subject(subject, prompt.as_deref())).transpose()?;
        let tags = values.get("tags").map_or(Ok(Vec::new()), |tags| self.tags(tags))?;
        let mut experience = Experience {
            id: String::new(),
            user: text("user")?,
            prompt: prompt.unwrap_or_default(),
            messages,
            tools: values.get("tools").map(|tools| (*tools).clone()),
            answer,
            join,
            outcome,
            subject,
            time: text("time")?,
            tags,
            supersedes: text("supersedes")?,
        };
        let id = text("id")?;
        let derived = id.is_none();
        experience.id = id.unwrap_or_else(|| experience.derived_id());
        match experience.flaw() {
            Some(flaw) => Err(self.error(self.value(flaw.key), flaw.message, flaw.remedy)),
            None => Ok((experience, derived)),
        }
    }

    fn messages(&self, list: &Value) -> Result<Vec<Message>> {
        let remedy = "write it like [{\"role\": \"user\", \"content\": \"…\"}]";
        let wrong = |message: String| self.error(self.value("messages"), message, remedy);
        let list = list.as_array().ok_or_else(|| wrong("`messages` is not a list".into()))?;
        if list.is_empty() {
            return Err(wrong("`messages` is empty".into()));
        }
        let read = |(i, message): (usize, &Value)| {
            Message::deserialize(message).map_err(|e| wrong(format!("message {} of `messages` cannot be read: {e}", i + 1)))
        };
        list.iter().enumerate().map(read).collect()
    }

    /// A text, or the characters [start, end) of the prompt as a list or an object.
    fn subject(&self, subject: &Value, prompt: Option<&str>) -> Result<String> {
        let (start, end) = match subject {
            Value::String(text) => return Ok(text.clone()),
            Value::Array(span) if span.len() == 2 => (span[0].as_u64(), span[1].as_u64()),
            Value::Object(span) if span.len() == 2 => {
                (span.get("start").and_then(Value::as_u64), span.get("end").and_then(Value::as_u64))
            }
            _ => (None, None),
        };
        let remedy = "write a part of the prompt, or [start, end) in characters: \"Paris\", [4, 9] or {\"start\": 4, \"end\": 9}";
        let (Some(start), Some(end)) = (start, end) else {
            return Err(self.error(self.value("subject"), "`subject` is neither a text nor a span", remedy));
        };
        let Some(prompt) = prompt else {
            let message = "`subject` is a span of a prompt, and there are messages";
            return Err(self.error(self.value("subject"), message, "write a part of a message as a text"));
        };
        let length = prompt.chars().count() as u64;
        if start >= end || end > length {
            let message = format!("`subject` spans {start} to {end}, but the prompt has the characters 0 to {length}");
            return Err(self.error(self.value("subject"), message, remedy));
        }
        Ok(prompt.chars().skip(start as usize).take((end - start) as usize).collect())
    }

    fn tags(&self, tags: &Value) -> Result<Vec<String>> {
        let texts = tags.as_array().and_then(|tags| tags.iter().map(|t| t.as_str().map(str::to_string)).collect());
        texts.ok_or_else(|| {
            self.error(self.value("tags"), "`tags` is not a list of texts", "write it like [\"travel\", \"2026\"]")
        })
    }

    fn syntax(&self, error: &serde_json::Error) -> Error {
        let at = error.column().saturating_sub(1);
        let message = error.to_string();
        let message = message.rsplit_once(" at line").map_or(message.as_str(), |(what, _)| what);
        let remedy = match self.text.trim_start().starts_with('[') {
            true => "write one JSON object a line, without a list around them",
            false => "write one JSON object a line, like {\"prompt\": \"…\", \"answer\": \"…\", \"outcome\": \"success\"}",
        };
        self.error(at..at + 1, format!("not a JSON object: {message}"), remedy)
    }

    /// Where the last such key stands; the whole line where it is spelled with escapes.
    fn key(&self, key: &str) -> Range<usize> {
        let quoted = format!("\"{key}\"");
        let is_key = |at: &usize| self.text[at + quoted.len()..].trim_start().starts_with(':');
        let at = self.text.rmatch_indices(&quoted).map(|(at, _)| at).find(is_key);
        at.map_or(0..self.text.len(), |at| at..at + quoted.len())
    }

    /// Where the value of a key stands; the whole line where the key is not there.
    fn value(&self, key: &str) -> Range<usize> {
        let key = self.key(key);
        let Some((colon, _)) = self.text[key.end..].split_once(':') else { return key };
        let rest = &self.text[key.end + colon.len() + 1..];
        let start = self.text.len() - rest.trim_start().len();
        let mut values = serde_json::Deserializer::from_str(&self.text[start..]).into_iter::<IgnoredAny>();
        values.next();
        start..start + values.byte_offset()
    }

    /// An error at a span of the line. The place shows the line alone, after as many empty lines as make its number right,
    /// and leaves out what follows far behind the span.
    fn error(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Error {
        let boundary = |at: usize| (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let span = boundary(span.start)..boundary(span.end.min(span.start + 200));
        let shown = boundary(span.end + 200);
        let before = self.number.saturating_sub(1);
        let mut text = "\n".repeat(before) + &self.text[..shown];
        if shown < self.text.len() {
            text.push('…');
        }
        let span = span.start + before..span.end + before;
        Error::at(Place { file: self.file.to_string(), text: text.into(), span }, message, remedy)
    }
}

/// A JSON value for a message, cut where it is long.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The entries of a JSON object as they stand there, doubles included.
struct Keyed(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Keyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Keyed;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Keyed, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Keyed(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Vec<(usize, Result<Experience>)> {
        Lines::new(bytes, "notes.jsonl").collect()
    }

    fn good(bytes: &[u8]) -> Vec<Experience> {
        read(bytes).into_iter().map(|(_, e)| e.unwrap_or_else(|e| panic!("{e}"))).collect()
    }

    const PARIS: &str = r#"{"id":"p","prompt":"The capital of France is","answer":" Paris","outcome":"success"}"#;

    /// A whole line with these entries beside prompt, answer and outcome.
    fn with(entries: &str) -> String {
        format!(r#"{{"prompt":"The capital of France is","answer":" Paris","outcome":"success"{entries}}}"#)
    }

    #[test]
    fn any_line_ending_a_mark_in_front_and_blank_lines_are_read() {
        let rome = PARIS.replace("\"p\"", "\"r\"");
        let file = format!("\u{feff}{PARIS}\r\n\r\n  \n{rome}");
        let lines = read(file.as_bytes());
        assert_eq!(lines.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(good(file.as_bytes())[1].id, "r");
        assert!(read(b"").is_empty() && read(b"\n\r\n").is_empty());
    }

    #[test]
    fn outcome_id_and_subject_may_be_written_in_several_ways() {
        let one = |line: &str| good(line.as_bytes()).remove(0);
        assert_eq!(one(&PARIS.replace("\"success\"", "-0.25")).outcome, Outcome::Reward(-0.25));
        assert_eq!(one(&PARIS.replace("success", "failure")).outcome, Outcome::Failure);
        let derived = one(&with(""));
        assert_eq!(derived.id, derived.derived_id());
        for subject in [r#""France""#, "[15, 21]", r#"{"start": 15, "end": 21}"#] {
            assert_eq!(one(&with(&format!(r#","subject":{subject}"#))).subject.as_deref(), Some("France"));
        }
        let line = r#"{"prompt":"Où est l'Élysée ?","answer":"ici","outcome":1,"subject":[9,15],"user":null}"#;
        assert_eq!(one(line).subject.as_deref(), Some("Élysée"));
    }

    #[test]
    fn every_refusal_names_line_place_and_remedy() {
        let long = format!(r#","id":"{}""#, "i".repeat(201));
        let cases = [
            ("{\"prompt\": \"x\"".to_string(), "not a JSON object", "one JSON object a line", 14),
            ("[1]".into(), "not a JSON object", "without a list", 1),
            ("{} {}".into(), "trailing characters", "one JSON object", 4),
            (with(r#","promt":"y""#), "unknown key `promt`", "did you mean `prompt`?", 76),
            (with(r#","colour":"y""#), "unknown key `colour`", "the keys are id, user, prompt", 76),
            (with(r#","answer":"y""#), "the key `answer` is given twice", "take one", 76),
            (r#"{"answer":"a","outcome":1}"#.into(), "`prompt` is missing", "add it", 1),
            (r#"{"prompt":"a","outcome":1}"#.into(), "`answer` is missing", "add it", 1),
            (r#"{"prompt":"a","answer":"b"}"#.into(), "`outcome` is missing", "add it", 1),
            (r#"{"prompt":" ","answer":"b","outcome":1}"#.into(), "`prompt` is empty", "the answer follows", 11),
            (r#"{"prompt":"a","answer":"","outcome":1}"#.into(), "`answer` is empty", "followed the prompt", 24),
            (r#"{"prompt":3,"answer":"b","outcome":1}"#.into(), "`prompt` is not a text", "quotes", 11),
            (r#"{"prompt":"a","answer":"b","outcome":"good"}"#.into(), "`outcome` is \"good\"", "success", 38),
            (r#"{"prompt":"a","answer":"b","outcome":true}"#.into(), "`outcome` is true", "number from -1 to 1", 38),
            (r#"{"prompt":"a","answer":"b","outcome":1.01}"#.into(), "outside of -1 to 1", "number from -1 to 1", 38),
            (r#"{"prompt":"a","answer":"b","outcome":1e999}"#.into(), "number out of range", "one JSON object", 0),
            (with(r#","subject":"Spain""#), "`subject` \"Spain\" is not a part", "letter by letter", 86),
            (with(r#","subject":"""#), "`subject` is empty", "leave `subject` out", 86),
            (with(r#","subject":[3,3]"#), "spans 3 to 3", "[start, end)", 86),
            (with(r#","subject":[3,25]"#), "the characters 0 to 24", "[start, end)", 86),
            (with(r#","subject":[-1,2]"#), "neither a text nor a span", "[start, end)", 86),
            (with(r#","subject":{"start":1,"stop":2}"#), "neither a text nor a span", "{\"start\": 4", 86),
            (with(r#","time":"yesterday""#), "`time` \"yesterday\"", "2026-03-09T17:05:00Z", 83),
            (with(r#","tags":"one""#), "`tags` is not a list of texts", "[\"travel\"", 83),
            (with(r#","tags":["a",""]"#), "a tag is empty", "take it out", 83),
            (with(r#","user":"""#), "`user` is empty", "leave `user` out", 83),
            (with(r#","id":"a\nb""#), "control characters", "one line", 81),
            (with(&long), "too long", "up to 200", 81),
            (with(r#","id":"a","supersedes":"a""#), "supersede itself", "another id", 98),
        ];
        for (line, message, remedy, column) in cases {
            let file = format!("{PARIS}\n{line}\n{}", PARIS.replace("\"p\"", "\"q\""));
            let lines = read(file.as_bytes());
            assert_eq!(lines.len(), 3, "{line}");
            assert!(lines[0].1.is_ok() && lines[2].1.is_ok(), "{line}: its neighbours suffer");
            let Err(Error::Input(fault)) = &lines[1].1 else { panic!("{line} is not refused as input") };
            assert!(fault.message.contains(message), "{line}: {fault}");
            assert!(fault.remedy.as_ref().is_some_and(|r| r.contains(remedy)), "{line}: {fault}");
            let place = fault.place.as_ref().unwrap();
            assert_eq!(place.line_column().0, 2, "{line}");
            assert!(column == 0 || place.line_column().1 == column, "{line}: column {}", place.line_column().1);
            assert!(fault.to_string().starts_with("notes.jsonl:2:"), "{fault}");
        }
    }

    #[test]
    fn a_double_id_is_refused_where_it_is_written_down() {
        let file = format!("{PARIS}\n\n{PARIS}\n{}\n{}\n", with(""), with(""));
        let lines = read(file.as_bytes());
        let message = lines[1].1.as_ref().unwrap_err().to_string();
        assert!(lines[1].0 == 3 && message.contains("line 1"), "{message}");
        // The same occurrence told twice has one id, another outcome or time another one.
        let mut told = good(format!("{}\n{}", with(""), with("")).as_bytes());
        assert_eq!(told.pop(), told.pop());
        let other = good(with(r#","time":"2026-03-09T17:05:00Z""#).as_bytes()).remove(0);
        assert_ne!(other.id, lines[2].1.as_ref().unwrap().id);
        assert_eq!(lines[2].1.as_ref().unwrap().id, lines[3].1.as_ref().unwrap().id);
    }

    /// A whole line of a chat with these messages and entries.
    fn chat(messages: &str, entries: &str) -> String {
        format!(r#"{{"messages":[{messages}],"outcome":"success"{entries}}}"#)
    }

    #[test]
    fn messages_take_the_place_of_the_prompt_and_the_last_may_be_the_answer() {
        let ask = r#"{"role":"user","content":"Where is my cat Biscuit?"}"#;
        let reply = r#"{"role":"assistant","content":"In the garden."}"#;
        let one = good(chat(&format!("{ask},{reply}"), r#","subject":"Biscuit""#).as_bytes()).remove(0);
        let other = good(chat(ask, r#","answer":"In the garden.","subject":"Biscuit""#).as_bytes()).remove(0);
        assert_eq!(one, other);
        assert_eq!((one.messages.len(), one.answer.as_str(), one.prompt.as_str()), (1, "In the garden.", ""));
        let tools = r#"[{"type":"function","function":{"name":"find","parameters":{"z":1,"a":[2.5,null]}}}]"#;
        let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","function":{"name":"find","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"under the "},{"type":"text","text":"roof"}]}"#;
        let line =
            chat(&format!("{ask},{call}"), &format!(r#","answer":"Under the roof.","subject":"under the roof","tools":{tools}"#));
        let used = good(line.as_bytes()).remove(0);
        assert_eq!(used.messages.len(), 3);
        assert_eq!(used.messages[2].text(), "under the roof");
        assert_eq!(used.tools.as_ref().unwrap().to_string(), tools, "the order of keys is kept");
        assert_eq!(good(serde_json::to_string(&used).unwrap().as_bytes()), [used]);
        let kept = good(with(r#","join":"none""#).as_bytes()).remove(0);
        assert_eq!(kept.join, Join::None);
        assert!(serde_json::to_string(&kept).unwrap().contains(r#""join":"none""#));
        assert!(!serde_json::to_string(&one).unwrap().contains("join"));
        assert_eq!(good(with(r#","join":"auto""#).as_bytes())[0].join, Join::Auto);
    }

    #[test]
    fn messages_that_do_not_fit_are_refused() {
        let ask = r#"{"role":"user","content":"Hello?"}"#;
        let reply = r#"{"role":"assistant","content":"Hi."}"#;
        let mute = r#"{"role":"assistant","content":null,"tool_calls":[]}"#;
        for (line, message) in [
            (chat(ask, r#","prompt":"a","answer":"b""#), "both `prompt` and `messages`"),
            (chat("", r#","answer":"b""#), "`messages` is empty"),
            (chat(ask, ""), "`answer` is missing"),
            (chat(reply, ""), "nothing is asked before the answer"),
            (chat(&format!("{ask},{reply}"), r#","answer":"b""#), "`messages` end in the assistant's turn"),
            (chat(&format!("{ask},{mute}"), ""), "no text to learn"),
            (chat("3", r#","answer":"b""#), "message 1 of `messages` cannot be read"),
            (chat(&format!(r#"{ask},{{"content":"x"}}"#), r#","answer":"b""#), "message 2 of `messages` cannot be read"),
            (chat(r#"{"role":"user","content":7}"#, r#","answer":"b""#), "message 1 of `messages` cannot be read"),
            (chat(r#"{"role":" ","content":"x"}"#, r#","answer":"b""#), "a message has no role"),
            (chat(r#"{"role":"user","content":" "}"#, r#","answer":"b""#), "the messages say nothing"),
            (chat(ask, r#","answer":"b","subject":"Spain""#), "is not a part of a message"),
            (chat(ask, r#","answer":"b","subject":[0,2]"#), "is a span of a prompt"),
            (chat(ask, r#","answer":"b","tools":{}"#), "`tools` is not a list"),
            (with(r#","tools":[]"#), "`tools` stand beside a prompt"),
            (with(r#","join":"space""#), "`join` is \"space\""),
            (r#"{"messages":"hi","answer":"a","outcome":1}"#.into(), "`messages` is not a list"),
        ] {
            let error = read(line.as_bytes()).remove(0).1.unwrap_err();
            assert!(matches!(error, Error::Input(_)) && error.remedy().is_some_and(|r| !r.is_empty()), "{line}");
            assert!(error.to_string().starts_with("notes.jsonl:1:") && error.to_string().contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_stand() {
        let mut file = format!("{PARIS}\n").into_bytes();
        file.extend(b"{\"prompt\":\"\xff\"}\n");
        let error = read(&file).remove(1).1.unwrap_err().to_string();
        assert!(error.starts_with("notes.jsonl:2:12: the line is not UTF-8"), "{error}");
    }

    #[test]
    fn a_line_may_have_a_mebibyte_and_not_a_byte_more() {
        let fill = LONGEST_LINE - PARIS.len();
        let longest = PARIS.replace("France", &format!("{}France", "x".repeat(fill)));
        assert_eq!(longest.len(), LONGEST_LINE);
        let next = PARIS.replace("\"p\"", "\"q\"");
        for end in ["\n", "\r\n"] {
            assert_eq!(good(format!("{longest}{end}{next}").as_bytes()).len(), 2);
            let lines = read(format!("{}{end}{next}{end}", longest.replace("France", "Francis")).as_bytes());
            let error = lines[0].1.as_ref().unwrap_err().to_string();
            assert!(error.contains("longer than 1048576 bytes") && error.len() < 1000, "{error}");
            assert_eq!(lines[1].1.as_ref().unwrap().id, "q");
        }
        let endless = std::io::BufReader::new(std::io::repeat(b'x').take(1 << 28));
        assert_eq!(Lines::new(endless, "x").map(|(_, e)| e.is_err()).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn an_error_of_the_reader_ends_the_reading() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the cable is out"))
            }
        }
        let lines: Vec<_> = Lines::new(std::io::BufReader::new(Broken), "x.jsonl").collect();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].1.as_ref().unwrap_err().to_string().contains("x.jsonl: the cable is out"));
    }

    fn text() -> impl Strategy<Value = String> {
        "(?s).{0,30}".prop_filter("a text", |t| !t.trim().is_empty())
    }

    fn message() -> impl Strategy<Value = Message> {
        let content = proptest::option::of(prop_oneof![
            text().prop_map(|t| serde_json::json!(t)),
            text().prop_map(|t| serde_json::json!([{"type": "text", "text": t}, {"type": "image"}])),
        ]);
        let extra = proptest::collection::hash_map("x_[a-z]{1,5}", -1.0e9f64..1.0e9, 0..3);
        (text(), content, proptest::option::of(text()), 0..3usize, extra).prop_map(|(role, content, name, calls, extra)| {
            let mut value = serde_json::json!(extra);
            value["role"] = role.into();
            value["content"] = content.unwrap_or_default();
            if let Some(name) = name {
                value["name"] = name.into();
            }
            if calls > 0 {
                let call = serde_json::json!({"id": "c", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": 2}"}});
                value["tool_calls"] = vec![call; calls - 1].into();
                value["tool_call_id"] = "c".into();
            }
            Message::deserialize(value).unwrap()
        })
    }

    prop_compose! {
        fn experience()(
            prompt in text(), answer in text(), user in proptest::option::of(text()), reward in -1.0f64..=1.0, kind in 0..3usize,
            tags in proptest::collection::vec(text(), 0..3), from in 0usize..30, with_subject: bool, with_time: bool,
            messages in proptest::collection::vec(message(), 0..3), with_tools: bool, as_given: bool,
        ) -> Experience {
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Reward(reward)][kind];
            let subject: String = prompt.chars().skip(from).collect();
            let mut experience = Experience {
                user,
                outcome,
                subject: Some(subject).filter(|s| with_subject && !s.trim().is_empty()),
                time: with_time.then(|| "2026-03-09T17:05:00+01:00".to_string()),
                tags,
                join: if as_given { Join::None } else { Join::Auto },
                ..Experience::new("", &prompt, &answer, outcome)
            };
            if !messages.is_empty() {
                experience.prompt = String::new();
                experience.messages = messages;
                experience.messages.push(Message::new("user", &prompt));
                experience.tools = with_tools.then(|| serde_json::json!([{"type": "function", "b": {"z": 1, "a": null}}]));
            }
            experience.id = experience.derived_id();
            experience
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_a_line_is_read_back_bit_for_bit(experience in experience()) {
            let line = serde_json::to_string(&experience).unwrap();
            prop_assert_eq!(good(line.as_bytes()), vec![experience]);
        }

        #[test]
        fn no_bytes_upset_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..100usize) {
            read(&bytes);
            let mut line = with(r#","subject":{"start":1,"end":2},"tags":["é"]"#).into_bytes();
            let at = cut.min(line.len());
            line.splice(at..at + 1, bytes.into_iter().take(3));
            read(&line);
        }
    }
}
