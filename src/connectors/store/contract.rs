//! What every object store must do, as one test over `&dyn ObjectStore`: a new store calls [`check`] and is done.

use crate::connectors::store::{Entry, ObjectStore, Outcome, StoreError};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs the whole contract against an empty store.
pub fn check(store: &dyn ObjectStore) {
    reads_back_what_was_put(store);
    replaces_and_repeats(store);
    only_the_first_of_put_if_absent_writes(store);
    lists_by_prefix_in_order(store);
    refuses_bad_names(store);
    shows_whole_objects_only(store);
    for entry in store.list("").unwrap() {
        store.delete(&entry.name).unwrap();
        store.delete(&entry.name).unwrap();
    }
    assert_eq!(store.list("").unwrap(), []);
}

fn get(store: &dyn ObjectStore, name: &str) -> Option<Vec<u8>> {
    store.get_range(name, 0..u64::MAX).unwrap()
}

fn reads_back_what_was_put(store: &dyn ObjectStore) {
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
    assert_eq!(get(store, "read/object"), None);
    store.put("read/object", &bytes).unwrap();
    store.put("read/empty", b"").unwrap();
    for range in [0..0, 0..1, 5..77, 99_999..100_000, 99_990..200_000, 100_000..100_001, 300_000..u64::MAX] {
        let clip = |at: u64| (at as usize).min(bytes.len());
        let expected = &bytes[clip(range.start)..clip(range.end)];
        assert_eq!(store.get_range("read/object", range.clone()).unwrap().as_deref(), Some(expected), "{range:?}");
    }
    assert_eq!(get(store, "read/empty").as_deref(), Some(&b""[..]));
    assert_eq!(get(store, "read"), None, "a folder is no object");
    store.delete("read/object").unwrap();
    assert_eq!(get(store, "read/object"), None);
    store.delete("read/object").unwrap();
    store.delete("never/was/there").unwrap();
}

fn replaces_and_repeats(store: &dyn ObjectStore) {
    for bytes in [&b"first and long"[..], b"second", b"second"] {
        store.put("again/x", bytes).unwrap();
        assert_eq!(get(store, "again/x").as_deref(), Some(bytes));
    }
    assert_eq!(store.list("again/").unwrap(), [Entry { name: "again/x".to_string(), bytes: 6 }]);
}

fn only_the_first_of_put_if_absent_writes(store: &dyn ObjectStore) {
    let written: Vec<usize> = std::thread::scope(|scope| {
        let put = |i: usize| {
            move || {
                (store.put_if_absent("once/x", format!("writer {i}").as_bytes()).unwrap() == Outcome::Written).then_some(i)
            }
        };
        let threads: Vec<_> = (0..4).map(|i| scope.spawn(put(i))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    let content = String::from_utf8(get(store, "once/x").unwrap()).unwrap();
    // A store that lost the answer to the one call that wrote says `Exists` to its repetition.
    assert!(written.len() <= 1, "{written:?}");
    assert!(written.iter().all(|i| content == format!("writer {i}")), "{written:?} {content}");
    assert_eq!(store.put_if_absent("once/x", b"late").unwrap(), Outcome::Exists);
    assert_eq!(get(store, "once/x").unwrap(), content.as_bytes());
}

fn lists_by_prefix_in_order(store: &dyn ObjectStore) {
    let names = ["list/a.b", "list/a/1", "list/a/2/3", "list/a=1", "list/ab", "list/b"];
    for name in names.iter().rev() {
        store.put(name, name.as_bytes()).unwrap();
    }
    for prefix in ["list/", "list/a", "list/a/", "list/a/2", "list/b", "list/b/", "list/c", "lis", "list/a=1", "listen"] {
        let listed: Vec<Entry> = store.list(prefix).unwrap();
        let expected: Vec<Entry> = names
            .iter()
            .filter(|name| name.starts_with(prefix))
            .map(|name| Entry { name: name.to_string(), bytes: name.len() as u64 })
            .collect();
        assert_eq!(listed, expected, "{prefix}");
    }
}

fn refuses_bad_names(store: &dyn ObjectStore) {
    for name in ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".tmp-x", "a/", "a b"] {
        assert!(matches!(store.put(name, b""), Err(StoreError::NeedsPerson { .. })), "{name}");
        assert!(matches!(store.put_if_absent(name, b""), Err(StoreError::NeedsPerson { .. })), "{name}");
        assert!(matches!(store.get_range(name, 0..1), Err(StoreError::NeedsPerson { .. })), "{name}");
        assert!(matches!(store.delete(name), Err(StoreError::NeedsPerson { .. })), "{name}");
    }
}

/// Two writers replace an object while a reader looks, all the time: it sees one or the other, whole.
fn shows_whole_objects_only(store: &dyn ObjectStore) {
    let versions = [vec![1u8; 3_000_000], vec![2u8; 2_000_000]];
    store.put("whole/x", &versions[0]).unwrap();
    let writing = AtomicUsize::new(versions.len());
    std::thread::scope(|scope| {
        for version in &versions {
            let writing = &writing;
            scope.spawn(move || {
                (0..8).for_each(|_| store.put("whole/x", version).unwrap());
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while writing.load(Ordering::SeqCst) > 0 {
            let seen = get(store, "whole/x").unwrap();
            assert!(versions.contains(&seen), "a mixture of {} bytes", seen.len());
            let sizes: Vec<u64> = store.list("whole/").unwrap().iter().map(|entry| entry.bytes).collect();
            assert!(sizes == [3_000_000] || sizes == [2_000_000], "{sizes:?}");
        }
    });
}

/// A caller that repeats each call until it is told that it was done.
pub struct Stubborn<'a>(
    /// The store that fails now and then.
    pub &'a dyn ObjectStore,
);

impl Stubborn<'_> {
    fn repeat<T>(&self, act: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match act() {
                Err(error) if error.is_transient() => continue,
                other => return other,
            }
        }
    }
}

impl ObjectStore for Stubborn<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.repeat(|| self.0.put(name, bytes))
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Outcome, StoreError> {
        self.repeat(|| self.0.put_if_absent(name, bytes))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        self.repeat(|| self.0.get_range(name, range.clone()))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.repeat(|| self.0.list(prefix))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.repeat(|| self.0.delete(name))
    }
}
