//! Bearer tokens: who may speak for which user. A file has a user and a token a line; in memory are their digests alone, and comparing takes
//! the same time whatever is alike.

use crate::error::{Error, Place, Result};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Characters of a token at least.
const SHORTEST: usize = 16;

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One user.
    User(String),
    /// A program that names the user of each request: `*` in the file.
    Any,
}

/// All tokens.
pub struct Tokens(Vec<([u8; 32], Holder)>);

impl Tokens {
    /// Reads a file of `user token` lines; empty lines and those that begin with # are passed over. A user may have several tokens.
    ///
    /// # Errors
    /// A file that cannot be read, a line of another form, a token that is short or stands there twice, and a file without any.
    pub fn read(path: &Path) -> Result<Tokens> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        Tokens::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, file: &str) -> Result<Tokens> {
        let mut tokens: Vec<([u8; 32], Holder)> = Vec::new();
        let mut start = 0;
        for whole in text.split_inclusive('\n') {
            let line = whole.trim();
            let span = start..start + whole.trim_end().len();
            start += whole.len();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The place shows the user, and never a token.
            let wrong = |message: String, remedy: &str| {
                let shown = Place {
                    file: file.into(),
                    text: "\n".repeat(text[..span.start].matches('\n').count()).into(),
                    span: span.start..span.start,
                };
                Err(Error::at(shown, message, remedy))
            };
            let Some((user, token)) = line.rsplit_once(char::is_whitespace) else {
                return wrong("a line without a token".into(), "write a user and a token with a space between them: ada 9f2c…");
            };
            let user = user.trim();
            if token.len() < SHORTEST {
                return wrong(
                    format!("the token of {user} has {} characters", token.len()),
                    "use 16 or more: openssl rand -hex 24",
                );
            }
            let digest: [u8; 32] = Sha256::digest(token).into();
            if tokens.iter().any(|(other, _)| *other == digest) {
                return wrong(format!("the token of {user} stands in the file already"), "give each user a token of their own");
            }
            tokens.push((digest, if user == "*" { Holder::Any } else { Holder::User(user.into()) }));
        }
        match tokens.is_empty() {
            true => Err(Error::input(format!("{file} names no token"), "write a user and a token a line: ada 9f2c…")),
            false => Ok(Tokens(tokens)),
        }
    }

    /// Whom a token stands for; None where nobody has it.
    pub fn holder(&self, token: &str) -> Option<&Holder> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut holder = None;
        // Every one is compared, to its end.
        for (other, who) in &self.0 {
            let differ = other.iter().zip(&digest).fold(0u8, |differ, (a, b)| differ | (a ^ b));
            if std::hint::black_box(differ) == 0 {
                holder = Some(who);
            }
        }
        holder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tokens() {
        let tokens =
            Tokens::parse("# users\nada 0123456789abcdef\n\nBob Smith\t0123456789abcdeg\r\n* 0123456789abcdeh", "f").unwrap();
        assert_eq!(tokens.holder("0123456789abcdef"), Some(&Holder::User("ada".into())));
        assert_eq!(tokens.holder("0123456789abcdeg"), Some(&Holder::User("Bob Smith".into())));
        assert_eq!(tokens.holder("0123456789abcdeh"), Some(&Holder::Any));
        assert_eq!(tokens.holder("0123456789abcde"), None);
        for (text, what) in [
            ("ada", "without a token"),
            ("ada short", "5 characters"),
            ("# x", "no token"),
            ("a 0123456789abcdef\nb 0123456789abcdef", "already"),
        ] {
            let error = Tokens::parse(text, "f").err().unwrap();
            assert!(error.to_string().contains(what) && error.remedy().is_some(), "{error}");
            assert!(!error.to_string().contains("0123456789"), "{error}");
        }
    }
}
