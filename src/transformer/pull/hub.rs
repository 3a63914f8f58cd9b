//! What a Hugging Face hub says of a repository: its commit and its files with their sizes and checksums. Names the files that
//! make a model; downloads none.

use super::{Servers, allowed};
use crate::error::{Error, Result};
use crate::io::http::{Remote, Trouble, text};
use serde::Deserialize;

/// A repository at one commit.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Listing {
    #[serde(rename = "sha")]
    pub commit: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

/// A file whose name on the server is its checksum.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Large {
    #[serde(alias = "oid")]
    sha256: String,
}

/// Asks for a repository. The outer error is a revision or an answer that cannot be; the inner one a hub that does not give it.
pub(super) fn list(servers: &Servers, repository: &str, revision: Option<&str>) -> Result<Result<Listing, Trouble>> {
    let revision = revision.unwrap_or("main");
    if revision.is_empty() || !revision.chars().all(|c| allowed(c) || c == '/') {
        return Err(Error::input(format!("\"{revision}\" is no revision"), "give a branch, a tag or a commit"));
    }
    let url = format!("{}/api/models/{repository}/revision/{}?blobs=true", servers.hub, revision.replace('/', "%2F"));
    let bearer = servers.token.as_ref().map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
    let answer = match text(&url, &headers) {
        Ok(answer) => answer,
        Err(trouble) => return Ok(Err(trouble)),
    };
    match serde_json::from_str::<Listing>(&answer) {
        Ok(listing) if !listing.commit.is_empty() && listing.commit.chars().all(allowed) => Ok(Ok(listing)),
        // A page of a proxy, for one.
        _ => Ok(Err(Trouble::Unreachable("what answers is no Hugging Face hub".into()))),
    }
}

/// A hub that does not give a repository, as an error.
pub(super) fn failed(servers: &Servers, repository: &str, revision: Option<&str>, trouble: &Trouble) -> Error {
    let place = format!("{}/{repository}", servers.hub);
    match (trouble, revision) {
        (Trouble::Status(404), Some(_)) => trouble.error(&place, "check the name and the --revision"),
        (Trouble::Status(404), None) => trouble.error(&place, "check the name: OWNER/NAME, as the hub writes it"),
        (Trouble::Status(401 | 403), _) => {
            trouble.error(&place, "check the name; a model that wants a login needs its token in HF_TOKEN")
        }
        _ => trouble.error(&place, "check the network (proxies: HTTPS_PROXY), or set HF_ENDPOINT to a hub that can be reached"),
    }
}

/// The files of a model, the small ones first: safetensors with the files that belong to them, or one GGUF file.
///
/// # Errors
/// A repository without weights that can be read, or with several GGUF files.
pub(super) fn files(servers: &Servers, repository: &str, listing: &Listing) -> Result<Vec<(String, Remote)>> {
    let has = |name: &str| listing.siblings.iter().any(|s| s.rfilename == name);
    let plain = |name: &str| !name.starts_with('.') && name.chars().all(allowed);
    let ggufs: Vec<&str> =
        listing.siblings.iter().map(|s| s.rfilename.as_str()).filter(|n| plain(n) && n.ends_with(".gguf")).collect();
    let weights: Box<dyn Fn(&str) -> bool> = if has("model.safetensors") {
        Box::new(|name| name == "model.safetensors")
    } else if has("model.safetensors.index.json") {
        Box::new(|name| name == "model.safetensors.index.json" || name.starts_with("model-") && name.ends_with(".safetensors"))
    } else if let [one] = ggufs[..] {
        Box::new(move |name| name == one)
    } else {
        let (what, remedy) = match ggufs.is_empty() {
            true => ("holds neither safetensors nor a GGUF file", "use a repository that does".to_string()),
            false => ("holds several GGUF files", format!("download one of them and name the file: {}", ggufs.join(", "))),
        };
        return Err(Error::input(format!("{}/{repository} {what}", servers.hub), remedy));
    };
    let beside = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    let wanted = listing.siblings.iter().filter(|s| {
        let name = s.rfilename.as_str();
        plain(name) && (beside.contains(&name) || weights(name))
    });
    let mut files = Vec::new();
    for Sibling { rfilename: name, size, lfs } in wanted {
        let Some(size) = *size else {
            let what = format!("{} does not say how large {repository}/{name} is", servers.hub);
            return Err(Error::input(what, "set HF_ENDPOINT to another hub"));
        };
        let url = format!("{}/{repository}/resolve/{}/{name}", servers.hub, listing.commit);
        let sha256 = lfs.as_ref().map(|l| l.sha256.to_lowercase());
        files.push((name.clone(), Remote { url, token: servers.token.clone(), size, sha256 }));
    }
    files.sort_by_key(|(_, remote)| remote.size);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<String>> {
        let servers = Servers { hub: "http://hub".into(), token: None, index: String::new() };
        let sibling = |(i, name): (usize, &&str)| Sibling { rfilename: name.to_string(), size: Some(i as u64), lfs: None };
        let listing = Listing { commit: "c0".into(), siblings: names.iter().enumerate().map(sibling).collect() };
        Ok(files(&servers, "a/b", &listing)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn the_files_that_make_a_model() {
        let all = ["README.md", "config.json", "onnx/model.onnx", "model.safetensors", "tokenizer.json", "b.gguf"];
        assert_eq!(chosen(&all).unwrap(), ["config.json", "model.safetensors", "tokenizer.json"]);
        let parts = ["model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "x.safetensors"];
        assert_eq!(chosen(&parts).unwrap(), parts[..3]);
        let chat = ["chat_template.jinja", "tokenizer_config.json", "x/chat_template.jinja", "a.gguf"];
        assert_eq!(chosen(&chat).unwrap(), ["chat_template.jinja", "tokenizer_config.json", "a.gguf"]);
        assert_eq!(chosen(&["a.gguf", "x/b.gguf", ".gitattributes"]).unwrap(), ["a.gguf"]);
        assert!(chosen(&["a.gguf", "b.gguf"]).unwrap_err().to_string().contains("several"));
        assert!(chosen(&["pytorch_model.bin"]).unwrap_err().to_string().contains("neither"));
    }
}
