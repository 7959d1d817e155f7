//! Where lines go: a file, or standard output. They are shown when their tick is committed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
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
    /// Goes on behind all whole lines that are there; a last one that lacks its end goes.
    pub fn resume(path: &Path) -> io::Result<FileLines> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options().read(true).append(true).create(true).open(path)?;
        file.set_len(whole_lines(&file)?)?;
        Ok(FileLines { file, path: path.to_path_buf() })
    }
}

/// Length of a file without a last line that lacks its end.
fn whole_lines(file: &File) -> io::Result<u64> {
    const BLOCK: u64 = 1 << 16;
    let (mut end, mut bytes) = (file.metadata()?.len(), Vec::new());
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        bytes.resize((end - start) as usize, 0);
        file.read_exact_at(&mut bytes, start)?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
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
    fn it_goes_on_behind_whole_lines() {
        let path = std::env::temp_dir().join(format!("meterflow-lines-{}", std::process::id()));
        let long = format!("a\n{}", "b".repeat(200_000));
        for (before, after) in [("a\nb\nc", "a\nb\nx\n"), ("abc", "x\n"), ("", "x\n"), (&long, "a\nx\n"), ("a\n", "a\nx\n")]
        {
            std::fs::write(&path, before).unwrap();
            FileLines::resume(&path).unwrap().append(b"x\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:.20}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_folder_has_a_file_for_each_worker() {
        assert_eq!(path_of("out/x/", 3), Path::new("out/x/part-00003.jsonl"));
        assert_eq!(path_of("out/x.jsonl", 3), Path::new("out/x.jsonl"));
    }
}
