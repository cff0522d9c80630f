//! Whatever bytes come as a page, of Kinesis too, a scan or an export: nothing panics, and what comes out is whole.

#![no_main]

#[path = "../../transcode/tests/whole/mod.rs"]
mod whole;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tailrace_transcode::Transcoder;

static TRANSCODERS: LazyLock<Vec<Transcoder>> = LazyLock::new(whole::transcoders);

fuzz_target!(|body: &[u8]| {
    for transcoder in TRANSCODERS.iter() {
        if let Some(page) = transcoder.page(body, &whole::SHARD, 1) {
            whole::check(&page, body);
        }
        if let Some(page) = transcoder.log_page(body, &whole::LOG, 1) {
            whole::check_log(&page, body);
        }
        if let Some(rows) = transcoder.scan(body, &whole::TABLE, 1) {
            whole::check_rows(&rows, body);
        }
        whole::check_rows(&transcoder.export_lines(body, &whole::TABLE, 1), body);
    }
});
