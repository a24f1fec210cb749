//! What cannot be provoked from outside: panics and a full socket.

use std::{net::Ipv4Addr, time::Duration};

use teff_wire::{Incarnation, KindId, MethodId};

use super::*;
use crate::{
    authority::Authority, event::Sent, name::ClusterName, settings::LocalNode, socket::Listener,
};

/// Endpoints of nodes 1, 2 and so on, one shard each.
fn endpoints<const N: usize>() -> [Endpoint; N] {
    let authority = Authority::new().expect("there are random numbers");
    std::array::from_fn(|index| {
        let node = NodeId(index as u16 + 1);
        let local = LocalNode {
            cluster: ClusterName::new("test").expect("the name is in order"),
            node,
            incarnation: Incarnation(1),
            shards: 1,
            placement: 1,
        };
        let identity = authority
            .issue("test", node)
            .expect("there are random numbers")
            .identity(&authority);
        let settings = Settings::new(local, &identity, |_| true).expect("the identity is good");
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let socket = listener
            .into_sockets(1)
            .expect("sockets are to be had")
            .remove(0);
        Endpoint::new(Arc::new(settings), ShardId(0), socket).expect("the shard exists")
    })
}

/// Drives all endpoints until `done`, which gets their events one by one.
fn drive<const N: usize>(
    endpoints: &mut [Endpoint; N],
    mut done: impl FnMut(usize, Event) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            let now = Instant::now();
            while endpoint.receive(now).expect("the socket can be read") > 0 {}
            endpoint.handle_timeout(now);
            while let Some(event) = endpoint.poll_event() {
                if done(index, event) {
                    return;
                }
            }
            endpoint.flush(now);
        }
        assert!(Instant::now() < deadline, "in vain waited for an event");
    }
}

/// Links from endpoint 0 to all others.
fn links<const N: usize>(endpoints: &mut [Endpoint; N]) -> Vec<LinkId> {
    let addresses: Vec<_> = endpoints.iter().map(|e| e.socket().local_addr()).collect();
    let now = Instant::now();
    let links: Vec<_> = (1..N)
        .map(|to| endpoints[0].dial(now, NodeId(to as u16 + 1), addresses[to], ShardId(0)))
        .collect();
    let mut up = 0;
    drive(endpoints, |_, event| {
        up += usize::from(matches!(event, Event::Up { .. }));
        up == 2 * links.len()
    });
    links
}

#[test]
fn a_panic_costs_the_link_it_happens_in_and_no_other() {
    let mut endpoints = endpoints::<3>();
    let links = links(&mut endpoints);
    let slot = links[0].slot as usize;
    let result = endpoints[0].guarded(slot, |_, _| panic!("this panic is part of a test"));
    assert_eq!(result, None::<()>);
    assert_eq!(endpoints[0].counters().panics, 1);
    let Some(Event::Down { link, reason, .. }) = endpoints[0].poll_event() else {
        panic!("the link is reported as down");
    };
    assert_eq!((link, reason), (links[0], LinkError::Internal));
    assert!(!endpoints[0].links.contains(slot));
    assert_eq!(
        endpoints[0].quic.open_connections(),
        1,
        "QUIC forgot it as well"
    );

    let (header, key) = (
        Header::tell(KindId(1), MethodId(1)),
        Key::new("k").expect("a key"),
    );
    let sent = endpoints[0].send(links[1], &header, Some((&key, 0)), |_| Ok::<_, ()>(()));
    assert_eq!(sent, Ok(0));
    drive(&mut endpoints, |index, event| {
        index == 2 && matches!(event, Event::Frame { .. })
    });
    // The place is free for another link.
    let address = endpoints[1].socket().local_addr();
    let again = endpoints[0].dial(Instant::now(), NodeId(2), address, ShardId(0));
    assert_eq!(again.slot, links[0].slot);
    assert_ne!(again.generation, links[0].generation);
    drive(&mut endpoints, |index, event| {
        index == 0 && matches!(event, Event::Up { link, .. } if link == again)
    });
}

#[test]
fn a_panic_in_a_link_that_has_ended_is_not_told_twice() {
    let mut endpoints = endpoints::<2>();
    let link = links(&mut endpoints)[0];
    endpoints[0].close(Instant::now(), link, CloseCode::Shutdown);
    assert!(matches!(
        endpoints[0].poll_event(),
        Some(Event::Down { .. })
    ));
    let _: Option<()> = endpoints[0].guarded(link.slot as usize, |_, _| {
        panic!("this panic is part of a test")
    });
    assert!(endpoints[0].poll_event().is_none());
    assert!(endpoints[0].is_idle());
}

#[test]
fn a_panic_while_a_payload_is_written_leaves_the_link_in_order() {
    let mut endpoints = endpoints::<2>();
    let link = links(&mut endpoints)[0];
    let (header, key) = (
        Header::tell(KindId(1), MethodId(1)),
        Key::new("k").expect("a key"),
    );
    let endpoint = &mut endpoints[0];
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        endpoint.send(link, &header, Some((&key, 0)), |out| -> Result<(), ()> {
            out.extend_from_slice(b"half");
            panic!("this panic is part of a test")
        })
    }));
    assert!(panicked.is_err());
    let sent = endpoint.send(link, &header, Some((&key, 0)), |out| {
        out.extend_from_slice(b"whole");
        Ok::<_, ()>(())
    });
    assert_eq!(sent, Ok(0));
    drive(&mut endpoints, |_, event| match event {
        Event::Frame { frame, .. } => {
            assert_eq!(&frame.payload[..], b"whole");
            true
        }
        _ => false,
    });
}

#[test]
fn what_the_socket_did_not_take_goes_first_the_next_time() {
    let [mut sender, mut receiver] = endpoints::<2>();
    let destination = receiver.socket().local_addr();
    sender.departing = b"left over".to_vec();
    sender.blocked = Some(quinn_proto::Transmit {
        destination,
        ecn: None,
        size: sender.departing.len(),
        segment_size: None,
        src_ip: None,
    });
    assert!(sender.is_blocked() && !sender.is_idle());
    sender.flush(Instant::now());
    assert!(!sender.is_blocked() && sender.is_idle());
    let deadline = Instant::now() + Duration::from_secs(10);
    while receiver
        .receive(Instant::now())
        .expect("the socket can be read")
        == 0
    {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(receiver.counters().bytes_in, 9);
}

#[test]
fn an_endpoint_of_a_shard_that_the_node_does_not_have_is_refused() {
    let [endpoint] = endpoints::<1>();
    let Endpoint {
        settings, socket, ..
    } = endpoint;
    let error = Endpoint::new(settings, ShardId(1), socket).err();
    assert_eq!(
        error,
        Some(EndpointError::NoSuchShard {
            shard: ShardId(1),
            shards: 1
        })
    );
}

#[test]
fn time_that_goes_backwards_does_no_harm() {
    let mut endpoints = endpoints::<2>();
    let link = links(&mut endpoints)[0];
    let past = Instant::now()
        .checked_sub(Duration::from_secs(60))
        .unwrap_or_else(Instant::now);
    for endpoint in &mut endpoints {
        endpoint.handle_timeout(past);
        endpoint.flush(past);
    }
    endpoints[0].close(past, link, CloseCode::Shutdown);
    drive(&mut endpoints, |index, event| {
        index == 1 && matches!(event, Event::Down { sent, .. } if sent == Sent::default())
    });
}

#[test]
fn an_endpoint_can_be_made_on_one_thread_and_driven_on_another() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Endpoint>();
    is_shared::<Settings>();
}
