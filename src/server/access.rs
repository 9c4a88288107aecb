//! Who may ask what: every route names its scope, the port's guard decides.
//!
//! Invariant: a token goes no further than this file; every refusal says the way out.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;

use super::error;
use super::serve::Caller;
use crate::net::{Denial, Scope};

/// A route for those who have this scope.
pub(super) fn guarded<S: Clone + Send + Sync + 'static>(
    scope: Scope,
    route: MethodRouter<S>,
) -> MethodRouter<S> {
    route.route_layer(middleware::from_fn(move |request: Request, next: Next| {
        check(scope, request, next)
    }))
}

async fn check(scope: Scope, mut request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "nobody asked");
    };
    // Whatever page a browser shows may post to this machine; it cannot name a token, though.
    let from_a_page = request.headers().contains_key(header::ORIGIN);
    if from_a_page && scope != Scope::Metrics && !caller.guard.wants_tokens() {
        caller.guard.stats().count(Denial::Origin);
        return refusal(Denial::Origin, scope, false);
    }
    let token = request.headers_mut().remove(header::AUTHORIZATION);
    let token = token.as_ref().and_then(|t| bearer(t.as_bytes()));
    match caller.guard.allow(caller.peer.ip(), token, scope) {
        Ok(()) => next.run(request).await,
        Err(denial) => refusal(denial, scope, token.is_some()),
    }
}

/// The token of a header's value.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

fn refusal(denial: Denial, scope: Scope, named: bool) -> Response {
    let scope = scope.as_str();
    let (status, message) = match denial {
        Denial::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many wrong tokens from this address; wait a minute".to_owned(),
        ),
        Denial::Forbidden => (
            StatusCode::FORBIDDEN,
            format!("this token does not have the scope `{scope}`"),
        ),
        Denial::Insecure => (
            StatusCode::FORBIDDEN,
            "others can reach this address, so it answers read-only paths alone: give [server] `tls` \
             and `tokens`, let it listen on 127.0.0.1, or write allow_insecure_listen = true"
                .to_owned(),
        ),
        Denial::Origin => (
            StatusCode::FORBIDDEN,
            "a web page may not ask this without a token; give [server] `tokens`".to_owned(),
        ),
        _ => (
            StatusCode::UNAUTHORIZED,
            format!("this takes a token with the scope `{scope}`: Authorization: Bearer TOKEN"),
        ),
    };
    let mut response = error(status, &message);
    let headers: &mut HeaderMap = response.headers_mut();
    let challenge = match (denial, named) {
        (Denial::Forbidden, _) => Some("Bearer realm=\"learnd\", error=\"insufficient_scope\""),
        (Denial::Unauthorized, true) => Some("Bearer realm=\"learnd\", error=\"invalid_token\""),
        (Denial::Unauthorized, false) => Some("Bearer realm=\"learnd\""),
        _ => None,
    };
    if let Some(challenge) = challenge {
        let challenge = HeaderValue::from_static(challenge);
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if denial == Denial::Throttled {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn a_token_follows_the_scheme_whatever_its_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bEARER   abc "), Some(&b"abc"[..]));
        for none in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(none.as_bytes()), None, "{none:?}");
        }
    }
}
