//! Is a set what Redis says it is: the same members, the same encoding?

use super::*;
use crate::util::rng::Rng;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// First letters of what OBJECT ENCODING of Redis 8.2.3 answered after each step of `replay`.
const SEEN: &str = "\
iiiiiiihhhhhhhhhiiiiiihhhhhhhhhhlhhhhhhhhhhhhhhhiiiiiiiiihhhhhhh-lhhhhhhhhhhhhhhllhhhhhhhh\
hhhhhh-iiiiiiiiiihhhhhilllllhhhhhhhhhhhhhhhhhhhhhhhhhhihhhhhhhhhhhhhhhiillhhhhhhhhhhhhiihh\
hhhhhhhhhhhhiiiihhhhhhhhhhhhilhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhiiiiihhhhhhhhhhhiiiiiiiiiihhhh\
hhiihhhhhhhhhhhhhhiiiiiiiihhhhhhhh--lllllllhhhhhhhhhhhhhhhhhhhhhhhiiiiiiihhhhhhhhhihhhhhhh\
hhhhhhhhilllhhhhhhhhhhhhiiiiiiihhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhiiiiihhhhhhhhhhhih\
hhhhhhhhhhhhhhiiiiihhhhhhhhhhhiiiiiiiiihhhhhhhhhhhhhhhhhhhhhhhillhhhhhhhhhhhhhhhhhhhhhhhhh\
hhhhllllllhhhhhhhhhhiiiilhhhhhhhhhhhiiiiiiiiihhhhhhhiiiiiihhhhhhhhhhlhhhhhhhhhhhhhhhiiihhh\
hhhhhhhhhhllllllhhhhhhhhhhihhhhhhhhhhhhhhhiihhhhhhhhhhhhhhiiihhhhhhhhhhhhhlhhhhhhhhhhhhhhh";

/// The generator the recording was made with.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn member(&mut self, mode: u64) -> Vec<u8> {
        let kind = self.below(8);
        match kind {
            _ if mode == 0 || kind < 4 => self.below(30).to_string(),
            4 => (1_234_567 + self.below(3)).to_string(),
            _ if mode == 1 || kind < 7 => format!("s{}", self.below(9)),
            _ => format!("long-{}", 100 + self.below(9)),
        }
        .into_bytes()
    }
}

fn small_limits() -> Limits {
    Limits {
        set_max_intset_entries: 8,
        set_max_listpack_entries: 5,
        set_max_listpack_value: 6,
        ..Limits::default()
    }
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let (limits, seed) = (small_limits(), Seed::fixed());
    let mut lcg = Lcg(1);
    let mut encodings = String::new();
    for round in 0..45 {
        let mut set: Option<Set> = None;
        let mode = round % 3;
        for _ in 0..16 {
            let members: Vec<Vec<u8>> = match lcg.below(10) {
                0..7 => vec![lcg.member(mode)],
                7..9 => (0..1 + lcg.below(10)).map(|_| lcg.member(mode)).collect(),
                _ => {
                    let member = lcg.member(mode);
                    set.as_mut().map(|set| set.remove(&member));
                    Vec::new()
                }
            };
            if let Some(first) = members.first() {
                let hint = members.len();
                let set = set.get_or_insert_with(|| Set::for_member(first, hint, &limits, seed));
                set.prepare(hint, &limits, seed);
                members.iter().for_each(|member| {
                    set.add(member, &limits, seed);
                });
            }
            set = set.filter(|set| !set.is_empty());
            encodings.push_str(set.as_ref().map_or("-", |set| &set.encoding()[..1]));
        }
    }
    assert_eq!(encodings, SEEN);
}

#[test]
fn limits_of_the_defaults() {
    let (limits, seed) = (Limits::default(), Seed::fixed());
    let mut set = Set::new();
    (0..512).for_each(|i: i32| assert!(set.add(i.to_string().as_bytes(), &limits, seed)));
    assert_eq!(set.encoding(), "intset");
    assert!(set.add(b"512", &limits, seed));
    assert_eq!((set.encoding(), set.len()), ("hashtable", 513));
    let mut set = Set::Packed(Listpack::new());
    (0..128).for_each(|i: i32| assert!(set.add(format!("m{i}").as_bytes(), &limits, seed)));
    assert_eq!(set.encoding(), "listpack");
    assert!(set.add(b"one more", &limits, seed));
    assert_eq!((set.encoding(), set.len()), ("hashtable", 129));
}

#[test]
fn results_of_intersections_become_integers() {
    let (limits, seed) = (Limits::default(), Seed::fixed());
    let mut set = Set::Packed(["3", "1", "2"].iter().map(|m| m.as_bytes()).collect());
    set.make_ints(&limits);
    assert_eq!(set.encoding(), "intset");
    assert!(set.add(b"x", &limits, seed));
    set.make_ints(&limits);
    assert_eq!((set.encoding(), set.len()), ("listpack", 4));
}

#[test]
fn loading_checks_members() {
    let (limits, seed) = (small_limits(), Seed::fixed());
    let load = |members: &[&str]| {
        Set::from_listpack(members.iter().map(|m| m.as_bytes()).collect(), &limits, seed)
            .map(|set| set.encoding())
    };
    assert_eq!(load(&["a", "5", "b"]), Ok("listpack"));
    assert_eq!(load(&["a", "b", "c", "d", "e", "f"]), Ok("hashtable"));
    assert_eq!(load(&["a", "5", "a"]), Err(Corrupt));
    assert_eq!(load(&["5", "a", "5"]), Err(Corrupt));
    let mut crafted = Listpack::new();
    crafted.push_back_value(LpValue::Str(b"5"));
    crafted.push_back_int(5);
    assert!(Set::from_listpack(crafted, &limits, seed).is_err());
    assert_eq!(Set::from_intset((0..9).collect(), &limits, seed).encoding(), "hashtable");
}

#[test]
fn random_members_are_spread_evenly() {
    let (limits, seed) = (Limits::default(), Seed::fixed());
    let mut rng = Rng::new(5);
    for prefix in ["", "m"] {
        for n in [10, 1000] {
            let mut set = Set::new();
            (0..n).for_each(|i| {
                set.add(format!("{prefix}{i}").as_bytes(), &limits, seed);
            });
            let mut counts = std::collections::HashMap::new();
            for _ in 0..n * 60 {
                *counts.entry(set.random(&mut rng).unwrap().to_vec()).or_insert(0) += 1;
            }
            assert_eq!(counts.len(), n, "{}", set.encoding());
            assert!(counts.values().all(|c| (15..150).contains(c)), "{} {counts:?}", set.encoding());
            let mut popped = BTreeSet::new();
            while let Some(member) = set.pop_random(&mut rng) {
                assert!(popped.insert(member));
            }
            assert_eq!(popped.len(), n);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Expect(usize),
    ToInts,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (-20i64..20).prop_map(|i| i.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|i| i.to_string().into_bytes()),
        2 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => (0usize..80).prop_map(|n| vec![b'm'; n]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn behaves_like_a_btree_set(
        big in any::<bool>(),
        ops in prop::collection::vec(prop_oneof![
            12 => member().prop_map(Op::Add),
            6 => member().prop_map(Op::Remove),
            1 => (0usize..7).prop_map(Op::Expect),
            1 => Just(Op::ToInts),
        ], 1..150),
    ) {
        let limits = if big { Limits::default() } else { small_limits() };
        let seed = Seed::fixed();
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Add(m) => {
                    prop_assert_eq!(set.add(&m, &limits, seed), model.insert(m.clone()));
                    prop_assert!(set.contains(&m));
                }
                Op::Remove(m) => {
                    prop_assert_eq!(set.contains(&m), model.contains(&m));
                    prop_assert_eq!(set.remove(&m), model.remove(&m));
                    prop_assert!(!set.contains(&m));
                }
                Op::Expect(n) => set.prepare(n, &limits, seed),
                Op::ToInts => set.make_ints(&limits),
            }
            prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            let members: BTreeSet<Vec<u8>> = set.iter().map(LpValue::to_vec).collect();
            prop_assert_eq!(&members, &model);
        }
        let copy = set.clone();
        prop_assert_eq!(copy.encoding(), set.encoding());
        let (mut seen, mut cursor) = (Vec::new(), 0);
        loop {
            cursor = copy.scan(cursor, 3, |m| seen.push(m.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        seen.sort();
        prop_assert!(seen.into_iter().eq(model));
        while !set.drain_step(2) {}
        prop_assert!(set.is_empty());
    }
}

#[test]
fn popping_many_removes_what_it_shows() {
    let (limits, seed, mut rng) = (Limits::default(), Seed::fixed(), Rng::new(3));
    for (prefix, len) in [("", 100), ("x", 100), ("x", 300), ("", 300)] {
        for n in 1..len {
            let mut set = Set::new();
            for i in 0..len {
                set.add(format!("{prefix}{i}").as_bytes(), &limits, seed);
            }
            let (encoding, mut popped) = (set.encoding(), BTreeSet::new());
            set.pop_many(n, &mut rng, &limits, seed, |member| assert!(popped.insert(member.to_vec())));
            assert_eq!((popped.len(), set.len()), (n, len - n));
            assert!(set.iter().all(|member| !popped.contains(&member.to_vec())));
            assert_eq!(set.iter().chain(popped.iter().map(|m| LpValue::Str(m))).count(), len);
            // A table that is nearly emptied is built anew, and packed then.
            let anew = encoding == "hashtable" && (len - n) * 5 <= n;
            assert_eq!(set.encoding(), if anew { "listpack" } else { encoding }, "{n} of {len}");
            if cfg!(miri) {
                break;
            }
        }
    }
}

#[test]
fn popping_many_is_fair() {
    let (limits, seed, mut rng) = (Limits::default(), Seed::fixed(), Rng::new(4));
    let mut counts = [0u32; 20];
    for _ in 0..2000 {
        let mut set = Set::new();
        (0..20).for_each(|i| assert!(set.add(format!("x{i}").as_bytes(), &limits, seed)));
        set.pop_many(5, &mut rng, &limits, seed, |m| {
            let text = String::from_utf8(m.to_vec()).unwrap();
            counts[text[1..].parse::<usize>().unwrap()] += 1;
        });
    }
    // 500 are expected of each.
    assert!(counts.iter().all(|n| (400..600).contains(n)), "{counts:?}");
}

#[test]
fn members_of_other_sets_are_the_same_members() {
    let (limits, seed) = (Limits::default(), Seed::fixed());
    let texts: [&[u8]; 6] = [b"1", b"-7", b"007", b"9223372036854775808", b"", b"abc"];
    for count in 1..=texts.len() {
        let mut packed = Set::Packed(Listpack::new());
        let mut table = Set::Table(Box::new(Table::new(seed)));
        let mut grown = Set::new();
        for text in &texts[..count] {
            for set in [&mut packed, &mut table, &mut grown] {
                assert!(set.add(text, &limits, seed));
            }
        }
        let mut copy = Set::new();
        assert!(packed.iter().all(|member| copy.add_value(member, &limits, seed)));
        assert!(table.iter().all(|member| !copy.add_value(member, &limits, seed)));
        for set in [&packed, &table, &grown, &copy] {
            assert!(set.iter().all(|m| packed.contains_value(m) && table.contains_value(m)));
            assert!(set.iter().all(|m| grown.contains_value(m)));
            assert!(!set.contains_value(LpValue::Int(2)));
        }
        assert!(packed.iter().all(|member| table.remove_value(member) && copy.remove_value(member)));
        assert!(table.is_empty() && copy.is_empty());
    }
}
