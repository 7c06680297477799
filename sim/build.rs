//! Declares the cfg that seeds tokio's own random choices, so that rustc does not take it for a typing error.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tokio_unstable)");
    println!("cargo::rerun-if-changed=build.rs");
}
