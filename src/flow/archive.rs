//! The archive of a dataflow: one step for each kind of result that is archived.

use crate::codec::parquet::Names;
use crate::codec::write::{self, Lines};
use crate::connectors::archive::{ArchiveSettings, Archiver, Kind, ObjectNames, UploadSettings, Uploader};
use crate::connectors::store;
use crate::drivers::Events;
use crate::drivers::publish::{Skip, publish_here};
use crate::error::Error;
use crate::flow::Flow;
use crate::flow::steps::SourceNames;
use crate::model::results::AnomalyBatch;
use crate::operators::archive::{Archivable, Archive, ToArchive};
use std::rc::Rc;
use std::sync::Arc;

/// Names of the detectors of a step with their kinds.
type Detectors = Rc<Vec<(&'static str, Vec<String>)>>;

/// Results that can be archived.
pub struct Archived<'scope, B> {
    /// What they are.
    pub kind: Kind,
    /// Their events.
    pub events: Events<'scope, Rc<B>>,
    /// Names that their rows carry.
    pub names: Rc<SourceNames>,
    /// The step that found them, with its detectors.
    pub found_by: Option<(String, Detectors)>,
}

/// A step whose results can be archived.
pub trait AsArchived<'scope> {
    /// What their rows are.
    type Rows: Archivable;

    /// The results with what the archive must know of them.
    fn archived(&self) -> Archived<'scope, Self::Rows>;
}

impl<'scope> Flow<'scope> {
    /// Archives results, if the configuration asks for their kind.
    pub fn archive<A: AsArchived<'scope>>(&mut self, results: &A) -> Result<(), Error> {
        let Archived { kind, events, names, found_by } = results.archived();
        let Some(archive) = &self.settings().archive else { return Ok(()) };
        let wanted = match kind {
            Kind::Readings => archive.readings,
            Kind::Stats => archive.stats,
            Kind::Anomalies => archive.anomalies,
        };
        if !wanted {
            return Ok(());
        }
        let url = format!("file://{}", archive.folder.display());
        let settings = ArchiveSettings {
            kinds: vec![kind],
            max_size: archive.max_size,
            max_age_ms: archive.max_age,
            memory: archive.memory / archive.kinds(),
            settle_ms: self.settings().windows.longest_wait(),
        };
        let dataflow = self.job.dataflow.clone();
        let (step, detectors) = found_by.unwrap_or_default();
        let lines = Lines::new(&write::Names {
            dataflow: &dataflow,
            step: &step,
            source: &names.source,
            detectors: &detectors,
            channels: &names.channels,
        });
        let partitions = names.partitions.to_vec();
        let ids = Arc::new(move |batch: &AnomalyBatch| lines.ids(batch, &partitions));
        let names = Arc::new(Names {
            dataflow,
            source: names.source.clone(),
            channels: names.channels.clone(),
            partitions: names.partitions.to_vec(),
            detectors: detectors.iter().map(|(name, kinds)| ((*name).to_owned(), kinds.clone())).collect(),
            anomaly_ids: ids,
        });
        let worker = self.scope.index();
        let objects = ObjectNames { tag: self.job.run.clone(), worker };
        let unusable = |error: &dyn std::fmt::Display| Error::output(format!("archive {url}"), error);
        let store = store::open(&url).map_err(|error| unusable(&error))?;
        let upload = UploadSettings { capacity: settings.memory, ..UploadSettings::default() };
        let uploader = Uploader::start(store, upload, || {}).map_err(|error| unusable(&error))?;
        let archive = Archive::new(Archiver::new(settings, names, objects), uploader);

        let name = format!("archive {}", kind.name());
        let parts = self.step(&name, events, move || ToArchive { worker: worker as u32 })?;
        self.publish.push(Box::new(move |ticks| {
            publish_here(&name, parts, ticks.committed, Some(Box::new(archive)), Skip::default())
        }));
        Ok(())
    }
}
