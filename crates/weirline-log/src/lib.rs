//! The stream log: its trait, its types, and an in-memory engine.
