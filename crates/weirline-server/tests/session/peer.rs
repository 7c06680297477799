//! The far end of a connection to `/v1/ws`, frame by frame. What is said and heard is JSON here, whatever form is spoken.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use weirline_log::PayloadKind;
use weirline_resume::wire::{AttachValue, ClientMessage, Form, ServerMessage};

use crate::common::{Server, upgrade};

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Message(Vec<u8>),
    Close(u16, String),
    End,
}

/// A pipe, or a socket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    pub(crate) form: Form,
}

/// A request for `/v1/ws` with further fields.
pub(crate) fn request(fields: &[(&str, &str)]) -> String {
    let mut request = upgrade("/v1/ws");
    request.truncate(request.len() - 2);
    for (name, value) in fields {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}

/// The value of a HELLO for the upgrade request.
pub(crate) fn value(form: Form, hello: &str) -> String {
    match ClientMessage::decode(Form::Json, PayloadKind::Text, hello.as_bytes()).unwrap() {
        Some(ClientMessage::Hello(hello)) => AttachValue::encode(form, hello).unwrap(),
        other => panic!("{other:?}"),
    }
}

impl Peer {
    /// Upgraded, and nothing said yet.
    pub(crate) async fn open(server: &Server, form: Form) -> Self {
        Self::open_with(server, form, &[("Sec-WebSocket-Protocol", form.subprotocol())]).await
    }

    /// With a HELLO in the upgrade request.
    pub(crate) async fn open_saying(server: &Server, form: Form, hello: &str) -> Self {
        let value = value(form, hello);
        let fields = [
            ("Sec-WebSocket-Protocol", form.subprotocol()),
            ("Weirline-Attach", &value),
        ];
        Self::open_with(server, form, &fields).await
    }

    pub(crate) async fn open_with(server: &Server, form: Form, fields: &[(&str, &str)]) -> Self {
        Self::open_over(server.dial(1 << 20).await, form, fields).await
    }

    pub(crate) async fn open_over(
        stream: impl Stream + 'static,
        form: Form,
        fields: &[(&str, &str)],
    ) -> Self {
        let mut stream: Box<dyn Stream> = Box::new(stream);
        stream.write_all(request(fields).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let picked = format!("Sec-WebSocket-Protocol: {}\r\n", form.subprotocol()).to_lowercase();
        assert!(head.to_lowercase().contains(&picked), "{head}");
        assert!(!head.contains("weirline.attach"), "{head}");
        let read = Vec::new();
        Self { stream, read, form }
    }

    /// One frame, masked with the key 0. `false` when the stream is over.
    pub(crate) async fn frame(&mut self, opcode: u8, payload: &[u8]) -> bool {
        let mut frame = vec![0x80 | opcode];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(len @ 0..=125), _) => frame.push(0x80 | len),
            (_, Ok(len)) => {
                frame.push(0x80 | 126);
                frame.extend(len.to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.is_ok()
    }

    pub(crate) async fn send(&mut self, message: &[u8]) -> bool {
        let opcode = if self.form == Form::Json { 1 } else { 2 };
        self.frame(opcode, message).await
    }

    /// Says a message that is written as JSON here. `false` when the stream is over.
    pub(crate) async fn say(&mut self, message: &str) -> bool {
        let decoded = ClientMessage::decode(Form::Json, PayloadKind::Text, message.as_bytes());
        let decoded = decoded.unwrap_or_else(|error| panic!("{message}: {error}"));
        let mut written = Vec::new();
        decoded.unwrap().encode(self.form, &mut written);
        self.send(&written).await
    }

    /// Waits for the next message, or the end.
    pub(crate) async fn next(&mut self) -> Got {
        let mut message = Vec::new();
        loop {
            let Some((first, payload)) = self.read_frame().await else {
                return Got::End;
            };
            match first & 0x0F {
                0..=2 => {
                    message.extend(payload);
                    if first & 0x80 != 0 {
                        return Got::Message(message);
                    }
                }
                9 => drop(self.frame(10, &payload).await),
                10 => {}
                8 => {
                    self.frame(8, &payload[..payload.len().min(2)]).await;
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).unwrap();
                    return Got::Close(code, reason);
                }
                other => panic!("opcode {other}"),
            }
        }
    }

    async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((from, len)) = frame_at(&self.read)
                && self.read.len() >= from + len
            {
                let rest = self.read.split_off(from + len);
                let frame = std::mem::replace(&mut self.read, rest);
                return Some((frame[0], frame[from..].to_vec()));
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next message as JSON; a close as `code reason`.
    pub(crate) async fn hear(&mut self) -> String {
        match self.next().await {
            Got::Message(message) => self.json(&message),
            Got::Close(code, reason) => format!("{code} {reason}"),
            Got::End => "end".into(),
        }
    }

    fn json(&self, message: &[u8]) -> String {
        let decoded = ServerMessage::decode(self.form, self.form.kind(), message);
        let mut json = Vec::new();
        decoded.unwrap().unwrap().encode(Form::Json, &mut json);
        String::from_utf8(json).unwrap()
    }

    pub(crate) async fn expect(&mut self, messages: &[&str]) {
        for message in messages {
            assert_eq!(self.hear().await, *message);
        }
    }

    /// Hears a message of this type and returns it.
    pub(crate) async fn expect_type(&mut self, name: &str) -> String {
        let message = self.hear().await;
        assert!(
            message.starts_with(&format!(r#"{{"t":"{name}""#)),
            "{name}: {message}"
        );
        message
    }

    /// Hears REJECT with this code, and the close behind it.
    pub(crate) async fn expect_reject(&mut self, code: &str) -> String {
        let reject = self.expect_type("reject").await;
        assert!(
            reject.contains(&format!(r#""code":"{code}""#)),
            "{code}: {reject}"
        );
        assert_eq!(self.hear().await, format!("1008 {code}"));
        reject
    }
}

/// Where the payload of the first frame begins, and its length.
fn frame_at(read: &[u8]) -> Option<(usize, usize)> {
    assert!(
        read.get(1).is_none_or(|byte| byte & 0x80 == 0),
        "a server masks nothing"
    );
    match *read.get(1)? {
        126 => {
            let len = read.get(2..4)?.try_into().ok()?;
            Some((4, u16::from_be_bytes(len).into()))
        }
        127 => {
            let len = read.get(2..10)?.try_into().ok()?;
            Some((10, usize::try_from(u64::from_be_bytes(len)).ok()?))
        }
        len => Some((2, len.into())),
    }
}

/// The value of a string field.
pub(crate) fn field<'m>(message: &'m str, name: &str) -> &'m str {
    let (_, behind) = message.split_once(&format!(r#""{name}":""#)).expect(name);
    behind.split_once('"').unwrap().0
}

/// The value of a number's field.
pub(crate) fn number(message: &str, name: &str) -> u64 {
    let (_, behind) = message.split_once(&format!(r#""{name}":"#)).expect(name);
    let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap();
    behind[..end].parse().unwrap()
}

/// A HELLO that makes a session.
pub(crate) fn hello_new(subs: &str) -> String {
    format!(r#"{{"t":"hello","v":1,"attach":1,"nonce":"AAAAAAAAAAAAAAAAAAAAAA","subs":[{subs}]}}"#)
}

/// A HELLO for the session of this WELCOME, with a nonce that is the attach's.
pub(crate) fn hello_again(welcome: &str, attach: u64, subs: &str) -> String {
    let (session, token) = (field(welcome, "session"), field(welcome, "token"));
    format!(
        r#"{{"t":"hello","v":1,"session":"{session}","token":"{token}","attach":{attach},"nonce":"{attach:0>21}A","subs":[{subs}]}}"#
    )
}
