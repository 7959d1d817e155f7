//! Removes what no kept snapshot needs.

use crate::checkpoint::frame::{Frames, Kind, Next};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::names::Name;
use crate::checkpoint::problem::trouble;
use crate::checkpoint::spool::SpoolBegin;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::fault;
use std::collections::{BTreeMap, BTreeSet};

/// Removes, as `incarnation`, what is needed neither by `older` nor by `newer`, which are kept. Returns how many files.
///
/// A replaced incarnation may still come here. It touches nothing that a newer one has written, and what a newer one goes on
/// from is `older`, `newer` or still newer.
pub fn trim(volume: &dyn Volume, incarnation: u64, older: &Manifest, newer: &Manifest) -> Result<usize, Error> {
    let names = volume.list().map_err(|error| trouble("list the state folder", volume.place(""), &error))?;
    let spools = spool_begins(volume, &names)?;
    let used: BTreeSet<&str> =
        [older, newer].iter().flat_map(|kept| &kept.segments).map(|(file, _)| file.as_str()).collect();
    let is_over = |name: &Name, text: &str| match *name {
        Name::Log { incarnation, sequence } => {
            (incarnation, sequence) < (older.position.incarnation, older.position.sequence)
        }
        Name::Spool { incarnation, process, sequence } => {
            let next = Name::Spool { incarnation, process, sequence: sequence + 1 };
            let newest = spools.get(&next);
            incarnation < older.position.incarnation
                || newest.is_some_and(|newest| newest.is_none_or(|newest| newest <= older.tick))
        }
        Name::Manifest { tick, incarnation } => {
            (tick, incarnation) < (newer.tick, newer.incarnation) && (tick, incarnation) != (older.tick, older.incarnation)
        }
        Name::Segment { tick, .. } => tick <= newer.tick && !used.contains(text),
    };
    // Manifests first: one that is there should have its segments.
    let mut over: Vec<(bool, &String)> = Vec::new();
    for text in &names {
        let name = Name::parse(text);
        let left_over = Name::left_over(text).is_some_and(|name| name.incarnation() < incarnation);
        let is_over = name.is_some_and(|name| name.incarnation() <= incarnation && is_over(&name, text));
        if is_over || left_over {
            over.push((!matches!(name, Some(Name::Manifest { .. })), text));
        }
    }
    over.sort();
    for (_, name) in &over {
        fault::point("trim.remove.before");
        volume.remove(name).map_err(|error| trouble("remove", volume.place(name), &error))?;
        fault::point("trim.remove.after");
    }
    Ok(over.len())
}

/// What the first records of spool files say of the files before them; without those that were never durable.
fn spool_begins(volume: &dyn Volume, names: &[String]) -> Result<BTreeMap<Name, Option<u64>>, Error> {
    let mut begins = BTreeMap::new();
    for text in names {
        let Some(name @ Name::Spool { .. }) = Name::parse(text) else { continue };
        let mut frames = Frames::open(volume, text, 0, None)?;
        if let Next::Frame(frame) = frames.read()?
            && frame.kind == Kind::SpoolBegin
        {
            begins.insert(name, frame.json::<SpoolBegin>(&frames.place())?.newest);
        }
    }
    Ok(begins)
}
