//! Any bytes as the body of a score: the quick way to read it and the careful one agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tango::http::json::{parse, parse_flat, parse_outline};
use tango::http::score::body::{BatchBody, BatchShape, ScoreBody};

fuzz_target!(|bytes: &[u8]| {
    let (quick, careful) = (parse_flat::<ScoreBody<'_>>(bytes), parse::<ScoreBody<'_>>(bytes));
    assert_eq!(quick.is_ok(), careful.is_ok(), "{quick:?} and {careful:?}");
    if let (Ok(quick), Ok(careful)) = (quick, careful) {
        assert_eq!(format!("{quick:?}"), format!("{careful:?}"));
    }
    let _ = parse_outline::<BatchBody<'_>, BatchShape>(bytes);
});
