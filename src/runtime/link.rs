//! Heartbeats between process 0 and each of the others, and small messages on the same connections.
//!
//! Every half second each side asks the other, with the time by its own clock, and gets that time back. So a process knows
//! how old the last proof is that the other lived: what lay in a buffer while this process slept, or was long on its way,
//! proves nothing. A process whose last proof is older than [`SILENCE`] has been given up by the other side.

use crate::drivers::health::Alive;
use crate::error::{Error, fatal};
use crate::runtime::wire::{receive, send};
use crate::time::uptime_ms;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the other side is asked.
const BEAT: Duration = Duration::from_millis(500);
/// After how long without an answer a process is taken to be stopped or cut off, ms.
pub const SILENCE: u64 = 3_000;
/// How often the end of the others is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What processes tell each other while the job runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The job shall stop cleanly; process 0 sees to it.
    Stop,
    /// Print where the steps are.
    Dump,
}

/// What goes over a connection.
#[derive(Serialize, Deserialize)]
enum Frame {
    /// Are you there? With the time at which it was asked.
    Ask(u64),
    /// Yes; the time of the question.
    Answer(u64),
    Message(Message),
    /// This process ends because another one is lost: where, what, and what would help.
    Lost([String; 3]),
    /// This process has done its part.
    Bye,
}

/// Another process, to which there is a control connection.
pub struct Peer {
    /// Its index.
    pub process: usize,
    /// Where it listens.
    pub address: String,
    /// The connection.
    pub socket: TcpStream,
}

struct Connected {
    process: usize,
    address: String,
    writer: Mutex<TcpStream>,
    /// The time of the last question that was answered.
    proven: AtomicU64,
    /// It has said that it is done.
    is_done: AtomicBool,
}

type OnMessage = Box<dyn Fn(usize, Message) + Send + Sync>;
type OnLost = Box<dyn Fn(Error) + Send + Sync>;

struct Shared {
    peers: Vec<Connected>,
    on_message: OnMessage,
    on_lost: OnLost,
    /// When this process last looked at the others.
    looked: AtomicU64,
    is_done: AtomicBool,
    is_lost: AtomicBool,
}

/// The control connections of this process.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

impl Link {
    /// Starts to listen to `peers`: process 0 has all others, another process has process 0. `on_message` is called with
    /// each message and its sender, on a thread of the link; `on_lost` when one of them is stopped, cut off, or has ended.
    pub fn start(
        peers: Vec<Peer>,
        on_message: impl Fn(usize, Message) + Send + Sync + 'static,
        on_lost: impl Fn(Error) + Send + Sync + 'static,
    ) -> Result<Link, Error> {
        let now = uptime_ms();
        let (mut connected, mut readers) = (Vec::new(), Vec::new());
        for Peer { process, address, socket } in peers {
            let failed = |error: io::Error| Error::cluster(&address, error);
            readers.push(socket.try_clone().map_err(failed)?);
            let (writer, proven, is_done) = (Mutex::new(socket), AtomicU64::new(now), AtomicBool::new(false));
            connected.push(Connected { process, address, writer, proven, is_done });
        }
        let link = Link(Arc::new(Shared {
            peers: connected,
            on_message: Box::new(on_message),
            on_lost: Box::new(on_lost),
            looked: AtomicU64::new(now),
            is_done: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        }));
        if link.0.peers.is_empty() {
            return Ok(link);
        }
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name).spawn(body);
            started.map(drop).map_err(|error| Error::internal(format!("no thread for the heartbeats: {error}")))
        };
        for (index, reader) in readers.into_iter().enumerate() {
            let link = link.clone();
            spawn(format!("link-{}", link.0.peers[index].process), Box::new(move || link.hear(index, reader)))?;
        }
        let beating = link.clone();
        spawn("heartbeat".to_owned(), Box::new(move || beating.beat()))?;
        Ok(link)
    }

    /// Whether no process has been given up, nor has given up this one. Cheap.
    pub fn is_alive(&self) -> bool {
        let now = uptime_ms();
        let lives = |peer: &Connected| peer.is_done.load(SeqCst) || now.saturating_sub(peer.proven.load(SeqCst)) <= SILENCE;
        !self.0.is_lost.load(SeqCst) && self.0.peers.iter().all(lives)
    }

    /// [`is_alive`](Link::is_alive) for those who act.
    pub fn alive(&self) -> Alive {
        let link = self.clone();
        Alive::new(move || link.is_alive())
    }

    /// Sends a message to all that this process is connected with.
    pub fn send(&self, message: Message) {
        self.tell(&Frame::Message(message));
    }

    /// Says that this process has done its part. Process 0 stays until all others have.
    pub fn finish(&self, own: usize) {
        while own == 0 && !self.0.is_lost.load(SeqCst) && self.0.peers.iter().any(|peer| !peer.is_done.load(SeqCst)) {
            thread::sleep(LOOK);
        }
        self.0.is_done.store(true, SeqCst);
        self.tell(&Frame::Bye);
    }

    fn tell(&self, frame: &Frame) {
        self.0.peers.iter().for_each(|peer| peer.tell(frame));
    }

    /// Reads what a peer says, as long as it lives.
    fn hear(&self, index: usize, mut reader: TcpStream) {
        let peer = &self.0.peers[index];
        loop {
            match receive(&mut reader, None) {
                Ok(Frame::Ask(time)) => peer.tell(&Frame::Answer(time)),
                Ok(Frame::Answer(time)) => drop(peer.proven.fetch_max(time, SeqCst)),
                Ok(Frame::Message(message)) => (self.0.on_message)(peer.process, message),
                Ok(Frame::Lost([place, message, hint])) => self.lose(Error::cluster(place, message).with_hint(hint)),
                Ok(Frame::Bye) => peer.is_done.store(true, SeqCst),
                Err(_) if peer.is_done.load(SeqCst) || self.0.is_done.load(SeqCst) => return,
                Err(error) => {
                    let message = match error.kind() {
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "has ended".to_owned(),
                        _ => format!("the connection to it is lost ({error})"),
                    };
                    return self.lose(peer.lost(message).with_hint("what it said, or its supervisor, tells why"));
                }
            }
        }
    }

    /// Asks the others, and looks whether they have answered.
    fn beat(&self) {
        loop {
            self.tell(&Frame::Ask(uptime_ms()));
            thread::sleep(BEAT);
            if self.0.is_done.load(SeqCst) || self.0.is_lost.load(SeqCst) {
                return;
            }
            let now = uptime_ms();
            for peer in self.0.peers.iter().filter(|peer| !peer.is_done.load(SeqCst)) {
                if now.saturating_sub(peer.proven.load(SeqCst)) > SILENCE {
                    let seconds = SILENCE / 1_000;
                    let message = format!("nothing was heard of it for {seconds} s: it is stopped, or cut off");
                    return self.lose(peer.lost(message));
                }
            }
            self.0.looked.store(now, SeqCst);
        }
    }

    /// Something tells that another process is lost: `on_lost` is called with it the first time, or with this process's own
    /// sleep, which explains the rest.
    pub fn lose(&self, error: Error) {
        if self.0.is_lost.swap(true, SeqCst) {
            return;
        }
        let stood = uptime_ms().saturating_sub(self.0.looked.load(SeqCst));
        if stood > SILENCE {
            return (self.0.on_lost)(slept(stood));
        }
        // One loss brings the next: without this the others would name this process.
        self.tell(&Frame::Lost([error.place.clone(), error.message.clone(), error.hint.clone()]));
        (self.0.on_lost)(error);
    }
}

/// This process did not run for so many milliseconds.
pub fn slept(ms: u64) -> Error {
    let seconds = ms as f64 / 1000.0;
    Error::cluster("this process", format!("stood still for {seconds:.1} s; the job goes on without it"))
}

impl Connected {
    fn tell(&self, frame: &Frame) {
        // A connection that is lost is noticed by whoever reads from it, a stuck one by the missing answers.
        let _ = send(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner), frame);
    }

    fn lost(&self, message: String) -> Error {
        Error::cluster(format!("process {} at {}", self.process, self.address), message)
    }
}

/// Ends this process because it has lost others; only the first loss is said, since one brings the next.
pub fn end(error: &Error) -> ! {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    if IS_ENDING.swap(true, SeqCst) {
        loop {
            thread::park();
        }
    }
    fatal(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn pair() -> [TcpStream; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [caller, listener.accept().unwrap().0]
    }

    struct End {
        link: Link,
        messages: Receiver<(usize, Message)>,
        lost: Receiver<Error>,
    }

    fn start(process: usize, socket: TcpStream) -> End {
        let ((said, messages), (losing, lost)) = (channel(), channel());
        let peers = vec![Peer { process, address: format!("host{process}:1"), socket }];
        let on_message = move |process, message| said.send((process, message)).unwrap();
        let link = Link::start(peers, on_message, move |error| losing.send(error).unwrap()).unwrap();
        End { link, messages, lost }
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn messages_arrive_and_a_good_end_is_no_loss() {
        let [a, b] = pair();
        let (first, second) = (start(1, a), start(0, b));
        second.link.send(Message::Stop);
        assert_eq!(first.messages.recv_timeout(SOON).unwrap(), (1, Message::Stop));
        first.link.send(Message::Dump);
        assert_eq!(second.messages.recv_timeout(SOON).unwrap(), (0, Message::Dump));
        assert!(first.link.is_alive() && second.link.is_alive());
        let zero = first.link.clone();
        let waits = thread::Builder::new().spawn(move || zero.finish(0)).unwrap();
        thread::sleep(Duration::from_millis(20));
        assert!(!waits.is_finished(), "process 0 waits for the others");
        second.link.finish(1);
        waits.join().unwrap();
        assert!(first.lost.try_recv().is_err() && second.lost.try_recv().is_err());
    }

    #[test]
    fn all_name_the_one_that_was_lost_first() {
        let [a, b] = pair();
        let (first, second) = (start(1, a), start(0, b));
        first.link.lose(Error::cluster("process 2", "has ended"));
        let [first, second] = [first, second].map(|end| end.lost.recv_timeout(SOON).unwrap().to_string());
        assert_eq!([first.as_str(), second.as_str()], ["process 2: has ended"; 2]);
    }

    #[test]
    fn an_end_is_noticed_at_once_and_silence_after_a_while() {
        let [a, b] = pair();
        let ended = start(2, a);
        drop(b);
        let error = ended.lost.recv_timeout(SOON).unwrap();
        assert!(error.to_string().starts_with("process 2 at host2:1: has ended"), "{error}");
        assert!(!ended.link.is_alive());
        // The other side keeps the connection, and old answers in it, but says nothing new.
        let [a, mut b] = pair();
        let silent = start(3, a);
        (0..100).for_each(|_| send(&mut b, &Frame::Answer(1)).unwrap());
        thread::sleep(Duration::from_millis(500));
        assert!(silent.link.is_alive());
        let error = silent.lost.recv_timeout(SOON).unwrap();
        assert!(error.to_string().starts_with("process 3 at host3:1: nothing was heard of it for 3 s"), "{error}");
        assert!(!silent.link.is_alive() && error.exit_code() == 1);
        drop(b);
    }
}
