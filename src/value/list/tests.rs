//! Is a list what Redis says it is: the same elements, the same encoding?

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn element(kind: &str, i: usize) -> Vec<u8> {
    match kind {
        "int" => (i * 1_000_003).to_string(),
        "s16" => format!("item:{i:011}"),
        "s100" => format!("{i:0100}x"),
        _ => format!("{i:05000}x"),
    }
    .into_bytes()
}

/// What Redis 8.2.3 did, by `list-max-listpack-size` and kind of element: the length at which RPUSH
/// one by one made a quicklist; the length at which LPOP made a listpack again, having pushed half
/// as many more (0: never); the longest SORT ... STORE that was a listpack.
const SEEN: [(i32, &str, usize, usize, usize); 24] = [
    (-1, "int", 684, 340, 681),
    (-1, "s16", 228, 113, 226),
    (-1, "s100", 40, 19, 39),
    (-1, "s5000", 1, 0, 0),
    (-2, "int", 1366, 681, 1364),
    (-2, "s16", 455, 227, 454),
    (-2, "s100", 79, 39, 78),
    (-2, "s5000", 2, 0, 1),
    (-5, "int", 7414, 3276, 7412),
    (-5, "s16", 3641, 1820, 3640),
    (-5, "s100", 631, 315, 630),
    (-5, "s5000", 14, 6, 13),
    (0, "int", 2, 0, 1),
    (0, "s16", 2, 0, 1),
    (0, "s100", 2, 0, 1),
    (0, "s5000", 2, 0, 1),
    (10, "int", 11, 5, 10),
    (10, "s16", 11, 5, 10),
    (10, "s100", 11, 5, 10),
    (10, "s5000", 2, 1, 1),
    (128, "int", 129, 64, 128),
    (128, "s16", 129, 64, 128),
    (128, "s100", 79, 40, 78),
    (128, "s5000", 2, 1, 1),
];

#[test]
fn encodings_change_where_redis_changes_them() {
    for (setting, kind, grown, shrunk, sorted) in SEEN {
        let limits = Limits { list_max_listpack_size: setting, ..Limits::default() };
        let (mut list, mut n) = (List::new(), 0);
        let mut push = |list: &mut List| {
            list.push(End::Tail, [element(kind, n).as_slice()], &limits);
            n += 1;
        };
        while list.encoding() == "listpack" {
            push(&mut list);
        }
        assert_eq!(list.len(), grown, "{setting} {kind} growing");
        (0..grown / 2).for_each(|_| push(&mut list));
        while list.encoding() == "quicklist" && !list.is_empty() {
            list.pop(End::Head, &limits, |_| ()).unwrap();
        }
        assert_eq!(list.len(), shrunk, "{setting} {kind} shrinking");
        let elements: Vec<Vec<u8>> = (0..=sorted).map(|i| element(kind, i)).collect();
        for (n, encoding) in [(sorted, "listpack"), (sorted + 1, "quicklist")] {
            let list = List::from_elements(elements[..n].iter().map(Vec::as_slice), &limits);
            assert_eq!((list.encoding(), list.len()), (encoding, n), "{setting} {kind} sorted");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool, usize),
    Set(usize, Vec<u8>),
    Insert(bool, Vec<u8>, Vec<u8>),
    Trim(usize, usize),
    Remove(bool, Vec<u8>, usize),
    Rotate(bool, bool),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0i64..12).prop_map(|i| i.to_string().into_bytes()),
        2 => "[ab]{0,2}".prop_map(String::into_bytes),
        2 => (0usize..1000).prop_map(|n| vec![b'm'; n]),
        1 => (0usize..9000).prop_map(|n| vec![b'L'; n]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), prop::collection::vec(text(), 1..6)).prop_map(|(e, t)| Op::Push(e, t)),
        1 => (any::<bool>(), 0usize..8).prop_map(|(e, n)| Op::Pop(e, n)),
        2 => (any::<usize>(), text()).prop_map(|(i, t)| Op::Set(i, t)),
        3 => (any::<bool>(), text(), text()).prop_map(|(a, p, t)| Op::Insert(a, p, t)),
        1 => (0usize..6, 5usize..40).prop_map(|(i, n)| Op::Trim(i, n)),
        1 => (any::<bool>(), text(), 0usize..4).prop_map(|(e, t, n)| Op::Remove(e, t, n)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Op::Rotate(a, b)),
    ]
}

fn end(tail: bool) -> End {
    if tail { End::Tail } else { End::Head }
}

type Model = VecDeque<Vec<u8>>;

fn pop(model: &mut Model, tail: bool) -> Option<Vec<u8>> {
    if tail { model.pop_back() } else { model.pop_front() }
}

fn push(model: &mut Model, tail: bool, text: Vec<u8>) {
    if tail { model.push_back(text) } else { model.push_front(text) }
}

fn apply(list: &mut List, model: &mut Model, limits: &Limits, op: Op) {
    match op {
        Op::Push(tail, texts) => {
            list.push(end(tail), texts.iter().map(Vec::as_slice), limits);
            texts.into_iter().for_each(|t| push(model, tail, t));
        }
        Op::Pop(tail, 1) => assert_eq!(list.pop(end(tail), limits, |v| v.to_vec()), pop(model, tail)),
        Op::Pop(tail, n) => {
            let mut got = Vec::new();
            let count = list.pop_many(end(tail), n, limits, |v| got.push(v.to_vec()));
            let want: Vec<_> = (0..n).map_while(|_| pop(model, tail)).collect();
            assert_eq!((count, got), (want.len(), want));
        }
        Op::Set(i, t) => {
            let i = i % (model.len() + 1);
            assert_eq!(list.set(i, &t, limits), i < model.len());
            if let Some(slot) = model.get_mut(i) {
                *slot = t;
            }
        }
        Op::Insert(after, pivot, t) => {
            let at = model.iter().position(|x| *x == pivot);
            assert_eq!(list.insert(after, &pivot, &t, limits), at.is_some());
            if let Some(at) = at {
                model.insert(at + usize::from(after), t);
            }
        }
        Op::Trim(i, n) => {
            list.keep_range(i, n, limits);
            model.truncate(i + n);
            model.drain(..i.min(model.len()));
        }
        Op::Remove(tail, t, n) => {
            let hits = (0..model.len()).filter(|i| model[*i] == t);
            let mut hits: Vec<usize> =
                if tail { hits.rev().take(n).collect() } else { hits.take(n).collect() };
            hits.sort_unstable();
            hits.iter().rev().for_each(|i| drop(model.remove(*i)));
            assert_eq!(list.remove(&t, n, end(tail), limits), hits.len());
        }
        Op::Rotate(from, to) => {
            let t = pop(model, from);
            assert_eq!(list.rotate(end(from), end(to), limits), t);
            t.into_iter().for_each(|t| push(model, to, t));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn behaves_like_a_deque(setting in -2i32..20, ops in prop::collection::vec(op(), 1..80)) {
        let limits = Limits { list_max_listpack_size: setting, ..Limits::default() };
        let (mut list, mut model) = (List::new(), VecDeque::new());
        for op in ops {
            apply(&mut list, &mut model, &limits, op);
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.is_empty(), model.is_empty());
            prop_assert!(list.iter().map(LpValue::to_vec).eq(model.iter().cloned()));
            prop_assert!(list.iter_back().map(LpValue::to_vec).eq(model.iter().rev().cloned()));
        }
        for i in 0..model.len() {
            prop_assert!(list.get(i).unwrap().eq_bytes(&model[i]));
            prop_assert!(list.iter_from(i).map(LpValue::to_vec).eq(model.range(i..).cloned()));
        }
        prop_assert!(list.get(model.len()).is_none());
        prop_assert_eq!(list.iter_from(model.len()).count(), 0);
    }
}
