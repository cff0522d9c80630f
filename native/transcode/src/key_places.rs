//! Where the values of an item's key attributes stand: the message key is made of them once the item has been passed.

use crate::cursor::{Cursor, Sure, Text, Unsure};
use crate::item::Items;
use crate::strings;

struct Place {
    name: Vec<u8>,
    /// The name as JSON, with its colon.
    member: Vec<u8>,
    at: Option<usize>,
}

/// The key attributes of a table, in the order of their names.
pub struct KeyPlaces {
    places: Vec<Place>,
    unescaped: Vec<u8>,
}

impl KeyPlaces {
    /// Prepares for a table.
    pub fn new(names: &[&str]) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        let places = names.iter().map(|name| {
            let mut member = Vec::new();
            strings::quote_into(name.as_bytes(), &mut member);
            member.push(b':');
            Place { name: name.as_bytes().to_vec(), member, at: None }
        });
        Self { places: places.collect(), unescaped: Vec::new() }
    }

    /// Forgets the last item.
    pub fn clear(&mut self) {
        for place in &mut self.places {
            place.at = None;
        }
    }

    /// Notes that the cursor stands before the value of this attribute.
    #[inline]
    pub fn note(&mut self, name: &Text, cursor: &Cursor) -> Sure<()> {
        let mut name_bytes = &cursor.text[name.span.clone()];
        if name.escaped {
            self.unescaped.clear();
            strings::unescape(name_bytes, &mut self.unescaped)?;
            name_bytes = &self.unescaped;
        }
        for place in &mut self.places {
            if place.name == name_bytes {
                place.at = Some(cursor.at);
            }
        }
        Ok(())
    }

    /// Appends an object of the key attributes, each value written by `value`. Refuses an item that lacks one.
    pub fn write<'a, 'b>(
        &self,
        items: &mut Items<'a, 'b>,
        out: &mut Vec<u8>,
        mut value: impl FnMut(&mut Items<'a, 'b>, &mut Vec<u8>) -> Sure<()>,
    ) -> Sure<()> {
        let mut before = b'{';
        for place in &self.places {
            out.push(before);
            out.extend_from_slice(&place.member);
            items.cursor.at = place.at.ok_or(Unsure)?;
            value(items, out)?;
            before = b',';
        }
        out.push(b'}');
        Ok(())
    }
}
