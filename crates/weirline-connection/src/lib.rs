//! One WebSocket connection as a state machine, without I/O.
