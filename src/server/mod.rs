//! HTTP: metrics, health, models, predictions, bodies to learn from. Routes only; every answer comes from the engine.
//!
//! Invariant: reading never disturbs learning: metrics are plain numbers published by the learner,
//! everything else goes through its queue.

mod access;
mod body;
mod ingest;
mod page;
mod serve;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use access::guarded;
use body::Lines;

use crate::engine::{Ask, Handle, publish_guard};
use crate::net::{Guard, Scope};
use crate::telemetry::{CONTENT_TYPE, Metrics};

/// What TLS clients may ask for.
pub const PROTOCOLS: &[&str] = &["http/1.1"];
/// How long the learner may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What serving takes.
pub struct Server {
    /// The port, bound.
    pub listener: std::net::TcpListener,
    /// Its guard.
    pub guard: Guard,
    /// The most connections at once.
    pub max_connections: usize,
    /// Where its own figures go.
    pub metrics: Arc<Metrics>,
}

/// Binds the address; on its own, so that a port in use is known before anything starts.
pub fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the engine stops.
pub async fn serve(server: Server, handle: Handle) -> std::io::Result<()> {
    serve::run(server, handle).await
}

/// What the routes share.
struct Shared {
    handle: Handle,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
}

impl std::ops::Deref for Shared {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

fn routes(handle: Handle, guard: Arc<Guard>, metrics: Arc<Metrics>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(healthy))
        .route("/-/healthy", get(healthy))
        .route("/readyz", get(ready))
        .route("/-/ready", get(ready))
        .route("/", guarded(Scope::Metrics, get(status_page)))
        .route("/metrics", guarded(Scope::Metrics, get(metrics_text)))
        .route("/v1/models", guarded(Scope::Metrics, get(models)))
        .route("/v1/models/{name}", guarded(Scope::Metrics, get(model)))
        .route("/v1/predict/{name}", guarded(Scope::Predict, post(predict)))
        .route(
            "/v1/ingest/{name}",
            guarded(Scope::Ingest, post(ingest::ingest)),
        );
    if handle.admin() {
        router = router.route("/-/snapshot", guarded(Scope::Admin, post(snapshot)));
    }
    router
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path; / lists them") })
        .method_not_allowed_fallback(|| async {
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .layer(middleware::map_response(finish))
        .with_state(Arc::new(Shared {
            handle,
            guard,
            metrics,
        }))
}

/// Every error is JSON, also those of the library; no answer is guessed at by a browser.
async fn finish(mut response: Response) -> Response {
    let status = response.status();
    let json = HeaderValue::from_static("application/json");
    if (status.is_client_error() || status.is_server_error())
        && response.headers().get(header::CONTENT_TYPE) != Some(&json)
    {
        response = match status {
            StatusCode::BAD_REQUEST => error(status, "the path is not well-formed UTF-8"),
            other => error(status, other.canonical_reason().unwrap_or("an error")),
        };
    }
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

type Engine = State<Arc<Shared>>;

async fn metrics_text(State(engine): Engine) -> Response {
    publish_guard(&engine.metrics.program.server, engine.guard.stats());
    let content_type = HeaderValue::from_static(CONTENT_TYPE);
    (
        [(header::CONTENT_TYPE, content_type)],
        engine.handle.metrics(),
    )
        .into_response()
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

async fn model(State(engine): Engine, Path(name): Path<String>) -> Response {
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
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            let policy = HeaderValue::from_static(policy);
            let headers = [
                (header::CONTENT_TYPE, html),
                (header::CONTENT_SECURITY_POLICY, policy),
            ];
            (headers, page::render(&models)).into_response()
        }
        Err(response) => response,
    }
}

async fn predict(State(engine): Engine, Path(name): Path<String>, Lines(lines): Lines) -> Response {
    let Some(model) = engine.model_index(&name) else {
        return no_such_model(&engine, &name);
    };
    match ask(&engine, |reply| Ask::Predict {
        model,
        lines,
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
