//! Texts of JSON: found, checked and unescaped.

use crate::codec::scan::{Chunk, Fault, Window, fault, near, plain_run};

/// A text between its quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    /// Behind the opening quote.
    pub start: usize,
    /// The closing quote.
    pub end: usize,
    /// Whether there are escapes in it.
    pub escaped: bool,
}

/// The length of the content of the text at the start of a window, if it is printable ASCII without escapes and at most
/// 48 characters long; `None` for anything else.
#[inline(always)]
pub fn plain_in(window: &Window) -> Option<usize> {
    if window[0] != b'"' {
        return None;
    }
    for start in [1, 17, 33] {
        let chunk: &Chunk = window[start..].first_chunk().expect("a window has three chunks behind its first byte");
        let run = plain_run(chunk);
        if let Some(byte) = chunk.get(run) {
            return (*byte == b'"').then_some(start + run - 1);
        }
    }
    None
}

/// The closing quote of a text of printable ASCII without escapes that starts (behind its quote) at `at`; `None` for
/// anything else and close to the end of the block.
#[inline(always)]
pub fn plain(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let chunk: &Chunk = near(bytes, at)?;
        let run = plain_run(chunk);
        at += run;
        if let Some(byte) = chunk.get(run) {
            return (*byte == b'"').then_some(at);
        }
    }
}

/// Finds and checks the text whose content starts at `start`.
#[inline]
pub fn scan(bytes: &[u8], start: usize) -> Result<Text, Fault> {
    match plain(bytes, start) {
        Some(end) => Ok(Text { start, end, escaped: false }),
        None => scan_any(bytes, start),
    }
}

#[inline(never)]
fn scan_any(bytes: &[u8], start: usize) -> Result<Text, Fault> {
    let (mut at, mut escaped, mut wide) = (start, false, false);
    loop {
        while let Some(chunk) = near::<{ size_of::<Chunk>() }>(bytes, at) {
            let run = plain_run(chunk);
            at += run;
            if run < chunk.len() {
                break;
            }
        }
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => (at, escaped) = (escape(bytes, at)?.1, true),
            None | Some(b'\n') => return fault(at, "the closing quote of a text"),
            Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => return fault(at, "the closing quote of a text"),
            Some(0..0x20) => return fault(at, "no raw control character in a text"),
            Some(byte) => (at, wide) = (at + 1, wide | !byte.is_ascii()),
        }
    }
    // Escapes are ASCII: what is right with them is right without.
    if wide && let Err(error) = std::str::from_utf8(&bytes[start..at]) {
        return fault(start + error.valid_up_to(), "UTF-8");
    }
    Ok(Text { start, end: at, escaped })
}

/// The character of the escape at `at` (its backslash), and where it ends.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let plain = |character| Ok((character, at + 2));
    match bytes.get(at + 1) {
        Some(b'"') => plain('"'),
        Some(b'\\') => plain('\\'),
        Some(b'/') => plain('/'),
        Some(b'b') => plain('\u{8}'),
        Some(b'f') => plain('\u{c}'),
        Some(b'n') => plain('\n'),
        Some(b'r') => plain('\r'),
        Some(b't') => plain('\t'),
        Some(b'u') => unicode_escape(bytes, at),
        _ => fault(at + 1, "one of \" \\ / b f n r t u behind a backslash"),
    }
}

/// `\uXXXX`, or two of them that are the halves of a character beyond the first plane. A lone half is no character,
/// has no UTF-8 and is refused.
fn unicode_escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    const LONE: &str = "both halves of a surrogate pair";
    let unit = code_unit(bytes, at + 2)?;
    if !(0xd800..0xdc00).contains(&unit) {
        return char::from_u32(unit).map_or_else(|| fault(at, LONE), |character| Ok((character, at + 6)));
    }
    if bytes.get(at + 6..at + 8) != Some(b"\\u") {
        return fault(at + 6, LONE);
    }
    let low = code_unit(bytes, at + 8)?;
    if !(0xdc00..0xe000).contains(&low) {
        return fault(at + 6, LONE);
    }
    let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    char::from_u32(code).map_or_else(|| fault(at, LONE), |character| Ok((character, at + 12)))
}

fn code_unit(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let digit = |at: usize| bytes.get(at).map_or(NO_DIGIT, |byte| HEXADECIMAL[usize::from(*byte)]);
    let digits = [digit(at), digit(at + 1), digit(at + 2), digit(at + 3)];
    match digits.iter().position(|digit| *digit == NO_DIGIT) {
        None => Ok(digits.iter().fold(0, |unit, digit| unit << 4 | u32::from(*digit))),
        Some(place) => fault(at + place, "four hexadecimal digits behind \\u"),
    }
}

const NO_DIGIT: u8 = 255;

/// The values of hexadecimal digits by their codes.
static HEXADECIMAL: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Appends the characters of a text that [`scan`] has found.
pub fn unescape(bytes: &[u8], text: Text, out: &mut Vec<u8>) {
    let mut at = text.start;
    while at < text.end {
        let run = memchr::memchr(b'\\', &bytes[at..text.end]).map_or(text.end, |length| at + length);
        out.extend_from_slice(&bytes[at..run]);
        at = run;
        if run < text.end {
            let (character, end) = escape(bytes, run).expect("escapes are checked when a text is found");
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Compares with serde_json, and the fast scan with the full one.
    fn check(content: &[u8]) {
        for behind in ["\"", "\", a longer rest of the line, without quotes: 5}\n"] {
            let bytes = [b"\"", content, behind.as_bytes()].concat();
            let mut library = serde_json::Deserializer::from_slice(&bytes).into_iter::<String>();
            let expected = library.next().unwrap().ok().map(|text| (library.byte_offset() - 1, text.into_bytes()));
            if let Some(end) = plain(&bytes, 1) {
                assert_eq!(Ok(Text { start: 1, end, escaped: false }), scan_any(&bytes, 1));
            }
            let found = scan(&bytes, 1).ok().map(|text| {
                let mut out = Vec::new();
                unescape(&bytes, text, &mut out);
                (text.end, out)
            });
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn texts_at_the_edges() {
        for content in [
            "",
            "x",
            "1234567",
            "12345678",
            "123456789012345678901234567890",
            "M\\u00fcller",
            "Müller und Söhne",
            "\\\"\\\\\\/\\b\\f\\n\\r\\t",
            "\\ud83d\\ude00",
            "\\uD83D\\uDE00x",
            "\\ud83d",
            "\\ud83dx",
            "\\ud83d\\n",
            "\\ud83d\\ud83d",
            "\\ude00",
            "\\u12",
            "\\u12g4",
            "\\x",
            "\\",
            "\\u0000",
            "\u{7f}",
            "a\u{7f}b\u{85}",
            "\t",
            "\n",
            "😀 and a long rest",
            "\\\\\\\"",
            "ends with \\\\",
        ] {
            check(content.as_bytes());
        }
        for content in [&b"\xff"[..], b"1234567\xc3", b"\xed\xa0\x80", b"\xc3\xa4\\n\xc3", b"\xf5\x80\x80\x80"] {
            check(content);
        }
    }

    proptest! {
        #[test]
        fn texts_are_those_of_the_library(content in "([ -~]|[äé€😀]|\\\\[\"\\\\/bfnrtu]|\\\\u[0-9a-f]{4}|\\\\ud83d\\\\ude00){0,20}") {
            check(content.as_bytes());
        }

        #[test]
        fn any_bytes_are_judged_alike(content in prop::collection::vec(any::<u8>(), 0..20)) {
            check(&content);
        }
    }
}
