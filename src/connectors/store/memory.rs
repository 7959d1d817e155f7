//! Objects in memory: for tests, and for whatever needs no more than this process.

use crate::connectors::store::{Entry, ObjectStore, Outcome, StoreError, check_name, clip};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A store that ends with the process.
#[derive(Default, Debug)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    /// No objects yet.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        // Every change is one call of the map, so a thread that panicked elsewhere left nothing half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectStore for Memory {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name)?;
        self.objects().insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError> {
        check_name(name)?;
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Ok(Outcome::Exists);
        }
        objects.insert(name.to_string(), bytes.to_vec());
        Ok(Outcome::Written)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name)?;
        let part = |object: &Vec<u8>| {
            let part = clip(range, object.len() as u64);
            object[part.start as usize..part.end as usize].to_vec()
        };
        Ok(self.objects().get(name).map(part))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let objects = self.objects();
        let under = objects.range(prefix.to_string()..).take_while(|(name, _)| name.starts_with(prefix));
        Ok(under.map(|(name, object)| Entry { name: name.clone(), bytes: object.len() as u64 }).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.objects().remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract() {
        crate::connectors::store::contract::check(&Memory::new());
    }
}
