//! The raw limit between processes: quinn-proto over quinn-udp in a busy loop, and nothing else.
//!
//! One end in each process, in the thread of the shard that it is the limit of. Both ends have the
//! settings of Teff's links (see [`config`]); whatever is not needed for speed is left out: bytes
//! are made once and sent again and again, they are counted but not looked at, and nobody sleeps.
//! An exchange is one stream: the near end writes, then finishes it; the far end answers, then
//! finishes it too. Nothing is under way between exchanges, so that neither end misses the other
//! while its shard does something else.

mod config;
mod exchange;
mod io;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ReadError, StreamEvent, StreamId, WriteError,
};
use teff::Identity;

pub(crate) use self::exchange::Reply;
use self::io::Udp;

/// One end of a connection.
pub(crate) struct Quic {
    udp: Udp,
    endpoint: Endpoint,
    /// None at the far end, before it was called for the first time.
    connection: Option<(ConnectionHandle, Connection)>,
    /// The stream whose last byte the peer has acknowledged most recently.
    finished: Option<StreamId>,
    /// When it is hopeless to go on.
    deadline: Instant,
}

/// What reading a stream gave.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    bytes: u64,
    is_over: bool,
}

impl Quic {
    /// The far end, on a port of its own.
    pub(crate) fn listen(identity: &Identity) -> anyhow::Result<Self> {
        let server = config::server(identity)?;
        let endpoint = Endpoint::new(endpoint_config()?, Some(Arc::new(server)), true, None);
        Self::new(endpoint)
    }

    /// The near end, which calls this name at this address.
    pub(crate) fn dial(
        identity: &Identity,
        (address, name): (SocketAddr, &str),
    ) -> anyhow::Result<Self> {
        let client: ClientConfig = config::client(identity)?;
        let mut this = Self::new(Endpoint::new(endpoint_config()?, None, true, None))?;
        let dialled = this.endpoint.connect(Instant::now(), client, address, name);
        this.connection = Some(dialled.context("the raw connection cannot be dialled")?);
        Ok(this)
    }

    fn new(endpoint: Endpoint) -> anyhow::Result<Self> {
        Ok(Self {
            udp: Udp::bind()?,
            endpoint,
            connection: None,
            finished: None,
            deadline: Instant::now(),
        })
    }

    /// The address of this end.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.udp.address()
    }

    /// Begins an exchange that should take this long.
    fn begin(&mut self, time: Duration) {
        self.deadline = Instant::now() + time * 3 + PATIENCE;
        self.finished = None;
    }

    /// Takes in what has arrived and what is due, and gives the time that it is.
    fn take_in(&mut self) -> anyhow::Result<Instant> {
        let now = Instant::now();
        for batch in 0..self.udp.receive()? {
            self.deliver(now, batch)?;
        }
        ensure!(now < self.deadline, "a raw exchange did not end in time");
        let Some((handle, connection)) = &mut self.connection else {
            return Ok(now);
        };
        if connection.poll_timeout().is_some_and(|due| due <= now) {
            connection.handle_timeout(now);
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::ConnectionLost { reason } => {
                    return Err(reason).context("the raw connection broke");
                }
                Event::Stream(StreamEvent::Finished { id }) => self.finished = Some(id),
                _ => {}
            }
        }
        Ok(now)
    }

    /// Hands the datagrams of a batch to QUIC.
    fn deliver(&mut self, now: Instant, batch: usize) -> anyhow::Result<()> {
        let (from, mut bytes) = self.udp.batch(batch);
        while !bytes.is_empty() {
            let datagram = bytes.split_to(from.stride.min(bytes.len()));
            let (address, local_ip, ecn) = (from.address, from.local_ip, from.ecn);
            let answer = self.udp.answer();
            let handled = self
                .endpoint
                .handle(now, address, local_ip, ecn, datagram, answer);
            match (handled, &mut self.connection) {
                (Some(DatagramEvent::ConnectionEvent(_, event)), Some((_, connection))) => {
                    connection.handle_event(event);
                }
                (Some(DatagramEvent::NewConnection(incoming)), None) => {
                    // Who has not proved its address may be sent less than one full datagram.
                    if !incoming.remote_address_validated() {
                        let retried = self.endpoint.retry(incoming, answer);
                        let transmit = retried.context("a raw caller cannot be asked again")?;
                        self.udp.send_answer(&transmit);
                        continue;
                    }
                    let accepted = self.endpoint.accept(incoming, now, answer, None);
                    let accepted = accepted.map_err(|error| error.cause);
                    self.connection = Some(accepted.context("a raw handshake failed")?);
                }
                (Some(DatagramEvent::NewConnection(incoming)), Some(_)) => {
                    self.endpoint.ignore(incoming);
                }
                (Some(DatagramEvent::Response(transmit)), _) => self.udp.send_answer(&transmit),
                (Some(DatagramEvent::ConnectionEvent(..)) | None, _) => {}
            }
        }
        Ok(())
    }

    /// Sends what is to be sent.
    fn flush(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection {
            self.udp.flush(now, connection);
        }
    }

    fn connection(&mut self) -> anyhow::Result<&mut Connection> {
        let connection = self.connection.as_mut().map(|(_, connection)| connection);
        connection.context("the raw connection is not up")
    }

    /// Opens the stream of an exchange, as soon as the handshake allows it.
    fn open(&mut self) -> anyhow::Result<StreamId> {
        loop {
            let now = self.take_in()?;
            if let Some(stream) = self.connection()?.streams().open(Dir::Bi) {
                return Ok(stream);
            }
            self.flush(now);
        }
    }

    /// Waits for the stream of an exchange.
    fn accept(&mut self) -> anyhow::Result<StreamId> {
        loop {
            let now = self.take_in()?;
            if let Some((_, connection)) = &mut self.connection
                && let Some(stream) = connection.streams().accept(Dir::Bi)
            {
                return Ok(stream);
            }
            self.flush(now);
        }
    }

    /// Hands over as much of these bytes as there is room for. What is left stays.
    fn write(&mut self, stream: StreamId, bytes: &mut Bytes) -> anyhow::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut stream = self.connection()?.send_stream(stream);
        match stream.write_chunks(std::slice::from_mut(bytes)) {
            Ok(_) | Err(WriteError::Blocked) => Ok(()),
            Err(error) => Err(error).context("a raw stream cannot be written"),
        }
    }

    fn finish(&mut self, stream: StreamId) -> anyhow::Result<()> {
        let finished = self.connection()?.send_stream(stream).finish();
        finished.context("a raw stream cannot be finished")
    }

    /// Reads what is there and gives it to `each`. Not to be called when the stream is over.
    fn read(&mut self, stream: StreamId, mut each: impl FnMut(&[u8])) -> anyhow::Result<Read> {
        let mut stream = self.connection()?.recv_stream(stream);
        let mut chunks = stream.read(true).context("a raw stream cannot be read")?;
        let mut read = Read::default();
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    read.bytes += chunk.bytes.len() as u64;
                    each(&chunk.bytes);
                }
                Ok(None) => {
                    read.is_over = true;
                    break;
                }
                Err(ReadError::Blocked) => break,
                Err(ReadError::Reset(code)) => bail!("a raw stream was reset: {code}"),
            }
        }
        // What there is to tell the peer leaves with the next flush in any case.
        let _ = chunks.finalize();
        Ok(read)
    }
}

fn endpoint_config() -> anyhow::Result<Arc<EndpointConfig>> {
    let mut config = EndpointConfig::default();
    let size = config.max_udp_payload_size(MAX_UDP_PAYLOAD);
    size.context("QUIC does not take the largest payload of UDP")?;
    Ok(Arc::new(config))
}

/// Whatever UDP can carry.
const MAX_UDP_PAYLOAD: u16 = 65_527;

/// Beyond the time that an exchange should take.
const PATIENCE: Duration = Duration::from_secs(10);
