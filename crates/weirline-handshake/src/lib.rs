//! The HTTP/1.1 upgrade to WebSocket (RFC 6455 §4), both sides, without I/O.
