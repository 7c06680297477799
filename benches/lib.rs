//! Benches of the Weirline crates; see `benches/`.
