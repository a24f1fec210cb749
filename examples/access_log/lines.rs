//! The lines of a log in bounded memory, however long they are.
//!
//! A line ends with a line feed, or with the input. Of a line longer than [`LINE_MAX`] nothing is
//! kept but that it was there.

use std::io::{self, BufRead};

/// The longest line that is looked at, in bytes without its line feed.
pub(crate) const LINE_MAX: usize = 1 << 20;

/// Reads lines one after the other into one buffer.
pub(crate) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    consumed: u64,
}

/// One line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, perhaps none.
    Bytes(&'a [u8]),
    /// It has more than [`LINE_MAX`] bytes.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            consumed: 0,
        }
    }

    /// Bytes taken from the input so far.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Waits until the input has something or ends, so that one that cannot be read says so.
    pub(crate) fn probe(&mut self) -> io::Result<()> {
        fill(&mut self.input).map(|_| ())
    }

    /// The next line, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut len = 0;
        loop {
            let chunk = fill(&mut self.input)?;
            if chunk.is_empty() && len == 0 {
                return Ok(None);
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            len += part.len();
            if len <= LINE_MAX {
                self.line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            let is_over = end.is_some() || chunk.is_empty();
            self.input.consume(taken);
            self.consumed += taken as u64;
            if is_over {
                let line = if len <= LINE_MAX {
                    Line::Bytes(&self.line)
                } else {
                    Line::TooLong
                };
                return Ok(Some(line));
            }
        }
    }
}

// A signal is no reason to stop reading.
fn fill<R: BufRead>(input: &mut R) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What was filled is handed out again without reading.
    input.fill_buf()
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn lines_of(text: &[u8]) -> Vec<Option<Vec<u8>>> {
        // A tiny buffer, so that lines span several reads.
        let mut lines = Lines::new(BufReader::with_capacity(3, text));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Bytes(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.consumed(), text.len() as u64);
        all
    }

    #[test]
    fn lines_end_with_a_line_feed_or_the_input() {
        let line = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(lines_of(b""), []);
        assert_eq!(lines_of(b"one line"), [line("one line")]);
        assert_eq!(lines_of(b"one line\n"), [line("one line")]);
        assert_eq!(
            lines_of(b"\n\nabc\r\n\n"),
            [line(""), line(""), line("abc\r"), line("")]
        );
        assert_eq!(
            lines_of(b"abc\ndefghi\nj"),
            [line("abc"), line("defghi"), line("j")]
        );
    }

    #[test]
    fn the_longest_line_is_read_and_a_longer_one_is_not() {
        let mut text = vec![b'a'; LINE_MAX];
        text.push(b'\n');
        text.extend(vec![b'b'; LINE_MAX + 1]);
        text.extend(b"\nnext");
        let lines = lines_of(&text);
        assert_eq!(lines[0].as_ref().map(Vec::len), Some(LINE_MAX));
        assert_eq!(lines[1..], [None, Some(b"next".to_vec())]);
    }

    #[test]
    fn a_huge_line_needs_little_memory() {
        let huge = io::repeat(b'x').take(64 << 20);
        let input = huge.chain(&b"\nnext\n"[..]);
        let mut lines = Lines::new(BufReader::new(input));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert!(
            lines.line.capacity() <= 2 * LINE_MAX,
            "{} bytes",
            lines.line.capacity()
        );
        assert_eq!(lines.next().unwrap(), Some(Line::Bytes(b"next")));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn an_input_that_fails_says_so_and_an_interrupted_one_goes_on() {
        struct Flaky(Vec<io::ErrorKind>);
        impl Read for Flaky {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if let Some(kind) = self.0.pop() {
                    return Err(kind.into());
                }
                into[0] = b'x';
                Ok(1)
            }
        }
        let read = |errors| Lines::new(BufReader::new(Flaky(errors))).probe();
        assert!(read(vec![io::ErrorKind::Interrupted, io::ErrorKind::Interrupted]).is_ok());
        assert!(read(vec![io::ErrorKind::PermissionDenied]).is_err());
    }
}
