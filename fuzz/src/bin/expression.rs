//! Any text as a score expression: refused with a position inside of it, or finite and not negative where it was checked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tango::expression::{Expression, Range};

/// Rounding of sums and products.
const TOLERANCE: f64 = 1e-9;

fuzz_target!(|text: &str| {
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(error.position <= text.len() && !error.message.is_empty(), "{error:?}");
            return;
        }
    };
    let names = expression.names();
    let known = |name: &str| ["p_score", "fcr", "nps"].contains(&name).then(|| Range::new(0.0, 1.0));
    let Ok(range) = expression.check_range(&known) else { return };
    assert!(names.len() <= 3 && range.low >= 0.0 && range.high.is_finite());
    let slack = TOLERANCE * range.high.max(1.0);
    for step in 0..=1_024_u32 {
        // Several names move at different speeds.
        let value = expression.eval(&|name| f64::from(step * (1 + name.len() as u32 % 3) % 1_025) / 1_024.0);
        assert!(value.is_finite(), "at {step}");
        assert!(range.low - slack <= value && value <= range.high + slack, "{value} at {step} is not in {range:?}");
    }
});
