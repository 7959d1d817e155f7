//! The little that is asked of a folder, and a real one.

use crate::checkpoint::problem::trouble;
use crate::error::{Error, ErrorKind};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A folder without subfolders.
///
/// Any call may fail without an effect, or after it: whoever gets an error from a call that writes must end.
pub trait Volume: Send + Sync {
    /// Creates a file, which must not be there (`AlreadyExists`). Its name is durable on return.
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>>;

    /// Reads up to `length` bytes from `from` on; less at the end of the file.
    fn read(&self, name: &str, from: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Length of a file in bytes.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Puts a file in place of whatever had its name: a reader finds the whole of the one or of the other. Durable on
    /// return.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file durable as it is: a process that was killed may have left in it what a reader sees and a loss of power
    /// would take away.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Removes a file; one that is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// How messages name a file.
    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// A file that grows at its end.
pub trait Appender: Send {
    /// Appends bytes; they may be lost, wholly or in part, until [`Appender::sync`] has returned.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was appended durable. An error is final: what was appended may be lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// What names of files start with that [`Volume::replace`] has not moved into place.
pub const TEMPORARY: &str = ".tmp-";

/// A folder of this machine, or one that is mounted and has atomic moves.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens a folder for writing, which is made if it is not there. Fails when it cannot be written.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let shown = path.display().to_string();
        if let Ok(found) = fs::metadata(path)
            && !found.is_dir()
        {
            let error = Error::new(ErrorKind::Output, shown, "is not a folder");
            return Err(error.with_hint("name another state folder, or move the file away"));
        }
        let folder = Folder(path.to_path_buf());
        let probe = || {
            DirBuilder::new().recursive(true).create(path)?;
            let name = format!("{TEMPORARY}probe-{}", std::process::id());
            folder.replace(&name, b"written to see whether this folder can be written\n")?;
            folder.remove(&name)
        };
        probe().map_err(|error| trouble("write the state folder", shown, &error))?;
        Ok(folder)
    }

    /// Opens a folder to look at it: it must be there, and nothing is written.
    pub fn look(path: &Path) -> Result<Folder, Error> {
        let shown = path.display().to_string();
        match fs::read_dir(path) {
            Ok(_) => Ok(Folder(path.to_path_buf())),
            Err(error) => Err(trouble("read the state folder", shown, &error)),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Volume for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.0.join(name))?;
        self.sync_names()?;
        Ok(Box::new(file))
    }

    fn read(&self, name: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.0.join(name))?;
        let there = file.metadata()?.len().saturating_sub(from).min(length);
        let mut bytes = Vec::with_capacity(there as usize);
        file.seek(SeekFrom::Start(from))?;
        file.take(there).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.0.join(name))?.len())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.0.join(format!("{TEMPORARY}{name}"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.0.join(name))?;
        self.sync_names()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.0.join(name))?.sync_data()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    }

    fn place(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Appender for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
