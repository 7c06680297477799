//! What may be asked for, and by whom.

use weirline_handshake::{Rejection, UpgradeRequest, UpgradeResponse, negotiate_subprotocol};
use weirline_log::StreamId;

use crate::Config;

/// Where a request leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Echo,
    Stream(StreamId),
}

/// The subprotocols of `/v1/streams/{stream}`. A client that offers none gets the text form as well.
const STREAM_SUBPROTOCOLS: [&str; 1] = ["weirline.v1.text"];

/// Judges a request that is valid by RFC 6455: origin first, so that a foreign page cannot tell what exists here.
pub(crate) fn decide(
    config: &Config,
    request: &UpgradeRequest,
) -> Result<(Route, UpgradeResponse), Rejection> {
    config.origins.check(request)?;
    let route = find(config, request.path())?;
    let mut response = request.accept();
    if let Route::Stream(_) = route {
        response = response.subprotocol(negotiate_subprotocol(request, &STREAM_SUBPROTOCOLS)?)?;
    }
    if let Some(validation) = &config.validation {
        response = response.headers(&validation.validate(request)?)?;
    }
    Ok((route, response))
}

/// RFC 6455 §4.2.2 item 4: what is not served is a 404.
fn find(config: &Config, path: &str) -> Result<Route, Rejection> {
    if path == "/echo" && config.echo {
        return Ok(Route::Echo);
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
