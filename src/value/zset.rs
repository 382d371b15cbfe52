//! What is a sorted set? Members with scores, packed while few, a tree beyond that.
//!
//! A packed set is Redis's listpack of (member, score) pairs in ascending order of score, then
//! member; it is what an RDB file holds. OBJECT ENCODING calls the two "listpack" and "skiplist".
//!
//! Invariants: scores are never NaN; a set grown past its limits never goes back to packed, except
//! by [`Zset::pack_if_small`]; members are unique. Commands delete a key whose set became empty.

use crate::ds::listpack::{Corrupt, Listpack, LpValue, Pos};
use crate::ds::ranktree::{self, RankTree};
use crate::util::number::{fmt_double, parse_f64};
use crate::value::limits::Limits;
use std::cmp::Ordering;
use std::ops::Range;

/// A sorted set.
#[derive(Debug)]
pub enum Zset {
    /// Few and small members, in one allocation.
    Packed(Listpack),
    /// Any number of members.
    Tree(Box<RankTree>),
}

/// The conditions and the mode of an addition (ZADD's flags).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddFlags {
    /// Only add new members.
    pub nx: bool,
    /// Only update members that exist.
    pub xx: bool,
    /// Only update to a greater score.
    pub gt: bool,
    /// Only update to a smaller score.
    pub lt: bool,
    /// Add the score given to the score there is.
    pub incr: bool,
}

/// What an addition did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Added {
    /// The member is new.
    New(f64),
    /// The member has another score now.
    Updated(f64),
    /// The member had this score already.
    Same(f64),
    /// A condition was not met; nothing was done.
    Skipped,
}

/// The sum of two scores would be NaN (infinities of opposite signs), or NaN was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

/// A range of scores; an open end excludes the score itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// Lower end.
    pub min: f64,
    /// Lower end excluded.
    pub min_open: bool,
    /// Upper end.
    pub max: f64,
    /// Upper end excluded.
    pub max_open: bool,
}

impl ScoreRange {
    /// Is this score below the range?
    #[inline]
    fn below(&self, score: f64) -> bool {
        if self.min_open { score <= self.min } else { score < self.min }
    }

    /// Is this score not above the range?
    #[inline]
    fn not_above(&self, score: f64) -> bool {
        if self.max_open { score < self.max } else { score <= self.max }
    }
}

/// One end of a lexicographic range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before all members.
    Lowest,
    /// `+`: after all members.
    Highest,
    /// `[member`: the member included.
    Closed(&'a [u8]),
    /// `(member`: the member excluded.
    Open(&'a [u8]),
}

impl LexBound<'_> {
    /// As the lower end: is `member` below it?
    fn leaves_below(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(bound) => member < bound,
            LexBound::Open(bound) => member <= bound,
        }
    }

    /// As the upper end: is `member` not above it?
    fn leaves_in(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(bound) => member <= bound,
            LexBound::Open(bound) => member < bound,
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Zset::Packed(Listpack::new())
    }
}

/// The score as a listpack holds it. Whole numbers below 2^62 are integers, so that -0 becomes 0.
fn with_packed_score<R>(score: f64, f: impl FnOnce(LpValue<'_>) -> R) -> R {
    // LLONG_MAX / 2 as a double, the limit that Redis has.
    const WHOLE: f64 = (i64::MAX / 2) as f64;
    if (-WHOLE..=WHOLE).contains(&score) && score == score.trunc() {
        return f(LpValue::Int(score as i64));
    }
    f(LpValue::of(fmt_double(score).as_str().as_bytes()))
}

fn packed_score(value: LpValue<'_>) -> Option<f64> {
    match value {
        LpValue::Int(i) => Some(i as f64),
        LpValue::Str(text) => parse_f64(text),
    }
}

fn cmp_member(a: LpValue<'_>, b: &[u8]) -> Ordering {
    a.as_bytes(&mut itoa::Buffer::new()).cmp(b)
}

/// The pairs of a packed set.
fn pairs(lp: &Listpack) -> PackedIter<'_> {
    PackedIter { values: lp.iter() }
}

/// Changes.
impl Zset {
    /// An empty set.
    pub fn new() -> Zset {
        Zset::default()
    }

    /// An empty set for about `members` members of up to `longest` bytes: begins as a tree if a
    /// packed set would not do.
    pub fn with_hint(members: usize, longest: usize, limits: &Limits) -> Zset {
        if members <= limits.zset_max_listpack_entries && longest <= limits.zset_max_listpack_value {
            return Zset::default();
        }
        Zset::Tree(Box::default())
    }

    /// Adds or updates a member.
    ///
    /// # Errors
    /// [`NotANumber`] if the new score would be NaN; nothing is changed then.
    pub fn add(
        &mut self,
        member: &[u8],
        score: f64,
        flags: AddFlags,
        limits: &Limits,
    ) -> Result<Added, NotANumber> {
        if score.is_nan() {
            return Err(NotANumber);
        }
        match self {
            Zset::Packed(lp) => {
                let found = lp.find(member, 1);
                let old = found.and_then(|at| lp.next(at)).and_then(|at| lp.value(at));
                let verdict = judge(old.and_then(packed_score), score, flags)?;
                match (verdict, found) {
                    (Added::Updated(score), Some(at)) => {
                        lp.remove_n(at, 2);
                        insert_packed(lp, member, score);
                    }
                    (Added::New(score), _) => self.add_new(member, score, limits),
                    _ => {}
                }
                Ok(verdict)
            }
            Zset::Tree(tree) => {
                let location = tree.locate(member);
                let verdict = judge(location.score(), score, flags)?;
                if let Added::New(score) | Added::Updated(score) = verdict {
                    tree.put(location, member, score);
                }
                Ok(verdict)
            }
        }
    }

    /// Adds a member that is known not to be there; the score must not be NaN.
    pub fn add_new(&mut self, member: &[u8], score: f64, limits: &Limits) {
        if let Zset::Packed(lp) = self {
            if lp.len() / 2 < limits.zset_max_listpack_entries
                && member.len() <= limits.zset_max_listpack_value
                && lp.fits(member.len())
            {
                return insert_packed(lp, member, score);
            }
            self.become_tree();
        }
        if let Zset::Tree(tree) = self {
            tree.insert(member, score);
        }
    }

    fn become_tree(&mut self) {
        if let Zset::Packed(lp) = self {
            let mut tree = Box::<RankTree>::default();
            for (member, score) in pairs(lp) {
                tree.insert(member.as_bytes(&mut itoa::Buffer::new()), score);
            }
            *self = Zset::Tree(tree);
        }
    }

    /// Makes a tree of a packed set that more than the limit of members are about to join.
    pub fn prepare(&mut self, members: usize, limits: &Limits) {
        if members > limits.zset_max_listpack_entries {
            self.become_tree();
        }
    }

    /// Packs a set whose members are few and small enough: what commands that store a computed set
    /// do at their end.
    pub fn pack_if_small(&mut self, limits: &Limits) {
        let Zset::Tree(tree) = &*self else { return };
        if tree.len() > limits.zset_max_listpack_entries {
            return;
        }
        let mut lp = Listpack::new();
        for (member, score) in tree.iter() {
            if member.len() > limits.zset_max_listpack_value || !lp.fits(member.len()) {
                return;
            }
            push_packed(&mut lp, member, score);
        }
        *self = Zset::Packed(lp);
    }

    /// Removes a member; returns whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Zset::Packed(lp) => lp.find(member, 1).is_some_and(|at| lp.remove_n(at, 2) == 2),
            Zset::Tree(tree) => tree.remove(member).is_some(),
        }
    }

    /// Removes the members of ranks `range`; returns how many there were.
    pub fn remove_range(&mut self, range: Range<usize>) -> usize {
        let end = range.end.min(self.len());
        if range.start >= end {
            return 0;
        }
        match self {
            Zset::Packed(lp) => lp.remove_range(2 * range.start, 2 * (end - range.start)) / 2,
            Zset::Tree(tree) => tree.remove_range(range.start, end),
        }
    }

    /// Removes up to `n` members of the lowest scores, showing them to `f` first.
    pub fn pop_min(&mut self, n: usize, f: impl FnMut((LpValue<'_>, f64))) -> usize {
        let n = n.min(self.len());
        self.range(0..n).for_each(f);
        self.remove_range(0..n)
    }

    /// Removes up to `n` members of the highest scores, showing them to `f` first.
    pub fn pop_max(&mut self, n: usize, f: impl FnMut((LpValue<'_>, f64))) -> usize {
        let (n, len) = (n.min(self.len()), self.len());
        self.range(len - n..len).rev().for_each(f);
        self.remove_range(len - n..len)
    }

    /// Frees about `items` members' worth of memory; returns whether all is freed. The set is empty
    /// from the first step on.
    pub fn drain_step(&mut self, items: usize) -> bool {
        match self {
            Zset::Packed(lp) => {
                *lp = Listpack::new();
                true
            }
            Zset::Tree(tree) => tree.drain_step(items),
        }
    }
}

/// What adding `score` to a member of score `old` should do.
fn judge(old: Option<f64>, score: f64, flags: AddFlags) -> Result<Added, NotANumber> {
    let Some(old) = old else {
        return Ok(if flags.xx { Added::Skipped } else { Added::New(score) });
    };
    if flags.nx {
        return Ok(Added::Skipped);
    }
    let score = if flags.incr { old + score } else { score };
    if score.is_nan() {
        return Err(NotANumber);
    }
    if (flags.lt && score >= old) || (flags.gt && score <= old) {
        return Ok(Added::Skipped);
    }
    Ok(if score == old { Added::Same(score) } else { Added::Updated(score) })
}

fn insert_packed(lp: &mut Listpack, member: &[u8], score: f64) {
    let mut at = lp.end();
    let mut values = lp.iter();
    loop {
        let here = values.pos();
        let (Some(name), Some(theirs)) = (values.next(), values.next().and_then(packed_score)) else {
            break;
        };
        if theirs > score || (theirs == score && cmp_member(name, member).is_gt()) {
            at = here;
            break;
        }
    }
    put_packed(lp, at, member, score);
}

fn push_packed(lp: &mut Listpack, member: &[u8], score: f64) {
    put_packed(lp, lp.end(), member, score);
}

fn put_packed(lp: &mut Listpack, at: Pos, member: &[u8], score: f64) {
    with_packed_score(score, |score| lp.insert_values(at, &[LpValue::of(member), score]));
}

/// Questions.
impl Zset {
    /// Number of members.
    pub fn len(&self) -> usize {
        match self {
            Zset::Packed(lp) => lp.len() / 2,
            Zset::Tree(tree) => tree.len(),
        }
    }

    /// Has it no members?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self {
            Zset::Packed(_) => "listpack",
            Zset::Tree(_) => "skiplist",
        }
    }

    /// Bytes allocated, without the handle.
    pub fn memory(&self) -> usize {
        match self {
            Zset::Packed(lp) => lp.memory(),
            Zset::Tree(tree) => tree.memory(),
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Zset::Packed(lp) => {
                let at = lp.find(member, 1)?;
                packed_score(lp.value(lp.next(at)?)?)
            }
            Zset::Tree(tree) => tree.score(member),
        }
    }

    /// The rank of a member, counted from the lowest score, and its score. From the highest it is
    /// `len() - 1 - rank`.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Zset::Packed(lp) => {
                let (rank, (_, score)) =
                    pairs(lp).enumerate().find(|(_, (name, _))| name.eq_bytes(member))?;
                Some((rank, score))
            }
            Zset::Tree(tree) => tree.rank(member),
        }
    }

    /// The member of a rank, and its score.
    pub fn get(&self, rank: usize) -> Option<(LpValue<'_>, f64)> {
        self.range(rank..rank.saturating_add(1)).next()
    }

    /// The members of ranks `range`, cut to what is there, ascending; from the back descending.
    pub fn range(&self, range: Range<usize>) -> Iter<'_> {
        let len = self.len();
        let (start, end) = (range.start.min(len), range.end.min(len));
        let left = end.saturating_sub(start);
        let source = match self {
            Zset::Packed(lp) => {
                let values = match (lp.seek(2 * start), lp.seek(2 * end)) {
                    _ if left == 0 => lp.iter_from(lp.end()),
                    (Some(first), None) => lp.iter_from(first),
                    (_, Some(end)) => cut_front(lp.iter_before(end), 2 * start),
                    (None, None) => lp.iter_from(lp.end()),
                };
                Source::Packed(PackedIter { values })
            }
            Zset::Tree(tree) => Source::Tree(tree.range(start, end)),
        };
        Iter { source, left }
    }

    /// All members, ascending.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The ranks of the members with scores in a range; empty if start is not below end.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        match self {
            Zset::Packed(lp) => {
                let mut ranks = 0..0;
                for (_, score) in pairs(lp).take_while(|p| range.not_above(p.1)) {
                    ranks.start += usize::from(range.below(score));
                    ranks.end += 1;
                }
                ranks
            }
            Zset::Tree(tree) => {
                let start = tree.rank_by_score(|score| range.below(score));
                start..tree.rank_by_score(|score| range.not_above(score))
            }
        }
    }

    /// The ranks of the members in a lexicographic range, in a set whose scores are all the same;
    /// empty if start is not below end. In other sets it is some range.
    pub fn ranks_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        match self {
            Zset::Packed(lp) => {
                let mut text = itoa::Buffer::new();
                let mut names = pairs(lp).map(|(name, _)| name);
                let start = names.position(|n| !min.leaves_below(n.as_bytes(&mut text)));
                let start = start.unwrap_or(lp.len() / 2);
                let inside =
                    pairs(lp).skip(start).take_while(|(n, _)| max.leaves_in(n.as_bytes(&mut text))).count();
                start..start + inside
            }
            Zset::Tree(tree) => {
                let start = tree.rank_by_member(|m| min.leaves_below(m));
                start..tree.rank_by_member(|m| max.leaves_in(m))
            }
        }
    }

    /// Visits members for ZSCAN: at least `count` of them, a packed set at once. Starts from and
    /// ends with cursor 0.
    pub fn scan(&self, cursor: u64, count: usize, mut f: impl FnMut(LpValue<'_>, f64)) -> u64 {
        match self {
            Zset::Packed(lp) => {
                pairs(lp).for_each(|(member, score)| f(member, score));
                0
            }
            Zset::Tree(tree) => tree.scan(cursor, count, |m, score| f(LpValue::Str(m), score)),
        }
    }

    /// A copy of the set.
    pub fn duplicate(&self) -> Zset {
        match self {
            Zset::Packed(lp) => Zset::Packed(lp.clone()),
            Zset::Tree(tree) => {
                let mut copy = Box::<RankTree>::default();
                for (member, score) in tree.iter() {
                    copy.insert(member, score);
                }
                Zset::Tree(copy)
            }
        }
    }

    /// Takes over a listpack from outside (RDB, RESTORE). It becomes a tree if it is past the limits.
    ///
    /// # Errors
    /// [`Corrupt`] unless it is pairs of unique members and scores, which are not NaN, in order.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<Zset, Corrupt> {
        let mut names = Vec::new();
        let mut longest = 0;
        let mut last: Option<(f64, Vec<u8>)> = None;
        let mut values = lp.iter();
        while let Some(name) = values.next() {
            let score = values.next().and_then(packed_score).ok_or(Corrupt)?;
            let name = name.to_vec();
            if let Some((s, n)) = &last
                && (*s > score || (*s == score && *n >= name))
            {
                return Err(Corrupt);
            }
            longest = longest.max(name.len());
            names.push(name.clone());
            last = Some((score, name));
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Corrupt);
        }
        let small =
            names.len() <= limits.zset_max_listpack_entries && longest <= limits.zset_max_listpack_value;
        let mut zset = Zset::Packed(lp);
        if !small {
            zset.become_tree();
        }
        Ok(zset)
    }
}

fn cut_front(mut values: crate::ds::listpack::Iter<'_>, n: usize) -> crate::ds::listpack::Iter<'_> {
    for _ in 0..n {
        values.next();
    }
    values
}

/// Pairs of a packed set, from either end.
#[derive(Clone)]
struct PackedIter<'a> {
    values: crate::ds::listpack::Iter<'a>,
}

impl<'a> Iterator for PackedIter<'a> {
    type Item = (LpValue<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.values.next()?;
        Some((member, packed_score(self.values.next()?)?))
    }
}

impl DoubleEndedIterator for PackedIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let score = packed_score(self.values.next_back()?)?;
        Some((self.values.next_back()?, score))
    }
}

#[derive(Clone)]
enum Source<'a> {
    Packed(PackedIter<'a>),
    Tree(ranktree::Range<'a>),
}

/// Members and scores, ascending; from the back descending.
#[derive(Clone)]
pub struct Iter<'a> {
    source: Source<'a>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (LpValue<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Packed(pairs) => pairs.next(),
            Source::Tree(range) => range.next().map(|(m, score)| (LpValue::Str(m), score)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Packed(pairs) => pairs.next_back(),
            Source::Tree(range) => range.next_back().map(|(m, score)| (LpValue::Str(m), score)),
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
#[path = "zset_tests.rs"]
mod tests;
