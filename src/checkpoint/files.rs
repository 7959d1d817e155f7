//! Output files: brings each to its committed length after a crash, byte for byte.

use crate::checkpoint::fault;
use crate::checkpoint::recover::Recovered;
use crate::checkpoint::spool::{self, Spooled};
use crate::checkpoint::unusable;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use std::collections::BTreeMap;
use std::io;

/// Files that lines are shown in; a simulated one takes the place of the file system in tests.
pub trait Files {
    /// Bytes of a file; 0 when it is not there.
    fn length(&self, path: &str) -> io::Result<u64>;

    /// Bytes of a file, fewer at its end.
    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Writes at an offset, at most the length of the file; makes the file if it is not there.
    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file durable.
    fn sync(&mut self, path: &str) -> io::Result<()>;
}

/// Completes every output file from the spool. Fails when a file is longer than what was committed or lacks what the spool no
/// longer has: somebody else has changed it.
pub fn complete(volume: &dyn Volume, files: &mut dyn Files, recovered: &Recovered) -> Result<(), Error> {
    fault::point("complete.before");
    let spooled = committed(spool::read(volume)?, recovered);
    for (path, end) in recovered.ends() {
        let failed =
            |error: io::Error| Error::output(path.clone(), error).with_hint("is there space, and permission to write?");
        let length = files.length(&path).map_err(failed)?;
        if length > end {
            return Err(changed(&path, format!("has {length} bytes, {end} were committed")));
        }
        let (mut reached, mut wrote) = (length, false);
        for lines in spooled.get(path.as_str()).into_iter().flatten() {
            if lines.offset > reached {
                break;
            }
            let bytes = spool::lines(volume, lines).map_err(|error| unusable(volume, &lines.name, &error))?;
            // What the file has may be there in name only when the machine has lost its power.
            if files.read(&path, lines.offset, lines.length).map_err(failed)? != bytes {
                fault::point("complete.write");
                files.write(&path, lines.offset, &bytes).map_err(failed)?;
                wrote = true;
            }
            reached = reached.max(lines.offset + lines.length);
        }
        if reached < end {
            return Err(changed(&path, format!("has {length} bytes of {end} that were committed and durable")));
        }
        if wrote || length > 0 {
            files.sync(&path).map_err(failed)?;
        }
    }
    fault::point("complete.after");
    Ok(())
}

fn changed(path: &str, message: String) -> Error {
    let hint = "it was changed since the last run: put it back, or start over with another state folder and other outputs";
    Error::refused(path, message).with_hint(hint)
}

/// Of what stands in the spools, what was committed, by file in the order of offsets.
fn committed(spooled: Vec<Spooled>, recovered: &Recovered) -> BTreeMap<String, Vec<Spooled>> {
    let mut shown = BTreeMap::new();
    for (commit, by) in recovered.commits.iter().zip(&recovered.committed_by) {
        for of in &commit.shown {
            shown.insert((commit.tick, of.path.as_str()), (*by, of.end - of.bytes, of.bytes));
        }
    }
    let mut files: BTreeMap<String, Vec<Spooled>> = BTreeMap::new();
    for lines in spooled {
        let wanted = shown.get(&(lines.tick, lines.path.as_str()));
        if wanted == Some(&(lines.incarnation, lines.offset, lines.length)) {
            files.entry(lines.path.clone()).or_default().push(lines);
        }
    }
    files.values_mut().for_each(|of| of.sort_by_key(|lines| lines.offset));
    files
}

/// The files of this machine.
pub struct LocalFiles;

impl Files for LocalFiles {
    fn length(&self, path: &str) -> io::Result<u64> {
        match std::fs::metadata(path) {
            Ok(data) => Ok(data.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let has = file.metadata()?.len();
        let mut bytes = vec![0; has.saturating_sub(from).min(length) as usize];
        file.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        if let Some(folder) = std::path::Path::new(path).parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = std::fs::File::options().create(true).write(true).truncate(false).open(path)?;
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }
}
