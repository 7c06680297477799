//! A peer that sends control frames without end and reads nothing: its own connection pays, its neighbours have their turns.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use common::*;
use weirline_codec::OpCode;
use weirline_flow::RateLimit;
use weirline_tokio::*;

/// Counts pings and pongs.
#[derive(Clone, Default)]
struct Controls(Rc<Cell<usize>>);

impl Observer for Controls {
    fn control_received(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Sees to it that what waits for the peer stays small.
struct Bounded;

impl Handler for Bounded {
    fn on_event(&mut self, cx: &mut Context<'_>, _: Event<'_>) -> Result<(), HandlerError> {
        let held = cx.connection().held_bytes();
        assert!(
            held <= 10 << 10,
            "{held} bytes wait for a peer that does not read"
        );
        Ok(())
    }
}

/// A server's driver that counts what floods it.
fn flooded(script: &Script, config: Config, controls: &Controls) -> impl Future<Output = End> + use<> {
    let connection = Connection::server(config.into(), now());
    Driver::new(
        script.stream(),
        connection,
        Bytes::new(),
        Bounded,
        controls.clone(),
    )
}

/// A million pings lie in the socket. However fast they could be taken, a turn takes some thousands, and what waits for
/// the peer stays the same.
#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_has_its_turns_like_any_other() {
    const PINGS: usize = 1_000_000;
    const PER_TURN_MAX: usize = 10_000;
    let wire = masked(OpCode::Ping, true, b"").repeat(PINGS);
    let script = Script::new([Read::Data(wire)]).writes([Write::Block]);
    let config = config(|config| {
        config.control_rate = RateLimit {
            burst: u32::MAX,
            per_second: 1,
        };
    });
    let controls = Controls::default();
    let mut driver = Box::pin(flooded(&script, config, &controls));
    let (mut seen, mut turns) = (0, 0);
    while seen < PINGS {
        assert!(cut(&mut driver, 1).await.is_none());
        let turn = controls.0.get() - seen;
        assert!((1..=PER_TURN_MAX).contains(&turn), "{turn} pings in turn {turns}");
        seen += turn;
        turns += 1;
    }
    assert!(script.written().is_empty());
}

/// With the default limit the flood is over after its first ten thousand, and the peer can read why.
#[tokio::test(start_paused = true)]
async fn a_flood_of_control_frames_ends_with_1008() {
    for opcode in [OpCode::Ping, OpCode::Pong] {
        let wire = masked(opcode, true, b"flood").repeat(20_000);
        let script = Script::new([Read::Data(wire), Read::Eof]);
        let controls = Controls::default();
        let end = flooded(&script, Config::default(), &controls).await;
        assert_eq!(end.sent, Some(CloseCode::POLICY_VIOLATION), "{end:?}");
        assert_eq!(controls.0.get(), 10_000);
        let last = decode_all(script.written()).pop().unwrap();
        assert_eq!(
            (last.opcode, &last.payload[..2]),
            (OpCode::Close, &1008_u16.to_be_bytes()[..])
        );
    }
}
