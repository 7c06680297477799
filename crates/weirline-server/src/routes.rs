//! What may be asked for, and by whom.

use std::fmt;

use weirline_handshake::{Rejection, UpgradeRequest, UpgradeResponse, negotiate_subprotocol};
use weirline_log::StreamId;
use weirline_resume::wire::{ATTACH_HEADER, ATTACH_SUBPROTOCOL, Form};

use crate::Config;

/// Where a request leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Echo,
    Stream(StreamId),
    Session(Asked),
}

/// What a request to `/v1/ws` asks for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) form: Form,
    /// Each HELLO that the request brings; more than one is an error, which is said in-band, and two say it. A token is in each: they are not
    /// shown.
    pub(crate) hellos: Vec<String>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (form, hellos) = (self.form, self.hellos.len());
        write!(f, "Asked {{ form: {form:?}, hellos: {hellos} }}")
    }
}

/// The subprotocols of `/v1/streams/{stream}`. A client that offers none gets the text form as well.
const STREAM_SUBPROTOCOLS: [&str; 1] = ["weirline.v1.text"];

/// Judges a request that is valid by RFC 6455: origin first, so that a foreign page cannot tell what exists here.
pub(crate) fn decide(
    config: &Config,
    request: &UpgradeRequest,
) -> Result<(Route, UpgradeResponse), Rejection> {
    config.origins.check(request)?;
    let mut route = find(config, request.path())?;
    let mut response = request.accept();
    match &mut route {
        Route::Echo => {}
        Route::Stream(_) => {
            response = response.subprotocol(negotiate_subprotocol(request, &STREAM_SUBPROTOCOLS)?)?;
        }
        Route::Session(asked) => {
            *asked = ask(request)?;
            response = response.subprotocol(asked.form.subprotocol())?;
        }
    }
    if let Some(validation) = &config.validation {
        response = response.headers(&validation.validate(request)?)?;
    }
    Ok((route, response))
}

/// Which form is to be spoken, and what HELLO came with the request.
fn ask(request: &UpgradeRequest) -> Result<Asked, Rejection> {
    let forms = [Form::Binary, Form::Json].map(Form::subprotocol);
    let chosen = negotiate_subprotocol(request, &forms)?;
    let form = chosen
        .and_then(Form::of_subprotocol)
        .ok_or_else(|| Rejection::bad_request(OFFER_A_FORM))?;
    let offers = request.subprotocols().iter();
    let tokens = offers.filter_map(|offer| offer.as_str().strip_prefix(ATTACH_SUBPROTOCOL));
    let fields = request.headers().get_all(ATTACH_HEADER).iter();
    // What is no text is no base64url either, and neither is this.
    let fields = fields.map(|value| value.to_str().unwrap_or("?"));
    let hellos = fields.chain(tokens).take(2).map(str::to_owned).collect();
    Ok(Asked { form, hellos })
}

const OFFER_A_FORM: &str = "offer the subprotocol weirline.v1.bin or weirline.v1.json here; \
    one stream as plain text is at /v1/streams/NAME";

/// RFC 6455 §4.2.2 item 4: what is not served is a 404.
fn find(config: &Config, path: &str) -> Result<Route, Rejection> {
    if path == "/echo" && config.echo {
        return Ok(Route::Echo);
    }
    if path == "/v1/ws" {
        let (form, hellos) = (Form::Binary, Vec::new());
        return Ok(Route::Session(Asked { form, hellos }));
    }
    match path.strip_prefix("/v1/streams/").map(StreamId::new) {
        Some(Ok(stream)) => Ok(Route::Stream(stream)),
        Some(Err(error)) => Err(Rejection::not_found(format!("there is no such stream: {error}"))),
        None => Err(Rejection::not_found(
            "there is nothing here: streams are at /v1/streams/NAME",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let stream = |name: &str| Some(Route::Stream(StreamId::new(name).unwrap()));
        let asked = Asked {
            form: Form::Binary,
            hellos: Vec::new(),
        };
        let (with_echo, without) = (
            Config {
                echo: true,
                ..Config::default()
            },
            Config::default(),
        );
        for (config, path, expect) in [
            (&with_echo, "/echo", Some(Route::Echo)),
            (&without, "/echo", None),
            (&with_echo, "/echo/", None),
            (&without, "/v1/streams/orders", stream("orders")),
            (&without, "/v1/streams/a.b_c-9", stream("a.b_c-9")),
            (&without, "/v1/streams/", None),
            (&without, "/v1/streams", None),
            (&without, "/v1/streams/a/b", None),
            (&without, "/v1/streams/a%2Fb", None),
            (&without, "/v1/streams/../echo", None),
            (&without, "/V1/streams/a", None),
            (&without, "/v1/ws", Some(Route::Session(asked.clone()))),
            (&without, "/v1/ws/", None),
            (&without, "/v1/wss", None),
            (&without, "/", None),
        ] {
            let found = find(config, path);
            assert_eq!(found.as_ref().ok(), expect.as_ref(), "{path}");
            if let Err(rejection) = found {
                assert_eq!(rejection.status(), http::StatusCode::NOT_FOUND);
            }
        }
    }
}
