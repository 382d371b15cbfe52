//! Who talks to whom? Publishing, subscribing, and asking about subscriptions.

use bytes::Bytes;

use crate::commands::prelude::*;
use crate::pubsub::Space;

/// The family's rows.
pub const COMMANDS: &[Command] = &[
    Command::new("subscribe", subscribe).channels(Channels::All).arity(-2).flags(PUBSUB | NOSCRIPT | LOADING | STALE).also(FOR_SUBSCRIBERS).doc("pubsub", "2.0.0", "O(N) where N is the number of channels to subscribe to.", "Listens to channels.", "channel:str..."),
    Command::new("unsubscribe", unsubscribe).arity(-1).flags(PUBSUB | NOSCRIPT | LOADING | STALE).also(FOR_SUBSCRIBERS).doc("pubsub", "2.0.0", "O(N) where N is the number of channels to unsubscribe.", "Stops listening to channels, or to all of them.", "[channel:str...]"),
    Command::new("psubscribe", psubscribe).channels(Channels::Patterns).arity(-2).flags(PUBSUB | NOSCRIPT | LOADING | STALE).also(FOR_SUBSCRIBERS).doc("pubsub", "2.0.0", "O(N) where N is the number of patterns to subscribe to.", "Listens to all channels that match patterns.", "pattern:pat..."),
    Command::new("punsubscribe", punsubscribe).arity(-1).flags(PUBSUB | NOSCRIPT | LOADING | STALE).also(FOR_SUBSCRIBERS).doc("pubsub", "2.0.0", "O(N) where N is the number of patterns to unsubscribe.", "Stops listening to patterns, or to all of them.", "[pattern:pat...]"),
    Command::new("publish", publish).channels(Channels::First).arity(3).flags(PUBSUB | LOADING | STALE | FAST).also(MAY_REPLICATE).doc("pubsub", "2.0.0", "O(N+M) where N is the number of clients subscribed to the receiving channel and M is the total number of subscribed patterns (by any client).", "Sends a message to everyone who listens to a channel.", "channel:str message:str"),
    Command::new("ssubscribe", ssubscribe).channels(Channels::All).arity(-2).flags(PUBSUB | NOSCRIPT | LOADING | STALE).keys(&[range(NOT_KEY, 1, -1, 1)]).also(FOR_SUBSCRIBERS).doc("pubsub", "7.0.0", "O(N) where N is the number of shard channels to subscribe to.", "Listens to shard channels.", "shardchannel:str..."),
    Command::new("sunsubscribe", sunsubscribe).arity(-1).flags(PUBSUB | NOSCRIPT | LOADING | STALE).keys(&[range(NOT_KEY, 1, -1, 1)]).also(FOR_SUBSCRIBERS).doc("pubsub", "7.0.0", "O(N) where N is the number of shard channels to unsubscribe.", "Stops listening to shard channels, or to all of them.", "[shardchannel:str...]"),
    Command::new("spublish", spublish).channels(Channels::First).arity(3).flags(PUBSUB | LOADING | STALE | FAST).also(MAY_REPLICATE).keys(&[one(NOT_KEY, 1)]).doc("pubsub", "7.0.0", "O(N) where N is the number of clients subscribed to the receiving shard channel.", "Sends a message to everyone who listens to a shard channel.", "shardchannel:str message:str"),
    Command::container("pubsub", PUBSUB_COMMANDS).doc("pubsub", "2.8.0", "Depends on subcommand.", "Tells about subscriptions.", ""),
];

const PUBSUB_COMMANDS: &[Command] = &[
    Command::new("numpat", pubsub_numpat).arity(2).flags(PUBSUB | LOADING | STALE).doc("pubsub", "2.8.0", "O(1)", "Counts the distinct patterns that somebody listens to.", ""),
    Command::new("numsub", pubsub_numsub).arity(-2).flags(PUBSUB | LOADING | STALE).doc("pubsub", "2.8.0", "O(N) for the NUMSUB subcommand, where N is the number of requested channels", "Counts who listens to channels.", "[channel:str...]"),
    Command::new("shardnumsub", pubsub_shardnumsub).arity(-2).flags(PUBSUB | LOADING | STALE).doc("pubsub", "7.0.0", "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard channels", "Counts who listens to shard channels.", "[shardchannel:str...]"),
    Command::new("help", pubsub_help).arity(2).flags(LOADING | STALE).doc("pubsub", "6.2.0", "O(1)", "Lists the subcommands.", ""),
    Command::new("channels", pubsub_channels).arity(-2).flags(PUBSUB | LOADING | STALE).doc("pubsub", "2.8.0", "O(N) where N is the number of active channels, and assuming constant time pattern matching (relatively short channels and patterns)", "Lists channels that somebody listens to.", "[pattern:pat]"),
    Command::new("shardchannels", pubsub_shardchannels).arity(-2).flags(PUBSUB | LOADING | STALE).doc("pubsub", "7.0.0", "O(N) where N is the number of active shard channels, and assuming constant time pattern matching (relatively short shard channels).", "Lists shard channels that somebody listens to.", "[pattern:pat]"),
];

/// What a space is called in confirmations.
fn words(space: Space) -> (&'static [u8], &'static [u8]) {
    match space {
        Space::Channel => (b"subscribe", b"unsubscribe"),
        Space::Pattern => (b"psubscribe", b"punsubscribe"),
        Space::Shard => (b"ssubscribe", b"sunsubscribe"),
    }
}

/// The count that a confirmation carries: shard channels are counted for themselves.
fn count(ctx: &Ctx<'_>, space: Space) -> usize {
    let s = &ctx.session;
    if space == Space::Shard { s.shard_channels.len() } else { s.channels.len() + s.patterns.len() }
}

fn confirm(ctx: &Ctx<'_>, space: Space, word: &[u8], name: Option<&[u8]>, out: &mut Reply<'_>) {
    out.push(3);
    out.bulk(word);
    out.bulk_or_null(name);
    out.len(count(ctx, space));
}

fn add(ctx: &mut Ctx<'_>, args: &mut Args<'_>, space: Space, out: &mut Reply<'_>) -> Result {
    for name in args.take_rest() {
        let name = Bytes::copy_from_slice(name);
        let session = &mut *ctx.session;
        let new = match space {
            Space::Channel => session.channels.insert(name.clone()),
            Space::Pattern => session.patterns.insert(name.clone()),
            Space::Shard => session.shard_channels.insert(name.clone()),
        };
        if new {
            ctx.session.takes(&name);
            ctx.core.pubsub.subscribe(space, name.clone(), &ctx.session.client);
        }
        confirm(ctx, space, words(space).0, Some(&name), out);
    }
    ctx.session.tell_subscriptions();
    Ok(())
}

fn drop_one(ctx: &mut Ctx<'_>, space: Space, name: &[u8]) {
    let session = &mut *ctx.session;
    let had = match space {
        Space::Channel => session.channels.remove(name),
        Space::Pattern => session.patterns.remove(name),
        Space::Shard => session.shard_channels.remove(name),
    };
    if had {
        ctx.session.drops(name);
        ctx.core.pubsub.unsubscribe(space, name, ctx.session.client.id);
    }
}

fn remove(ctx: &mut Ctx<'_>, args: &mut Args<'_>, space: Space, out: &mut Reply<'_>) -> Result {
    let word = words(space).1;
    let named = args.left() > 0;
    let names: Vec<Bytes> = if named {
        args.take_rest().iter().map(|n| Bytes::copy_from_slice(n)).collect()
    } else {
        all_names(ctx, space)
    };
    for name in &names {
        drop_one(ctx, space, name);
        confirm(ctx, space, word, Some(name), out);
    }
    if names.is_empty() {
        confirm(ctx, space, word, None, out);
    }
    ctx.session.tell_subscriptions();
    Ok(())
}

fn all_names(ctx: &Ctx<'_>, space: Space) -> Vec<Bytes> {
    match space {
        Space::Channel => ctx.session.channels.iter().cloned().collect(),
        Space::Pattern => ctx.session.patterns.iter().cloned().collect(),
        Space::Shard => ctx.session.shard_channels.iter().cloned().collect(),
    }
}

/// Drops every subscription without a word (RESET).
pub(crate) fn drop_all(ctx: &mut Ctx<'_>) {
    for space in [Space::Channel, Space::Pattern, Space::Shard] {
        for name in all_names(ctx, space) {
            drop_one(ctx, space, &name);
        }
    }
    ctx.session.tell_subscriptions();
}

fn subscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    add(ctx, args, Space::Channel, out)
}

fn unsubscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove(ctx, args, Space::Channel, out)
}

fn psubscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    add(ctx, args, Space::Pattern, out)
}

fn punsubscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove(ctx, args, Space::Pattern, out)
}

fn ssubscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    add(ctx, args, Space::Shard, out)
}

fn sunsubscribe(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    remove(ctx, args, Space::Shard, out)
}

fn publish(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (channel, payload) = (args.next()?, args.next()?);
    ctx.tell_replicas(args.argv());
    out.len(ctx.publish(false, channel, payload));
    Ok(())
}

fn spublish(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    let (channel, payload) = (args.next()?, args.next()?);
    ctx.tell_replicas(args.argv());
    out.len(ctx.publish(true, channel, payload));
    Ok(())
}

fn names(ctx: &mut Ctx<'_>, args: &mut Args<'_>, space: Space, out: &mut Reply<'_>) -> Result {
    let pattern = args.maybe();
    args.end_of_subcommand()?;
    out.bulks(ctx.core.pubsub.names(space, pattern).into_iter());
    Ok(())
}

fn counts(ctx: &mut Ctx<'_>, args: &mut Args<'_>, space: Space, out: &mut Reply<'_>) -> Result {
    out.array(args.left() * 2);
    for name in args.take_rest() {
        out.bulk(name);
        out.len(ctx.core.pubsub.count(space, name));
    }
    Ok(())
}

fn pubsub_channels(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    names(ctx, args, Space::Channel, out)
}

fn pubsub_shardchannels(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    names(ctx, args, Space::Shard, out)
}

fn pubsub_numsub(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    counts(ctx, args, Space::Channel, out)
}

fn pubsub_shardnumsub(ctx: &mut Ctx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    counts(ctx, args, Space::Shard, out)
}

fn pubsub_numpat(ctx: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    out.len(ctx.core.pubsub.distinct(Space::Pattern));
    Ok(())
}

fn pubsub_help(_: &mut Ctx<'_>, _: &mut Args<'_>, out: &mut Reply<'_>) -> Result {
    help(
        out,
        "PUBSUB",
        &[
            ("CHANNELS [<pattern>]", "Channels with subscribers, all or those that match."),
            ("NUMPAT", "Number of patterns that are subscribed to."),
            ("NUMSUB [<channel> ...]", "Number of subscribers of channels."),
            ("SHARDCHANNELS [<pattern>]", "Shard channels with subscribers, all or those that match."),
            ("SHARDNUMSUB [<shardchannel> ...]", "Number of subscribers of shard channels."),
        ],
    );
    Ok(())
}
