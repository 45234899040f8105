//! The environment variables for the Hub and its cache, read as Python's `huggingface_hub` does.

use crate::Hub;
use crate::address::Endpoint;
use crate::error::HubError;
use crate::limits::Limits;
use crate::secret::Secret;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A function that returns the values of variables.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

/// Builds the Hub and its cache from environment variables.
pub(crate) fn read(get: &dyn Fn(&str) -> Option<OsString>) -> Result<Hub, HubError> {
    let variables = Variables(get);
    let home = variables.path("HF_HOME").unwrap_or_else(|| {
        let caches = variables.path("XDG_CACHE_HOME");
        let caches = caches.unwrap_or_else(|| variables.home().join(".cache"));
        caches.join("huggingface")
    });
    let cache = variables
        .path("HF_HUB_CACHE")
        .or_else(|| variables.path("HUGGINGFACE_HUB_CACHE"));
    let is_offline = variables.is_on("HF_HUB_OFFLINE")? || variables.is_on("TRANSFORMERS_OFFLINE")?;
    let endpoint = variables.text("HF_ENDPOINT")?;
    let endpoint = Endpoint::parse(endpoint.as_deref().unwrap_or(Endpoint::USUAL));
    Ok(Hub {
        cache: cache.unwrap_or_else(|| home.join("hub")),
        endpoint: endpoint.map_err(|problem| HubError::Variable {
            name: "HF_ENDPOINT".to_owned(),
            message: problem.to_owned(),
            hint: "give the address of a Hub, such as `https://huggingface.co`, or unset the variable",
        })?,
        // Offline, the token is not needed.
        token: if is_offline { None } else { variables.token(&home)? },
        is_offline,
        limits: Limits::default(),
    })
}

impl Variables<'_> {
    /// The value of a variable, unless it is empty.
    fn set(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Result<Option<String>, HubError> {
        let text = self.set(name).map(OsString::into_string).transpose();
        text.map_err(|_| HubError::Variable {
            name: name.to_owned(),
            message: "is not valid UTF-8".to_owned(),
            hint: "set it to text, or unset it",
        })
    }

    fn is_on(&self, name: &str) -> Result<bool, HubError> {
        let value = self.text(name)?.unwrap_or_default().to_uppercase();
        Ok(["1", "ON", "YES", "TRUE"].contains(&value.as_str()))
    }

    fn home(&self) -> PathBuf {
        std::env::home_dir().unwrap_or_default()
    }

    /// A path, with a leading `~` and every `$NAME` replaced. A path that is not UTF-8 is returned as it is.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.set(name)?;
        let Some(text) = value.to_str() else {
            return Some(value.into());
        };
        let text = self.expand(text);
        let path = Path::new(&text);
        Some(match path.strip_prefix("~") {
            Ok(rest) => self.home().join(rest),
            Err(_) => path.to_owned(),
        })
    }

    /// Replaces `$NAME` and `${NAME}`; unset names stay as they are.
    fn expand(&self, text: &str) -> String {
        let mut pieces = text.split('$');
        let mut expanded = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = match piece.strip_prefix('{').and_then(|piece| piece.split_once('}')) {
                Some(found) => found,
                None => {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    piece.split_at(piece.find(|c| !is_word(c)).unwrap_or(piece.len()))
                }
            };
            match self
                .set(name)
                .filter(|_| !name.is_empty())
                .and_then(|value| value.into_string().ok())
            {
                Some(value) => expanded.push_str(&(value + rest)),
                None => expanded.push_str(&format!("${piece}")),
            }
        }
        expanded
    }

    /// The token from the environment, or the one that `hf auth login` stored.
    fn token(&self, home: &Path) -> Result<Option<Secret>, HubError> {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(text) = self.text(name)?.filter(|text| !text.trim().is_empty()) {
                return secret(name, &text).map(Some);
            }
        }
        let path = self.path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(HubError::io("read", &path))?,
        };
        let text = String::from_utf8_lossy(&text);
        if text.trim().is_empty() {
            return Ok(None);
        }
        secret(&path.to_string_lossy(), &text).map(Some)
    }
}

fn secret(name: &str, text: &str) -> Result<Secret, HubError> {
    Secret::token(text).ok_or_else(|| HubError::Variable {
        name: name.to_owned(),
        message: "holds a character that no token has".to_owned(),
        hint: "set it to a token of the Hub, which is one line of letters, digits and `_`",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(pairs: &[(&str, &str)]) -> Result<Hub, HubError> {
        read(&|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    /// A directory without a stored token.
    const HOME: (&str, &str) = ("HF_HOME", "/nowhere/hf");

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |pairs: &[(&str, &str)]| hub(pairs).unwrap().cache;
        assert_eq!(cache(&[HOME]), Path::new("/nowhere/hf/hub"));
        assert_eq!(cache(&[HOME, ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(cache(&[HOME, ("HUGGINGFACE_HUB_CACHE", "/d")]), Path::new("/d"));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        let usual = std::env::home_dir().unwrap();
        assert_eq!(cache(&[("HF_HOME", "~/a")]), usual.join("a/hub"));
        assert_eq!(cache(&[("HF_HOME", "")]), usual.join(".cache/huggingface/hub"));
        let expanded = cache(&[
            ("HF_HUB_CACHE", "/s/$USER-1/${JOB}/$NONE/${X"),
            ("USER", "u"),
            ("JOB", "j"),
        ]);
        assert_eq!(expanded, Path::new("/s/u-1/j/$NONE/${X"));
    }

    #[test]
    fn a_token_comes_from_the_environment_or_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "hf_stored\n").unwrap();
        let stored = ("HF_TOKEN_PATH", path.to_str().unwrap());
        assert_eq!(hub(&[HOME, stored]).unwrap().token, Secret::token("hf_stored"));
        assert_eq!(
            hub(&[("HF_HOME", directory.path().to_str().unwrap())])
                .unwrap()
                .token,
            Secret::token("hf_stored")
        );
        assert_eq!(
            hub(&[HOME, stored, ("HF_TOKEN", " hf_set\n")]).unwrap().token,
            Secret::token("hf_set")
        );
        assert_eq!(hub(&[HOME]).unwrap().token, None);
        assert_eq!(hub(&[HOME, stored, ("HF_HUB_OFFLINE", "1")]).unwrap().token, None);
        let error = hub(&[HOME, ("HF_TOKEN", "hf_s3cret\r\nHost: evil")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`HF_TOKEN`") && !error.contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn words_for_yes_are_those_of_python() {
        for (value, is_offline) in [
            ("1", true),
            ("on", true),
            ("Yes", true),
            ("TRUE", true),
            ("0", false),
            ("", false),
            ("2", false),
        ] {
            assert_eq!(
                hub(&[HOME, ("HF_HUB_OFFLINE", value)]).unwrap().is_offline,
                is_offline,
                "{value}"
            );
        }
        assert!(hub(&[HOME, ("TRANSFORMERS_OFFLINE", "1")]).unwrap().is_offline);
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_its_password() {
        for value in [
            "hub.example",
            "ftp://u:s3cret@hub.example",
            "http://u:s3cret@hub.example:port",
            "http://",
        ] {
            let error = cadft_files::with_hints(&hub(&[HOME, ("HF_ENDPOINT", value)]).unwrap_err());
            assert!(
                error.contains("`HF_ENDPOINT`") && error.contains("hint:"),
                "{error}"
            );
            assert!(!error.contains("s3cret"), "{error}");
        }
        let found = hub(&[HOME, ("HF_ENDPOINT", "https://u:s3cret@hub.example/")]).unwrap();
        assert_eq!(found.endpoint.to_string(), "https://hub.example");
        assert!(!format!("{found:?}").contains("s3cret"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_text_is_named_and_a_path_need_not_be() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = |name: &'static str| {
            move |key: &str| (key == name).then(|| OsString::from_vec(b"/\xff".to_vec()))
        };
        for name in ["HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"] {
            let error = read(&bytes(name)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{name}`")) && error.contains("UTF-8"),
                "{error}"
            );
        }
        assert!(read(&bytes("HF_HUB_CACHE")).unwrap().cache.as_os_str().len() == 2);
    }
}
