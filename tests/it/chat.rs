//! Chats and experiences as tokens: the templates of real models against texts typed by hand, how prompt and answer meet, what ends
//! an answer, what a request is about; and the command line that chats.

use crate::common::shared;
use crate::transformer::stories;
use serde_json::json;
use sharpwave::memory::exchange::{Exchange, LONGEST, Request};
use sharpwave::memory::experience::{Experience, Join, Outcome};
use sharpwave::memory::jsonl::Lines;
use sharpwave::memory::key_statistics::Statistics;
use sharpwave::memory::questions::Prompt;
use sharpwave::memory::settings::Settings;
use sharpwave::transformer::chat::{Message, Template};
use sharpwave::transformer::{Host, Source};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

const FILES: [&str; 4] = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
/// One that writes the first token itself, whose marks are no control tokens but its ends.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content | trim + eos_token }}{% endfor %}\
                        {% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/// The built-in model in a folder, with this tokenizer_config.json.
fn folder(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/transformers/stories260K");
    for file in FILES {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer_config.json"), configuration).unwrap();
    folder
}

fn chatting() -> (tempfile::TempDir, Host) {
    let folder = folder(&json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": TEMPLATE}).to_string());
    let host = Host::open(folder.path().to_str().unwrap()).unwrap();
    (folder, host)
}

fn smollm2() -> Option<Host> {
    let folder = shared("models/SmolLM2-135M-Instruct-Q4_1")?;
    Some(Source::open(folder.to_str().unwrap()).unwrap().load().unwrap())
}

fn experience(prompt: &str, answer: &str) -> Experience {
    Experience::new("e", prompt, answer, Outcome::Success)
}

fn talk(messages: &[(&str, &str)], answer: &str) -> Experience {
    let messages = messages.iter().map(|(role, content)| Message::new(role, content)).collect();
    Experience::of_messages("e", messages, answer, Outcome::Success)
}

/// The text of prompt and answer as the tokens spell it.
fn spelled(host: &Host, e: &Exchange) -> String {
    host.tokenizer.spell(&[&e.prompt[..], &e.answer].concat()).unwrap()
}

/// Prompts of an agent in several scripts, some of them ChatML typed by hand: what is joined, where it ends, what it is about.
#[test]
fn experiences_of_an_agent_become_tokens() {
    let Some(host) = smollm2() else { return };
    let Some(file) = shared("cases/llm/agent-30-experiences.jsonl") else { return };
    let template = host.template.as_ref().unwrap();
    assert!(template.source.contains("GGUF") && template.flaw().is_none());
    let text = std::fs::read(file).unwrap();
    let all: Vec<Experience> = Lines::new(&text[..], "agent").map(|(_, line)| line.unwrap_or_else(|e| panic!("{e}"))).collect();
    assert!(all.len() >= 30);
    for e in &all {
        let exchange = Exchange::of(&host, e).unwrap_or_else(|error| panic!("{}: {error}", e.id));
        let chat = e.id.starts_with("chat-");
        let answer = e.answer.trim_end_matches("<|im_end|>");
        let space = if chat || ["zh", "ja", "code-import"].contains(&e.id.as_str()) { "" } else { " " };
        let first = if chat { "" } else { "<|endoftext|>" };
        assert_eq!(spelled(&host, &exchange), format!("{first}{}{space}{answer}", e.prompt), "{}", e.id);
        assert_eq!(exchange.prompt, host.begin(&e.prompt).unwrap(), "{}", e.id);
        assert_eq!((exchange.end, &exchange.text), (2, &e.prompt), "{}", e.id);
        if e.id != "chat-city" {
            let (prompt, tokens) = host.exchange(&e.prompt, &e.answer).unwrap();
            assert_eq!((&prompt, &tokens), (&exchange.prompt, &exchange.answer), "{}: one rule", e.id);
        }
        let subject = e.subject.as_ref().unwrap();
        let at = exchange.subject_end(&host, subject).unwrap().unwrap();
        let upto = |n: usize| host.tokenizer.spell(&exchange.prompt[..n]).unwrap();
        assert!(upto(at + 1).contains(subject) && !upto(at).contains(subject), "{}: {}", e.id, upto(at + 1));
        match e.id.as_str() {
            "chat-pet" => assert_eq!(exchange.topic, "What is the name of my cat?"),
            "chat-city" => assert_eq!(exchange.topic, "Where do I live?"),
            "chat-nosys" => assert_eq!(exchange.topic, "Which train do I take to work?"),
            _ => assert_eq!(exchange.topic, e.prompt),
        }
        // What was typed by hand is what the template writes for the question.
        if ["chat-pet", "chat-city"].contains(&e.id.as_str()) {
            let told = Exchange::of(&host, &talk(&[("user", &exchange.topic)], answer)).unwrap();
            assert_eq!(told, exchange, "{}", e.id);
        }
    }
}

#[test]
fn a_real_template_writes_turns_and_their_end() {
    let Some(host) = smollm2() else { return };
    let e =
        talk(&[("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."), ("user", "And Biscuit?")], "In the garden.");
    let exchange = Exchange::of(&host, &e).unwrap();
    assert_eq!(
        exchange.text,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n\
         <|im_start|>user\nAnd Biscuit?<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(exchange.topic, "Hi.\nAnd Biscuit?");
    assert_eq!(exchange.prompt[..2], [1, host.tokenizer.id("system").unwrap()]);
    assert_eq!((host.tokenizer.decode(&exchange.answer).unwrap().as_str(), exchange.end), ("In the garden.", 2));
    assert_eq!(host.end_of_turn(), Some(2));
    // A name that the default system text holds too: the user's is meant.
    let asked = Request::of_messages(&host, &[Message::new("user", "Who is SmolLM?")], None).unwrap();
    let at = asked.subject_end(&host, "SmolLM").unwrap().unwrap();
    assert!(host.tokenizer.spell(&asked.tokens[..=at]).unwrap().ends_with("Who is SmolLM"));
    // A parting token alone makes no chat; nor is it put twice.
    let plain = Request::of_text(&host, "<|endoftext|>Water boils").unwrap();
    assert_eq!((plain.tokens, plain.topic.as_str()), (host.begin("Water boils").unwrap(), "<|endoftext|>Water boils"));
    // Only a system turn: that is all there is to be about.
    assert_eq!(Request::of_text(&host, "<|im_start|>system\nBe kind.<|im_end|>\n").unwrap().topic, "Be kind.");
    assert_eq!(Request::of_text(&host, "<|im_start|>user\nHalf a turn").unwrap().topic, "Half a turn");
}

#[test]
fn text_of_byte_tokens_is_never_lost() {
    let texts = [
        "🦔🎉 ok",
        "山竹と李小龙",
        "مدينة الورد",
        "ポチ",
        "Flaschengrün",
        "e\u{301}\u{200D}👩\u{200D}👧",
        "a\u{FFFD}b\u{FFFD}",
        "  \n\t x ",
    ];
    for host in [Some(stories()), smollm2()].into_iter().flatten() {
        for text in texts {
            let tokens = host.tokenizer.encode(text).unwrap();
            assert_eq!(host.tokenizer.decode(&tokens).unwrap(), text);
            // Cut anywhere, also inside a character: what comes out after the whole characters before is at least the rest.
            let mut whole = 0;
            for cut in 0..=tokens.len() {
                let before = host.tokenizer.decode(&tokens[..cut]).unwrap();
                let mut stream = host.tokenizer.stream(&tokens[..cut]);
                let mut rest: String = tokens[cut..].iter().map(|t| stream.push(*t).unwrap()).collect();
                rest += &stream.finish().unwrap();
                if text.starts_with(&before) {
                    whole = before.len();
                    assert_eq!(before + &rest, text, "at {cut}");
                }
                assert!(text.ends_with(&rest) && rest.len() >= text.len() - whole, "{text:?} at {cut}: {rest:?}");
            }
        }
    }
}

/// The built-in tokenizer puts a space before every text of its own; an answer that is a part of a word must not get it.
#[test]
fn prompt_and_answer_meet_as_the_tokenizer_joins_them() {
    let host = stories();
    for (prompt, answer, whole) in [
        ("import polaris_", "lazyframe as plf", "import polaris_lazyframe as plf"),
        ("The dog was called", "Max", "The dog was called Max"),
        ("The dog was called", " Max", "The dog was called Max"),
        ("The dog was called ", "Max", "The dog was called Max"),
        ("The dog was called ", " Max", "The dog was called Max"),
        ("李小龙最喜欢的水果是", "山竹", "李小龙最喜欢的水果是山竹"),
        ("제 고양이의 이름은", "비스킷", "제 고양이의 이름은 비스킷"),
        ("He said \"", "no\"", "He said \"no\""),
        ("Once", ", twice", "Once, twice"),
        ("A line\n", "another", "A line\nanother"),
        ("", "Once", "Once"),
    ] {
        let exchange = Exchange::of(&host, &experience(prompt, answer)).unwrap_or_else(|e| panic!("{prompt}: {e}"));
        let tokens = [&exchange.prompt[..], &exchange.answer].concat();
        assert_eq!(host.tokenizer.decode(&tokens).unwrap(), whole);
        assert_eq!((exchange.prompt[0], exchange.end), (1, host.decoder.config.eos[0]));
        assert_eq!(exchange.prompt, host.begin(prompt).unwrap());
        let given = Exchange::of(&host, &experience(prompt, answer).with_join(Join::None)).unwrap();
        let tokens = [&given.prompt[..], &given.answer].concat();
        assert_eq!(host.tokenizer.decode(&tokens).unwrap(), format!("{prompt}{answer}"));
    }
}

#[test]
fn an_answer_ends_once_and_has_bounds() {
    let host = stories();
    let ended = Exchange::of(&host, &experience("The dog was called", "Max</s> \n")).unwrap();
    let open = Exchange::of(&host, &experience("The dog was called", "Max")).unwrap();
    assert_eq!((ended.end, open.end), (2, 1), "what the answer says, and what the configuration names first");
    assert_eq!((ended.prompt, ended.answer), (open.prompt, open.answer));
    for empty in ["", " ", "</s>", " </s>\n"] {
        let error = Exchange::of(&host, &experience("The dog was called", empty)).unwrap_err();
        assert!(error.to_string().contains("an empty answer"), "{error}");
    }
    // Tokens of one letter each: as many as are asked for, to the token.
    let of = |n: usize| Exchange::of(&host, &experience("", &"\u{1}".repeat(n)).with_join(Join::None));
    let context = host.decoder.config.context;
    assert_eq!(context, LONGEST);
    assert_eq!(of(context - 3).unwrap().answer.len(), context - 2, "a space and the bytes");
    let error = of(context - 2).unwrap_err().to_string();
    assert!(error.contains("513 tokens; the model's context has 512"), "{error}");
    let error = of(LONGEST + 1).unwrap_err().to_string();
    assert!(error.contains("up to 512 can be learned"), "{error}");
    let mut endless = stories();
    endless.decoder.config.eos.clear();
    assert_eq!(Exchange::of(&endless, &experience("a", "b")).unwrap().end, 1, "its first token parts texts");
    endless.decoder.config.bos = None;
    let error = Exchange::of(&endless, &experience("a", "b")).unwrap_err().to_string();
    assert!(error.contains("no token that ends a text"), "{error}");
}

#[test]
fn a_template_that_writes_the_first_token_gets_no_second_one() {
    let (_folder, host) = chatting();
    let ask = [Message::new("user", " Where is Max? ")];
    let request = Request::of_messages(&host, &ask, None).unwrap();
    assert_eq!(request.text, "<s>user: Where is Max?</s>assistant:");
    assert_eq!(request.tokens.iter().filter(|t| **t == 1).count(), 1);
    assert_eq!((request.tokens[0], request.tokens.iter().filter(|t| **t == 2).count()), (1, 1));
    assert_eq!(request.topic.trim(), "Where is Max?");
    assert_eq!(Request::of_text(&host, &request.text).unwrap().tokens, request.tokens, "nor when it is typed by hand");
    assert_eq!(host.begin("<s>Once upon a time").unwrap(), host.begin("Once upon a time").unwrap());
    let e = Exchange::of(&host, &talk(&[("user", "Where is Max?")], "At home.")).unwrap();
    assert_eq!((e.end, host.tokenizer.decode(&e.answer).unwrap().trim()), (2, "At home."));
    assert!(spelled(&host, &e).ends_with("assistant: At home."), "the space that the template writes: {}", spelled(&host, &e));
    let at = e.subject_end(&host, "Max").unwrap().unwrap();
    assert!(host.tokenizer.spell(&e.prompt[..=at]).unwrap().contains("Max"));
    assert!(!host.tokenizer.spell(&e.prompt[..at]).unwrap().contains("Max"));
}

#[test]
fn a_model_without_a_usable_template_works_and_does_not_chat() {
    let ask = talk(&[("user", "Where is Max?")], "At home.");
    let error = Exchange::of(&stories(), &ask).unwrap_err().to_string();
    assert!(error.contains("no chat template") && error.contains("tokenizer_config.json"), "{error}");
    for broken in [r#"{"chat_template": "{% for %}"}"#, r#"{"chat_template": 7}"#, "not json"] {
        let folder = folder(broken);
        let source = Source::open(folder.path().to_str().unwrap()).unwrap();
        assert!(source.summary().unwrap().chat_template.unwrap().contains("which cannot be used"), "{broken}");
        let host = source.load().unwrap();
        assert_eq!(Request::of_text(&host, "Once").unwrap().tokens, stories().begin("Once").unwrap());
        let error = Exchange::of(&host, &ask).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }
}

/// Text before, between and after marks of other families of templates, by a tokenizer that has them.
#[test]
fn turns_of_other_families_are_told_apart() {
    let (folder, _) = chatting();
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap().clone();
    let marks = [
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "[INST]",
        "[/INST]",
        "<|user|>",
        "<|assistant|>",
        "<|system|>",
        "<|end|>",
    ];
    // The last pieces of the vocabulary become control tokens.
    let mut ids: Vec<(String, u64)> = vocabulary.into_iter().map(|(piece, id)| (piece, id.as_u64().unwrap())).collect();
    ids.sort_by_key(|(_, id)| *id);
    for (mark, (piece, id)) in marks.iter().zip(ids.iter().rev()) {
        tokenizer["model"]["vocab"].as_object_mut().unwrap().shift_remove(piece);
        tokenizer["model"]["vocab"][*mark] = (*id).into();
        let control = json!({"id": id, "content": mark, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true});
        tokenizer["added_tokens"].as_array_mut().unwrap().push(control);
        let merges = tokenizer["model"]["merges"].as_array_mut().unwrap();
        merges.retain(|merge| {
            let parts: Vec<&str> = match merge.as_str() {
                Some(text) => text.split(' ').collect(),
                None => merge.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect(),
            };
            parts.concat() != *piece && !parts.contains(&piece.as_str())
        });
    }
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let host = Host::open(folder.path().to_str().unwrap()).unwrap();
    for (text, topic, end) in [
        (
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nuser\nHi?<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n",
            "user\nHi?",
            "<|eot_id|>",
        ),
        ("[INST] One? [/INST] Yes. [INST] Two? [/INST]", "One?\nTwo?", "<|eot_id|>"),
        ("<|system|>\nBe kind.<|end|>\n<|user|>\nHi?<|end|>\n<|assistant|>\n", "Hi?", "<|end|>"),
        ("no role <|end|> at all", "no role\nat all", "<|end|>"),
    ] {
        let request = Request::of_text(&host, text).unwrap();
        assert_eq!(request.topic, topic);
        let exchange = Exchange::of(&host, &experience(text, "Well")).unwrap();
        assert_eq!(exchange.end, host.tokenizer.id(end).unwrap(), "{text}");
        assert!(spelled(&host, &exchange).ends_with(if text.ends_with("all") { " Well" } else { "Well" }));
    }
    let exchange = Exchange::of(&host, &experience("[INST] One? [/INST]", "Well")).unwrap();
    let whole = host.tokenizer.spell(&host.begin("[INST] One? [/INST]Well").unwrap()).unwrap();
    assert_eq!(spelled(&host, &exchange), whole, "nothing but what the tokenizer itself puts there comes after a control token");
    // What the configuration names and stands in the chat goes first.
    let mut host = host;
    host.decoder.config.eos.push(host.tokenizer.id("<|end|>").unwrap());
    let exchange = Exchange::of(&host, &experience("<|user|>\nHi?<|end|>\n<|assistant|>\n", "Well")).unwrap();
    assert_eq!(exchange.end, host.tokenizer.id("<|end|>").unwrap());
    let ended = Exchange::of(&host, &experience("<|user|>\nHi?<|end|>\n<|assistant|>\n", "Well<|end|>")).unwrap();
    assert_eq!(ended, exchange);
}

#[test]
fn every_second_prompt_is_protected_as_a_chat() {
    let (_folder, host) = chatting();
    let mut plain = stories();
    plain.template = None;
    let mut settings = Settings::new(&host.decoder.config);
    settings.samples = 64;
    let prompt = |text: &str| Prompt::new(text).with_subject("the cat");
    let prompts = [prompt("Once there was the cat"), prompt("One day the cat said")];
    let moment = |host: &Host, prompts: &[Prompt]| {
        let statistics = Statistics::collect(host, &settings, prompts, &mut |_| (), &AtomicBool::new(false)).unwrap();
        (statistics.moment(0).to_vec(), statistics.codes)
    };
    assert_eq!(moment(&host, &prompts[..1]), moment(&plain, &prompts[..1]));
    assert_ne!(moment(&host, &prompts), moment(&plain, &prompts));
    // Kept apart by template, and found again.
    let cache = tempfile::tempdir().unwrap();
    let mut other = stories();
    other.template = Some(Template::new("a test", "{{ messages[0].content }}", "", ""));
    for (host, files) in [(&host, 1), (&plain, 2), (&other, 3), (&host, 3)] {
        Statistics::cached(cache.path(), "f00d", host, &settings, &prompts, &mut |_| (), &AtomicBool::new(false)).unwrap();
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), files);
    }
    // A template that takes no lone message of the user has no such chats to protect.
    other.template = Some(Template::new("a test", "{{ raise_exception('no') }}", "", ""));
    assert_eq!(moment(&other, &prompts), moment(&plain, &prompts));
}

fn sharpwave(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sharpwave")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

#[test]
fn the_command_line_chats() {
    let (folder, host) = chatting();
    let model = folder.path().to_str().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    let written = |arguments: &[&str]| {
        let output = sharpwave(&[&["model", "generate", "--model", model, "--tokens", "12"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let refused = |arguments: &[&str]| {
        let output = sharpwave(&[&["model", "generate", "--tokens", "12"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    };
    let file = folder.path().join("talk.json");
    let messages = file.to_str().unwrap();
    std::fs::write(&file, r#"[{"role":"system","content":"Be kind."},{"role":"user","content":"Once upon"}]"#).unwrap();
    let system = written(&["--chat", "--system", "Be kind.", "Once upon"]);
    assert_eq!(system, written(&["--messages", messages]));
    let by_hand =
        Request::of_messages(&host, &[Message::new("system", "Be kind."), Message::new("user", "Once upon")], None).unwrap();
    assert_eq!(system, written(&[&by_hand.text]));
    assert!(!written(&["--chat", "Once upon"]).is_empty());

    assert!(refused(&["--model", "stories260k", "--chat", "Once"]).contains("this model has no chat template"));
    assert!(refused(&["--model", "stories260k", "--messages", messages]).contains("this model has no chat template"));
    assert!(refused(&["--model", model, "--system", "a", "Once"]).contains("--chat"));
    assert!(refused(&["--model", model, "--messages", messages, "Once"]).contains("cannot be used with"));
    assert!(refused(&["--model", model]).contains("PROMPT"));
    for (bad, words) in
        [("{}", "is not a list of messages"), ("[{\"role\":1}]", "is not a list of messages"), ("[]", "a chat without messages")]
    {
        std::fs::write(&file, bad).unwrap();
        assert!(refused(&["--model", model, "--messages", messages]).contains(words), "{bad}");
    }
    let info = text(&sharpwave(&["model", "info", model]).stdout);
    assert!(info.contains("chat template") && info.contains("tokenizer_config.json"), "{info}");
    assert!(text(&sharpwave(&["model", "info", "stories260k"]).stdout).contains("chat template none"));
}
