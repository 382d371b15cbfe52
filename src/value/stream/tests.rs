//! Does a stream do what Redis does, and what a plain list does?

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn limits(entries: u64) -> Limits {
    Limits { stream_node_max_entries: entries, ..Limits::default() }
}

fn add(stream: &mut Stream, id: StreamId, pairs: &[(&str, &str)], limits: &Limits) {
    let pairs = pairs.iter().map(|(f, v)| (f.as_bytes(), v.as_bytes()));
    stream.append(id, pairs, limits).unwrap();
}

fn pairs(entry: &Entry<'_>) -> Pairs {
    entry.fields().map(|(f, v)| (f.to_vec(), v.to_vec())).collect()
}

fn id(text: &str) -> StreamId {
    StreamId::parse_strict(text.as_bytes(), 0).unwrap()
}

#[test]
fn nodes_are_those_of_redis_byte_for_byte() {
    // What a Redis 8.2 server dumps after the same commands.
    let mut stream = Stream::new();
    for at in ["1-1", "1-2", "5-0"] {
        add(&mut stream, id(at), &[("temp", "21.5"), ("n", "7")], &limits(100));
    }
    add(&mut stream, id("5-1"), &[("n", "8")], &limits(100));
    add(&mut stream, id("6-0"), &[("temp", "3"), ("m", "8")], &limits(100));
    assert_eq!(stream.delete(id("1-2"), RefPolicy::Keep), Deletion::Deleted);
    let nodes: Vec<_> = stream.nodes().collect();
    assert_eq!((nodes.len(), nodes[0].0), (1, id("1-1")));
    assert_eq!(nodes[0].1.as_bytes(), NODE);
}

/// Replays what a Redis 8.2 server was asked and answered, state by state. In a line: the request
/// and its reply; below it length, nodes, radix nodes, last, greatest deleted, added, first | ids |
/// groups (name:consumers:pending:last:read:lag:records).
#[test]
fn replies_and_states_are_those_of_redis() {
    replay(include_str!("testdata/redis-8.2.txt"));
}

fn replay(script: &str) {
    let mut stream = Stream::new();
    let mut lines = script.lines();
    let mut steps = 0;
    while let Some(line) = lines.next() {
        if line == "new" {
            stream = Stream::new();
            add(&mut stream, id("1-1"), &[("f", "v")], &limits(4));
            for name in [b"g", b"h"] {
                assert!(stream.create_group(name, StreamId::MIN, None));
            }
            continue;
        }
        let (request, reply) = line.split_once(" => ").unwrap();
        let args: Vec<&str> = request.split(' ').collect();
        assert_eq!(apply(&mut stream, &args), reply, "{request}");
        let state = lines.next().unwrap();
        assert_eq!(describe(&stream), state.trim(), "after {request}");
        steps += 1;
    }
    assert!(steps > 100);
}

fn policy(text: &str) -> RefPolicy {
    match text {
        "KEEPREF" => RefPolicy::Keep,
        "DELREF" => RefPolicy::Delete,
        _ => RefPolicy::Acked,
    }
}

fn outcome(deletion: Deletion) -> String {
    let number = match deletion {
        Deletion::Missing => -1,
        Deletion::Deleted => 1,
        Deletion::Referenced => 2,
    };
    number.to_string()
}

fn consumer(stream: &mut Stream, group: &str, name: &str) -> ConsumerId {
    let group = stream.group_mut(group.as_bytes()).unwrap();
    let found = group.find_consumer(name.as_bytes());
    found.or_else(|| group.create_consumer(name.as_bytes(), 0)).unwrap()
}

fn apply(stream: &mut Stream, args: &[&str]) -> String {
    let text = |ids: Vec<StreamId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match args {
        ["add", at, rest @ ..] => {
            let fields: Vec<_> = rest.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            add(stream, id(at), &fields, &limits(4));
            at.to_string()
        }
        ["del", at, refs] => outcome(stream.delete(id(at), policy(refs))),
        ["ackdel", group, at, refs] => outcome(stream.ack_delete(group.as_bytes(), id(at), policy(refs))),
        ["ack", group, at] => {
            let acked = stream.group_mut(group.as_bytes()).unwrap().ack(id(at));
            usize::from(acked.is_some()).to_string()
        }
        ["trim", kind, approx, by, limit, refs] => {
            let by = match *kind {
                "maxlen" => TrimBy::MaxLen(by.parse().unwrap()),
                _ => TrimBy::MinId(id(by)),
            };
            let (approx, limit) = (*approx == "~", limit.parse().unwrap());
            stream.trim(&Trim { by, approx, limit, refs: policy(refs) }).to_string()
        }
        ["read", group, name, count, noack] => {
            let who = consumer(stream, group, name);
            let mut seen = Vec::new();
            let count = count.parse().unwrap();
            stream.deliver(group.as_bytes(), who, count, *noack == "1", 0, |e| seen.push(e.id));
            text(seen)
        }
        ["again", group, name, from, count] => {
            let who = consumer(stream, group, name);
            let Some(start) = id(from).next() else { return String::new() };
            let mut seen = Vec::new();
            stream.redeliver(group.as_bytes(), who, start, count.parse().unwrap(), 0, |id, entry| {
                seen.push(format!("{}{id}", if entry.is_none() { "!" } else { "" }));
            });
            seen.join(",")
        }
        ["claim", group, name, at, options] => {
            let who = consumer(stream, group, name);
            let retries = options.split(',').skip_while(|o| *o != "RETRYCOUNT").nth(1);
            let options = ClaimOptions {
                retry_count: retries.map(|n| n.parse().unwrap()),
                force: options.contains("FORCE"),
                just_id: options.contains("JUSTID"),
                ..ClaimOptions::default()
            };
            match stream.claim(group.as_bytes(), who, id(at), &options, 0) {
                Claimed::Yes(_) => at.to_string(),
                _ => String::new(),
            }
        }
        ["auto", group, name, from, count, just_id] => {
            let who = consumer(stream, group, name);
            let (mut claimed, mut gone) = (Vec::new(), Vec::new());
            let (count, just_id) = (count.parse().unwrap(), *just_id == "1");
            let next =
                stream.claim_idle(group.as_bytes(), who, id(from), count, 0, just_id, 0, |id, _, entry| {
                    if entry.is_some() { claimed.push(id) } else { gone.push(id) }
                });
            format!("{next} {} !{}", text(claimed), text(gone))
        }
        _ => administer(stream, args),
    }
}

fn administer(stream: &mut Stream, args: &[&str]) -> String {
    match args {
        ["gset", group, at, read] => {
            assert!(stream.set_group_id(group.as_bytes(), id(at), read.parse().ok()));
            "OK".into()
        }
        ["delc", group, name] => {
            let group = stream.group_mut(group.as_bytes()).unwrap();
            group.remove_consumer(name.as_bytes()).unwrap_or(0).to_string()
        }
        ["setid", at, added, deleted] => {
            let (at, deleted) = (id(at), (*deleted != "None").then(|| id(deleted)));
            let error = match stream.set_id(at, added.parse().ok(), deleted) {
                Ok(()) => return "OK".into(),
                Err(SetIdError::BelowDeleted) => "current max_deleted_entry_id",
                Err(SetIdError::BelowTop) => "the target stream top item",
                Err(SetIdError::AddedBelowLen) => {
                    return "ERR ERR The entries_added specified in XSETID is smaller than the target \
                            stream length"
                        .into();
                }
            };
            format!("ERR ERR The ID specified in XSETID is smaller than {error}")
        }
        _ => panic!("{args:?}"),
    }
}

fn describe(stream: &Stream) -> String {
    let m = stream.meta();
    let ids: Vec<_> = stream.iter().map(|e| e.id.to_string()).collect();
    let unknown = |n: Option<i64>| n.map_or("?".into(), |n| n.to_string());
    let mut groups = Vec::new();
    for (name, group) in stream.groups() {
        group.check();
        let records: Vec<_> = group
            .pending_range(StreamId::MIN..=StreamId::MAX)
            .map(|(id, p)| {
                let name = group.consumer(p.consumer).unwrap().name().escape_ascii();
                format!("{id}/{name}/{}", p.delivery_count)
            })
            .collect();
        groups.push(format!(
            "{}:{}:{}:{}:{}:{}:{}",
            name.escape_ascii(),
            group.consumer_count(),
            group.pending_count(),
            group.last_id,
            unknown(group.entries_read.map(|n| n as i64)),
            unknown(m.lag(group)),
            records.join(",")
        ));
    }
    format!(
        "{} {} {} {} {} {} {} | {} | {}",
        m.len,
        stream.nodes().len(),
        stream.radix_nodes(),
        m.last_id,
        m.max_deleted_id,
        m.entries_added,
        m.first_id,
        ids.join(" "),
        groups.join(" ")
    )
}

#[test]
fn ids_are_given_as_redis_gives_them() {
    let mut stream = Stream::new();
    assert_eq!(stream.resolve(NewId::Auto, 5), Ok(StreamId::new(5, 0)));
    assert_eq!(stream.resolve(NewId::Auto, 0), Ok(StreamId::new(0, 1)));
    assert_eq!(stream.resolve(NewId::AutoSeq(0), 5), Ok(StreamId::new(0, 1)));
    assert_eq!(stream.resolve(NewId::Given(StreamId::MIN), 5), Err(AddError::Zero));
    add(&mut stream, StreamId::new(9, u64::MAX), &[("f", "v")], &limits(4));
    assert_eq!(stream.resolve(NewId::Auto, 5), Ok(StreamId::new(10, 0)));
    assert_eq!(stream.resolve(NewId::AutoSeq(9), 5), Err(AddError::NotAbove));
    assert_eq!(stream.resolve(NewId::AutoSeq(8), 5), Err(AddError::NotAbove));
    assert_eq!(stream.resolve(NewId::AutoSeq(11), 5), Ok(StreamId::new(11, 0)));
    assert_eq!(stream.resolve(NewId::Given(StreamId::new(9, 3)), 5), Err(AddError::NotAbove));
    add(&mut stream, StreamId::MAX, &[("f", "v")], &limits(4));
    assert_eq!(stream.resolve(NewId::Auto, 5), Err(AddError::Exhausted));
}

#[test]
fn small_entries_cost_no_more_than_in_redis() {
    let mut stream = Stream::new();
    for i in 0..20_000u64 {
        let id = StreamId::new(1_700_000_000_000 + i / 3, i % 3);
        add(&mut stream, id, &[("f1", "v1"), ("f2", "v2")], &Limits::default());
    }
    let each = stream.memory(0) as f64 / 20_000.0;
    assert!(each < 19.0, "{each} bytes an entry");
}

#[test]
fn nodes_from_outside_are_checked() {
    let mut stream = Stream::new();
    for i in 1..6 {
        add(&mut stream, StreamId::new(i, 0), &[("f", "v")], &limits(4));
    }
    stream.delete(StreamId::new(2, 0), RefPolicy::Keep);
    let nodes: Vec<_> = stream.nodes().map(|(id, lp)| (id, lp.clone())).collect();
    let (first, lp) = &nodes[0];
    let mut fresh = Stream::new();
    assert_eq!(fresh.restore_node(*first, lp.clone()), Ok(()));
    assert_eq!(fresh.restore_node(*first, lp.clone()), Err(Corrupt));
    assert_eq!(fresh.restore_node(nodes[1].0, nodes[1].1.clone()), Ok(()));
    assert_eq!(fresh.restore_meta(Meta { len: 5, ..*stream.meta() }), Err(Corrupt));
    assert_eq!(fresh.restore_meta(Meta { last_id: StreamId::new(4, 0), ..*stream.meta() }), Err(Corrupt));
    assert_eq!(fresh.restore_meta(*stream.meta()), Ok(()));
    assert_eq!(describe(&fresh), describe(&stream));
    // Any number changed in a node is noticed, or is a flag that keeps the counts.
    for index in 0..lp.len() {
        let Some(old) = lp.get(index).and_then(|v| v.as_int()) else { continue };
        for new in [old + 1, -1, i64::MAX, i64::MIN] {
            let mut bad = lp.clone();
            bad.replace(bad.seek(index).unwrap(), new);
            let verdict = Stream::new().restore_node(*first, bad);
            let is_last_ms = index == lp.len() - 4;
            assert!(verdict == Err(Corrupt) || is_last_ms || old == 0, "piece {index}: {old} as {new}");
        }
    }
    for cut in 1..lp.len() {
        let mut bad = lp.clone();
        bad.remove_range(cut, 1);
        assert_eq!(Stream::new().restore_node(*first, bad), Err(Corrupt), "without piece {cut}");
    }
    assert_eq!(Stream::new().restore_node(*first, Listpack::new()), Err(Corrupt));
}

#[test]
fn drains_in_steps() {
    let mut stream = Stream::new();
    for i in 1..2000 {
        add(&mut stream, StreamId::new(i, 0), &[("f", "v")], &limits(100));
    }
    stream.add_group(b"g", Group::new(StreamId::MIN, None));
    let who = consumer(&mut stream, "g", "c");
    stream.deliver(b"g", who, usize::MAX, false, 0, |_| {});
    let mut steps = 1;
    while !stream.drain_step(100) {
        steps += 1;
    }
    assert!(steps > 5);
}

#[test]
fn numbers_of_consumers_are_reused_safely() {
    let mut group = Group::new(StreamId::MIN, None);
    let a = group.create_consumer(b"a", 1).unwrap();
    assert_eq!(group.create_consumer(b"a", 1), None);
    let record = |consumer| Pending { consumer, delivery_time: 0, delivery_count: 1 };
    assert!(group.set_pending(id("1-1"), record(a)));
    assert_eq!(group.remove_consumer(b"a"), Some(1));
    assert!(!group.set_pending(id("1-1"), record(a)));
    let b = group.create_consumer(b"b", 1).unwrap();
    assert_eq!((group.pending_count(), group.consumer(b).unwrap().pending_count()), (0, 0));
    group.check();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 }) })]
    #[test]
    fn a_stream_is_a_list(
        steps in prop::collection::vec((0u8..12, 1u64..4, 0u64..3, any::<prop::sample::Index>()), 1..120),
        per_node in 0u64..6,
        max_bytes in prop_oneof![Just(0usize), Just(60), Just(4096)],
    ) {
        let limits = Limits { stream_node_max_bytes: max_bytes, ..limits(per_node) };
        let mut stream = Stream::new();
        let mut model: Vec<(StreamId, Pairs)> = Vec::new();
        let mut last = StreamId::new(1, 0);
        for (kind, ms, seq, pick) in steps {
            if kind < 9 {
                last = StreamId::new(last.ms + ms - 1, if ms == 1 { last.seq + 1 } else { seq << (kind * 4) });
                let fields: Pairs = (0..=u64::from(kind) % 3)
                    .map(|i| (format!("f{}", i * seq).into_bytes(), (ms << (4 * kind)).to_string().into_bytes()))
                    .collect();
                let refs = fields.iter().map(|(f, v)| (&f[..], &v[..]));
                prop_assert_eq!(stream.append(last, refs, &limits), Ok(()));
                model.push((last, fields));
            } else if !model.is_empty() {
                let at = pick.index(model.len());
                let want = model.remove(at).0;
                prop_assert_eq!(stream.delete(want, RefPolicy::Keep), Deletion::Deleted);
                prop_assert_eq!(stream.delete(want, RefPolicy::Keep), Deletion::Missing);
            }
            let (a, b) = (StreamId::new(last.ms / 2, seq), StreamId::new(last.ms, last.seq / ms));
            let want: Vec<_> = model.iter().filter(|(id, _)| (a..=b).contains(id)).cloned().collect();
            let got: Vec<_> = stream.range(a..=b).map(|e| (e.id, pairs(&e))).collect();
            prop_assert_eq!(&got, &want);
            let mut back: Vec<_> = stream.range_rev(a..=b).map(|e| (e.id, pairs(&e))).collect();
            back.reverse();
            prop_assert_eq!(&back, &want);
            prop_assert_eq!(stream.meta().first_id, model.first().map_or(StreamId::MIN, |e| e.0));
            prop_assert_eq!(stream.top_id(), model.last().map(|e| e.0));
        }
        for (id, fields) in &model {
            prop_assert_eq!(&pairs(&stream.get(*id).unwrap()), fields);
        }
        let mut copy = Stream::new();
        for (id, lp) in stream.nodes() {
            prop_assert_eq!(copy.restore_node(id, lp.clone()), Ok(()));
        }
        prop_assert_eq!(copy.restore_meta(*stream.meta()), Ok(()));
        prop_assert_eq!(describe(&copy), describe(&stream));
    }

    #[test]
    fn radix_nodes_are_those_of_a_radix_tree(ids in prop::collection::btree_set((0u64..1 << 20, 0u64..1 << 18), 0..40),
                                             shift in 0u32..44) {
        let mut stream = Stream::new();
        let ids: BTreeSet<StreamId> =
            ids.into_iter().map(|(ms, seq)| StreamId::new((ms >> 14) << shift, seq + 1)).collect();
        for &id in &ids {
            add(&mut stream, id, &[("f", "v")], &limits(1));
        }
        let keys: Vec<_> = ids.iter().map(|id| id.to_bytes()).collect();
        prop_assert_eq!(stream.radix_nodes(), naive_radix(&keys, 0).max(1));
    }
}

/// Counts the nodes of a path-compressed tree the slow way.
fn naive_radix(keys: &[[u8; 16]], depth: usize) -> usize {
    let Some(first) = keys.first() else { return 0 };
    let last = keys[keys.len() - 1];
    let shared = (depth..16).take_while(|&i| first[i] == last[i]).count();
    let run = usize::from(shared > 0);
    let fork = depth + shared;
    if fork == 16 {
        return run + 1;
    }
    let below: usize = keys.chunk_by(|a, b| a[fork] == b[fork]).map(|c| naive_radix(c, fork + 1)).sum();
    run + 1 + below
}

const NODE: &[u8] = &[
    112, 0, 0, 0, 40, 0, 4, 1, 1, 1, 2, 1, 132, 116, 101, 109, 112, 5, 129, 110, 2, 0, 1, 2, 1, 0, 1, 0, 1,
    132, 50, 49, 46, 53, 5, 7, 1, 5, 1, 3, 1, 0, 1, 1, 1, 132, 50, 49, 46, 53, 5, 7, 1, 5, 1, 2, 1, 4, 1,
    223, 255, 2, 132, 50, 49, 46, 53, 5, 7, 1, 5, 1, 0, 1, 4, 1, 0, 1, 1, 1, 129, 110, 2, 8, 1, 6, 1, 0, 1,
    5, 1, 223, 255, 2, 2, 1, 132, 116, 101, 109, 112, 5, 3, 1, 129, 109, 2, 8, 1, 8, 1, 255,
];
