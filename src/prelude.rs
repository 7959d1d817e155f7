//! Every name that a dataflow may use.

pub use crate::drivers::Events;
pub use crate::error::Error;
pub use crate::flow::{
    Anomalies, Custom, Dataflow, DeadLetters, Flow, LateReadings, MakeLines, Readings, Sinkable, SourceNames, Statistics,
};
pub use crate::model::control::{Close, Counts, Event, Tick};
pub use crate::model::dead::DeadLetter;
pub use crate::model::meter::MeterKey;
pub use crate::model::reading::{Batch, Reading};
pub use crate::model::results::{AnomalyBatch, AnomalyRow, Finding, Severity, WindowBatch, WindowRow};
pub use crate::operators::Logic;
pub use crate::state::keyed::{Keyed, Slot};
pub use crate::state::slab::{NONE, Slab};
pub use crate::state::{Corrupt, Reader, Scope, State, Writer};
pub use differential_dataflow;
pub use timely;
