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
    check(text)?;
    for group in text.chunks_exact(4) {
        let bits = group.iter().fold(0_u32, |bits, &byte| bits << 6 | u32::from(VALUES[usize::from(byte)] & 0x3f));
        let padding = usize::from(group[2] == b'=') + usize::from(group[3] == b'=');
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Ok(())
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
