//! How much may a client hold? Its memory is counted after every turn, and a client that is over a limit is closed:
//! the output of its class (`client-output-buffer-limit`), its input, and the memory of all clients together
//! (`maxmemory-clients`), for which the largest go.

use std::sync::atomic::Ordering;

use crate::client::registry::{Client, ClientType, KILLED, NO_EVICT, REPLY_BUFFER};
use crate::config::Config;
use crate::dispatch::core::Core;
use crate::dispatch::permit;
use crate::net::connection::{Conn, State};

/// What a connection takes besides its buffers: its state here, its entries in tables, its task.
const CONNECTION: usize = size_of::<Conn>() + size_of::<Client>() + 1024;

/// The longest output of a client that has not authenticated.
pub const STRANGER: usize = REPLY_BUFFER + 1024;

/// What the limits depend on.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The shared parts of the server.
    pub core: &'a Core,
    /// The settings.
    pub config: &'a Config,
    /// Monotonic milliseconds.
    pub now_ms: u64,
}

/// The length of output that ends a client of this class at once. What Redis keeps in a buffer that every client has
/// is not limited.
pub fn most_output(config: &Config, kind: ClientType) -> usize {
    match config.client_output_buffer_limit.of(kind as u8).hard {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX).max(REPLY_BUFFER + 1),
    }
}

impl Rules<'_> {
    /// Closes a client whose output is over the limit of its class; none of it is sent. True when it did.
    pub fn check_output(&self, client: &Client, state: &mut State) -> bool {
        let waiting = state.waiting();
        client.output.store(waiting, Ordering::Relaxed);
        if state.killed {
            return true;
        }
        let kind = client.kind();
        let mut limit = self.config.client_output_buffer_limit.of(kind as u8);
        if kind == ClientType::Replica && limit.hard > 0 {
            // What the backlog keeps anyway is no burden.
            limit.hard = limit.hard.max(self.config.repl_backlog_size);
        }
        let counted = if waiting > REPLY_BUFFER { waiting as u64 } else { 0 };
        let mut over = limit.hard > 0 && counted >= limit.hard;
        // Who has not authenticated gets errors, and has to read them.
        over |= counted > STRANGER as u64 && !permit::has_entered(self.core, &state.session);
        if limit.soft > 0 && counted >= limit.soft {
            let since = *state.soft_since.get_or_insert(self.now_ms);
            over |= self.now_ms.saturating_sub(since) > limit.soft_seconds.saturating_mul(1000);
        } else {
            state.soft_since = None;
        }
        if over {
            tracing::warn!(
                "Client id={} addr={} closed: {waiting} bytes of output are over the limit of its class",
                client.id,
                client.addr
            );
            self.core.stats.overflows[1].fetch_add(1, Ordering::Relaxed);
            self.close(client, state);
        }
        over
    }

    /// Closes a client whose input is over `client-query-buffer-limit`, which the commands of its transaction count
    /// against. True when it did.
    pub fn check_input(&self, client: &Client, state: &mut State) -> bool {
        let queued = state.session.multi.as_ref().map_or(0, |multi| multi.bytes);
        let over = state.input.len().saturating_add(queued) > self.config.client_query_buffer_limit;
        if over {
            tracing::warn!("Client id={} addr={} closed: too much input", client.id, client.addr);
            self.core.stats.overflows[0].fetch_add(1, Ordering::Relaxed);
            self.close(client, state);
        }
        over
    }

    fn close(&self, client: &Client, state: &mut State) {
        state.killed = true;
        client.set(KILLED, true);
        state.output = Vec::new();
        state.input = Vec::new();
        state.sent = 0;
    }

    /// Counts what a client holds, and makes room if all clients together hold too much.
    pub fn account(&self, client: &Client, state: &mut State) {
        let session = &state.session;
        let queued = session.multi.as_ref().map_or(0, |multi| multi.bytes);
        let input = state.input.capacity();
        // As Redis has it: arguments that are complete, the one that is being received, free room.
        let arguments = state.parser.understood().min(state.input.len());
        client.arguments.store(arguments, Ordering::Relaxed);
        client.query[0].store(state.input.len() - arguments, Ordering::Relaxed);
        client.query[1].store(input - state.input.len(), Ordering::Relaxed);
        let buffers = state.output.capacity() + input + state.parser.memory();
        let memory = CONNECTION + buffers + session.names_bytes + queued;
        let streamed = state.waiting() - (state.output.len() - state.sent);
        let memory = memory.saturating_add(streamed);
        let exempt =
            client.has(NO_EVICT) || matches!(client.kind(), ClientType::Replica | ClientType::Master);
        let counted = if exempt || state.killed { 0 } else { memory };
        if client.memory.load(Ordering::Relaxed) != memory {
            client.memory.store(memory, Ordering::Relaxed);
            client.reply[0].store(state.output.capacity(), Ordering::Relaxed);
            client.reply[1].fetch_max(state.output.capacity(), Ordering::Relaxed);
        }
        if state.counted != counted {
            self.core.clients.held.change(client.thread, state.counted, counted);
            state.counted = counted;
        }
        let limit = self.config.maxmemory_clients.of(self.config.maxmemory);
        if limit > 0 && self.core.clients.held.total() > limit {
            self.core.evict_clients();
        }
    }
}
