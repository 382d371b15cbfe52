//! Where does a request end? Wherever the bytes are split, and whichever way they are read, it is the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine::resp::request::{Limits, Parsed, Parser, quick};

/// What a stream came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    requests: Vec<Vec<Vec<u8>>>,
    broken: Option<String>,
    left: usize,
}

/// Reads requests from the start of `buf` for as long as there are whole ones; how many bytes they took.
fn take(parser: &mut Parser, buf: &[u8], limits: Limits, heard: &mut Heard) -> usize {
    let mut at = 0;
    while heard.broken.is_none() {
        let rest = &buf[at..];
        let fresh = !parser.in_request();
        match parser.next(rest, limits) {
            Parsed::Request { len } => {
                let args: Vec<Vec<u8>> =
                    parser.args().iter().map(|range| rest[range.clone()].to_vec()).collect();
                let mut quickly = Vec::new();
                if fresh && let Some(n) = quick(rest, &mut quickly) {
                    assert_eq!((n, quickly), (len, args.iter().map(Vec::as_slice).collect()));
                }
                heard.requests.push(args);
                at += len;
            }
            Parsed::Inline { words, len } => {
                assert_eq!(quick(rest, &mut Vec::new()), None);
                heard.requests.push(words);
                at += len;
            }
            Parsed::Incomplete => {
                assert!(parser.understood() <= rest.len());
                assert!(!fresh || quick(rest, &mut Vec::new()).is_none());
                break;
            }
            Parsed::Broken(why) => heard.broken = Some(why),
        }
    }
    at
}

// flags, size of the pieces, the stream
fuzz_target!(|data: &[u8]| {
    let [flags, piece, stream @ ..] = data else { return };
    let limits = Limits { max_bulk: 1 << 20, authenticated: flags & 1 == 0 };
    let (mut whole, mut parser) = (Heard::default(), Parser::new());
    whole.left = stream.len() - take(&mut parser, stream, limits, &mut whole);

    let (mut pieces, mut parser, mut buf) = (Heard::default(), Parser::new(), Vec::new());
    for piece in stream.chunks(usize::from(*piece % 64) + 1) {
        buf.extend_from_slice(piece);
        if pieces.broken.is_none() {
            let used = take(&mut parser, &buf, limits, &mut pieces);
            buf.drain(..used);
            // Room is made for what is on its way, and never for more than may come.
            assert!(parser.wanted(buf.len()) <= limits.max_bulk as usize + 2);
        }
        if flags & 2 != 0 {
            // As behind a command that blocks: what was parsed ahead is parsed again.
            parser.restart();
        }
    }
    pieces.left = buf.len();
    assert_eq!(whole, pieces);
});
