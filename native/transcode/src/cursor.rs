//! Walks JSON text strictly: whatever it accepts, every JSON parser accepts, and reads alike.

use std::ops::Range;

use crate::strings;

/// The text is not as expected: whoever asked hands back what it was reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsure;

/// What was expected, or doubt.
pub type Sure<T> = Result<T, Unsure>;

const LEVELS_MAX: u32 = 100;
const NUMBER_MAX: usize = 40;

/// A string of the text, without its quotes.
#[derive(Clone)]
pub struct Text {
    /// Where it stands.
    pub span: Range<usize>,
    /// It holds a backslash.
    pub escaped: bool,
}

/// A place in a text that is known to be UTF-8.
pub struct Cursor<'a> {
    /// The whole text.
    pub text: &'a [u8],
    /// Index of the next byte.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// Gives the next byte, 0 at the end (no JSON has that byte).
    #[inline]
    pub fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Gives the next byte that is no white space, and stands on it.
    #[inline]
    pub fn peek_token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Passes `byte`, and white space before it.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Sure<()> {
        if self.peek_token() != byte {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes `word`, which must be the very next bytes.
    #[inline]
    pub fn word(&mut self, word: &[u8]) -> Sure<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Unsure);
        }
        self.at += word.len();
        Ok(())
    }

    /// Passes what stands between members: gives true after a comma and false after `end`.
    #[inline]
    pub fn goes_on(&mut self, end: u8) -> Sure<bool> {
        let byte = self.peek_token();
        if byte != b',' && byte != end {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(byte == b',')
    }

    /// Passes the opening byte of an object or array, and the closing one if it is empty: gives whether it is not.
    #[inline]
    pub fn opens(&mut self, open: u8, end: u8) -> Sure<bool> {
        self.expect(open)?;
        if self.peek_token() == end {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads a string; its escapes are not looked at.
    #[inline]
    pub fn string(&mut self) -> Sure<Text> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = strings::plain_until(self.text, self.at);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(Unsure),
            }
        }
        let span = start..self.at;
        self.at += 1;
        Ok(Text { span, escaped })
    }

    /// Reads a string without escapes and gives its bytes.
    #[inline]
    pub fn plain_string(&mut self) -> Sure<&'a [u8]> {
        let text = self.string()?;
        if text.escaped { Err(Unsure) } else { Ok(&self.text[text.span]) }
    }

    /// Reads the name of a member, without escapes, and its colon.
    #[inline]
    pub fn name(&mut self) -> Sure<&'a [u8]> {
        let name = self.plain_string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Reads a number in JSON's grammar.
    pub fn number(&mut self) -> Sure<&'a [u8]> {
        let start = self.at;
        while matches!(self.peek(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            self.at += 1;
        }
        let number = &self.text[start..self.at];
        if number.len() <= NUMBER_MAX && crate::number::is_json(number) { Ok(number) } else { Err(Unsure) }
    }

    /// Passes any value, checking it whole.
    pub fn skip(&mut self) -> Sure<()> {
        self.skip_at(1)
    }

    fn skip_at(&mut self, level: u32) -> Sure<()> {
        if level > LEVELS_MAX {
            return Err(Unsure);
        }
        match self.peek_token() {
            b'"' => self.skip_string(),
            b'{' => {
                let mut more = self.opens(b'{', b'}')?;
                while more {
                    self.skip_string()?;
                    self.expect(b':')?;
                    self.skip_at(level + 1)?;
                    more = self.goes_on(b'}')?;
                }
                Ok(())
            }
            b'[' => {
                let mut more = self.opens(b'[', b']')?;
                while more {
                    self.skip_at(level + 1)?;
                    more = self.goes_on(b']')?;
                }
                Ok(())
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number().map(|_| ()),
        }
    }

    fn skip_string(&mut self) -> Sure<()> {
        let text = self.string()?;
        if text.escaped { strings::unescape(&self.text[text.span], &mut Vec::new()) } else { Ok(()) }
    }
}
