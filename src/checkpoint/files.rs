//! The output files: they show committed lines, each at its place, and are completed from the spool after a crash.
//!
//! Every write says where: a process that was replaced and wakes up later can only write the same bytes once more.

use crate::checkpoint::hash::lines_hash;
use crate::checkpoint::problem::trouble;
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::spool::SpoolIndex;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::fault;
use crate::model::commit::Shown;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is asked of output files.
pub trait Files: Send + Sync {
    /// Length of a file in bytes; none: it is not there.
    fn length(&self, path: &str) -> io::Result<Option<u64>>;

    /// Reads up to `length` bytes from `from` on; less at the end of the file.
    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Writes bytes at `offset`. A file that is not there is made.
    fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all of a file durable, and its name.
    fn sync(&self, path: &str) -> io::Result<()>;
}

/// The files of this machine.
#[derive(Clone, Copy, Default, Debug)]
pub struct Disk;

impl Files for Disk {
    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let (mut file, mut bytes) = (File::open(path)?, Vec::new());
        file.seek(SeekFrom::Start(from))?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().write(true).create(true).truncate(false).open(path)?.write_all_at(bytes, offset)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        File::open(path)?.sync_all()?;
        let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Shows lines of a committed tick: `offset` is where they begin in the file.
pub fn show(files: &dyn Files, path: &str, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    fault::point("file.show.before");
    files.write(path, offset, bytes).map_err(|error| trouble("write", path, &error))?;
    fault::point("file.show.after");
    Ok(())
}

/// Makes files durable: before a snapshot whose tick they show, since the spool is kept no longer than that.
pub fn sync_all<'a>(files: &dyn Files, paths: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    for path in paths {
        fault::point("file.sync.before");
        match files.sync(path) {
            // Nothing was ever shown in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|error| trouble("make durable", path, &error))?,
        }
        fault::point("file.sync.after");
    }
    Ok(())
}

/// A file that shows all that is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completed {
    /// The file.
    pub path: String,
    /// Its length.
    pub end: u64,
    /// Bytes that were written to it now.
    pub restored: u64,
}

/// Brings every output file to its committed end, from the spool, and makes it durable. Only for whoever holds the lease.
///
/// Fails when a file is longer than was committed, and when it is shorter than the spool can make good.
pub fn complete_files(volume: &dyn Volume, files: &dyn Files, recovered: &Recovered) -> Result<Vec<Completed>, Error> {
    let snapshot = recovered.snapshot.iter().flat_map(|snapshot| &snapshot.manifest.files);
    let starts: BTreeMap<&str, u64> = snapshot.map(|file| (file.path.as_str(), file.end)).collect();
    let mut spool = Lazy { volume, uid: &recovered.job.uid, index: None };
    let mut completed = Vec::new();
    for (path, (_, end)) in recovered.ends() {
        let start = starts.get(path.as_str()).copied().unwrap_or(0);
        let length = files.length(&path).map_err(|error| trouble("read", &path, &error))?;
        refuse_length(&path, length, start, end)?;
        let mut restored = 0;
        let commits = recovered.commits.iter().zip(&recovered.makers);
        let ticks = commits.flat_map(|(commit, maker)| commit.shown.iter().map(move |shown| (commit.tick, *maker, shown)));
        for (tick, maker, shown) in ticks.filter(|(_, _, shown)| shown.path == path && shown.bytes > 0) {
            if !is_shown(files, shown)? {
                let lines = spool.lines(maker, tick, shown)?;
                fault::point("file.complete.before");
                let written = files.write(&path, shown.end - shown.bytes, &lines);
                written.map_err(|error| trouble("write", &path, &error))?;
                fault::point("file.complete.after");
                restored += shown.bytes;
            }
        }
        if end > start {
            sync_all(files, [path.as_str()])?;
        }
        completed.push(Completed { path, end, restored });
    }
    Ok(completed)
}

fn refuse_length(path: &str, length: Option<u64>, start: u64, end: u64) -> Result<(), Error> {
    let found = length.unwrap_or(0);
    if found > end {
        let message = format!("has {found} bytes, but only {end} were committed: somebody else has written to it");
        let hint = format!(
            "move it away and put back its first {end} bytes (head -c {end}), or start over with another state folder"
        );
        return Err(Error::refused(path, message).with_hint(hint));
    }
    if found < start {
        let found = length.map_or("is gone".to_owned(), |found| format!("has only {found} bytes"));
        let message = format!("{found}, but {end} were committed, and the first {start} are not kept in the state folder");
        let hint = "put the file back, or start the job over with another state folder";
        return Err(Error::refused(path, message).with_hint(hint));
    }
    Ok(())
}

/// Whether a file already shows what a tick brings to it.
fn is_shown(files: &dyn Files, shown: &Shown) -> Result<bool, Error> {
    match files.read(&shown.path, shown.end - shown.bytes, shown.bytes) {
        Ok(bytes) => Ok(is_as_recorded(&bytes, shown)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(trouble("read", &shown.path, &error)),
    }
}

fn is_as_recorded(bytes: &[u8], shown: &Shown) -> bool {
    bytes.len() as u64 == shown.bytes && lines_hash(bytes) == (shown.rows, shown.hash)
}

/// The spools, read when the first lines are needed.
struct Lazy<'a> {
    volume: &'a dyn Volume,
    uid: &'a str,
    index: Option<SpoolIndex>,
}

impl Lazy<'_> {
    fn lines(&mut self, maker: u64, tick: u64, shown: &Shown) -> Result<Vec<u8>, Error> {
        let index = match self.index.take() {
            Some(index) => index,
            None => SpoolIndex::read(self.volume, self.uid)?,
        };
        let index = self.index.insert(index);
        let lines = index.lines(self.volume, maker, tick, &shown.path, shown.end - shown.bytes)?;
        if is_as_recorded(&lines, shown) {
            return Ok(lines);
        }
        let torn = match index.torn() {
            torn if torn.is_empty() => "the spool does not have them".to_owned(),
            torn => format!("the spool cannot be read: {torn}"),
        };
        let from = shown.end - shown.bytes;
        let message = format!("bytes {from} to {} are not those of tick {tick}, which was committed; {torn}", shown.end);
        let hint = "was the file or the state folder changed? put both back from copies of one time, or start the job over \
                    with another state folder and without the output files";
        Err(Error::refused(&shown.path, message).with_hint(hint))
    }
}
