//! DynamoDB JSON to plain JSON: images, message keys, and DynamoDB JSON put in order.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html>

use crate::base64;
use crate::cursor::{Cursor, Sure, Text, Unsure};
use crate::key_places::KeyPlaces;
use crate::number;
use crate::sorted::{Key, Sorter};
use crate::strings;

/// DynamoDB's own limit; an attribute of the item is on level 1, a member of its map or list on level 2.
const LEVELS_MAX: u32 = 32;
/// Levels of plain JSON: an object for the value and one for its type.
const JSON_LEVELS_MAX: u32 = 2 * LEVELS_MAX + 2;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As JSON numbers, with every digit.
    Exact,
    /// As JSON strings.
    String,
}

/// Converts what the cursor stands before. What it is not sure of it refuses.
pub struct Items<'a, 'b> {
    /// Stands before the object to convert.
    pub cursor: &'b mut Cursor<'a>,
    /// Memory to sort in.
    pub sorter: &'b mut Sorter,
    /// How numbers are written.
    pub numbers: Numbers,
}

impl Items<'_, '_> {
    /// Appends the item as plain JSON, names sorted by code point on every level.
    pub fn item(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        self.map(1, out)
    }

    /// Appends the key attributes as canonical plain JSON: equal keys are equal bytes.
    pub fn message_key(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        let is_empty = self.object(out, |items, _, out| items.key_value(out))?;
        if is_empty { Err(Unsure) } else { Ok(()) }
    }

    /// Appends the value of a key attribute as canonical plain JSON.
    pub fn key_value(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        self.cursor.expect(b'{')?;
        match self.cursor.name()? {
            b"S" => {
                let text = self.cursor.string()?;
                self.write_string(&text, out)?;
            }
            b"N" => {
                let text = self.cursor.plain_string()?;
                self.quoted_if_string(out, |out| number::canonical_into(text, out))?;
            }
            b"B" => self.binary(out)?,
            _ => return Err(Unsure),
        }
        self.cursor.expect(b'}')
    }

    /// Appends an attribute's value, DynamoDB JSON, put in order.
    pub fn typed_value(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        self.json(2, out)
    }

    /// Appends the item, `typed` or as plain JSON, and notes where the values of its key attributes stand.
    pub fn row(&mut self, typed: bool, keys: &mut KeyPlaces, out: &mut Vec<u8>) -> Sure<()> {
        let convert = |items: &mut Self, name: &Text, out: &mut Vec<u8>| {
            keys.note(name, items.cursor)?;
            if typed { items.typed_value(out) } else { items.value(1, out) }
        };
        self.object(out, convert).map(|_| ())
    }

    /// Appends the same JSON, compact and with its names sorted. There are no bare numbers in DynamoDB JSON.
    pub fn in_order(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        self.json(1, out)
    }

    fn json(&mut self, level: u32, out: &mut Vec<u8>) -> Sure<()> {
        if level > JSON_LEVELS_MAX {
            return Err(Unsure);
        }
        match self.cursor.peek_token() {
            b'"' => {
                let text = self.cursor.string()?;
                self.write_string(&text, out)
            }
            b'{' => self.object(out, |items, _, out| items.json(level + 1, out)).map(|_| ()),
            b'[' => self.array(out, |items, out| items.json(level + 1, out)),
            b't' => self.literal(b"true", out),
            b'f' => self.literal(b"false", out),
            b'n' => self.literal(b"null", out),
            _ => Err(Unsure),
        }
    }

    /// Converts the attributes of an item or map; `level` is theirs.
    fn map(&mut self, level: u32, out: &mut Vec<u8>) -> Sure<()> {
        if level > LEVELS_MAX {
            return Err(Unsure);
        }
        self.object(out, |items, _, out| items.value(level, out)).map(|_| ())
    }

    /// Converts one `{type: value}`.
    fn value(&mut self, level: u32, out: &mut Vec<u8>) -> Sure<()> {
        self.cursor.expect(b'{')?;
        match self.cursor.name()? {
            b"S" => {
                let text = self.cursor.string()?;
                self.write_string(&text, out)?;
            }
            b"N" => self.number(out)?,
            b"B" => self.binary(out)?,
            b"BOOL" => match self.cursor.peek_token() {
                b't' => self.literal(b"true", out)?,
                _ => self.literal(b"false", out)?,
            },
            b"NULL" => {
                self.cursor.peek_token();
                self.cursor.word(b"true")?;
                out.extend_from_slice(b"null");
            }
            b"M" => self.map(level + 1, out)?,
            b"L" => {
                if level >= LEVELS_MAX {
                    return Err(Unsure);
                }
                self.array(out, |items, out| items.value(level + 1, out))?;
            }
            b"SS" => self.set(out, |items, out| {
                let text = items.cursor.string()?;
                items.write_string(&text, out)?;
                items.key_of(&text)
            })?,
            b"NS" => self.set(out, |items, out| {
                let text = items.cursor.plain_string()?;
                items.quoted_if_string(out, |out| {
                    out.extend_from_slice(text);
                    Ok(())
                })?;
                items.own_key(|own| number::order_into(text, own))
            })?,
            b"BS" => self.set(out, |items, out| {
                let text = items.cursor.plain_string()?;
                quoted(text, out);
                items.own_key(|own| base64::decode_into(text, own))
            })?,
            _ => return Err(Unsure),
        }
        self.cursor.expect(b'}')
    }

    /// Copies an object, its members sorted by name, each value converted by `value`: gives whether it is empty.
    fn object(
        &mut self,
        out: &mut Vec<u8>,
        mut value: impl FnMut(&mut Self, &Text, &mut Vec<u8>) -> Sure<()>,
    ) -> Sure<bool> {
        out.push(b'{');
        let group = self.sorter.open(out);
        let mut more = self.cursor.opens(b'{', b'}')?;
        let is_empty = !more;
        while more {
            let start = out.len();
            let name = self.cursor.string()?;
            self.write_string(&name, out)?;
            self.cursor.expect(b':')?;
            out.push(b':');
            let key = self.key_of(&name)?;
            value(self, &name, out)?;
            out.push(b',');
            self.sorter.note(key, start, self.cursor.text, out);
            more = self.cursor.goes_on(b'}')?;
        }
        self.sorter.close(&group, self.cursor.text, out, false)?;
        end(b'}', is_empty, out);
        Ok(is_empty)
    }

    fn array(&mut self, out: &mut Vec<u8>, mut value: impl FnMut(&mut Self, &mut Vec<u8>) -> Sure<()>) -> Sure<()> {
        out.push(b'[');
        let mut more = self.cursor.opens(b'[', b']')?;
        let is_empty = !more;
        while more {
            value(self, out)?;
            out.push(b',');
            more = self.cursor.goes_on(b']')?;
        }
        end(b']', is_empty, out);
        Ok(())
    }

    /// Copies an array, its members sorted by the keys that `member` gives.
    fn set(&mut self, out: &mut Vec<u8>, mut member: impl FnMut(&mut Self, &mut Vec<u8>) -> Sure<Key>) -> Sure<()> {
        out.push(b'[');
        let group = self.sorter.open(out);
        let mut more = self.cursor.opens(b'[', b']')?;
        let is_empty = !more;
        while more {
            let start = out.len();
            let key = member(self, out)?;
            out.push(b',');
            self.sorter.note(key, start, self.cursor.text, out);
            more = self.cursor.goes_on(b']')?;
        }
        self.sorter.close(&group, self.cursor.text, out, true)?;
        end(b']', is_empty, out);
        Ok(())
    }

    /// Gives the bytes by which a string is sorted: UTF-8 sorts by code point.
    fn key_of(&mut self, text: &Text) -> Sure<Key> {
        if !text.escaped {
            return Ok(Key::Text(text.span.clone()));
        }
        let escaped = &self.cursor.text[text.span.clone()];
        self.own_key(|own| strings::unescape(escaped, own))
    }

    fn own_key(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Sure<()>) -> Sure<Key> {
        let start = self.sorter.own_keys.len();
        write(&mut self.sorter.own_keys)?;
        Ok(Key::Own(start..self.sorter.own_keys.len()))
    }

    fn write_string(&mut self, text: &Text, out: &mut Vec<u8>) -> Sure<()> {
        let content = &self.cursor.text[text.span.clone()];
        if text.escaped {
            let mut plain = Vec::with_capacity(content.len());
            strings::unescape(content, &mut plain)?;
            strings::quote_into(&plain, out);
        } else {
            // With the quotes that stand around it.
            strings::append(self.cursor.text, text.span.start - 1..text.span.end + 1, out);
        }
        Ok(())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        let text = self.cursor.plain_string()?;
        if !number::is_json(text) {
            return Err(Unsure);
        }
        self.quoted_if_string(out, |out| {
            out.extend_from_slice(text);
            Ok(())
        })
    }

    fn quoted_if_string(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Sure<()>) -> Sure<()> {
        if self.numbers == Numbers::Exact {
            return write(out);
        }
        out.push(b'"');
        write(out)?;
        out.push(b'"');
        Ok(())
    }

    fn binary(&mut self, out: &mut Vec<u8>) -> Sure<()> {
        let text = self.cursor.plain_string()?;
        base64::check(text)?;
        quoted(text, out);
        Ok(())
    }

    fn literal(&mut self, word: &[u8], out: &mut Vec<u8>) -> Sure<()> {
        self.cursor.word(word)?;
        out.extend_from_slice(word);
        Ok(())
    }
}

/// Appends `text`, which needs no escapes, as a JSON string.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Ends an object or array, whose members each have a comma behind them.
fn end(bracket: u8, is_empty: bool, out: &mut Vec<u8>) {
    if !is_empty {
        out.pop();
    }
    out.push(bracket);
}
