#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| siprec_fuzz_targets::pools(data));
