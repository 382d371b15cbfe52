//! Does the tree do what a plain ordered list does?

use super::*;
use proptest::prelude::*;

impl RankTree {
    /// Checks every invariant of the structure.
    pub(crate) fn check(&self) {
        let mut leaves = Vec::new();
        self.check_inner(self.root, self.height, &mut leaves);
        let mut chain = Vec::new();
        let (mut at, mut prev) = (self.first, NONE);
        while at != NONE {
            let leaf = self.store.leaves.get(at);
            assert_eq!(leaf.prev, prev);
            assert!(leaf.bytes() <= LEAF_MAX && (leaf.len() > 0 || self.len == 0));
            chain.push(at);
            (prev, at) = (at, leaf.next);
        }
        assert_eq!(prev, self.last);
        assert_eq!(chain, leaves);
        let mut bytes: usize = chain.iter().map(|&l| self.store.leaves.get(l).capacity()).sum();
        bytes += self.store.long.iter().map(|m| m.len()).sum::<usize>();
        assert_eq!(self.buffers, bytes);
        let items: Vec<_> = self.iter().collect();
        assert_eq!(items.len() as u64, self.len);
        for pair in items.windows(2) {
            assert!((pair[0].1, pair[0].0) < (pair[1].1, pair[1].0));
        }
        for (member, score) in items {
            assert_eq!(self.score(member), Some(score));
        }
    }

    fn check_inner(&self, id: u32, height: u32, leaves: &mut Vec<u32>) {
        let inner = self.inners.get(id);
        assert!(inner.len() >= 1 && inner.len() <= FAN_OUT && inner.len() == inner.first.len());
        for (kid, &first) in inner.kids.iter().zip(&inner.first) {
            let (score, fresh) = if height > 1 {
                self.check_inner(kid.child, height - 1, leaves);
                self.describe_inner(kid.child)
            } else {
                leaves.push(kid.child);
                self.describe_leaf(kid.child)
            };
            assert_eq!((fresh.count, fresh.first_leaf), (kid.count, kid.first_leaf));
            assert!(score == first || self.len == 0);
        }
    }
}

type Model = Vec<(f64, Vec<u8>)>;

fn model_put(model: &mut Model, member: &[u8], score: f64) -> Option<f64> {
    let old = model_remove(model, member);
    let at = model.partition_point(|(s, m)| (*s, &m[..]) < (score, member));
    model.insert(at, (score, member.to_vec()));
    old
}

fn model_remove(model: &mut Model, member: &[u8]) -> Option<f64> {
    let at = model.iter().position(|(_, m)| m == member)?;
    Some(model.remove(at).0)
}

fn same(tree: &RankTree, model: &Model) {
    tree.check();
    assert!(tree.iter().eq(model.iter().map(|(s, m)| (&m[..], *s))));
    assert!(tree.iter().rev().eq(model.iter().rev().map(|(s, m)| (&m[..], *s))));
}

#[derive(Clone, Debug)]
enum Op {
    Put(u16, i8),
    Remove(u16),
    RemoveRange(u8, u8),
    Ask(u16, i8),
}

fn member(id: u16) -> Vec<u8> {
    let mut m = format!("m{id}").into_bytes();
    if id.is_multiple_of(7) {
        m.resize(60 + usize::from(id % 160), b'x');
    }
    m
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u16..2000, -20i8..20).prop_map(|(m, s)| Op::Put(m, s)),
        3 => (0u16..2000).prop_map(Op::Remove),
        1 => (any::<u8>(), 0u8..40).prop_map(|(a, n)| Op::RemoveRange(a, n)),
        2 => (0u16..2000, -21i8..21).prop_map(|(m, s)| Op::Ask(m, s)),
    ]
}

fn ask(tree: &RankTree, model: &Model, id: u16, score: f64) {
    let m = member(id);
    let at = model.iter().position(|(_, x)| *x == m);
    assert_eq!(tree.rank(&m), at.map(|i| (i, model[i].0)));
    assert_eq!(tree.rank_by_score(|s| s < score), model.partition_point(|x| x.0 < score));
    assert_eq!(tree.rank_by_score(|s| s <= score), model.partition_point(|x| x.0 <= score));
    let (a, b) = (usize::from(id) % 700, usize::from(id) % 700 + 30);
    let (a_cut, b_cut) = (a.min(model.len()), b.min(model.len()));
    let want = model[a_cut..b_cut].iter().map(|(s, m)| (&m[..], *s));
    assert!(tree.range(a, b).eq(want.clone()));
    assert!(tree.range(a, b).rev().eq(want.rev()));
    assert_eq!(tree.get(a), model.get(a).map(|(s, m)| (&m[..], *s)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 40 }) })]
    #[test]
    fn a_tree_is_an_ordered_list(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 150 } else { 3000 })) {
        let (mut tree, mut model) = (RankTree::new(), Model::new());
        for op in ops {
            match op {
                Op::Put(m, s) => {
                    let (m, s) = (member(m), f64::from(s) / 2.0);
                    prop_assert_eq!(tree.insert(&m, s), model_put(&mut model, &m, s));
                }
                Op::Remove(m) => {
                    let m = member(m);
                    prop_assert_eq!(tree.remove(&m), model_remove(&mut model, &m));
                }
                Op::RemoveRange(a, n) => {
                    let (a, b) = (usize::from(a), usize::from(a) + usize::from(n));
                    let cut = a.min(model.len())..b.min(model.len());
                    prop_assert_eq!(tree.remove_range(a, b), cut.len());
                    model.drain(cut);
                }
                Op::Ask(m, s) => ask(&tree, &model, m, f64::from(s) / 2.0),
            }
        }
        same(&tree, &model);
    }
}

fn big() -> u32 {
    if cfg!(miri) { 300 } else { 30_000 }
}

#[test]
fn grows_to_three_levels_and_back() {
    let mut tree = RankTree::new();
    for i in 0..big() {
        let i = i.wrapping_mul(2_654_435_761);
        tree.insert(format!("member:{i}").as_bytes(), f64::from(i % 5000));
    }
    tree.check();
    assert!(cfg!(miri) || tree.height >= 2);
    for i in (0..big()).filter(|i| i % 37 != 0) {
        let i = i.wrapping_mul(2_654_435_761);
        assert!(tree.remove(format!("member:{i}").as_bytes()).is_some());
    }
    tree.check();
    let left = tree.len();
    assert_eq!(tree.remove_range(1, usize::MAX), left - 1);
    tree.check();
    assert_eq!((tree.height, tree.remove_range(0, 1)), (1, 1));
    tree.check();
    tree.insert(b"again", 1.0);
    tree.check();
}

#[test]
fn ascending_and_descending_inserts_fill_their_leaves() {
    for sign in [1.0, -1.0] {
        let mut tree = RankTree::new();
        for i in 0..big() {
            tree.insert(format!("member:{i:09}").as_bytes(), f64::from(i) * sign);
        }
        tree.check();
        let used: usize = tree.store.leaves.iter().map(Leaf::bytes).sum();
        assert!(cfg!(miri) || tree.buffers * 95 / 100 < used);
    }
}

#[test]
fn lexicographic_ranks_and_one_score() {
    let mut tree = RankTree::new();
    let mut all: Vec<Vec<u8>> = (0..1500u16).map(member).collect();
    for m in &all {
        tree.insert(m, 0.0);
    }
    all.sort();
    tree.check();
    for m in [&b"m"[..], b"m1", b"m1499", b"m77", b"z", b""] {
        assert_eq!(tree.rank_by_member(|x| x < m), all.partition_point(|x| &x[..] < m));
        assert_eq!(tree.rank_by_member(|x| x <= m), all.partition_point(|x| &x[..] <= m));
    }
}

#[test]
fn infinities_and_zeros_have_their_order() {
    let mut tree = RankTree::new();
    for (m, s) in [("a", 0.0), ("b", -0.0), ("c", f64::INFINITY), ("d", f64::NEG_INFINITY)] {
        tree.insert(m.as_bytes(), s);
    }
    let order: Vec<_> = tree.iter().map(|(m, _)| m[0] as char).collect();
    assert_eq!(order, ['d', 'a', 'b', 'c']);
    assert!(tree.score(b"b").unwrap().is_sign_negative());
}

#[test]
fn a_scan_misses_nobody_who_stays() {
    let mut tree = RankTree::new();
    let n = big() / 20;
    for i in 0..n {
        tree.insert(format!("stay:{i}").as_bytes(), f64::from(i));
    }
    let (mut seen, mut cursor, mut round) = (std::collections::BTreeSet::new(), 0, 0u32);
    loop {
        cursor = tree.scan(cursor, 10, |m, s| {
            if let Some(id) = m.strip_prefix(b"stay:") {
                assert_eq!(std::str::from_utf8(id).unwrap(), s.to_string());
                seen.insert(id.to_vec());
            }
        });
        if cursor == 0 {
            break;
        }
        round += 1;
        // Grow during the first half, shrink during the second.
        for i in 0..100 {
            let m = format!("come:{}", round % 150 * 100 + i);
            if round < 150 {
                tree.insert(m.as_bytes(), f64::from(i));
            } else {
                tree.remove(m.as_bytes());
            }
        }
    }
    assert_eq!(seen.len(), n as usize);
    tree.check();
}

#[test]
fn drops_in_steps() {
    let mut tree = RankTree::new();
    for i in 0..big() {
        tree.insert(format!("member:{i}").as_bytes(), f64::from(i));
    }
    let mut steps = 1;
    while !tree.drain_step(1) {
        assert!(tree.is_empty());
        steps += 1;
    }
    assert!(steps > 3);
    tree.insert(b"x", 1.0);
    tree.check();
}

#[test]
fn memory_is_what_was_promised() {
    if cfg!(miri) {
        return;
    }
    let mut tree = RankTree::new();
    let n = 200_000u64;
    for i in 0..n {
        let i = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        tree.insert(&format!("{i:016x}").as_bytes()[..16], (i >> 32) as f64);
    }
    let each = tree.memory() as f64 / n as f64;
    assert!(each < 46.0, "{each} bytes a member");
}
