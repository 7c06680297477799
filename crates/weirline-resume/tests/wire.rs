//! The codecs of the multiplexed forms: decoding undoes encoding, what binary accepts has one spelling, every cut is an error, and
//! nothing panics.

use std::borrow::Cow;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, PayloadKind, Position, Seq, SessionId, StreamId};
use weirline_resume::wire::{
    Ack, Attached, AuthAnswer, Begin, ClientMessage, Code, Credential, Credit, Data, Detail, Drain,
    Durability, Fault, Flow, Form, Gap, GapReason, Hello, Limits, Nonce, Payload, Ping, Policy, PubAck,
    Publish, Refused, Reject, Reset, RollingHash, ServerMessage, Skip, Standing, Sub, SubState, Subscribe,
    Subscribed, Token, Url, Welcome, Word, data_prefix_binary, data_prefix_json, data_tail_json,
};

fn number() -> impl Strategy<Value = u64> {
    let lengths = (0u32..54, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1));
    prop_oneof![0u64..3, Just(NUMBER_MAX), Just(127), Just(128), lengths]
}

fn offset() -> impl Strategy<Value = Offset> {
    number().prop_map(|value| Offset::new(value).unwrap())
}

fn seq() -> impl Strategy<Value = Seq> {
    number().prop_map(|value| Seq::new(value.max(1)).unwrap())
}

fn attach() -> impl Strategy<Value = Attach> {
    number().prop_map(|value| Attach::new(value.max(1)).unwrap())
}

fn sub() -> impl Strategy<Value = Sub> {
    prop_oneof![1u32..4, any::<u32>()].prop_map(|value| Sub::new(value.max(1)).unwrap())
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>().prop_map(Epoch::new), offset()).prop_map(|(epoch, offset)| Position { epoch, offset })
}

fn limits() -> impl Strategy<Value = Limits> {
    (number(), number()).prop_map(|(bytes, messages)| Limits { bytes, messages })
}

fn stream() -> impl Strategy<Value = StreamId> {
    "[A-Za-z0-9._-]{1,128}".prop_map(|name| StreamId::new(&name).unwrap())
}

fn millis(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_millis)
}

fn payload() -> impl Strategy<Value = Payload<'static>> {
    let text = prop_oneof![any::<String>(), "[\u{0}-\u{7f}]{0,20}"];
    prop_oneof![
        text.prop_map(|text| (PayloadKind::Text, text.into_bytes())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| (PayloadKind::Binary, bytes)),
    ]
    .prop_map(|(kind, bytes)| Payload {
        kind,
        bytes: Cow::Owned(bytes),
    })
}

fn fault() -> BoxedStrategy<Fault<'static>> {
    let code = proptest::sample::select(Code::ALL);
    let text = any::<String>().prop_map(|text| text.replace(char::is_control, ""));
    (code, text)
        .prop_map(|(code, text)| Fault {
            code,
            detail: Detail::lossy(text),
        })
        .boxed()
}

fn credential() -> impl Strategy<Value = Credential<'static>> {
    "[!-~]{1,60}".prop_map(|text| Credential::new(text).unwrap())
}

fn subscribe() -> BoxedStrategy<Subscribe> {
    let begin = prop_oneof![
        (offset(), option::of(any::<u64>().prop_map(Epoch::new)))
            .prop_map(|(offset, epoch)| Begin::After { offset, epoch }),
        Just(Begin::Head),
        Just(Begin::AckedOrHead),
        Just(Begin::AckedOrStart),
    ];
    let policy = prop_oneof![
        Just(Policy::Pause),
        number().prop_map(|keep| Policy::DropOldest { keep: keep.max(1) }),
        Just(Policy::Break),
    ];
    (sub(), stream(), begin, policy, limits())
        .prop_map(|(sub, stream, begin, policy, limits)| Subscribe {
            sub,
            stream,
            begin,
            policy,
            limits,
        })
        .boxed()
}

fn flow() -> impl Strategy<Value = Flow> {
    let word = "[a-z0-9-]{1,32}".prop_map(|word| Word::new(&word).unwrap());
    (option::of(sub()), option::of(word)).prop_map(|(sub, pause)| Flow { sub, pause })
}

fn ping(server: bool) -> BoxedStrategy<Ping> {
    let standing =
        (sub(), option::of(position()), option::of(limits())).prop_map(move |(sub, position, limits)| {
            Standing {
                sub,
                position,
                limits: limits.filter(|_| !server),
            }
        });
    (
        number(),
        option::of(seq()),
        option::of(limits()),
        vec(standing, 0..5),
    )
        .prop_map(move |(echo, count, limits, mut subs)| {
            subs.sort_by_key(|standing| standing.sub);
            subs.dedup_by_key(|standing| standing.sub);
            let count = count.filter(|_| server);
            Ping {
                echo,
                count,
                limits,
                subs,
            }
        })
        .boxed()
}

fn hello() -> BoxedStrategy<Hello<'static>> {
    let session =
        any::<([u8; 32], [u8; 32])>().prop_map(|(session, token)| (SessionId(session), Token(token)));
    (
        option::of(session),
        attach(),
        any::<[u8; 16]>().prop_map(Nonce),
        option::of(credential()),
        limits(),
        vec(subscribe(), 0..4),
    )
        .prop_map(|(session, attach, nonce, credential, limits, mut subs)| {
            subs.sort_by_key(|subscribe| subscribe.sub);
            subs.dedup_by_key(|subscribe| subscribe.sub);
            let least = Attach::new(2).unwrap();
            let attach = if session.is_some() {
                attach.max(least)
            } else {
                Attach::FIRST
            };
            Hello {
                session,
                attach,
                nonce,
                credential,
                limits,
                subs,
            }
        })
        .boxed()
}

fn client() -> BoxedStrategy<ClientMessage<'static>> {
    use ClientMessage as M;
    prop_oneof![
        hello().prop_map(M::Hello),
        subscribe().prop_map(M::Subscribe),
        sub().prop_map(M::Unsubscribe),
        (sub(), position()).prop_map(|(sub, position)| M::Ack(Ack { sub, position })),
        (option::of(sub()), limits()).prop_map(|(sub, limits)| M::Credit(Credit { sub, limits })),
        flow().prop_map(M::Flow),
        (seq(), stream(), payload()).prop_map(|(seq, stream, payload)| M::Publish(Publish {
            seq,
            stream,
            payload
        })),
        (seq(), seq()).prop_map(|(a, b)| M::Skip(Skip {
            from: a.min(b),
            to: a.max(b)
        })),
        ping(false).prop_map(M::Ping),
        ping(false).prop_map(M::Pong),
        credential().prop_map(M::Auth),
        Just(M::Bye),
    ]
    .boxed()
}

fn welcome() -> BoxedStrategy<Welcome> {
    let ids = any::<([u8; 32], [u8; 32], [u8; 16])>();
    let outcome = proptest::sample::select(Attached::ALL);
    let durability = proptest::sample::select(Durability::ALL);
    let numbers = (number(), number(), 1000u64..=3_600_000, number());
    (ids, attach(), outcome, durability, numbers, limits())
        .prop_map(
            |((session, token, hash), attach, outcome, durability, numbers, limits)| {
                let (count, ttl, heartbeat, size) = numbers;
                Welcome {
                    session: SessionId(session),
                    token: (outcome == Attached::New).then_some(Token(token)),
                    attach,
                    outcome,
                    count: Seq::new(count).unwrap(),
                    hash: RollingHash(hash),
                    durability,
                    ttl: Duration::from_millis(ttl),
                    heartbeat: Duration::from_millis(heartbeat),
                    size: size.max(1024),
                    limits,
                }
            },
        )
        .boxed()
}

fn told() -> BoxedStrategy<ServerMessage<'static>> {
    use ServerMessage as M;
    let state = proptest::sample::select(SubState::ALL);
    let reason = proptest::sample::select(GapReason::ALL);
    prop_oneof![
        welcome().prop_map(M::Welcome),
        (sub(), position(), offset(), state).prop_map(|(sub, position, head, state)| {
            let head = head.max(position.offset);
            M::Subscribed(Subscribed {
                sub,
                position,
                head,
                state,
            })
        }),
        (sub(), option::of(fault())).prop_map(|(sub, fault)| M::Unsubscribed { sub, fault }),
        data().prop_map(M::Data),
        limits().prop_map(|limits| M::Credit(Credit { sub: None, limits })),
        flow().prop_map(M::Flow),
        (sub(), offset(), offset(), reason).prop_map(|(sub, a, b, reason)| {
            let (from, to) = (a.min(b).max(Offset::FIRST), a.max(b).max(Offset::FIRST));
            M::Gap(Gap {
                sub,
                from,
                to,
                reason,
            })
        }),
        (sub(), position()).prop_map(|(sub, at)| M::Reset(Reset {
            sub,
            epoch: at.epoch,
            common: at.offset
        })),
    ]
    .boxed()
}

fn server() -> BoxedStrategy<ServerMessage<'static>> {
    use ServerMessage as M;
    let refused =
        (fault(), option::of(millis(1, 60_000))).prop_map(|(fault, retry)| Refused { fault, retry });
    let accepted =
        option::of(millis(1, NUMBER_MAX)).prop_map(|expires| M::Auth(AuthAnswer::Accepted { expires }));
    let url = "wss?://[!-~]{0,40}".prop_map(|url| Url::new(url).unwrap());
    let reject = (
        fault(),
        any::<bool>(),
        option::of(millis(0, 60_000)),
        option::of(attach()),
    );
    prop_oneof![
        8 => told(),
        1 => (seq(), option::of(refused)).prop_map(|(seq, refused)| M::PubAck(PubAck { seq, refused })),
        1 => ping(true).prop_map(M::Ping),
        1 => ping(true).prop_map(M::Pong),
        1 => accepted,
        1 => fault().prop_map(|fault| M::Auth(AuthAnswer::Refused(fault))),
        1 => (millis(0, 60_000), millis(60_000, 3_600_000), option::of(url))
            .prop_map(|(after, deadline, url)| M::Drain(Drain { after, deadline, url })),
        1 => reject.prop_map(|(fault, resumable, retry, attach)| M::Reject(Reject { fault, resumable, retry, attach })),
        1 => option::of(fault()).prop_map(M::Bye),
    ]
    .boxed()
}

fn data() -> impl Strategy<Value = Data<'static>> {
    (sub(), seq(), seq(), payload()).prop_map(|(sub, offset, step, payload)| {
        let offset = Offset::new(offset.get()).unwrap();
        let previous = Offset::new(offset.get() - step.get().min(offset.get())).unwrap();
        Data {
            sub,
            offset,
            previous,
            payload,
        }
    })
}

/// What each form promises of each message. Where its payload begins, if it has one, says the caller.
macro_rules! round_trip {
    ($type:ident, $message:expr, $payload:expr) => {{
        let message = $message;
        for form in [Form::Json, Form::Binary] {
            let mut wire = Vec::new();
            message.encode(form, &mut wire);
            let kind = form.kind();
            let read = $type::decode(form, kind, &wire);
            prop_assert_eq!(read, Ok(Some(message.clone())));
            let cuts = match form {
                Form::Json => 0..wire.len(),
                Form::Binary => 0..wire.len() - $payload,
            };
            for cut in cuts {
                let error = $type::decode(form, kind, &wire[..cut]).map_err(|error| error.kind.as_str());
                let expect = match form {
                    Form::Json => "not-json",
                    Form::Binary => "truncated",
                };
                prop_assert_eq!(error, Err(expect), "cut at {}", cut);
            }
        }
    }};
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn client_messages_survive_both_forms(message in client()) {
        let payload = match &message {
            ClientMessage::Publish(publish) => publish.payload.bytes.len(),
            _ => 0,
        };
        round_trip!(ClientMessage, message, payload);
    }

    #[test]
    fn server_messages_survive_both_forms(message in server()) {
        let payload = match &message {
            ServerMessage::Data(data) => data.payload.bytes.len(),
            _ => 0,
        };
        round_trip!(ServerMessage, message, payload);
    }

    /// Bytes that are nearly messages: what binary accepts has one spelling; what JSON accepts can be said in both forms.
    #[test]
    fn nearly_messages((one, other) in (client(), server()), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for form in [Form::Json, Form::Binary] {
            for from_client in [true, false] {
                let mut wire = Vec::new();
                if from_client { one.encode(form, &mut wire) } else { other.encode(form, &mut wire) }
                for (at, to) in &changes {
                    let at = at.index(wire.len());
                    wire[at] = *to;
                }
                judge(form, &wire)?;
            }
        }
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..60)) {
        judge(Form::Binary, &bytes)?;
        judge(Form::Json, &bytes)?;
    }

    /// What a server writes beside a shared payload is the message.
    #[test]
    fn parts_of_a_data_make_the_whole(data in data()) {
        let Data { sub, offset, previous, payload: Payload { kind, bytes } } = &data;
        let mut whole = Vec::new();
        ServerMessage::Data(data.clone()).encode(Form::Binary, &mut whole);
        let prefix = data_prefix_binary(*sub, *offset, *previous, *kind);
        prop_assert!(prefix.len() <= 23);
        prop_assert_eq!([&prefix[..], bytes].concat(), whole);

        let mut whole = Vec::new();
        ServerMessage::Data(data.clone()).encode(Form::Json, &mut whole);
        let mut parts = data_prefix_json(*sub).to_vec();
        data_tail_json(&mut parts, *offset, *previous, *kind, bytes);
        prop_assert_eq!(String::from_utf8(parts), String::from_utf8(whole));
    }
}

/// A code that is not known is read as another, so that such a message has two spellings.
fn has_unknown_code(wire: &[u8], again: &[u8]) -> bool {
    let changed: Vec<_> = wire.iter().zip(again).filter(|(a, b)| a != b).collect();
    wire.len() == again.len()
        && changed.len() == 1
        && *changed[0].0 > 20
        && *changed[0].1 == Code::Unavailable.number()
}

fn judge(form: Form, wire: &[u8]) -> Result<(), TestCaseError> {
    macro_rules! judge {
        ($type:ident) => {
            if let Ok(Some(message)) = $type::decode(form, form.kind(), wire) {
                let mut again = Vec::new();
                message.encode(form, &mut again);
                if form == Form::Binary {
                    prop_assert!(
                        again == wire || has_unknown_code(wire, &again),
                        "{:?}",
                        message
                    );
                }
                let read = $type::decode(form, form.kind(), &again);
                prop_assert_eq!(read.as_ref(), Ok(&Some(message.clone())));
                let other = if form == Form::Json {
                    Form::Binary
                } else {
                    Form::Json
                };
                let mut translated = Vec::new();
                message.encode(other, &mut translated);
                let read = $type::decode(other, other.kind(), &translated);
                prop_assert_eq!(read, Ok(Some(message.clone())));
            }
        };
    }
    judge!(ClientMessage);
    judge!(ServerMessage);
    Ok(())
}
