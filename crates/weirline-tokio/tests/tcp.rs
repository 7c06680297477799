//! What only real sockets show: resets, ends of one direction, unread data at the close (R23).

mod common;

use common::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use weirline_codec::OpCode;
use weirline_tokio::*;

/// Two ends of a connection over the loopback device: the server's, and the client's.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Listener::local_addr(&listener).unwrap();
    let dial = TcpConnector.connect("127.0.0.1", address.port());
    let (accepted, dialed) = tokio::join!(Listener::accept(&listener), dial);
    (accepted.unwrap().0, dialed.unwrap())
}

/// A server that ends a connection while megabytes of the client's are on their way: the client still reads the Close frame,
/// not a reset.
#[tokio::test]
async fn closing_early_with_unread_data_does_not_reset_the_close_frame_away() {
    for what in ["fails", "closes", "errs", "stops reading, then fails"] {
        let (mut near, far) = sockets().await;
        let handler = Recorder::then(move |cx, event| {
            let Event::Message { .. } = event else {
                return Ok(());
            };
            match what {
                "fails" => cx.fail(CloseCode::POLICY_VIOLATION, "enough"),
                "closes" => cx.close(CloseCode::POLICY_VIOLATION, "enough"),
                "errs" => return Err(HandlerError::new("an error")),
                _ => {
                    cx.set_reading(false);
                    cx.fail(CloseCode::POLICY_VIOLATION, "enough");
                }
            }
            Ok(())
        });
        let mut peer = Peer::new(far);
        let client = async {
            let message = masked(OpCode::Binary, true, &[0; 100_000]);
            for _ in 0..80 {
                // Nothing is read meanwhile: neither side's buffers may stop the other.
                peer.stream.write_all(&message).await.expect("no reset");
            }
            let code = if what == "errs" { 1011 } else { 1008 };
            assert_eq!(peer.next_close().await, Some(code), "{what}");
            assert!(peer.stream.take_error().unwrap().is_none());
            peer.close(1000).await;
            peer.stream.shutdown().await.unwrap();
            assert_eq!(peer.next().await, None, "the server's end, {what}");
        };
        let (end, ()) = tokio::join!(server(&mut near, Config::default(), handler), client);
        assert_eq!(end.cause, Cause::ClosedLocally, "{what}");
        assert!(near.take_error().unwrap().is_none(), "SO_ERROR is 0, {what}");
    }
}

/// Both ends by drivers: whoever closes first, both see a complete handshake and no error on the socket.
#[tokio::test]
async fn closing_handshakes_leave_clean_sockets() {
    for who in ["server", "client", "both"] {
        let (mut near, mut far) = sockets().await;
        let (one, _inbox1, handler1) = channel(InboxLimits::default());
        let (two, mut inbox2, handler2) = channel(InboxLimits::default());
        let application = async {
            one.send(Message::text("last words")).await.unwrap();
            if who != "client" {
                one.close(CloseCode::GOING_AWAY, "");
            }
            if who != "server" {
                two.close(CloseCode::GOING_AWAY, "");
            }
            assert_eq!(
                inbox2.recv().await,
                Some(Delivery::Message(Message::text("last words")))
            );
        };
        let (end1, end2, ()) = tokio::join!(
            server(&mut near, Config::default(), handler1),
            client(&mut far, Config::default(), handler2),
            application
        );
        for end in [end1, end2] {
            let code = Some(CloseCode::GOING_AWAY);
            assert_eq!((end.sent, end.received), (code, code), "{who}");
            assert!(
                matches!(end.cause, Cause::ClosedLocally | Cause::ClosedByPeer),
                "{who}"
            );
        }
        assert!(near.take_error().unwrap().is_none(), "SO_ERROR is 0: {who}");
        assert!(far.take_error().unwrap().is_none(), "SO_ERROR is 0: {who}");
    }
}

#[tokio::test]
async fn a_reset_ends_the_connection_at_once() {
    for (writing, reading) in [(false, true), (true, true), (true, false)] {
        let (near, far) = sockets().await;
        let mut limits = InboxLimits::default();
        limits.queue.messages = if reading { 5000 } else { 1 };
        let (handle, _inbox, handler) = channel(limits);
        let mut peer = Peer::new(far);
        let application = async {
            peer.send(OpCode::Text, b"one").await;
            peer.send(OpCode::Text, b"two").await;
            peer.send(OpCode::Text, b"three").await;
            if writing {
                // More than the buffers of both kernels hold.
                for _ in 0..10 {
                    let _ = handle.try_send(Message::binary(vec![0; 8 << 20]));
                }
                peer.next().await.unwrap();
            }
            peer.stream.set_zero_linger().unwrap();
            drop(peer);
            handle.closed().await.unwrap()
        };
        let (end, _) = tokio::join!(server(near, Config::default(), handler), application);
        assert!(matches!(end.cause, Cause::Io(_)), "{writing} {reading}: {end:?}");
        assert_eq!((end.sent, end.close_received), (None, false));
    }
}

/// The client has closed and ended its direction while megabytes wait for it: it gets all of them, and our Close.
#[tokio::test]
async fn half_closed_clients_get_the_rest() {
    let (near, far) = sockets().await;
    let (handle, _inbox, handler) = channel(InboxLimits::default());
    let mut peer = Peer::new(far);
    let application = async {
        handle.send(Message::binary(vec![3; 12 << 20])).await.unwrap();
        let first = peer.next().await.unwrap();
        peer.close(1000).await;
        peer.stream.shutdown().await.unwrap();
        let mut bytes = first.payload.len();
        loop {
            let frame = peer.next().await.unwrap();
            if frame.opcode == OpCode::Close {
                break;
            }
            bytes += frame.payload.len();
        }
        assert_eq!(bytes, 12 << 20);
        assert_eq!(peer.next().await, None);
    };
    let (end, ()) = tokio::join!(server(near, Config::default(), handler), application);
    assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedByPeer));
}

/// 8 MiB each way at once, both ends by drivers.
#[tokio::test]
async fn large_messages_cross() {
    let (near, far) = sockets().await;
    let (one, mut inbox1, handler1) = channel(InboxLimits::default());
    let (two, mut inbox2, handler2) = channel(InboxLimits::default());
    let message = |n: u8| Message::binary(vec![n; 8 << 20]);
    let application = async {
        let (sent1, sent2) = tokio::join!(one.send(message(1)), two.send(message(2)));
        sent1.unwrap();
        sent2.unwrap();
        let (from2, from1) = tokio::join!(inbox1.recv(), inbox2.recv());
        assert!(from2 == Some(Delivery::Message(message(2))) && from1 == Some(Delivery::Message(message(1))));
        two.close(CloseCode::NORMAL, "");
    };
    let (end1, end2, ()) = tokio::join!(
        server(near, Config::default(), handler1),
        client(far, Config::default(), handler2),
        application
    );
    assert_eq!(
        (end1.cause, end2.cause),
        (Cause::ClosedByPeer, Cause::ClosedLocally)
    );
}
