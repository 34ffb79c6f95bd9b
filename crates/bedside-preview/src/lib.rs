//! The preview page: the newest annotated picture in a browser, with state, figures and prompts.
//!
//! It reads a [`Monitor`] and changes a [`Control`], so that the video path never waits for it.
//! It answers requests of its own page alone, brings everything that the page needs, and stores
//! nothing.

mod error;
mod guard;
mod listener;
mod pictures;
mod token;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Json, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bedside::{Modality, Prompt};
use bedside_live::record::SessionRecord;
use bedside_live::{Control, Metrics, Monitor, Report, Status, Stop, TrainedPrompt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{runtime, time};

pub use error::{Error, ErrorKind};
pub use listener::bind;
use listener::{Limits, Peer};
pub use pictures::MAX_VIEWERS;
use pictures::Pictures;
pub use token::Token;

/// Largest request: a hundred prompts of a long line each.
const MAX_BODY: usize = 16 * 1024;

/// What the page shows and may change.
pub struct Preview {
    /// Picture and figures.
    pub monitor: Arc<Monitor>,
    /// Prompts, and the switch.
    pub control: Arc<Control>,
    /// Counts and latencies.
    pub metrics: Arc<Metrics>,
    /// What runs.
    pub facts: Facts,
    /// Prompts to choose from.
    pub offers: Vec<TrainedPrompt>,
    /// What whoever changes the session must know.
    pub token: Token,
}

/// What runs, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Model, precision, backend and source.
    #[serde(flatten)]
    pub session: SessionRecord,
    /// Licence of the model.
    pub licence: String,
    /// Age from which masks are not painted, milliseconds.
    pub max_age_ms: u64,
}

/// Shared by all requests.
struct Site {
    preview: Preview,
    pictures: Arc<Pictures>,
}

/// A page that is served on a thread of its own.
#[derive(Debug)]
pub struct Server(JoinHandle<Result<(), Error>>);

/// Serve until `stop` says so.
///
/// # Errors
/// [`ErrorKind::Server`] when the system gives no thread or no event queue.
pub fn serve(listener: TcpListener, preview: Preview, stop: Stop) -> Result<Server, Error> {
    let failed = |cause| {
        let hint = "start without the preview";
        Error::caused(ErrorKind::Server, "preview page", cause, hint)
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let thread = thread::Builder::new()
        .name("bedside-preview".to_owned())
        .spawn(move || runtime.block_on(answer_requests(listener, preview, stop)));
    Ok(Server(thread.map_err(failed)?))
}

impl Server {
    /// Wait until serving has ended: soon after its [`Stop`] says so.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] when it ended before.
    pub fn finish(self) -> Result<(), Error> {
        let panicked = |_| Err(Error::new(ErrorKind::Server, "preview page: it panicked"));
        self.0.join().unwrap_or_else(panicked)
    }
}

async fn answer_requests(listener: TcpListener, preview: Preview, stop: Stop) -> Result<(), Error> {
    let limits = Limits::default();
    let pictures = Arc::new(Pictures::new(preview.monitor.clone(), stop));
    let site = Arc::new(Site {
        preview,
        pictures: pictures.clone(),
    });
    let pages = Router::new()
        .route("/", get(|| page("text/html", include_str!("page.html"))))
        .route(
            "/page.css",
            get(|| page("text/css", include_str!("page.css"))),
        )
        .route(
            "/page.js",
            get(|| page("text/javascript", include_str!("page.js"))),
        )
        .route("/facts", get(facts))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/picture", get(stream))
        .route("/picture.jpg", get(picture))
        .route("/prompts", post(set_prompts))
        .route("/switch", post(switch))
        .route("/patient", post(next_patient))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(limits.answer, in_time))
        .layer(middleware::from_fn(guard::own_page_alone))
        .with_state(site);
    tokio::select! {
        error = listener::answer(listener, pages, limits) => {
            let hint = "start without the preview";
            Err(Error::caused(ErrorKind::Server, "preview page", error, hint))
        }
        () = pictures.encode_while_watched() => Ok(()),
    }
}

/// Refuse a request whose body takes too long.
async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
    }
}

/// What a request may do.
struct Rights {
    may_change: bool,
}

impl FromRequestParts<Arc<Site>> for Rights {
    type Rejection = Infallible;

    /// Whoever sits at this machine and knows the token may change the session. Of both, because
    /// a proxy here stands for whoever asks it, and on a network a token can be read on its way.
    async fn from_request_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Infallible> {
        let here = parts.extensions.get::<Peer>().is_some_and(|p| p.is_here());
        let may_change = here && site.preview.token.is_in(&parts.headers);
        Ok(Self { may_change })
    }
}

async fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, format!("{kind}; charset=utf-8"))],
        text,
    )
}

async fn facts(State(site): State<Arc<Site>>) -> impl IntoResponse {
    Json(json!({ "facts": site.preview.facts, "offers": site.preview.offers }))
}

/// What `/status` tells.
#[derive(Serialize)]
struct Now {
    #[serde(flatten)]
    status: Status,
    latency: Report,
    /// Whether inference is to be on.
    on: bool,
    /// The prompts that are requested; `prompts` are those in use.
    asked: Vec<String>,
    may_change: bool,
}

async fn status(State(site): State<Arc<Site>>, rights: Rights) -> impl IntoResponse {
    let (on, prompts) = site.preview.control.requested();
    Json(Now {
        status: site.preview.monitor.status(),
        latency: site.preview.metrics.report(),
        on,
        asked: prompts.into_iter().map(|prompt| prompt.text).collect(),
        may_change: rights.may_change,
    })
}

async fn metrics(State(site): State<Arc<Site>>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, site.preview.metrics.prometheus())
}

async fn stream(State(site): State<Arc<Site>>) -> Response {
    match site.pictures.watch() {
        Some(viewer) => viewer.stream(),
        None => crowded(),
    }
}

async fn picture(State(site): State<Arc<Site>>) -> Response {
    let Some(mut viewer) = site.pictures.watch() else {
        return crowded();
    };
    match viewer.soon().await {
        Some(picture) => ([(header::CONTENT_TYPE, "image/jpeg")], picture.jpeg).into_response(),
        None => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "no picture comes from the source",
        ),
    }
}

fn crowded() -> Response {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{MAX_VIEWERS} viewers look already; hint: close one of them"),
    )
}

/// The body of `POST /prompts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptRequest {
    prompts: Vec<String>,
    modality: Option<Modality>,
}

async fn set_prompts(
    State(site): State<Arc<Site>>,
    rights: Rights,
    body: Result<Json<PromptRequest>, JsonRejection>,
) -> Response {
    change(rights, body, |request| {
        let (_, asked) = site.preview.control.requested();
        let prompt = |text: String| {
            // One that is asked already keeps the modality and site that it was given.
            let same = asked
                .iter()
                .find(|p| p.text == text && request.modality.is_none());
            same.cloned().unwrap_or(Prompt {
                text,
                modality: request.modality,
                site: None,
            })
        };
        let prompts: Vec<Prompt> = request.prompts.into_iter().map(prompt).collect();
        site.preview.control.set_prompts(&prompts)
    })
}

/// The body of `POST /switch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchRequest {
    on: bool,
}

async fn switch(
    State(site): State<Arc<Site>>,
    rights: Rights,
    body: Result<Json<SwitchRequest>, JsonRejection>,
) -> Response {
    change(rights, body, |request| {
        site.preview.control.switch(request.on);
        Ok(())
    })
}

/// `POST /patient`, whatever its body.
async fn next_patient(State(site): State<Arc<Site>>, rights: Rights) -> Response {
    change(rights, Ok(Json(())), |()| {
        site.preview.control.next_patient();
        Ok(())
    })
}

/// Do what a request asks, if its sender may and its body can be read.
fn change<T>(
    rights: Rights,
    body: Result<Json<T>, JsonRejection>,
    act: impl FnOnce(T) -> Result<(), bedside_live::Error>,
) -> Response {
    if !rights.may_change {
        let why = "this address may look, not change; hint: on this machine, open the address that \
                   the command printed, with its token";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    match body.map(|Json(request)| act(request)) {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Err(unread) => refuse(unread.status(), unread.body_text()),
    }
}

/// The reason goes to the page, which shows it.
fn refuse(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}
