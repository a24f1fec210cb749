//! One line of a web server's log, in the common or the combined format:
//!
//! ```text
//! host ident user [time] "request" status bytes
//! host ident user [time] "request" status bytes "referer" "agent"
//! ```
//!
//! Fields are separated by one space each. `host`, `ident` and `user` have no spaces, `time` no
//! `]`. In quotes a backslash keeps the character after it from ending the text. A request has at
//! least two words, separated by one space each; the second is the path, as written and with its
//! query. The status has three digits; `bytes` is a number, or `-` for none.
//!
//! Servers cut lines that are too long for them, which takes the end of the agent, so its closing
//! quote may be missing. A line that is anything else is not in the format: there is no guessing.

/// What a line says that this program counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The client, as the server wrote it: an address or a name.
    pub client: &'a str,
    /// The path, as the client wrote it.
    pub path: &'a str,
    /// The three digits of the status, as a number.
    pub status: u16,
    /// The size of the answer in bytes.
    pub bytes: u64,
}

impl<'a> Entry<'a> {
    /// Reads a line without its line feed; `None` if it is not in the format.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let (client, rest) = word(line)?;
        let (_ident, rest) = word(rest)?;
        let (_user, rest) = word(rest)?;
        let (_time, rest) = rest.strip_prefix('[')?.split_once("] ")?;
        let (request, rest) = quoted(rest)?;
        let path = path(request)?;
        let (status, rest) = word(rest.strip_prefix(' ')?)?;
        let status = status_code(status)?;
        let (bytes, rest) = match rest.split_once(' ') {
            Some((bytes, rest)) => (bytes, Some(rest)),
            None => (rest, None),
        };
        let bytes = if bytes == "-" { 0 } else { number(bytes)? };
        if let Some(rest) = rest {
            let (_referer, rest) = quoted(rest)?;
            if !is_agent(rest.strip_prefix(' ')?) {
                return None;
            }
        }
        Some(Self {
            client,
            path,
            status,
            bytes,
        })
    }
}

/// A word of at least one character, and what comes after the space behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(word, _)| !word.is_empty())
}

/// A text in quotes, as written between them, and what comes after.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Whether this is one text in quotes, perhaps without its end.
fn is_agent(text: &str) -> bool {
    match quoted(text) {
        Some((_, rest)) => rest.is_empty(),
        None => text.starts_with('"') && !text.ends_with('\r'),
    }
}

fn path(request: &str) -> Option<&str> {
    let (_method, rest) = word(request)?;
    let path = rest.split(' ').next()?;
    Some(path).filter(|path| !path.is_empty())
}

fn status_code(text: &str) -> Option<u16> {
    if text.len() == 3 {
        number(text)?.try_into().ok()
    } else {
        None
    }
}

// `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(client: &'a str, path: &'a str, status: u16, bytes: u64) -> Option<Entry<'a>> {
        Some(Entry {
            client,
            path,
            status,
            bytes,
        })
    }

    fn parse(line: &str) -> Option<Entry<'_>> {
        Entry::parse(line.as_bytes())
    }

    #[test]
    fn the_common_and_the_combined_format_are_read() {
        let common = r#"192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326"#;
        assert_eq!(parse(common), entry("192.0.2.1", "/a.gif", 200, 2326));
        let combined = format!(r#"{common} "http://example.org/" "Mozilla/5.0 (X11)""#);
        assert_eq!(parse(&combined), entry("192.0.2.1", "/a.gif", 200, 2326));
        let empty_quotes = format!(r#"{common} "" "-""#);
        assert_eq!(
            parse(&empty_quotes),
            entry("192.0.2.1", "/a.gif", 200, 2326)
        );
    }

    #[test]
    fn fields_are_taken_as_written() {
        let cases = [
            (
                r#"2001:db8::1 - ann [t] "HEAD / HTTP/2" 204 0"#,
                entry("2001:db8::1", "/", 204, 0),
            ),
            (
                r#"web.example - - [t] "GET /x?a=b HTTP/1" 304 -"#,
                entry("web.example", "/x?a=b", 304, 0),
            ),
            // A request of HTTP/0.9 has two words.
            (
                r#"192.0.2.1 - - [t] "GET /old" 200 5"#,
                entry("192.0.2.1", "/old", 200, 5),
            ),
            (
                r#"192.0.2.1 - - [t] "GET /a b HTTP/1" 400 5"#,
                entry("192.0.2.1", "/a", 400, 5),
            ),
            (
                r#"192.0.2.1 - - [] "OPTIONS * x" 200 5"#,
                entry("192.0.2.1", "*", 200, 5),
            ),
            (
                r#"192.0.2.1 - - [t] "G /\"q\" H" 200 5"#,
                entry("192.0.2.1", r#"/\"q\""#, 200, 5),
            ),
            (
                r#"192.0.2.1 - - [t] "G /\\" 200 5"#,
                entry("192.0.2.1", r"/\\", 200, 5),
            ),
            (
                r#"192.0.2.1 - - [t] "G / H" 200 5 "a\"b" "c\\""#,
                entry("192.0.2.1", "/", 200, 5),
            ),
            (
                "192.0.2.1 - - [t] \"G /gr\u{fc}n H\" 200 5",
                entry("192.0.2.1", "/gr\u{fc}n", 200, 5),
            ),
            // The server has cut the line.
            (
                r#"192.0.2.1 - - [t] "G / H" 200 5 "a" "b"#,
                entry("192.0.2.1", "/", 200, 5),
            ),
            (
                r#"192.0.2.1 - - [t] "G / H" 007 00"#,
                entry("192.0.2.1", "/", 7, 0),
            ),
            (
                r#"192.0.2.1 - - [t] "G / H" 200 18446744073709551615"#,
                entry("192.0.2.1", "/", 200, u64::MAX),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn anything_else_is_not_in_the_format() {
        let lines = [
            "",
            "\r",
            " ",
            "192.0.2.1",
            "# a comment",
            // Fields are missing, one after the other.
            r#" - - [t] "G / H" 200 5"#,
            r#"192.0.2.1 - [t] "G / H" 200 5"#,
            r#"192.0.2.1 - - "G / H" 200 5"#,
            r#"192.0.2.1 - - [t 200 5"#,
            r#"192.0.2.1 - - [t] 200 5"#,
            r#"192.0.2.1 - - [t] "G / H" 200"#,
            r#"192.0.2.1 - - [t] "G / H" 200 "#,
            r#"192.0.2.1 - - [t] "G / H" 5"#,
            r#"192.0.2.1 - - [t] "G / H""#,
            r#"192.0.2.1 - - [t] "G / H" 200 5 "only a referer""#,
            r#"192.0.2.1 - - [t] "G / H" 200 5 "#,
            // A request of one word, or none.
            r#"192.0.2.1 - - [t] "-" 408 0"#,
            r#"192.0.2.1 - - [t] "" 408 0"#,
            r#"192.0.2.1 - - [t] "GET" 400 0"#,
            r#"192.0.2.1 - - [t] "GET " 400 0"#,
            r#"192.0.2.1 - - [t] "GET  / HTTP/1.1" 400 0"#,
            r#"192.0.2.1 - - [t] " / HTTP/1.1" 400 0"#,
            // Numbers that are none.
            r#"192.0.2.1 - - [t] "G / H" 20 5"#,
            r#"192.0.2.1 - - [t] "G / H" 2000 5"#,
            r#"192.0.2.1 - - [t] "G / H" 2x0 5"#,
            r#"192.0.2.1 - - [t] "G / H" +20 5"#,
            r#"192.0.2.1 - - [t] "G / H" 200 +5"#,
            r#"192.0.2.1 - - [t] "G / H" 200 -5"#,
            r#"192.0.2.1 - - [t] "G / H" 200 5k"#,
            r#"192.0.2.1 - - [t] "G / H" 200 18446744073709551616"#,
            // Quotes that do not end, or not where they should.
            r#"192.0.2.1 - - [t] "G / H 200 5"#,
            r#"192.0.2.1 - - [t] "G / H\" 200 5"#,
            r#"192.0.2.1 - - [t] "G / H"x 200 5"#,
            "192.0.2.1 - - [t] \"G / H\" 200 5 \"a\" \"b\r",
            r#"192.0.2.1 - - [t] "G / H" 200 5 "a"b" "c""#,
            r#"192.0.2.1 - - [t] "G / H" 200 5 "a" "b" "c""#,
            // More space than there should be.
            r#"192.0.2.1  - - [t] "G / H" 200 5"#,
            r#"192.0.2.1 - - [t]  "G / H" 200 5"#,
            r#"192.0.2.1 - - [t] "G / H" 200 5 "a"  "b""#,
            // Carriage returns.
            "192.0.2.1 - - [t] \"G / H\" 200 5\r",
            "192.0.2.1 - - [t] \"G / H\" 200 -\r",
            "192.0.2.1 - - [t] \"G / H\" 200 5 \"a\" \"b\"\r",
        ];
        for line in lines {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_not_in_the_format() {
        let mut line = br#"192.0.2.1 - - [t] "G /x H" 200 5"#.to_vec();
        assert!(Entry::parse(&line).is_some());
        let at = line.iter().position(|byte| *byte == b'x').unwrap();
        line[at] = 0xff;
        assert_eq!(Entry::parse(&line), None);
    }
}
