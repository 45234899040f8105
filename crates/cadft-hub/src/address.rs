//! Addresses on the network: parsed, joined, compared by origin, and shown without secrets.

use crate::secret::Secret;
use crate::text::Visible;
use percent_encoding::percent_decode_str;
use std::fmt;
use ureq::http::Uri;

/// Scheme, host and port: the scope of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_encrypted: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An `http` or `https` address without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// The path and the query. The path begins with `/` or is empty.
    path: String,
}

/// The address of the Hub, and the credentials that were part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) address: Address,
    pub(crate) password: Option<Secret>,
}

impl Address {
    /// Parses an address; a user and a password in it are dropped.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "is no address")?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("does not begin with `https://` or `http://`"),
        };
        let authority = uri.authority().ok_or("has no host")?;
        let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = authority.host();
        if host.is_empty() || host == "[]" {
            return Err("has no host");
        }
        let port = match after_user.strip_prefix(host) {
            None | Some("" | ":") => None,
            Some(rest) => Some(rest[1..].parse().map_err(|_| "has no valid port")?),
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        Ok(Self {
            origin: Origin {
                is_encrypted,
                host: host.to_ascii_lowercase(),
                port: port.unwrap_or(if is_encrypted { 443 } else { 80 }),
            },
            path: if path == "/" {
                String::new()
            } else {
                path.to_owned()
            },
        })
    }

    /// The target of a redirection: resolves a `Location` header against this address.
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        let location = location.trim();
        if location.is_empty() {
            return Err("is empty");
        }
        let scheme_ends = location.find("://");
        let path_begins = location.find(['/', '?', '#']).unwrap_or(location.len());
        if scheme_ends.is_some_and(|end| end < path_begins) {
            return Self::parse(location);
        }
        let scheme = if self.origin.is_encrypted { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let directory = match self.without_query().rsplit_once('/') {
            _ if location.starts_with('/') => "",
            Some((directory, _)) => &self.path[..=directory.len()],
            None => "/",
        };
        Self::parse(&format!("{}{directory}{location}", self.origin))
    }

    /// An address below this one; `rest` begins with `/`.
    pub(crate) fn below(&self, rest: &str) -> Self {
        Self {
            origin: self.origin.clone(),
            path: format!("{}{rest}", self.without_query().trim_end_matches('/')),
        }
    }

    /// The same address with the query of `other`.
    pub(crate) fn with_query_of(&self, other: &Self) -> Self {
        let query = other.path.split_once('?').map_or("", |(_, query)| query);
        Self {
            origin: self.origin.clone(),
            path: format!("{}?{query}", self.without_query()),
        }
    }

    /// The same path and query at another place.
    pub(crate) fn moved_to(&self, place: &Self) -> Self {
        place.below(&self.path)
    }

    /// The address as a request contains it.
    pub(crate) fn for_request(&self) -> String {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{}", self.origin, self.path)
    }

    fn without_query(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_encrypted {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

/// Without the query: a signed query grants access to the file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, Visible(self.without_query()))
    }
}

impl Endpoint {
    /// The address of the Hub by default.
    pub const USUAL: &str = "https://huggingface.co";

    /// Parses the address of a Hub, which may contain a user and a password.
    ///
    /// # Errors
    /// What is wrong with the address; the message does not contain it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim().trim_end_matches('/');
        let mut address = Address::parse(text)?;
        address
            .path
            .truncate(address.without_query().trim_end_matches('/').len());
        let uri: Uri = text.parse().map_err(|_| "is no address")?;
        let user = uri
            .authority()
            .and_then(|authority| authority.as_str().rsplit_once('@'));
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let password = user.map(|(user, _)| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            Secret::password(&decode(user), &decode(password))
        });
        Ok(Self { address, password })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn one_origin_is_one_scheme_host_and_port() {
        let origin = parse("https://hub.example/a").origin;
        for same in [
            "https://HUB.example:443/b?c",
            "https://user:password@hub.example",
            "https://hub.example:/",
        ] {
            assert_eq!(parse(same).origin, origin, "{same}");
        }
        for other in [
            "http://hub.example",
            "https://hub.example:8443",
            "https://hub.example.org",
            "https://hub.example@other.example",
            "https://hub.example:443@other.example/hub.example",
        ] {
            assert_ne!(parse(other).origin, origin, "{other}");
        }
        assert_ne!(parse("http://[::1]:80/").origin, parse("http://[::2]/").origin);
    }

    #[test]
    fn a_location_is_found_from_where_it_was_given() {
        let from = parse("https://hub.example/a/b/c?d=/e");
        for (location, to) in [
            ("https://cdn.example:1/x?y", "https://cdn.example:1/x?y"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/x/y?z", "https://hub.example/x/y?z"),
            ("x", "https://hub.example/a/b/x"),
            (
                "x?to=https://a.example/b",
                "https://hub.example/a/b/x?to=https://a.example/b",
            ),
            ("/", "https://hub.example/"),
        ] {
            assert_eq!(from.join(location).unwrap().for_request(), to, "{location}");
        }
        for location in [
            "",
            "ftp://a.example/",
            "file:///etc/passwd",
            "https://",
            "http://a b/",
            "http://a:99999/",
            "http://:1/",
        ] {
            assert!(from.join(location).is_err(), "{location:?}");
        }
    }

    #[test]
    fn secrets_of_an_address_are_not_shown() {
        let endpoint = Endpoint::parse("http://user:s3cret%40@hub.example/mirror/?s3cret").unwrap();
        assert_eq!(endpoint.to_string(), "http://hub.example/mirror");
        assert_eq!(endpoint.password, Some(Secret::password("user", "s3cret@")));
        assert!(!format!("{endpoint:?} {}", endpoint.address.for_request()).contains("s3cret"));
        assert_eq!(
            endpoint.address.below("/api").for_request(),
            "http://hub.example/mirror/api"
        );
        let signed = parse("https://cdn.example/file?Signature=s3cret");
        assert_eq!(signed.to_string(), "https://cdn.example/file");
        assert_eq!(
            Endpoint::parse("https://hub.example/")
                .unwrap()
                .address
                .for_request(),
            "https://hub.example/"
        );
    }
}
