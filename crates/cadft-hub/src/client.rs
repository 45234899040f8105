//! Requests that fetch from the Hub: redirections without the token, limits on time and size, and retries.

use crate::Hub;
use crate::address::Address;
use crate::error::{HubError, Place, Way, is_busy};
use crate::name;
use crate::spec::Spec;
use crate::text::Visible;
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::http::header::HeaderMap;
use ureq::http::{Method, Request};
use ureq::{Agent, BodyReader};

/// The requested name and file, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) file: Option<&'a str>,
    pub(crate) way: Way,
}

impl<'a> Subject<'a> {
    /// What is fetched.
    pub(crate) fn fetched(spec: &'a Spec, file: Option<&'a str>) -> Self {
        let way = Way::From;
        Self { spec, file, way }
    }

    /// What is sent.
    pub(crate) fn sent(spec: &'a Spec, file: Option<&'a str>) -> Self {
        let way = Way::To;
        Self { spec, file, way }
    }

    pub(crate) fn at(&self, address: &Address) -> Box<Place> {
        Box::new(Place {
            spec: self.spec.clone(),
            file: self.file.map(str::to_owned),
            way: self.way,
            address: address.to_string(),
        })
    }

    pub(crate) fn malformed(&self, address: &Address, message: impl Into<String>) -> HubError {
        HubError::Malformed {
            place: self.at(address),
            message: message.into(),
        }
    }

    pub(crate) fn network(&self, address: &Address, message: impl Into<String>) -> HubError {
        HubError::Network {
            place: self.at(address),
            message: message.into(),
        }
    }
}

/// What the Hub's own headers report about a file, even if its bytes come from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) etag: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) commit: Option<String>,
    /// Whether the Hub sent `X-Linked-ETag` with a redirection. The `ETag` of a storage server is then ignored.
    is_linked: bool,
}

/// An answer whose body is not read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) facts: Facts,
    /// The final address, after redirections.
    pub(crate) address: Address,
    pub(crate) body: BodyReader<'static>,
}

/// A connection to one Hub.
pub(crate) struct Client<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) agent: Agent,
}

impl<'a> Client<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        let limits = &hub.limits;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Redirections are followed here, because each one decides whether the token is sent.
            .max_redirects(0)
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.answer))
            .timeout_recv_response(Some(limits.answer))
            .timeout_per_read(Some(limits.silence))
            .timeout_per_write(Some(limits.silence))
            .accept_encoding("identity")
            .user_agent(concat!("cadft/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            hub,
            agent: config.new_agent(),
        }
    }

    /// The whole body of a JSON answer, and its headers.
    pub(crate) fn json(
        &self,
        subject: Subject<'_>,
        address: &Address,
    ) -> Result<(Vec<u8>, HeaderMap), HubError> {
        let answer = self.ask(subject, &Method::GET, address, 0)?;
        if answer.status != 200 {
            return Err(refused(subject, &answer));
        }
        let bytes = self.whole(subject, address, answer.body)?;
        Ok((bytes, answer.headers))
    }

    /// The whole body of an answer, within the limits of a listing.
    pub(crate) fn whole(
        &self,
        subject: Subject<'_>,
        address: &Address,
        mut body: BodyReader<'static>,
    ) -> Result<Vec<u8>, HubError> {
        let limits = &self.hub.limits;
        let end = Instant::now() + limits.listing;
        let mut bytes = Vec::new();
        let mut piece = [0; 16 << 10];
        loop {
            let count = body
                .read(&mut piece)
                .map_err(|error| subject.network(address, describe(&error)))?;
            if count == 0 {
                return Ok(bytes);
            }
            if (bytes.len() + count) as u64 > limits.listing_bytes {
                let message = format!("the answer has more than {} bytes", limits.listing_bytes);
                return Err(subject.malformed(address, message));
            }
            if Instant::now() > end {
                let message = format!("the answer takes more than {:.1} s", limits.listing.as_secs_f64());
                return Err(subject.network(address, message));
            }
            bytes.extend_from_slice(&piece[..count]);
        }
    }

    /// Requests the bytes from offset `from` and returns the headers. Retries while the Hub is busy.
    pub(crate) fn ask(
        &self,
        subject: Subject<'_>,
        method: &Method,
        address: &Address,
        from: u64,
    ) -> Result<Answer, HubError> {
        let limits = &self.hub.limits;
        let mut wait = limits.wait;
        for _ in 0..limits.retries {
            let answer = self.follow(subject, method, address, from)?;
            if !is_busy(answer.status) {
                return Ok(answer);
            }
            let asked = text(&answer.headers, "retry-after").and_then(|text| text.trim().parse().ok());
            let pause = asked.map_or(wait, Duration::from_secs).min(limits.longest_wait);
            tracing::info!(status = answer.status, ?pause, "the Hub is busy");
            std::thread::sleep(pause);
            wait *= 2;
        }
        let answer = self.follow(subject, method, address, from)?;
        if is_busy(answer.status) {
            Err(refused(subject, &answer))
        } else {
            Ok(answer)
        }
    }

    /// Follows redirections to the final answer.
    fn follow(
        &self,
        subject: Subject<'_>,
        method: &Method,
        start: &Address,
        from: u64,
    ) -> Result<Answer, HubError> {
        let mut address = start.clone();
        let mut facts = Facts::default();
        // After a redirection away from the Hub the token is never sent again, even if a later one leads back.
        let mut is_home = true;
        for _ in 0..=self.hub.limits.redirects {
            let response = self.send(subject, method, &address, (from, is_home))?;
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            if is_home {
                facts
                    .add(&head.headers, status)
                    .map_err(|message| subject.malformed(&address, message))?;
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                check_encoding(&head.headers).map_err(|message| subject.malformed(&address, message))?;
                return Ok(Answer {
                    status,
                    headers: head.headers,
                    facts,
                    address,
                    body: body.into_reader(),
                });
            }
            let next = redirection(&address, text(&head.headers, "location"))
                .map_err(|message| subject.malformed(&address, message))?;
            is_home &= next.origin == self.hub.endpoint.address.origin;
            // The facts of a file are in the redirection that leaves the Hub; a `HEAD` request ends there.
            if *method == Method::HEAD && !is_home {
                return Ok(Answer {
                    status: 200,
                    headers: head.headers,
                    facts,
                    address,
                    body: body.into_reader(),
                });
            }
            address = next;
        }
        let message = format!("more than {} redirections", self.hub.limits.redirects);
        Err(subject.malformed(start, message))
    }

    fn send(
        &self,
        subject: Subject<'_>,
        method: &Method,
        address: &Address,
        (from, is_home): (u64, bool),
    ) -> Result<ureq::http::Response<ureq::Body>, HubError> {
        let mut request = Request::builder().method(method).uri(address.for_request());
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let secret = self.hub.endpoint.password.as_ref().or(self.hub.token.as_ref());
        if let Some(secret) = secret.filter(|_| is_home) {
            request = request.header("authorization", secret.header());
        }
        let request = request
            .body(())
            .map_err(|error| subject.malformed(address, error.to_string()))?;
        let sent = self.agent.run(request);
        sent.map_err(|error| failed(subject, address, &error))
    }
}

/// The error for a request that got no answer.
pub(crate) fn failed(subject: Subject<'_>, address: &Address, error: &ureq::Error) -> HubError {
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Rustls(_)
        | ureq::Error::Tls(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::ConnectProxyFailed(_) => subject.network(address, describe(error)),
        error => subject.malformed(address, describe(error)),
    }
}

impl Facts {
    /// Adds the facts in the Hub's own headers.
    fn add(&mut self, headers: &HeaderMap, status: u16) -> Result<(), String> {
        let linked = text(headers, "x-linked-etag");
        let plain = || text(headers, "etag").filter(|_| matches!(status, 200 | 206) && !self.is_linked);
        if let Some(tag) = linked.or_else(plain) {
            let tag = name::etag(tag).ok_or_else(|| format!("the `ETag` `{}` is none", Visible(tag)))?;
            self.etag = Some(tag.to_owned());
        }
        let length = || text(headers, "content-length").filter(|_| status == 200 && !self.is_linked);
        if let Some(size) = text(headers, "x-linked-size").or_else(length) {
            let size = size
                .trim()
                .parse()
                .map_err(|_| format!("the size `{}` is none", Visible(size)))?;
            self.size = Some(size);
        }
        self.is_linked |= linked.is_some();
        if let Some(commit) = text(headers, "x-repo-commit") {
            self.commit = Some(commit.to_owned());
        }
        Ok(())
    }
}

/// The target of a redirection; an error if it leads from an encrypted to an unencrypted connection.
fn redirection(from: &Address, location: Option<&str>) -> Result<Address, String> {
    let location = location.ok_or("a redirection without a `Location`")?;
    // A query may be signed, and then grants access to the file.
    let shown = Visible(location.split('?').next().unwrap_or_default());
    let next = from
        .join(location)
        .map_err(|what| format!("a redirection to `{shown}`, which {what}"))?;
    if from.origin.is_encrypted && !next.origin.is_encrypted {
        return Err(format!(
            "a redirection from `https` to {}, which is not encrypted",
            next.origin
        ));
    }
    Ok(next)
}

/// The error for an unexpected answer.
pub(crate) fn refused(subject: Subject<'_>, answer: &Answer) -> HubError {
    HubError::Refused {
        place: subject.at(&answer.address),
        status: answer.status,
        message: text(&answer.headers, "x-error-message")
            .unwrap_or_default()
            .to_owned(),
    }
}

/// The value of a header, if it is text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The message of an error of the HTTP library; it contains no address.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    Visible(&error.to_string()).to_string()
}

/// Refuses compressed answers: they were not requested, and their sizes and hashes cannot be compared.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), String> {
    match text(headers, "content-encoding").map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(other) => Err(format!(
            "the answer is compressed as `{}`, which was not asked for",
            Visible(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    #[test]
    fn an_encrypted_connection_is_not_left_for_one_that_is_not() {
        let from = Endpoint::parse("https://hub.example").unwrap().address;
        for location in [
            "http://hub.example/x",
            "http://cdn.example/x?Signature=s3cret",
            "HTTP://hub.example:443/",
        ] {
            let error = redirection(&from, Some(location)).unwrap_err();
            assert!(
                error.contains("not encrypted") && !error.contains("s3cret"),
                "{error}"
            );
        }
        assert!(redirection(&from, Some("https://cdn.example/x")).is_ok());
        let plain = Endpoint::parse("http://127.0.0.1:1").unwrap().address;
        assert!(redirection(&plain, Some("https://cdn.example/x")).is_ok());
    }

    #[test]
    fn a_redirection_that_leads_nowhere_is_an_error_that_shows_no_secret() {
        let from = Endpoint::parse("https://hub.example").unwrap().address;
        for location in [
            None,
            Some(""),
            Some("ftp://a/"),
            Some("https://?Signature=s3cret"),
            Some("\u{1b}[2J"),
        ] {
            let error = redirection(&from, location).unwrap_err();
            assert!(
                error.starts_with("a redirection") && !error.contains("s3cret") && !error.contains('\u{1b}'),
                "{error}"
            );
        }
    }
}
