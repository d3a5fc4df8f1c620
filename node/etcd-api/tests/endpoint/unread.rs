//! Clients that send without taking answers: what waits for them is bounded over all of them.

use quorate_etcd_api::pb::etcdserverpb as pb;
use quorate_etcd_api::pb::etcdserverpb::watch_request::RequestUnion;

use crate::frames::*;
use crate::support::{Node, PATIENCE};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const ENHANCE_YOUR_CALM: u32 = 11;

/// Connections with two streams of 2 MiB each: more than the 128 MiB that a port takes in at a time.
const CONNECTIONS: usize = 40;

/// Frames of 16 KiB, which fill nearly a stream's window.
const FRAMES: usize = 125;
const FRAME_BYTES: usize = 16 * 1024;

/// Sends a stream's window full of requests that nobody reads, because the answers to the first ones are not taken. True if the
/// port takes them in.
async fn fill(client: &mut RawClient, stream: u32) -> bool {
    let create = message(&pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest::default())),
    });
    client
        .send(&frame(HEADERS, END_HEADERS, stream, &call(WATCH, &[])))
        .await;
    let part = create.repeat(FRAME_BYTES / create.len());
    client.send(&frame(DATA, 0, stream, &part)).await;
    // The first answers are there and wait for the window, and so do those after them for their turn.
    let head = client.next_of(HEADERS).await;
    assert_eq!((head.stream, head.flags & END_STREAM), (stream, 0));
    for _ in 0..FRAMES {
        client.send(&frame(DATA, 0, stream, &part)).await;
    }
    client.send(&frame(PING, 0, 0, b"roundtri")).await;
    let mut taken = true;
    loop {
        let answer = client.next().await.expect("the connection goes on");
        match answer.kind {
            RST_STREAM => {
                assert_eq!((answer.stream, answer.code()), (stream, ENHANCE_YOUR_CALM));
                taken = false;
            }
            // Not one of the server's own.
            PING if answer.flags == ACK => return taken,
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_strangers_send_and_nobody_reads_is_bounded_over_all_of_them() {
    let node = Node::start().await;
    let mut root = node.root().await;
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..CONNECTIONS {
        let mut client = RawClient::connect(node.address, &setting(4, 0)).await;
        for stream in [1, 3] {
            refused += usize::from(!fill(&mut client, stream).await);
        }
        clients.push(client);
    }
    assert!(refused > 0, "160 MiB wait");
    assert!(refused < CONNECTIONS, "{refused} of 80 streams were refused");
    // Messages of others have room of their own.
    root.put("k", vec![7; 1024 * 1024]).await;
    drop(clients);
    // And streams have theirs again when the others are gone.
    let taken_again = async {
        loop {
            let mut client = RawClient::connect(node.address, &setting(4, 0)).await;
            if fill(&mut client, 1).await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken_again)
        .await
        .expect("the room is given back");
}
