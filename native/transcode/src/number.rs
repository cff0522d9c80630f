//! DynamoDB's numbers, never through a float.

use crate::cursor::{Sure, Unsure};

/// No number that DynamoDB stores has an exponent of more digits.
const EXPONENT_DIGITS_MAX: usize = 4;
/// A canonical number is written without exponent when no digit stands further than this from the point.
const PLAIN_PLACES: usize = 40;

/// A number of JSON's grammar in its parts.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: &'a [u8],
}

/// Tells whether `text` is a number in JSON's grammar.
#[inline]
pub fn is_json(text: &[u8]) -> bool {
    parts(text).is_some()
}

/// Gives how many of the first bytes are decimal digits.
#[inline]
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[inline]
fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let (whole, mut rest) = text.split_at(digits(text));
    if whole.is_empty() || (whole[0] == b'0' && whole.len() > 1) {
        return None;
    }
    let mut parts = Parts { negative, whole, fraction: b"", exponent: b"" };
    if let Some(after) = rest.strip_prefix(b".") {
        (parts.fraction, rest) = after.split_at(digits(after));
        if parts.fraction.is_empty() {
            return None;
        }
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        if unsigned.is_empty() || digits(unsigned) != unsigned.len() {
            return None;
        }
        parts.exponent = exponent;
        rest = b"";
    }
    rest.is_empty().then_some(parts)
}

/// Appends the one JSON text of the number's value, so that 1.0 and 1.00 are the same key; numbers with an exponent,
/// or with digits far from the point, are left to others.
pub fn canonical_into(text: &[u8], out: &mut Vec<u8>) -> Sure<()> {
    let parts = parts(text).ok_or(Unsure)?;
    let fraction = without_zeros_at_end(parts.fraction);
    if !parts.exponent.is_empty() || parts.whole.len() > PLAIN_PLACES || fraction.len() > PLAIN_PLACES {
        return Err(Unsure);
    }
    if parts.negative && (parts.whole != b"0" || !fraction.is_empty()) {
        out.push(b'-');
    }
    out.extend_from_slice(parts.whole);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    Ok(())
}

fn without_zeros_at_end(digits: &[u8]) -> &[u8] {
    let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
    &digits[..kept]
}

/// Appends bytes whose order is that of the numbers' values; equal values give equal bytes.
pub fn order_into(text: &[u8], out: &mut Vec<u8>) -> Sure<()> {
    const NEGATIVE: u8 = 0;
    const ZERO: u8 = 1;
    const POSITIVE: u8 = 2;
    let parts = parts(text).ok_or(Unsure)?;
    let mut significant = [parts.whole, parts.fraction].concat();
    let leading = significant.iter().take_while(|&&digit| digit == b'0').count();
    significant.drain(..leading);
    significant.truncate(without_zeros_at_end(&significant).len());
    if significant.is_empty() {
        out.push(ZERO);
        return Ok(());
    }
    // Where the first significant digit stands, the most significant thing of a number's value.
    let place = exponent(parts.exponent)? + place(parts.whole.len())? - place(leading)?;
    let magnitude = (place + (1 << 30)).to_be_bytes();
    if parts.negative {
        out.push(NEGATIVE);
        out.extend(magnitude.iter().chain(&significant).map(|byte| !byte));
        out.push(u8::MAX); // of two numbers that begin alike, the longer is the smaller
    } else {
        out.push(POSITIVE);
        out.extend_from_slice(&magnitude);
        out.append(&mut significant);
    }
    Ok(())
}

fn place(digits: usize) -> Sure<i32> {
    i32::try_from(digits).ok().filter(|&digits| digits < 1 << 20).ok_or(Unsure)
}

fn exponent(text: &[u8]) -> Sure<i32> {
    if text.is_empty() {
        return Ok(0);
    }
    if text.len() > EXPONENT_DIGITS_MAX + 1 {
        return Err(Unsure);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Unsure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        let mut out = Vec::new();
        canonical_into(text.as_bytes(), &mut out).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        for text in
            ["0", "-0", "10", "1.50", "-0.001", "1e5", "1E+5", "1.0e-130", "99999999999999999999999999999999999999"]
        {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        for text in [
            "", "-", "+1", "01", "-01", ".5", "1.", "1e", "1e+", "1.e5", "0x1", "NaN", "1 ", " 1", "1.5.2", "1e5e5",
            "--1",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_canonical_number_has_one_text() {
        for (text, expected) in [
            ("1.0", "1"),
            ("-1.50", "-1.5"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("0.10", "0.1"),
            ("100", "100"),
            ("-100", "-100"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected));
        }
        assert_eq!(canonical(&"9".repeat(40)), Some("9".repeat(40)));
        assert_eq!(canonical(&"9".repeat(41)), None);
        assert_eq!(canonical("1E3"), None);
    }

    #[test]
    fn the_order_of_the_bytes_is_that_of_the_values() {
        let ascending = [
            "-1e126", "-1000", "-153", "-15", "-1.5", "-1", "-0.15", "-1e-130", "0", "1e-130", "0.015", "0.15", "1",
            "1.5", "1.53", "15", "153", "1000", "1.0001e3", "1e126",
        ];
        let order = |text: &str| {
            let mut out = Vec::new();
            order_into(text.as_bytes(), &mut out).unwrap();
            out
        };
        for pair in ascending.windows(2) {
            assert!(order(pair[0]) < order(pair[1]), "{pair:?}");
        }
        for (one, other) in [("1", "1.0"), ("-0", "0.00"), ("1e3", "1000"), ("-0.010", "-1e-2")] {
            assert_eq!(order(one), order(other));
        }
    }
}
