//! `POST /v1/ingest/SOURCE`: a body of lines to learn from.
//!
//! Invariant: every 429 and 503 means that nothing of the body was taken, and says when to try again;
//! every answer with counts means that all of it was, and stays.

use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::body::Lines;
use super::serve::Caller;
use super::{Engine, error, json_answer};
use crate::source::{MAX_KEY, Refused, Taken};

/// Names a request, so that sending it again does nothing.
const KEY: &str = "idempotency-key";
/// Seconds until another attempt is worth while after a full queue.
const SOON: &str = "1";
/// Seconds until another attempt is worth while after a full disk or a stop.
const LATER: &str = "5";

pub(super) async fn ingest(
    State(engine): Engine,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Some(intake) = engine.intake(&name) else {
        let known = engine.intake_names().join(", ");
        let message = format!("no source {name:?} of type \"http\"; there are: {known}");
        return error(StatusCode::NOT_FOUND, &message);
    };
    let key = match key_of(request.headers()) {
        Ok(key) => key,
        Err(message) => return error(StatusCode::BAD_REQUEST, &message),
    };
    if let Some(reason) = engine.not_ready().first() {
        return later(StatusCode::SERVICE_UNAVAILABLE, LATER, reason);
    }
    // A body that would be refused is not even read.
    if let Err(refused) = intake.ready() {
        return refusal(refused);
    }
    let caller = request.extensions().get::<Caller>();
    let from = caller.map_or_else(String::new, |caller| caller.peer.to_string());
    let Lines(body) = match Lines::from_request(request, &()).await {
        Ok(lines) => lines,
        Err(response) => return response,
    };
    let taken = tokio::select! {
        biased;
        taken = intake.take(from, key, body) => taken,
        () = engine.stopped() => Err(Refused::Unknown),
    };
    match taken {
        Ok(taken) => counts(&taken),
        Err(refused) => refusal(refused),
    }
}

/// The idempotency key.
fn key_of(headers: &HeaderMap) -> Result<Option<String>, String> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let key = key.to_str().map_or("", str::trim);
    if keys.next().is_some() || key.is_empty() || key.len() > MAX_KEY {
        return Err(format!(
            "Idempotency-Key stands once and is 1 to {MAX_KEY} visible ASCII characters"
        ));
    }
    Ok(Some(key.to_owned()))
}

fn counts(taken: &Taken) -> Response {
    let none = taken.accepted == 0 && taken.rejected > 0;
    let errors = taken
        .errors
        .iter()
        .map(|e| json!({"line": e.line, "reason": e.reason.as_str(), "at": e.at}));
    let mut answer = json!({
        "accepted": taken.accepted,
        "rejected": taken.rejected,
        "errors": errors.collect::<Vec<Value>>(),
    });
    let left_out = taken.rejected - taken.errors.len() as u64;
    if left_out > 0 {
        answer["errors_left_out"] = json!(left_out);
    }
    if taken.duplicate {
        answer["duplicate"] = json!(true);
    }
    if none {
        answer["error"] = json!("every line was refused");
        return json_answer(StatusCode::BAD_REQUEST, &answer);
    }
    json_answer(StatusCode::OK, &answer)
}

fn refusal(refused: Refused) -> Response {
    match refused {
        Refused::Busy => {
            let message = "more comes in than is learned; nothing of this body was taken";
            later(StatusCode::TOO_MANY_REQUESTS, SOON, message)
        }
        Refused::Stopped => later(StatusCode::SERVICE_UNAVAILABLE, LATER, "stopping"),
        Refused::StorageFailing => {
            let message = "the journal cannot be written; nothing of this body was taken";
            later(StatusCode::SERVICE_UNAVAILABLE, LATER, message)
        }
        Refused::UnderWay => {
            let message =
                "a request with this Idempotency-Key is being learned; ask again for its counts";
            later(StatusCode::CONFLICT, SOON, message)
        }
        Refused::Unknown => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "stopped before it was certain that the body is kept; send it again under the same \
             Idempotency-Key",
        ),
    }
}

/// A refusal that says when to try again.
fn later(status: StatusCode, seconds: &'static str, message: &str) -> Response {
    let mut response = error(status, message);
    let seconds = HeaderValue::from_static(seconds);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once_and_is_visible_text() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key_of(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b" a-1 "]), Ok(Some("a-1".into())));
        let longest = [b'x'; MAX_KEY];
        assert!(of(&[&longest]).unwrap().is_some());
        for wrong in [&[&b""[..]][..], &[b"a", b"b"], &[b"\xff"], &[&[b'x'; 257]]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
