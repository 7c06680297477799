//! Long messages, whose bytes the driver reads where they belong: whatever the stream and the handler do meanwhile.

mod common;

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Context as TaskContext;

use common::*;
use proptest::prelude::*;
use weirline_codec::OpCode;
use weirline_tokio::*;

const KIB: usize = 1 << 10;

/// Different at each place, and as text made of characters of all lengths.
fn payload(is_text: bool, len: usize) -> Vec<u8> {
    if is_text {
        let mut text: Vec<u8> = "aé€😀ß".bytes().cycle().take(len).collect();
        let whole = String::from_utf8_lossy(&text).trim_end_matches('\u{FFFD}').len();
        text[whole..].fill(b'!');
        text
    } else {
        (0..len).map(|n| (n / 7 + n % 251).to_le_bytes()[0]).collect()
    }
}

/// A client's message in fragments that end at `cuts`, with a ping behind each; and what the server sees of it.
fn message(is_text: bool, len: usize, cuts: &[usize]) -> (Vec<u8>, Vec<Seen>) {
    let payload = payload(is_text, len);
    let (mut wire, mut seen, mut at) = (Vec::new(), Vec::new(), 0);
    let mut opcode = if is_text { OpCode::Text } else { OpCode::Binary };
    for cut in cuts.iter().copied().filter(|cut| *cut < len) {
        wire.extend(masked(opcode, false, &payload[at..cut.max(at)]));
        wire.extend(masked(OpCode::Ping, true, b"between"));
        seen.push(Seen::Ping);
        (at, opcode) = (cut.max(at), OpCode::Continuation);
    }
    wire.extend(masked(opcode, true, &payload[at..]));
    seen.push(Seen::Message(payload));
    (wire, seen)
}

/// How the stream ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Close,
    Eof,
    Error,
}

/// What the handler does at each message.
#[derive(Clone, Copy, Debug)]
enum Does {
    Nothing,
    /// Takes no other one for a second.
    Rests,
    /// Panics at the one with this number.
    Panics(usize),
}

/// Writes down what it sees, and rests or panics.
struct Slow {
    recorder: Recorder,
    does: Does,
    messages: usize,
    rest: Rest,
    ended: Rc<Cell<bool>>,
}

impl Handler for Slow {
    fn on_event(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> Result<(), HandlerError> {
        let is_message = matches!(event, Event::Message { .. });
        assert!(!is_message || self.rest.is_over(), "no message while it rests");
        self.recorder.on_event(cx, event)?;
        if is_message {
            self.messages += 1;
            match self.does {
                Does::Panics(at) if at == self.messages => panic!("on purpose"),
                Does::Rests => self.rest.begin(cx),
                _ => {}
            }
        }
        Ok(())
    }

    fn poll_work(&mut self, cx: &mut Context<'_>, _: &mut TaskContext<'_>) -> Result<(), HandlerError> {
        self.rest.poll_work(cx);
        Ok(())
    }

    fn next_wake(&self) -> Option<std::time::Instant> {
        self.rest.next_wake()
    }

    fn on_end(&mut self, end: &End) {
        self.ended.set(true);
        self.recorder.on_end(end);
    }
}

/// Runs a driver over a script; gives what was seen, and the end.
fn run(script: &Script, does: Does) -> (Vec<Seen>, End) {
    let runtime = paused();
    let recorder = Recorder::new();
    let seen = recorder.seen.clone();
    let handler = Slow {
        recorder,
        does,
        messages: 0,
        rest: Rest::default(),
        ended: Rc::default(),
    };
    let end = runtime.block_on(async { server(script.stream(), Config::default(), handler).await });
    (seen.take(), end)
}

/// Cuts a wire into reads of these sizes, over and over; 0 is a read that finds nothing yet.
fn reads(wire: &[u8], sizes: &[usize]) -> Vec<Read> {
    let (mut reads, mut left) = (Vec::new(), wire);
    for size in sizes.iter().cycle() {
        if left.is_empty() {
            break;
        }
        if *size == 0 {
            reads.push(Read::Yield);
            continue;
        }
        let (now, later) = left.split_at(left.len().min(*size));
        reads.push(Read::Data(now.to_vec()));
        left = later;
    }
    reads
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        1 => Just(0),
        1 => 1usize..2000,
        3 => 30_000usize..140_000,
        2 => 200_000usize..600_000,
    ];
    prop::collection::vec(size, 1..10).prop_filter("something comes", |sizes| {
        sizes.iter().sum::<usize>() > 500 * sizes.len()
    })
}

fn messages() -> impl Strategy<Value = Vec<(bool, usize, Vec<usize>)>> {
    let len = prop_oneof![
        1 => 0usize..300,
        2 => 128 * KIB - 20..128 * KIB + 20,
        3 => 100 * KIB..700 * KIB,
    ];
    let cuts = prop::collection::vec(0usize..400_000, 0..3).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    });
    prop::collection::vec((any::<bool>(), len, cuts), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Everything that was complete arrives, in order and whole, and the end is the one that came.
    #[test]
    fn whatever_the_reads_the_messages_are_the_same(
        messages in messages(),
        sizes in sizes(),
        keep in prop::option::weighted(0.4, any::<prop::sample::Index>()),
        ends in prop::sample::select(vec![Ends::Close, Ends::Eof, Ends::Error]),
        does in prop_oneof![
            2 => Just(Does::Nothing),
            2 => Just(Does::Rests),
            1 => (1usize..4).prop_map(Does::Panics),
        ],
    ) {
        quiet_panics();
        let (mut wire, mut expected, mut complete_at) = (Vec::new(), Vec::new(), Vec::new());
        for (is_text, len, cuts) in &messages {
            let (frames, seen) = message(*is_text, *len, cuts);
            // A ping is complete before the message that it stands in; where exactly is for the tests of the connection.
            wire.extend(frames);
            complete_at.push(wire.len());
            expected.extend(seen);
        }
        let cut = keep.map(|keep| keep.index(wire.len()));
        let mut script_reads = reads(&wire[..cut.unwrap_or(wire.len())], &sizes);
        match (cut, ends) {
            (None, Ends::Close) => {
                script_reads.push(Read::Data(masked(OpCode::Close, true, &close_payload(1000))));
                script_reads.push(Read::Eof);
            }
            (_, Ends::Error) => script_reads.push(Read::Error(ErrorKind::ConnectionReset)),
            _ => script_reads.push(Read::Eof),
        }
        let script = Script::new(script_reads);
        let (seen, end) = run(&script, does);

        let is_message = |seen: &&Seen| matches!(seen, Seen::Message(_));
        let whole = cut.map_or(messages.len(), |cut| complete_at.iter().filter(|at| **at <= cut).count());
        let (delivered, panicked) = match does {
            Does::Panics(at) if at <= whole => (at, true),
            _ => (whole, false),
        };
        // With a reset, what the handler did not take yet is given up.
        if matches!((does, ends), (Does::Rests, Ends::Error)) {
            let got = seen.iter().filter(is_message).count();
            prop_assert!(got <= delivered);
            let expected = expected.iter().filter(is_message).take(got);
            prop_assert!(seen.iter().filter(is_message).eq(expected));
        } else {
            let expected = expected.iter().filter(is_message).take(delivered);
            prop_assert!(seen.iter().filter(is_message).eq(expected), "{} {:?}", delivered, end);
        }
        if cut.is_none() && !panicked && !matches!(ends, Ends::Error) {
            prop_assert!(seen[..seen.len() - 1].iter().filter(|seen| **seen == Seen::Ping)
                .eq(expected.iter().filter(|seen| **seen == Seen::Ping)));
        }
        let cause = match (cut, ends) {
            _ if panicked => Cause::ClosedLocally,
            (None, Ends::Close) => Cause::ClosedByPeer,
            (_, Ends::Error) => Cause::Io(ErrorKind::ConnectionReset),
            _ => Cause::EndOfStream,
        };
        if panicked {
            prop_assert_eq!(end.sent.map(CloseCode::value).or(Some(1011)), Some(1011));
            prop_assert!(matches!(end.cause, Cause::ClosedLocally | Cause::Io(_)), "{:?}", end);
        } else {
            prop_assert_eq!(&end.cause, &cause);
        }
        prop_assert!(matches!(seen.last(), Some(Seen::End(_))), "it hears of the end");
    }
}

/// The bytes are read where they belong: no second copy is visible here but in the size of the reads that a stream is asked for, which
/// never go beyond the frame.
#[tokio::test(start_paused = true)]
async fn a_long_message_and_what_stands_behind_it() {
    for behind in [0, 1, 3, 1000] {
        let (mut wire, mut expected) = message(false, 700 * KIB, &[]);
        for _ in 0..behind {
            wire.extend(masked(OpCode::Text, true, b"behind"));
            expected.push(Seen::Message(b"behind".to_vec()));
        }
        let script = Script::new([Read::Data(wire), Read::Eof]);
        let recorder = Recorder::new();
        let seen = recorder.seen.clone();
        let end = server(script.stream(), Config::default(), recorder).await;
        expected.push(Seen::End(end.cause.clone()));
        assert_eq!(end.cause, Cause::EndOfStream);
        assert!(*seen.borrow() == expected, "{behind}");
    }
}

/// A turn ends after so many bytes also where they are read in place, and the neighbour has its turn.
#[tokio::test(start_paused = true)]
async fn a_turn_is_bounded_while_a_long_message_comes() {
    let (wire, _) = message(false, 8 << 20, &[]);
    let script = Script::new([Read::Data(wire), Read::Eof]);
    let left = || {
        let state = script.state();
        let bytes = state.reads.iter().map(|read| match read {
            Read::Data(data) => data.len(),
            _ => 0,
        });
        (bytes.sum::<usize>(), state.read_calls)
    };
    let recorder = Recorder::new();
    let seen = recorder.seen.clone();
    let mut driver = std::pin::pin!(server(script.stream(), Config::default(), recorder));
    let mut turns = 0;
    let end = std::future::poll_fn(|task| {
        let (bytes, calls) = left();
        let polled = driver.as_mut().poll(task);
        turns += 1;
        let (bytes_left, calls_now) = left();
        assert!(
            bytes - bytes_left < 512 * KIB,
            "{} in one turn",
            bytes - bytes_left
        );
        assert!(calls_now - calls <= 5, "{} reads in one turn", calls_now - calls);
        polled
    })
    .await;
    assert_eq!(end.cause, Cause::EndOfStream);
    assert!(turns >= 16, "{turns}");
    assert_eq!(seen.borrow().len(), 2);
}

/// What of a message is read elsewhere must be copied: behind a long one, where another is likely, that is little.
#[tokio::test(start_paused = true)]
async fn behind_a_long_message_little_is_read_elsewhere() {
    let long = message(false, 700 * KIB, &[]).0;
    let short = message(false, 100, &[]).0;
    let script = Script::new([
        Read::Data(long.clone()),
        Read::Yield,
        Read::Data(long),
        Read::Data(short.clone()),
        Read::Data(short),
        Read::Eof,
    ]);
    let end = server(script.stream(), Config::default(), Recorder::new()).await;
    assert_eq!(end.cause, Cause::EndOfStream);
    let state = script.state();
    let elsewhere: Vec<_> = (state.read_rooms.iter().copied())
        .filter(|room| [16 * KIB, 256 * KIB].contains(room))
        .collect();
    let in_place = state.read_rooms.len() - elsewhere.len();
    assert!(in_place >= 2, "{:?}", state.read_rooms);
    assert_eq!(state.read_rooms[0], 256 * KIB);
    assert_eq!(elsewhere.iter().filter(|room| **room == 16 * KIB).count(), 2);
    assert!(elsewhere.ends_with(&[16 * KIB, 256 * KIB]));
}

/// Writing has failed, and the peer had said much before: it is heard.
#[tokio::test(start_paused = true)]
async fn a_long_message_is_read_to_its_end_when_writing_fails() {
    for size in [40_000, 100_000, 300_000] {
        let mut wire = masked(OpCode::Text, true, b"first");
        wire.extend(message(true, 900 * KIB, &[]).0);
        let mut script_reads = reads(&wire, &[size]);
        script_reads.push(Read::Eof);
        let script = Script::new(script_reads).writes([Write::Error(ErrorKind::BrokenPipe)]);
        let recorder = Recorder::echo();
        let seen = recorder.seen.clone();
        let end = server(script.stream(), Config::default(), recorder).await;
        assert_eq!(end.cause, Cause::Io(ErrorKind::BrokenPipe));
        let seen = seen.borrow();
        assert_eq!(seen.len(), 3, "both messages and the end");
        assert!(seen[1] == Seen::Message(payload(true, 900 * KIB)));
    }
}

/// Cancellation: the stream goes with the driver, and so does the half of the message.
#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_inside_a_long_message_lets_go() {
    let (wire, _) = message(false, 900 * KIB, &[]);
    for arrived in [100 * KIB, 300 * KIB, 800 * KIB] {
        let script = Script::new([Read::Data(wire[..arrived].to_vec())]);
        let recorder = Recorder::new();
        let seen = recorder.seen.clone();
        let driver = server(script.stream(), Config::default(), recorder);
        assert!(tokio::time::timeout(SECOND, driver).await.is_err());
        assert!(script.state().dropped && seen.borrow().is_empty());
        assert_eq!(script.written(), b"");
    }
}
