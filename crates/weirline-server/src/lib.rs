//! The Weirline server as a library: listeners, workers, hub, registry, shutdown.
