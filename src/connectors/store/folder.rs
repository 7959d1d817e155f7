//! Objects as files below a folder: the name is the path.
//!
//! A file is written under a temporary name in the folder it belongs to, flushed to the disk, and moved to its name; then
//! the folder is flushed. A crash at any point leaves the object as it was before or as it is after, and perhaps a
//! temporary file, which no reader is shown ([`ObjectStore::sweep`] removes them).

use crate::connectors::store::{Author, Entry, ObjectStore, Outcome, StoreError, check_name, clip};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What temporary names start with; [`check_name`] refuses it in names of objects.
const TEMPORARY: &str = ".tmp-";

/// A folder of this machine (or one that is mounted and has atomic moves and hard links).
pub struct Folder {
    root: PathBuf,
    author: Author,
}

/// A file that is written but not yet visible.
struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Folder {
    /// Opens a folder, which is made if it is not there.
    pub fn open(path: impl AsRef<Path>) -> Result<Folder, StoreError> {
        Folder::open_as(path, Author::default())
    }

    /// The same for a writer that can be replaced by another one.
    pub fn open_as(path: impl AsRef<Path>, author: Author) -> Result<Folder, StoreError> {
        let root = path.as_ref().to_path_buf();
        if root.as_os_str().is_empty() {
            return Err(StoreError::NeedsPerson {
                problem: "the path of the folder is empty".to_string(),
                remedy: "name a folder, as in file:///var/lib/meterflow/archive".to_string(),
            });
        }
        make_folders(&root).map_err(|error| refused("make", &root, &error))?;
        Ok(Folder { root, author })
    }

    fn path_of(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Everything up to the moment when the object becomes visible.
    fn stage(&self, name: &str, bytes: &[u8]) -> Result<Staged, StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let target = self.path_of(name)?;
        let folder = target.parent().unwrap_or(&self.root);
        // Unique among the processes of this machine and the calls of this one; `create_new` refuses the rest.
        let (process, number) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let unique = format!("{TEMPORARY}{}-{process}-{number}", self.author.tag);
        let temporary = folder.join(unique);
        let write = || {
            make_folders(folder)?;
            let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        if let Err(error) = write() {
            // Best effort: what stays behind is invisible.
            let _ = fs::remove_file(&temporary);
            return Err(refused("write", &target, &error));
        }
        Ok(Staged { temporary, target, may_write: self.author.may_write.clone() })
    }
}

impl Staged {
    /// Makes the object visible in place of any other.
    fn publish(self) -> Result<(), StoreError> {
        self.check_author()?;
        if let Err(error) = fs::rename(&self.temporary, &self.target) {
            let _ = fs::remove_file(&self.temporary);
            return Err(refused("write", &self.target, &error));
        }
        self.sync_folder()
    }

    /// Makes the object visible unless there is one.
    fn publish_if_absent(self) -> Result<Outcome, StoreError> {
        self.check_author()?;
        let linked = fs::hard_link(&self.temporary, &self.target);
        let _ = fs::remove_file(&self.temporary);
        match linked {
            Ok(()) => self.sync_folder().map(|()| Outcome::Written),
            // The other writer may not have flushed the folder yet; what is reported here must be durable.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.sync_folder().map(|()| Outcome::Exists),
            Err(error) => Err(refused("write", &self.target, &error)),
        }
    }

    /// Fails when the writer has been replaced; its file is removed.
    fn check_author(&self) -> Result<(), StoreError> {
        if (self.may_write)() {
            return Ok(());
        }
        let _ = fs::remove_file(&self.temporary);
        Err(StoreError::NeedsPerson {
            problem: format!("{} is not written: another process has taken the place of this one", self.target.display()),
            remedy: "end this process; the other one goes on".to_string(),
        })
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        sync_parent(&self.target)
    }
}

fn sync_parent(target: &Path) -> Result<(), StoreError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| StoreError::MayHaveHappened(format!("cannot flush {}: {error}", folder.display())))
}

impl ObjectStore for Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.stage(name, bytes)?.publish()
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError> {
        self.stage(name, bytes)?.publish_if_absent()
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path_of(name)?;
        let read = || {
            let mut file = File::open(&path)?;
            let about = file.metadata()?;
            if !about.is_file() {
                return Ok(None);
            }
            let part = clip(range, about.len());
            file.seek(SeekFrom::Start(part.start))?;
            let mut bytes = Vec::with_capacity((part.end - part.start) as usize);
            file.take(part.end - part.start).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        match read() {
            Err(error) if is_missing(&error) => Ok(None),
            other => other.map_err(|error| refused("read", &path, &error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        // Only the folder that the prefix lies in needs a look.
        let start = match prefix.rsplit_once('/') {
            None => self.root.clone(),
            Some((folder, _)) if check_name(folder).is_ok() => self.root.join(folder),
            Some(_) => return Ok(Vec::new()),
        };
        let mut entries = Vec::new();
        walk(&start, &mut |path, _| {
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            let Some(name) = name.filter(|name| name.starts_with(prefix) && check_name(name).is_ok()) else {
                return Ok(());
            };
            match fs::metadata(path) {
                Ok(about) => entries.push(Entry { name: name.to_string(), bytes: about.len() }),
                Err(error) => ignore_missing(Err(error))?,
            }
            Ok(())
        })
        .map_err(|error| refused("list", &start, &error))?;
        entries.sort();
        Ok(entries)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path_of(name)?;
        match fs::remove_file(&path) {
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(refused("delete", &path, &error)),
            Ok(()) => sync_parent(&path),
        }
    }

    fn sweep(&self, job: &str) -> Result<usize, StoreError> {
        let (mut removed, of_job, own) = (0, format!("{TEMPORARY}{job}"), format!("{TEMPORARY}{}-", self.author.tag));
        walk(&self.root, &mut |path, name| {
            if name.starts_with(&of_job) && !name.starts_with(&own) {
                removed += 1;
                return ignore_missing(fs::remove_file(path));
            }
            Ok(())
        })
        .map_err(|error| refused("clean", &self.root, &error))?;
        Ok(removed)
    }
}

/// Calls `visit` with each file below `folder` and its last name; files that vanish meanwhile are passed over.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &str) -> io::Result<()>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_missing(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, visit)?,
            Ok(kind) if kind.is_file() => visit(&path, &entry.file_name().to_string_lossy())?,
            Ok(_) => {}
            Err(error) => ignore_missing(Err(error))?,
        }
    }
    Ok(())
}

/// Makes a folder and those above it, so that they survive a crash too: each is flushed in the one that holds it.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        other => other?,
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
}

/// What an error of the file system means: some pass by themselves, others wait for somebody.
fn refused(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let problem = format!("cannot {what} {}: {error}", path.display());
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => "give the user that runs this program write access to the folder",
        ErrorKind::ReadOnlyFilesystem => "mount the file system for writing, or name another folder",
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            "a file stands where a folder is needed, or the other way round: move it away, or name another folder"
        }
        ErrorKind::Unsupported => "the file system lacks hard links: name a folder on one that has them",
        _ => return StoreError::DidNotHappen(problem),
    };
    StoreError::NeedsPerson { problem, remedy: remedy.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::store::contract;
    use crate::connectors::store::faulty::{Fault, Faulty};

    /// A new folder that is removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("meterflow-folder-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Temporary files.
    fn left(folder: &Path) -> usize {
        let mut left = 0;
        walk(folder, &mut |_, name| {
            left += usize::from(name.starts_with(TEMPORARY));
            Ok(())
        })
        .unwrap();
        left
    }

    #[test]
    fn a_writer_that_was_replaced_changes_nothing() {
        let scratch = Scratch::new("replaced");
        let may = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let asked = may.clone();
        let may_write = Arc::new(move || asked.load(Ordering::SeqCst));
        let folder = Folder::open_as(&scratch.0, Author { tag: "job-1".to_string(), may_write }).unwrap();
        folder.put("a", b"1").unwrap();
        may.store(false, Ordering::SeqCst);
        let refused = [folder.put("a", b"2"), folder.put_if_absent("b", b"2").map(drop)];
        assert!(refused.iter().all(|result| matches!(result, Err(StoreError::NeedsPerson { .. }))), "{refused:?}");
        assert_eq!(folder.get_range("a", 0..9).unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!((folder.exists("a"), folder.exists("b"), left(&scratch.0)), (Ok(true), Ok(false), 0));
    }

    #[test]
    fn keeps_the_contract() {
        let scratch = Scratch::new("contract");
        contract::check(&Folder::open(&scratch.0).unwrap());
    }

    #[test]
    fn keeps_the_contract_when_answers_are_lost() {
        let scratch = Scratch::new("faulty");
        let folder = Folder::open(scratch.0.join("made/on/the/way")).unwrap();
        let faulty = Faulty::new(folder, |call| [Fault::TimeOutBefore, Fault::TimeOutAfter, Fault::None][call as usize % 3]);
        contract::check(&contract::Stubborn(&faulty));
        assert_eq!(faulty.inner().sweep("").map(|swept| (swept, left(&scratch.0))), Ok((0, 0)), "temporary files are left");
    }

    #[test]
    fn a_writer_that_dies_before_the_move_leaves_nothing_to_see() {
        let scratch = Scratch::new("torn");
        let folder = Folder::open(&scratch.0).unwrap();
        folder.put("a/old", b"before").unwrap();
        for name in ["a/old", "a/new"] {
            // Dropped without being published, as by a process that is killed here.
            drop(folder.stage(name, b"after").unwrap());
        }
        let again = Folder::open(&scratch.0).unwrap();
        assert_eq!(again.list("").unwrap(), [Entry { name: "a/old".to_string(), bytes: 6 }]);
        assert_eq!(again.get_range("a/old", 0..9).unwrap().as_deref(), Some(&b"before"[..]));
        assert_eq!(again.get_range("a/new", 0..9).unwrap(), None);
        assert_eq!((again.sweep("m"), left(&scratch.0)), (Ok(0), 2), "they may be this process's own");
        let next = Folder::open_as(&scratch.0, Author { tag: "job-2".to_string(), ..Author::default() }).unwrap();
        drop(next.stage("a/new", b"after").unwrap());
        assert_eq!((next.sweep("job-"), left(&scratch.0)), (Ok(0), 3), "others are another job's");
        assert_eq!((next.sweep("m"), left(&scratch.0)), (Ok(2), 1));
        again.put("a/new", b"after").unwrap();
        assert_eq!(again.list("a/n").unwrap().len(), 1);
    }

    #[test]
    fn what_a_person_must_do_is_said() {
        let scratch = Scratch::new("person");
        let folder = Folder::open(&scratch.0).unwrap();
        folder.put("x", b"").unwrap();
        let text = folder.put("x/y", b"").unwrap_err().to_string();
        assert!(text.contains("move it away") && text.contains("/x"), "{text}");
        folder.put("d/y", b"").unwrap();
        assert!(matches!(folder.put("d", b""), Err(StoreError::NeedsPerson { .. })));
        assert!(matches!(folder.put_if_absent("d", b""), Ok(Outcome::Exists) | Err(StoreError::NeedsPerson { .. })));
        assert!(matches!(Folder::open(""), Err(StoreError::NeedsPerson { .. })));
        assert!(matches!(Folder::open(scratch.0.join("x")), Err(StoreError::NeedsPerson { .. })));
    }
}
