//! The Hub as a local server and the cache as a temporary directory.

use super::{Hub, HubError, Spec};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves files of one repository under `PREFIX/resolve/REVISION/` as the Hub does; says what was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: &[(&str, &str)], token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let files: BTreeMap<String, String> = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &files, token, &log);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, String>,
    token: Option<&str>,
    log: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    log.lock().unwrap().push(path.clone());
    let may = token.is_none_or(|token| headers.contains(&format!("authorization: bearer {token}")));
    let file = path
        .split("/resolve/")
        .nth(1)
        .and_then(|rest| rest.split_once('/'));
    let (status, extra, body) = if !may {
        ("401 Unauthorized", String::new(), "no".to_owned())
    } else if path.contains("/api/") && !path.contains("nothing") {
        let siblings: Vec<_> = files
            .keys()
            .map(|name| serde_json::json!({ "rfilename": name }))
            .collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        ("200 OK", String::new(), info.to_string())
    } else if let Some(text) = file.and_then(|(_, name)| files.get(name)) {
        let first = headers.contains(&"range: bytes=0-0".to_owned());
        let body = if first { &text[..1] } else { text };
        let extra = format!(
            "x-repo-commit: {COMMIT}\r\netag: \"{:x}\"\r\ncontent-range: bytes 0-{}/{}\r\n",
            text.len() * 31 + usize::from(text.as_bytes()[0]),
            body.len() - 1,
            text.len()
        );
        ("206 Partial Content", extra, body.to_owned())
    } else {
        ("404 Not Found", String::new(), "no".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn hub(cache: &Path, server: &Server) -> Hub {
    Hub {
        cache: cache.join("hub"),
        endpoint: server.address.clone(),
        token: None,
        is_offline: false,
    }
}

fn spec(text: &str) -> Spec {
    Spec::parse(text).unwrap().unwrap()
}

const INDEX: &str =
    r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
const MODEL: [(&str, &str); 6] = [
    ("config.json", "{}"),
    ("README.md", "never asked for"),
    ("pytorch_model.bin", "neither"),
    ("model.safetensors.index.json", INDEX),
    ("model-00001-of-00002.safetensors", "1st"),
    ("model-00002-of-00002.safetensors", "second"),
];

#[test]
fn a_model_is_downloaded_once_and_then_found_without_a_network() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&MODEL, None);
    let hub = hub(cache.path(), &server);
    let directory = hub.resolve(&spec("hf://owner/name")).unwrap();
    assert_eq!(
        fs::read_to_string(directory.join("model-00002-of-00002.safetensors")).unwrap(),
        "second"
    );
    assert!(!directory.join("README.md").exists() && !directory.join("pytorch_model.bin").exists());
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .any(|path| path.contains("/api/models/owner/name/revision/main"))
    );
    let offline = Hub {
        is_offline: true,
        ..hub.clone()
    };
    assert_eq!(offline.resolve(&spec("hf://owner/name")).unwrap(), directory);
    assert_eq!(
        offline
            .resolve(&spec(&format!("hf://owner/name@{COMMIT}")))
            .unwrap(),
        directory
    );
    assert_eq!(hub.resolve(&spec("hf://owner/name")).unwrap(), directory);
    assert_eq!(server.asked(), asked, "the cache needs no network");
}

#[test]
fn a_cache_with_a_missing_shard_is_completed() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&MODEL, None);
    let hub = hub(cache.path(), &server);
    let directory = hub.resolve(&spec("hf://owner/name")).unwrap();
    fs::remove_file(directory.join("model-00001-of-00002.safetensors")).unwrap();
    let offline = Hub {
        is_offline: true,
        ..hub.clone()
    };
    let error = offline.resolve(&spec("hf://owner/name")).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }) && error.to_string().contains("HF_HUB_OFFLINE"));
    assert_eq!(hub.resolve(&spec("hf://owner/name")).unwrap(), directory);
    assert!(directory.join("model-00001-of-00002.safetensors").is_file());
}

#[test]
fn data_files_are_found_whole_or_one_by_one() {
    let cache = tempfile::tempdir().unwrap();
    let files = [
        ("data/train.jsonl", "{}"),
        ("README.md", "# data"),
        ("test.parquet", "PAR1"),
    ];
    let server = Server::start(&files, None);
    let hub = hub(cache.path(), &server);
    let file = hub
        .resolve(&spec("hf://datasets/a/b@v1/data/train.jsonl"))
        .unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "{}");
    assert!(
        server
            .asked()
            .iter()
            .any(|path| path.contains("/api/datasets/a/b/revision/v1"))
    );
    assert!(!server.asked().iter().any(|path| path.ends_with("test.parquet")));
    let directory = hub.resolve(&spec("hf://datasets/a/b@v1")).unwrap();
    assert!(directory.join("test.parquet").is_file() && !directory.join("README.md").exists());
    let asked = server.asked();
    assert_eq!(hub.resolve(&spec("hf://datasets/a/b@v1")).unwrap(), directory);
    assert_eq!(server.asked(), asked);
}

#[test]
fn a_gated_repository_needs_the_token_and_a_missing_one_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&MODEL, Some("secret"));
    let hub = hub(cache.path(), &server);
    let error = hub.resolve(&spec("hf://owner/name")).unwrap_err().to_string();
    assert!(
        error.contains("`hf://owner/name`") && error.contains("`HF_TOKEN`"),
        "{error}"
    );
    let opened = Hub {
        token: Some("secret".to_owned()),
        ..hub.clone()
    };
    assert!(opened.resolve(&spec("hf://owner/name")).is_ok());
    let error = opened
        .resolve(&spec("hf://owner/nothing"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("the owner, the name and the revision"), "{error}");
}

#[test]
fn a_repository_without_a_model_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[("README.md", "nothing here")], None);
    let error = hub(cache.path(), &server).resolve(&spec("hf://a/b")).unwrap_err();
    assert!(matches!(error, HubError::Empty { .. }), "{error}");
    assert!(!cache.path().join("hub/models--a--b/refs/main").exists());
}
