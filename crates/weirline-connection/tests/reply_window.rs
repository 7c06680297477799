//! How much may be answered before it is written: a handler that stays within it is never refused.

mod common;

use common::*;
use proptest::prelude::*;
use weirline_connection::{Config, MessageKind, SendError};
use weirline_flow::{QueueLimits, Strategy as Policy};

/// What one message costs besides its bytes and its header.
const OVERHEAD: usize = 40;

#[test]
fn answers_go_on_to_two_windows_where_the_queue_is_larger() {
    // (window, bytes of the queue, room for answers).
    for (window, bytes, room) in [
        (1000, 1 << 20, 2000),
        (1000, 2001, 2000),
        (1000, 2000, 1000),
        (1000, 100, 1000),
        (usize::MAX, usize::MAX, usize::MAX),
        (0, 1 << 20, 0),
    ] {
        let now = start();
        let config = config(|config| {
            config.send_window_bytes = window;
            config.send_queue.bytes = bytes;
        });
        let mut connection = connection(Role::Server, &config, now);
        assert_eq!(connection.send_capacity(), window);
        assert_eq!(connection.reply_capacity(), room, "{window} {bytes}");
        let _ = connection.send(now, MessageKind::Binary, &[7; 50]).unwrap();
        let used = OVERHEAD + 2 + 50;
        assert_eq!(connection.send_capacity(), window.saturating_sub(used));
        assert_eq!(connection.reply_capacity(), room.saturating_sub(used));
        connection.close(now, code(1000), "");
        assert_eq!((connection.send_capacity(), connection.reply_capacity()), (0, 0));
    }
}

/// What one message brings about may be several: room for those is left.
#[test]
fn answers_stop_at_half_of_the_messages() {
    for messages in [1, 2, 3, 10, 5000] {
        let now = start();
        let mut connection = connection(
            Role::Server,
            &config(|config| config.send_queue.messages = messages),
            now,
        );
        let mut sent = 0;
        while connection.reply_capacity() > 0 {
            let _ = connection.send(now, MessageKind::Binary, b"").unwrap();
            sent += 1;
        }
        assert_eq!(sent, messages.div_ceil(2));
        let has_room = connection.send_capacity() > 0;
        assert!(has_room || ![2, 3, 10].contains(&messages), "of one's own accord");
    }
}

/// When and what is sent: the length of a message, and how much the transport takes then.
fn sends() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let len = prop_oneof![
        4 => 0usize..100,
        2 => 100usize..9000,
        1 => 60_000usize..70_000,
        1 => Just(300_000),
    ];
    let taken = prop_oneof![6 => Just(0), 2 => 0usize..20_000, 1 => Just(usize::MAX)];
    prop::collection::vec((len, taken), 1..100)
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![Policy::BREAK, Policy::DropOldest, Policy::Pause])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One answer of any size, while there is room for answers: it is taken, nothing is dropped for it, and what is held is within the
    /// bound and one answer.
    #[test]
    fn an_answer_that_has_room_is_taken(
        sends in sends(),
        policy in policy(),
        window in 1usize..30_000,
        more in 1usize..200_000,
        messages in 1usize..100,
        share in any::<bool>(),
    ) {
        for role in ROLES {
            let now = start();
            let bytes = window + more;
            let config = config(|config: &mut Config| {
                config.send_window_bytes = window;
                config.send_queue = QueueLimits { messages, bytes };
                config.send_strategy = policy;
            });
            let mut connection = connection(role, &config, now);
            let (mut accepted, mut sent) = (Vec::new(), Vec::new());
            for (len, taken) in &sends {
                sent.extend(take(&mut connection, now, *taken));
                let before = connection.send_counters();
                let queued = before.pushed.bytes - before.popped.bytes;
                if connection.reply_capacity() == 0 {
                    continue;
                }
                let payload = vec![u8::try_from(accepted.len()).unwrap(); *len];
                let taken = if share {
                    connection.send_shared(now, MessageKind::Binary, b"", payload.clone().into())
                } else {
                    connection.send(now, MessageKind::Binary, &payload)
                };
                prop_assert_eq!(taken.map(|sent| sent.dropped.messages), Ok(0));
                accepted.push((BINARY, payload));
                prop_assert!(queued < bytes.max(4 * window) as u64, "{} are queued", queued);
            }
            prop_assert!(connection.is_open());
            sent.extend(drain(&mut connection, now));
            prop_assert!(messages_of(role, &sent) == accepted, "all of it, in order");
        }
    }

    /// Several small answers at a time find room too, as long as they are no more than half of what may be queued.
    #[test]
    fn several_answers_at_a_time_are_taken(
        at_a_time in 1usize..50,
        spare in 0usize..20,
        len in 0usize..100,
        rounds in 1usize..300,
    ) {
        let now = start();
        let config = config(|config| config.send_queue.messages = 2 * at_a_time + spare);
        let mut connection = connection(Role::Server, &config, now);
        for _ in 0..rounds {
            if connection.reply_capacity() == 0 {
                let _ = drain(&mut connection, now);
            }
            for _ in 0..at_a_time {
                let sent = connection.send(now, MessageKind::Binary, &vec![1; len]);
                prop_assert_ne!(sent, Err(SendError::Broken));
            }
        }
    }
}

fn messages_of(role: Role, wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    messages(&parse(role, wire))
}
