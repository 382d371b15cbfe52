//! How do many short strings get into one output buffer? Header, bytes and line end of each are written with one look
//! at the buffer's room, and without calling out for a copy of a few bytes: a reply of a hundred elements is a
//! hundred of these and little else.

/// Longest string that is written in one go: its length has two digits.
const SHORT: usize = 99;
/// Room for one: `$`, two digits, a line end, the bytes, a line end.
const ROOM: usize = 5 + SHORT + 2;

/// Appends `$<length>\r\n<bytes>\r\n`.
#[inline]
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    if len > SHORT {
        return push_long(out, bytes);
    }
    out.reserve(ROOM);
    let header = 4 + usize::from(len > 9);
    let digits =
        if len > 9 { [b'0' + (len / 10) as u8, b'0' + (len % 10) as u8] } else { [b'0' + len as u8, b'\r'] };
    let end = out.len() + header + len + 2;
    // SAFETY: `ROOM` bytes behind the end have been reserved, and no more is written: five of the header (the last
    // of them, when the length has one digit, is written over by what follows), `len`, which is at most `SHORT`, and
    // two. All bytes below `end` have been written then.
    unsafe {
        let at = out.as_mut_ptr().add(out.len());
        let [tens, units] = digits;
        at.cast::<[u8; 5]>().write([b'$', tens, units, if len > 9 { b'\r' } else { b'\n' }, b'\n']);
        copy_short(bytes, at.add(header));
        at.add(header + len).cast::<[u8; 2]>().write(*b"\r\n");
        out.set_len(end);
    }
}

/// The same for lengths of three digits and more.
#[cold]
fn push_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(bytes.len()).as_bytes();
    out.reserve(bytes.len().saturating_add(24));
    out.push(b'$');
    out.extend_from_slice(digits);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Copies bytes, most often few, in pieces of a fixed size, of which the last may overlap the one before it:
///
/// ```text
/// 21 bytes   |---- 16 ----|
///                  |---- 16 ----|
/// ```
///
/// # Safety
/// `to` has room for them, elsewhere.
#[inline]
pub(super) unsafe fn copy_short(bytes: &[u8], to: *mut u8) {
    let (from, len) = (bytes.as_ptr(), bytes.len());
    if len > SHORT {
        // SAFETY: by the caller's promise.
        return unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }
    // SAFETY: each piece lies within the `len` bytes on both sides; by the caller's promise.
    unsafe {
        match len {
            16.. => {
                let mut at = 0;
                while at + 16 < len {
                    to.add(at).cast::<[u8; 16]>().write(from.add(at).cast::<[u8; 16]>().read());
                    at += 16;
                }
                to.add(len - 16).cast::<[u8; 16]>().write(from.add(len - 16).cast::<[u8; 16]>().read());
            }
            8.. => {
                let (head, tail) =
                    (from.cast::<[u8; 8]>().read(), from.add(len - 8).cast::<[u8; 8]>().read());
                to.cast::<[u8; 8]>().write(head);
                to.add(len - 8).cast::<[u8; 8]>().write(tail);
            }
            4.. => {
                let (head, tail) =
                    (from.cast::<[u8; 4]>().read(), from.add(len - 4).cast::<[u8; 4]>().read());
                to.cast::<[u8; 4]>().write(head);
                to.add(len - 4).cast::<[u8; 4]>().write(tail);
            }
            _ => {
                for at in 0..len {
                    to.add(at).write(from.add(at).read());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_length_are_written_whole() {
        let text: Vec<u8> = (0..=255u8).collect();
        let mut out = b"before".to_vec();
        let mut expected = out.clone();
        for len in (0..=150).chain([0, 9, 10, 99, 100, 255]) {
            // From the buffer's point of view: with no room, with just some, and with plenty.
            if len % 3 == 0 {
                out.shrink_to_fit();
            }
            push_bulk(&mut out, &text[..len]);
            expected.extend(format!("${len}\r\n").bytes().chain(text[..len].iter().copied()).chain(*b"\r\n"));
            assert_eq!(out, expected, "of length {len}");
        }
    }
}
