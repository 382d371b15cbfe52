#!/usr/bin/env python3
"""Does the server keep what it has acknowledged when it is killed in the middle of everything?

usage: kill9.py --server BIN [--policy always|everysec|no|all] [--rounds N] [--clients N] [--seed N] [--port N] [--dir DIR]

Each round starts the server on the data of the last one and lets clients write in pipelines: SET, INCR, RPUSH, XADD,
transactions and scripts that change two keys at once, and now and then a rewrite of the append-only file or a snapshot.
After a random time it is killed (SIGKILL), started again and asked. Every client keeps a journal: which numbered
operations it has sent, and up to which it has been answered. It must then hold that

  1. every operation that was answered is there (the process died, not the machine: with every policy);
  2. what is there of a client is a beginning of what it sent, without holes, across all its keys;
  3. a transaction or a script is there whole, or not at all.

Prints the counts; exit status 1 at the first violation, with the seed that repeats it and the files left in place."""
import argparse, os, random, shutil, signal, socket, subprocess, sys, tempfile, threading, time

KINDS = ('set', 'incr', 'rpush', 'xadd', 'multi', 'eval')
SCRIPT = b"redis.call('SET',KEYS[1],ARGV[1]) redis.call('SET',KEYS[2],ARGV[1]) return 1"


class Violation(Exception):
    pass


def encode(*args):
    out = [b'*%d\r\n' % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        out.append(b'$%d\r\n%s\r\n' % (len(arg), arg))
    return b''.join(out)


class Connection:
    def __init__(self, port):
        self.sock = socket.create_connection(('127.0.0.1', port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile('rb')

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b'\r\n'):
            raise ConnectionError('closed')
        kind, rest = line[:1], line[1:-2]
        if kind == b'$':
            size = int(rest)
            if size < 0:
                return None
            data = self.file.read(size + 2)
            if len(data) < size + 2:
                raise ConnectionError('closed')
            return data[:-2]
        if kind == b'*':
            return None if int(rest) < 0 else [self.reply() for _ in range(int(rest))]
        if kind == b'-':
            return RuntimeError(rest.decode())
        return int(rest) if kind == b':' else rest

    def call(self, *args):
        self.sock.sendall(encode(*args))
        return self.reply()


class Client:
    """One client's journal: `kinds[g]` is the kind of its operation number g + 1."""

    def __init__(self, number, seed):
        self.i, self.rng = number, random.Random(seed)
        self.kinds, self.answered, self.wrong = [], 0, None

    def operation(self, kind, n):
        """The n-th operation of a kind, and how many replies it has."""
        i = self.i
        if kind == 'set':
            return encode('SET', f's:{i}', n), 1
        if kind == 'incr':
            return encode('INCR', f'n:{i}'), 1
        if kind == 'rpush':
            return encode('RPUSH', f'l:{i}', n), 1
        if kind == 'xadd':
            return encode('XADD', f'x:{i}', f'{n}-1', 'n', n), 1
        if kind == 'multi':
            parts = ('MULTI',), ('SET', f'ma:{i}', n), ('SET', f'mb:{i}', n), ('EXEC',)
            return b''.join(encode(*part) for part in parts), 4
        return encode('EVAL', SCRIPT, 2, f'ea:{i}', f'eb:{i}', n), 1

    def run(self, port):
        counts = {kind: self.kinds.count(kind) for kind in KINDS}
        try:
            connection = Connection(port)
            while True:
                batch, replies = [], []
                for _ in range(self.rng.randint(1, 24)):
                    kind = self.rng.choice(KINDS)
                    counts[kind] += 1
                    self.kinds.append(kind)
                    data, n = self.operation(kind, counts[kind])
                    batch.append(data)
                    replies.append(n)
                connection.sock.sendall(b''.join(batch))
                for n in replies:
                    for _ in range(n):
                        reply = connection.reply()
                        if isinstance(reply, RuntimeError):
                            self.wrong = str(reply)
                            return
                    self.answered += 1
                # Sixteen that never rest would write more than a round has time to read back.
                time.sleep(self.rng.uniform(0, 0.01))
        except OSError:
            pass

    def check(self, connection):
        """Compares what is there with the journal, which is cut to it. Returns how many operations survived unanswered."""
        ask = lambda *args: connection.call(*args)
        number = lambda value: int(value or 0)
        i, there = self.i, {}
        there['set'] = number(ask('GET', f's:{i}'))
        there['incr'] = number(ask('GET', f'n:{i}'))
        there['rpush'] = ask('LLEN', f'l:{i}')
        there['xadd'] = ask('XLEN', f'x:{i}')
        pairs = {'multi': ask('MGET', f'ma:{i}', f'mb:{i}'), 'eval': ask('MGET', f'ea:{i}', f'eb:{i}')}
        for kind, (one, other) in pairs.items():
            if one != other:
                raise Violation(f'client {i}: half of a {kind} is there: {one} and {other}')
            there[kind] = number(one)
        elements = ask('LRANGE', f'l:{i}', 0, -1)
        if [int(e) for e in elements] != list(range(1, there['rpush'] + 1)):
            raise Violation(f'client {i}: the list has holes')
        last, counts = 0, dict.fromkeys(KINDS, 0)
        for g, kind in enumerate(self.kinds, 1):
            counts[kind] += 1
            if counts[kind] <= there[kind]:
                last = g
        if last < self.answered:
            raise Violation(f'client {i}: operation {last} is the last that is there, {self.answered} were answered')
        expected = {kind: self.kinds[:last].count(kind) for kind in KINDS}
        if expected != there:
            raise Violation(f'client {i}: {there} is no beginning of what was sent; expected {expected} (answered {self.answered})')
        unanswered = last - self.answered
        self.kinds, self.answered = self.kinds[:last], last
        return unanswered


class Server:
    def __init__(self, args, policy, directory):
        self.log = open(os.path.join(directory, 'log'), 'ab')
        options = ['--port', str(args.port), '--dir', directory, '--appendonly', 'yes', '--appendfsync', policy,
                   '--save', '', '--auto-aof-rewrite-min-size', '256kb', '--io-threads', str(args.io_threads)]
        self.process = subprocess.Popen([args.server, *options], stdout=self.log, stderr=self.log)
        deadline = time.time() + 600  # others may keep the machine busy
        while True:
            try:
                self.connection = Connection(args.port)
                if self.connection.call('PING') == b'PONG':
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise Violation(f'the server does not start; see {directory}/log')
            if time.time() > deadline:
                self.kill()
                raise Violation('the server does not answer')
            time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


def campaign(args, policy):
    directory = tempfile.mkdtemp(prefix=f'kill9-{policy}-', dir=args.dir)
    seed = f'{args.seed}-{policy}'
    rng = random.Random(seed)
    clients = [Client(i, f'{seed}-{i}') for i in range(args.clients)]
    answered = unanswered = 0
    server = Server(args, policy, directory)
    try:
        for round_number in range(args.rounds):
            before = sum(c.answered for c in clients)
            threads = [threading.Thread(target=c.run, args=(args.port,)) for c in clients]
            [t.start() for t in threads]
            ends = time.time() + rng.uniform(0.01, 0.25)
            if rng.random() < 0.5:
                time.sleep(rng.uniform(0, 0.1))
                server.connection.call(rng.choice(['BGREWRITEAOF', 'BGSAVE']))
            time.sleep(max(0, ends - time.time()))
            server.kill()
            [t.join() for t in threads]
            wrong = [c.wrong for c in clients if c.wrong]
            if wrong:
                raise Violation(f'an operation failed: {wrong[0]}')
            answered += sum(c.answered for c in clients) - before
            server = Server(args, policy, directory)
            unanswered += sum(c.check(server.connection) for c in clients)
            if round_number % 10 == 9:
                server.connection.call('FLUSHALL')
                for c in clients:
                    c.kinds, c.answered = [], 0
            if args.verbose or round_number % 100 == 99:
                print(f'{policy}: {round_number + 1} kills, {answered} answered operations, 0 lost so far', flush=True)
    except Violation as violation:
        print(f'VIOLATION with {policy}, seed {args.seed}, round {round_number + 1}: {violation}\nfiles: {directory}')
        return False
    finally:
        if server.process.poll() is None:
            server.kill()
    shutil.rmtree(directory)
    print(f'{policy}: {args.rounds} kills, {answered} answered operations, 0 lost; {unanswered} unanswered ones survived', flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--server', required=True)
    parser.add_argument('--policy', default='all', choices=['always', 'everysec', 'no', 'all'])
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--clients', type=int, default=16)
    parser.add_argument('--io-threads', type=int, default=2)
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--port', type=int, default=23199)
    parser.add_argument('--dir')
    parser.add_argument('--verbose', action='store_true')
    args = parser.parse_args()
    policies = ['always', 'everysec', 'no'] if args.policy == 'all' else [args.policy]
    return 0 if all([campaign(args, policy) for policy in policies]) else 1


if __name__ == '__main__':
    sys.exit(main())
