//! Giving up what steps remember, once and for all starts to come.

use crate::checkpoint::problem::trouble;
use crate::checkpoint::snapshot::Snapshot;
use crate::checkpoint::volume::Volume;
use crate::error::Error;
use crate::fault;
use std::sync::Arc;

/// The snapshot without what these steps remember, which takes its place in the folder. Only for whoever holds the lease, and
/// only when nothing has been committed since: what was would be made again without that state, and differ.
pub fn give_up(volume: &Arc<dyn Volume>, snapshot: &Snapshot, steps: &[String]) -> Result<Snapshot, Error> {
    let stored = &snapshot.manifest.steps;
    let mut manifest = snapshot.manifest.without(&steps.iter().cloned().collect());
    manifest.steps.retain(|step| !steps.contains(&step.step));
    let number = |of: u16| {
        let name = &stored[of as usize].step;
        manifest.steps.iter().position(|step| step.step == *name).expect("places of other steps are left out") as u16
    };
    manifest.places.iter_mut().for_each(|place| place.step = number(place.step));
    let (name, bytes) = (manifest.name(), manifest.to_bytes()?);
    fault::point("manifest.replace.before");
    let written = volume.replace(&name, &bytes);
    written.map_err(|error| trouble("write a snapshot", volume.place(&name), &error))?;
    fault::point("manifest.replace.after");
    Snapshot::open(volume, manifest.tick, manifest.incarnation)?
}
