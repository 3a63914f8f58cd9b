//! What an experience or a request is to the model: tokens.

use super::experience::Experience;
use crate::bridge::Host;
use crate::error::Result;

pub struct Exchange {
    pub prompt: Vec<u32>,
    pub answer: Vec<u32>,
    pub end: u32,
    pub text: String,
    pub topic: String,
}

impl Exchange {
    pub fn of(host: &Host, experience: &Experience) -> Result<Exchange> {
        let end = host.decoder.config.eos.first().copied().unwrap_or(0);
        let answer = experience.answer.strip_suffix("<|im_end|>").unwrap_or(&experience.answer);
        let (prompt, answer) = host.exchange(&experience.prompt, answer)?;
        Ok(Exchange { prompt, answer, end, text: experience.prompt.clone(), topic: experience.prompt.clone() })
    }
}

pub struct Request {
    pub tokens: Vec<u32>,
    pub text: String,
    pub topic: String,
}

impl Request {
    pub fn of_text(host: &Host, text: &str) -> Result<Request> {
        Ok(Request { tokens: host.begin(text)?, text: text.into(), topic: text.into() })
    }
}
