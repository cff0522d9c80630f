//! Base64 as AWS sends it: the standard alphabet, padded, with nothing in the bits that padding leaves over.

use crate::cursor::{Sure, Unsure};

const NONE: u8 = 0xff;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut value: u8 = 0;
    while value < 64 {
        values[alphabet[value as usize] as usize] = value;
        value += 1;
    }
    values
}

/// What each character stands for at each of the four places of a group, as bits of the group's 24; else `WRONG`.
static GROUP: [[u32; 256]; 4] = group();
const WRONG: u32 = 1 << 31;

const fn group() -> [[u32; 256]; 4] {
    let mut group = [[WRONG; 256]; 4];
    let mut character = 0;
    while character < 256 {
        let value = VALUES[character];
        let mut place = 0;
        while place < 4 && value != NONE {
            group[place][character] = (value as u32) << (6 * (3 - place));
            place += 1;
        }
        character += 1;
    }
    group
}

/// Checks a text.
pub fn check(text: &[u8]) -> Sure<()> {
    let last = last_group(text)?;
    let bits = text[..text.len() - last.len()].iter().fold(0, |bits, &byte| bits | VALUES[usize::from(byte)]);
    if bits & 0xc0 == 0 { Ok(()) } else { Err(Unsure) }
}

/// Gives the digits of the last group, checked, with its padding.
fn last_group(text: &[u8]) -> Sure<&[u8]> {
    if !text.len().is_multiple_of(4) {
        return Err(Unsure);
    }
    let Some(&last) = text.last_chunk::<4>() else { return Ok(b"") };
    let value = |index: usize| VALUES[usize::from(last[index])];
    let is_right = match last {
        [_, _, b'=', b'='] => value(0) < 64 && value(1) < 64 && value(1).trailing_zeros() >= 4,
        [_, _, _, b'='] => value(0) < 64 && value(1) < 64 && value(2) < 64 && value(2).trailing_zeros() >= 2,
        _ => (0..4).all(|index| value(index) < 64),
    };
    if is_right { Ok(&text[text.len() - 4..]) } else { Err(Unsure) }
}

/// Appends what a text stands for.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Sure<()> {
    let last = last_group(text)?;
    let whole = &text[..text.len() - last.len()];
    let start = out.len();
    out.resize(start + whole.len() / 4 * 3, 0);
    let mut seen = 0;
    for (group, bytes) in whole.chunks_exact(4).zip(out[start..].chunks_exact_mut(3)) {
        let bits = bits_of(group);
        seen |= bits;
        bytes.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    if seen & WRONG != 0 {
        return Err(Unsure);
    }
    if let &[_, _, third, fourth] = last {
        let padding = usize::from(third == b'=') + usize::from(fourth == b'=');
        out.extend_from_slice(&bits_of(last).to_be_bytes()[1..4 - padding]);
    }
    Ok(())
}

/// Gives the 24 bits of a group; padding and what is wrong set `WRONG`, and leave the other bits right.
#[inline]
fn bits_of(group: &[u8]) -> u32 {
    let bits = |place: usize| GROUP[place][usize::from(group[place])];
    bits(0) | bits(1) | bits(2) | bits(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_decodes_what_aws_sends() {
        for (text, bytes) in
            [("", &b""[..]), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("/+8A", b"\xff\xef\x00")]
        {
            let mut out = Vec::new();
            decode_into(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn it_refuses_all_else() {
        for text in [
            "Y", "YQ", "YQ=", "YR==", "YWK=", "=YQ=", "Y===", "====", "YQ==YQ==", "Y-_=", "YQ= ", "Y Q=", "YWJjé=",
            "AA=A",
        ] {
            assert_eq!(check(text.as_bytes()), Err(Unsure), "{text}");
        }
    }
}
