use std::time::Duration;

/// Limits of a [`TextServer`](crate::TextServer), shared by all connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextServerConfig {
    /// `RESUME_FROM` is due within this time from the connection's start. Default 10 s.
    pub opening_timeout: Duration,
    /// Publishes of a connection that are taken in and not yet decided. At this number reading pauses. Default 256.
    pub in_flight_messages_max: usize,
    /// Their payload bytes. At this number reading pauses. Default 1 MiB.
    pub in_flight_bytes_max: usize,
    /// The largest text payload, in bytes. Default 4 MiB (R15).
    pub payload_text_bytes_max: usize,
    /// The largest binary payload, in bytes. Default 16 MiB (R15).
    pub payload_binary_bytes_max: usize,
    /// Entries taken from the log in one read, whatever the capacity. Default 256; each costs about 130 bytes until it is transmitted.
    pub read_messages_max: usize,
}

impl Default for TextServerConfig {
    fn default() -> Self {
        Self {
            opening_timeout: Duration::from_secs(10),
            in_flight_messages_max: 256,
            in_flight_bytes_max: 1 << 20,
            payload_text_bytes_max: 4 << 20,
            payload_binary_bytes_max: 16 << 20,
            read_messages_max: 256,
        }
    }
}
