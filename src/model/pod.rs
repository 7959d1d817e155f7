//! Serde for columns of plain values: one copy of memory instead of one call an element.
//!
//! Used between processes of the same build only, so the machine's own layout is good enough.

use bytemuck::Pod;
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// `#[serde(with = "pod")]`: writes the column as bytes.
pub fn serialize<T: Pod, S: Serializer>(column: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytemuck::cast_slice(column))
}

/// `#[serde(with = "pod")]`: reads the column from bytes.
pub fn deserialize<'de, T: Pod, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct Column<T>(std::marker::PhantomData<T>);
    impl<T: Pod> Visitor<'_> for Column<T> {
        type Value = Vec<T>;
        fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
            write!(out, "a whole number of elements of {} bytes", size_of::<T>())
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
            if !bytes.len().is_multiple_of(size_of::<T>()) {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            Ok(bytemuck::allocation::pod_collect_to_vec(bytes))
        }
    }
    deserializer.deserialize_bytes(Column(std::marker::PhantomData))
}
