//! Is a hash what Redis says it is: the same fields in the same order, the same encoding?

use super::*;
use crate::util::rng::Rng;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// First letters (x: listpackex, -: no key) of what OBJECT ENCODING of Redis 8.2.3 answered after
/// each step of `replay`.
const SEEN: &str = "\
llxxxxxxxxxxxx--llllllxxxxxxllllxxxxxxxxxxlllxhhhhhhhhhhllxxxxxxxxxxxx----hhhhhhhhhhllllxx\
xxxxxhhhlhhhhhhhhhhhhhlxxxxxxxxxxxxxhhhhhhhhhhhhhhllllllxxxxxxxhllxxxxxxxxxxxhlllllxxxxxxx\
xx-llxxxxxxxxxhh-lxxhhhhhhhhhh-lllxxxxxxxxhhllllllllllxxxxllhhhhhhhhhhhh-llllllxxxxxxx-lll\
llxxxxxxxhhhhhhhhhhhhhhh-lxxxhhhhhhhhh-llxxxxxxxxxxxlllxxxxxhhhhhhllllxxxxxxxhhhlxxxxxxxxx\
xxxxllxxxxxxhhhhhhllhhhhhhhhhhhh-lxxxxxxxxxxxxlxxxxxxxhhhhhhllllxxxxxxhhhhlllllhhhhhhhhhll\
llllllllllxh--lxxxhhhhhhhhllllxxxxxhhhhhllllxxhhhhhhhh-lllxxxxxxxxxhlxxxxxxxhhhhhhllllxxxx\
xxxxxxhh--lllhhhhhhh";

/// FNV-1a, lower half, of what HGETALL and HPEXPIRETIME answered after each round, as
/// "name=value@expiry" joined by commas; sorted by name if a table.
const CONTENT: [u32; 40] = [
    705371812, 3382139694, 865769462, 2890901508, 955713029, 3054379259, 2626189891, 3319195765, 4250084816,
    2495049629, 487760263, 2344383960, 3333405321, 1894347682, 3389225907, 2621650543, 2938378877, 321471491,
    1045446900, 1408873294, 1972902272, 323852452, 3724378698, 4182984288, 3606109896, 558199922, 1393919288,
    3316390880, 558625120, 718844269, 1594558764, 1410195194, 492490880, 4166440120, 84428515, 3128892042,
    1032998715, 3344249355, 1604066399, 3596121452,
];

const BASE: u64 = 4_102_444_800_000;

/// The generator the recording was made with.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn field(&mut self) -> Vec<u8> {
        format!("f{}", self.below(9)).into_bytes()
    }

    fn value(&mut self, mode: u64) -> Vec<u8> {
        match self.below(12) {
            0..6 => self.below(3000).to_string(),
            k if k < 11 || mode == 0 => format!("v{}", self.below(50)),
            _ => format!("long-value-{}", self.below(9)),
        }
        .into_bytes()
    }
}

fn small_limits() -> Limits {
    Limits { hash_max_listpack_entries: 6, hash_max_listpack_value: 8, ..Limits::default() }
}

/// One step of the recording, as the commands would do it.
fn step(hash: &mut Hash, lcg: &mut Lcg, mode: u64) {
    let (limits, seed) = (small_limits(), Seed::fixed());
    match lcg.below(12) {
        k @ 0..5 => {
            let n = if k == 4 { 1 + lcg.below(8) } else { 1 };
            let pairs: Vec<_> = (0..n).map(|_| (lcg.field(), lcg.value(mode))).collect();
            let longest = pairs.iter().map(|(f, v)| f.len().max(v.len())).max().unwrap();
            hash.prepare(pairs.len(), longest, &limits, seed);
            pairs.iter().for_each(|(f, v)| {
                hash.set(f, v, false, &limits, seed);
            });
        }
        5 => {
            hash.remove(&lcg.field());
        }
        6..9 => {
            let field = lcg.field();
            let at = BASE + 1000 * lcg.below(4);
            if !hash.is_empty() {
                hash.allow_expiry();
                hash.expire_field(&field, at);
            }
        }
        9 => {
            hash.persist_field(&lcg.field());
        }
        _ => {
            let (field, by) = (lcg.field(), lcg.below(5) as i64);
            let old = hash.get(&field).map_or(Some(0), |(value, _)| value.as_int());
            if let Some(old) = old {
                hash.set(&field, (old + by).to_string().as_bytes(), true, &limits, seed);
            }
        }
    }
}

#[test]
fn encodings_and_order_are_those_of_redis() {
    let mut lcg = Lcg(7);
    let mut encodings = String::new();
    for (round, want) in CONTENT.into_iter().enumerate() {
        let mut hash = Hash::new();
        for _ in 0..14 {
            step(&mut hash, &mut lcg, round as u64 % 2);
            if hash.is_empty() {
                hash = Hash::new();
            }
            encodings.push_str(match hash.encoding() {
                _ if hash.is_empty() => "-",
                "listpackex" => "x",
                other => &other[..1],
            });
        }
        let mut fields: Vec<String> = hash
            .iter()
            .map(|field| {
                let at = field.expire.map_or(-1, |at| at as i64);
                let text = |value: LpValue<'_>| String::from_utf8(value.to_vec()).unwrap();
                format!("{}={}@{at}", text(field.name), text(field.value))
            })
            .collect();
        if matches!(hash, Hash::Table(_)) {
            fields.sort();
        }
        let sum = fields
            .join(",")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        assert_eq!(sum as u32, want, "round {round}: {fields:?}");
    }
    assert_eq!(encodings, SEEN);
}

#[test]
fn loading_checks_fields() {
    let (limits, seed) = (small_limits(), Seed::fixed());
    let load = |texts: &[&str], triples: bool| {
        let lp = texts.iter().map(|t| t.as_bytes()).collect();
        Hash::from_listpack(lp, triples, &limits, seed).map(|hash| hash.encoding())
    };
    assert_eq!(load(&["a", "1", "b", "1"], false), Ok("listpack"));
    assert_eq!(load(&["a", "1", "b"], false), Err(Corrupt));
    assert_eq!(load(&["a", "1", "a", "2"], false), Err(Corrupt));
    assert_eq!(load(&["a", "1", "5", "b", "1", "9", "c", "1", "0"], true), Ok("listpackex"));
    assert_eq!(load(&["a", "1", "9", "b", "1", "5"], true), Err(Corrupt), "out of order");
    assert_eq!(load(&["a", "1", "0", "b", "1", "5"], true), Err(Corrupt), "out of order");
    assert_eq!(load(&["a", "1", "-9"], true), Err(Corrupt));
    assert_eq!(load(&["a", "1", "soon"], true), Err(Corrupt));
    assert_eq!(load(&["a", "1"], true), Err(Corrupt));
    let many: Vec<String> = (0..14).map(|i| i.to_string()).collect();
    assert_eq!(load(&many.iter().map(String::as_str).collect::<Vec<_>>(), false), Ok("hashtable"));
}

#[test]
fn limits_of_the_defaults() {
    let (limits, seed) = (Limits::default(), Seed::fixed());
    let mut hash = Hash::new();
    (0..512).for_each(|i| assert!(hash.set(format!("f{i}").as_bytes(), b"v", false, &limits, seed)));
    assert_eq!(hash.encoding(), "listpack");
    hash.allow_expiry();
    assert_eq!((hash.encoding(), hash.len(), hash.next_expiry()), ("listpackex", 512, None));
    assert!(hash.set(b"last", b"v", false, &limits, seed));
    assert_eq!((hash.encoding(), hash.len()), ("hashtable", 513));
    for (field, value, encoding) in [(64, 64, "listpack"), (65, 1, "hashtable"), (1, 65, "hashtable")] {
        let mut hash = Hash::new();
        hash.set(&vec![b'f'; field], &vec![b'v'; value], false, &limits, seed);
        assert_eq!(hash.encoding(), encoding);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, Vec<u8>, bool),
    Remove(u8),
    Expire(u8, u64),
    Persist(u8),
    Due(u64, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![
        any::<i64>().prop_map(|i| i.to_string().into_bytes()),
        (0usize..12).prop_map(|n| vec![b'v'; n]),
        (0usize..100).prop_map(|n| vec![b'w'; n]),
    ];
    prop_oneof![
        6 => (0u8..30, value, any::<bool>()).prop_map(|(f, v, keep)| Op::Set(f, v, keep)),
        2 => (0u8..30).prop_map(Op::Remove),
        4 => (0u8..30, 1u64..100).prop_map(|(f, at)| Op::Expire(f, at)),
        1 => (0u8..30).prop_map(Op::Persist),
        1 => (0u64..40, 0usize..5).prop_map(|(now, max)| Op::Due(now, max)),
    ]
}

fn name(f: u8) -> Vec<u8> {
    // Half of the names are integers.
    if f.is_multiple_of(2) { f.to_string() } else { format!("name{f}") }.into_bytes()
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn apply(hash: &mut Hash, model: &mut Model, limits: &Limits, op: Op) {
    match op {
        Op::Set(f, v, keep) => {
            let old = model.get(&name(f)).and_then(|(_, at)| *at).filter(|_| keep);
            let new = model.insert(name(f), (v.clone(), old)).is_none();
            assert_eq!(hash.set(&name(f), &v, keep, limits, Seed::fixed()), new);
        }
        Op::Remove(f) => assert_eq!(hash.remove(&name(f)), model.remove(&name(f)).is_some()),
        Op::Expire(f, at) => {
            assert_eq!(hash.expire_field(&name(f), at), model.contains_key(&name(f)));
            model.entry(name(f)).and_modify(|field| field.1 = Some(at));
        }
        Op::Persist(f) => {
            let old = model.get_mut(&name(f)).and_then(|field| field.1.take());
            assert_eq!(hash.persist_field(&name(f)), old.is_some());
        }
        Op::Due(now, max) => {
            let due: BTreeSet<_> = model
                .iter()
                .filter(|(_, v)| v.1.is_some_and(|at| at <= now))
                .map(|(f, _)| f.clone())
                .collect();
            let mut gone = BTreeSet::new();
            let n = hash.expire_due(now, max, |field| assert!(gone.insert(field.to_vec())));
            assert_eq!((n, gone.len()), (due.len().min(max), n));
            assert!(gone.is_subset(&due));
            model.retain(|field, _| !gone.contains(field));
        }
    }
}

fn content(hash: &Hash) -> Model {
    let fields: Vec<_> = hash.iter().map(|f| (f.name.to_vec(), (f.value.to_vec(), f.expire))).collect();
    let n = fields.len();
    let model: Model = fields.into_iter().collect();
    assert_eq!((model.len(), hash.len()), (n, n));
    model
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]
    #[test]
    fn behaves_like_a_map(big in any::<bool>(), ops in prop::collection::vec(op(), 1..200)) {
        let limits = if big { Limits::default() } else { small_limits() };
        let (mut hash, mut model) = (Hash::new(), Model::new());
        for op in ops {
            apply(&mut hash, &mut model, &limits, op);
            prop_assert_eq!(&content(&hash), &model);
            let first = model.values().filter_map(|v| v.1).min();
            match hash.next_expiry() {
                None => prop_assert_eq!(first, None),
                Some(at) => prop_assert!(first.is_some_and(|first| at <= first)),
            }
        }
        for f in 0..30 {
            let got = hash.get(&name(f)).map(|(value, at)| (value.to_vec(), at));
            prop_assert_eq!(got.as_ref(), model.get(&name(f)));
        }
        let mut copy = hash.clone();
        prop_assert_eq!(copy.encoding(), hash.encoding());
        let (mut seen, mut cursor) = (Model::new(), 0);
        loop {
            cursor = copy.scan(cursor, 2, |f| {
                assert!(seen.insert(f.name.to_vec(), (f.value.to_vec(), f.expire)).is_none());
            });
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(&seen, &model);
        let random = copy.random(&mut Rng::new(1)).map(|f| (f.name.to_vec(), (f.value.to_vec(), f.expire)));
        prop_assert!(random.is_none_or(|(name, value)| model.get(&name) == Some(&value)));
        // Everything that has an expiry goes when its time has come, in the copy as well.
        copy.expire_due(u64::MAX, usize::MAX, |_| ());
        model.retain(|_, v| v.1.is_none());
        prop_assert_eq!(&content(&copy), &model);
        prop_assert_eq!(copy.next_expiry(), None);
        while !hash.drain_step(3) {}
        prop_assert!(hash.is_empty());
    }
}

/// Expiries set over and over do not pile up, and those of a big hash all fire.
#[test]
fn expiry_index_stays_small() {
    let (limits, seed) = (small_limits(), Seed::fixed());
    let mut hash = Hash::new();
    (0..2000).for_each(|i| {
        hash.set(format!("f{i}").as_bytes(), b"v", false, &limits, seed);
    });
    for round in 0..50u64 {
        for i in 0..500 {
            assert!(hash.expire_field(format!("f{i}").as_bytes(), 1000 + round + i));
        }
    }
    let Hash::Table(fields) = &hash else { panic!("a table") };
    assert_eq!(fields.expiring, 500);
    assert!(fields.due.len() <= 2 * 500 + 64);
    assert_eq!(hash.expire_due(1048, usize::MAX, |_| ()), 0);
    let mut total = 0;
    while hash.next_expiry().is_some() {
        total += hash.expire_due(u64::MAX, 7, |_| ());
    }
    assert_eq!((total, hash.len()), (500, 1500));
}
