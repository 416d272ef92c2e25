//! Logs and metrics.

/// Requests by route and status.
pub const HTTP_REQUESTS: &str = "tango_http_requests_total";
/// Time to answer, by route.
pub const HTTP_SECONDS: &str = "tango_http_request_seconds";
