//! Splits a stream of bytes into log lines.

/// Maximum length of a line in bytes, the same as for a log line of an execution. Longer lines are split. Bounds the host
/// memory for a guest that never writes a line break.
pub(super) const MAX_LINE_BYTES: usize = crate::replay::execution::MAX_LOG_LINE_BYTES;

/// Bytes written since the last line break.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    pending: Vec<u8>,
}

impl LineBuffer {
    /// Adds bytes, and passes on the lines that they complete, without line breaks.
    pub(super) fn write(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = MAX_LINE_BYTES - self.pending.len();
            let end = bytes.iter().take(room + 1).position(|&byte| byte == b'\n');
            let (taken, rest) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None if bytes.len() > room => bytes.split_at(room),
                None => {
                    self.pending.extend_from_slice(bytes);
                    return;
                }
            };
            self.pending.extend_from_slice(taken);
            bytes = rest;
            self.hand_out(&mut line);
        }
    }

    /// Passes on the rest, when no more bytes follow.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.hand_out(&mut line);
        }
    }

    fn hand_out(&mut self, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.pending);
        line(text.trim_end_matches('\r'));
        drop(text);
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(writes: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for bytes in writes {
            buffer.write(bytes, |line| lines.push(line.to_owned()));
        }
        buffer.finish(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_do_not_depend_on_how_they_are_written() {
        assert_eq!(
            lines(&[b"a", b"b\nc", b"\r\n", b"\n", b"rest"]),
            ["ab", "c", "", "rest"]
        );
        assert_eq!(
            lines(&[b"\xc3", b"\xa9\n"]),
            ["é"],
            "a character may be split between two writes"
        );
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
        assert_eq!(lines(&[b"", b"\n"]), [""]);
    }

    #[test]
    fn a_line_without_an_end_is_split() {
        let long = vec![b'x'; 2 * MAX_LINE_BYTES + 5];
        let lines = lines(&[&long[..10], &long[10..]]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
        );
        let exact = [&vec![b'x'; MAX_LINE_BYTES][..], b"\n"].concat();
        let mut buffer = LineBuffer::default();
        let mut count = 0;
        buffer.write(&exact, |line| {
            assert_eq!(line.len(), MAX_LINE_BYTES);
            count += 1;
        });
        assert_eq!(count, 1);
    }
}
