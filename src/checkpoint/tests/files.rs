//! Spools and output files: every committed line is shown whatever the crash left, and strangers' changes are named.

use crate::checkpoint::testing::{Scratch, commit, end, job, lines, recovered};
use crate::checkpoint::{Completed, Disk, Spool, TickLog, Volume, complete_files, recover};
use crate::error::{Error, ErrorKind};
use std::fs;
use std::sync::Arc;

/// Three ticks of a file, committed and in the spool, one more in the spool only.
fn three_ticks(scratch: &Scratch, path: &str) -> Arc<dyn Volume> {
    let volume = scratch.volume();
    let mut log = TickLog::begin(volume.clone(), 1, &job(), None).unwrap();
    let mut spool = Spool::create(volume.clone(), &job().uid, 1, 0).unwrap();
    for tick in 0..4 {
        keep(&mut spool, tick, path);
        if tick == 1 {
            spool.rotate().unwrap();
        }
    }
    spool.sync().unwrap();
    log.append(&(0..3).map(|tick| commit(tick, path)).collect::<Vec<_>>()).unwrap();
    volume
}

/// In two parts, the second of them in a record of its own.
fn keep(spool: &mut Spool, tick: u64, path: &str) {
    let (bytes, from) = (lines(tick), end(tick) - lines(tick).len() as u64);
    spool.append(tick, path, from, &[&bytes[..3], &bytes[3..7]]).unwrap();
    spool.append(tick, path, from + 7, &[&bytes[7..]]).unwrap();
}

fn expected(ticks: std::ops::Range<u64>) -> Vec<u8> {
    ticks.flat_map(lines).collect()
}

fn complete(volume: &Arc<dyn Volume>) -> Result<Vec<Completed>, Error> {
    complete_files(&**volume, &Disk, &recovered(volume))
}

#[test]
fn files_are_completed_from_whatever_a_crash_left() {
    let scratch = Scratch::new("complete");
    let path = scratch.output("out/lines.jsonl");
    let volume = three_ticks(&scratch, &path);
    let whole = expected(0..3);
    assert_eq!(whole.len() as u64, end(2));
    for length in (0..=whole.len()).rev().step_by(11) {
        let with_zeros = [&whole[..length], &vec![0; whole.len() - length][..]].concat();
        for left in [&whole[..length], &with_zeros[..]] {
            fs::create_dir_all(scratch.0.join("out")).unwrap();
            fs::write(&path, left).unwrap();
            let done = complete(&volume).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "after {length} bytes");
            assert_eq!(done[0].restored == 0, length == whole.len());
        }
    }
    fs::remove_dir_all(scratch.0.join("out")).unwrap();
    let done = complete(&volume).unwrap();
    assert_eq!(done, [Completed { path: path.clone(), end: end(2), restored: end(2) }]);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn the_spool_is_not_needed_for_what_a_file_shows() {
    let scratch = Scratch::new("no-spool");
    let path = scratch.output("lines.jsonl");
    let volume = three_ticks(&scratch, &path);
    for name in volume.list().unwrap().iter().filter(|name| name.starts_with("spool")) {
        volume.remove(name).unwrap();
    }
    fs::write(&path, expected(0..3)).unwrap();
    assert_eq!(complete(&volume).unwrap()[0].restored, 0);
    fs::write(&path, expected(0..2)).unwrap();
    let error = complete(&volume).unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.message.contains("not those of tick 2"), "{error}");
    assert_eq!(error.place, path);
}

#[test]
fn a_file_that_somebody_else_changed_is_named_with_the_choices() {
    let scratch = Scratch::new("stranger");
    let path = scratch.output("lines.jsonl");
    let volume = three_ticks(&scratch, &path);
    let longer = [&expected(0..3)[..], b"x"].concat();
    fs::write(&path, longer).unwrap();
    let error = complete(&volume).unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.place == path, "{error}");
    assert!(error.message.contains(&format!("only {} were committed", end(2))) && error.hint.contains("head -c"), "{error}");
}

#[test]
fn lines_of_another_incarnations_tick_are_not_shown() {
    let scratch = Scratch::new("maker");
    let path = scratch.output("lines.jsonl");
    let volume = three_ticks(&scratch, &path);
    // Incarnation 1 had kept other lines of tick 3 than those that incarnation 2 commits.
    let mut log = TickLog::begin(volume.clone(), 2, &job(), Some(&recovered(&volume))).unwrap();
    let mut spool = Spool::create(volume.clone(), &job().uid, 2, 5).unwrap();
    let mut other = commit(3, &path);
    let bytes = b"cut elsewhere\n";
    let (rows, hash) = crate::checkpoint::lines_hash(bytes);
    let shown = &mut other.shown[0];
    (shown.rows, shown.hash, shown.bytes, shown.end) = (rows, hash, bytes.len() as u64, end(2) + bytes.len() as u64);
    spool.append(3, &path, end(2), &[bytes]).unwrap();
    spool.sync().unwrap();
    log.append(&[other]).unwrap();
    complete(&volume).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [&expected(0..3)[..], bytes].concat());
}

#[test]
fn a_damaged_spool_is_named() {
    let scratch = Scratch::new("spool-damage");
    let path = scratch.output("lines.jsonl");
    let volume = three_ticks(&scratch, &path);
    let file = scratch.0.join("state/spool-00000001-0000-000000");
    let whole = fs::read(&file).unwrap();
    let mut named = 0;
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&file, flipped).unwrap();
        let error = complete(&volume).unwrap_err();
        assert!(
            error.kind == ErrorKind::Refused && error.to_string().contains("damaged")
                || error.to_string().contains("cannot be read"),
            "{error}"
        );
        named += usize::from(error.to_string().contains("spool-00000001-0000-000000 from byte"));
    }
    assert_eq!(named, whole.len());
    fs::write(&file, whole).unwrap();
    assert!(complete(&volume).is_ok());
    assert!(recover(&volume, None).is_ok());
}
