//! How does a node remember who it is? `nodes.conf`, in the form that Redis writes it.
//!
//! ```text
//! ID IP:PORT@BUSPORT,HOSTNAME,tls-port=N[,nodename=NAME],shard-id=ID FLAGS PRIMARY PING PONG EPOCH LINK SLOTS..
//! vars currentEpoch N lastVoteEpoch N
//! ```
//!
//! A line for each node, the one with the flag `myself` among them. Files with other nodes are refused: this server
//! could not tell who serves their slots.

use std::fmt::Write as _;

use crate::cluster::slots::SlotSet;
use crate::cluster::{Address, Node};
use crate::util::crc::SLOTS;

/// The text of the file.
pub fn text(node: &Node, at: &Address) -> String {
    let mut text =
        format!("{} {}:{}@{},{},tls-port={}", node.id, at.ip, at.port, at.bus_port, at.hostname, at.tls_port);
    if !at.nodename.is_empty() {
        let _ = write!(text, ",nodename={}", at.nodename);
    }
    let _ = write!(text, ",shard-id={} myself,master - 0 0 {} connected", node.shard, node.config_epoch);
    write_slots(&mut text, &node.slots);
    let _ =
        writeln!(text, "\nvars currentEpoch {} lastVoteEpoch {}", node.current_epoch, node.last_vote_epoch);
    text
}

/// The line of a node as CLUSTER NODES shows it.
pub fn line(node: &Node, at: &Address) -> String {
    let mut text = format!("{} {}:{}@{}", node.id, at.ip, at.port, at.bus_port);
    if !at.hostname.is_empty() {
        let _ = write!(text, ",{}", at.hostname);
    }
    let _ = write!(text, " myself,master - 0 0 {} connected", node.config_epoch);
    write_slots(&mut text, &node.slots);
    text.push('\n');
    text
}

fn write_slots(text: &mut String, slots: &SlotSet) {
    for range in slots.ranges() {
        let (from, to) = (range.start(), range.end());
        let _ = if from == to { write!(text, " {from}") } else { write!(text, " {from}-{to}") };
    }
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn parse(text: &str) -> Result<Node, String> {
    let (mut node, mut vars) = (None, None);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("vars ") {
            Some(rest) => vars = Some(parse_vars(rest)?),
            None if node.is_some() => {
                return Err("it names other nodes, and this server cannot reach any".into());
            }
            None => node = Some(parse_node(line)?),
        }
    }
    let mut node = node.ok_or("no node in it")?;
    // The last line is written last: without it the file is only a part of what it was.
    (node.current_epoch, node.last_vote_epoch) = vars.ok_or("its last line is missing")?;
    node.current_epoch = node.current_epoch.max(node.config_epoch);
    Ok(node)
}

fn parse_vars(text: &str) -> Result<(u64, u64), String> {
    let words: Vec<&str> = text.split(' ').collect();
    let mut found = (0, 0);
    for pair in words.chunks(2) {
        match pair {
            ["currentEpoch", n] => found.0 = number(n)?,
            ["lastVoteEpoch", n] => found.1 = number(n)?,
            _ => return Err(format!("'vars {text}' makes no sense")),
        }
    }
    Ok(found)
}

fn parse_node(line: &str) -> Result<Node, String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, address, flags, _primary, _ping, _pong, epoch, _link, ranges @ ..] = words.as_slice() else {
        return Err(format!("'{line}' has too few fields"));
    };
    if !flags.split(',').any(|flag| flag == "myself") || !flags.split(',').any(|flag| flag == "master") {
        return Err("it names other nodes, or makes this one a replica".into());
    }
    let shard = address.split(',').find_map(|field| field.strip_prefix("shard-id="));
    let mut slots = SlotSet::default();
    for range in ranges {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (slot(from)?, slot(to)?);
        (from..=to).for_each(|slot| slots.insert(slot));
    }
    Ok(Node {
        id: name(id)?,
        // Files from before 7.2 have none.
        shard: shard.map_or_else(|| Ok((*id).to_owned()), name)?,
        config_epoch: number(epoch)?,
        current_epoch: 0,
        last_vote_epoch: 0,
        slots,
    })
}

fn name(text: &str) -> Result<String, String> {
    let good = text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if good { Ok(text.to_owned()) } else { Err(format!("'{text}' is no name of a node")) }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

fn slot(text: &str) -> Result<u16, String> {
    let slot = text.parse().ok().filter(|slot| *slot < SLOTS);
    slot.ok_or_else(|| format!("'{text}' is no slot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "9433e5970f19452a1a20b5b8ccd5656bbd1f9972 1.2.3.4:23910@33910,h.example,tls-port=0,nodename=nn,\
        shard-id=62c77ae44ac6adc1c5161e810f0609f6911db3f7 myself,master - 0 0 3 connected 0-2 100\n\
        vars currentEpoch 5 lastVoteEpoch 4\n";

    fn address() -> Address {
        Address {
            ip: "1.2.3.4".into(),
            port: 23910,
            tls_port: 0,
            bus_port: 33910,
            hostname: "h.example".into(),
            nodename: "nn".into(),
        }
    }

    #[test]
    fn a_file_of_the_real_server_is_read_and_written_back() {
        let node = parse(REDIS).unwrap();
        assert_eq!(node.slots.ranges(), [0..=2, 100..=100]);
        assert_eq!((node.config_epoch, node.current_epoch, node.last_vote_epoch), (3, 5, 4));
        assert_eq!(text(&node, &address()), REDIS);
        assert_eq!(
            line(&node, &address()),
            "9433e5970f19452a1a20b5b8ccd5656bbd1f9972 1.2.3.4:23910@33910,h.example myself,master - 0 0 3 connected \
             0-2 100\n"
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let other = REDIS.replace("myself,master", "master");
        let torn = REDIS.replace("vars currentEpoch 5 lastVoteEpoch 4\n", "");
        for (text, why) in [
            (other.as_str(), "other nodes"),
            (&[REDIS, REDIS].concat(), "other nodes"),
            (&torn, "last line"),
            (&REDIS.replace("0-2", "0-16384"), "no slot"),
            (&REDIS.replace("943", "94"), "no name"),
            ("vars currentEpoch 0 lastVoteEpoch 0\n", "no node"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
