//! A WebSocket client that resumes: every message once, in order, or a typed account of what was missed.
