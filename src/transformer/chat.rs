//! Chat: messages in OpenAI's form, and the template that a model brings to write them as one text. Templates are Jinja, with the
//! functions and settings that Hugging Face's transformers give them. Knows no weights, and no tokens beyond their texts.

use super::Host;
use crate::error::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, ErrorKind, Value as Jinja, context};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// Null beside tool calls.
    #[serde(default)]
    pub content: Option<Content>,
    /// Name of the speaker, or of the tool that a result is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the assistant called, as the template expects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<Value>>,
    /// The call that a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Whatever else stands in the message; the template sees it too.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a message says: a text, or parts such as `{"type": "text", "text": "…"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// The whole text.
    Text(String),
    /// Parts in order, each an object whose `type` says what it holds.
    Parts(Vec<Map<String, Value>>),
}

impl Message {
    /// A message that is a text. Names, tool calls and what else there is are set in its fields.
    pub fn new(role: &str, content: &str) -> Message {
        Message {
            role: role.into(),
            content: Some(Content::Text(content.into())),
            name: None,
            tool_calls: None,
            tool_call_id: None,
            extra: Map::new(),
        }
    }

    /// Its text; that of its parts one after another.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts.iter().filter_map(|p| p.get("text")).filter_map(Value::as_str).collect(),
        }
    }
}

/// Instructions and allocations that one rendering may take (minijinja's fuel): far more than a conversation of any context needs.
const FUEL: u64 = 50_000_000;

/// Names that tokens for the end of a turn usually have.
pub(crate) const TURN_ENDS: [&str; 6] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|eot|>", "<|end_of_turn|>"];

/// The template of a model. One that cannot be parsed says so when it is used.
#[derive(Debug)]
pub struct Template {
    /// Where it was read from.
    pub source: String,
    texts: Texts,
    environment: Environment<'static>,
    /// Why it cannot be used.
    flaw: Option<String>,
    bos: String,
    eos: String,
}

/// The texts of a model's templates.
#[derive(Clone, Debug, Default, PartialEq)]
struct Texts {
    default: String,
    /// The one for conversations with tools, where it is another.
    tool_use: Option<String>,
}

/// What the template writes around an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Around {
    /// White space between the prompt and the answer.
    pub before: String,
    /// The answer as the template writes it.
    pub answer: String,
    /// What follows it.
    pub after: String,
}

/// What `raise_exception` was called with.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl Template {
    /// From a template's text; `source` names it in messages, `bos` and `eos` are the texts of the tokens that the template may ask
    /// for.
    pub fn new(source: &str, text: &str, bos: &str, eos: &str) -> Template {
        Template::of(source, Ok(Texts { default: text.into(), tool_use: None }), bos, eos)
    }

    fn of(source: &str, texts: Result<Texts, String>, bos: &str, eos: &str) -> Template {
        let mut environment = environment();
        let (texts, mut flaw) = match texts {
            Ok(texts) => (texts, None),
            Err(flaw) => (Texts::default(), Some(flaw)),
        };
        let mut add = |name: &'static str, text: &str| {
            if let Err(error) = environment.add_template_owned(name, without_generation_marks(text)) {
                flaw.get_or_insert(said(&error));
            }
        };
        add("default", &texts.default);
        texts.tool_use.iter().for_each(|text| add("tool_use", text));
        Template { source: source.into(), texts, environment, flaw, bos: bos.into(), eos: eos.into() }
    }

    /// The template beside a model's weights: chat_template.jinja, else that of tokenizer_config.json; else `embedded`, which are
    /// the default and the one for tools of a GGUF file. `bos` and `eos` are taken where tokenizer_config.json names none.
    pub(super) fn find(folder: &Path, embedded: [Option<&str>; 2], bos: &str, eos: &str) -> Option<Template> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let configuration = read("tokenizer_config.json").map(|text| serde_json::from_str::<Value>(&text));
        let field = |key: &str| configuration.as_ref().and_then(|c| c.as_ref().ok()).and_then(|c| c.get(key));
        // A token is a text, or an object that holds it.
        let token = |key: &str, usual: &str| {
            let text = field(key).and_then(|t| t.as_str().or_else(|| t.get("content")?.as_str()));
            text.unwrap_or(usual).to_string()
        };
        let (bos, eos) = (token("bos_token", bos), token("eos_token", eos));
        let beside = |name: &str| folder.join(name).display().to_string();
        if let Some(text) = read("chat_template.jinja") {
            let texts = Texts { default: text, tool_use: read("additional_chat_templates/tool_use.jinja") };
            return Some(Template::of(&beside("chat_template.jinja"), Ok(texts), &bos, &eos));
        }
        if let Some(value) = field("chat_template").filter(|v| !v.is_null()) {
            return Some(Template::of(&beside("tokenizer_config.json"), texts(value), &bos, &eos));
        }
        let [default, tool_use] = embedded;
        if let Some(default) = default {
            let texts = Texts { default: default.into(), tool_use: tool_use.map(str::to_string) };
            return Some(Template::of("the GGUF file's metadata", Ok(texts), &bos, &eos));
        }
        match configuration {
            Some(Err(error)) => {
                Some(Template::of(&beside("tokenizer_config.json"), Err(format!("not JSON: {error}")), &bos, &eos))
            }
            _ => None,
        }
    }

    /// Why it cannot be used, where it cannot.
    pub fn flaw(&self) -> Option<&str> {
        self.flaw.as_deref()
    }

    /// Everything that a rendering depends on beside its messages: for telling one template from another.
    pub fn canonical(&self) -> String {
        format!("{:?} {:?} {:?}", self.texts, self.bos, self.eos)
    }

    /// The messages as one text, with what the assistant's next turn starts with where `add_generation_prompt` is set.
    ///
    /// # Errors
    /// A template that cannot be parsed, no messages, and what the template itself refuses.
    pub fn render(&self, messages: &[Message], tools: Option<&Value>, add_generation_prompt: bool) -> Result<String> {
        let source = &self.source;
        if let Some(flaw) = &self.flaw {
            let what = format!("the chat template in {source} cannot be used: {flaw}");
            return Err(Error::input(
                what,
                "mend it (chat_template.jinja beside the weights goes first), or give a text, not a chat",
            ));
        }
        if messages.is_empty() {
            return Err(Error::input("a chat without messages", "give at least one message of the user"));
        }
        let messages: Vec<Value> = messages.iter().map(as_seen).collect::<Result<_>>()?;
        let name = if tools.is_some() && self.texts.tool_use.is_some() { "tool_use" } else { "default" };
        let context = context! {
            messages => Jinja::from(Serde(&messages)),
            tools => tools.map_or(Jinja::from(()), |tools| Jinja::from(Serde(tools))),
            documents => Jinja::from(()),
            add_generation_prompt => add_generation_prompt,
            bos_token => &self.bos,
            eos_token => &self.eos,
        };
        let text = self.environment.get_template(name).and_then(|template| template.render(context));
        text.map_err(|error| match raised(&error) {
            Some(words) => {
                Error::input(format!("the chat template in {source} refuses these messages: {words}"), "change the messages")
            }
            None => Error::input(
                format!("the chat template in {source} cannot write these messages: {}", said(&error)),
                "give messages of the form that it expects, or a text instead of a chat",
            ),
        })
    }

    /// What comes before and after an answer to these messages, by comparing the text that ends where the answer starts with the one
    /// that holds it. None where the template writes the two differently.
    pub fn around(&self, messages: &[Message], tools: Option<&Value>, answer: &str) -> Option<Around> {
        let prompt = self.render(messages, tools, true).ok()?;
        let told = [messages, &[Message::new("assistant", answer)]].concat();
        let whole = self.render(&told, tools, false).ok()?;
        let rest = whole.strip_prefix(&prompt)?;
        let answer = if rest.contains(answer) { answer } else { answer.trim() };
        let (before, after) = rest.split_once(answer)?;
        let text = |text: &str| text.to_string();
        before.trim().is_empty().then(|| Around { before: text(before), answer: text(answer), after: text(after) })
    }
}

impl Host {
    /// The template, or why there can be no chat.
    pub fn chat(&self) -> Result<&Template> {
        let none = || {
            Error::input(
                "this model has no chat template",
                "give a text to continue, or put the model's tokenizer_config.json or chat_template.jinja beside its weights",
            )
        };
        self.template.as_ref().ok_or_else(none)
    }

    /// The token that ends the assistant's turn: the first control token that the template writes after an answer, else the one of
    /// the usual names that the vocabulary has.
    pub fn end_of_turn(&self) -> Option<u32> {
        let around = self.template.as_ref().and_then(|t| t.around(&[Message::new("user", "a")], None, "b"));
        let written = around.and_then(|around| self.tokenizer.controls_in(&around.after).next().map(|(id, _)| id));
        written.or_else(|| TURN_ENDS.iter().find_map(|name| self.tokenizer.control(name)))
    }
}

/// `chat_template` of a tokenizer_config.json: a text, or a list of named ones, or an object of them.
fn texts(value: &Value) -> Result<Texts, String> {
    let pair = |entry: &Value| Some((entry.get("name")?.as_str()?.to_string(), entry.get("template")?.as_str()?.to_string()));
    let named: Option<Vec<(String, String)>> = match value {
        Value::String(text) => return Ok(Texts { default: text.clone(), tool_use: None }),
        Value::Array(list) => list.iter().map(pair).collect(),
        Value::Object(all) => all.iter().map(|(name, text)| Some((name.clone(), text.as_str()?.to_string()))).collect(),
        _ => None,
    };
    let named = named.ok_or("`chat_template` is neither a text nor a list of named templates")?;
    let of = |name: &str| named.iter().find(|(n, _)| n == name).map(|(_, text)| text.clone());
    let only = || if let [(_, text)] = &named[..] { Some(text.clone()) } else { None };
    let default = of("default").or_else(only).ok_or("no template of the list is called `default`")?;
    Ok(Texts { default, tool_use: of("tool_use") })
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Jinja, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: String| {
        jiff::fmt::strtime::format(&format, &jiff::ZonedDateTime::now())
            .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    environment
}

/// A value as Python's json.dumps writes it with `ensure_ascii=False`: a space after each comma and colon, nothing escaped for HTML.
fn to_json(value: Jinja, options: Kwargs) -> Result<String, minijinja::Error> {
    let fault = |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let mut value = serde_json::to_value(&value).map_err(fault)?;
    if sorted == Some(true) {
        value.sort_all_objects();
    }
    let usual = if indent.is_some() { [",", ": "] } else { [", ", ": "] }.map(str::to_string);
    let [comma, colon] = match separators {
        Some(given) => <[String; 2]>::try_from(given)
            .map_err(|_| minijinja::Error::new(ErrorKind::InvalidOperation, "tojson takes two separators"))?,
        None => usual,
    };
    let mut text = String::new();
    let python = Python { comma, colon, indent, ascii: ascii == Some(true) };
    python.write(&value, 0, &mut text).map_err(fault)?;
    Ok(text)
}

/// How Python spaces JSON.
struct Python {
    comma: String,
    colon: String,
    indent: Option<usize>,
    /// Characters beyond ASCII are escaped.
    ascii: bool,
}

impl Python {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> serde_json::Result<()> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        match value {
            Value::Array(list) if !list.is_empty() => {
                out.push('[');
                for (i, each) in list.iter().enumerate() {
                    out.push_str(if i > 0 { &self.comma } else { "" });
                    line(depth + 1, out);
                    self.write(each, depth + 1, out)?;
                }
                line(depth, out);
                out.push(']');
            }
            Value::Object(entries) if !entries.is_empty() => {
                out.push('{');
                for (i, (key, each)) in entries.iter().enumerate() {
                    out.push_str(if i > 0 { &self.comma } else { "" });
                    line(depth + 1, out);
                    self.quote(key, out)?;
                    out.push_str(&self.colon);
                    self.write(each, depth + 1, out)?;
                }
                line(depth, out);
                out.push('}');
            }
            Value::String(text) => self.quote(text, out)?,
            other => out.push_str(&serde_json::to_string(other)?),
        }
        Ok(())
    }

    fn quote(&self, text: &str, out: &mut String) -> serde_json::Result<()> {
        for c in serde_json::to_string(text)?.chars() {
            match self.ascii && !c.is_ascii() {
                true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| *out += &format!("\\u{unit:04x}")),
                false => out.push(c),
            }
        }
        Ok(())
    }
}

/// A message as templates expect it: the arguments of a tool call are an object, which OpenAI's form writes as a text.
fn as_seen(message: &Message) -> Result<Value> {
    let fault = |e: serde_json::Error| Error::input(format!("a message cannot be read: {e}"), "write it as JSON");
    let mut value = serde_json::to_value(message).map_err(fault)?;
    for call in value.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let arguments = call.pointer_mut("/function/arguments");
        if let Some(arguments) = arguments
            && let Some(object) = arguments.as_str().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok())
        {
            *arguments = Value::Object(object);
        }
    }
    Ok(value)
}

/// transformers marks what the assistant wrote by `{% generation %}`, which only training reads: here such a block is always taken.
fn without_generation_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let tag = &rest[start + 2..start + length];
        out.push_str(&rest[..start + 2]);
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// What `raise_exception` was called with, however deep.
fn raised(error: &minijinja::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(each) = cause {
        if let Some(Raised(words)) = each.downcast_ref() {
            return Some(words.clone());
        }
        cause = each.source();
    }
    None
}

/// An error of the template in one line.
fn said(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Marks, conditions on roles, stripped contents, tools, calls, a namespace, a macro; refuses what it does not know.
    const RICH: &str = r#"
{%- macro turn(role) %}{{ '<|' ~ role ~ '|>' }}{% endmacro -%}
{{ bos_token }}
{%- if tools is not none and tools | length > 0 %}
    {{- turn('tools') }}
    {%- for tool in tools %}
        {{- '\n' + (tool | tojson) }}
    {%- endfor %}
{%- endif %}
{%- set ns = namespace(users=0) %}
{%- for message in messages %}
    {%- if loop.first and message['role'] == 'system' %}
        {{- turn('system') + message.content.strip() }}
        {%- continue %}
    {%- endif %}
    {%- if message.role == 'user' %}
        {%- set ns.users = ns.users + 1 %}
        {%- if message.content is string %}
            {{- turn('user') + message.content | trim }}
        {%- else %}
            {{- turn('user') }}
            {%- for part in message.content if part.type == 'text' %}{{- part.text }}{%- endfor %}
        {%- endif %}
    {%- elif message.role == 'assistant' %}
        {{- turn('assistant') }}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {{- call.function.name + '(' + (call.function.arguments | tojson) + ')' }}
            {%- endfor %}
        {%- else %}
            {%- generation %}{{- message.content.split('</think>')[-1].lstrip('\n') + eos_token }}{%- endgeneration %}
        {%- endif %}
    {%- elif message.role.startswith('to') %}
        {{- turn('tool') + message.tool_call_id + '=' + message.content + message.get('unit', '') }}
    {%- else %}
        {{- raise_exception('no role ' + message.role) }}
    {%- endif %}
{%- endfor %}
{%- if ns.users == 0 %}{{- raise_exception('a user must speak') }}{%- endif %}
{%- if add_generation_prompt %}
    {{- turn('assistant') }}
{%- endif %}
"#;

    fn rich() -> Template {
        Template::new("a test", RICH, "<s>", "</s>")
    }

    fn messages(value: Value) -> Vec<Message> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_rich_template_writes_what_transformers_writes() {
        let talk = messages(json!([
            {"role": "system", "content": " Be brief. \n"},
            {"role": "user", "content": "\tHow warm is <it>, Zoë?\n"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "warmth", "arguments": "{\"place\": \"Oslo\", \"at\": [1, 2.5]}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "21", "unit": " °C"},
            {"role": "assistant", "content": "<think>hm</think>\n\n21 °C."},
            {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "image"}, {"type": "text", "text": "here?"}]},
        ]));
        let tools =
            json!([{"type": "function", "function": {"name": "warmth", "description": "it's <b>\"hot\"</b>", "a": {}, "b": []}}]);
        let text = rich().render(&talk, Some(&tools), true).unwrap();
        assert_eq!(
            text,
            "<s><|tools|>\n{\"type\": \"function\", \"function\": {\"name\": \"warmth\", \"description\": \"it's <b>\\\"hot\\\"</b>\", \"a\": {}, \
             \"b\": []}}<|system|>Be brief.<|user|>How warm is <it>, Zoë?<|assistant|>warmth({\"place\": \"Oslo\", \"at\": [1, 2.5]})\
             <|tool|>1=21 °C<|assistant|>21 °C.</s><|user|>And here?<|assistant|>"
        );
        let bare = rich().render(&talk[1..2], None, false).unwrap();
        assert_eq!(bare, "<s><|user|>How warm is <it>, Zoë?");
    }

    #[test]
    fn what_the_template_refuses_and_what_it_cannot_do_are_told_apart() {
        let ask = [Message::new("user", "a")];
        for (talk, words) in [
            (vec![Message::new("wizard", "b"), ask[0].clone()], "refuses these messages: no role wizard"),
            (vec![Message::new("system", "b")], "refuses these messages: a user must speak"),
            (vec![], "a chat without messages"),
        ] {
            let error = rich().render(&talk, None, true).unwrap_err();
            assert!(error.to_string().contains(words) && error.exit_code() == 2, "{error}");
        }
        for (text, words) in [
            ("{% if %}", "cannot be used"),
            ("{{ messages[0].content | no_such_filter }}", "cannot"),
            ("{{ 1 + [] }}", "cannot write these messages"),
            ("{{ strftime_now('%!') }}", "cannot write these messages"),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}", "out of fuel"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot write these messages"),
            ("{{ messages[0].content | tojson(separators=[1]) }}", "cannot write these messages"),
        ] {
            let error = Template::new("a test", text, "", "").render(&ask, None, true).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
        assert!(Template::new("a test", "{% if %}", "", "").flaw().is_some_and(|flaw| flaw.starts_with("line 1:")));
        assert_eq!(rich().flaw(), None);
    }

    #[test]
    fn settings_and_functions_are_those_of_transformers() {
        let ask =
            [Message { extra: json!({"b": {"z": 1, "a": "é<"}}).as_object().unwrap().clone(), ..Message::new("user", "a") }];
        for (text, want) in [
            ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
            ("{{ messages[0].b | tojson }}", "{\"z\": 1, \"a\": \"é<\"}"),
            ("{{ messages[0].b | tojson(ensure_ascii=true) }}", "{\"z\": 1, \"a\": \"\\u00e9<\"}"),
            ("{{ messages[0].b | tojson(indent=2) }}", "{\n  \"z\": 1,\n  \"a\": \"é<\"\n}"),
            ("{{ messages[0].b | tojson(sort_keys=true, separators=(',', ':')) }}", "{\"a\":\"é<\",\"z\":1}"),
            ("{{ messages[0].content == 'a' and '<b>' }}", "<b>"),
            ("{{ messages[0].nothing }}{{ 1 if nothing is defined else 0 }}{{ 1 if tools is none else 0 }}", "01"),
            ("{% for m in messages[::-1] %}{{ loop.index0 }}{% break %}{% endfor %}", "0"),
            ("{{ strftime_now('%Y-%m-%d') | length }}", "10"),
            ("{{ 'A b'.upper().replace('A', 'x').split(' ') | join('/') }}", "x/B"),
            ("{{ bos_token }}{{ eos_token }}", "BE"),
        ] {
            let got = Template::new("a test", text, "B", "E").render(&ask, None, true).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn what_surrounds_an_answer_is_found() {
        let ask = [Message::new("user", "a")];
        let around = |text: &str, answer: &str| Template::new("a test", text, "", "</s>").around(&ask, None, answer);
        let marked = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let found = around(marked, " b \n").unwrap();
        assert_eq!(found, Around { before: " ".into(), answer: "b".into(), after: "</s>".into() });
        let thinks = "{% for m in messages %}{{ m.role }}:{{ '<t></t>' if m.role == 'assistant' }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
        assert_eq!(around(thinks, "b"), None);
        assert_eq!(around("{{ messages | length }}", "b"), None);
        assert_eq!(around("{{ raise_exception('no') }}", "b"), None);
    }

    #[test]
    fn templates_beside_the_weights_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let find = |embedded: Option<&str>| Template::find(folder.path(), [embedded, None], "<b>", "<e>");
        let ask = [Message::new("user", "a")];
        let written = |t: Option<Template>, tools: Option<&Value>| t.unwrap().render(&ask, tools, true).unwrap();
        assert!(find(None).is_none());
        assert_eq!(written(find(Some("gguf {{ bos_token }}")), None), "gguf <b>");
        put("tokenizer_config.json", r#"{"bos_token": {"content": "<x>"}, "eos_token": null, "chat_template": null}"#);
        assert_eq!(written(find(Some("gguf {{ bos_token }}{{ eos_token }}")), None), "gguf <x><e>");
        put(
            "tokenizer_config.json",
            r#"{"chat_template": [{"name": "tool_use", "template": "with"}, {"name": "default", "template": "without"}]}"#,
        );
        assert_eq!(written(find(Some("gguf")), None), "without");
        assert_eq!(written(find(Some("gguf")), Some(&json!([]))), "with");
        put("tokenizer_config.json", r#"{"chat_template": "one"}"#);
        assert_eq!(written(find(None), Some(&json!([]))), "one");
        for damaged in
            [r#"{"chat_template": 3}"#, r#"{"chat_template": [{"name": "x"}]}"#, r#"{"chat_template": "{% for %}"}"#, "{"]
        {
            put("tokenizer_config.json", damaged);
            let error = find(None).unwrap().render(&ask, None, true).unwrap_err().to_string();
            assert!(error.contains("tokenizer_config.json cannot be used"), "{error}");
        }
        assert_eq!(written(find(Some("gguf")), None), "gguf");
        put("chat_template.jinja", "file");
        assert_eq!(written(find(Some("gguf")), None), "file");
    }

    #[test]
    fn messages_keep_what_else_stands_in_them() {
        let text = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1"}],"reasoning":{"b":1,"a":null},"weight":0.5}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!(message.text(), "");
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        let bare: Message = serde_json::from_str(r#"{"role":"user"}"#).unwrap();
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"role":"user","content":null}"#);
        for bad in [r#"{"content":"a"}"#, r#"{"role":"user","content":1}"#, r#"{"role":"user","content":["a"]}"#, "[]", "null"] {
            assert!(serde_json::from_str::<Message>(bad).is_err(), "{bad}");
        }
    }
}
