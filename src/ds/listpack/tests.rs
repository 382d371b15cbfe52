//! Is a listpack what Redis makes of the same values, and does it behave like a list?

use super::*;
use proptest::prelude::*;

/// What Redis 8.2.3 keeps for RPUSH of `fixture_values` (from DUMP, with rdbcompression off).
const FIXTURE: &str = "c7010000240081610280018b68656c6c6f20776f726c640c0001822d30038230300301017f01c08002dfff02d00002f1 \
         ffef03cfff02f1001003f1ff7f03f200800004f1008003f2ff7fff04f2ffff7f04f30000800005f200008004f3ffff7f \
         ff05f3ffffff7f05f4000000800000000009f30000008005f4ffffff7fffffffff09f4ffffffffffffff7f09f4000000 \
         000000008009933932323333373230333638353437373538303814822b310382203103823120038331653304bf787878 \
         787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878 \
         78787878787878787878787840e040797979797979797979797979797979797979797979797979797979797979797979 \
         7979797979797979797979797979797979797979797979797979797979797942e0827a7a7a7a7a7a7a7a7a7a7a7a7a7a \
         7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a \
         7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a \
         7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a0184ff";

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn fixture_values() -> Vec<String> {
    let mut values: Vec<String> =
        "a||hello world|0|-0|00|1|127|128|-1|-4096|-4097|4095|4096|32767|32768|-32768|\
        -32769|8388607|8388608|-8388608|-8388609|2147483647|2147483648|-2147483648|-2147483649|\
        9223372036854775807|-9223372036854775808|9223372036854775808|+1| 1|1 |1e3"
            .split('|')
            .map(str::to_owned)
            .collect();
    values.extend(["x".repeat(63), "y".repeat(64), "z".repeat(130)]);
    values
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn bytes_are_those_of_redis() {
    let values = fixture_values();
    let lp: Listpack = values.iter().map(|v| v.as_bytes()).collect();
    assert_eq!(lp.as_bytes(), unhex(FIXTURE));
    let read = Listpack::from_bytes(&unhex(FIXTURE)).unwrap();
    assert_eq!(read.iter().map(|v| String::from_utf8(v.to_vec()).unwrap()).collect::<Vec<_>>(), values);
    assert_eq!(read.iter().rev().count(), values.len());
}

#[test]
fn long_strings_and_odd_back_lengths_are_those_of_redis() {
    let values = [("p", 4095), ("q", 4096), ("r", 16377), ("w", 16378), ("s", 20000)];
    let texts: Vec<String> = values.iter().map(|(c, n)| c.repeat(*n)).collect();
    let lp: Listpack = texts.iter().map(|v| v.as_bytes()).collect();
    assert_eq!(lp.bytes(), 60_987);
    assert_eq!(fnv(lp.as_bytes()), 0xcfde_c205_6e68_9d56);
    assert!(lp.iter().rev().map(|v| v.len_as_text()).eq(values.iter().rev().map(|v| v.1)));
}

#[test]
fn handle_is_one_pointer() {
    assert_eq!(std::mem::size_of::<Option<Listpack>>(), 8);
    assert_eq!(Listpack::new().memory(), 8);
    assert_eq!(Listpack::new().as_bytes(), [7, 0, 0, 0, 0, 0, 0xFF]);
}

#[test]
fn only_canonical_text_is_a_number() {
    for text in
        ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"]
    {
        assert_eq!(LpValue::of(text.as_bytes()), LpValue::Str(text.as_bytes()));
    }
    for n in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1] {
        assert_eq!(LpValue::of(n.to_string().as_bytes()), LpValue::Int(n));
    }
}

#[test]
fn find_skips() {
    let mut lp = Listpack::new();
    for text in ["f", "v", "v", "1", "77", "f"] {
        lp.push_back(text.as_bytes());
    }
    let index_of = |pos: Option<Pos>| pos.map(|p| lp.iter_before(p).count());
    assert_eq!(index_of(lp.find(b"v", 0)), Some(1));
    assert_eq!(index_of(lp.find(b"v", 1)), Some(2));
    assert_eq!(index_of(lp.find(b"77", 1)), Some(4));
    assert_eq!(index_of(lp.find(b"1", 1)), None);
    assert_eq!(index_of(lp.find(b"1", 2)), Some(3));
    assert_eq!(index_of(lp.find(b"f", 3)), Some(0));
    assert_eq!(index_of(lp.find(b"077", 0)), None);
}

#[test]
#[cfg_attr(miri, ignore = "70000 entries")]
fn counts_past_the_header_field() {
    let mut lp = Listpack::new();
    for i in 0..70_000i64 {
        lp.push_back_int(i % 100);
    }
    assert_eq!((lp.len(), lp.stored_count()), (70_000, COUNT_UNKNOWN));
    assert_eq!(Listpack::validate(lp.as_bytes()), Ok(70_000));
    assert_eq!(lp.get(69_999).unwrap().as_int(), Some(99));
    assert_eq!(lp.get(70_000), None);
    assert_eq!(lp.remove_range(0, 10_000), 10_000);
    assert_eq!((lp.len(), lp.stored_count()), (60_000, 60_000));
    assert_eq!(lp.get(60_000), None);
}

/// Any damage to a valid listpack is refused, or leaves a listpack that reads back consistently.
#[test]
fn damage_is_noticed_or_harmless() {
    let mut texts = fixture_values();
    texts.push("u".repeat(5000));
    let texts = if cfg!(miri) { &texts[..8] } else { &texts[..] };
    let good: Listpack = texts.iter().map(|v| v.as_bytes()).collect();
    let bytes = good.as_bytes();
    for cut in 0..bytes.len() {
        assert_eq!(Listpack::validate(&bytes[..cut]), Err(Corrupt));
    }
    let step = if cfg!(miri) { 7 } else { 1 };
    for at in (0..bytes.len()).step_by(step) {
        for flip in [1u8, 0x80, 0x7F, 0xFF] {
            let mut bad = bytes.to_vec();
            bad[at] ^= flip;
            if let Ok(n) = Listpack::validate(&bad) {
                let lp = Listpack::from_bytes(&bad).unwrap();
                assert_eq!((lp.iter().count(), lp.iter().rev().count(), lp.len()), (n, n, n));
            }
        }
    }
    assert!(Listpack::validate(&[6, 0, 0, 0, 0, 0]).is_err());
    assert!(Listpack::validate(&[8, 0, 0, 0, 0, 0, 0xFF, 0xFF]).is_err());
    assert!(Listpack::validate(&[8, 0, 0, 0, 1, 0, 0xF5, 0xFF]).is_err());
}

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    InsertMany(usize, Vec<Vec<u8>>),
    Replace(usize, Vec<u8>),
    Remove(usize),
    RemoveRange(usize, usize),
    PopFront,
    PopBack,
    Append(Vec<Vec<u8>>),
    Split(usize),
}

pub(crate) fn text() -> impl Strategy<Value = Vec<u8>> {
    let long = if cfg!(miri) { 150 } else { 20_000 };
    prop_oneof![
        4 => any::<i64>().prop_map(|i| i.to_string().into_bytes()),
        4 => (-5000i64..5000).prop_map(|i| i.to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..70),
        2 => "[0-9-]{0,22}".prop_map(String::into_bytes),
        1 => (0usize..long).prop_map(|n| vec![b'L'; n]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let texts = || prop::collection::vec(text(), 0..6);
    prop_oneof![
        text().prop_map(Op::PushBack),
        text().prop_map(Op::PushFront),
        (any::<usize>(), text()).prop_map(|(i, t)| Op::InsertBefore(i, t)),
        (any::<usize>(), text()).prop_map(|(i, t)| Op::InsertAfter(i, t)),
        (any::<usize>(), texts()).prop_map(|(i, t)| Op::InsertMany(i, t)),
        (any::<usize>(), text()).prop_map(|(i, t)| Op::Replace(i, t)),
        any::<usize>().prop_map(Op::Remove),
        (any::<usize>(), 0usize..4).prop_map(|(i, n)| Op::RemoveRange(i, n)),
        Just(Op::PopFront),
        Just(Op::PopBack),
        texts().prop_map(Op::Append),
        any::<usize>().prop_map(Op::Split),
    ]
}

fn apply(lp: &mut Listpack, model: &mut Vec<Vec<u8>>, op: Op) {
    let n = model.len();
    match op {
        Op::PushBack(t) => {
            lp.push_back(&t);
            model.push(t);
        }
        Op::PushFront(t) => {
            lp.push_front(&t);
            model.insert(0, t);
        }
        Op::InsertMany(i, texts) => {
            let i = i % (n + 1);
            let values: Vec<LpValue<'_>> = texts.iter().map(|t| LpValue::of(t)).collect();
            let at = lp.seek(i).unwrap_or(lp.end());
            lp.insert_values(at, &values);
            model.splice(i..i, texts);
        }
        Op::Append(texts) => {
            lp.append(&texts.iter().map(Vec::as_slice).collect());
            model.extend(texts);
        }
        Op::PopFront => {
            let got = lp.pop_front_with(|v| v.to_vec());
            assert_eq!(got, (n > 0).then(|| model.remove(0)));
        }
        Op::PopBack => assert_eq!(lp.pop_back_with(|v| v.to_vec()), model.pop()),
        _ if n == 0 => {}
        Op::InsertBefore(i, t) => {
            let pos = lp.seek(i % n).unwrap();
            let new = lp.insert_before(pos, t.as_slice());
            assert!(lp.value(new).unwrap().eq_bytes(&t));
            model.insert(i % n, t);
        }
        Op::InsertAfter(i, t) => {
            let pos = lp.seek(i % n).unwrap();
            let new = lp.insert_after(pos, t.as_slice());
            assert!(lp.value(new).unwrap().eq_bytes(&t));
            model.insert(i % n + 1, t);
        }
        Op::Replace(i, t) => {
            let pos = lp.seek(i % n).unwrap();
            lp.replace(pos, t.as_slice());
            model[i % n] = t;
        }
        Op::Remove(i) => {
            let next = lp.remove(lp.seek(i % n).unwrap());
            model.remove(i % n);
            assert_eq!(next.and_then(|p| lp.value(p)).map(LpValue::to_vec), model.get(i % n).cloned());
        }
        Op::RemoveRange(i, k) => {
            let end = (i % n + k).min(n);
            assert_eq!(lp.remove_range(i % n, k), end - i % n);
            model.drain(i % n..end);
        }
        Op::Split(i) => {
            let tail = lp.split_off(lp.seek(i % n).unwrap());
            let model_tail = model.split_off(i % n);
            assert!(tail.iter().map(LpValue::to_vec).eq(model_tail));
            assert_eq!(Listpack::validate(tail.as_bytes()), Ok(tail.len()));
        }
    }
}

fn cases() -> ProptestConfig {
    let cases = if cfg!(miri) { 6 } else { 256 };
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn behaves_like_a_vec(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 12 } else { 40 })) {
        let (mut lp, mut model) = (Listpack::new(), Vec::new());
        for op in ops {
            apply(&mut lp, &mut model, op);
            prop_assert_eq!(Listpack::validate(lp.as_bytes()), Ok(model.len()));
            prop_assert_eq!(lp.len(), model.len());
            prop_assert!(lp.iter().map(LpValue::to_vec).eq(model.iter().cloned()));
            prop_assert!(lp.iter().rev().map(LpValue::to_vec).eq(model.iter().rev().cloned()));
        }
        for (i, want) in model.iter().enumerate() {
            prop_assert!(lp.get(i).unwrap().eq_bytes(want));
            prop_assert_eq!(lp.get(i).unwrap().len_as_text(), want.len());
            let first = model.iter().position(|t| t == want).unwrap();
            prop_assert_eq!(lp.iter_before(lp.find(want, 0).unwrap()).count(), first);
        }
        // Equal content is equal bytes, whatever the way there.
        prop_assert_eq!(lp, model.iter().map(Vec::as_slice).collect::<Listpack>());
    }

    #[test]
    fn validate_survives_noise(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
        if noise.len() >= 7 {
            let len = (noise.len() as u32).to_le_bytes();
            noise[..4].copy_from_slice(&len);
            noise[4..6].copy_from_slice(&[0xFF, 0xFF]);
            *noise.last_mut().unwrap() = 0xFF;
        }
        if let Ok(n) = Listpack::validate(&noise) {
            let lp = Listpack::from_bytes(&noise).unwrap();
            prop_assert_eq!(lp.iter().rev().count(), n);
        }
    }
}
