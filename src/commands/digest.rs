//! Do two servers hold the same data? The digests of DEBUG DIGEST and DIGEST-VALUE, the same that Redis computes.
//!
//! SHA-1 sums are joined in two ways: xored, where the order of the parts means nothing (keys, members, fields), and
//! mixed, where it does: the sum so far, with the part's sum xored into it, is hashed again.

use crate::ds::entry::View;
use crate::ds::listpack::LpValue;
use crate::keyspace::Slot;
use crate::util::number::fmt_shortest;
use crate::value::Value;

/// A sum under construction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest([u8; 20]);

impl Digest {
    /// Adds a part whose place does not matter.
    pub(crate) fn xor(&mut self, part: &[u8]) {
        self.join(&Digest(sha1_smol::Sha1::from(part).digest().bytes()));
    }

    /// Adds a part whose place matters.
    pub(crate) fn mix(&mut self, part: &[u8]) {
        self.xor(part);
        self.0 = sha1_smol::Sha1::from(self.0).digest().bytes();
    }

    /// Adds a finished sum, as a part whose place does not matter.
    pub(crate) fn xor_sum(&mut self, part: &Digest) {
        self.xor(&part.0);
    }

    /// Adds what has been xored apart as if it had been xored here.
    pub(crate) fn join(&mut self, other: &Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
    }

    /// Forty hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn mix_value(&mut self, value: LpValue<'_>) {
        self.mix(value.as_bytes(&mut itoa::Buffer::new()));
    }

    /// Mixes in the parts of a pair, apart from the rest.
    fn join_pair(&mut self, first: LpValue<'_>, second: &[u8], mark: Option<&[u8]>) {
        let mut pair = Digest::default();
        pair.mix_value(first);
        pair.mix(second);
        if let Some(mark) = mark {
            pair.xor(mark);
        }
        self.xor(&pair.0);
    }

    /// Adds an entry's type, value and whether it expires, not its key.
    pub(crate) fn entry(&mut self, slot: &Slot) {
        match slot.view() {
            View::Str(bytes) => self.string(bytes),
            View::Int(n) => self.string(itoa::Buffer::new().format(n).as_bytes()),
            View::Value(value) => self.value(value),
        }
        if slot.expire().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn kind(&mut self, number: u32) {
        self.mix(&number.to_be_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.kind(0);
        self.mix(bytes);
    }

    fn value(&mut self, value: &Value) {
        let mut digits = itoa::Buffer::new();
        match value {
            Value::Str(bytes) => self.string(bytes),
            Value::List(list) => {
                self.kind(1);
                list.iter().for_each(|element| self.mix_value(element));
            }
            Value::Set(set) => {
                self.kind(2);
                set.iter().for_each(|member| self.xor(member.as_bytes(&mut digits)));
            }
            Value::Zset(zset) => {
                self.kind(3);
                zset.iter()
                    .for_each(|(member, score)| self.join_pair(member, fmt_shortest(score).as_ref(), None));
            }
            Value::Hash(hash) => {
                self.kind(4);
                for field in hash.iter() {
                    let mark = field.expire.map(|_| &b"!!hexpire!!"[..]);
                    self.join_pair(field.name, field.value.as_bytes(&mut digits), mark);
                }
            }
            Value::Stream(stream) => {
                self.kind(6);
                for entry in stream.iter() {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.fields() {
                        self.mix_value(field);
                        self.mix_value(value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters_only_where_parts_are_mixed() {
        let sum = |add: fn(&mut Digest, &[u8]), parts: [&[u8]; 2]| {
            let mut digest = Digest::default();
            parts.iter().for_each(|part| add(&mut digest, part));
            digest
        };
        assert_eq!(sum(Digest::xor, [b"a", b"b"]), sum(Digest::xor, [b"b", b"a"]));
        assert_ne!(sum(Digest::mix, [b"a", b"b"]), sum(Digest::mix, [b"b", b"a"]));
    }
}
