//! How connections end on real sockets, row by row of `docs/closing.md`: which codes and which cause each end sees, whether the
//! other end's socket is free of errors, and that no task and no descriptor is left (R23, R27, R28).

#[path = "../common/mod.rs"]
mod common;
mod world;

use tokio::io::AsyncWriteExt as _;
use weirline_codec::OpCode;
use weirline_tokio::*;
use world::{Driven, Raw, SHORT, Seen, Side, against_raw, against_raw_with, pair, row};

const MEBIBYTE: usize = 1 << 20;

fn block(n: u32) -> Message {
    Message::binary(n.to_be_bytes().repeat(16 << 10))
}

/// Receives to the end; what came must be blocks in order. Returns how many.
async fn blocks(inbox: &mut Inbox) -> u32 {
    let mut next = 0;
    while let Some(delivery) = inbox.recv().await {
        assert_eq!(delivery, Delivery::Message(block(next)));
        next += 1;
    }
    next
}

/// Sends blocks until the connection takes no more; returns how many it took.
async fn send_blocks(handle: &Handle, count: u32) -> u32 {
    for n in 0..count {
        if handle.send(block(n)).await.is_err() {
            return n;
        }
    }
    count
}

#[test]
fn simultaneous_close() {
    row("simultaneous_close", async |side| {
        let (ours, other) = pair(side).await;
        // No driver has had its turn: each queues its Close before it reads the other's.
        ours.handle.close(CloseCode::GOING_AWAY, "");
        other.handle.close(CloseCode::NORMAL, "");
        tokio::join!(ours.end(), other.end())
    });
}

/// uWebSockets.js PR 1306: `close()` right after `send()` lost the message.
#[test]
fn close_after_send() {
    row("close_after_send", async |side| {
        let (ours, mut other) = pair(side).await;
        let sending = async {
            assert_eq!(send_blocks(&ours.handle, 100).await, 100);
            ours.handle.close(CloseCode::NORMAL, "");
            assert!(ours.handle.send(block(100)).await.is_err());
        };
        let ((), received) = tokio::join!(sending, blocks(&mut other.inbox));
        assert_eq!(received, 100);
        tokio::join!(ours.end(), other.end())
    });
}

/// Both ends are in the middle of sending when one of them closes. What it accepted before arrives whole; of what the other end
/// accepted, only the few messages may be missing that its driver had not yet taken from the handles.
#[test]
fn close_with_data_in_flight() {
    row("close_with_data_in_flight", async |side| {
        let (mut ours, mut other) = pair(side).await;
        let ours_sends = async {
            assert_eq!(send_blocks(&ours.handle, 60).await, 60);
            ours.handle.close(CloseCode::NORMAL, "");
        };
        let (other_handle, other_inbox) = (other.handle.clone(), &mut other.inbox);
        let ((), accepted, received, from_ours) = tokio::join!(
            ours_sends,
            send_blocks(&other_handle, u32::MAX),
            blocks(&mut ours.inbox),
            blocks(other_inbox),
        );
        assert_eq!(from_ours, 60);
        let under_way = u32::try_from(InboxLimits::default().concurrent_sends).unwrap();
        assert!(
            received > 0 && (received..=received + under_way).contains(&accepted),
            "{received} of {accepted}"
        );
        drop(other_handle);
        tokio::join!(ours.end(), other.end())
    });
}

/// Megabytes of the other end's are on their way, unread, when ours closes: they are read until its Close comes, so that no reset
/// overtakes our Close frame.
#[test]
fn close_with_unread_data_in_flight() {
    row("close_with_unread_data_in_flight", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        let (full, filled) = tokio::sync::oneshot::channel();
        let closing = async {
            let Driven {
                handle,
                inbox,
                driver,
            } = ours;
            // Nobody takes what comes: the driver has stopped reading behind the second message.
            filled.await.unwrap();
            handle.close(CloseCode::NORMAL, "");
            drop(inbox);
            world::told(&driver.await.unwrap())
        };
        let peer = async {
            let mut full = Some(full);
            for n in 1..=16 {
                raw.send(OpCode::Binary, &vec![7; MEBIBYTE]).await;
                if n == 3 {
                    full.take().unwrap().send(()).unwrap();
                }
            }
            let mut seen = Seen::default();
            raw.until_close(&mut seen).await;
            raw.close(1000).await;
            raw.stream.shutdown().await.unwrap();
            seen.told.extend(raw.until_end().await.told);
            seen
        };
        let (told, seen) = tokio::join!(closing, peer);
        (told, raw.tell(seen))
    });
}

#[test]
fn fin_without_close() {
    row("fin_without_close", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        raw.stream.shutdown().await.unwrap();
        let seen = raw.until_end().await;
        (ours.end().await, raw.tell(seen))
    });
}

#[test]
fn fin_inside_a_message() {
    row("fin_inside_a_message", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        // The header of a frame whose payload never comes; the mask bit as our end expects it.
        let mask_bit = if side == Side::Server { 0x80 } else { 0 };
        raw.stream.write_all(&[0x82, mask_bit | 100, 1, 2]).await.unwrap();
        raw.stream.shutdown().await.unwrap();
        let seen = raw.until_end().await;
        (ours.end().await, raw.tell(seen))
    });
}

#[test]
fn close_without_fin() {
    row("close_without_fin", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| config.eof_timeout = SHORT).await;
        raw.close(4000).await;
        let seen = raw.until_end().await;
        (ours.end().await, raw.tell(seen))
    });
}

#[test]
fn answer_without_fin() {
    row("answer_without_fin", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| config.eof_timeout = SHORT).await;
        ours.handle.close(CloseCode::NORMAL, "");
        let mut seen = Seen::default();
        raw.until_close(&mut seen).await;
        raw.close(1000).await;
        seen.told.extend(raw.until_end().await.told);
        (ours.end().await, raw.tell(seen))
    });
}

/// More than the buffers between both hold waits to be sent when the other end closes and ends its direction.
#[test]
fn half_close_behind_a_close() {
    row("half_close_behind_a_close", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        send_large(&ours, &mut raw).await;
        raw.close(1000).await;
        raw.stream.shutdown().await.unwrap();
        let seen = raw.until_end().await;
        assert_eq!(seen.data_bytes, 12 * MEBIBYTE);
        (ours.end().await, raw.tell(seen))
    });
}

#[test]
fn half_close_without_a_close() {
    row("half_close_without_a_close", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        send_large(&ours, &mut raw).await;
        raw.stream.shutdown().await.unwrap();
        let seen = raw.until_end().await;
        assert_eq!(seen.data_bytes, 12 * MEBIBYTE);
        (ours.end().await, raw.tell(seen))
    });
}

/// Sends 12 MiB, and waits until the driver has taken them.
async fn send_large(ours: &Driven, raw: &mut Raw) {
    let message = Message::binary(vec![3; 12 * MEBIBYTE]);
    ours.handle.send(message).await.unwrap();
    raw.stream.readable().await.unwrap();
}

#[test]
fn reset_while_idle() {
    row("reset_while_idle", async |side| {
        let (ours, raw) = against_raw(side).await;
        raw.reset();
        (ours.end().await, "gone".to_owned())
    });
}

#[test]
fn reset_with_data_in_flight() {
    row("reset_with_data_in_flight", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        send_large(&ours, &mut raw).await;
        raw.reset();
        (ours.end().await, "gone".to_owned())
    });
}

#[test]
fn reset_in_place_of_an_answer() {
    row("reset_in_place_of_an_answer", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        ours.handle.close(CloseCode::NORMAL, "");
        raw.until_close(&mut Seen::default()).await;
        raw.reset();
        (ours.end().await, "gone".to_owned())
    });
}

#[test]
fn reset_behind_both_closes() {
    row("reset_behind_both_closes", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        raw.close(1000).await;
        raw.until_close(&mut Seen::default()).await;
        raw.reset();
        (ours.end().await, "gone".to_owned())
    });
}

/// The Close has reached the host, but nothing behind a message is looked at before somebody takes it.
#[test]
fn reset_behind_untaken_messages() {
    row("reset_behind_untaken_messages", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        overfill(&mut raw).await;
        raw.reset();
        ours.handle.send(block(0)).await.unwrap();
        (ours.end().await, "gone".to_owned())
    });
}

/// Sends more than an inbox holds, and a Close.
async fn overfill(raw: &mut Raw) {
    for _ in 0..2 * InboxLimits::default().queue.messages {
        raw.send(OpCode::Binary, b"not taken").await;
    }
    raw.close(1000).await;
}

#[test]
fn abort() {
    row("abort", async |side| {
        let (ours, other) = pair(side).await;
        ours.handle.send(block(0)).await.unwrap();
        let mut other_inbox = other.inbox;
        assert_eq!(other_inbox.recv().await, Some(Delivery::Message(block(0))));
        ours.handle.abort();
        let other = Driven {
            inbox: other_inbox,
            ..other
        };
        tokio::join!(ours.end(), other.end())
    });
}

#[test]
fn abort_with_unread_data() {
    row("abort_with_unread_data", async |side| {
        let (ours, other) = pair(side).await;
        // Nobody takes what comes. Two messages find a place in our inbox, ten with the other's handles, and one in its queue:
        // when the fourteenth is accepted, the third stands in the sockets.
        let sending = async {
            let mut accepted = 0;
            while other
                .handle
                .send(Message::binary(vec![7; MEBIBYTE]))
                .await
                .is_ok()
            {
                accepted += 1;
                if accepted == 14 {
                    ours.handle.abort();
                }
            }
            assert!(accepted >= 14);
        };
        sending.await;
        tokio::join!(ours.end(), other.end())
    });
}

#[test]
fn handles_dropped() {
    row("handles_dropped", async |side| {
        let (ours, mut other) = pair(side).await;
        let Driven {
            handle,
            inbox,
            driver,
        } = ours;
        for n in 0..8 {
            handle.send(block(n)).await.unwrap();
        }
        drop((handle, inbox));
        assert_eq!(blocks(&mut other.inbox).await, 8);
        (world::told(&driver.await.unwrap()), other.end().await)
    });
}

#[test]
fn driver_dropped() {
    row("driver_dropped", async |side| {
        let (ours, other) = pair(side).await;
        let Driven {
            handle,
            mut inbox,
            driver,
        } = ours;
        tokio::task::yield_now().await;
        driver.abort();
        let gone = handle.closed().await.unwrap_err();
        assert_eq!((inbox.recv().await, inbox.end()), (None, None));
        assert!(driver.await.unwrap_err().is_cancelled());
        (gone.to_string(), other.end().await)
    });
}

#[test]
fn close_never_answered() {
    row("close_never_answered", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| config.close_timeout = SHORT).await;
        ours.handle.close(CloseCode::NORMAL, "");
        let seen = raw.until_end().await;
        (ours.end().await, raw.tell(seen))
    });
}

#[test]
fn pings_never_answered() {
    row("pings_never_answered", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| {
            config.ping_interval = Some(SHORT);
            config.ping_timeout = SHORT;
            config.eof_timeout = SHORT;
        })
        .await;
        let seen = raw.until_end().await;
        (ours.end().await, raw.tell(seen))
    });
}

/// The other end reads nothing, and looks only when our end has given up.
#[test]
fn nothing_ever_read() {
    row("nothing_ever_read", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| config.write_stall_timeout = SHORT).await;
        let message = Message::binary(vec![3; 32 * MEBIBYTE]);
        ours.handle.send(message).await.unwrap();
        ours.handle.close(CloseCode::NORMAL, "");
        let told = ours.end().await;
        let seen = raw.until_end().await;
        assert!(seen.data_bytes < 32 * MEBIBYTE);
        (told, raw.tell(seen))
    });
}

/// The other end is told, although bytes that it sent are not looked at any more.
#[test]
fn nothing_ever_taken() {
    row("nothing_ever_taken", async |side| {
        let (ours, mut raw) = against_raw_with(side, |config| config.pause_max = SHORT).await;
        overfill(&mut raw).await;
        let mut seen = Seen::default();
        raw.until_close(&mut seen).await;
        raw.stream.shutdown().await.unwrap();
        seen.told.extend(raw.until_end().await.told);
        (ours.end().await, raw.tell(seen))
    });
}

/// The peer breaks the protocol and goes on sending: it still reads why, and no reset.
#[test]
fn protocol_broken() {
    row("protocol_broken", async |side| {
        let (ours, mut raw) = against_raw(side).await;
        let mut frame = raw.frame(OpCode::Binary, b"x");
        frame[0] |= 0x40;
        raw.stream.write_all(&frame).await.unwrap();
        for _ in 0..16 {
            raw.send(OpCode::Binary, &vec![7; MEBIBYTE]).await;
        }
        let mut seen = Seen::default();
        raw.until_close(&mut seen).await;
        raw.stream.shutdown().await.unwrap();
        seen.told.extend(raw.until_end().await.told);
        (ours.end().await, raw.tell(seen))
    });
}

/// A row of the document without a test would be a claim nobody checks.
#[test]
fn every_row_of_the_document_has_its_test() {
    let source = include_str!("main.rs");
    let names = world::documented_names();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("row(\"{name}\",")), "{name}");
        assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "{name}");
    }
}
