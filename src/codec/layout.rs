//! The layout of records, learnt while they are read: which bytes stand between one value and the next.
//!
//! A *place* is the field whose value has just been read (or the start of the record). For each place we remember the
//! bytes that were found between that value and the next (`,"voltage":`) and which field they led to. When the same bytes
//! come again, they are compared as they are, sixteen at a time, instead of being taken apart. What stands between two
//! values at the top level of an object means the same wherever it comes, so this changes nothing but the speed.

use crate::codec::fields::{Fields, MAX_NAMES, Role};
use crate::codec::names::{Name, Names};
use crate::codec::scan::{Chunk, Literal, Window};

/// The place before the first field.
pub const START: u8 = 0;
/// The place behind the record.
pub const END: u8 = u8::MAX;
/// The place behind a field that we do not know, when it has no place of its own.
const UNKNOWN: u8 = 1;
/// The cell of a field that we do not know, and more.
const IGNORED: u8 = MAX_NAMES as u8;
/// The place of cell 0; the other cells follow.
const CELLS: u8 = 2;
/// Places of their own for names that are not in the format.
pub const LEARNT_NAMES: usize = 40;
/// All places there can be, and more.
const PLACES: usize = 128;
/// Longer names that are not in the format share a place.
const LEARNT_LENGTH: usize = 64;

/// Different bytes remembered behind a place.
const STEPS: usize = 12;
/// Longest bytes remembered.
const LONGEST: usize = 2 * CHUNK - 1;
const CHUNK: usize = size_of::<Chunk>();

/// Misses after which the layout is judged.
const JUDGED: u32 = 512;
/// Records for which learning is given up when it does not help; doubled each time.
const PAUSE: u32 = 1 << 13;
const LONGEST_PAUSE: u32 = 1 << 20;

/// Bytes behind a place, as far as they are compared, and a window on the value that they may lead to.
pub type Ahead = [u8; LONGEST + size_of::<Window>()];

/// Bytes that were found behind a place, and the field that they led to.
#[derive(Clone, Copy, PartialEq)]
pub struct Step {
    /// The place of the field.
    pub to: u8,
    /// What the field is.
    pub role: Role,
    /// Its cell.
    pub cell: u8,
    length: usize,
    head: Literal,
    tail: Literal,
}

/// A step that no bytes match.
const NO_STEP: Step = Step { to: START, role: Role::Ignored, cell: 0, length: 0, head: Literal::NONE, tail: Literal::NONE };

/// What is known of a place.
#[derive(Clone, Copy)]
struct Place {
    role: Role,
    cell: u8,
    known: u8,
    steps: [Step; STEPS],
}

impl Place {
    fn new(role: Role, cell: u8) -> Place {
        Place { role, cell, known: 0, steps: [NO_STEP; STEPS] }
    }
}

/// The learnt layout.
pub struct Layout {
    places: Box<[Place; PLACES]>,
    /// How many places there are.
    count: usize,
    names: Names,
    /// Names as they stand in a block when they have escapes.
    spellings: Names,
    /// Names and places of the format alone.
    fixed: usize,
    records: u32,
    misses: u32,
    /// Records to go until we learn again.
    paused: u32,
    /// For how many records we pause the next time; 0: we learn anew at once.
    pause: u32,
}

impl Layout {
    const ENOUGH: () = assert!(CELLS as usize + MAX_NAMES + LEARNT_NAMES <= PLACES);

    /// Nothing is learnt yet.
    pub fn new(fields: &Fields) -> Layout {
        let () = Layout::ENOUGH;
        let mut layout = Layout {
            places: Box::new([Place::new(Role::Ignored, IGNORED); PLACES]),
            count: usize::from(CELLS),
            names: Names::new(),
            spellings: Names::new(),
            fixed: 0,
            records: 0,
            misses: 0,
            paused: 0,
            pause: 0,
        };
        for (cell, (name, role)) in fields.names().enumerate() {
            layout.add_place(role, cell as u8);
            layout.names.add(name.as_bytes(), CELLS + cell as u8);
        }
        layout.fixed = layout.count;
        layout
    }

    /// What the field of a place is, and its cell.
    #[inline(always)]
    pub fn field(&self, place: u8) -> (Role, u8) {
        let place = &self.places[usize::from(place) % PLACES];
        (place.role, place.cell)
    }

    fn add_place(&mut self, role: Role, cell: u8) -> u8 {
        self.places[self.count] = Place::new(role, cell);
        self.count += 1;
        (self.count - 1) as u8
    }

    /// Gives up learning at once, for tests of what is read without.
    #[cfg(test)]
    pub fn give_up(&mut self) {
        self.paused = u32::MAX;
    }

    /// Notes that a record begins; whether steps are worth following in it. Only then may places go.
    #[inline(always)]
    pub fn begin(&mut self) -> bool {
        if self.paused > 0 {
            self.paused -= 1;
            return false;
        }
        self.records = self.records.wrapping_add(1);
        if self.misses >= JUDGED {
            self.judge();
        }
        self.paused == 0
    }

    /// The step from `place` that the bytes ahead take, if it is known.
    #[inline(always)]
    pub fn follow(&self, place: u8, ahead: &Ahead) -> Option<&Step> {
        let place = &self.places[usize::from(place) % PLACES];
        let usual = &place.steps[0];
        if usual.matches(ahead) { Some(usual) } else { place.other_step(ahead) }
    }

    /// The place of a name; a new name gets one if there is room.
    #[inline]
    pub fn place_of(&mut self, name: &Name) -> u8 {
        match self.names.find(name) {
            Some(place) => place,
            None if self.paused > 0 => UNKNOWN,
            None => self.new_place(name.text),
        }
    }

    /// The place of a name that is spelled with escapes, if that spelling has been [learnt](Layout::learn_spelling).
    #[inline]
    pub fn place_of_spelling(&self, name: &Name) -> Option<u8> {
        self.spellings.find(name)
    }

    /// Remembers how a name was spelled, with escapes: there may be a name that looks the same without.
    pub fn learn_spelling(&mut self, name: &[u8], place: u8) {
        if place != UNKNOWN && name.len() <= LEARNT_LENGTH && self.spellings.has_room() {
            self.spellings.add(name, place);
        }
    }

    fn new_place(&mut self, name: &[u8]) -> u8 {
        if name.len() > LEARNT_LENGTH || self.count - self.fixed >= LEARNT_NAMES {
            return UNKNOWN;
        }
        let place = self.add_place(Role::Ignored, IGNORED + self.count as u8 % IGNORED);
        self.names.add(name, place);
        place
    }

    /// Notes that `literal`, which [`Layout::follow`] did not find behind `from`, led to `to`, and remembers it.
    pub fn learn(&mut self, from: u8, literal: &[u8], to: u8) {
        let (role, cell) = if to == END { (Role::Ignored, IGNORED) } else { self.field(to) };
        let place = &mut self.places[usize::from(from)];
        let step = Step::new(literal, to, role, cell);
        // Close to the end of a block nothing is compared; that is no miss.
        if place.steps[..usize::from(place.known)].contains(&step) {
            return;
        }
        if literal.len() <= LONGEST && usize::from(place.known) < STEPS {
            place.steps[usize::from(place.known)] = step;
            place.known += 1;
        }
        self.misses += 1;
    }

    /// Keeps what is learnt if most records were read without a miss. Else forgets it, to learn the layout of now; and if
    /// that was no better, gives up for a while.
    #[cold]
    fn judge(&mut self) {
        if self.records / 2 > self.misses {
            self.pause = 0;
        } else {
            self.forget();
            self.paused = self.pause;
            self.pause = (self.pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        }
        (self.records, self.misses) = (0, 0);
    }

    fn forget(&mut self) {
        self.names.keep(self.fixed - usize::from(CELLS));
        self.spellings.keep(0);
        self.count = self.fixed;
        for place in &mut self.places[..self.fixed] {
            *place = Place::new(place.role, place.cell);
        }
    }
}

impl Place {
    /// One after the other: a processor foresees where a search by comparisons ends, and not where a table points.
    #[inline(never)]
    fn other_step(&self, ahead: &Ahead) -> Option<&Step> {
        self.steps[..usize::from(self.known)].iter().find(|step| step.matches(ahead))
    }
}

impl Step {
    fn new(literal: &[u8], to: u8, role: Role, cell: u8) -> Step {
        let known = &literal[..literal.len().min(LONGEST)];
        let (head, tail) = (Literal::new(known), Literal::new(known.get(CHUNK..).unwrap_or_default()));
        Step { to, role, cell, length: known.len(), head, tail }
    }

    /// How many bytes lead to the value, and the window on it.
    #[inline(always)]
    pub fn value<'a>(&self, ahead: &'a Ahead) -> (usize, &'a Window) {
        // The mask changes nothing; it shows that the window is in range.
        let length = self.length & LONGEST;
        (length, ahead[length..].first_chunk().expect("a window is left behind the longest step"))
    }

    #[inline(always)]
    fn matches(&self, ahead: &Ahead) -> bool {
        self.head.matches(chunk(ahead, 0)) && (self.length <= CHUNK || self.tail.matches(chunk(ahead, CHUNK)))
    }
}

/// A chunk of what is ahead.
#[inline(always)]
fn chunk(ahead: &Ahead, at: usize) -> &Chunk {
    ahead[at..].first_chunk().expect("there are two chunks ahead")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::format;

    fn layout() -> Layout {
        Layout::new(&Fields::new(&format()).unwrap())
    }

    fn ahead(text: &str) -> Ahead {
        let mut ahead = [b'_'; size_of::<Ahead>()];
        ahead[..text.len()].copy_from_slice(text.as_bytes());
        ahead
    }

    #[test]
    fn steps_are_taken_when_their_bytes_come_again() {
        let mut layout = layout();
        let voltage = layout.place_of(&Name::new(b"voltage"));
        let other = layout.place_of(&Name::new(b"firmware"));
        assert_eq!((layout.field(voltage), layout.field(other)), ((Role::Channel, 0), (Role::Ignored, IGNORED + 9)));
        let literals = [",\"voltage\":", ", \"voltage\" : ", ",\"a long field na\\u006de\":", ",\"v\":"];
        for (literal, to) in literals.iter().zip([voltage, voltage, other, other]) {
            assert!(layout.follow(START, &ahead(literal)).is_none());
            layout.learn(START, literal.as_bytes(), to);
            layout.learn(START, literal.as_bytes(), to);
            let step = layout.follow(START, &ahead(literal)).expect("it was learnt");
            assert_eq!((step.to, step.value(&ahead(literal)).0), (to, literal.len()));
            assert_eq!(step.value(&ahead(&format!("{literal}5"))).1[0], b'5');
        }
        assert_eq!((layout.places[0].known, layout.misses), (4, 4));
        assert!(layout.follow(START, &ahead(",\"a long field na\\u006df\":")).is_none());
        assert!(layout.follow(START, &[0; size_of::<Ahead>()]).is_none());
        assert!(layout.follow(voltage, &ahead(literals[0])).is_none());
        layout.learn(START, &[b' '; LONGEST + 1], voltage);
        assert_eq!(layout.places[0].known, 4);
    }

    /// Reads `count` records, each with one miss; how many of them were learnt.
    fn miss(layout: &mut Layout, count: u32, literal: impl Fn(u32) -> String) -> u32 {
        (0..count)
            .map(|record| {
                if !layout.begin() {
                    return 0;
                }
                let literal = literal(record);
                let place = layout.place_of(&Name::new(literal.as_bytes()));
                layout.learn(START, literal.as_bytes(), place);
                u32::from(layout.follow(START, &ahead(&literal)).is_some())
            })
            .sum()
    }

    #[test]
    fn a_layout_that_no_longer_fits_is_learnt_anew() {
        let mut layout = layout();
        assert_eq!(miss(&mut layout, 100, |record| format!("old{record:03}")), STEPS as u32);
        assert_eq!(layout.count - layout.fixed, LEARNT_NAMES);
        let learnt = miss(&mut layout, 2 * JUDGED, |record| format!("new{}", record / 1000));
        assert!(learnt >= JUDGED, "{learnt}");
    }

    #[test]
    fn learning_is_given_up_for_longer_and_longer() {
        let mut layout = layout();
        let learnt = miss(&mut layout, 10 * (JUDGED + PAUSE), |record| format!("{record:05}"));
        // Twice at the start, and after pauses of 1, 2 and 4 times the length; one of 8 times goes on.
        assert!((STEPS as u32..=5 * STEPS as u32).contains(&learnt), "{learnt}");
        assert_eq!(layout.pause, 16 * PAUSE);
        assert!(layout.paused > 0 && layout.count == layout.fixed);
    }
}
