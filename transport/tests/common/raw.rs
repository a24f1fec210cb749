//! A QUIC client without Teff's manners: whatever it writes is written by the test.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, StreamId, TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};
use rkyv::util::AlignedVec;
use rustls::{RootCertStore, crypto::ring};
use teff_transport::{ALPN, Identity};
use teff_wire::{FrameType, Header, Hello, Incarnation, NodeId, ShardId, Version, Writer};

pub struct RawPeer {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    pub connection: Connection,
    socket: UdpSocket,
    pub connected: bool,
    pub lost: Option<ConnectionError>,
    /// What the peer wrote on the stream.
    pub received: Vec<u8>,
    pub stream: Option<StreamId>,
}

/// A rustls configuration that shows this certificate, or none.
pub fn tls(trusted: &Identity, shown: Option<&Identity>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in trusted.authorities() {
        roots.add(authority.clone()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(shown) => config
            .with_client_auth_cert(shown.chain().to_vec(), shown.key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// The hello of a node in good order.
pub fn hello(node: NodeId) -> Hello {
    Hello {
        version: Version::CURRENT,
        cluster: super::CLUSTER.to_owned(),
        node,
        incarnation: Incarnation(1),
        shards: 1,
        from_shard: ShardId(0),
        to_shard: ShardId(0),
        placement: 42,
        link: 1,
        resumes: Incarnation(0),
        taken_in: 0,
        kinds: Vec::new(),
    }
}

/// A hello as the bytes of its frame.
pub fn hello_frame(hello: &Hello) -> Vec<u8> {
    frame(&Header::new(FrameType::Hello), |out| {
        hello.encode(out).unwrap();
    })
}

/// Any frame without a key as bytes.
pub fn frame(header: &Header, payload: impl FnOnce(&mut AlignedVec<16>)) -> Vec<u8> {
    let mut writer = Writer::new(1 << 20, 16);
    let written = writer.frame(header, None, |out| {
        payload(out);
        Ok::<(), ()>(())
    });
    written.unwrap();
    writer.take().to_vec()
}

impl RawPeer {
    pub fn dial(now: Instant, address: SocketAddr, name: &str, tls: rustls::ClientConfig) -> Self {
        let plain = TransportConfig::default();
        Self::dial_with(Ipv4Addr::LOCALHOST, now, (address, name), (tls, plain))
    }

    pub fn dial_from(
        from: Ipv4Addr,
        now: Instant,
        (address, name): (SocketAddr, &str),
        tls: rustls::ClientConfig,
    ) -> Self {
        let plain = TransportConfig::default();
        Self::dial_with(from, now, (address, name), (tls, plain))
    }

    pub fn dial_with(
        from: Ipv4Addr,
        now: Instant,
        (address, name): (SocketAddr, &str),
        (tls, transport): (rustls::ClientConfig, TransportConfig),
    ) -> Self {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let config = Arc::new(EndpointConfig::default());
        let mut endpoint = Endpoint::new(config, None, false, None);
        let tls = QuicClientConfig::try_from(tls).unwrap();
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        let (handle, connection) = endpoint.connect(now, config, address, name).unwrap();
        Self {
            endpoint,
            handle,
            connection,
            socket,
            connected: false,
            lost: None,
            received: Vec::new(),
            stream: None,
        }
    }

    pub fn step(&mut self, now: Instant) {
        self.receive(now);
        self.connection.handle_timeout(now);
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                _ => {}
            }
        }
        self.read();
        self.send(now);
    }

    /// Sends what there is to send, and looks at nothing.
    pub fn send(&mut self, now: Instant) {
        let mut packets = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(now, 1, &mut packets) {
            self.socket
                .send_to(&packets[..transmit.size], transmit.destination)
                .unwrap();
            packets.clear();
        }
    }

    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            let bytes = BytesMut::from(&buffer[..len]);
            let event = self
                .endpoint
                .handle(now, from, None, None, bytes, &mut Vec::new());
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                self.connection.handle_event(event);
            }
        }
    }

    fn read(&mut self) {
        let Some(stream) = self.stream else { return };
        let mut stream = self.connection.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else {
            return;
        };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.received.extend_from_slice(&chunk.bytes);
        }
        let _ = chunks.finalize();
    }

    /// Writes on the link's stream, which is opened first if need be.
    pub fn write(&mut self, bytes: &[u8]) {
        let stream = *self
            .stream
            .get_or_insert_with(|| self.connection.streams().open(Dir::Bi).unwrap());
        let written = self.connection.send_stream(stream).write(bytes).unwrap();
        assert_eq!(written, bytes.len(), "tests write less than a window");
    }

    /// The code of the application that the peer closed with.
    pub fn close_code(&self) -> Option<u64> {
        match &self.lost {
            Some(ConnectionError::ApplicationClosed(close)) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }

    pub fn close(&mut self, now: Instant, code: u32) {
        self.connection
            .close(now, VarInt::from_u32(code), Bytes::new());
    }
}
