//! SIGTERM and SIGINT: the first asks for a clean stop, the second ends the process at once.

use crate::drivers::health::StopRequest;
use crate::error::{CHILD, Error};
use libc::{SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask, sigaddset, sigemptyset};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// From now on, `handle` is called for each SIGTERM and SIGINT with their number so far (1 for the first) and the signal,
/// on a thread of its own.
pub fn on_signal(handle: impl Fn(usize, i32) + Send + 'static) -> Result<(), Error> {
    let failed = |error: io::Error| Error::internal(format!("signals cannot be handled: {error}"));
    let last = Arc::new(AtomicUsize::new(0));
    let (mut receiver, sender) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGTERM, SIGINT] {
        // In this order: when a byte comes, it is known what for.
        flag::register_usize(signal, last.clone(), signal as usize).map_err(failed)?;
        low_level::pipe::register(signal, sender.try_clone().map_err(failed)?).map_err(failed)?;
    }
    let listen = move || {
        let mut byte = [0];
        for count in 1.. {
            if receiver.read_exact(&mut byte).is_err() {
                return;
            }
            handle(count, last.load(SeqCst) as i32);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop).map_err(failed)?;
    mask(SIG_UNBLOCK).map_err(failed)
}

/// Holds these signals back until the program that is started next handles them, so that one that comes too early does not
/// end it. For use between fork and exec.
pub fn hold() -> io::Result<()> {
    mask(SIG_BLOCK)
}

fn mask(how: i32) -> io::Result<()> {
    // SAFETY: a set is made empty before anything else is done with it, and only this thread's mask is changed.
    let changed = unsafe {
        let mut signals = std::mem::zeroed();
        sigemptyset(&mut signals);
        sigaddset(&mut signals, SIGTERM);
        sigaddset(&mut signals, SIGINT);
        pthread_sigmask(how, &signals, std::ptr::null_mut())
    };
    if changed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(changed)) }
}

/// What a program exits with that a signal has ended: as the shell has it.
pub fn exit_code(signal: i32) -> u8 {
    128 + signal as u8
}

/// Turns signals into `stop`. A second signal ends the process at once, as does the first when nobody can stop cleanly.
///
/// A process that a supervisor has started never ends at the second: a Ctrl-C or a service manager reaches it directly and
/// by the supervisor's SIGTERM. The supervisor ends it when it has to.
pub fn stop_on_signals(stop: StopRequest) -> Result<(), Error> {
    let is_child = std::env::var_os(CHILD).is_some();
    on_signal(move |count, signal| {
        stop_or_end(&stop, signal);
        if count > 1 && !is_child {
            end(signal);
        }
        if count == 1 && !is_child {
            eprintln!("meterflow: {} asks for a stop; what was read is finished first, a second one ends it", name(signal));
        }
    })
}

/// Asks for a stop; ends the process as `signal` does when nobody would stop.
pub fn stop_or_end(stop: &StopRequest, signal: i32) {
    if !stop.raise() {
        end(signal);
    }
}

/// The name of a signal that is handled here.
pub fn name(signal: i32) -> &'static str {
    if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
}

#[allow(clippy::disallowed_methods, reason = "a signal has no caller to return an error to")]
fn end(signal: i32) -> ! {
    std::process::exit(i32::from(exit_code(signal)))
}
