//! What is said when the state folder cannot be used.

use crate::error::Error;
use std::fmt::Display;
use std::io;

/// What an error of the file system means for whoever runs the job: `cannot {what}`.
pub(super) fn trouble(what: &str, place: impl Into<String>, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room, then start again; nothing is lost, the job goes on from what is committed"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system for writing, or name another state folder",
        io::ErrorKind::PermissionDenied => "give the user that runs this program read and write access to the state folder",
        io::ErrorKind::NotFound => "is the state folder still there and mounted, and was nothing in it removed?",
        io::ErrorKind::NotADirectory => "a file stands where a folder is needed: move it away, or name another state folder",
        io::ErrorKind::AlreadyExists => "does another run use this state folder?",
        _ => "nothing is lost: the job goes on from what is committed when it is started again",
    };
    Error::output(place, format!("cannot {what}: {error}")).with_hint(hint)
}

/// A record that is not as it was written.
pub(super) fn damaged(place: impl Into<String>, offset: u64, found: impl Display) -> Error {
    let hint = "the file was changed or its disk is failing: restore the state folder from a copy, or start the job over \
                with another state folder and without the output files";
    Error::refused(place, format!("damaged at byte {offset}: {found}")).with_hint(hint)
}

/// A record that only a later version of the program knows.
pub(super) fn too_new(place: impl Into<String>, offset: u64, kind: &str, version: u8) -> Error {
    let message = format!("at byte {offset}: {kind} of version {version}, this program knows up to version 1");
    Error::refused(place, message).with_hint("run the version of the program that wrote it, or a later one")
}

/// A newer incarnation has taken over.
pub(super) fn replaced(place: impl Into<String>, incarnation: u64, newer: u64) -> Error {
    let message = format!("incarnation {newer} of the job has taken over from incarnation {incarnation}");
    Error::cluster(place, message).with_hint("nothing is wrong with it if it was started on purpose: this process ends")
}
