//! The golden vectors (`vectors/protocol.json`), and the worked exchanges of the page, against the codecs.

use serde_json::{Value, json};
use weirline_log::{PayloadKind, Seq, StreamId};
use weirline_resume::text;
use weirline_resume::wire::{AttachValue, ClientMessage, Form, Item, RollingHash, ServerMessage, WireError};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/protocol.json")).unwrap()
}

fn rows(section: &str) -> Vec<Value> {
    let rows = vectors()[section].as_array().unwrap().clone();
    assert!(!rows.is_empty(), "{section}");
    rows
}

fn text_of<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} of {row}"))
}

fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A message of either side: what a test does with it is the same.
#[derive(Debug, PartialEq)]
enum Message<'a> {
    Client(ClientMessage<'a>),
    Server(ServerMessage<'a>),
}

impl<'a> Message<'a> {
    fn decode(from: &str, form: Form, message: &'a [u8]) -> Result<Option<Self>, WireError> {
        match from {
            "client" => {
                ClientMessage::decode(form, form.kind(), message).map(|decoded| decoded.map(Self::Client))
            }
            "server" => {
                ServerMessage::decode(form, form.kind(), message).map(|decoded| decoded.map(Self::Server))
            }
            other => panic!("{other}"),
        }
    }

    fn encode(&self, form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Client(message) => message.encode(form, &mut out),
            Self::Server(message) => message.encode(form, &mut out),
        }
        out
    }
}

fn check_both_forms(from: &str, json: &str, binary: &[u8]) {
    let by_json = Message::decode(from, Form::Json, json.as_bytes())
        .unwrap_or_else(|error| panic!("{json}: {error}"))
        .unwrap();
    let by_binary = Message::decode(from, Form::Binary, binary)
        .unwrap_or_else(|error| panic!("{json}: {error}"))
        .unwrap();
    assert_eq!(by_json, by_binary, "{json}");
    assert_eq!(
        String::from_utf8(by_binary.encode(Form::Json)).as_deref(),
        Ok(json)
    );
    assert_eq!(by_json.encode(Form::Binary), binary, "{json}");
}

#[test]
fn every_message_has_its_two_encodings() {
    for row in rows("messages") {
        check_both_forms(
            text_of(&row, "from"),
            text_of(&row, "json"),
            &hex(text_of(&row, "hex")),
        );
    }
}

/// A client in another language finds each type in each direction that has it, and each code.
#[test]
fn no_message_and_no_code_is_missing() {
    let rows = rows("messages");
    for (from, count) in [("client", 12), ("server", 15)] {
        let mut types: Vec<String> = rows
            .iter()
            .filter(|row| row["from"] == from)
            .map(|row| {
                let message: Value = serde_json::from_str(text_of(row, "json")).unwrap();
                text_of(&message, "t").to_owned()
            })
            .collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count, "{types:?}");
    }
    for code in weirline_resume::wire::Code::ALL {
        let word = format!("\"code\":\"{code}\"");
        assert!(
            rows.iter().any(|row| text_of(row, "json").contains(&word)),
            "{code}"
        );
    }
}

#[test]
fn other_spellings_mean_the_same() {
    let messages = rows("messages");
    for row in rows("spellings") {
        let from = text_of(&row, "from");
        let meant = messages
            .iter()
            .find(|message| message["from"] == from && message["name"] == row["means"])
            .unwrap_or_else(|| panic!("{row}"));
        let json = text_of(&row, "json");
        let read = Message::decode(from, Form::Json, json.as_bytes());
        assert_eq!(
            read,
            Message::decode(from, Form::Json, text_of(meant, "json").as_bytes()),
            "{row}"
        );
        assert!(matches!(read, Ok(Some(_))), "{row}");
    }
}

#[test]
fn extensions_are_ignored() {
    for row in rows("extensions") {
        let (form, message) = match &row["json"] {
            Value::String(json) => (Form::Json, json.clone().into_bytes()),
            _ => (Form::Binary, hex(text_of(&row, "hex"))),
        };
        assert_eq!(
            Message::decode(text_of(&row, "from"), form, &message),
            Ok(None),
            "{row}"
        );
    }
}

#[test]
fn malformed_messages_are_named() {
    for (section, form) in [("malformed_json", Form::Json), ("malformed_binary", Form::Binary)] {
        for row in rows(section) {
            let message = match form {
                Form::Json => text_of(&row, "json").as_bytes().to_vec(),
                Form::Binary => hex(text_of(&row, "hex")),
            };
            match Message::decode(text_of(&row, "from"), form, &message) {
                Err(error) => assert_eq!(
                    (error.kind.as_str(), error.field),
                    (text_of(&row, "error"), text_of(&row, "field")),
                    "{row}"
                ),
                Ok(decoded) => panic!("{decoded:?} from {row}"),
            }
        }
    }
}

#[test]
fn each_form_has_its_kind_of_message() {
    for (form, kind) in [
        (Form::Json, PayloadKind::Binary),
        (Form::Binary, PayloadKind::Text),
    ] {
        for message in [&b"{\"t\":\"bye\"}"[..], &[0x14]] {
            let client = ClientMessage::decode(form, kind, message).unwrap_err();
            let server = ServerMessage::decode(form, kind, message).unwrap_err();
            assert_eq!(
                (client.kind.as_str(), server.kind.as_str()),
                ("wrong-kind", "wrong-kind")
            );
        }
    }
}

#[test]
fn hashes_roll_as_the_page_says() {
    let mut hash = RollingHash::ZERO;
    for row in rows("hashes") {
        let number = |field: &str| Seq::new(row[field].as_u64().unwrap()).unwrap();
        let stream = row["stream"].as_str().map(|name| StreamId::new(name).unwrap());
        let item = match (&row["text"], &row["binary"], stream) {
            (Value::String(text), _, Some(stream)) => {
                Item::publish(&stream, PayloadKind::Text, text.as_bytes())
            }
            (_, Value::String(_), Some(stream)) => Item::publish(&stream, PayloadKind::Binary, &[0x00, 0xff]),
            _ => Item::skip(number("from"), number("to")),
        };
        hash = hash.then(item);
        assert_eq!(item.0[..], hex(text_of(&row, "item")), "{row}");
        assert_eq!(hash.0[..], hex(text_of(&row, "hash")), "{row}");
    }
}

#[test]
fn a_hello_fits_into_an_upgrade_request() {
    for row in rows("attach_values") {
        let value = AttachValue::parse(text_of(&row, "value")).unwrap();
        let hello = value.hello().unwrap();
        let expect = ClientMessage::decode(Form::Json, PayloadKind::Text, text_of(&row, "json").as_bytes());
        assert_eq!(Ok(Some(ClientMessage::Hello(hello.clone()))), expect);
        let written = [Form::Json, Form::Binary].map(|form| AttachValue::encode(form, hello.clone()));
        assert!(
            written.contains(&Some(text_of(&row, "value").into())),
            "{written:?}"
        );
        assert_eq!(format!("{value:?}"), "AttachValue(..)", "it has a token in it");
    }
    let refused = |value: &str| AttachValue::parse(value).and_then(|value| value.hello().map(|_| ()));
    for (value, error) in [
        ("", "truncated"),
        ("FA", "unknown-type"),
        ("eyJ0IjoiYnllIn0", "unknown-type"),
        ("a b", "bad-value"),
        ("FA==", "bad-value"),
        (&"A".repeat(8193), "bad-value"),
    ] {
        assert_eq!(
            refused(value).map_err(|error| error.kind.as_str()),
            Err(error),
            "{value}"
        );
    }
}

/// What the page shows is what the codecs do.
#[test]
fn worked_exchanges_are_true() {
    let page = include_str!("../protocol/multiplexed.md");
    let mut lines = page.lines();
    let mut shown = 0;
    while let Some(line) = lines.next() {
        let (from, json) = match line.split_at_checked(2) {
            Some(("C ", json)) if json.starts_with('{') => ("client", json),
            Some(("S ", json)) if json.starts_with('{') => ("server", json),
            _ => continue,
        };
        check_both_forms(from, json, &hex(lines.next().unwrap_or_default().trim()));
        shown += 1;
    }
    assert!(shown >= 25, "{shown}");
}

fn text_fields_of_client(message: &text::ClientMessage<'_>) -> Value {
    use text::{ClientMessage as M, Start};
    match message {
        M::Session { secret, attach } => {
            json!({"t": "session", "secret": secret.as_str(), "attach": attach.get()})
        }
        M::ResumeFrom(Start::Head) => json!({"t": "resume-from", "from": "head"}),
        M::ResumeFrom(Start::Nothing) => json!({"t": "resume-from", "from": "none"}),
        M::ResumeFrom(Start::After { offset, epoch }) => {
            let mut fields = json!({"t": "resume-from", "after": offset.get()});
            if let Some(epoch) = epoch {
                fields["epoch"] = epoch.to_string().into();
            }
            fields
        }
        M::Ack(offset) => json!({"t": "ack", "offset": offset.get()}),
        M::Publish { seq, kind, payload } => {
            with_payload(json!({"t": "publish", "seq": seq.get()}), *kind, payload)
        }
        other => panic!("{other:?}"),
    }
}

fn text_fields_of_server(message: &text::ServerMessage<'_>) -> Value {
    use text::ServerMessage as M;
    match message {
        M::ResumeFrom(seq) => json!({"t": "have", "seq": seq.get()}),
        M::Resumed { offset, head, epoch } => {
            json!({"t": "resumed", "offset": offset.get(), "head": head.get(), "epoch": epoch.to_string()})
        }
        M::Reset { epoch, common } => {
            json!({"t": "reset", "epoch": epoch.to_string(), "common": common.get()})
        }
        M::Gap { from, to, reason } => {
            json!({"t": "gap", "from": from.get(), "to": to.get(), "reason": reason.as_str()})
        }
        M::Data {
            offset,
            kind,
            payload,
        } => with_payload(json!({"t": "data", "offset": offset.get()}), *kind, payload),
        M::Ack(seq) => json!({"t": "acked", "seq": seq.get()}),
        M::Pause(reason) => json!({"t": "pause", "reason": reason.as_str()}),
        M::Continue => json!({"t": "continue"}),
        M::Error { code, text } => json!({"t": "error", "code": code.as_str(), "text": text.as_str()}),
        M::Refused { seq, code, text } => {
            json!({"t": "refused", "seq": seq.get(), "code": code.as_str(), "text": text.as_str()})
        }
        other => panic!("{other:?}"),
    }
}

fn with_payload(mut fields: Value, kind: PayloadKind, payload: &[u8]) -> Value {
    match kind {
        PayloadKind::Text => fields["payload"] = String::from_utf8(payload.to_vec()).unwrap().into(),
        PayloadKind::Binary => {
            let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            fields["payload_hex"] = digits.into();
        }
    }
    fields
}

#[test]
fn the_text_form_has_its_spellings() {
    for row in rows("text") {
        let (kind, message) = match &row["text"] {
            Value::String(text) => (PayloadKind::Text, text.clone().into_bytes()),
            _ => (PayloadKind::Binary, hex(text_of(&row, "binary"))),
        };
        let (mut written, fields) = (Vec::new(), row["fields"].clone());
        if row["from"] == "client" {
            let read = text::ClientMessage::parse(kind, &message).unwrap();
            assert_eq!(text_fields_of_client(&read), fields);
            assert_eq!(read.encode(&mut written), kind);
        } else {
            let read = text::ServerMessage::parse(kind, &message).unwrap();
            assert_eq!(text_fields_of_server(&read), fields);
            assert_eq!(read.encode(&mut written), kind);
        }
        assert_eq!(written, message, "{row}");
    }
}

#[test]
fn the_text_form_refuses_what_is_not_its_own() {
    for row in rows("malformed_text") {
        let message = text_of(&row, "text").as_bytes();
        assert_eq!(row["error"], "bad-message", "the only one it has");
        if row["from"] == "client" {
            text::ClientMessage::parse(PayloadKind::Text, message).expect_err(text_of(&row, "text"));
        } else {
            text::ServerMessage::parse(PayloadKind::Text, message).expect_err(text_of(&row, "text"));
        }
    }
}
