//! The socket pump: drives a WebSocket connection over AsyncRead + AsyncWrite; accept and connect.
