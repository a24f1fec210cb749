//! The grains: one per client, one per path, one per status.
//!
//! A hit goes to its client's grain, which counts it and tells the path's and the status's grain.
//! It waits where a queue on the way is full, so nothing is lost for want of room; while it waits,
//! hits for it queue up in its mailbox. [`MAILBOX`] is how many may.

use std::time::Duration;

use teff::{Builder, Ctx, TellError, grain, message};

use crate::key;

/// How many messages wait for a client's grain that itself waits. Whoever tells clients must not
/// have more than this under way to one of them.
pub(crate) const MAILBOX: usize = 1024;

/// How long a message waits for room, or a call for its reply, before something must be wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request, as its client's grain is told of it.
#[message]
pub(crate) struct Hit {
    /// The client, if the grain's key does not say it.
    pub client: Option<String>,
    pub path: String,
    pub status: u16,
    pub bytes: u64,
}

/// What a grain has counted, and where it lives.
#[message]
#[derive(Debug)]
pub(crate) struct Tally {
    /// The client, path or status.
    pub name: String,
    pub requests: u64,
    pub bytes: u64,
    pub node: u16,
    pub shard: u16,
}

/// What a client's grain has counted and told others.
#[message]
#[derive(Debug)]
pub(crate) struct ClientTally {
    pub tally: Tally,
    /// How many messages to paths were accepted.
    pub paths_told: u64,
    /// How many to statuses.
    pub statuses_told: u64,
    /// How many of either were not.
    pub untold: u64,
    /// Why the last of those was not.
    pub error: Option<String>,
}

/// Adds the three kinds to what a node hosts.
pub(crate) fn host(node: Builder) -> Builder {
    node.kind(ClientRef::kind::<Client>())
        .kind(PathRef::kind::<Path>())
        .kind(StatusRef::kind::<Status>())
        .mailbox_capacity(MAILBOX)
}

/// What all three count.
#[derive(Default)]
struct Count {
    /// The name, if the grain's key does not say it.
    name: Option<String>,
    requests: u64,
    bytes: u64,
}

#[derive(Default)]
pub(crate) struct Client {
    count: Count,
    paths_told: u64,
    statuses_told: u64,
    untold: u64,
    error: Option<TellError>,
}

#[derive(Default)]
pub(crate) struct Path(Count);

#[derive(Default)]
pub(crate) struct Status(Count);

#[grain]
impl Client {
    async fn hit(&mut self, ctx: &Ctx, hit: Hit) {
        let Hit {
            client,
            path,
            status,
            bytes,
        } = hit;
        self.count.add(client, bytes);
        let key = key::of(&path);
        let name = key::unsaid(&path, &key);
        let path: PathRef = ctx.grain(&key);
        match path.hit(name, bytes).timeout(PATIENCE).when_room().await {
            Ok(()) => self.paths_told += 1,
            Err(error) => self.fail(error),
        }
        let status: StatusRef = ctx.grain(status_key(status));
        match status.hit(bytes).timeout(PATIENCE).when_room().await {
            Ok(()) => self.statuses_told += 1,
            Err(error) => self.fail(error),
        }
    }

    fn tally(&mut self, ctx: &Ctx) -> ClientTally {
        ClientTally {
            tally: self.count.tally(ctx),
            paths_told: self.paths_told,
            statuses_told: self.statuses_told,
            untold: self.untold,
            error: self.error.as_ref().map(ToString::to_string),
        }
    }
}

#[grain]
impl Path {
    fn hit(&mut self, name: Option<String>, bytes: u64) {
        self.0.add(name, bytes);
    }

    fn tally(&mut self, ctx: &Ctx) -> Tally {
        self.0.tally(ctx)
    }
}

#[grain]
impl Status {
    fn hit(&mut self, bytes: u64) {
        self.0.add(None, bytes);
    }

    fn tally(&mut self, ctx: &Ctx) -> Tally {
        self.0.tally(ctx)
    }
}

impl Client {
    fn fail(&mut self, error: TellError) {
        self.untold += 1;
        self.error = Some(error);
    }
}

impl Count {
    fn add(&mut self, name: Option<String>, bytes: u64) {
        self.name = name.or_else(|| self.name.take());
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn tally(&self, ctx: &Ctx) -> Tally {
        Tally {
            name: self.name.clone().unwrap_or_else(|| ctx.key().to_owned()),
            requests: self.requests,
            bytes: self.bytes,
            node: ctx.node().0,
            shard: ctx.shard().0,
        }
    }
}

/// The key of a status: its three digits.
pub(crate) fn status_key(status: u16) -> String {
    format!("{status:03}")
}
