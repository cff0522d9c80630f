//! JSON strings: finding their ends, taking their escapes off and putting them on.

use std::ops::Range;

use crate::cursor::{Sure, Unsure};

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Words that are looked at one by one before longer chunks are.
const SHORT_WORDS: u32 = 2;
/// Bytes of a longer chunk.
const LONG: usize = 64;

/// Gives the index of the first byte from `at` on that ends a run of plain text: a quote, a backslash or a control
/// character; the text's length if there is none.
#[inline]
pub fn plain_until(text: &[u8], mut at: usize) -> usize {
    // Most texts are short. Of a long one, chunks are looked at that the compiler compares as vectors.
    for _ in 0..SHORT_WORDS {
        let Some(found) = special_at(text, at) else { break };
        if found < 8 {
            return at + found;
        }
        at += 8;
    }
    while text.get(at..).and_then(<[u8]>::first_chunk::<LONG>).is_some_and(is_plain) {
        at += LONG;
    }
    while let Some(found) = special_at(text, at) {
        if found < 8 {
            return at + found;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at.min(text.len())
}

/// Tells whether no byte of a chunk is special.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "without branches the compiler compares vectors")]
fn is_plain(chunk: &[u8; LONG]) -> bool {
    !chunk.iter().fold(false, |found, &byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

/// Gives how many of the eight bytes from `at` on come before the first that is special; None if the text has fewer.
#[inline]
fn special_at(text: &[u8], at: usize) -> Option<usize> {
    let chunk = text.get(at..)?.first_chunk::<8>()?;
    Some(special(u64::from_le_bytes(*chunk)).trailing_zeros() as usize / 8)
}

/// Marks the bytes of a word that are special; of the marks only the lowest is sure to be true.
#[inline]
fn special(word: u64) -> u64 {
    let zero = |bytes: u64| bytes.wrapping_sub(LOW) & !bytes;
    let quote = zero(word ^ (LOW * 0x22));
    let backslash = zero(word ^ (LOW * 0x5c));
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

/// Appends a part of `text`. Most parts are short, and a copy of fixed length, cut off, is quicker than a call.
#[inline(always)]
pub fn append(text: &[u8], part: Range<usize>, out: &mut Vec<u8>) {
    const SHORT: usize = 32;
    if part.len() <= SHORT
        && let Some(chunk) = text.get(part.start..).and_then(<[u8]>::first_chunk::<SHORT>)
    {
        let end = out.len() + part.len();
        out.extend_from_slice(chunk);
        out.truncate(end);
    } else {
        out.extend_from_slice(&text[part]);
    }
}

/// Appends what an escaped string stands for. Half a surrogate pair is refused.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) -> Sure<()> {
    let mut at = 0;
    while at < text.len() {
        let end = plain_until(text, at);
        out.extend_from_slice(&text[at..end]);
        if end == text.len() {
            break;
        }
        let (character, length) = escape(&text[end..])?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at = end + length;
    }
    Ok(())
}

/// Gives the character of the escape at the start of `text`, and the escape's length.
fn escape(text: &[u8]) -> Sure<(char, usize)> {
    let simple = match text.get(1).ok_or(Unsure)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(text),
        _ => return Err(Unsure),
    };
    Ok((simple, 2))
}

fn unicode(text: &[u8]) -> Sure<(char, usize)> {
    let first = code_unit(text, 0)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let second = code_unit(text, 6)?;
    if !(0xD800..0xDC00).contains(&first) || !(0xDC00..0xE000).contains(&second) {
        return Err(Unsure);
    }
    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    char::from_u32(code).map(|character| (character, 12)).ok_or(Unsure)
}

/// Reads `\uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Sure<u32> {
    let digits = text.get(at..at + 6).and_then(|unit| unit.strip_prefix(b"\\u")).ok_or(Unsure)?;
    digits.iter().try_fold(0, |code, &digit| Ok(code * 16 + char::from(digit).to_digit(16).ok_or(Unsure)?))
}

/// Appends `text` with JSON's shortest escapes, without quotes.
pub fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    loop {
        let end = plain_until(text, at);
        out.extend_from_slice(&text[at..end]);
        let Some(&byte) = text.get(end) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xc => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        at = end + 1;
    }
}

/// Appends `text` as a JSON string.
pub fn quote_into(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape_into(text, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_plain_text_is_found_at_every_distance() {
        for special in [b'"', b'\\', 0, b'\n', 0x1f] {
            for length in 0..200 {
                let mut text: Vec<u8> = "aé\u{7f} ~!#[]".bytes().cycle().take(length).collect();
                text.push(special);
                text.extend_from_slice(b"\xff\x80\x7f !#[]");
                assert_eq!(plain_until(&text, 0), length);
                text.resize(length + 100, b'"');
                assert_eq!(plain_until(&text, 0), length);
            }
        }
        assert_eq!(plain_until("é\u{7f} ~\u{ffff}".as_bytes(), 0), 8);
    }

    #[test]
    fn escapes_come_off_and_go_on_again() {
        let mut plain = Vec::new();
        unescape(br#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0001z"#, &mut plain).unwrap();
        assert_eq!(plain, "a\"\\/\u{8}\u{c}\n\r\té😀\u{1}z".as_bytes());
        let mut quoted = Vec::new();
        quote_into(&plain, &mut quoted);
        assert_eq!(quoted, r#""a\"\\/\b\f\n\r\té😀\u0001z""#.as_bytes());
    }

    #[test]
    fn half_a_pair_and_what_is_no_escape_are_refused() {
        for text in
            [r"\ud83d", r"\ude00\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\x", r"\u12", r"\u00g0", r"\", r"\u+123"]
        {
            assert_eq!(unescape(text.as_bytes(), &mut Vec::new()), Err(Unsure), "{text}");
        }
    }
}
