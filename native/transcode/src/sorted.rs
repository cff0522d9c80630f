//! Members of an object or set that are written as they come and put in order afterwards.

use std::ops::Range;

use crate::cursor::{Sure, Unsure};
use crate::strings;

/// Where the bytes stand that a member is sorted by.
#[derive(Clone)]
pub enum Key {
    /// In the text that is read.
    Text(Range<usize>),
    /// In the sorter's own store.
    Own(Range<usize>),
}

struct Member {
    /// The key's first bytes as a number: most keys differ in it.
    first: u64,
    key: Key,
    written: Range<usize>,
}

/// A group that is open: its members are those noted since.
#[must_use]
pub struct Group {
    members: usize,
    keys: usize,
    start: usize,
}

/// Sorts the members of nested groups. It keeps its memory from one record to the next.
#[derive(Default)]
pub struct Sorter {
    members: Vec<Member>,
    /// Keys that are not in the text as they stand: unescaped strings, decoded binaries, numbers as bytes in order.
    pub own_keys: Vec<u8>,
    spare: Vec<u8>,
}

impl Sorter {
    /// Forgets what a record that was given up has left.
    pub fn clear(&mut self) {
        self.members.clear();
        self.own_keys.clear();
    }

    /// Opens a group whose first member will be written at the end of `out`.
    pub fn open(&self, out: &[u8]) -> Group {
        Group { members: self.members.len(), keys: self.own_keys.len(), start: out.len() }
    }

    /// Notes a member whose text, with a comma behind it, was written from `start` to the end of `out`.
    pub fn note(&mut self, key: Key, start: usize, text: &[u8], out: &[u8]) {
        let first = match &key {
            Key::Text(range) => first(text, range),
            Key::Own(range) => first(&self.own_keys, range),
        };
        self.members.push(Member { first, key, written: start..out.len() });
    }

    /// Puts the group's members in the order of their keys, and members of equal keys in that of their coming;
    /// refuses equal keys unless `repeats`.
    pub fn close(&mut self, group: &Group, text: &[u8], out: &mut [u8], repeats: bool) -> Sure<()> {
        let Self { members, own_keys, spare } = self;
        let key = |member: &Member| match &member.key {
            Key::Text(range) => &text[range.clone()],
            Key::Own(range) => &own_keys[range.clone()],
        };
        let order = |one: &Member, other: &Member| one.first.cmp(&other.first).then_with(|| key(one).cmp(key(other)));
        let noted = &mut members[group.members..];
        if !noted.is_sorted_by(|one, next| order(one, next).is_lt()) {
            noted.sort_by(order);
            if !repeats && noted.windows(2).any(|pair| order(&pair[0], &pair[1]).is_eq()) {
                return Err(Unsure);
            }
            spare.clear();
            for member in &*noted {
                strings::append(out, member.written.clone(), spare);
            }
            out[group.start..].copy_from_slice(spare);
        }
        members.truncate(group.members);
        own_keys.truncate(group.keys);
        Ok(())
    }
}

/// Gives the first eight bytes of a part of `text` as a number that has their order; what is missing counts as zero.
#[inline]
fn first(text: &[u8], range: &Range<usize>) -> u64 {
    const BYTES: usize = size_of::<u64>();
    let length = range.len().min(BYTES);
    if length == 0 {
        return 0;
    }
    if let Some(whole) = text.get(range.start..).and_then(<[u8]>::first_chunk::<BYTES>) {
        return u64::from_be_bytes(*whole) & (u64::MAX << (8 * (BYTES - length)));
    }
    let mut bytes = [0; BYTES];
    bytes[..length].copy_from_slice(&text[range.start..range.start + length]);
    u64::from_be_bytes(bytes)
}
