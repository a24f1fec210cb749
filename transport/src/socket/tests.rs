//! Ports are held against other processes, and datagrams reach the socket they are for.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use teff_wire::ShardId;

use super::*;
use crate::steering::{first_cid, shard_of};

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Receives until `count` datagrams are there.
fn receive(socket: &Socket, count: usize) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    let mut datagrams = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while datagrams.len() < count && Instant::now() < deadline {
        for index in 0..socket.receive(&mut batch).unwrap() {
            let (meta, bytes) = batch.get(index);
            datagrams.extend(bytes.chunks(meta.stride.max(1)).map(<[u8]>::to_vec));
        }
    }
    datagrams
}

fn transmit<'a>(
    to: &Socket,
    contents: &'a [u8],
    segment: Option<usize>,
) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination: to.local_addr(),
        ecn: None,
        contents,
        segment_size: segment,
        src_ip: None,
    }
}

#[test]
fn a_held_port_cannot_be_taken_twice() {
    let held = Listener::bind(loopback()).unwrap();
    let address = held.local_addr();
    let again = Listener::bind(address);
    assert!(matches!(again, Err(ListenError::InUse { address: a }) if a == address));
    let sockets = held.into_sockets(2).unwrap();
    assert!(matches!(
        Listener::bind(address),
        Err(ListenError::InUse { .. })
    ));
    drop(sockets);
    Listener::bind(address).unwrap();
}

#[test]
fn a_port_of_a_process_that_shares_it_cannot_be_taken() {
    let other = open(loopback()).unwrap();
    other.set_reuse_port(true).unwrap();
    other.bind(&loopback().into()).unwrap();
    let address = local_address(&other).unwrap();
    assert!(matches!(
        Listener::bind(address),
        Err(ListenError::InUse { .. })
    ));
}

#[test]
fn an_address_of_another_machine_cannot_be_taken() {
    let address = SocketAddr::from(([192, 0, 2, 1], 0));
    assert!(matches!(
        Listener::bind(address),
        Err(ListenError::Bind { .. })
    ));
}

#[test]
fn a_node_without_shards_has_no_sockets() {
    let listener = Listener::bind(loopback()).unwrap();
    assert!(matches!(
        listener.into_sockets(0),
        Err(ListenError::NoShards)
    ));
}

#[test]
fn the_kernel_steers_every_datagram_to_its_shard() {
    const SHARDS: u16 = 3;
    for address in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
        let Ok(listener) = Listener::bind(address) else {
            assert!(address.is_ipv6(), "only IPv6 may be missing");
            continue;
        };
        let sockets = listener.into_sockets(SHARDS).unwrap();
        let sender = UdpSocket::bind(address).unwrap();
        let mut sent = [0; SHARDS as usize];
        for number in 0..30_u16 {
            let cid = first_cid(ShardId(number % SHARDS));
            let mut datagram = vec![0xc0, 0, 0, 0, 1, 20];
            datagram.extend_from_slice(&cid);
            datagram.extend_from_slice(&number.to_be_bytes());
            // Every other one with a short header, random bits in its first byte.
            if number % 2 == 1 {
                datagram[5] = 0x40 | number as u8;
                datagram.remove(0);
                datagram.drain(..4);
            }
            sender.send_to(&datagram, sockets[0].local_addr()).unwrap();
            sent[usize::from(shard_of(&datagram, SHARDS).0)] += 1;
        }
        assert_eq!(sent, [10; SHARDS as usize]);
        for (shard, socket) in sockets.iter().enumerate() {
            let datagrams = receive(socket, sent[shard]);
            assert_eq!(datagrams.len(), sent[shard]);
            for datagram in datagrams {
                assert_eq!(usize::from(shard_of(&datagram, SHARDS).0), shard);
            }
        }
    }
}

#[test]
fn a_batch_arrives_as_its_datagrams() {
    let sockets: Vec<_> = (0..2)
        .flat_map(|_| Listener::bind(loopback()).unwrap().into_sockets(1).unwrap())
        .collect();
    let bytes: Vec<u8> = (0..2500).map(|i| (i / 1000) as u8).collect();
    let batch = transmit(&sockets[1], &bytes, Some(1000));
    assert_eq!(sockets[0].send(&batch), Sent::Whole);
    assert_eq!(sockets[0].send_each(&batch), Sent::Whole);
    let datagrams = receive(&sockets[1], 6);
    let sizes: Vec<_> = datagrams.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1000, 1000, 500, 1000, 1000, 500]);
    assert_eq!(datagrams.concat(), [&bytes[..], &bytes[..]].concat());
}

#[test]
fn a_datagram_that_is_too_large_is_lost_and_nothing_else() {
    let sockets: Vec<_> = (0..2)
        .flat_map(|_| Listener::bind(loopback()).unwrap().into_sockets(1).unwrap())
        .collect();
    let bytes = vec![0; 70_000];
    assert_eq!(
        sockets[0].send(&transmit(&sockets[1], &bytes, None)),
        Sent::Lost
    );
    assert_eq!(
        sockets[0].send(&transmit(&sockets[1], &bytes[..8], None)),
        Sent::Whole
    );
    assert_eq!(receive(&sockets[1], 1), [vec![0; 8]]);
}

#[test]
fn nobody_there_is_not_an_error() {
    let [sender] = Listener::bind(loopback())
        .unwrap()
        .into_sockets(1)
        .unwrap()
        .try_into()
        .unwrap();
    let [gone]: [Socket; 1] = Listener::bind(loopback())
        .unwrap()
        .into_sockets(1)
        .unwrap()
        .try_into()
        .unwrap();
    let address = gone.local_addr();
    drop(gone);
    let transmit = quinn_udp::Transmit {
        destination: address,
        ecn: None,
        contents: b"hello",
        segment_size: None,
        src_ip: None,
    };
    for _ in 0..3 {
        assert_ne!(sender.send(&transmit), Sent::Full);
        assert_eq!(sender.receive(&mut Batch::new()).unwrap(), 0);
    }
}
