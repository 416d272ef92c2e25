//! Request bodies that are read to their end even when the request is refused, and that do not keep anybody waiting.
//!
//! A client that is still sending when the connection closes sees a reset connection instead of the reason
//! ("401: sign in first"), and loses the request that it sends next. So what is left of a refused body is read and
//! thrown away, within bounds; beyond them the answer says that the connection closes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Version, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep, timeout};

/// What is thrown away of one body at most: a client that sends more is cut off after all.
const MAX_DRAINED_BYTES: u64 = 64 << 20;
/// How long a refused body may take to come.
const MAX_DRAINED_TIME: Duration = Duration::from_secs(60);
/// A body of which nothing comes for so long is given up.
pub const SILENCE: Duration = Duration::from_secs(30);

/// The body stopped coming.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the body came for {} seconds", .0.as_secs())]
struct Silent(Duration);

/// Whether an error comes from a body that stopped coming.
pub fn is_silence(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Silent>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// How far a body was read; shared with whoever answers the request.
#[derive(Debug, Default)]
struct Progress {
    asked: AtomicBool,
    ended: AtomicBool,
    /// What comes after it cannot be told from it.
    broke_off: AtomicBool,
    bytes: AtomicU64,
}

/// Hands a body on; when it is dropped early, the rest is read in the background.
pub struct DrainOnDrop {
    body: Option<Body>,
    silence: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The client waits for a word before it sends the body: when nobody wants it, nothing comes.
    waits_for_word: bool,
    progress: Arc<Progress>,
}

impl DrainOnDrop {
    pub fn new(body: Body) -> Self {
        Self { body: Some(body), silence: SILENCE, timer: None, waits_for_word: false, progress: Arc::default() }
    }
}

impl HttpBody for DrainOnDrop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        this.progress.asked.store(true, Ordering::Relaxed);
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => {
                let silence = this.silence;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(silence)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.body = None;
                Poll::Ready(Some(Err(axum::Error::new(Silent(silence)))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                this.body = None;
                let end_of = if end.is_none() { &this.progress.ended } else { &this.progress.broke_off };
                end_of.store(true, Ordering::Relaxed);
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if body.is_end_stream() {
            self.progress.ended.store(true, Ordering::Relaxed);
            return;
        }
        if self.waits_for_word && !self.progress.asked.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let silence = self.silence;
        runtime.spawn(timeout(MAX_DRAINED_TIME, async move {
            let mut left = MAX_DRAINED_BYTES;
            while let Ok(Some(Ok(frame))) = timeout(silence, body.frame()).await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len) as u64) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        }));
    }
}

/// Around every route: a body that the answer left unread is drained, or the answer says that the connection closes.
pub async fn drain_unread(request: Request, next: impl AsyncFnOnce(Request) -> Response) -> Response {
    if request.body().is_end_stream() {
        return next(request).await;
    }
    let can_close = request.version() <= Version::HTTP_11;
    let announced = request.body().size_hint().exact();
    let waits_for_word = request.headers().contains_key(header::EXPECT);
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    let request = request.map(|body| {
        let mut body = DrainOnDrop::new(body);
        body.waits_for_word = waits_for_word;
        body.progress = shared;
        Body::new(body)
    });
    let mut response = next(request).await;
    let left = announced.map_or(0, |bytes| bytes.saturating_sub(progress.bytes.load(Ordering::Relaxed)));
    let unwanted = waits_for_word && !progress.asked.load(Ordering::Relaxed);
    let broke_off = progress.broke_off.load(Ordering::Relaxed);
    if can_close && !progress.ended.load(Ordering::Relaxed) && (unwanted || broke_off || left > MAX_DRAINED_BYTES) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let mut body = DrainOnDrop::new(never);
        body.silence = Duration::from_millis(5);
        let error = Body::new(body).collect().await.unwrap_err();
        assert!(is_silence(&error), "{error}");
    }

    #[tokio::test]
    async fn what_nobody_read_is_read_to_its_end() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let chunks = tokio_stream::wrappers::ReceiverStream::new(receiver);
        drop(DrainOnDrop::new(Body::from_stream(chunks)));
        for _ in 0..50 {
            sender.send(Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1_000]))).await.unwrap();
        }
    }
}
