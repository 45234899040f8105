//! Requests that send: JSON to the Hub, and bytes to its storage. The token goes to the Hub only.

use crate::address::Address;
use crate::client::{Client, Subject, check_encoding, describe, failed, text};
use crate::error::{HubError, is_busy};
use serde::Deserialize;
use std::io::Read;
use std::time::Duration;
use ureq::http::Request;
use ureq::http::header::HeaderMap;
use ureq::{Body, SendBody};

/// The type of JSON bodies.
pub(crate) const JSON: &str = "application/json";
/// The type of bodies of the LFS API, in both directions.
pub(crate) const LFS: &str = "application/vnd.git-lfs+json";
/// The type of a commit: one JSON object a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A body that is posted.
pub(crate) struct Post<'a> {
    pub(crate) address: &'a Address,
    pub(crate) kind: &'static str,
    pub(crate) body: &'a [u8],
    /// Whether the address grants access by itself. The token is then not sent.
    pub(crate) is_signed: bool,
}

/// An answer to what was sent, with its whole body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) address: Address,
}

impl Reply {
    pub(crate) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error for this answer, with what the Hub says.
    pub(crate) fn refused(&self, subject: Subject<'_>) -> HubError {
        HubError::Refused {
            place: subject.at(&self.address),
            status: self.status,
            message: text(&self.headers, "x-error-message")
                .map(str::to_owned)
                .filter(|message| !message.is_empty())
                .unwrap_or_else(|| said_in(&self.body).join("; ")),
        }
    }
}

/// What the body of an error says: `error`, which is a text or a list, `errors` of `message`, or the `message` of the
/// LFS API, as `_format` in `huggingface_hub/utils/_http.py` reads them.
pub(crate) fn said_in(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        error: Option<Texts>,
        errors: Vec<Message>,
        message: Option<String>,
    }
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    let mut texts = match said.error {
        Some(Texts::One(text)) => vec![text],
        Some(Texts::Many(texts)) => texts,
        None => vec![],
    };
    texts.extend(said.errors.into_iter().map(|error| error.message));
    texts.extend(said.message);
    texts.truncate(10);
    texts
}

impl Client<'_> {
    /// Posts, again while the Hub is busy or the connection fails. For requests that may be repeated.
    pub(crate) fn post(&self, subject: Subject<'_>, post: &Post<'_>) -> Result<Reply, HubError> {
        self.repeated(subject, || self.post_once(subject, post))
    }

    /// Posts once. A redirection is followed only to the same host, with 307 or 308: any other would drop the body, or
    /// give it to somebody else.
    pub(crate) fn post_once(&self, subject: Subject<'_>, post: &Post<'_>) -> Result<Reply, HubError> {
        let home = &self.hub.endpoint.address.origin;
        let mut address = post.address.clone();
        for _ in 0..=self.hub.limits.redirects {
            let mut request = Request::post(address.for_request())
                .header("content-type", post.kind)
                .header("content-length", post.body.len());
            if post.kind == LFS {
                request = request.header("accept", LFS);
            }
            let secret = self.hub.endpoint.password.as_ref().or(self.hub.token.as_ref());
            if let Some(secret) = secret.filter(|_| !post.is_signed && address.origin == *home) {
                request = request.header("authorization", secret.header());
            }
            let mut body = post.body;
            let (status, headers, body) = self.send_body(subject, request, &address, &mut body)?;
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                check_encoding(&headers).map_err(|message| subject.malformed(&address, message))?;
                let body = self.whole(subject, &address, body.into_reader())?;
                return Ok(Reply {
                    status,
                    headers,
                    body,
                    address,
                });
            }
            let next = text(&headers, "location").and_then(|location| address.join(location).ok());
            match next.filter(|next| matches!(status, 307 | 308) && next.origin == address.origin) {
                Some(next) => address = next,
                None => {
                    let message = "a redirection of what is sent, which is not followed to another host";
                    return Err(subject.malformed(&address, message));
                }
            }
        }
        let message = format!("more than {} redirections", self.hub.limits.redirects);
        Err(subject.malformed(post.address, message))
    }

    /// Puts `size` bytes of `body`, once, without the token. A redirection is an answer like any other.
    pub(crate) fn put_once(
        &self,
        subject: Subject<'_>,
        address: &Address,
        body: &mut dyn Read,
        size: u64,
    ) -> Result<Reply, HubError> {
        let request = Request::put(address.for_request()).header("content-length", size);
        let (status, headers, _) = self.send_body(subject, request, address, body)?;
        Ok(Reply {
            status,
            headers,
            // A storage answers in XML, with parts of the address.
            body: vec![],
            address: address.clone(),
        })
    }

    fn send_body(
        &self,
        subject: Subject<'_>,
        request: ureq::http::request::Builder,
        address: &Address,
        mut body: &mut dyn Read,
    ) -> Result<(u16, HeaderMap, Body), HubError> {
        let request = request
            .body(SendBody::from_reader(&mut body))
            .map_err(|error| subject.malformed(address, describe(&error)))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_recv_response(Some(self.hub.limits.acceptance))
            .build();
        let response = self
            .agent
            .run(request)
            .map_err(|error| failed(subject, address, &error))?;
        let (head, body) = response.into_parts();
        Ok((head.status.as_u16(), head.headers, body))
    }

    /// Does something again while the Hub is busy or the connection fails, up to the limit of retries.
    pub(crate) fn repeated(
        &self,
        subject: Subject<'_>,
        mut attempt: impl FnMut() -> Result<Reply, HubError>,
    ) -> Result<Reply, HubError> {
        let limits = &self.hub.limits;
        for number in 0..limits.retries {
            let asked = match attempt() {
                Ok(reply) if is_busy(reply.status) => {
                    text(&reply.headers, "retry-after").and_then(|text| text.trim().parse().ok())
                }
                Err(HubError::Network { .. }) => None,
                other => return other,
            };
            self.pause(number, asked.map(Duration::from_secs));
        }
        match attempt() {
            Ok(reply) if is_busy(reply.status) => Err(reply.refused(subject)),
            other => other,
        }
    }

    /// Waits before the retry `number`, counted from 0.
    pub(crate) fn pause(&self, number: u32, asked: Option<Duration>) {
        let limits = &self.hub.limits;
        let usual = limits.wait.saturating_mul(1 << number.min(16));
        let pause = asked.unwrap_or(usual).min(limits.longest_wait);
        tracing::info!(?pause, "the Hub is asked again");
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_is_found_in_each_of_its_forms() {
        for (body, said) in [
            (r#"{"error": "no"}"#, vec!["no"]),
            (r#"{"error": ["a", "b"]}"#, vec!["a", "b"]),
            (r#"{"error": "x", "errors": [{"message": "y"}]}"#, vec!["x", "y"]),
            (
                r#"{"message": "Not allowed", "request_id": "1"}"#,
                vec!["Not allowed"],
            ),
            ("<html>", vec![]),
            ("", vec![]),
            ("[]", vec![]),
        ] {
            assert_eq!(said_in(body.as_bytes()), said, "{body}");
        }
    }
}
