//! Processes that meet, as threads of this one: the right ones, others, and strangers at the door.

use super::Cluster;
use super::door::Door;
use super::meet::{Grant, Identity, Meeting, host, join, turn_away};
use super::mesh::mesh;
use super::supervise::local_addresses;
use super::wire::{Kind, call, receive, send};
use crate::error::{Error, ErrorKind};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

fn cluster(addresses: &[String], process: usize) -> Cluster {
    Cluster { threads: 1, processes: addresses.len(), process, addresses: addresses.to_vec() }
}

fn identity(processes: usize) -> Identity {
    Identity {
        version: "1.2.3".to_owned(),
        build: [10, 11],
        dataflow: "anomaly".to_owned(),
        settings: [1, 2],
        state: "without --state".to_owned(),
        processes,
        threads: 1,
        input: 7,
    }
}

/// What a process of the test got: the grant, its control connections and the mesh.
type Met = (Grant, Vec<TcpStream>, Vec<Option<TcpStream>>);

fn meet(cluster: &Cluster, identity: Identity, state: Option<&Path>, door: &Door) -> Result<Met, Error> {
    let hash = identity.hash()?;
    let meeting = Meeting { cluster, identity, state, settle: 0.0 };
    let (granted, control) = match cluster.process {
        0 => host(&meeting, door, || Ok(42))?,
        _ => join(&meeting).map(|(granted, socket)| (granted, vec![socket]))?,
    };
    Ok((granted, control, mesh(cluster, door, hash, granted)?))
}

fn met(addresses: &[String], process: usize) -> Met {
    let door = Door::open(&addresses[process]).unwrap();
    meet(&cluster(addresses, process), identity(addresses.len()), None, &door).unwrap()
}

fn connect(address: &str) -> TcpStream {
    let come = |_| {
        thread::sleep(Duration::from_millis(10));
        TcpStream::connect(address).ok()
    };
    (0..500).find_map(come).expect("somebody listens")
}

/// Everything that a port scan, a lost browser or a broken program does. The connections stay open.
fn strangers(address: &str) -> Vec<TcpStream> {
    let greeting = |kind: u8| [b"meterflw".as_slice(), &1u16.to_le_bytes(), &[kind]].concat();
    let said: [Vec<u8>; 8] = [
        Vec::new(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"mete".to_vec(),
        [b"meterflw".as_slice(), &[9, 9, 1]].concat(),
        greeting(7),
        // A frame of 4 GB, one that never ends, and one that is no message.
        [greeting(1), vec![255; 4]].concat(),
        [greeting(1), vec![200, 0, 0, 0, 1]].concat(),
        [greeting(2), vec![3, 0, 0, 0, 1, 2, 3]].concat(),
    ];
    let say = |bytes: &Vec<u8>| {
        let mut socket = connect(address);
        socket.write_all(bytes).unwrap();
        socket
    };
    said.iter().map(say).collect()
}

#[test]
fn every_process_is_connected_with_every_other_among_strangers() {
    let addresses = local_addresses(3).unwrap();
    let mut all: Vec<Met> = thread::scope(|scope| {
        let start = |process| {
            let addresses = &addresses;
            thread::Builder::new().spawn_scoped(scope, move || met(addresses, process)).unwrap()
        };
        // The last comes first.
        let last = start(2);
        let first = start(0);
        let held = strangers(&addresses[0]);
        let second = start(1);
        let all = [first, second, last].map(|thread| thread.join().unwrap());
        drop(held);
        all.into_iter().collect()
    });
    assert_eq!(all[0].0.incarnation, 42);
    assert!(all.iter().all(|met| met.0 == all[0].0), "all have the same grant");
    assert_eq!(all.iter().map(|met| met.1.len()).collect::<Vec<_>>(), [2, 1, 1]);
    for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
        if from == to {
            assert!(all[from].2[to].is_none());
        } else {
            all[from].2[to].as_mut().unwrap().write_all(&[from as u8]).unwrap();
            let mut byte = [9];
            all[to].2[from].as_mut().unwrap().read_exact(&mut byte).unwrap();
            assert_eq!(usize::from(byte[0]), from);
        }
    }
    // Control connections lead to process 0.
    let (zero, rest) = all.split_at_mut(1);
    for (index, other) in rest.iter_mut().enumerate() {
        send(&mut zero[0].1[index], &(index as u64)).unwrap();
        assert_eq!(receive::<u64>(&mut other.1[0], None).unwrap(), index as u64);
    }
}

#[test]
fn who_differs_is_told_how_and_the_right_one_still_comes_in() {
    let addresses = local_addresses(2).unwrap();
    let right = identity(2);
    let with = |change: fn(&mut Identity)| {
        let mut other = right.clone();
        change(&mut other);
        other
    };
    let table = [
        (with(|id| id.version = "1.3.0".into()), "process 1: runs meterflow 1.3.0 (build 000000000000000a), process 0 runs"),
        (
            with(|id| id.build = [255, 0]),
            "runs meterflow 1.2.3 (build 00000000000000ff), process 0 runs meterflow 1.2.3 (build",
        ),
        (with(|id| id.dataflow = "stats".into()), "process 1: runs the dataflow stats, process 0 runs anomaly"),
        (with(|id| id.processes = 3), "process 1: is one of 3 processes (-n), process 0 one of 2"),
        (with(|id| id.threads = 2), "process 1: has 2 threads (-w), process 0 has 1"),
        (with(|id| id.state = "with --state".into()), "process 1: runs with --state, process 0 runs without --state"),
        (with(|id| id.settings = [1, 3]), "process 1: has other settings than process 0"),
    ];
    thread::scope(|scope| {
        let zero = thread::Builder::new().spawn_scoped(scope, || met(&addresses, 0)).unwrap();
        for (identity, wanted) in table {
            let cluster = cluster(&addresses, 1);
            let error = join(&Meeting { cluster: &cluster, identity, state: None, settle: 0.0 }).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
            assert_eq!(error.kind, ErrorKind::Refused);
        }
        met(&addresses, 1);
        zero.join().unwrap();
    });
}

#[test]
fn other_input_ends_both() {
    let addresses = local_addresses(2).unwrap();
    let run = |process: usize, input| {
        let door = Door::open(&addresses[process]).unwrap();
        meet(&cluster(&addresses, process), Identity { input, ..identity(2) }, None, &door).map(drop).unwrap_err()
    };
    let errors = thread::scope(|scope| {
        let zero = thread::Builder::new().spawn_scoped(scope, || run(0, 7)).unwrap();
        [run(1, 8), zero.join().unwrap()]
    });
    for error in errors {
        assert_eq!(error.kind, ErrorKind::Cluster);
        assert!(error.to_string().starts_with("process 1: does not see the same input files as process 0; "), "{error}");
    }
}

#[test]
fn all_see_the_same_state_folder() {
    let folder = |name: &str| -> PathBuf {
        let path = std::env::temp_dir().join(format!("meterflow-meet-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (shared, other) = (folder("shared"), folder("other"));
    let addresses = local_addresses(2).unwrap();
    let met = |process: usize, state: &Path| {
        let door = Door::open(&addresses[process]).unwrap();
        meet(&cluster(&addresses, process), identity(2), Some(state), &door)
    };
    thread::scope(|scope| {
        let zero = thread::Builder::new().spawn_scoped(scope, || met(0, &shared).unwrap()).unwrap();
        let error = met(1, &other).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("process 1: does not see the state folder of process 0"), "{error}");
        assert_eq!(error.kind, ErrorKind::Refused);
        met(1, &shared).unwrap();
        zero.join().unwrap();
    });
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0, "what was written as a proof is gone");
    [shared, other].iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
}

#[test]
fn who_leaves_before_the_start_is_waited_for_again() {
    let addresses = local_addresses(3).unwrap();
    let grants = AtomicU64::new(0);
    thread::scope(|scope| {
        let zero = || {
            let door = Door::open(&addresses[0]).unwrap();
            let (cluster, identity) = (cluster(&addresses, 0), identity(3));
            let meeting = Meeting { cluster: &cluster, identity, state: None, settle: 0.0 };
            host(&meeting, &door, || Ok(grants.fetch_add(1, SeqCst))).unwrap()
        };
        let zero = thread::Builder::new().spawn_scoped(scope, zero).unwrap();
        let come = |process: usize| {
            let (cluster, identity) = (cluster(&addresses, process), identity(3));
            join(&Meeting { cluster: &cluster, identity, state: None, settle: 0.0 })
        };
        // Process 1 says the right thing, is taken in, and dies.
        connect(&addresses[0]);
        let hello = (1usize, identity(3));
        let mut first = call(&addresses[0], Kind::Control, &hello).unwrap();
        let mut length = [0; 4];
        first.read_exact(&mut length).unwrap();
        drop(first);
        thread::sleep(Duration::from_millis(50));
        let second = thread::Builder::new().spawn_scoped(scope, move || come(2)).unwrap();
        thread::sleep(Duration::from_millis(700));
        assert_eq!(grants.load(SeqCst), 0, "nothing is granted without process 1");
        assert!(come(1).is_ok() && second.join().unwrap().is_ok());
        assert_eq!(zero.join().unwrap().1.len(), 2);
        assert_eq!(grants.load(SeqCst), 1);
    });
}

#[test]
fn nothing_is_granted_before_others_have_settled() {
    let addresses = local_addresses(2).unwrap();
    let watch = crate::time::Stopwatch::start();
    thread::scope(|scope| {
        let zero = || {
            let door = Door::open(&addresses[0]).unwrap();
            let cluster = cluster(&addresses, 0);
            let meeting = Meeting { cluster: &cluster, identity: identity(2), state: None, settle: 1.5 };
            host(&meeting, &door, || Ok(1)).unwrap();
        };
        let zero = thread::Builder::new().spawn_scoped(scope, zero).unwrap();
        let cluster = cluster(&addresses, 1);
        join(&Meeting { cluster: &cluster, identity: identity(2), state: None, settle: 0.0 }).unwrap();
        zero.join().unwrap();
    });
    assert!(watch.seconds() >= 1.5);
}

#[test]
fn a_process_of_another_job_or_incarnation_is_refused_on_both_sides() {
    let addresses = local_addresses(2).unwrap();
    let grant = Grant { incarnation: 4, session: [1, 1] };
    let [first, second] = [0, 1].map(|process: usize| Door::open(&addresses[process]).unwrap());
    let table = [
        ([8, 8], grant, "refuses the connection: is process 1 of another job"),
        ([7, 7], Grant { incarnation: 3, ..grant }, "refuses the connection: is process 1 of incarnation 3, this is 4"),
        ([7, 7], Grant { session: [1, 2], ..grant }, "refuses the connection: is process 1 of another start of the job"),
    ];
    thread::scope(|scope| {
        let own = cluster(&addresses, 0);
        let zero = move || mesh(&own, &first, [7, 7], grant).unwrap();
        let zero = thread::Builder::new().spawn_scoped(scope, zero).unwrap();
        for (job, other, wanted) in table {
            let error = mesh(&cluster(&addresses, 1), &second, job, other).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
        assert!(mesh(&cluster(&addresses, 1), &second, [7, 7], grant).unwrap()[0].is_some());
        assert!(zero.join().unwrap()[1].is_some());
    });
}

#[test]
fn who_comes_while_the_job_runs_is_told_to_try_again() {
    let addresses = local_addresses(2).unwrap();
    let door = Door::open(&addresses[0]).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let porter = move || turn_away(&door, || is_over.load(SeqCst));
        thread::Builder::new().spawn_scoped(scope, porter).unwrap();
        let held = strangers(&addresses[0]);
        let mut late = call(&addresses[0], Kind::Control, &(1usize, identity(2))).unwrap();
        let mut reply = Vec::new();
        late.read_to_end(&mut reply).unwrap();
        is_over.store(true, SeqCst);
        drop(held);
        // One frame: the first of the answers, which has no content.
        assert_eq!(reply, [4, 0, 0, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn an_address_in_use_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Door::open(&address).map(drop).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().starts_with(&address), "{error}");
}
