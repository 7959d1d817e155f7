//! The shape of a cluster from its flags and host file, checked before anything starts.

use crate::cli::args::ClusterArgs;
use crate::error::{Error, ErrorKind};
use crate::model::meter::GROUPS;
use std::path::Path;

/// The port of the first process when there is no host file; the others follow, as with timely.
const FIRST_PORT: usize = 2101;

/// The processes of a job and their threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Worker threads of each process.
    pub threads: usize,
    /// Which process this one is; `None`: all are started here.
    pub index: Option<usize>,
    /// Where each process listens, `host:port`.
    pub hosts: Vec<String>,
}

impl Cluster {
    /// Number of processes.
    pub fn processes(&self) -> usize {
        self.hosts.len()
    }

    /// Number of workers of the job.
    pub fn workers(&self) -> usize {
        self.hosts.len() * self.threads
    }
}

/// The cluster that the flags ask for; `cores` of this machine are shared by the processes that run on it.
pub fn cluster(args: &ClusterArgs, cores: usize) -> Result<Cluster, Error> {
    let processes = args.processes.unwrap_or(1);
    if let Some(index) = args.process.filter(|index| *index >= processes) {
        let last = processes - 1;
        return Err(Error::usage(format!("-p {index}: of {processes} processes (-n) the last one is {last}")));
    }
    let hosts = match &args.hostfile {
        Some(path) => hosts(path, processes)?,
        None => (0..processes).map(|index| format!("localhost:{}", FIRST_PORT + index)).collect(),
    };
    if args.hostfile.is_some() && args.process.is_none() && processes > 1 {
        let last = processes - 1;
        return Err(Error::usage(format!("-h needs -p: say which of the {processes} processes this one is, 0 to {last}")));
    }
    let here = if args.hostfile.is_some() { 1 } else { processes };
    let threads = args.threads.unwrap_or((cores / here).max(1));
    if threads * processes > GROUPS {
        let workers = threads * processes;
        return Err(Error::usage(format!(
            "-n {processes} times -w {threads} are {workers} workers; at most {GROUPS} have work"
        )));
    }
    Ok(Cluster { threads, index: args.process, hosts })
}

/// The first `processes` addresses of a host file; blank lines and lines that begin with `#` are skipped.
fn hosts(path: &Path, processes: usize) -> Result<Vec<String>, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = "-h names the host file, a line host:port for each process; for help say --help";
        Error::new(ErrorKind::Usage, &name, format!("the host file cannot be read: {error}")).with_hint(hint)
    })?;
    let wrong = |line: usize, message: String| Error::new(ErrorKind::Usage, format!("{name}:{line}"), message);
    let mut hosts: Vec<String> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let port = line.rsplit_once(':').filter(|(host, _)| is_host(host)).and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(wrong(index + 1, format!("expected host:port, such as meter1:2101, found {line:?}")));
        }
        if hosts.iter().any(|known| known == line) {
            return Err(wrong(index + 1, format!("{line} is there twice; every process needs an address of its own")));
        }
        hosts.push(line.to_string());
    }
    if hosts.len() < processes {
        let message = format!("has {} addresses for {processes} processes (-n)", hosts.len());
        return Err(Error::new(ErrorKind::Usage, name, message));
    }
    hosts.truncate(processes);
    Ok(hosts)
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host file of its own for each case.
    fn host_file(name: &str, text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("meterflow-hosts-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn args(threads: Option<usize>, processes: Option<usize>, process: Option<usize>) -> ClusterArgs {
        ClusterArgs { threads, processes, process, hostfile: None }
    }

    #[test]
    fn shapes() {
        let local = |threads, index, ports: &[u32]| {
            Ok(Cluster { threads, index, hosts: ports.iter().map(|port| format!("localhost:{port}")).collect() })
        };
        let table = [
            (args(None, None, None), local(8, None, &[2101])),
            (args(Some(3), None, None), local(3, None, &[2101])),
            (args(None, Some(2), None), local(4, None, &[2101, 2102])),
            (args(None, Some(9), Some(8)), local(1, Some(8), &[2101, 2102, 2103, 2104, 2105, 2106, 2107, 2108, 2109])),
            (args(Some(2), Some(2), Some(1)), local(2, Some(1), &[2101, 2102])),
            (args(None, None, Some(0)), local(8, Some(0), &[2101])),
            (args(None, None, Some(1)), Err("-p 1: of 1 processes (-n) the last one is 0")),
            (args(None, Some(2), Some(2)), Err("-p 2: of 2 processes (-n) the last one is 1")),
            (args(Some(600), Some(2), None), Err("-n 2 times -w 600 are 1200 workers; at most 1024 have work")),
        ];
        for (args, expected) in table {
            let found = cluster(&args, 8).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_string), "{args:?}");
        }
    }

    #[test]
    fn host_files() {
        let table = [
            ("two", "a:1\nb.c:2\n", Ok("a:1 b.c:2")),
            ("more", "\u{20}10.0.0.1:2101 \r\n\n# spare\n[::1]:2101\nx:3", Ok("10.0.0.1:2101 [::1]:2101")),
            ("few", "a:1\n", Err("FILE: has 1 addresses for 2 processes (-n)")),
            ("port", "a:1\nb\n", Err("FILE:2: expected host:port, such as meter1:2101, found \"b\"")),
            ("zero", "a:0\nb:1\n", Err("FILE:1: expected host:port, such as meter1:2101, found \"a:0\"")),
            ("large", "a:1\nb:65536\n", Err("FILE:2: expected host:port, such as meter1:2101, found \"b:65536\"")),
            ("host", ":1\nb:1\n", Err("FILE:1: expected host:port, such as meter1:2101, found \":1\"")),
            ("blank", "a b:1\n", Err("FILE:1: expected host:port, such as meter1:2101, found \"a b:1\"")),
            ("twice", "a:1\na:1\n", Err("FILE:2: a:1 is there twice; every process needs an address of its own")),
        ];
        for (name, text, expected) in table {
            let path = host_file(name, text);
            let args = ClusterArgs { hostfile: Some(path.clone()), ..args(None, Some(2), Some(1)) };
            let found = cluster(&args, 8);
            std::fs::remove_file(&path).unwrap();
            let found = found.map(|cluster| (cluster.threads, cluster.hosts.join(" "))).map_err(|error| {
                assert_eq!(error.exit_code(), 2);
                error.to_string().replace(&path.display().to_string(), "FILE")
            });
            // The processes of a host file run on other machines: each has all cores of its own.
            assert_eq!(found, expected.map(|hosts| (8, hosts.to_string())).map_err(str::to_string), "{name}");
        }
        let args = ClusterArgs { hostfile: Some("/nonexistent/hosts".into()), ..args(None, Some(2), Some(1)) };
        let message = cluster(&args, 8).unwrap_err().to_string();
        assert!(message.starts_with("/nonexistent/hosts: the host file cannot be read") && message.ends_with("--help"));
    }

    #[test]
    fn a_host_file_needs_an_index() {
        let path = host_file("index", "a:1\nb:1\n");
        let args = |processes| ClusterArgs { hostfile: Some(path.clone()), ..args(None, Some(processes), None) };
        let (two, one) = (cluster(&args(2), 8), cluster(&args(1), 8));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(two.unwrap_err().to_string(), "-h needs -p: say which of the 2 processes this one is, 0 to 1");
        assert_eq!(one.unwrap().hosts, ["a:1"]);
    }
}
