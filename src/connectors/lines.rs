//! Where lines go: a file, or standard output. They are shown when their tick is committed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A place that lines are appended to.
pub trait LineSink {
    /// Appends whole lines.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Nothing more will come.
    fn finish(&mut self) -> io::Result<()>;

    /// What it is, for messages.
    fn describe(&self) -> String;
}

/// Where the lines of a worker go: a path that ends with `/` is a folder with one file a worker.
pub fn path_of(path: &str, worker: usize) -> PathBuf {
    match path.ends_with('/') {
        true => Path::new(path).join(format!("part-{worker:05}.jsonl")),
        false => PathBuf::from(path),
    }
}

/// A file, made anew.
pub struct FileLines {
    file: File,
    path: PathBuf,
}

impl FileLines {
    /// Creates the file and the folders that it stands in; what was there is gone.
    pub fn create(path: &Path) -> io::Result<FileLines> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(FileLines { file: File::create(path)?, path: path.to_path_buf() })
    }
}

impl FileLines {
    /// Goes on behind what is there.
    pub fn resume(path: &Path) -> io::Result<FileLines> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(FileLines { file, path: path.to_path_buf() })
    }
}

impl LineSink for FileLines {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// Standard output.
pub struct StdoutLines;

impl LineSink for StdoutLines {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(lines)
    }

    fn finish(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }

    fn describe(&self) -> String {
        "standard output".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_a_file_for_each_worker() {
        assert_eq!(path_of("out/x/", 3), Path::new("out/x/part-00003.jsonl"));
        assert_eq!(path_of("out/x.jsonl", 3), Path::new("out/x.jsonl"));
    }
}
