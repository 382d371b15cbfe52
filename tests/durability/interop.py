#!/usr/bin/env python3
"""Do files and payloads go from Redis to Peregrine and on to an older Redis, unchanged?

usage: interop.py --server BIN --newer REDIS-8.2 --older REDIS-7.0 [--port N]

A data set of every type and encoding is made on the newer Redis. It goes by snapshot to Peregrine, from there to the
older Redis (whose format holds everything but fields that expire), and by append-only file both ways; then key by key,
by DUMP and RESTORE. DEBUG DIGEST must be the same everywhere. Prints what it compared; exit status 1 if anything
differs."""
import argparse, os, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill9 import Connection


class Server:
    running = []

    def __init__(self, program, port, directory, *options):
        self.log = open(os.path.join(directory, f'log-{port}'), 'ab')
        base = [program, '--port', str(port), '--dir', directory, '--save', '', '--enable-debug-command', 'yes']
        self.process = subprocess.Popen(base + list(options), stdout=self.log, stderr=self.log)
        Server.running.append(self)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                self.connection = Connection(port)
                if self.call('PING') == b'PONG':
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f'{program} does not start; see {self.log.name}')

    def call(self, *args):
        return self.connection.call(*args)

    def must(self, *args):
        reply = self.call(*args)
        if isinstance(reply, RuntimeError):
            raise SystemExit(f'{args[0]}: {reply}')
        return reply

    def digest(self):
        return self.must('DEBUG', 'DIGEST').decode()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def fill(server, fields_expire):
    """Every type in every encoding, in two databases, with and without expiry. Names of keys say what they are."""
    do = server.must
    for db in (0, 3):
        do('SELECT', db)
        do('SET', 'str:int', 12345)
        do('SET', 'str:negative', -1)
        do('SET', 'str:big-int', 2**62)
        do('SET', 'str:short', 'hello')
        do('SET', 'str:long', 'x' * 5000)
        do('SET', 'str:binary', bytes(range(256)) * 3)
        do('SET', 'str:huge', os.urandom(2 << 20))
        do('SET', 'str:expiring', 'v', 'PXAT', 4102444800123)
        do('SETBIT', 'str:bits', 70000, 1)
        do('PFADD', 'str:hll', *range(3000))
        for name, values in {'small': range(20), 'strings': ['a', 'bb', 'c' * 60], 'many': range(5000),
                             'large': ['y' * 9000, 'z', 'w' * 70000], 'big': ['e' * 300] * 4000}.items():
            do('RPUSH', f'list:{name}', *values)
        do('SADD', 'set:ints', *range(0, 90, 3), -5, 2**40)
        do('SADD', 'set:packed', 'a', 'b', 17, 'c' * 40)
        do('SADD', 'set:table', *[f'member:{n}' for n in range(5000)])
        do('SADD', 'set:many-ints', *range(2000))
        # Redis 7.0 takes its digest of other digits than 8.2 does: these have the same in both.
        scores = ['1', '-2.5', '3.14' if fields_expire else '3.125', 'inf', '-inf', '0.5', '17']
        do('ZADD', 'zset:packed', *[x for i, s in enumerate(scores) for x in (s, f'm{i}')])
        do('ZADD', 'zset:tree', *[x for n in range(5000) for x in (n / (7 if fields_expire else 8), f'member:{n}')])
        do('HSET', 'hash:packed', 'f', 'v', 'n', 7, 'long', 'x' * 60)
        do('HSET', 'hash:table', *[x for n in range(5000) for x in (f'field:{n}', n)])
        do('HSET', 'hash:long-field', 'f' * 100, 'v' * 1000)
        do('PEXPIREAT', 'hash:table', 4102444800999)
        for n in range(1, 2001):
            do('XADD', 'stream:many', f'{n}-{n % 3}', 'n', n, 'text', 'x' * (n % 50))
        for n in range(1, 11):
            do('XADD', 'stream:groups', f'{n}-1', f'field{n}', n)
        do('XDEL', 'stream:groups', '4-1', '7-1')
        do('XGROUP', 'CREATE', 'stream:groups', 'g1', 0)
        do('XGROUP', 'CREATE', 'stream:groups', 'g2', '5-1')
        do('XGROUP', 'CREATECONSUMER', 'stream:groups', 'g2', 'idle')
        do('XREADGROUP', 'GROUP', 'g1', 'ada', 'COUNT', 5, 'STREAMS', 'stream:groups', '>')
        do('XREADGROUP', 'GROUP', 'g1', 'bob', 'STREAMS', 'stream:groups', '>')
        do('XACK', 'stream:groups', 'g1', '2-1')
        do('XADD', 'stream:empty', '1-1', 'a', 'b')
        do('XTRIM', 'stream:empty', 'MAXLEN', 0)
        if fields_expire:
            do('HSET', 'hash:expiring', 'a', 1, 'b', 2, 'c', 3)
            do('HPEXPIREAT', 'hash:expiring', 4102444800500, 'FIELDS', 2, 'a', 'b')
            do('HSET', 'hash:expiring-table', *[x for n in range(2000) for x in (f'field:{n}', n)])
            do('HPEXPIREAT', 'hash:expiring-table', 4102444801500, 'FIELDS', 2, 'field:3', 'field:4')
    do('SELECT', 0)


def compare(what, one, other):
    print(f"{'same' if one == other else 'DIFFERENT'}: {what} ({one})", flush=True)
    return one == other


def by_file(args, directory, fields_expire):
    """Newer > Peregrine, and on to the older one when it can hold everything."""
    good = []
    newer = Server(args.newer, args.port, directory)
    fill(newer, fields_expire)
    digest = newer.digest()
    newer.must('SAVE')
    newer.stop()
    ours = Server(args.server, args.port + 1, directory)
    note = ' with fields that expire' if fields_expire else ''
    good.append(compare(f'snapshot, newer > Peregrine{note}', digest, ours.digest()))
    ours.must('SAVE')
    for rdb in ('yes', 'no'):
        ours.must('CONFIG', 'SET', 'aof-use-rdb-preamble', rdb)
        ours.must('CONFIG', 'SET', 'appendonly', 'yes')
        while b'aof_rewrite_in_progress:1' in ours.must('INFO', 'persistence'):
            time.sleep(0.05)
        ours.must('CONFIG', 'SET', 'appendonly', 'no')
        target = args.newer if fields_expire else args.older
        reader = Server(target, args.port + 2, directory, '--appendonly', 'yes')
        good.append(compare(f'append-only file, RDB base {rdb}, Peregrine > {os.path.basename(target)}{note}', digest, reader.digest()))
        reader.must('SET', 'more', 1)
        reader.must('DEL', 'more')
        reader.stop()
        again = Server(args.server, args.port + 3, directory, '--appendonly', 'yes')
        good.append(compare(f'append-only file, and back to Peregrine{note}', digest, again.digest()))
        again.stop()
        shutil.rmtree(os.path.join(directory, 'appendonlydir'))
    ours.stop()
    reader = Server(args.newer if fields_expire else args.older, args.port + 2, directory)
    good.append(compare(f'snapshot, Peregrine > {"newer" if fields_expire else "older"}{note}', digest, reader.digest()))
    reader.stop()
    return good


def by_payload(args, directory):
    """Every key by DUMP and RESTORE: newer > Peregrine > newer."""
    newer, ours = Server(args.newer, args.port, directory), Server(args.server, args.port + 1, directory)
    third = Server(args.newer, args.port + 2, directory)
    for server in (newer, ours, third):
        server.must('FLUSHALL')
    fill(newer, True)
    for one, other in ((newer, ours), (ours, third)):
        for db in (0, 3):
            one.must('SELECT', db)
            other.must('SELECT', db)
            for key in sorted(one.must('KEYS', '*')):
                at = max(one.must('PEXPIRETIME', key), 0)
                other.must('RESTORE', key, at, one.must('DUMP', key), 'ABSTTL')
    good = [compare('DUMP and RESTORE, newer > Peregrine', newer.digest(), ours.digest()),
            compare('DUMP and RESTORE, Peregrine > newer', ours.digest(), third.digest())]
    for server in (newer, ours, third):
        server.stop()
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--server', required=True)
    parser.add_argument('--newer', required=True)
    parser.add_argument('--older', required=True)
    parser.add_argument('--port', type=int, default=23299)
    args = parser.parse_args()
    good = []
    try:
        for compared in (lambda d: by_file(args, d, False), lambda d: by_file(args, d, True), lambda d: by_payload(args, d)):
            directory = tempfile.mkdtemp(prefix='interop-')
            good += compared(directory)
            shutil.rmtree(directory)
    finally:
        for server in Server.running:
            server.stop()
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main())
