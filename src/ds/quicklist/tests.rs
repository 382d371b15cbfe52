//! Does a quicklist behave like a deque, whatever its node limit?

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    PopBack,
    PopFront,
    Insert(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    RemoveRange(usize, usize),
    RemoveMatching(Vec<u8>, usize, bool),
    Rotate,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let large = if cfg!(miri) { 300 } else { 9000 };
    prop_oneof![
        12 => (0i64..20).prop_map(|i| i.to_string().into_bytes()),
        6 => "[a-c]{0,3}".prop_map(String::into_bytes),
        3 => (0usize..if cfg!(miri) { 60 } else { 1500 }).prop_map(|n| vec![b'm'; n]),
        1 => (0usize..large).prop_map(|n| vec![b'L'; n]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => text().prop_map(Op::PushBack),
        4 => text().prop_map(Op::PushFront),
        1 => Just(Op::PopBack),
        1 => Just(Op::PopFront),
        6 => (any::<usize>(), text()).prop_map(|(i, t)| Op::Insert(i, t)),
        2 => (any::<usize>(), text()).prop_map(|(i, t)| Op::Replace(i, t)),
        1 => (any::<usize>(), 0usize..12).prop_map(|(i, n)| Op::RemoveRange(i, n)),
        1 => (text(), 0usize..4, any::<bool>()).prop_map(|(t, n, tail)| Op::RemoveMatching(t, n, tail)),
        1 => Just(Op::Rotate),
    ]
}

fn remove_matching(model: &mut VecDeque<Vec<u8>>, text: &[u8], limit: usize, from_tail: bool) -> usize {
    let hits = (0..model.len()).filter(|i| model[*i] == text);
    let hits: Vec<usize> =
        if from_tail { hits.rev().take(limit).collect() } else { hits.take(limit).collect() };
    let mut descending = hits.clone();
    descending.sort_unstable_by(|a, b| b.cmp(a));
    descending.iter().for_each(|i| drop(model.remove(*i)));
    hits.len()
}

fn apply(list: &mut Quicklist, model: &mut VecDeque<Vec<u8>>, limit: NodeLimit, op: Op) {
    let n = model.len();
    match op {
        Op::PushBack(t) => {
            list.push_back(limit, &t);
            model.push_back(t);
        }
        Op::PushFront(t) => {
            list.push_front(limit, &t);
            model.push_front(t);
        }
        Op::PopBack => assert_eq!(list.pop_back_with(|v| v.to_vec()), model.pop_back()),
        Op::PopFront => assert_eq!(list.pop_front_with(|v| v.to_vec()), model.pop_front()),
        Op::Insert(i, t) => {
            list.insert(limit, i % (n + 1), &t);
            model.insert(i % (n + 1), t);
        }
        Op::Replace(i, t) => {
            assert!(!list.replace(limit, n, &t));
            if n > 0 {
                assert!(list.replace(limit, i % n, &t));
                model[i % n] = t;
            }
        }
        Op::RemoveRange(i, k) => {
            let start = i % (n + 1);
            let end = (start + k).min(n);
            assert_eq!(list.remove_range(start, k), end - start);
            model.drain(start..end);
        }
        Op::RemoveMatching(t, k, tail) => {
            assert_eq!(list.remove_matching(&t, k, tail), remove_matching(model, &t, k, tail));
        }
        Op::Rotate => {
            list.rotate(limit);
            if let Some(t) = model.pop_back() {
                model.push_front(t);
            }
        }
    }
}

/// The invariants of the module's head.
fn check(list: &Quicklist, limit: NodeLimit) {
    let mut total = 0;
    for node in &list.nodes {
        assert!(node.count > 0);
        match &node.data {
            Data::Packed(lp) => {
                assert_eq!(Listpack::validate(lp.as_bytes()), Ok(node.count as usize));
                assert!(lp.bytes() <= 2 * limit.max_bytes().max(SAFE_BYTES) + 16, "{}", lp.bytes());
                assert!(node.count as usize <= limit.count);
            }
            Data::Plain(text) => {
                assert_eq!(node.count, 1);
                assert!(limit.is_large(text.len()));
            }
        }
        total += node.count as usize;
    }
    assert_eq!(list.len(), total);
}

fn cases() -> ProptestConfig {
    let cases = if cfg!(miri) { 5 } else { 200 };
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn behaves_like_a_deque(setting in -5i64..8, ops in prop::collection::vec(op(), 1..if cfg!(miri) { 20 } else { 120 })) {
        let limit = NodeLimit::new(setting);
        let (mut list, mut model) = (Quicklist::new(), VecDeque::new());
        for op in ops {
            apply(&mut list, &mut model, limit, op);
            check(&list, limit);
            prop_assert!(list.iter_from(0).map(LpValue::to_vec).eq(model.iter().cloned()));
        }
        let copy = list.clone();
        for i in 0..model.len() {
            prop_assert!(copy.get(i).unwrap().eq_bytes(&model[i]));
            prop_assert!(list.iter_from(i).map(LpValue::to_vec).eq(model.range(i..).cloned()));
            prop_assert!(list.iter_back_from(i).map(LpValue::to_vec).eq(model.range(..=i).rev().cloned()));
        }
        prop_assert_eq!(list.get(model.len()), None);
        prop_assert_eq!(list.iter_from(model.len()).count(), 0);
        prop_assert_eq!(list.iter_back_from(model.len()).count(), 0);
    }
}

#[test]
fn settings_mean_what_they_mean_in_redis() {
    let sizes: Vec<usize> = [-1, -2, -3, -4, -5, -6, i64::MIN].map(|s| NodeLimit::new(s).bytes).to_vec();
    assert_eq!(sizes, [4096, 8192, 16384, 32768, 65536, 65536, 65536]);
    assert_eq!(NodeLimit::new(0).count, 1);
    assert!(NodeLimit::new(128).exceeded_by(100, 129));
    assert!(NodeLimit::new(128).exceeded_by(8193, 1));
    assert!(!NodeLimit::new(128).exceeded_by(8192, 128));
    assert!(NodeLimit::new(128).half().holds(1 << 20, 64));
    assert!(!NodeLimit::new(-2).half().holds(4097, 1));
}

/// 18.9 bytes per 16-byte item is what Redis takes; this takes no more.
#[test]
#[cfg_attr(miri, ignore = "100000 elements")]
fn memory_per_item() {
    let mut list = Quicklist::new();
    for i in 0..100_000 {
        list.push_back(NodeLimit::new(-2), format!("item:{i:011}").as_bytes());
    }
    let per_item = list.memory(0) as f64 / 100_000.0;
    assert!(per_item < 18.3, "{per_item}");
    assert_eq!(size_of::<Node>(), 24);
}
