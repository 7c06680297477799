//! The client's machine of `weirline-resume` over a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use weirline_log::{PayloadKind, Position, StreamId};
use weirline_resume::wire::{Begin, Form, Sub};
use weirline_resume::{
    Dial, SessionClient, SessionClientConfig, SessionEvent, SessionState, SubscribeOptions,
};

use crate::common::Server;
use crate::peer::{Got, Peer, Stream};

/// How a HELLO travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Header,
    Subprotocol,
    Message,
}

pub(crate) struct Client {
    pub(crate) machine: SessionClient,
    pub(crate) events: Vec<SessionEvent>,
    /// What was taken in, by stream.
    pub(crate) got: BTreeMap<String, Vec<(u64, String)>>,
    pub(crate) way: Way,
    form: Form,
    peer: Option<Peer>,
    dial: Dial,
    dials: u8,
    streams: BTreeMap<Sub, String>,
}

pub(crate) const START: Begin = Begin::After {
    offset: weirline_log::Offset::ZERO,
    epoch: None,
};

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Client {
    pub(crate) fn new(form: Form, way: Way) -> Self {
        Self::restore(form, way, SessionState::default())
    }

    pub(crate) fn restore(form: Form, way: Way, state: SessionState) -> Self {
        let config = SessionClientConfig {
            form,
            ..SessionClientConfig::default()
        };
        Self {
            machine: SessionClient::restore(config, state),
            events: Vec::new(),
            got: BTreeMap::new(),
            way,
            form,
            peer: None,
            dial: Dial::default(),
            dials: 0,
            streams: BTreeMap::new(),
        }
    }

    pub(crate) fn subscribe(&mut self, name: &str, begin: Begin) -> Sub {
        let options = SubscribeOptions {
            begin,
            ..SubscribeOptions::default()
        };
        let sub = self.machine.subscribe(stream(name), options).unwrap();
        self.streams.insert(sub, name.into());
        sub
    }

    pub(crate) fn publish(&mut self, name: &str, text: &str) {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.machine
            .publish(stream(name), PayloadKind::Text, payload)
            .unwrap();
    }

    /// Connects anew; what there was before is dropped without a word.
    pub(crate) async fn dial(&mut self, server: &Server) {
        self.dial_over(server.dial(1 << 20).await).await;
    }

    pub(crate) async fn dial_over(&mut self, stream: impl Stream + 'static) {
        self.dials += 1;
        self.dial = self.machine.dial(now(), [self.dials; 16], None).unwrap();
        let said = self.machine.upgrade_value().filter(|_| self.way != Way::Message);
        let form = self.form;
        let (mut offers, mut fields) = (form.subprotocol().to_owned(), Vec::new());
        match (&said, self.way) {
            (Some(value), Way::Subprotocol) => offers += &format!(", weirline.attach.{value}"),
            (Some(value), _) => fields.push(("Weirline-Attach", &value[..])),
            (None, _) => {}
        }
        fields.push(("Sec-WebSocket-Protocol", &offers[..]));
        self.peer = Some(Peer::open_over(stream, form, &fields).await);
        self.machine.handle_connected(self.dial, now(), said.is_some());
        self.flush().await;
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(&mut self) {
        self.peer = None;
        self.machine.handle_disconnected(self.dial, now(), None);
        self.take_events();
    }

    /// Says what the machine has to say.
    pub(crate) async fn flush(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        while let Some(outgoing) = self.machine.poll_transmit() {
            if !peer.send(&outgoing.to_vec()).await {
                break;
            }
        }
    }

    /// One turn: says what there is to say, takes in one message, and says what follows from it. `false` when the connection is over.
    pub(crate) async fn step(&mut self) -> bool {
        self.flush().await;
        let Some(peer) = &mut self.peer else { return false };
        let got = match self.machine.poll_timeout() {
            None => peer.next().await,
            Some(due) => match timeout_at(due.into(), peer.next()).await {
                Ok(got) => got,
                Err(_) => {
                    self.machine.handle_timeout(now());
                    return true;
                }
            },
        };
        match got {
            Got::Message(message) => {
                let kind = self.form.kind();
                self.machine.handle_message(self.dial, now(), kind, &message);
            }
            Got::Close(code, reason) => {
                self.machine
                    .handle_disconnected(self.dial, now(), Some((code, &reason)));
                self.peer = None;
            }
            Got::End => {
                self.machine.handle_disconnected(self.dial, now(), None);
                self.peer = None;
            }
        }
        self.take_events();
        self.flush().await;
        assert_eq!(self.machine.poll_close(), None, "the server broke the protocol");
        self.peer.is_some()
    }

    fn take_events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match &event {
                SessionEvent::Message {
                    sub,
                    position,
                    payload,
                    ..
                } => {
                    let text = String::from_utf8(payload.to_vec()).unwrap();
                    let got = self.got.entry(self.streams[sub].clone()).or_default();
                    got.push((position.offset.get(), text));
                    self.machine.handled(*sub, *position).unwrap();
                }
                SessionEvent::Gap { sub, epoch, to, .. } => {
                    let (sub, epoch, offset) = (*sub, *epoch, *to);
                    self.machine.handled(sub, Position { epoch, offset }).unwrap();
                }
                SessionEvent::Reset { sub, position, .. } => {
                    self.machine.handled(*sub, *position).unwrap();
                }
                _ => {}
            }
            if !matches!(event, SessionEvent::Message { .. }) {
                self.events.push(event);
            }
        }
    }

    /// Goes on until this holds; the connection must last.
    pub(crate) async fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        // Of the paused clock: heartbeats alone would go on for ever.
        let patience = Instant::now() + Duration::from_secs(3600);
        while !holds(self) {
            assert!(
                Instant::now() < patience,
                "nothing for an hour: {:?}",
                self.events
            );
            assert!(self.step().await, "over: {:?}", self.events);
        }
    }

    /// Goes on until the connection is over.
    pub(crate) async fn until_over(&mut self) {
        while self.step().await {}
    }

    pub(crate) async fn until_live(&mut self) {
        self.until(|client| client.machine.is_live()).await;
    }

    pub(crate) async fn until_acked(&mut self) {
        self.until(|client| client.machine.outbox_len().0 == 0).await;
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.got.get(name).map_or(0, Vec::len)
    }

    pub(crate) fn has(&self, event: impl Fn(&SessionEvent) -> bool) -> bool {
        self.events.iter().any(event)
    }
}
