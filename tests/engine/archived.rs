//! The rows of an archive, read back.

use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The rows of all objects below a folder, as text, sorted, by the folder of their kind.
pub fn archived(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in below(folder) {
        let name = kind.file_name().expect("it has a name").to_string_lossy().into_owned();
        for object in below(&kind).iter().flat_map(|date| below(date)) {
            let file = File::open(&object).expect("an object can be opened");
            let reader = SerializedFileReader::new(file).expect("an object is Parquet");
            let all = reader.get_row_iter(None).expect("an object has rows");
            rows.entry(name.clone()).or_default().extend(all.map(|row| row.expect("a row can be read").to_string()));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort());
    rows
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("a folder can be read").path()).collect()
}
