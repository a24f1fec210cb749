//! Reads the log and tells every hit to its client's grain.
//!
//! Telling waits where a queue is full, so reading goes as fast as the grains do. Of each client at
//! most [`WINDOW`] hits are under way, because a client's grain that waits keeps only so many.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::BufRead;

use anyhow::Context as _;
use teff::Node;

use crate::entry::Entry;
use crate::grains::{ClientRef, Hit, MAILBOX, PATIENCE};
use crate::key;
use crate::lines::{Line, Lines};
use crate::progress::Progress;

/// What the log held, as the reader saw it.
#[derive(Default)]
pub(crate) struct Read {
    /// Lines that are not empty.
    pub lines: u64,
    /// Those of them that are not in the format.
    pub unparsable: u64,
    /// Those of them that are.
    pub requests: u64,
    pub bytes: u64,
    /// The grains that were told, or will be.
    pub clients: Vec<ClientRef>,
    pub path_keys: HashSet<String>,
    pub statuses: BTreeSet<u16>,
}

/// The pump: what it has read so far, and which clients it knows.
struct Pump<'a> {
    node: &'a Node,
    read: Read,
    /// Where in `read.clients` a key is, and how many hits the client has had.
    clients: HashMap<String, (usize, u64)>,
}

/// Pumps the whole log.
pub(crate) fn pump<R: BufRead>(
    lines: &mut Lines<R>,
    node: &Node,
    progress: &Progress,
) -> anyhow::Result<Read> {
    let mut pump = Pump {
        node,
        read: Read::default(),
        clients: HashMap::new(),
    };
    while let Some(line) = lines.next().context("the log cannot be read to its end")? {
        pump.take(&line)?;
        if pump.read.lines.is_multiple_of(LINES_PER_REPORT) {
            progress.reading(lines.consumed(), pump.read.lines);
        }
    }
    progress.reading(lines.consumed(), pump.read.lines);
    Ok(pump.read)
}

impl Pump<'_> {
    fn take(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        let entry = match line {
            Line::Bytes([]) => return Ok(()),
            Line::Bytes(bytes) => Entry::parse(bytes),
            Line::TooLong => None,
        };
        self.read.lines += 1;
        match entry {
            Some(entry) => self.tell(&entry),
            None => {
                self.read.unparsable += 1;
                Ok(())
            }
        }
    }

    fn tell(&mut self, entry: &Entry<'_>) -> anyhow::Result<()> {
        self.read.requests += 1;
        self.read.bytes = self.read.bytes.saturating_add(entry.bytes);
        self.read.statuses.insert(entry.status);
        let path_key = key::of(entry.path);
        if !self.read.path_keys.contains(&*path_key) {
            self.read.path_keys.insert(path_key.into_owned());
        }
        let client_key = key::of(entry.client);
        let hit = Hit {
            client: key::unsaid(entry.client, &client_key),
            path: entry.path.to_owned(),
            status: entry.status,
            bytes: entry.bytes,
        };
        let (client, hits) = self.client(&client_key);
        let hit = client.hit(hit).timeout(PATIENCE);
        // A call instead of a tell: when it returns, everything before it has been handled.
        let told = if hits.is_multiple_of(WINDOW) {
            hit.wait().map_err(teff::Error::from)
        } else {
            hit.when_room().wait().map_err(teff::Error::from)
        };
        told.with_context(|| format!("the grain of client {} was not told", entry.client))
    }

    /// The grain of this key, and its hits with this one.
    fn client(&mut self, key: &str) -> (&ClientRef, u64) {
        // Most clients come more than once, so the key is only copied when it is new.
        let (at, hits) = if let Some((at, hits)) = self.clients.get_mut(key) {
            *hits += 1;
            (*at, *hits)
        } else {
            let at = self.read.clients.len();
            self.read.clients.push(self.node.grain(key));
            self.clients.insert(key.to_owned(), (at, 1));
            (at, 1)
        };
        (&self.read.clients[at], hits)
    }
}

/// Hits under way to one client: with its call for a tally they must fit into its mailbox.
const WINDOW: u64 = MAILBOX as u64 / 2;

/// How often the progress bar hears of it.
const LINES_PER_REPORT: u64 = 256;
