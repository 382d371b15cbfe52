//! Is there one order of all units that explains every reply and respects real time? If not, why not?
//!
//! ```text
//! ww  a unit appended, another appended next          wr  a unit appended last what another read
//! rw  a unit read, another appended next              rt  a unit was answered before another was sent
//! so  two units of one connection, one after the other
//! ```
//! Each is an edge of a graph of units. A history is strictly serializable if the graph has no cycle. Real time is a
//! chain of instants, one per answer, so that its edges are linear in number and not quadratic.

use super::{Element, Key, Op, Unit};
use std::collections::{HashMap, VecDeque};

/// What is wrong with a history, each as a sentence; nothing if it is strictly serializable.
pub fn check(units: &[Unit]) -> Vec<String> {
    let mut faults = Vec::new();
    let writers = writers(units, &mut faults);
    let orders = version_orders(units, &mut faults);
    for unit in units {
        faults.extend(internal_faults(unit));
        faults.extend(dirty_reads(unit, units, &writers));
    }
    faults.extend(wrong_lengths(units, &orders));
    if faults.is_empty() {
        let graph = graph(units, &writers, &orders);
        faults.extend(graph.cycle().map(|cycle| describe(&graph, &cycle, units)));
    }
    faults
}

/// The unit that appended each element.
fn writers(units: &[Unit], faults: &mut Vec<String>) -> HashMap<(Key, Element), usize> {
    let mut writers = HashMap::new();
    for (n, unit) in units.iter().enumerate() {
        for op in &unit.ops {
            if let Op::Append(key, element, _) = op
                && writers.insert((*key, *element), n).is_some()
            {
                faults.push(format!("the test appended {element} to {key} twice"));
            }
        }
    }
    writers
}

/// The longest version seen of each key; every other read must be a beginning of it.
fn version_orders(units: &[Unit], faults: &mut Vec<String>) -> HashMap<Key, Vec<Element>> {
    let mut orders: HashMap<Key, Vec<Element>> = HashMap::new();
    let reads = || {
        units.iter().flat_map(|u| &u.ops).filter_map(|op| match op {
            Op::Read(key, list) => Some((*key, list)),
            Op::Append(..) => None,
        })
    };
    for (key, list) in reads() {
        let longest = orders.entry(key).or_default();
        if list.len() > longest.len() {
            *longest = list.clone();
        }
    }
    for (key, list) in reads() {
        let longest = &orders[&key];
        if !longest.starts_with(list) {
            let at = list.iter().zip(longest).take_while(|(a, b)| a == b).count();
            faults.push(format!(
                "key {key}: one read shows {:?} at {at}, another {:?}: no order has both",
                list.get(at),
                longest.get(at)
            ));
        }
    }
    orders
}

/// A unit sees its own appends, and nothing changes between its reads but by itself.
fn internal_faults(unit: &Unit) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known: HashMap<Key, Vec<Element>> = HashMap::new();
    let mut appended: HashMap<Key, Vec<Element>> = HashMap::new();
    for op in &unit.ops {
        match op {
            Op::Append(key, element, _) => {
                appended.entry(*key).or_default().push(*element);
                if let Some(list) = known.get_mut(key) {
                    list.push(*element);
                }
            }
            Op::Read(key, list) => {
                let own = appended.get(key).cloned().unwrap_or_default();
                let consistent = known.get(key).map_or(list.ends_with(&own), |k| k == list);
                if !consistent {
                    faults.push(format!("key {key}: a unit did not see what it had just done: {unit:?}"));
                }
                known.insert(*key, list.clone());
            }
        }
    }
    faults
}

/// Elements that nobody appended, and versions from the middle of another unit.
fn dirty_reads(unit: &Unit, units: &[Unit], writers: &HashMap<(Key, Element), usize>) -> Vec<String> {
    let mut faults = Vec::new();
    for op in &unit.ops {
        let Op::Read(key, list) = op else { continue };
        for element in list {
            if !writers.contains_key(&(*key, *element)) {
                faults.push(format!("key {key}: a read shows {element}, which nobody appended"));
            }
        }
        let Some(last) = list.last() else { continue };
        let Some(&writer) = writers.get(&(*key, *last)) else { continue };
        let mut of_writer = units[writer].ops.iter().filter_map(|op| match op {
            Op::Append(k, element, _) if k == key => Some(element),
            _ => None,
        });
        let is_self = std::ptr::eq(&units[writer], unit);
        if !is_self && of_writer.next_back() != Some(last) {
            faults.push(format!("key {key}: a read stops at {last}, in the middle of {:?}", units[writer]));
        }
    }
    faults
}

/// The lengths that appends were answered must be their places.
fn wrong_lengths(units: &[Unit], orders: &HashMap<Key, Vec<Element>>) -> Vec<String> {
    let mut places = HashMap::new();
    for (key, order) in orders {
        places.extend(order.iter().enumerate().map(|(n, element)| ((*key, *element), n + 1)));
    }
    let wrong = |op: &Op| match op {
        Op::Append(key, element, Some(len)) => match places.get(&(*key, *element)) {
            Some(place) if place == len => None,
            place => {
                Some(format!("key {key}: appending {element} was answered {len}, but its place is {place:?}"))
            }
        },
        _ => None,
    };
    units.iter().flat_map(|u| &u.ops).filter_map(wrong).collect()
}

/// Units first, then instants; edges with their kinds.
struct Graph {
    edges: Vec<Vec<(usize, &'static str)>>,
}

fn graph(
    units: &[Unit],
    writers: &HashMap<(Key, Element), usize>,
    orders: &HashMap<Key, Vec<Element>>,
) -> Graph {
    let mut graph = Graph { edges: vec![Vec::new(); units.len() * 2] };
    for (key, order) in orders {
        for pair in order.windows(2) {
            graph.add(writers[&(*key, pair[0])], writers[&(*key, pair[1])], "ww");
        }
    }
    for (n, unit) in units.iter().enumerate() {
        for op in &unit.ops {
            let Op::Read(key, list) = op else { continue };
            if let Some(last) = list.last() {
                graph.add(writers[&(*key, *last)], n, "wr");
            }
            if let Some(next) = orders[key].get(list.len()) {
                graph.add(n, writers[&(*key, *next)], "rw");
            }
        }
    }
    let mut last_of: HashMap<usize, usize> = HashMap::new();
    for (n, unit) in units.iter().enumerate() {
        if let Some(before) = last_of.insert(unit.connection, n) {
            graph.add(before, n, "so");
        }
    }
    // Instant number i is the i-th answer; it follows the unit answered and precedes all units sent after it.
    let mut answered: Vec<usize> = (0..units.len()).collect();
    answered.sort_by_key(|&n| units[n].completed);
    for (i, &n) in answered.iter().enumerate() {
        graph.add(n, units.len() + i, "rt");
        if i > 0 {
            graph.add(units.len() + i - 1, units.len() + i, "rt");
        }
    }
    for (n, unit) in units.iter().enumerate() {
        let before = answered.partition_point(|&m| units[m].completed < unit.invoked);
        if before > 0 {
            graph.add(units.len() + before - 1, n, "rt");
        }
    }
    graph
}

impl Graph {
    fn add(&mut self, from: usize, to: usize, kind: &'static str) {
        if from != to {
            self.edges[from].push((to, kind));
        }
    }

    /// A short cycle, if there is one: nodes that no topological order reaches hold one, and the shortest way back
    /// from one of them is found breadth first.
    fn cycle(&self) -> Option<Vec<usize>> {
        let mut incoming = vec![0; self.edges.len()];
        self.edges.iter().flatten().for_each(|(to, _)| incoming[*to] += 1);
        let mut ready: Vec<usize> = (0..incoming.len()).filter(|&n| incoming[n] == 0).collect();
        let mut left: usize = incoming.len();
        while let Some(n) = ready.pop() {
            left -= 1;
            for (to, _) in &self.edges[n] {
                incoming[*to] -= 1;
                if incoming[*to] == 0 {
                    ready.push(*to);
                }
            }
        }
        if left == 0 {
            return None;
        }
        let stuck = (0..incoming.len()).filter(|&n| incoming[n] > 0);
        stuck.take(200).filter_map(|n| self.way_back(n)).min_by_key(Vec::len)
    }

    fn way_back(&self, start: usize) -> Option<Vec<usize>> {
        let mut came_from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(n) = queue.pop_front() {
            for (to, _) in &self.edges[n] {
                if *to == start {
                    let mut path = vec![n];
                    while *path.last()? != start {
                        path.push(came_from[path.last()?]);
                    }
                    path.reverse();
                    return Some(path);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(*to, n);
                    queue.push_back(*to);
                }
            }
        }
        None
    }
}

fn describe(graph: &Graph, cycle: &[usize], units: &[Unit]) -> String {
    let mut out = String::from("no order explains these:");
    for (i, &n) in cycle.iter().enumerate() {
        let next = cycle[(i + 1) % cycle.len()];
        let kind = graph.edges[n].iter().find(|(to, _)| *to == next).map_or("", |(_, kind)| kind);
        if let Some(unit) = units.get(n) {
            let mut text = format!("{:?}", unit.ops);
            text.truncate(400);
            out += &format!("\n  {n}: connection {} by {}: {text}", unit.connection, unit.form);
        }
        out += &format!(" -{kind}->");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::rng::Rng;
    use super::*;

    fn unit(connection: usize, invoked: u64, completed: u64, ops: Vec<Op>) -> Unit {
        Unit { connection, invoked, completed, ops, form: "test" }
    }

    fn append(key: Key, element: Element) -> Op {
        Op::Append(key, element, None)
    }

    fn read(key: Key, list: &[Element]) -> Op {
        Op::Read(key, list.to_vec())
    }

    #[test]
    fn what_is_in_order_passes() {
        let units = [
            unit(0, 0, 10, vec![append(0, 1), append(1, 2)]),
            unit(1, 5, 15, vec![read(0, &[]), read(1, &[])]),
            unit(1, 16, 20, vec![read(0, &[1]), append(0, 3), read(0, &[1, 3])]),
            unit(0, 17, 30, vec![read(0, &[1, 3]), read(1, &[2])]),
        ];
        assert_eq!(check(&units), Vec::<String>::new());
    }

    #[test]
    fn a_torn_transaction_is_caught() {
        let units = [
            unit(0, 0, 10, vec![append(0, 1), append(1, 2)]),
            unit(1, 0, 10, vec![read(0, &[1]), read(1, &[])]),
            unit(2, 20, 30, vec![read(0, &[1]), read(1, &[2])]),
        ];
        assert!(check(&units)[0].contains("no order"), "{:?}", check(&units));
    }

    #[test]
    fn a_stale_read_is_caught() {
        let units = [
            unit(0, 0, 10, vec![append(0, 1)]),
            unit(1, 20, 30, vec![read(0, &[])]),
            unit(1, 40, 50, vec![read(0, &[1])]),
        ];
        assert!(check(&units)[0].contains("rt"), "{:?}", check(&units));
        // The same without the gap in time is fine.
        let units = [
            unit(0, 0, 25, vec![append(0, 1)]),
            unit(1, 20, 30, vec![read(0, &[])]),
            unit(1, 40, 50, vec![read(0, &[1])]),
        ];
        assert_eq!(check(&units), Vec::<String>::new());
    }

    #[test]
    fn write_skew_is_caught() {
        let units = [
            unit(0, 0, 10, vec![read(0, &[]), append(1, 1)]),
            unit(1, 0, 10, vec![read(1, &[]), append(0, 2)]),
            unit(2, 20, 30, vec![read(0, &[2]), read(1, &[1])]),
        ];
        assert!(check(&units)[0].contains("rw"), "{:?}", check(&units));
    }

    #[test]
    fn a_lost_append_is_caught() {
        let units = [
            unit(0, 0, 10, vec![Op::Append(0, 1, Some(1))]),
            unit(1, 0, 10, vec![Op::Append(0, 2, Some(1))]),
            unit(2, 20, 30, vec![read(0, &[2])]),
        ];
        assert!(check(&units)[0].contains("its place is None"), "{:?}", check(&units));
    }

    #[test]
    fn forks_garbage_and_intermediate_reads_are_caught() {
        let base = || vec![unit(0, 0, 10, vec![append(0, 1), append(0, 2)])];
        for (ops, word) in [
            (vec![read(0, &[2, 1])], "no order has both"),
            (vec![read(0, &[1, 2, 7])], "nobody appended"),
            (vec![read(0, &[1])], "in the middle"),
            (vec![append(0, 3), read(0, &[1, 2])], "just done"),
        ] {
            let mut units = base();
            units.push(unit(1, 0, 10, ops));
            units.push(unit(2, 20, 30, vec![read(0, &[1, 2])]));
            assert!(check(&units).iter().any(|f| f.contains(word)), "{word}: {:?}", check(&units));
        }
    }

    /// A history made by one thread that takes turns for many, so that it is right; then one read is moved back.
    #[test]
    fn in_a_long_right_history_one_old_read_is_caught() {
        let mut rng = Rng::new(7);
        let mut lists = vec![Vec::new(); 4];
        let mut units = Vec::new();
        for n in 0..4000u64 {
            let key = rng.below(4);
            let now = n * 10;
            let ops = if rng.chance(50) {
                lists[key].push(n);
                vec![Op::Append(key, n, Some(lists[key].len()))]
            } else {
                vec![Op::Read(key, lists[key].clone()), Op::Read((key + 1) % 4, lists[(key + 1) % 4].clone())]
            };
            units.push(unit(rng.below(8), now, now + 9, ops));
        }
        units.push(unit(9, 50_000, 50_001, (0..4).map(|k| Op::Read(k, lists[k].clone())).collect()));
        assert_eq!(check(&units), Vec::<String>::new());
        for unit in units.iter_mut().skip(3000) {
            if let Some(Op::Read(_, list)) = unit.ops.last_mut()
                && list.pop().is_some()
            {
                break;
            }
        }
        assert!(!check(&units).is_empty());
    }
}
