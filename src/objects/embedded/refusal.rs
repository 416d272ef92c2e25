//! Refusals of the object store in words that say what to do.

use axum::body::Body;
use axum::response::Response;
use http::{StatusCode, header};

/// An error's document is far smaller.
const MAX_BYTES: usize = 64 << 10;

/// Adds what to do to a 403 whose document has no message of its own, or one without advice.
pub(super) async fn explained(response: Response) -> Response {
    if response.status() != StatusCode::FORBIDDEN {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let Some(code) = between(&text, "<Code>", "</Code>") else { return Response::from_parts(parts, Body::from(bytes)) };
    let advice = match code {
        "SignatureDoesNotMatch" => {
            "The URL was changed, belongs to another part, or the body is not what it was signed for. Ask for a new URL \
             (GET /api/v1/uploads/{id}) and send exactly the size and the headers that it names."
        }
        "AccessDenied" => "The URL has expired or was not made for this. Ask for a new one (GET /api/v1/uploads/{id}).",
        "RequestTimeTooSkewed" => "The clock of the sender differs too much from the server's. Set it right.",
        _ => "Ask for a new URL (GET /api/v1/uploads/{id}).",
    };
    let said = between(&text, "<Message>", "</Message>").map(str::to_owned);
    let message = match &said {
        Some(said) if !said.is_empty() => format!("{} {advice}", said.trim_end_matches('.').to_owned() + "."),
        _ => advice.to_owned(),
    };
    let bare = match &said {
        Some(said) => text.replace(&format!("<Message>{said}</Message>"), ""),
        None => text.replace("<Message/>", ""),
    };
    let text = bare.replacen("</Code>", &format!("</Code><Message>{message}</Message>"), 1);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(text))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.split_once(open)?.1.split_once(close).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn message(document: &'static str) -> String {
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = StatusCode::FORBIDDEN;
        let body = explained(response).await.into_body();
        let bytes = axum::body::to_bytes(body, MAX_BYTES).await.unwrap();
        between(&String::from_utf8_lossy(&bytes), "<Message>", "</Message>").unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_refused_url_says_what_to_do() {
        let refused = message("<Error><Code>SignatureDoesNotMatch</Code></Error>").await;
        assert!(refused.contains("Ask for a new URL") && refused.contains("exactly the size"), "{refused}");
        let expired = message("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>").await;
        assert!(expired.starts_with("Request has expired. The URL has expired"), "{expired}");
    }
}
