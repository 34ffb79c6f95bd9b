//! Requests of other pages are refused: a browser opens those beside ours, and lets them send.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refuse;

/// Nothing from elsewhere, in no frame, kept nowhere.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Let a request through only if it comes from the preview page or no page at all.
pub(super) async fn own_page_alone(request: Request, next: Next) -> Response {
    let mut response = match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => refuse(StatusCode::FORBIDDEN, why),
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    // A foreign page can point a name of its own at this machine, but not an address.
    if !is_local_name(host) {
        return Err("unknown host name; hint: open the page by its numeric address");
    }
    let own = format!("http://{host}");
    if text(header::ORIGIN).is_some_and(|origin| !origin.eq_ignore_ascii_case(&own)) {
        return Err("request of another page; hint: open the preview page itself");
    }
    // A link on another page may lead here; its pictures and scripts may not be ours.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let mode = text(HeaderName::from_static("sec-fetch-mode"));
    let elsewhere = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if elsewhere && mode != Some("navigate") {
        return Err("request of another page; hint: open the preview page itself");
    }
    Ok(())
}

/// Whether a host is an address or this machine's own name, which no one else can give away.
fn is_local_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    bare.unwrap_or(name).parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        check(&headers.collect()).is_ok()
    }

    #[test]
    fn hosts_that_others_can_name_are_refused() {
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "[::1]:80",
            "192.168.1.7",
        ] {
            assert!(checked(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!checked(&[("host", host)]), "{host}");
        }
        assert!(!checked(&[]));
    }

    #[test]
    fn other_pages_are_refused() {
        let host = ("host", "127.0.0.1:8080");
        assert!(checked(&[host, ("origin", "http://127.0.0.1:8080")]));
        for origin in ["http://evil.example", "http://127.0.0.1:8081", "null", ""] {
            assert!(!checked(&[host, ("origin", origin)]), "{origin}");
        }
        for (site, mode, may) in [
            ("same-origin", "cors", true),
            ("none", "navigate", true),
            ("cross-site", "navigate", true),
            ("cross-site", "no-cors", false),
            ("same-site", "no-cors", false),
        ] {
            let headers = [host, ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            assert_eq!(checked(&headers), may, "{site} {mode}");
        }
    }
}
