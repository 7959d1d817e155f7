//! The tick log: what is read back, what a crash may leave, what counts as damage, who may write.

use crate::checkpoint::names::Name;
use crate::checkpoint::testing::{Scratch, commits, job, recovered, ticks};
use crate::checkpoint::{Folder, TickLog, Volume, next_incarnation, recover};
use crate::error::ErrorKind;
use crate::model::commit::JobRecord;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

fn begin(volume: &Arc<dyn Volume>, incarnation: u64) -> TickLog {
    let after = recover(volume, None).unwrap();
    TickLog::begin(volume.clone(), incarnation, &job(), after.as_ref()).unwrap()
}

fn path(scratch: &Scratch, incarnation: u64, sequence: u32) -> PathBuf {
    scratch.0.join("state").join(Name::Log { incarnation, sequence }.text())
}

#[test]
fn an_empty_folder_has_nothing() {
    let scratch = Scratch::new("empty");
    let volume = scratch.volume();
    assert!(recover(&volume, None).unwrap().is_none());
    assert_eq!(next_incarnation(&*volume).unwrap(), 1);
}

#[test]
fn ticks_come_back_over_files_and_incarnations() {
    let scratch = Scratch::new("chain");
    let volume = scratch.volume();
    let mut log = begin(&volume, 1);
    log.append(&commits(0..2)).unwrap();
    log.rotate().unwrap();
    log.append(&commits(2..3)).unwrap();
    let mut log = begin(&volume, 2);
    log.append(&commits(3..6)).unwrap();
    assert_eq!(log.position().incarnation, 2);
    let found = recovered(&volume);
    assert_eq!(found.commits, commits(0..6));
    assert_eq!(found.makers, [1, 1, 1, 2, 2, 2]);
    assert_eq!((found.incarnation, found.complete, &found.job), (2, false, &job()));
    assert_eq!(found.last_tick(), Some(5));
    assert_eq!(found.counts().source("readings").read, 60);
    log.complete().unwrap();
    assert!(recovered(&volume).complete);
    assert_eq!(next_incarnation(&*volume).unwrap(), 3);
}

#[test]
fn all_processes_see_what_their_incarnation_goes_on_from() {
    let scratch = Scratch::new("view");
    let volume = scratch.volume();
    begin(&volume, 1).append(&commits(0..2)).unwrap();
    let mut log = begin(&volume, 2);
    // What process 0 commits meanwhile is not part of it.
    log.append(&commits(2..4)).unwrap();
    let view = recover(&volume, Some(2)).unwrap().unwrap();
    assert_eq!((ticks(&view), view.incarnation), (vec![0, 1], 2));
    let first = recover(&volume, Some(1)).unwrap().unwrap();
    assert_eq!((ticks(&first), first.accepted), (vec![], None));
    assert_eq!(ticks(&recovered(&volume)), [0, 1, 2, 3]);
}

#[test]
fn a_torn_end_is_left_out_wherever_it_is_torn() {
    let scratch = Scratch::new("torn");
    let volume = scratch.volume();
    let mut log = begin(&volume, 1);
    log.append(&commits(0..1)).unwrap();
    let durable = log.position().offset as usize;
    log.append(&commits(1..3)).unwrap();
    let file = path(&scratch, 1, 0);
    let whole = fs::read(&file).unwrap();
    for length in durable..whole.len() {
        // Cut off, or with zeros where the disk never got the bytes.
        let zeros = [&whole[..length], &vec![0; whole.len() - length][..]].concat();
        for torn in [&whole[..length], &zeros[..]] {
            fs::write(&file, torn).unwrap();
            let found = recovered(&volume);
            assert!(!ticks(&found).is_empty() && found.commits == commits(0..found.commits.len() as u64), "{length}");
        }
    }
    // Pages that reach the disk in another order: the second record is there, the first is not. Neither was durable.
    let mut holes = whole.clone();
    holes[durable..durable + 40].fill(0);
    fs::write(&file, &holes).unwrap();
    assert_eq!(ticks(&recovered(&volume)), [0]);
    // The next incarnation goes on from there, and the torn end never comes back.
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    begin(&volume, 2).append(&commits(2..3)).unwrap();
    fs::write(&file, &whole).unwrap();
    assert_eq!((recovered(&volume).commits, recovered(&volume).makers), (commits(0..3), vec![1, 1, 2]));
}

#[test]
fn a_flipped_byte_before_the_end_is_damage_by_name() {
    let scratch = Scratch::new("flip");
    let volume = scratch.volume();
    let mut log = begin(&volume, 1);
    log.append(&commits(0..2)).unwrap();
    let durable = log.position().offset as usize;
    log.append(&commits(2..3)).unwrap();
    let file = path(&scratch, 1, 0);
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, &flipped).unwrap();
        match recover(&volume, None) {
            // Only what could have been torn as well.
            Ok(found) => assert!(at >= durable && ticks(&found.unwrap()) == [0, 1], "byte {at}"),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Refused, "byte {at}: {error}");
                assert!(error.place.ends_with("log-00000001-000000"), "byte {at}: {error}");
                assert!(error.hint.contains("copy") && error.message.contains("damaged at byte"), "byte {at}: {error}");
            }
        }
    }
    // A file that others follow counts to its last byte.
    fs::write(&file, &whole).unwrap();
    begin(&volume, 2);
    for at in [0, durable, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&file, &flipped).unwrap();
        assert!(recover(&volume, None).is_err(), "byte {at}");
    }
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(recover(&volume, None).is_err());
}

#[test]
fn only_one_incarnation_writes() {
    let scratch = Scratch::new("fence");
    let volume = scratch.volume();
    let mut old = begin(&volume, 1);
    old.append(&commits(0..1)).unwrap();
    let seen = recovered(&volume);
    // The old one goes on while the new one starts.
    old.append(&commits(1..2)).unwrap();
    let error = TickLog::begin(volume.clone(), 2, &job(), Some(&seen)).err().unwrap();
    assert!(error.message.contains("has grown"), "{error}");
    // That has fenced it all the same.
    let error = old.append(&commits(2..3)).unwrap_err();
    assert!(error.message.contains("incarnation 2 of the job has taken over"), "{error}");
    assert!(old.append(&[]).is_err() && old.rotate().is_err() && old.complete().is_err(), "an error is final");
    // Number 2 is used up, and so is every one before it.
    for used in [1, 2] {
        assert!(TickLog::begin(volume.clone(), used, &job(), Some(&recovered(&volume))).is_err(), "{used}");
    }
    assert_eq!(next_incarnation(&*volume).unwrap(), 3);
    // What the old one had made durable counts: it was not shown, but may have been for all that is known.
    let mut new = begin(&volume, 3);
    assert_eq!(ticks(&recover(&volume, Some(3)).unwrap().unwrap()), [0, 1, 2]);
    new.append(&commits(3..4)).unwrap();
    assert_eq!(recovered(&volume).makers, [1, 1, 1, 3]);
}

#[test]
fn what_a_replaced_incarnation_appends_is_void() {
    let scratch = Scratch::new("void");
    let volume = scratch.volume();
    let mut old = begin(&volume, 1);
    old.append(&commits(0..2)).unwrap();
    let mut new = begin(&volume, 2);
    assert!(old.append(&commits(2..4)).is_err());
    new.append(&commits(2..3)).unwrap();
    assert_eq!((recovered(&volume).commits, recovered(&volume).makers), (commits(0..3), vec![1, 1, 2]));
}

#[test]
fn a_log_that_never_began_does_not_count() {
    let scratch = Scratch::new("unbegun");
    let volume = scratch.volume();
    begin(&volume, 1).append(&commits(0..1)).unwrap();
    let whole = fs::read(path(&scratch, 1, 0)).unwrap();
    for length in [0, 10, 32, 60] {
        fs::write(path(&scratch, 2, 0), &whole[..length]).unwrap();
        assert_eq!((ticks(&recovered(&volume)), next_incarnation(&*volume).unwrap()), (vec![0], 3));
    }
    begin(&volume, 3).append(&commits(1..2)).unwrap();
    assert_eq!(ticks(&recovered(&volume)), [0, 1]);
}

#[test]
fn another_jobs_folder_is_refused() {
    let scratch = Scratch::new("other-job");
    let volume = scratch.volume();
    begin(&volume, 1).append(&commits(0..1)).unwrap();
    let other = JobRecord { uid: "f".repeat(32), ..job() };
    let error = TickLog::begin(volume.clone(), 2, &other, Some(&recovered(&volume))).err().unwrap();
    assert!(error.kind == ErrorKind::Refused && error.message.contains(&job().uid), "{error}");
    assert_eq!(next_incarnation(&*volume).unwrap(), 2, "nothing was written");
    // A file of another job under a name that fits.
    let second = Scratch::new("other-job-2");
    let mut log = TickLog::begin(second.volume(), 1, &other, None).unwrap();
    log.rotate().unwrap();
    fs::copy(path(&second, 1, 1), path(&scratch, 1, 1)).unwrap();
    let error = recover(&volume, None).unwrap_err();
    assert!(error.message.contains("belongs to job"), "{error}");
}

#[test]
fn a_later_format_is_refused_by_its_version() {
    let scratch = Scratch::new("version");
    let volume = scratch.volume();
    begin(&volume, 1).append(&commits(0..1)).unwrap();
    let file = path(&scratch, 1, 0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[5] = 9;
    let crc = crc32fast::hash(&bytes[..28]).to_le_bytes();
    bytes[28..32].copy_from_slice(&crc);
    fs::write(&file, bytes).unwrap();
    let error = recover(&volume, None).unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.message.contains("LogBegin of version 9"), "{error}");
}

#[test]
fn a_renamed_file_is_refused() {
    let scratch = Scratch::new("renamed");
    let volume = scratch.volume();
    begin(&volume, 1).append(&commits(0..1)).unwrap();
    fs::rename(path(&scratch, 1, 0), path(&scratch, 4, 0)).unwrap();
    assert!(recover(&volume, None).unwrap_err().message.contains("written as log-00000001-000000"));
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let scratch = Scratch::new("folder");
    let file = scratch.0.join("file");
    fs::write(&file, "x").unwrap();
    let error = Folder::open(&file).unwrap_err().to_string();
    assert!(error.contains("is not a folder") && error.contains("name another"), "{error}");
    let error = Folder::open(&file.join("below")).unwrap_err().to_string();
    assert!(error.contains("cannot write the state folder") && error.contains("move it away"), "{error}");
    let error = Folder::look(&scratch.0.join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("still there and mounted"), "{error}");
    let volume = scratch.volume();
    let mut log = begin(&volume, 1);
    fs::remove_dir_all(scratch.0.join("state")).unwrap();
    assert!(log.append(&commits(0..1)).unwrap_err().message.contains("cannot list the state folder"));
}
