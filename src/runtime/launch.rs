//! Starts all processes of a job on this machine, and ends with them: `-n 2` without `-p`.

use crate::error::Error;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Addresses for `processes` processes on this machine, on ports that are free now.
pub fn local_addresses(processes: usize) -> Result<Vec<String>, Error> {
    let bound: std::io::Result<Vec<TcpListener>> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports = bound.and_then(|all| all.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>());
    let ports = ports.map_err(|error| Error::cluster("127.0.0.1", error).with_hint("no free port for the cluster"))?;
    Ok(ports.iter().map(ToString::to_string).collect())
}

/// Runs this program once for each process, with `arguments(process)`, until all have ended well or one has failed; then
/// the others are ended too. Returns the exit code of the first that failed, or 0.
pub fn run_all(processes: usize, arguments: impl Fn(usize) -> Vec<OsString>) -> Result<u8, Error> {
    let program = std::env::current_exe().map_err(|error| Error::cluster("this program", error))?;
    let mut children: Vec<(usize, Child)> = Vec::new();
    for process in 0..processes {
        let mut command = Command::new(&program);
        command.args(arguments(process));
        // SAFETY: prctl is async-signal-safe and changes nothing but what happens when the parent dies.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        match command.spawn() {
            Ok(child) => children.push((process, child)),
            Err(error) => {
                end(&mut children);
                return Err(Error::cluster(format!("process {process}"), error));
            }
        }
    }
    watch(children)
}

fn watch(mut children: Vec<(usize, Child)>) -> Result<u8, Error> {
    while !children.is_empty() {
        let mut failed = None;
        children.retain_mut(|(process, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                failed = failed.or((!status.success()).then_some((*process, status)));
                false
            }
            Err(_) => false,
        });
        if let Some((process, status)) = failed {
            end(&mut children);
            eprintln!("meterflow: process {process} ended with {}; the job has ended", describe(status));
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        std::thread::sleep(LOOK);
    }
    Ok(0)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

fn end(children: &mut Vec<(usize, Child)>) {
    for (_, child) in children.iter_mut() {
        // It may have ended by itself by now.
        let _ = child.kill();
        let _ = child.wait();
    }
    children.clear();
}
