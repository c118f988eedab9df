//! What each request passes before a handler sees it, and each answer before it is sent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::{Body, HttpBody as _, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use errors::sanitise;
use ports::Rates;
use tokio::time::timeout;

use crate::{
    audit::{Audit, Entry, unix_now},
    body, cors,
    error::{ApiError, Shape},
    http::Peer,
    limits::Limits,
    origin::{self, Foreign},
    tokens::{Role, Tokens},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The most characters of a request id that a client chose.
const LONGEST_ID: usize = 64;

/// What a path asks of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing, and it has no rate: a probe.
    Open,
    /// Nothing, at the rate of its address: what is public.
    Public,
    /// A token in the header `Authorization`, where the port has any.
    Needs(Role),
    /// A token of operators: it changes something. Where the port has no tokens, nobody may.
    Acts,
    /// A token in the body, as the text `token` of a JSON object. Without tokens nobody is served.
    InBody(Role),
}

/// Who sends a request that the guard has let through: an extension of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The role of its token, or that it has none.
    pub who: &'static str,
    /// Its address.
    pub from: IpAddr,
}

/// The id of a request, an extension of it.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// The checks of a port.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    tokens: Tokens,
    /// Whether `Host` and `Origin` are checked.
    refuses_pages: bool,
    /// Whether pages of every site may read answers.
    serves_pages: bool,
    access: BTreeMap<&'static str, Access>,
    /// Of paths that are not named.
    otherwise: Access,
    shape: Shape,
    audit: Audit,
    rates: Rates,
    /// The first part of our request ids, and the number of the next.
    ids: (String, AtomicU64),
}

impl Guard {
    /// Checks for a port with these paths. Paths that are not named need [`Role::Read`], so that a stranger does not learn which there are.
    #[must_use]
    pub fn new(limits: Limits, access: impl IntoIterator<Item = (&'static str, Access)>) -> Self {
        let started = format!("{:x}", (unix_now() * 1e6) as u64);
        Self {
            limits,
            tokens: Tokens::default(),
            refuses_pages: false,
            serves_pages: false,
            otherwise: Access::Needs(Role::Read),
            shape: ApiError::shown,
            access: access.into_iter().collect(),
            audit: Audit::default(),
            rates: Rates::new(limits.per_second),
            ids: (started, AtomicU64::new(1)),
        }
    }

    /// Asks for one of these tokens. Without any, nobody is asked.
    #[must_use]
    pub fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    /// Serves no page of another site. Where no token is asked for, `Host` has to be an IP address or `localhost` too: behind another name
    /// may be such a page.
    #[must_use]
    pub fn refuse_pages(self) -> Self {
        Self { refuses_pages: true, ..self }
    }

    /// Lets pages of every site read the answers.
    #[must_use]
    pub fn serve_pages(self) -> Self {
        Self { serves_pages: true, ..self }
    }

    /// What a path that is not named asks of a client.
    #[must_use]
    pub fn otherwise(self, otherwise: Access) -> Self {
        Self { otherwise, ..self }
    }

    /// The shape of errors.
    #[must_use]
    pub fn shape(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The audit log to write.
    #[must_use]
    pub fn audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// The id of a request: the client's if it is a short word, else one of our own.
    fn id_of(&self, request: &Request) -> String {
        let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let is_word = |id: &&str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(fits)
        };
        match given.filter(is_word) {
            Some(id) => id.to_owned(),
            None => format!("{}-{}", self.ids.0, self.ids.1.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Who asks, if it may.
    fn admit(&self, request: &Request, from: IpAddr, access: Access) -> Result<&'static str, Refused> {
        let stranger = |status, code, message: &'static str| Refused {
            who: "anonymous",
            is_told: true,
            error: ApiError::new(status, code, message),
        };
        if self.refuses_pages {
            origin::check(request.uri(), request.headers(), !self.tokens.is_empty()).map_err(|foreign| match foreign {
                Foreign::Host => stranger(
                    StatusCode::MISDIRECTED_REQUEST,
                    "unknown_host",
                    "the Host header names neither an IP address nor localhost: use one of these, or set up a token",
                ),
                Foreign::Origin => {
                    stranger(StatusCode::FORBIDDEN, "foreign_origin", "a page of another site may not use this port")
                }
            })?;
        }
        if access == Access::Open {
            return Ok("anyone");
        }
        self.rates.take(from, Instant::now()).map_err(|wait| Refused {
            who: "anonymous",
            is_told: false,
            error: ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "this address asks too often",
            )
            .retry_after(wait.as_secs() + 1),
        })?;
        let needed = match access {
            Access::Needs(role) => role,
            Access::Acts => Role::Operator,
            Access::Open | Access::Public | Access::InBody(_) => return Ok("anyone"),
        };
        if self.tokens.is_empty() {
            return match access {
                Access::Acts => Err(stranger(
                    StatusCode::FORBIDDEN,
                    "no_tokens",
                    "this changes something, and needs the operators' token: this port has none set up",
                )),
                _ => Ok("local"),
            };
        }
        let presented = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = presented.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token.and_then(|token| self.tokens.role_of(token)) {
            Some(role) if role >= needed => Ok(name(role)),
            Some(role) => Err(Refused {
                who: name(role),
                is_told: true,
                error: ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this needs the operators' token"),
            }),
            None => Err(stranger(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this port needs a token: send the header Authorization: Bearer TOKEN",
            )),
        }
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Operator => "operator",
    }
}

/// A request that no handler sees.
struct Refused {
    who: &'static str,
    /// Whether it is in the audit log.
    is_told: bool,
    error: ApiError,
}

/// A router whose requests pass the guard first. It has to have all routes and fallbacks already.
pub fn guarded(router: Router, guard: Arc<Guard>) -> Router {
    router.layer(from_fn_with_state(guard, pass))
}

async fn pass(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let id = guard.id_of(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let access = path.and_then(|path| guard.access.get(path)).copied().unwrap_or(guard.otherwise);
    let from =
        request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let what = sanitise(format!("{} {}", request.method(), request.uri()));
    let entry = |who, what: String| Entry {
        at: unix_now(),
        request_id: id.clone(),
        who,
        from: from.to_canonical().to_string(),
        what,
        outcome: 0,
    };
    let (noted, response) = match guard.admit(&request, from, access) {
        Err(Refused { who, is_told, error }) => (is_told.then(|| entry(who, what)), error.into_response()),
        Ok(_) if guard.serves_pages && cors::is_preflight(request.method(), request.headers()) => {
            (None, cors::preflight())
        }
        Ok(who) => {
            request.extensions_mut().insert(Caller { who, from: from.to_canonical() });
            let (of_body, response) = answer(&guard, access, request, next).await;
            let who = of_body.map_or(who, name);
            let is_refused = response.status() == StatusCode::UNAUTHORIZED;
            let is_action = matches!(
                access,
                Access::Acts | Access::Needs(Role::Operator) | Access::InBody(Role::Operator)
            );
            let who = if is_refused { "anonymous" } else { who };
            ((is_action || is_refused).then(|| entry(who, what)), response)
        }
    };
    let mut response = match response.extensions().get::<ApiError>() {
        Some(error) => error.answer(&id, guard.shape),
        None => response,
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if is_unauthorized && matches!(access, Access::Needs(_)) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if guard.serves_pages {
        cors::allow(headers);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    // A proxy that caches would show a past state as the present one.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(entry) = noted {
        guard.audit.note(Entry { outcome: response.status().as_u16(), ..entry });
    }
    response
}

/// Reads the body of a request within its limits, checks a token in it, and lets the handler answer within its time.
async fn answer(guard: &Guard, access: Access, request: Request, next: Next) -> (Option<Role>, Response) {
    let limits = &guard.limits;
    let (head, body) = request.into_parts();
    let too_large = || {
        let text = format!("the body is larger than {} bytes, or was cut off", limits.body_bytes);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text).into_response()
    };
    // Nothing of a body that says itself that it is too large is read.
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return (None, too_large());
    }
    let body = match timeout(limits.body_within, to_bytes(body, limits.body_bytes)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (None, too_large()),
        Err(_) => {
            let text = "the body did not arrive in time";
            let error = ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", text);
            return (None, error.into_response());
        }
    };
    let role = match access {
        Access::InBody(needed) => match body::role_of(&body, &guard.tokens, needed) {
            Ok(role) => Some(role),
            Err(error) => return (None, error.into_response()),
        },
        _ => None,
    };
    let response = match timeout(limits.answer_within, next.run(Request::from_parts(head, Body::from(body))))
        .await
    {
        Ok(response) => response,
        Err(_) => {
            let text = "the answer was not ready in time: try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", text).retry_after(1).into_response()
        }
    };
    (role, response)
}
