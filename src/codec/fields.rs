//! The fields of a source: which names are looked for, and what each is.
//!
//! Every name has a *cell*, a number below [`MAX_NAMES`]; the names of a list have cells in a row, so that among those
//! that a record has, the lowest cell is the first name. A field that is there with `null` counts as absent, whatever
//! it is: then the next name of its list is looked at.

use crate::codec::Format;
use crate::model::reading::MAX_CHANNELS;
use std::fmt;

/// Most names of fields in a format: a bit each in a word.
pub const MAX_NAMES: usize = 64;

/// What a field of a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The meter id.
    Meter,
    /// The event time.
    Time,
    /// A channel's value.
    Channel,
    /// The status.
    Status,
    /// Nothing that we know of.
    Ignored,
}

/// The names of a format, by cell.
pub struct Fields {
    names: Vec<(String, Role)>,
    /// Cells of the meter, as bits.
    pub meter: u64,
    /// Cells of the time.
    pub time: u64,
    /// Cells of the status.
    pub status: u64,
    /// Cells of each channel.
    pub channels: Vec<u64>,
    /// Whether every channel has one name, so that its cell is its index.
    pub direct: bool,
}

impl Fields {
    /// The fields of `format`.
    pub fn new(format: &Format) -> Result<Fields, FormatError> {
        if format.channels.len() > MAX_CHANNELS {
            return Err(FormatError::TooManyChannels(format.channels.len()));
        }
        let mut names = Vec::new();
        let channels = format.channels.iter().map(|(channel, list)| add(&mut names, list, Role::Channel, channel));
        let channels = channels.collect::<Result<Vec<u64>, FormatError>>()?;
        let meter = add(&mut names, &format.meter, Role::Meter, "meter")?;
        let time = add(&mut names, &format.time, Role::Time, "time")?;
        let status = if format.status.is_empty() { 0 } else { add(&mut names, &format.status, Role::Status, "status")? };
        let direct = channels.iter().all(|cells| cells.count_ones() == 1);
        Ok(Fields { names, meter, time, status, channels, direct })
    }

    /// The cell of a name.
    pub fn cell(&self, name: &[u8]) -> Option<u8> {
        self.names.iter().position(|(known, _)| known.as_bytes() == name).map(|cell| cell as u8)
    }

    /// The name of a cell and what it is.
    pub fn name(&self, cell: u8) -> (&str, Role) {
        let (name, role) = &self.names[usize::from(cell)];
        (name, *role)
    }

    /// All names with their roles, in the order of their cells.
    pub fn names(&self) -> impl Iterator<Item = (&str, Role)> {
        self.names.iter().map(|(name, role)| (name.as_str(), *role))
    }

    /// The names of some cells, for a message.
    pub fn list(&self, cells: u64) -> String {
        let names = (0..self.names.len()).filter(|cell| cells >> cell & 1 == 1);
        names.map(|cell| format!("{:?}", self.names[cell].0)).collect::<Vec<_>>().join(", ")
    }
}

/// Gives the names of a list their cells; those as bits.
fn add(names: &mut Vec<(String, Role)>, list: &[String], role: Role, owner: &str) -> Result<u64, FormatError> {
    let mut cells = 0;
    for name in list {
        if names.iter().any(|(known, _)| known == name) {
            return Err(FormatError::SharedName(name.clone()));
        }
        if names.len() == MAX_NAMES {
            return Err(FormatError::TooManyNames);
        }
        cells |= 1 << names.len();
        names.push((name.clone(), role));
    }
    if cells == 0 { Err(FormatError::NoName(owner.to_string())) } else { Ok(cells) }
}

/// Why a [`Format`] cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormatError {
    /// No such zone in the IANA database.
    UnknownZone(String),
    /// Numeric times need a unit of at least a millisecond.
    TimeUnit(i64),
    /// The meter, the time or a channel has no field.
    NoName(String),
    /// A field has two uses.
    SharedName(String),
    /// More than [`MAX_NAMES`] names.
    TooManyNames,
    /// More than [`MAX_CHANNELS`] channels.
    TooManyChannels(usize),
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FormatError::UnknownZone(name) => {
                write!(out, "time_zone {name:?} is no zone of the IANA database; one is \"Europe/Paris\"")
            }
            FormatError::TimeUnit(ms) => write!(out, "time_unit is {ms} ms; it must be 1 ms or more"),
            FormatError::NoName(what) => write!(out, "fields: {what} has no field name; give it one at least"),
            FormatError::SharedName(name) => {
                write!(out, "fields: {name:?} is named twice; a field is one of meter, time, status or one channel")
            }
            FormatError::TooManyNames => write!(out, "fields: more than {MAX_NAMES} names"),
            FormatError::TooManyChannels(count) => {
                write!(out, "fields: {count} channels; a reading has at most {MAX_CHANNELS}")
            }
        }
    }
}

impl std::error::Error for FormatError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::format;

    #[test]
    fn names_of_a_list_stand_in_a_row() {
        let fields = Fields::new(&format()).unwrap();
        assert_eq!((fields.meter, fields.time, fields.status), (0b11000, 0b100000, 0b1000000));
        assert_eq!((fields.channels.as_slice(), fields.direct), (&[1, 2, 4][..], true));
        assert_eq!(fields.cell(b"meterId"), Some(4));
        assert_eq!(fields.cell(b"meter"), None);
        assert_eq!(fields.name(1), ("current", Role::Channel));
        assert_eq!(fields.list(fields.meter), "\"meter_id\", \"meterId\"");
    }

    #[test]
    fn formats_that_cannot_be_used_are_refused() {
        let broken = |change: fn(&mut Format)| {
            let mut format = format();
            change(&mut format);
            Fields::new(&format).err()
        };
        let text = String::from;
        assert_eq!(broken(|format| format.meter.clear()), Some(FormatError::NoName(text("meter"))));
        assert_eq!(broken(|format| format.time.clear()), Some(FormatError::NoName(text("time"))));
        assert_eq!(broken(|format| format.channels[1].1.clear()), Some(FormatError::NoName(text("current"))));
        assert_eq!(broken(|format| format.status.clear()), None);
        let shared = |format: &mut Format| format.status.push("voltage".into());
        assert_eq!(broken(shared), Some(FormatError::SharedName(text("voltage"))));
        let names = |format: &mut Format| format.meter.extend((0..60).map(|name| name.to_string()));
        assert_eq!(broken(names), Some(FormatError::TooManyNames));
        let nine =
            |format: &mut Format| format.channels.extend((0..6).map(|name| (format!("c{name}"), vec![format!("c{name}")])));
        assert_eq!(broken(nine), Some(FormatError::TooManyChannels(9)));
    }
}
