//! Files from the network, and the folders they go to. The only place that speaks HTTP. Promises that a file appears under its
//! name only once its size and checksum agree, that what came of it waits beside it as `.part` and is gone on with, and that no
//! file that is there is replaced unasked.

use super::output;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders that may hold data sets and models, in the order they are looked at: `asked` alone where given, else
/// `SHARPWAVE_DATA`, else `sharpwave` in the user's data folder (XDG).
pub fn folders(asked: Option<&Path>) -> Vec<PathBuf> {
    if let Some(asked) = asked {
        return vec![asked.to_path_buf()];
    }
    let home = home().map(|home| home.join(".local/share"));
    let user = folder("XDG_DATA_HOME").filter(|p| p.is_absolute()).or(home).map(|folder| folder.join("sharpwave"));
    folder("SHARPWAVE_DATA").into_iter().chain(user).collect()
}

/// A variable of the environment that says something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_string()).filter(|v| !v.is_empty())
}

/// A folder that a variable of the environment names.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// The user's own folder.
pub(crate) fn home() -> Option<PathBuf> {
    folder("HOME").or_else(|| folder("USERPROFILE"))
}

/// Why an address gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No connection, or no answer.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The server answered, with a status other than success.
    #[error("cannot be fetched: the server answers with HTTP status {0}")]
    Status(u16),
    /// The connection broke, or gave something else than was asked for.
    #[error("the download was cut off: {0}")]
    Cut(String),
}

impl Trouble {
    /// As an error that names the address, without the password that it may hold.
    pub fn error(&self, url: &str, remedy: impl Into<String>) -> Error {
        Error::Run { message: format!("{} {self}", shown(url)), remedy: remedy.into() }
    }
}

/// An address as it may be printed.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            format!("{scheme}://{}", &rest[rest[..end].rfind('@').map_or(0, |at| at + 1)..])
        }
        None => url.to_string(),
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    /// Bytes of the body, where the server says so.
    pub length: Option<u64>,
    /// The body starts where it was asked to, not at the beginning.
    pub resumed: bool,
    pub body: Box<dyn Read + Send>,
}

/// Asks for an address, from byte `from` on. `headers` are names and values.
#[cfg(not(feature = "net"))]
pub(crate) fn get(_url: &str, _from: u64, _headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
    Err(Trouble::Unreachable("this program was built without the feature `net`".into()))
}

/// Asks for an address, from byte `from` on. `headers` are names and values.
#[cfg(feature = "net")]
pub(crate) fn get(url: &str, from: u64, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
    // Once for the process; a second time is no mistake.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let answer = request.call().map_err(|e| match e {
        ureq::Error::StatusCode(status) => Trouble::Status(status),
        other => Trouble::Unreachable(other.to_string()),
    })?;
    let range = answer.headers().get("content-range").and_then(|v| v.to_str().ok()).unwrap_or("");
    let resumed = answer.status().as_u16() == 206;
    if resumed && !range.starts_with(&format!("bytes {from}-")) {
        return Err(Trouble::Cut(format!("asked for what follows byte {from}, the server gives `{range}`")));
    }
    let length = answer.body().content_length();
    Ok(Answer { length, resumed, body: Box::new(answer.into_body().into_with_config().limit(u64::MAX).reader()) })
}

/// A short text: 64 MiB at most.
pub(crate) fn text(url: &str, headers: &[(&str, &str)]) -> Result<String, Trouble> {
    let mut text = String::new();
    let body = get(url, 0, headers)?.body;
    body.take(64 << 20).read_to_string(&mut text).map_err(|e| Trouble::Cut(e.to_string()))?;
    Ok(text)
}

/// A file on a server, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Where it is.
    pub url: String,
    /// Sent as `Authorization: Bearer`, to this host alone.
    pub token: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Hexadecimal, lower case.
    pub sha256: Option<String>,
}

impl Remote {
    /// What tells a file from this one; None when it is this one as far as is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn differs(&self, path: &Path) -> Result<Option<String>> {
        let mut file = File::open(path).map_err(|e| Error::file(path, e))?;
        self.differs_from(&mut file).map_err(|e| Error::file(path, e))
    }

    fn differs_from(&self, file: &mut File) -> io::Result<Option<String>> {
        let size = file.metadata()?.len();
        if size != self.size {
            return Ok(Some(format!("{size} bytes instead of {}", self.size)));
        }
        let Some(expected) = &self.sha256 else { return Ok(None) };
        file.seek(SeekFrom::Start(0))?;
        let mut summed = Summed::<_, Sha256>::new(io::sink());
        io::copy(file, &mut summed)?;
        let sum = summed.hex();
        Ok((sum != *expected).then(|| format!("SHA-256 {sum} instead of {expected}")))
    }
}

/// Where what came of a file waits.
pub fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".part");
    name.into()
}

/// Tries in a row that may bring nothing.
const TRIES: u32 = 4;

/// Makes sure that `path` is this file: downloads it unless it is there. `progress` hears how many bytes of it there are and may
/// end it with an error. A connection that breaks is taken up again, now and by a later call.
///
/// # Errors
/// Another file is there (without `replace`). A server that cannot be reached or has no such file, a connection that breaks again
/// and again, a disk that is full: the `.part` stays. A content that does not agree: the `.part` goes. Another process that
/// downloads the same file.
pub fn file(remote: &Remote, path: &Path, replace: bool, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
    if path.exists() {
        match remote.differs(path)? {
            None => return progress(remote.size),
            Some(_) if replace => (),
            Some(why) => {
                return Err(Error::File {
                    path: path.to_path_buf(),
                    message: format!("is there and is not the published file: {why}"),
                    remedy: Some("give --force to replace it, or another folder".into()),
                });
            }
        }
    }
    output::check(path, replace)?;
    let part_path = part(path);
    output::check(&part_path, true)?;
    let disk = |e: io::Error| Error::file(&part_path, e);
    let mut part = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&part_path).map_err(disk)?;
    match part.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is being downloaded by another process", path.display());
            return Err(Error::input(what, "wait until it has ended"));
        }
        // A file system without locks: two processes at once are found by the checksum.
        Err(TryLockError::Error(_)) | Ok(()) => (),
    }
    let (mut received, mut anew, mut failures) = (false, false, 0);
    loop {
        let before = part.metadata().map_err(disk)?.len();
        let trouble = match receive(remote, &mut part, before, progress) {
            Ok(()) => match remote.differs_from(&mut part).map_err(disk)? {
                None => break,
                // What was there before may be of another file: once more, from the beginning.
                Some(_) if before > 0 && !anew => {
                    part.set_len(0).map_err(disk)?;
                    anew = true;
                    continue;
                }
                Some(why) => {
                    drop(part);
                    std::fs::remove_file(&part_path).map_err(disk)?;
                    let message = format!("{}: what was received is not the published file: {why}", shown(&remote.url));
                    let remedy = "try again; if it stays so, the server is not to be trusted".into();
                    return Err(Error::Run { message, remedy });
                }
            },
            Err(Ended::Stopped(error)) => return Err(error),
            Err(Ended::Disk(e)) => return Err(disk(e)),
            Err(Ended::Trouble(trouble)) => trouble,
        };
        let new = part.metadata().map_err(disk)?.len() > before;
        received |= new;
        failures = if new { 1 } else { failures + 1 };
        if !passing(&trouble, received) || failures == TRIES {
            let empty = part.metadata().map_err(disk)?.len() == 0;
            drop(part);
            if empty {
                std::fs::remove_file(&part_path).map_err(disk)?;
            }
            return Err(trouble.error(&remote.url, remedy(&trouble, &part_path)));
        }
        if matches!(trouble, Trouble::Status(416)) {
            part.set_len(0).map_err(disk)?;
        }
        std::thread::sleep(Duration::from_millis(200 << failures));
    }
    drop(part);
    output::put(&part_path, path, replace)
}

/// Whether another try may help. Who cannot be reached at all is not waited for.
fn passing(trouble: &Trouble, received: bool) -> bool {
    match trouble {
        Trouble::Unreachable(_) => received,
        Trouble::Status(status) => matches!(status, 408 | 416 | 429 | 500..),
        Trouble::Cut(_) => true,
    }
}

fn remedy(trouble: &Trouble, part: &Path) -> String {
    match trouble {
        Trouble::Status(401 | 403) => "the server wants a login for it: for Hugging Face, set HF_TOKEN".into(),
        Trouble::Status(400..500) => "check the name and the revision".into(),
        _ if part.metadata().is_ok_and(|m| m.len() > 0) => {
            format!("run the same command again: it goes on after what is in {}", part.display())
        }
        _ => "check the network (proxies: HTTPS_PROXY), and run the same command again".into(),
    }
}

enum Ended {
    Stopped(Error),
    Disk(io::Error),
    Trouble(Trouble),
}

/// Adds what is missing to `part`, which holds `have` bytes.
fn receive(
    remote: &Remote,
    part: &mut File,
    mut have: u64,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> std::result::Result<(), Ended> {
    // Without a checksum nobody could tell that a part is of another file: such files are small, and begin anew.
    if have > remote.size || remote.sha256.is_none() {
        part.set_len(0).map_err(Ended::Disk)?;
        have = 0;
    }
    if have == remote.size {
        return progress(have).map_err(Ended::Stopped);
    }
    let bearer = remote.token.as_ref().map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
    let mut answer = get(&remote.url, have, &headers).map_err(Ended::Trouble)?;
    if !answer.resumed && have > 0 {
        part.set_len(0).map_err(Ended::Disk)?;
        have = 0;
    }
    part.seek(SeekFrom::Start(have)).map_err(Ended::Disk)?;
    let mut bytes = vec![0; 1 << 16];
    while have <= remote.size {
        progress(have).map_err(Ended::Stopped)?;
        let cut = |e: io::Error| Ended::Trouble(Trouble::Cut(e.to_string()));
        let read = match answer.body.read(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(cut)?,
        };
        if read == 0 {
            break;
        }
        part.write_all(&bytes[..read]).map_err(Ended::Disk)?;
        have += read as u64;
    }
    match have < remote.size {
        true => Err(Ended::Trouble(Trouble::Cut(format!("{have} of {} bytes", remote.size)))),
        false => Ok(()),
    }
}

/// Passes bytes on and sums them.
pub(crate) struct Summed<W, D> {
    pub sink: W,
    sum: D,
}

impl<W, D: Digest> Summed<W, D> {
    pub fn new(sink: W) -> Self {
        Summed { sink, sum: D::new() }
    }

    /// The sum, in hexadecimal.
    pub fn hex(self) -> String {
        self.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<W: Write, D: Digest> Write for Summed<W, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_passwords() {
        assert_eq!(shown("https://me:secret@a.example/x@y"), "https://a.example/x@y");
        assert_eq!(shown("http://a.example:80/x"), "http://a.example:80/x");
        assert_eq!(shown("https://me@a.example"), "https://a.example");
    }

    #[test]
    fn folders_as_asked_for() {
        assert_eq!(folders(Some(Path::new("d"))), [PathBuf::from("d")]);
        assert_eq!(part(Path::new("d/a.gguf")), PathBuf::from("d/a.gguf.part"));
    }

    #[test]
    fn what_passes_is_tried_again() {
        assert!(passing(&Trouble::Status(503), false) && !passing(&Trouble::Status(404), true));
        assert!(!passing(&Trouble::Unreachable(String::new()), false) && passing(&Trouble::Cut(String::new()), false));
    }
}
