//! The way down: short writes, blocked writes and flushes, large messages, the order of everything.

mod common;

use common::*;
use proptest::prelude::*;
use tokio::io::duplex;
use weirline_codec::OpCode;
use weirline_tokio::*;

/// What [`Chatter`] says, as a server's wire.
fn chatter_wire() -> Vec<u8> {
    let large = vec![9; 20_000];
    let mut wire = Vec::new();
    for n in 0..10u8 {
        wire.extend(unmasked(OpCode::Binary, true, &[n; 20]));
    }
    wire.extend(unmasked(OpCode::Binary, false, &large[..8192]));
    wire.extend(unmasked(OpCode::Continuation, false, &large[8192..16_384]));
    wire.extend(unmasked(OpCode::Continuation, true, &large[16_384..]));
    wire.extend(unmasked(OpCode::Text, true, b"prefix and payload"));
    wire.extend(unmasked(OpCode::Close, true, &close_payload(1000)));
    wire
}

/// Says small and large things, then closes.
struct Chatter(bool);

impl Handler for Chatter {
    fn on_event(&mut self, _: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn poll_work(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut std::task::Context<'_>,
    ) -> Result<(), HandlerError> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(());
        }
        for n in 0..10u8 {
            cx.send(MessageKind::Binary, &[n; 20])
                .map_err(HandlerError::new)?;
        }
        cx.send_shared(MessageKind::Binary, &[9; 10], vec![9; 19_990].into())
            .map_err(HandlerError::new)?;
        cx.send_shared(MessageKind::Text, b"prefix ", "and payload".into())
            .map_err(HandlerError::new)?;
        cx.close(CloseCode::NORMAL, "");
        Ok(())
    }
}

fn chatter_config() -> Config {
    config(|config| config.fragment_bytes = 8192)
}

/// Runs a chatter over a script whose peer answers the Close, and returns what it wrote.
fn chat(script: &Script) -> Vec<u8> {
    let runtime = paused();
    runtime.block_on(async {
        let wire_len = chatter_wire().len();
        let answer = async {
            while script.state().written.len() < wire_len {
                script.unblock();
                tokio::task::yield_now().await;
            }
            script.push(Read::Data(masked(OpCode::Close, true, &close_payload(1000))));
            script.push(Read::Eof);
        };
        let started = now();
        let (end, ()) = tokio::join!(server(script.stream(), chatter_config(), Chatter(false)), answer);
        assert_eq!(facts(&end), (Some(1000), Some(1000), Cause::ClosedLocally));
        assert_eq!(now(), started, "no timer was needed");
        assert_eq!(script.state().unflushed, 0, "everything was flushed");
    });
    script.written()
}

#[test]
fn one_write_when_the_transport_takes_it() {
    let script = Script::default().vectored(true);
    assert_eq!(chat(&script), chatter_wire());
    assert_eq!(script.state().write_calls, 1);
}

/// Short writes of each length, then the rest; with vectored writes and without.
#[test]
fn a_short_write_of_any_length_changes_nothing() {
    let expected = chatter_wire();
    let near_seams = (0..expected.len()).filter(|n| n % 97 == 0 || n % 8192 < 40 || *n < 300);
    for length in near_seams.map(|n| n + 1) {
        for vectored in [false, true] {
            let script = Script::default()
                .vectored(vectored)
                .writes([Write::Take(length), Write::Block]);
            assert_eq!(chat(&script), expected, "{length} {vectored}");
        }
    }
}

#[test]
fn writes_of_one_length_only() {
    let expected = chatter_wire();
    for length in [1, 2, 3, 7, 100, 4096, 8191, 8192, 8193] {
        for vectored in [false, true] {
            let steps = expected.len() / length + 20;
            let script = Script::default()
                .vectored(vectored)
                .writes(vec![Write::Take(length); steps]);
            assert_eq!(chat(&script), expected, "{length} {vectored}");
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Write>> {
    let step = prop_oneof![
        4 => (1usize..3000).prop_map(Write::Take),
        2 => Just(Write::Yield),
        1 => Just(Write::Block),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// No schedule of short writes and blocked writes and flushes loses a byte, a wake-up or a flush.
    #[test]
    fn any_schedule_of_writes_and_flushes_ends_with_everything_sent(
        writes in steps(),
        flushes in steps(),
        vectored: bool,
    ) {
        let script = Script::default().vectored(vectored).writes(writes).flushes(flushes);
        prop_assert_eq!(chat(&script), chatter_wire());
    }
}

/// A flush that is pending is asked for again, also when there is nothing more to write.
#[tokio::test(start_paused = true)]
async fn a_pending_flush_is_finished() {
    let text = masked(OpCode::Text, true, b"hi");
    let script = Script::new([Read::Data(text)]).flushes([Write::Block]);
    let application = async {
        settle().await;
        assert_eq!(script.state().unflushed, 4);
        script.unblock();
        settle().await;
        assert_eq!(script.state().unflushed, 0);
        script.push(Read::Eof);
    };
    tokio::join!(
        server(script.stream(), Config::default(), Recorder::echo()),
        application
    );
}

/// Law 7: what answers one read leaves in one write, and an idle connection writes and flushes nothing.
#[tokio::test(start_paused = true)]
async fn the_answers_to_a_read_leave_in_one_write() {
    let script = Script::default();
    let application = async {
        for round in 1..=10 {
            let batch = masked(OpCode::Text, true, b"sixteen bytes ..").repeat(16);
            script.push(Read::Data(batch));
            settle().await;
            let writes = script.state().write_calls;
            let flushes = script.state().flush_calls;
            assert_eq!((writes, flushes), (round, round));
        }
        script.push(Read::Eof);
    };
    tokio::join!(
        server(script.stream(), Config::default(), Recorder::echo()),
        application
    );
    assert_eq!(decode_all(script.written()).len(), 160);
}

/// 16 MiB each way through 64 KiB, by a server that echoes while its client pings: each ping is answered between fragments.
#[tokio::test(start_paused = true)]
async fn large_messages_both_ways_with_pings_between() {
    const BYTES: usize = 16 << 20;
    let (near, far) = duplex(64 << 10);
    let payload: Vec<u8> = (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (handle, mut inbox, handler) = channel(InboxLimits::default());
    let (client_stream, relay_near) = duplex(64 << 10);
    let sent = payload.clone();
    let application = async {
        handle.send(Message::binary(sent)).await.unwrap();
        let received = inbox.recv().await.unwrap();
        assert!(
            received == Delivery::Message(Message::binary(payload)),
            "the same message comes back"
        );
        handle.close(CloseCode::NORMAL, "");
        // Let go of the stream as a whole only when both ends are done.
        handle.closed().await.unwrap()
    };
    let relay = relay_with_pings(relay_near, far);
    let config = config(|config| config.frame_bytes_max = 1 << 17);
    let server = server(near, config, Recorder::echo());
    let client = client(client_stream, Config::default(), handler);
    let (end, client_end, _, (pings, pongs)) = tokio::join!(server, client, application, relay);
    assert_eq!(
        (end.cause, client_end.cause),
        (Cause::ClosedByPeer, Cause::ClosedLocally)
    );
    assert!(
        pings >= 256,
        "{pings}: pings stood between the fragments of both messages"
    );
    assert_eq!(pongs, pings);
}

/// Passes frames on; puts a ping behind each of the client's, and takes the pongs out. Returns how many there were of both.
async fn relay_with_pings<A, B>(client: A, server: B) -> (usize, usize)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let up = async {
        let (mut wire, mut pings) = (Vec::new(), 0);
        let mut chunk = vec![0; 70_000];
        loop {
            let read = client_read.read(&mut chunk).await.unwrap();
            if read == 0 {
                let _ = server_write.shutdown().await;
                return pings;
            }
            wire.extend_from_slice(&chunk[..read]);
            while let Some(frame) = decode(&mut wire) {
                let mut out = masked(frame.opcode, frame.fin, &frame.payload);
                if frame.opcode != OpCode::Close {
                    out.extend(masked(OpCode::Ping, true, b"between"));
                    pings += 1;
                }
                server_write.write_all(&out).await.unwrap();
            }
        }
    };
    let down = async {
        let (mut wire, mut pongs, mut out) = (Vec::new(), 0, Vec::new());
        let mut chunk = vec![0; 70_000];
        loop {
            let read = server_read.read(&mut chunk).await.unwrap();
            if read == 0 {
                client_write.shutdown().await.unwrap();
                return pongs;
            }
            wire.extend_from_slice(&chunk[..read]);
            while let Some(frame) = decode(&mut wire) {
                if frame.opcode == OpCode::Pong {
                    assert_eq!(frame.payload, b"between");
                    pongs += 1;
                } else {
                    out.extend(unmasked(frame.opcode, frame.fin, &frame.payload));
                }
            }
            client_write.write_all(&out).await.unwrap();
            out.clear();
        }
    };
    tokio::join!(up, down)
}
