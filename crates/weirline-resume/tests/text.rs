//! The codec: parse ∘ format is the identity, what is parsed has one spelling, and nothing panics.

use proptest::prelude::*;
use weirline_log::{Attach, Epoch, NUMBER_MAX, Offset, PayloadKind, Seq};
use weirline_resume::Secret;
use weirline_resume::text::{
    ClientMessage, ErrorCode, ErrorText, GapReason, PauseReason, ServerMessage, Start, TextError,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..20, Just(NUMBER_MAX), 0..=NUMBER_MAX]
}

fn offset() -> impl Strategy<Value = Offset> {
    number().prop_map(|n| Offset::new(n).unwrap())
}

fn some_offset() -> impl Strategy<Value = Offset> {
    number().prop_map(|n| Offset::new(n.max(1)).unwrap())
}

fn some_seq() -> impl Strategy<Value = Seq> {
    number().prop_map(|n| Seq::new(n.max(1)).unwrap())
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![any::<u64>(), 0u64..20].prop_map(Epoch::new)
}

fn payload() -> impl Strategy<Value = (PayloadKind, Vec<u8>)> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(|bytes| (PayloadKind::Binary, bytes)),
        any::<String>().prop_map(|text| (PayloadKind::Text, text.into_bytes())),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Head),
        Just(Start::Nothing),
        (offset(), proptest::option::of(epoch())).prop_map(|(offset, epoch)| Start::After { offset, epoch }),
    ]
}

/// What both directions promise of each message.
macro_rules! round_trip {
    ($type:ident, $message:expr) => {{
        let message = $message;
        let mut wire = Vec::new();
        let kind = message.encode(&mut wire);
        prop_assert_eq!($type::parse(kind, &wire), Ok(message));
    }};
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn client_messages_survive_the_wire(
        secret in "[A-Za-z0-9_-]{22,128}", attach in some_offset(), start in start(), ack in offset(),
        seq in some_seq(), (kind, payload) in payload(),
    ) {
        let secret = Secret::parse(&secret).unwrap();
        round_trip!(ClientMessage, ClientMessage::Session { secret, attach: Attach::new(attach.get()).unwrap() });
        round_trip!(ClientMessage, ClientMessage::ResumeFrom(start));
        round_trip!(ClientMessage, ClientMessage::Ack(ack));
        round_trip!(ClientMessage, ClientMessage::Publish { seq, kind, payload: &payload });
    }

    #[test]
    fn server_messages_survive_the_wire(
        (a, b) in (offset(), offset()), (from, to) in (some_offset(), some_offset()), epoch in epoch(),
        (kind, payload) in payload(), seq in some_seq(), reason in "[a-z0-9-]{1,32}",
        text in "[a-zü :@][a-z0-9 :ü]{0,50}", word in any::<prop::sample::Index>(),
    ) {
        let text = ErrorText::new(&text).unwrap();
        let code = *word.get(ErrorCode::ALL);
        round_trip!(ServerMessage, ServerMessage::ResumeFrom(Seq::new(a.get()).unwrap()));
        round_trip!(ServerMessage, ServerMessage::Resumed { offset: a.min(b), head: a.max(b), epoch });
        round_trip!(ServerMessage, ServerMessage::Reset { epoch, common: a });
        let reason_of_gap = *word.get(GapReason::ALL);
        round_trip!(ServerMessage, ServerMessage::Gap { from: from.min(to), to: from.max(to), reason: reason_of_gap });
        round_trip!(ServerMessage, ServerMessage::Data { offset: from, kind, payload: &payload });
        round_trip!(ServerMessage, ServerMessage::Ack(seq));
        round_trip!(ServerMessage, ServerMessage::Pause(PauseReason::new(&reason).unwrap()));
        round_trip!(ServerMessage, ServerMessage::Continue);
        round_trip!(ServerMessage, ServerMessage::Error { code, text });
        round_trip!(ServerMessage, ServerMessage::Refused { seq, code, text });
    }

    /// Bytes that are nearly messages: whatever is accepted is formatted to the very same bytes.
    #[test]
    fn what_is_accepted_has_one_spelling(
        message in prop_oneof![
            "(SESSION|RESUME_FROM|RESUMED|RESET|GAP|ACK|PAUSE|CONTINUE|ERROR)?(:?(0|[1-9][0-9]{0,17}|-1|00|head|none|retention|bad-message|[a-f0-9]{15,17}|[0-9]@[a-f0-9]{16}|[a-zA-Z_-]{0,30})){0,4}"
                .prop_map(String::into_bytes),
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
        ],
        binary in any::<bool>(),
    ) {
        let kind = if binary { PayloadKind::Binary } else { PayloadKind::Text };
        let mut wire = Vec::new();
        if let Ok(parsed) = ClientMessage::parse(kind, &message) {
            prop_assert_eq!(parsed.encode(&mut wire), kind);
            prop_assert_eq!(&wire, &message);
        }
        wire.clear();
        if let Ok(parsed) = ServerMessage::parse(kind, &message) {
            prop_assert_eq!(parsed.encode(&mut wire), kind);
            prop_assert_eq!(&wire, &message);
        }
    }
}

#[test]
fn clients_are_read_strictly() {
    fn check(message: &str, expect: TextError) {
        assert_eq!(
            ClientMessage::parse(PayloadKind::Text, message.as_bytes()),
            Err(expect),
            "{message:?}"
        );
    }
    use TextError::*;
    let secret = "abcdefghijklmnopqrstuv";
    check("", UnknownMessage);
    check("hello", UnknownMessage);
    check("RESUMED:1:2@0000000000000000", UnknownMessage);
    check("resume_from:1", UnknownMessage);
    check(" ACK:1", UnknownMessage);
    check("ACK", UnknownMessage);
    for number in [
        "",
        "-1",
        "+1",
        "01",
        "00",
        "1 ",
        " 1",
        "0x1",
        "1.0",
        "9007199254740992",
        "99999999999999999999",
        "١",
    ] {
        check(&format!("ACK:{number}"), BadNumber);
        check(&format!("RESUME_FROM:{number}"), BadNumber);
        check(&format!("SESSION:{secret}:{number}"), BadNumber);
    }
    check("ACK:1:2", BadNumber);
    check("RESUME_FROM:1:2", BadNumber);
    check("RESUME_FROM:HEAD", BadNumber);
    check("RESUME_FROM:@0123456789abcdef", BadNumber);
    check("RESUME_FROM:head@0123456789abcdef", BadNumber);
    for epoch in [
        "",
        "0",
        "0123456789ABCDEF",
        "0123456789abcde",
        "0123456789abcdef0",
        "+123456789abcdef",
    ] {
        check(&format!("RESUME_FROM:1@{epoch}"), BadEpoch);
    }
    check(&format!("SESSION:{secret}:0"), BadNumber);
    check(&format!("SESSION:{secret}"), WrongFields);
    check(&format!("SESSION:{secret}:1:"), WrongFields);
    check("SESSION:short:1", BadSecret);
    check("0:payload", BadNumber);
    check("01:payload", BadNumber);
    check("1", BadNumber);
    check("1payload", BadNumber);
    check("9007199254740992:payload", BadNumber);
    check("00000000000000001:payload", BadNumber);
}

#[test]
fn servers_are_read_strictly() {
    fn check(message: &str, expect: TextError) {
        assert_eq!(
            ServerMessage::parse(PayloadKind::Text, message.as_bytes()),
            Err(expect),
            "{message:?}"
        );
    }
    use TextError::*;
    check("SESSION:abcdefghijklmnopqrstuv:1", UnknownMessage);
    check("RESUME_FROM:head", BadNumber);
    check("RESUMED:2:1@0123456789abcdef", BadRange);
    check("RESUMED:1:2", WrongFields);
    check("RESUMED:1", WrongFields);
    check("RESUMED:1:2@0123456789abcdef:3", WrongFields);
    check("RESET:0123456789abcdef", WrongFields);
    check("RESET:1:0123456789abcdef", BadEpoch);
    check("GAP:2:1:retention", BadRange);
    check("GAP:0:1:retention", BadRange);
    check("GAP:1:2", WrongFields);
    check("GAP:1:2:lost", BadWord);
    check("PAUSE:", BadWord);
    check("PAUSE:Slow", BadWord);
    check("PAUSE", WrongFields);
    check("CONTINUE:", WrongFields);
    check("ERROR:bad-message", WrongFields);
    check("ERROR:bad-message:", BadWord);
    check("ERROR:other:text", BadWord);
    check("ERROR:too-large:0:text", BadNumber);
    check("ERROR:too-large:1", WrongFields);
    check("ERROR:too-large:1:", BadWord);
    check("ERROR:too-large:line\nbreak", BadWord);
}

#[test]
fn a_binary_message_is_numbered_and_nothing_else() {
    let check = |message: &[u8], expect: Result<(u64, &[u8]), TextError>| {
        let parsed = ServerMessage::parse(PayloadKind::Binary, message).map(|message| match message {
            ServerMessage::Data {
                offset,
                kind: PayloadKind::Binary,
                payload,
            } => (offset.get(), payload.to_vec()),
            other => panic!("{other:?}"),
        });
        assert_eq!(parsed, expect.map(|(offset, payload)| (offset, payload.to_vec())));
    };
    check(b"42:\x00\xff", Ok((42, b"\x00\xff")));
    check(b"1:", Ok((1, b"")));
    check(b"1:2:3", Ok((1, b"2:3")));
    check(b"ACK:1", Err(TextError::NotNumbered));
    check(b"", Err(TextError::NotNumbered));
    check(b"\xff", Err(TextError::NotNumbered));
    assert_eq!(
        ServerMessage::parse(PayloadKind::Text, b"ACK:\xff"),
        Err(TextError::NotUtf8)
    );
}
