//! Removes what no kept snapshot needs.

use crate::checkpoint::snapshot::{self, Snapshot};
use crate::checkpoint::volume::Volume;
use crate::checkpoint::{fault, log, spool, unusable};
use crate::error::Error;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Snapshots that are kept: the newest, and one in case that is damaged.
const KEPT: usize = 2;

/// Removes older snapshots than the kept ones, the segments that only those refer to, and the log files before the oldest
/// kept one. Called when a new snapshot counts and no other is being taken.
pub fn trim(volume: &Arc<dyn Volume>) -> Result<(), Error> {
    fault::point("trim.before");
    let failed = |error: std::io::Error| unusable(&**volume, "", &error);
    let manifests = snapshot::manifests(&**volume).map_err(failed)?;
    let kept: Vec<Snapshot> =
        manifests.iter().rev().filter_map(|name| Snapshot::open(volume.clone(), name).ok()).take(KEPT).collect();
    let Some(oldest) = kept.last() else { return Ok(()) };
    let names: BTreeSet<&str> = kept.iter().map(Snapshot::name).collect();
    let segments: BTreeSet<&str> = kept.iter().flat_map(|kept| &kept.manifest.segments).map(String::as_str).collect();
    let position = oldest.manifest.position;
    // With one snapshot only, the log still goes back to the start of the job.
    let may_cut_log = kept.len() == KEPT;
    let is_needed = |name: &str| match (snapshot::parse_manifest(name), log::parse(name)) {
        (Some(_), _) => names.contains(name),
        (None, Some(log)) => !may_cut_log || log >= (position.incarnation, position.sequence),
        (None, None) => !snapshot::is_segment(name) || segments.contains(name),
    };
    // Manifests first: what is left must never refer to what is gone.
    let all = volume.list().map_err(failed)?;
    let (first, then): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|name| !is_needed(name)).partition(|name| snapshot::parse_manifest(name).is_some());
    remove(&**volume, first.iter().chain(&then))?;
    fault::point("trim.after");
    Ok(())
}

/// Removes files of the state folder.
pub fn remove<'a>(volume: &dyn Volume, names: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    for name in names {
        fault::point("trim.remove");
        volume.remove(name).map_err(|error| unusable(volume, name, &error))?;
    }
    Ok(())
}

/// Removes the spools of earlier incarnations: their lines have been shown, and are durable where they were shown.
pub fn old_spools(volume: &dyn Volume, incarnation: u64) -> Result<(), Error> {
    let names = volume.list().map_err(|error| unusable(volume, "", &error))?;
    remove(volume, names.iter().filter(|name| spool::parse(name).is_some_and(|of| of < incarnation)))
}
