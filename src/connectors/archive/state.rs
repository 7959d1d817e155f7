//! What an archive remembers: rows that wait for their object, and rows of cuts that are not known to be stored.
//!
//! All of it is stored by key group, so that whoever owns a meter's group after a restart has all the meter's rows, and what
//! a cut holds can be said in key groups and ticks. Of a cut whose object is not there the rows wait again.

use crate::codec::parquet::Names;
use crate::connectors::archive::cut::{Kind, Rows};
use crate::connectors::archive::held::Held;
use crate::connectors::archive::recovered::holds;
use crate::connectors::archive::{Archiver, Buffer, Pending};
use crate::model::control::Tick;
use crate::state::{Corrupt, Reader, Scope, State, Writer};

/// Rows of one key group as they are stored.
struct Stored {
    /// The object that they were cut for; empty: none.
    name: String,
    key: (Kind, i64),
    first: Tick,
    since: Option<i64>,
    rows: Rows,
}

impl Stored {
    fn save(&self, out: &mut Writer) {
        let (kind, day) = self.key;
        out.column(self.name.as_bytes());
        out.value(kind as u8);
        out.value(day);
        out.value(self.first);
        out.value(u8::from(self.since.is_some()));
        out.value(self.since.unwrap_or_default());
        self.rows.save(out);
    }

    fn load(names: &Names, from: &mut Reader) -> Result<Stored, Corrupt> {
        let name = String::from_utf8(from.column()?).map_err(|_| Corrupt("an object's name is not UTF-8".to_string()))?;
        let kind = usize::from(from.value::<u8>()?);
        let kind = *Kind::ALL.get(kind).ok_or_else(|| Corrupt(format!("rows of the kind {kind}")))?;
        let (day, first) = (from.value()?, from.value()?);
        let (known, since) = (from.value::<u8>()? == 1, from.value()?);
        let rows = Rows::load(kind, names.channels.len(), day, from)?;
        Ok(Stored { name, key: (kind, day), first, since: known.then_some(since), rows })
    }
}

impl Archiver {
    /// The rows of a group wait again, or still.
    fn wait_again(&mut self, stored: Stored) {
        let Stored { key, first, since, rows, .. } = stored;
        let new = || Buffer { held: Held::new(rows.alike()), first, since };
        let buffer = self.buffers.entry(key).or_insert_with(new);
        buffer.first = buffer.first.min(first);
        buffer.since = buffer.since.into_iter().chain(since).min();
        let before = buffer.held.rows().memory();
        buffer.held.change().extend(&rows, 0..rows.len());
        self.memory += buffer.held.rows().memory() - before;
    }

    fn load_group(&mut self, group: u16, from: &mut Reader) -> Result<(), Corrupt> {
        while !from.is_empty() {
            let stored = Stored::load(&self.names, from)?;
            // It will be saved otherwise, as what comes from several workers is put together.
            self.changed.mark(group);
            if !stored.name.is_empty() && self.on_the_way.holds(&stored.name) {
                let Stored { name, rows, key, first, .. } = stored;
                let new = || Pending { key, first, held: Held::new(rows.alike()) };
                self.pending.entry(name).or_insert_with(new).held.change().extend(&rows, 0..rows.len());
                continue;
            }
            if !stored.name.is_empty() && self.recovered.exists(&stored.name) {
                continue;
            }
            // What is stored came up to the tick that closed last; a cut of that tick is stored by its name.
            let since_then = self.closed.map_or(0, |tick| tick + 1);
            if !holds(&self.recovered.stored(stored.key, since_then), group) {
                self.wait_again(stored);
            }
        }
        Ok(())
    }
}

impl State for Archiver {
    fn kind(&self) -> (&'static str, u16) {
        ("archive", 1)
    }

    /// Rows have channels, detectors and their kinds by number.
    fn shape(&self) -> String {
        let detectors = self.names.detectors.iter().map(|(name, kinds)| format!("{name}({})", kinds.join(",")));
        let detectors = detectors.collect::<Vec<String>>().join(",");
        format!("channels={} detectors={detectors}", self.names.channels.join(","))
    }

    fn is_changed(&self, group: u16) -> bool {
        self.changed.is_marked(group)
    }

    fn mark_saved(&mut self, group: u16) {
        self.changed.clear(group);
    }

    fn save(&self, scope: Scope, out: &mut Writer) {
        let group = match scope {
            Scope::Group(group) => group,
            Scope::Global => return out.value(self.closed.map_or(0, |tick| tick + 1)),
            Scope::Partition(_) => return,
        };
        for (name, Pending { key, first, held }) in &self.pending {
            if let Some(rows) = held.of_group(group) {
                Stored { name: name.clone(), key: *key, first: *first, since: None, rows }.save(out);
            }
        }
        for (key, Buffer { held, first, since }) in &self.buffers {
            if let Some(rows) = held.of_group(group) {
                Stored { name: String::new(), key: *key, first: *first, since: *since, rows }.save(out);
            }
        }
    }

    fn load(&mut self, scope: Scope, from: &mut Reader) -> Result<(), Corrupt> {
        match scope {
            Scope::Group(group) => self.load_group(group, from),
            Scope::Global => {
                self.closed = from.value::<Tick>()?.checked_sub(1);
                Ok(())
            }
            Scope::Partition(_) => Ok(()),
        }
    }
}
