//! Dense numbers for the meters and statuses of a buffer, so that a row holds four bytes of each.

use crate::model::meter::{MeterKey, group_of};
use crate::state::{Corrupt, Reader, Writer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers meters from 0 in the order of their appearance.
#[derive(Clone, Default, Debug)]
pub struct Meters {
    /// Open addressing, a power of two: 0 is free, else the number + 1.
    index: Vec<u32>,
    keys: Vec<MeterKey>,
    heap: Vec<u8>,
}

impl Meters {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The id of a number that was given.
    pub fn id(&self, number: u32) -> &[u8] {
        self.keys[number as usize].bytes(&self.heap)
    }

    /// The key of a number that was given, and the heap that it belongs to.
    pub fn key(&self, number: u32) -> (&MeterKey, &[u8]) {
        (&self.keys[number as usize], &self.heap)
    }

    /// The key group of each meter, by number.
    pub fn groups(&self) -> Vec<u16> {
        self.keys.iter().map(|key| group_of(key.hash()) as u16).collect()
    }

    /// Appends the meters, in the order of their numbers.
    pub fn save(&self, out: &mut Writer) {
        out.column(&self.keys);
        out.column(&self.heap);
    }

    /// The meters that [`Meters::save`] wrote.
    pub fn load(from: &mut Reader) -> Result<Meters, Corrupt> {
        let (keys, heap) = (from.column::<MeterKey>()?, from.column::<u8>()?);
        let mut meters = Meters::default();
        for (number, key) in (0..).zip(&keys) {
            if meters.number(key, &heap) != number {
                return Err(Corrupt("a meter stands twice in a list of meters".to_string()));
            }
        }
        Ok(meters)
    }

    /// Bytes that the meters take, about.
    pub fn memory(&self) -> usize {
        self.index.len() * size_of::<u32>() + self.keys.len() * size_of::<MeterKey>() + self.heap.len()
    }

    /// The number of a meter, whose key belongs to `heap`; a new one gets the next.
    #[inline]
    pub fn number(&mut self, key: &MeterKey, heap: &[u8]) -> u32 {
        if self.index.is_empty() {
            self.index.resize(8, 0);
        }
        let mask = self.index.len() - 1;
        let mut at = key.hash() as usize & mask;
        loop {
            match self.index[at] {
                0 => return self.insert(at, key, heap),
                entry if self.keys[entry as usize - 1].same(&self.heap, key, heap) => return entry - 1,
                _ => at = (at + 1) & mask,
            }
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, key: &MeterKey, heap: &[u8]) -> u32 {
        let number = self.keys.len() as u32;
        let key = key.moved(heap, &mut self.heap);
        self.keys.push(key);
        self.index[at] = number + 1;
        if self.keys.len() * 2 > self.index.len() {
            let size = self.index.len() * 4;
            self.index.clear();
            self.index.resize(size, 0);
            for (number, key) in self.keys.iter().enumerate() {
                let mut at = key.hash() as usize & (size - 1);
                while self.index[at] != 0 {
                    at = (at + 1) & (size - 1);
                }
                self.index[at] = number as u32 + 1;
            }
        }
        number
    }

    /// The numbers in the order of their ids' bytes.
    pub fn sorted(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.id(*a).cmp(self.id(*b)));
        order
    }
}

/// Numbers texts from 1 in the order of their appearance; 0 is none.
#[derive(Clone, Default, Debug)]
pub struct Texts {
    numbers: BTreeMap<Arc<[u8]>, u32>,
    /// By number, less 1.
    texts: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Texts {
    /// The number of a text; a new one gets the next.
    pub fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32 + 1;
        let text: Arc<[u8]> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text.clone(), number);
        self.bytes += text.len();
        number
    }

    /// The texts, at their numbers; the one at 0 is empty.
    pub fn by_number(&self) -> Vec<&[u8]> {
        (0..=self.texts.len() as u32).map(|number| self.text(number)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text of a number that was given; empty for 0.
    pub fn text(&self, number: u32) -> &[u8] {
        number.checked_sub(1).map_or(&[], |at| &self.texts[at as usize])
    }

    /// Appends the texts, in the order of their numbers.
    pub fn save(&self, out: &mut Writer) {
        out.column(&self.texts.iter().map(|text| text.len() as u32).collect::<Vec<u32>>());
        out.column(&self.texts.concat());
    }

    /// The texts that [`Texts::save`] wrote.
    pub fn load(from: &mut Reader) -> Result<Texts, Corrupt> {
        let (lengths, mut rest) = (from.column::<u32>()?, from.bytes()?);
        let mut texts = Texts::default();
        for length in lengths {
            let cut = rest.split_at_checked(length as usize);
            let (text, after) = cut.ok_or_else(|| Corrupt(format!("a text of {length} bytes, {} left", rest.len())))?;
            texts.number(text);
            rest = after;
        }
        Ok(texts)
    }

    /// Bytes that the texts take, about.
    pub fn memory(&self) -> usize {
        self.bytes + self.texts.len() * (size_of::<Vec<u8>>() + 2 * size_of::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_keep_their_number_and_sort_by_id() {
        let (mut meters, mut heap) = (Meters::default(), Vec::new());
        let id = |i: u32| if i.is_multiple_of(3) { format!("a-meter-with-a-long-id-{i}") } else { format!("m{i}") };
        for _ in 0..2 {
            for i in 0..5_000 {
                let key = MeterKey::new(id(i).as_bytes(), &mut heap);
                assert_eq!(meters.number(&key, &heap), i);
            }
        }
        assert_eq!(meters.len(), 5_000);
        let mut out = Writer::default();
        meters.save(&mut out);
        let again = Meters::load(&mut Reader::new(out.bytes())).unwrap();
        assert!((0..5_000).all(|number| again.id(number) == meters.id(number)));
        assert_eq!(again.groups(), meters.groups());
        let sorted: Vec<&[u8]> = meters.sorted().into_iter().map(|number| meters.id(number)).collect();
        let mut ids: Vec<String> = (0..5_000).map(id).collect();
        ids.sort_unstable();
        assert!(sorted.iter().copied().eq(ids.iter().map(String::as_bytes)));
    }

    #[test]
    fn texts_keep_their_number() {
        let mut texts = Texts::default();
        let numbers: Vec<u32> = ["OK", "LOW", "OK", "", "LOW"].iter().map(|text| texts.number(text.as_bytes())).collect();
        assert_eq!(numbers, [1, 2, 1, 3, 2]);
        assert_eq!(texts.by_number(), [&b""[..], b"OK", b"LOW", b""]);
        let mut out = Writer::default();
        texts.save(&mut out);
        assert_eq!(Texts::load(&mut Reader::new(out.bytes())).unwrap().by_number(), texts.by_number());
        assert_eq!(texts.memory(), 5 + 3 * 40);
    }
}
