//! The lease of a state folder: one run at a time, on one host or on several.
//!
//! Its holder keeps a lock on the file `lease`, and every second writes a higher counter into it: locks do not reach over
//! hosts everywhere. Whoever finds the counter moving is refused; a holder that finds another content than its own, or has
//! not come to renew it in time, has lost it and ends.

use crate::drivers::health::Alive;
use crate::error::Error;
use crate::runtime::link::slept;
use crate::runtime::random::random;
use crate::time::{now_ms, uptime_ms};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// For how long a lease that was not renewed is still held, ms. Shorter than others wait.
const HELD: u64 = 3_000;
/// How long the counter of a holder on another host must stand still before it is taken for dead, ms.
const DEAD: u64 = 5_000;
/// How long after a lease was taken from another host it is looked whether somebody else did so too, ms.
const SURE: u64 = 1_500;
/// How long a lock on this host is waited for: its holder may be just ending, ms.
const ENDING: u64 = 500;
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of the file: always the same, so that a content is replaced as a whole.
const SIZE: usize = 512;

/// What stands in the file, as JSON, filled up with blanks.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Content {
    host: String,
    /// The kernel's id of this start of the host: the same only where process ids mean the same.
    boot: String,
    pid: u32,
    /// Number of the incarnation; 0 before it is known.
    incarnation: u64,
    /// When it was taken, ms since the epoch.
    since: i64,
    /// Tells holders apart.
    nonce: String,
    counter: u64,
    /// It was given back at a good end.
    released: bool,
}

/// A lease that is held.
pub struct Lease {
    shared: Arc<Shared>,
    /// Whether the last holder has given it back. If not, processes of its run may be left for a while.
    pub was_released: bool,
    stop: Option<Sender<()>>,
    renewing: Option<thread::JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    /// The lock lives as long as this.
    file: File,
    content: Mutex<Content>,
    renewed: AtomicU64,
    is_lost: AtomicBool,
}

impl Lease {
    /// Takes the lease of `folder`, which is made if it is not there. `on_lost` is called, on a thread of the lease, when it
    /// was lost; it ends the process.
    ///
    /// A folder that another run holds is refused: at once on this host; within 3 s, when its counter has moved, on another
    /// one. That of a dead holder is taken at once on this host, and after 5 s from another one.
    pub fn take(folder: &Path, on_lost: impl Fn(Error) + Send + 'static) -> Result<Lease, Error> {
        let path = folder.join("lease");
        let hint = "can the folder of --state be made and written?";
        let failed = |error: io::Error| Error::output(path.display().to_string(), error).with_hint(hint);
        fs::create_dir_all(folder).map_err(failed)?;
        let file = lock(&path).map_err(failed)?;
        let Some(file) = file else { return Err(held(&path, &read(&path).map_err(failed)?.unwrap_or_default())) };
        let boot = boot().map_err(failed)?;
        let before = read(&path).map_err(failed)?;
        let is_foreign = before.as_ref().is_some_and(|before| !before.released && before.boot != boot);
        if let Some(before) = before.as_ref().filter(|_| is_foreign) {
            let now = standing_still(&path, before).map_err(failed)?;
            if let Some(holder) = now {
                return Err(held(&path, &holder));
            }
        }
        let [high, low] = random()?;
        let nonce = format!("{high:016x}{low:016x}");
        let (host, pid) = (host_name().map_err(failed)?, std::process::id());
        let content = Content { host, boot, pid, since: now_ms(), nonce, ..Content::default() };
        let content = Mutex::new(content);
        let shared =
            Shared { path: path.clone(), file, content, renewed: AtomicU64::new(0), is_lost: AtomicBool::new(false) };
        shared.write(|_| {}).map_err(failed)?;
        if is_foreign {
            thread::sleep(Duration::from_millis(SURE));
            if let Some(other) = shared.other().map_err(failed)? {
                return Err(held(&path, &other));
            }
        }
        let (shared, (stop, stopped)) = (Arc::new(shared), channel());
        shared.renewed.store(uptime_ms(), SeqCst);
        let renewing = shared.clone();
        let renew = move || {
            while stopped.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = renewing.renew() {
                    renewing.is_lost.store(true, SeqCst);
                    return on_lost(error);
                }
            }
        };
        let renewing = thread::Builder::new().name("lease".to_owned()).spawn(renew).map_err(failed)?;
        let was_released = before.is_none_or(|before| before.released);
        Ok(Lease { shared, was_released, stop: Some(stop), renewing: Some(renewing) })
    }

    /// Writes the number of the incarnation into it.
    pub fn set_incarnation(&self, incarnation: u64) -> Result<(), Error> {
        let written = self.shared.write(|content| content.incarnation = incarnation);
        written.map_err(|error| Error::output(self.shared.path.display().to_string(), error))
    }

    /// Whether it is still held, for those who act. Cheap.
    pub fn alive(&self) -> Alive {
        let shared = self.shared.clone();
        Alive::new(move || !shared.is_lost.load(SeqCst) && uptime_ms() - shared.renewed.load(SeqCst) <= HELD)
    }

    /// Gives it back, at a good end.
    pub fn release(mut self) -> Result<(), Error> {
        self.end();
        let released = match self.shared.is_lost.load(SeqCst) {
            true => Ok(()),
            false => self.shared.write(|content| content.released = true),
        };
        released.map_err(|error| Error::output(self.shared.path.display().to_string(), error))
    }

    fn end(&mut self) {
        self.stop = None;
        // A panic of the thread would have ended the process.
        drop(self.renewing.take().map(thread::JoinHandle::join));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Writes the content with a change.
    fn write(&self, change: impl FnOnce(&mut Content)) -> io::Result<()> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut content);
        let mut bytes = serde_json::to_vec(&*content)?;
        bytes.resize(bytes.len().max(SIZE), b' ');
        // Opened and closed each time, so that a network file system shows it to other hosts.
        OpenOptions::new().write(true).open(&self.path)?.write_all_at(&bytes, 0)
    }

    /// Who holds it, if it is not this process.
    fn other(&self) -> io::Result<Option<Content>> {
        let there = read(&self.path)?.unwrap_or_default();
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same_file = fs::metadata(&self.path)?.ino() == self.file.metadata()?.ino();
        Ok((!is_same_file || (&there.nonce, there.counter) != (&content.nonce, content.counter)).then_some(there))
    }

    fn renew(&self) -> Result<(), Error> {
        let place = || self.path.display().to_string();
        let failed = |error: io::Error| Error::output(place(), format!("the lease cannot be renewed: {error}"));
        let age = uptime_ms() - self.renewed.load(SeqCst);
        if age > HELD {
            return Err(slept(age));
        }
        if let Some(other) = self.other().map_err(failed)? {
            return Err(Error::cluster(place(), format!("the lease was taken by {}", other.holder())));
        }
        let begun = uptime_ms();
        self.write(|content| content.counter += 1).map_err(failed)?;
        self.renewed.store(begun, SeqCst);
        Ok(())
    }
}

impl Content {
    fn holder(&self) -> String {
        if self.host.is_empty() {
            return "another run".to_owned();
        }
        let since = jiff::Timestamp::from_millisecond(self.since).map_or("?".to_owned(), |time| format!("{time:.0}"));
        format!("process id {} on {}, since {since}", self.pid, self.host)
    }
}

fn held(path: &Path, holder: &Content) -> Error {
    let message = format!("another run uses this state folder: {}", holder.holder());
    Error::refused(path.display().to_string(), message).with_hint("stop it, or give this run a folder of its own")
}

/// Opens and locks the file; none: somebody else has the lock.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let begin = uptime_ms();
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if uptime_ms() - begin > ENDING {
                    return Ok(None);
                }
            }
            // Where there are no locks, the counter must do.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS)) => {
                return Err(error);
            }
            // The file may have been replaced between the two calls.
            _ => {
                if fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino())) {
                    return Ok(Some(file));
                }
            }
        }
        thread::sleep(LOOK);
    }
}

/// Locks a file, if nobody else has.
fn flock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits until the content has stood still for long enough; the new content, when it has moved.
fn standing_still(path: &Path, before: &Content) -> io::Result<Option<Content>> {
    let begin = uptime_ms();
    while uptime_ms() - begin < DEAD {
        let now = read(path)?.unwrap_or_default();
        if now != *before {
            // Given back just now, it is free.
            return Ok((!now.released).then_some(now));
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}

/// The content; none: nobody has held it.
fn read(path: &Path) -> io::Result<Option<Content>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE as u64 * 2).read_to_end(&mut bytes)?;
    match bytes.trim_ascii().is_empty() {
        true => Ok(None),
        // What cannot be read has a holder that is not known.
        false => Ok(Some(serde_json::from_slice(bytes.trim_ascii()).unwrap_or_default())),
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn host_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Stopwatch;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("meterflow-lease-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn write(&self, content: &Content) {
            fs::write(self.0.join("lease"), serde_json::to_vec(content).unwrap()).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn take(folder: &Folder) -> Result<Lease, Error> {
        Lease::take(&folder.0, |error| panic!("{error}"))
    }

    fn foreign(counter: u64) -> Content {
        let (host, boot, nonce) = ("far".to_owned(), "another".to_owned(), "n".to_owned());
        Content { host, boot, pid: 77, since: 1_704_067_200_000, nonce, counter, ..Content::default() }
    }

    #[test]
    fn one_at_a_time_on_a_host() {
        let folder = Folder::new("two");
        let first = take(&folder).unwrap();
        first.set_incarnation(7).unwrap();
        assert!(first.was_released && first.alive().is_alive());
        let watch = Stopwatch::start();
        let refused = take(&folder).map(drop).unwrap_err();
        assert!(watch.seconds() < 3.0, "it is refused at once");
        let own = format!("another run uses this state folder: process id {} on ", std::process::id());
        assert!(refused.to_string().contains(&own) && refused.kind == crate::error::ErrorKind::Refused, "{refused}");
        assert_eq!(read(&folder.0.join("lease")).unwrap().unwrap().incarnation, 7);
        first.release().unwrap();
        let second = take(&folder).unwrap();
        assert!(second.was_released);
        // This one dies.
        drop(second);
        let watch = Stopwatch::start();
        assert!(!take(&folder).unwrap().was_released);
        assert!(watch.seconds() < 3.0, "a dead holder on this host is known to be dead");
    }

    #[test]
    fn a_holder_on_another_host_is_dead_when_its_counter_stands_still() {
        let folder = Folder::new("far");
        folder.write(&foreign(5));
        let watch = Stopwatch::start();
        let lease = take(&folder).unwrap();
        assert!(watch.seconds() >= 5.0 && !lease.was_released);
        lease.release().unwrap();
        // One that has given it back is not waited for.
        folder.write(&Content { released: true, ..foreign(9) });
        let watch = Stopwatch::start();
        assert!(take(&folder).unwrap().was_released && watch.seconds() < 3.0);
    }

    #[test]
    fn a_holder_on_another_host_whose_counter_moves_is_alive() {
        let folder = Folder::new("moves");
        folder.write(&foreign(5));
        let refused = thread::scope(|scope| {
            let second = thread::Builder::new().spawn_scoped(scope, || take(&folder).map(drop)).unwrap();
            thread::sleep(Duration::from_millis(300));
            folder.write(&foreign(6));
            second.join().unwrap().unwrap_err()
        });
        let wanted = "another run uses this state folder: process id 77 on far, since 2024-01-01T00:00:00Z";
        assert!(refused.to_string().contains(wanted), "{refused}");
    }

    #[test]
    fn who_loses_it_ends() {
        let folder = Folder::new("lost");
        let (lost, errors) = channel();
        let lease = Lease::take(&folder.0, move |error| lost.send(error).unwrap()).unwrap();
        let alive = lease.alive();
        assert!(alive.is_alive());
        // As a run on a host does that has waited for too long.
        folder.write(&foreign(1));
        let error = errors.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(error.to_string().contains("the lease was taken by process id 77 on far"), "{error}");
        assert!(!alive.is_alive() && error.exit_code() == 1);
        lease.release().unwrap();
        assert_eq!(read(&folder.0.join("lease")).unwrap(), Some(foreign(1)), "it is not ours to give back");
    }

    #[test]
    fn a_replaced_file_is_a_lost_lease() {
        let folder = Folder::new("replaced");
        let (lost, errors) = channel();
        let _lease = Lease::take(&folder.0, move |error| lost.send(error).unwrap()).unwrap();
        fs::remove_file(folder.0.join("lease")).unwrap();
        let error = errors.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(error.to_string().contains("the lease cannot be renewed"), "{error}");
    }
}
