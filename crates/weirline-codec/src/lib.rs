//! WebSocket frames to bytes and back (RFC 6455): headers, masking, incremental UTF-8, close codes.
