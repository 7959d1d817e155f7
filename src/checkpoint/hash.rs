//! The hash of lines: of each its own, added up, so that the sum says nothing of their order or of who made them.

use crate::codec::id::murmur3;
use crate::model::commit::LinesHash;

/// Lines of a chunk and their hash, MurmurHash3 x64 128 of each line with its line feed: about 0.2 ns a byte. A line
/// ends with its line feed, and a last one without counts as well.
pub fn lines_hash(chunk: &[u8]) -> (u64, LinesHash) {
    let (mut rows, mut sum, mut start) = (0, LinesHash::default(), 0);
    let ends = memchr::memchr_iter(b'\n', chunk).map(|at| at + 1);
    for end in ends.chain((chunk.last().is_some_and(|last| *last != b'\n')).then_some(chunk.len())) {
        let [first, second] = murmur3(&chunk[start..end], 0);
        sum.add(LinesHash(first, second));
        rows += 1;
        start = end;
    }
    (rows, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_chunks_do_not_matter_and_content_does() {
        let (rows, whole) = lines_hash(b"a\nbb\n\nccc\n");
        assert_eq!(rows, 4);
        let (_, mut other) = lines_hash(b"ccc\n\n");
        other.add(lines_hash(b"bb\na\n").1);
        assert_eq!(whole, other);
        for changed in
            [&b"a\nbb\n\nccd\n"[..], b"a\nbb\nccc\n", b"a\nbb\n\nccc\nccc\n", b"a\nb\nb\n\nccc\n", b"abb\n\n\nccc\n"]
        {
            assert_ne!(lines_hash(changed).1, whole, "{}", String::from_utf8_lossy(changed));
        }
        assert_eq!(lines_hash(b""), (0, LinesHash::default()));
        assert_eq!(lines_hash(b"x\ny").0, 2);
        // Stored: it must never change.
        assert_eq!(lines_hash(b"hello\n").1, LinesHash(9_296_782_141_903_685_389, 12_746_131_854_552_785_574));
    }
}
