//! A disk that forgets what was not made durable, and processes whose calls fail, die halfway, or take so long that another
//! process has taken over before they are done.

use crate::checkpoint::simulation::Draws;
use crate::checkpoint::{Appender, Files, Volume};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A file: what is durable, and what a reader sees.
#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    seen: Vec<u8>,
    /// Whether its name survives a loss of power.
    named: bool,
}

/// Everything that outlives processes.
#[derive(Default)]
pub struct Disk {
    state: BTreeMap<String, File>,
    outputs: BTreeMap<String, File>,
    /// Files whose removal may not be durable.
    removed: BTreeMap<String, File>,
    /// How often power was lost.
    losses: u64,
}

impl Disk {
    /// The content of an output file.
    pub fn output(&self, path: &str) -> Vec<u8> {
        self.outputs.get(path).map(|file| file.seen.clone()).unwrap_or_default()
    }

    /// The output files.
    pub fn outputs(&self) -> Vec<String> {
        self.outputs.keys().cloned().collect()
    }

    /// All power is lost: of what was not durable, any part may have reached the disk.
    pub fn lose_power(&mut self, draws: &mut Draws) {
        self.losses += 1;
        if TRACE.with(|trace| *trace) {
            eprintln!("power lost; removed {:?}", self.removed.keys());
        }
        for (name, file) in std::mem::take(&mut self.removed) {
            if draws.chance(2) {
                self.state.entry(name).or_insert(file);
            }
        }
        self.outputs.retain(|_, file| file.named || draws.chance(2));
        for file in self.state.values_mut().chain(self.outputs.values_mut()) {
            if file.durable != file.seen {
                file.seen = torn(file, draws);
                file.durable = file.seen.clone();
            }
            file.named = true;
        }
    }
}

/// Small pages, each of them there or not; behind a length that is anything between the old and the new one.
fn torn(file: &File, draws: &mut Draws) -> Vec<u8> {
    const PAGE: usize = 24;
    let (old, new) = (&file.durable, &file.seen);
    let length = match draws.below(3) {
        0 => old.len(),
        1 => new.len(),
        _ => old.len() + draws.below((new.len() - old.len()) as u64 + 1) as usize,
    };
    let mut bytes = Vec::new();
    for start in (0..length).step_by(PAGE) {
        let is_there = draws.chance(2);
        let end = (start + PAGE).min(length);
        let before = (start..end).map(|at| old.get(at).copied().unwrap_or(0));
        match is_there {
            true => bytes.extend_from_slice(&new[start..end]),
            false => bytes.extend(before),
        }
    }
    bytes
}

/// What becomes of one call of a process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fate {
    /// It fails; `effect` says how much of it happened all the same. The process may make more calls.
    Fails {
        /// None of it, a part, or all.
        effect: Effect,
    },
    /// The process dies in it.
    Dies {
        /// None of it, a part, or all.
        effect: Effect,
    },
    /// It takes long, before or after its effect, and another process runs meanwhile.
    Sleeps {
        /// Whether the effect comes first.
        after: bool,
    },
}

/// How much of a call happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Some: of bytes, the first; of anything else, nothing or all.
    Part(u64),
    /// All.
    All,
}

thread_local! {
    /// Whether every call is told: of a single history.
    static TRACE: bool = std::env::var_os("METERFLOW_HISTORY").is_some();

    /// What runs while a process sleeps in a call.
    pub static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// The disk as one process sees it.
pub struct Host {
    disk: Arc<Mutex<Disk>>,
    fate: Option<(u64, Fate)>,
    life: Mutex<Life>,
}

struct Life {
    calls: u64,
    /// Power losses at its start: it does not survive another.
    losses: u64,
    dead: bool,
    struck: bool,
    slept: bool,
}

impl Host {
    /// A process whose call number `fate.0` meets `fate.1`.
    pub fn new(disk: &Arc<Mutex<Disk>>, fate: Option<(u64, Fate)>) -> Host {
        let losses = lock(disk).losses;
        Host {
            disk: disk.clone(),
            fate,
            life: Mutex::new(Life { calls: 0, losses, dead: false, struck: false, slept: false }),
        }
    }

    /// Whether a call has failed, or the process is dead.
    pub fn is_struck(&self) -> bool {
        let life = lock(&self.life);
        life.struck || life.dead || life.losses != lock(&self.disk).losses
    }

    /// Whether it has slept, so that others may have gone on without it.
    pub fn has_slept(&self) -> bool {
        lock(&self.life).slept
    }

    /// Makes the call `what`: `act` has the effect, all of it or the first so many bytes.
    fn call<R: Default>(
        &self,
        what: std::fmt::Arguments<'_>,
        act: impl FnOnce(&mut Disk, Option<u64>) -> io::Result<R>,
    ) -> io::Result<R> {
        let gone = || Err(io::Error::other("the process is dead"));
        let fate = {
            let mut life = lock(&self.life);
            life.calls += 1;
            if TRACE.with(|trace| *trace) {
                eprintln!("{:p} {}: {what} {:?}", self, life.calls, self.fate);
            }
            life.dead |= life.losses != lock(&self.disk).losses;
            if life.dead {
                return gone();
            }
            let fate = self.fate.filter(|(at, _)| *at == life.calls).map(|(_, fate)| fate);
            life.struck |= matches!(fate, Some(Fate::Fails { .. } | Fate::Dies { .. }));
            life.slept |= matches!(fate, Some(Fate::Sleeps { .. }));
            life.dead |= matches!(fate, Some(Fate::Dies { .. }));
            fate
        };
        match fate {
            None => act(&mut lock(&self.disk), None),
            Some(Fate::Sleeps { after: true }) => {
                let done = act(&mut lock(&self.disk), None);
                meanwhile();
                done
            }
            Some(Fate::Sleeps { after: false }) => {
                meanwhile();
                if self.is_struck() {
                    return gone();
                }
                act(&mut lock(&self.disk), None)
            }
            Some(Fate::Fails { effect } | Fate::Dies { effect }) => {
                match effect {
                    Effect::None => {}
                    Effect::Part(bytes) => drop(act(&mut lock(&self.disk), Some(bytes))),
                    Effect::All => drop(act(&mut lock(&self.disk), None)),
                }
                Err(io::Error::other("it may have happened"))
            }
        }
    }
}

fn meanwhile() {
    let act = MEANWHILE.with(|act| act.borrow_mut().take());
    if let Some(act) = act {
        act();
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with the lock held")
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

/// The first bytes, if only a part of a write happens.
fn part(bytes: &[u8], limit: Option<u64>) -> &[u8] {
    &bytes[..limit.map_or(bytes.len(), |limit| (limit as usize).min(bytes.len()))]
}

fn slice(bytes: &[u8], from: u64, length: u64) -> Vec<u8> {
    let from = (from as usize).min(bytes.len());
    bytes[from..from.saturating_add(length as usize).min(bytes.len())].to_vec()
}

/// The volume of a process, which its files refer to.
#[derive(Clone)]
pub struct Seen(pub Arc<Host>);

impl Volume for Seen {
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>> {
        self.0.call(format_args!("create {}", name), |disk, _| {
            if disk.state.contains_key(name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            disk.state.insert(name.to_owned(), File { named: true, ..File::default() });
            Ok(())
        })?;
        Ok(Box::new(Open { host: self.0.clone(), name: name.to_owned() }))
    }

    fn read(&self, name: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        self.0.call(format_args!("read {}", name), |disk, _| {
            Ok(slice(&disk.state.get(name).ok_or_else(missing)?.seen, from, length))
        })
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.0
            .call(format_args!("length {}", name), |disk, _| Ok(disk.state.get(name).ok_or_else(missing)?.seen.len() as u64))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.call(format_args!("replace {}", name), |disk, limit| {
            let file = File { durable: bytes.to_vec(), seen: bytes.to_vec(), named: true };
            match limit {
                // Half of the temporary file.
                Some(_) => {
                    let seen = part(bytes, limit).to_vec();
                    disk.state.insert(format!(".tmp-{name}"), File { durable: Vec::new(), seen, named: true })
                }
                None => disk.state.insert(name.to_owned(), file),
            };
            Ok(())
        })
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.0.call(format_args!("sync {}", name), |disk, limit| {
            let file = disk.state.get_mut(name).ok_or_else(missing)?;
            if limit.is_none() {
                file.durable = file.seen.clone();
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.call(format_args!("remove {}", name), |disk, _| {
            if let Some(file) = disk.state.remove(name) {
                disk.removed.insert(name.to_owned(), file);
            }
            Ok(())
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.call(format_args!("list"), |disk, _| Ok(disk.state.keys().cloned().collect()))
    }
}

/// A file of the state folder that a process appends to. It may have been removed by another.
struct Open {
    host: Arc<Host>,
    name: String,
}

impl Appender for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.host.call(format_args!("append {}", self.name), |disk, limit| {
            if let Some(file) = disk.state.get_mut(&self.name) {
                file.seen.extend_from_slice(part(bytes, limit));
            }
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.host.call(format_args!("sync {}", self.name), |disk, limit| {
            if let Some(file) = disk.state.get_mut(&self.name)
                && limit.is_none()
            {
                file.durable = file.seen.clone();
            }
            Ok(())
        })
    }
}

impl Files for Seen {
    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.0.call(format_args!("length {}", path), |disk, _| Ok(disk.outputs.get(path).map(|file| file.seen.len() as u64)))
    }

    fn read(&self, path: &str, from: u64, length: u64) -> io::Result<Vec<u8>> {
        self.0.call(format_args!("read {}", path), |disk, _| {
            Ok(slice(&disk.outputs.get(path).ok_or_else(missing)?.seen, from, length))
        })
    }

    fn write(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.call(format_args!("write {}", path), |disk, limit| {
            let file = &mut disk.outputs.entry(path.to_owned()).or_default().seen;
            let (offset, bytes) = (offset as usize, part(bytes, limit));
            file.resize(file.len().max(offset + bytes.len()), 0);
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.0.call(format_args!("sync {}", path), |disk, limit| {
            let file = disk.outputs.get_mut(path).ok_or_else(missing)?;
            if limit.is_none() {
                file.durable = file.seen.clone();
                file.named = true;
            }
            Ok(())
        })
    }
}
