//! How long calls to the object store may take. Somebody waits for most of them, so that a store that is away has to
//! be noticed within a few seconds; what moves bytes has time in proportion to them.

use std::time::Duration;

use aws_sdk_s3::config::StalledStreamProtectionConfig;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;

/// To a connection with TLS.
const CONNECT: Duration = Duration::from_secs(2);
/// To the answer of a call that moves few bytes.
const ATTEMPT: Duration = Duration::from_secs(3);
/// To the answer of a call that stores something, however little: disks have their moments.
const STORING: Duration = Duration::from_secs(4);
/// To a list of up to a thousand entries, for which only background work waits.
const LISTING: Duration = Duration::from_secs(10);
/// Attempts of one call, the first included.
const ATTEMPTS: u32 = 3;
/// Slower than this, a store counts as away.
const BYTES_PER_SECOND: u64 = 1 << 20;
/// Slower than this at putting together or storing what it has received.
const STORED_BYTES_PER_SECOND: u64 = 10 << 20;
/// Nothing comes in the middle of an answer for so long: it broke off.
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// The same of a body that is sent and cannot be sent again.
const STALLED_ONCE: Duration = Duration::from_secs(20);

/// How often a call is tried that failed in a way that may pass.
pub(super) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(Duration::from_secs(1))
}

/// Of calls that move few bytes, unless they say otherwise.
pub(super) fn usual() -> TimeoutConfig {
    limits(ATTEMPT)
}

/// Of a call that sends `bytes`.
pub(super) fn sending(bytes: u64) -> aws_sdk_s3::config::Builder {
    let attempt = STORING + Duration::from_secs(bytes / BYTES_PER_SECOND);
    aws_sdk_s3::Config::builder().timeout_config(limits(attempt))
}

/// Of a call that lists.
pub(super) fn listing() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(limits(LISTING))
}

/// Of a call after which the store has to put `bytes` together.
pub(super) fn assembling(bytes: u64) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(limits(to_store(bytes)))
}

/// Of a call whose body comes from elsewhere, at its own speed: only the connection has a limit.
pub(super) fn streaming() -> aws_sdk_s3::config::Builder {
    let limits = TimeoutConfig::builder().connect_timeout(CONNECT).disable_operation_attempt_timeout();
    let stalled = StalledStreamProtectionConfig::enabled().grace_period(STALLED_ONCE).build();
    let builder = aws_sdk_s3::Config::builder().timeout_config(limits.disable_operation_timeout().build());
    builder.stalled_stream_protection(stalled)
}

/// For `bytes` on their way, from the request to the last of them.
pub(super) fn to_move(bytes: u64) -> Duration {
    ATTEMPT + Duration::from_secs(bytes / BYTES_PER_SECOND)
}

/// For the store's answer after the last of `bytes`: it has to have them on its disks.
pub(super) fn to_store(bytes: u64) -> Duration {
    2 * STORING + Duration::from_secs(bytes / STORED_BYTES_PER_SECOND)
}

fn limits(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(2 * attempt)
        .build()
}
