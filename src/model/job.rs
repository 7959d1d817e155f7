//! What a job keeps, and what it promises about its outputs.

use std::path::PathBuf;

/// What readers of the outputs may rely on when processes fail.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Delivery {
    /// A file is at any moment a prefix of its final content.
    #[default]
    ExactlyOnce,
    /// Lines leave when their tick closes and may come again after a failure, with the same id.
    AtLeastOnce,
}

/// The stored state of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobState {
    /// The folder; the same for all processes.
    pub folder: PathBuf,
    /// What is promised.
    pub delivery: Delivery,
    /// Steps whose stored state is given up, by name.
    pub dropped: Vec<String>,
}
