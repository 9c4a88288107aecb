//! HTTP: metrics, health, models, predictions. Routes only; every answer comes from the engine.
//!
//! Invariant: reading never disturbs learning: metrics are plain numbers published by the learner,
//! everything else goes through its queue.

mod page;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::engine::{Ask, Handle};

/// Largest body of a request, in bytes.
const BODY_LIMIT: usize = 8 << 20;
/// How long the learner may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Binds the address; on its own, so that a port in use is known before anything starts.
pub fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the engine stops.
pub async fn serve(listener: std::net::TcpListener, handle: Handle) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = handle.stopped();
    axum::serve(listener, routes(handle))
        .with_graceful_shutdown(stop)
        .await
}

fn routes(handle: Handle) -> Router {
    let mut router = Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthy))
        .route("/-/healthy", get(healthy))
        .route("/readyz", get(ready))
        .route("/-/ready", get(ready))
        .route("/v1/models", get(models))
        .route("/v1/models/{name}", get(model))
        .route("/v1/predict/{name}", post(predict));
    if handle.admin() {
        router = router.route("/-/snapshot", post(snapshot));
    }
    router
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path; / lists them") })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(handle))
}

type Engine = State<Arc<Handle>>;
/// A model's name in a path, or why it cannot be read.
type Name = Result<Path<String>, PathRejection>;

async fn metrics(State(engine): Engine) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], engine.metrics()).into_response()
}

async fn healthy(State(engine): Engine) -> Response {
    match engine.stalled() {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(reason) => error(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn ready(State(engine): Engine) -> Response {
    let reasons = engine.not_ready();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    json_answer(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({"ready": false, "reasons": reasons}),
    )
}

async fn models(State(engine): Engine) -> Response {
    match describe(&engine).await {
        Ok(models) => json_answer(StatusCode::OK, &json!({"models": models})),
        Err(response) => response,
    }
}

async fn model(State(engine): Engine, name: Name) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(refused) => return error(refused.status(), &refused.body_text()),
    };
    match describe(&engine).await {
        Ok(models) => match models.iter().find(|m| m["name"] == name.as_str()) {
            Some(model) => json_answer(StatusCode::OK, model),
            None => no_such_model(&engine, &name),
        },
        Err(response) => response,
    }
}

async fn status_page(State(engine): Engine) -> Response {
    match describe(&engine).await {
        Ok(models) => {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            ([(header::CONTENT_TYPE, html)], page::render(&models)).into_response()
        }
        Err(response) => response,
    }
}

async fn predict(
    State(engine): Engine,
    name: Name,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(refused) => return error(refused.status(), &refused.body_text()),
    };
    let body = match body {
        Ok(body) => body,
        Err(refused) => return error(refused.status(), &refused.body_text()),
    };
    let Some(model) = engine.model_index(&name) else {
        return no_such_model(&engine, &name);
    };
    match ask(&engine, |reply| Ask::Predict {
        model,
        lines: body.to_vec(),
        reply,
    })
    .await
    {
        Ok(lines) => {
            let ndjson = HeaderValue::from_static("application/x-ndjson");
            ([(header::CONTENT_TYPE, ndjson)], Body::from(lines)).into_response()
        }
        Err(response) => response,
    }
}

async fn snapshot(State(engine): Engine) -> Response {
    match ask(&engine, Ask::Snapshot).await {
        Ok(Ok(digest)) => json_answer(StatusCode::OK, &json!({"digest": digest})),
        Ok(Err(reason)) => error(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(response) => response,
    }
}

async fn describe(engine: &Handle) -> Result<Vec<Value>, Response> {
    ask(engine, Ask::Describe).await
}

/// Asks the learner and waits, within reason.
async fn ask<T>(
    engine: &Handle,
    question: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> Ask,
) -> Result<T, Response> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    let busy = || {
        error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the learner is busy or stopping",
        )
    };
    let asked = tokio::time::timeout(ANSWER_WITHIN, async {
        engine.ask(question(reply)).await?;
        answer.await.ok()
    });
    match asked.await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(_) => Err(busy()),
    }
}

fn no_such_model(engine: &Handle, name: &str) -> Response {
    let known = engine.model_names().join(", ");
    error(
        StatusCode::NOT_FOUND,
        &format!("no model {name:?}; there are: {known}"),
    )
}

fn error(status: StatusCode, message: &str) -> Response {
    json_answer(status, &json!({ "error": message }))
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    (
        status,
        [(header::CONTENT_TYPE, content_type)],
        format!("{value}\n"),
    )
        .into_response()
}
