//! The little that the state folder asks of a file system, so that a simulated one can take its place in tests.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A flat folder of files. Errors are those of the operating system: when writing fails, it may have happened in part.
pub trait Volume: Send + Sync {
    /// Makes a file that is not there yet (`AlreadyExists` otherwise) and whose name is durable when this returns.
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>>;

    /// Bytes of a file, fewer at its end.
    fn read(&self, name: &str, from: u64, length: u64) -> io::Result<Vec<u8>>;

    /// Bytes that a file has.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Gives a file this content, durably; after a crash it has its content of before or of after, never a mixture.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Where it is, for messages.
    fn describe(&self) -> String;
}

/// A file that is appended to.
pub trait Appender: Send {
    /// Appends.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what has been appended. After an error nobody knows what is: the file must not be used any more.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder(PathBuf);

/// Ends the name of a file that is being made.
const UNFINISHED: &str = ".tmp";

impl Folder {
    /// The folder at `path`, which is made if it is not there. Fails when nothing can be written in it.
    pub fn open(path: &Path) -> io::Result<Folder> {
        fs::create_dir_all(path)?;
        let folder = Folder(path.to_path_buf());
        let probe = format!("probe{UNFINISHED}");
        fs::write(folder.0.join(&probe), [])?;
        folder.remove(&probe)?;
        Ok(folder)
    }

    /// The folder at `path`, to read only. Fails when it is not there.
    pub fn existing(path: &Path) -> io::Result<Folder> {
        fs::read_dir(path)?;
        Ok(Folder(path.to_path_buf()))
    }

    /// Names are durable when the folder is.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Volume for Folder {
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>> {
        let file = File::options().append(true).create_new(true).open(self.0.join(name))?;
        self.sync()?;
        Ok(Box::new(file))
    }

    fn read(&self, name: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.0.join(name))?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.0.join(name))?.len())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.0.join(format!("{name}{UNFINISHED}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.0.join(name))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn describe(&self) -> String {
        self.0.display().to_string()
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
