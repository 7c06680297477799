#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| weirline_fuzz_targets::run("session_client", input));
