//! The blocks of a file, however they are read, are its lines.

use super::*;
use crate::connectors::Block;
use proptest::prelude::*;
use std::io::Write;

/// Lines of all blocks with their offsets, and the true length of those that were cut.
fn lines(blocks: &dyn Blocks, from_back: bool) -> Vec<(u64, Vec<u8>, Option<u64>)> {
    let mut numbers: Vec<u64> = (0..200).collect();
    if from_back {
        // Neighbours may be asked for in the wrong order.
        numbers.chunks_mut(2).for_each(|pair| pair.reverse());
    }
    let mut found = Vec::new();
    for number in numbers {
        let mut block = Block::default();
        blocks.read(number, &mut block).unwrap();
        let mut offset = block.base;
        let mut rest = block.lines();
        while !rest.is_empty() {
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let cut = block.last_line.filter(|_| length == rest.len());
            found.push((offset, rest[..length].to_vec(), cut));
            offset += length as u64;
            rest = &rest[length..];
        }
        if block.last_line.is_none() && !block.lines().is_empty() {
            assert_eq!(block.end, block.base + block.lines().len() as u64);
        }
    }
    found.sort();
    found
}

fn expected(content: &[u8], max_record: usize) -> Vec<(u64, Vec<u8>, Option<u64>)> {
    let mut offset = 0;
    let mut found = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let length = line.len() - usize::from(line.ends_with(b"\n")) - usize::from(line.ends_with(b"\r\n"));
        found.push(match length > max_record.max(RAW) + 1000 {
            true => (offset, line[..RAW].to_vec(), Some(length as u64)),
            false => (offset, line.to_vec(), None),
        });
        offset += line.len() as u64;
    }
    found
}

const RAW: usize = RAW_LIMIT;

fn temporary(content: &[u8], name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("meterflow-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn entry(path: &Path) -> Entry {
    let bytes = std::fs::metadata(path).unwrap().len();
    Entry { name: "x".into(), path: path.to_path_buf(), bytes }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    // Two members, as concatenated log files have.
    let middle = content.len() / 2;
    let mut all = Vec::new();
    for part in [&content[..middle], &content[middle..]] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        all.extend(encoder.finish().unwrap());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn blocks_are_the_lines_of_the_file(
        lengths in prop::collection::vec(prop_oneof![0usize..12, 0usize..80], 0..40),
        block in 1u64..64,
        last_feed: bool,
    ) {
        let mut content = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            content.extend(std::iter::repeat_n(b'a' + (number % 26) as u8, *length));
            content.push(b'\n');
        }
        if !last_feed {
            content.pop();
        }
        let cut = Cut { block: block.max(content.len() as u64 / 150 + 1), max_record: 1 << 20 };
        let want = expected(&content, cut.max_record);
        for (name, bytes) in [("p", content.clone()), ("g", gzip(&content)), ("z", zstd::encode_all(&content[..], 1).unwrap())] {
            let path = temporary(&bytes, name);
            let blocks = open(&entry(&path), cut).unwrap();
            prop_assert_eq!(lines(&*blocks, false), want.clone(), "{}", name);
            let blocks = open(&entry(&path), cut).unwrap();
            blocks.peek(10).unwrap();
            prop_assert_eq!(lines(&*blocks, true), want.clone(), "{} out of order", name);
        }
    }
}

#[test]
fn a_line_that_is_too_long_is_cut_and_measured() {
    let mut content = b"short\n".to_vec();
    content.extend(std::iter::repeat_n(b'x', 700_000));
    content.extend_from_slice(b"\nafter\n");
    content.extend(std::iter::repeat_n(b'z', 300_000));
    content.extend_from_slice(b"\r\n");
    content.extend(std::iter::repeat_n(b'y', 500_000));
    for max_record in [100, 90_000] {
        let cut = Cut { block: 8000, max_record };
        for bytes in [content.clone(), gzip(&content)] {
            let path = temporary(&bytes, "long");
            let blocks = open(&entry(&path), cut).unwrap();
            assert!(lines(&*blocks, false) == expected(&content, cut.max_record));
        }
    }
}

#[test]
fn a_header_is_skipped() {
    let content = b"a,b\n1,2\n3,4\n";
    for bytes in [content.to_vec(), gzip(content)] {
        let path = temporary(&bytes, "header");
        let mut blocks = open(&entry(&path), Cut { block: 5, max_record: 100 }).unwrap();
        assert_eq!(blocks.peek(4).unwrap(), b"a,b\n");
        blocks.skip(4);
        assert_eq!(blocks.peek(4).unwrap(), b"1,2\n");
        assert_eq!(lines(&*blocks, false), [(4, b"1,2\n".to_vec(), None), (8, b"3,4\n".to_vec(), None)]);
    }
}

#[test]
fn partitions_are_named_relative_to_the_fixed_part() {
    for (pattern, fixed) in [("a/b/*.gz", "a/b"), ("a/*/c.gz", "a"), ("a/b/c.gz", "a/b"), ("c*", ""), ("/x/[ab]/y", "/x")] {
        assert_eq!(fixed_part(pattern), Path::new(fixed), "{pattern}");
    }
    let path = temporary(b"", "listed.jsonl");
    let entries = list(path.to_str().unwrap()).unwrap();
    assert_eq!((entries.len(), entries[0].name.as_str()), (1, "listed.jsonl"));
    assert_eq!(list("/nowhere/*.x").unwrap_err().kind(), io::ErrorKind::NotFound);
}
