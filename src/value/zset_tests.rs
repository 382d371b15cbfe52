//! Does a sorted set, packed or tree, do what a plain ordered list does?

use super::*;
use proptest::prelude::*;

type Model = Vec<(f64, Vec<u8>)>;

fn small(entries: usize) -> Limits {
    Limits { zset_max_listpack_entries: entries, ..Limits::default() }
}

fn items(zset: &Zset) -> Model {
    zset.iter().map(|(m, s)| (s, m.to_vec())).collect()
}

fn member(id: u16) -> Vec<u8> {
    // Numbers, among them such as listpacks keep as integers, and text.
    if id.is_multiple_of(3) { id.to_string() } else { format!("m{id}") }.into_bytes()
}

#[derive(Clone, Debug)]
enum Op {
    Add(u16, f64, AddFlags),
    Remove(u16),
    RemoveRange(usize, usize),
    Pop(usize, bool),
    Ask(u16, f64, f64, bool, bool),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-8i32..8).prop_map(|s| f64::from(s) / 2.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(1e300),
        Just(9e18),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let flags = (0u8..8).prop_map(|f| AddFlags {
        nx: f == 1,
        xx: f == 2 || f == 6,
        gt: f == 3,
        lt: f == 4 || f == 6,
        incr: f == 5 || f == 7,
    });
    prop_oneof![
        10 => (0u16..60, score(), flags).prop_map(|(m, s, f)| Op::Add(m, s, f)),
        3 => (0u16..60).prop_map(Op::Remove),
        1 => (0usize..40, 0usize..6).prop_map(|(a, n)| Op::RemoveRange(a, a + n)),
        1 => (0usize..4, any::<bool>()).prop_map(|(n, max)| Op::Pop(n, max)),
        4 => (0u16..60, score(), score(), any::<bool>(), any::<bool>())
            .prop_map(|(m, a, b, x, y)| Op::Ask(m, a, b, x, y)),
    ]
}

fn model_add(model: &mut Model, m: &[u8], score: f64, f: AddFlags) -> Result<Added, NotANumber> {
    let at = model.iter().position(|x| x.1 == m);
    let old = at.map(|i| model[i].0);
    let verdict = match old {
        None if f.xx => return Ok(Added::Skipped),
        None => Added::New(score),
        Some(_) if f.nx => return Ok(Added::Skipped),
        Some(old) => {
            let new = if f.incr { old + score } else { score };
            if new.is_nan() {
                return Err(NotANumber);
            }
            if (f.gt && new <= old) || (f.lt && new >= old) {
                return Ok(Added::Skipped);
            }
            if new == old { Added::Same(new) } else { Added::Updated(new) }
        }
    };
    if let Added::New(s) | Added::Updated(s) = verdict {
        if let Some(at) = at {
            model.remove(at);
        }
        model.push((s, m.to_vec()));
        model.sort_by(|a, b| a.partial_cmp(b).unwrap());
    }
    Ok(verdict)
}

fn ask(zset: &Zset, model: &Model, id: u16, a: f64, b: f64, min_open: bool, max_open: bool) {
    let m = member(id);
    let rank = model.iter().position(|x| x.1 == m);
    assert_eq!(zset.rank(&m), rank.map(|r| (r, model[r].0)));
    assert_eq!(zset.score(&m), rank.map(|r| model[r].0));
    let range = ScoreRange { min: a, min_open, max: b, max_open };
    let inside = |s: f64| (s > a || (!min_open && s == a)) && (s < b || (!max_open && s == b));
    let want: Vec<_> = model.iter().filter(|x| inside(x.0)).cloned().collect();
    let ranks = zset.ranks_by_score(&range);
    let got: Model = zset.range(ranks.clone()).map(|(m, s)| (s, m.to_vec())).collect();
    assert_eq!(got, want);
    let mut back: Model = zset.range(ranks).rev().map(|(m, s)| (s, m.to_vec())).collect();
    back.reverse();
    assert_eq!(back, want);
    let i = usize::from(id);
    assert_eq!(zset.get(i).map(|(m, s)| (s, m.to_vec())), model.get(i).cloned());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 }) })]
    #[test]
    fn a_sorted_set_is_an_ordered_list(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 60 } else { 300 }),
        entries in prop_oneof![Just(0usize), Just(12), Just(1000)],
    ) {
        let limits = small(entries);
        let (mut zset, mut model) = (Zset::new(), Model::new());
        for op in ops {
            match op {
                Op::Add(m, s, f) => {
                    let m = member(m);
                    prop_assert_eq!(zset.add(&m, s, f, &limits), model_add(&mut model, &m, s, f));
                }
                Op::Remove(m) => {
                    let m = member(m);
                    let at = model.iter().position(|x| x.1 == m);
                    prop_assert_eq!(zset.remove(&m), at.map(|i| model.remove(i)).is_some());
                }
                Op::RemoveRange(a, b) => {
                    let cut = a.min(model.len())..b.min(model.len());
                    prop_assert_eq!(zset.remove_range(a..b), cut.len());
                    model.drain(cut);
                }
                Op::Pop(n, max) => {
                    let mut got = Model::new();
                    let n = n.min(model.len());
                    let want: Model = if max {
                        zset.pop_max(n, |(m, s)| got.push((s, m.to_vec())));
                        model.split_off(model.len() - n).into_iter().rev().collect()
                    } else {
                        zset.pop_min(n, |(m, s)| got.push((s, m.to_vec())));
                        model.drain(..n).collect()
                    };
                    prop_assert_eq!(got, want);
                }
                Op::Ask(m, a, b, x, y) => ask(&zset, &model, m, a, b, x, y),
            }
            prop_assert_eq!(zset.len(), model.len());
        }
        prop_assert_eq!(items(&zset), &model[..]);
        prop_assert_eq!(items(&zset.duplicate()), &model[..]);
        let mut scanned = Model::new();
        prop_assert_eq!(zset.scan(0, usize::MAX, |m, s| scanned.push((s, m.to_vec()))), 0);
        scanned.sort_by(|a, b| a.partial_cmp(b).unwrap());
        prop_assert_eq!(scanned, &model[..]);
        zset.pack_if_small(&small(1000));
        let Zset::Packed(lp) = &zset else { panic!("not packed") };
        let again = Zset::from_listpack(lp.clone(), &limits).unwrap();
        prop_assert_eq!(items(&again), &model[..]);
    }

    #[test]
    fn lexicographic_ranges(ids in prop::collection::btree_set(0u16..80, 0..60),
                            a in 0u16..80, b in 0u16..80, kind in 0u8..16, entries in 0usize..100) {
        let mut zset = Zset::new();
        let mut all: Vec<_> = ids.into_iter().map(member).collect();
        for m in &all {
            zset.add_new(m, 1.5, &small(entries));
        }
        all.sort();
        let (a, b) = (member(a), member(b));
        let bound = |kind, m| match kind {
            0 => LexBound::Lowest,
            1 => LexBound::Highest,
            2 => LexBound::Closed(m),
            _ => LexBound::Open(m),
        };
        let (min, max) = (bound(kind % 4, &a), bound(kind / 4, &b));
        let inside = |m: &Vec<u8>| {
            (match kind % 4 { 0 => true, 1 => false, 2 => *m >= a, _ => *m > a })
                && (match kind / 4 { 0 => false, 1 => true, 2 => *m <= b, _ => *m < b })
        };
        let got: Vec<_> = zset.range(zset.ranks_by_lex(min, max)).map(|(m, _)| m.to_vec()).collect();
        let want: Vec<_> = all.into_iter().filter(inside).collect();
        prop_assert_eq!(got, want);
    }
}

#[test]
fn encodings_switch_at_the_limits_of_redis() {
    let limits = Limits::default();
    let mut zset = Zset::new();
    for i in 0..128u16 {
        zset.add_new(&member(i), 1.0, &limits);
    }
    assert_eq!(zset.encoding(), "listpack");
    zset.add_new(b"one more", 1.0, &limits);
    assert_eq!((zset.encoding(), zset.len()), ("skiplist", 129));
    zset.remove(b"one more");
    assert_eq!(zset.encoding(), "skiplist");
    let mut zset = Zset::new();
    zset.add_new(&[b'x'; 64], 1.0, &limits);
    assert_eq!(zset.encoding(), "listpack");
    zset.add_new(&[b'y'; 65], 1.0, &limits);
    assert_eq!(zset.encoding(), "skiplist");
    zset.remove(&[b'y'; 65]);
    zset.pack_if_small(&limits);
    assert_eq!(zset.encoding(), "listpack");
}

#[test]
fn packed_bytes_are_those_of_redis() {
    // DUMP of ZADD z 1 a 1.5 b -0 c inf d 9e18 e 5e18 f 0.1 12, of a Redis 8.2 server.
    let mut zset = Zset::new();
    let limits = Limits::default();
    for (m, s) in [("a", 1.0), ("b", 1.5), ("c", -0.0), ("d", f64::INFINITY), ("e", 9e18)] {
        zset.add(m.as_bytes(), s, AddFlags::default(), &limits).unwrap();
    }
    zset.add(b"f", 5e18, AddFlags::default(), &limits).unwrap();
    zset.add(b"12", 0.1, AddFlags::default(), &limits).unwrap();
    let Zset::Packed(lp) = &zset else { panic!("not packed") };
    assert_eq!(lp.as_bytes(), PACKED);
}

#[test]
fn listpacks_from_outside_are_checked() {
    let pack = |texts: &[&str]| texts.iter().map(|t| t.as_bytes()).collect::<Listpack>();
    let check = |texts: &[&str]| Zset::from_listpack(pack(texts), &Limits::default()).map(|z| z.len());
    assert_eq!(check(&["a", "1", "b", "1", "c", "2.5"]), Ok(3));
    assert_eq!(check(&[]), Ok(0));
    assert_eq!(check(&["a", "1", "b"]), Err(Corrupt));
    assert_eq!(check(&["a", "x"]), Err(Corrupt));
    assert_eq!(check(&["a", "nan"]), Err(Corrupt));
    assert_eq!(check(&["b", "1", "a", "1"]), Err(Corrupt));
    assert_eq!(check(&["a", "2", "b", "1"]), Err(Corrupt));
    assert_eq!(check(&["a", "1", "a", "2"]), Err(Corrupt));
    assert_eq!(Zset::from_listpack(pack(&["a", "1", "b", "2"]), &small(1)).unwrap().encoding(), "skiplist");
}

#[test]
fn a_handle_is_two_words() {
    assert!(size_of::<Zset>() <= 16);
}
const PACKED: &[u8] = &[
    60, 0, 0, 0, 14, 0, 129, 99, 2, 0, 1, 12, 1, 131, 48, 46, 49, 4, 129, 97, 2, 1, 1, 129, 98, 2, 131, 49,
    46, 53, 4, 129, 102, 2, 133, 53, 101, 43, 49, 56, 6, 129, 101, 2, 133, 57, 101, 43, 49, 56, 6, 129, 100,
    2, 131, 105, 110, 102, 4, 255,
];
