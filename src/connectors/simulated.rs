//! The simulator as a source: its lines, in blocks, without a file in between.

use crate::connectors::Blocks;
use crate::connectors::file::{Cut, Sequential};
use crate::settings::Problem;
use crate::simulator::{Generator, Settings};
use std::io::{self, Read};

/// A partition of a simulated fleet.
pub fn open(settings: &Settings, partition: u32, cut: Cut) -> Result<Box<dyn Blocks>, Problem> {
    let generator = Generator::of_partition(settings, partition)?;
    let lines = Simulated { generator, lines: Vec::new(), read: 0, more: true };
    Ok(Box::new(Sequential::new(Box::new(lines), cut)))
}

/// Names of the partitions of a simulated fleet.
pub fn partitions(settings: &Settings) -> Vec<String> {
    (0..settings.partitions).map(|partition| format!("simulated-{partition:04}")).collect()
}

struct Simulated {
    generator: Generator,
    lines: Vec<u8>,
    read: usize,
    more: bool,
}

impl Read for Simulated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.lines.len() && self.more {
            (self.read, self.more) = (0, {
                self.lines.clear();
                self.generator.fill(&mut self.lines, into.len())
            });
        }
        let length = into.len().min(self.lines.len() - self.read);
        into[..length].copy_from_slice(&self.lines[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Block;

    #[test]
    fn blocks_are_what_the_generator_writes() {
        let settings = Settings { meters: 20, duration_ms: 600_000, partitions: 2, ..Settings::default() };
        for partition in 0..2 {
            let mut expected = Vec::new();
            Generator::of_partition(&settings, partition).unwrap().fill(&mut expected, usize::MAX);
            let blocks = open(&settings, partition, Cut { block: 5000, max_record: 1 << 20 }).unwrap();
            let (mut lines, mut block) = (Vec::new(), Block::default());
            for number in 0.. {
                blocks.read(number, &mut block).unwrap();
                lines.extend_from_slice(block.lines());
                if block.is_last {
                    break;
                }
            }
            assert!(lines == expected && !lines.is_empty());
        }
    }
}
