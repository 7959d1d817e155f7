//! A store that fails on purpose, for tests of whoever uses one: it refuses, or does the work and says that it timed out.

use crate::connectors::store::{Entry, ObjectStore, Outcome, StoreError};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call is refused before it has any effect.
    Refuse,
    /// The call takes effect, and is reported as timed out.
    TimeOutAfter,
    /// The call has no effect, and is reported as timed out: to the caller the same as [`Fault::TimeOutAfter`].
    TimeOutBefore,
    /// The call is refused until somebody acts.
    Forbid,
}

/// A store around another one.
pub struct Faulty<S> {
    inner: S,
    plan: fn(u64) -> Fault,
    calls: AtomicU64,
}

impl<S: ObjectStore> Faulty<S> {
    /// `plan` says what goes wrong with the n-th call, from 0.
    pub fn new(inner: S, plan: fn(u64) -> Fault) -> Faulty<S> {
        Faulty { inner, plan, calls: AtomicU64::new(0) }
    }

    /// The store behind it, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T>(&self, what: &str, act: impl FnOnce(&S) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match (self.plan)(self.calls.fetch_add(1, Ordering::SeqCst)) {
            Fault::None => act(&self.inner),
            Fault::Refuse => Err(StoreError::DidNotHappen(format!("{what}: refused on purpose"))),
            Fault::TimeOutBefore => Err(StoreError::MayHaveHappened(format!("{what}: timed out on purpose"))),
            Fault::TimeOutAfter => {
                act(&self.inner)?;
                Err(StoreError::MayHaveHappened(format!("{what}: timed out on purpose")))
            }
            Fault::Forbid => Err(StoreError::NeedsPerson {
                problem: format!("{what}: forbidden on purpose"),
                remedy: "end the test".to_string(),
            }),
        }
    }
}

impl<S: ObjectStore> ObjectStore for Faulty<S> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.call("put", |store| store.put(name, bytes))
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError> {
        self.call("put_if_absent", |store| store.put_if_absent(name, bytes))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        self.call("get_range", |store| store.get_range(name, range))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.call("list", |store| store.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call("delete", |store| store.delete(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::store::contract;
    use crate::connectors::store::memory::Memory;

    #[test]
    fn each_fault_does_what_it_says() {
        let faulty = Faulty::new(Memory::new(), |call| match call {
            0 => Fault::Refuse,
            1 => Fault::TimeOutBefore,
            2 => Fault::TimeOutAfter,
            3 => Fault::Forbid,
            _ => Fault::None,
        });
        assert!(matches!(faulty.put("a", b"1"), Err(StoreError::DidNotHappen(_))));
        assert!(matches!(faulty.put("b", b"1"), Err(StoreError::MayHaveHappened(_))));
        assert!(matches!(faulty.put("c", b"1"), Err(StoreError::MayHaveHappened(_))));
        assert!(matches!(faulty.put("d", b"1"), Err(StoreError::NeedsPerson { .. })));
        assert_eq!(faulty.put("e", b"1"), Ok(()));
        let names: Vec<String> = faulty.list("").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["c", "e"]);
        assert_eq!(faulty.calls(), 6);
    }

    #[test]
    fn without_faults_it_keeps_the_contract() {
        contract::check(&Faulty::new(Memory::new(), |_| Fault::None));
    }

    #[test]
    fn repeating_what_may_have_happened_is_enough() {
        // Every third call works; each of the others is refused or lost on its way there or back.
        let faulty = Faulty::new(Memory::new(), |call| [Fault::TimeOutAfter, Fault::Refuse, Fault::None][call as usize % 3]);
        contract::check(&contract::Stubborn(&faulty));
    }
}
