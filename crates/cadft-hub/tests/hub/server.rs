//! A Hub on loopback: honest, unless a test changes its answers.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request that a server received.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Header names in lower case, with their values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_api(&self) -> bool {
        self.path.contains("/api/")
    }

    pub(crate) fn is_info(&self) -> bool {
        self.path.contains("/revision/")
    }

    pub(crate) fn is_tree(&self) -> bool {
        self.path.contains("/tree/")
    }

    /// Whether the request is for the bytes of a file.
    pub(crate) fn is_get_of(&self, name: &str) -> bool {
        self.method == "GET" && self.path.contains("/resolve/") && self.path.ends_with(name)
    }
}

/// A step of sending the body.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Repeats the bytes with a pause between, until the client disconnects.
    Forever(Vec<u8>, Duration),
}

/// An answer; the connection is closed after it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let reply = Self {
            status,
            headers: vec![],
            steps: vec![],
        };
        let reply = reply.with("content-length", body.len().to_string());
        Self {
            steps: vec![Step::Send(body)],
            ..reply
        }
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::new(302, "").with("location", location)
    }

    /// Sets a header; an existing one with that name is replaced.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let sent = self.steps.iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes.clone()),
            _ => None,
        });
        sent.flatten().collect()
    }

    /// Sets the body and its `content-length`.
    pub(crate) fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self.with("content-length", body.len().to_string())
            .with_steps(vec![Step::Send(body)])
    }

    /// Sets the steps; the headers stay.
    pub(crate) fn with_steps(self, steps: Vec<Step>) -> Self {
        Self { steps, ..self }
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;
/// After how many bytes of a body the connection is cut, if it is; the body is not known yet.
type Cut = dyn Fn(&Asked) -> Option<usize> + Send + Sync;

/// A server on a free port; records the requests.
pub(crate) struct Server {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_cutting(answer, |_| None)
    }

    /// A server that cuts some connections while it reads their bodies.
    pub(crate) fn start_cutting(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let (log, answer): (_, Arc<Answer>) = (Arc::clone(&asked), Arc::new(answer));
        let cut: Arc<Cut> = Arc::new(cut);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer, cut) = (Arc::clone(&log), Arc::clone(&answer), Arc::clone(&cut));
                std::thread::spawn(move || serve(stream, &*answer, &*cut, &log));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }
}

/// Reads one request and answers it; `None` if the client disconnected.
fn serve(mut stream: TcpStream, answer: &Answer, cut: &Cut, log: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = reader.by_ref().lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let mut asked = Asked {
        method,
        path,
        headers,
        body: vec![],
    };
    let length = asked
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let length: usize = length.unwrap_or(0);
    if let Some(cut) = cut(&asked) {
        let mut read = vec![0; cut.min(length)];
        reader.read_exact(&mut read).ok()?;
        asked.body = read;
        log.lock().unwrap().push(asked);
        return stream.shutdown(Shutdown::Both).ok();
    }
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    log.lock().unwrap().push(asked.clone());
    let reply = answer(&asked);
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    for step in reply.steps {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).ok()?,
            Step::Pause(time) => std::thread::sleep(time),
            Step::Forever(bytes, time) => loop {
                stream.write_all(&bytes).ok()?;
                std::thread::sleep(time);
            },
        }
    }
    Some(())
}

/// A file of a repository. If it is in LFS, the Hub redirects to it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_lfs: bool,
}

/// A repository as the Hub serves it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repo {
    pub(crate) entries: Vec<Entry>,
    /// The token required for access, if any.
    pub(crate) token: Option<&'static str>,
    /// Files per page of the listing; 0 means one page.
    pub(crate) page: usize,
    /// Whether the server has no listings, like some mirrors.
    pub(crate) is_without_tree: bool,
    /// The address of the LFS storage; empty for the Hub itself.
    pub(crate) storage: String,
}

impl Repo {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let entry = |(name, bytes): &(&str, &[u8])| Entry {
            name: (*name).to_owned(),
            bytes: bytes.to_vec(),
            is_lfs: name.ends_with(".safetensors") || name.ends_with(".parquet"),
        };
        Self {
            entries: files.iter().map(entry).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn reply(&self, asked: &Asked) -> Reply {
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        let path = asked.path.split('?').next().unwrap();
        if path.starts_with("/storage/") {
            let entry = self.entries.iter().find(|entry| path.ends_with(&entry.sha256()));
            return entry.map_or_else(
                || Reply::new(404, ""),
                |entry| entry.reply(asked).with("etag", "\"of-storage\""),
            );
        }
        if bearer.is_some() && asked.header("authorization") != bearer.as_deref() {
            return Reply::new(401, "").with("x-error-message", "Invalid username or password.");
        }
        if path.contains("nothing") {
            return Reply::new(404, "").with("x-error-message", "Repository not found");
        }
        if asked.is_info() {
            let siblings: Vec<_> = self
                .entries
                .iter()
                .map(|entry| serde_json::json!({ "rfilename": entry.name }))
                .collect();
            return Reply::new(
                200,
                serde_json::json!({ "id": "o/n", "sha": COMMIT, "siblings": siblings }).to_string(),
            );
        }
        if asked.is_tree() {
            return self.tree(asked);
        }
        let name = path
            .split_once(&format!("/resolve/{COMMIT}/"))
            .map(|(_, name)| decoded(name));
        match self
            .entries
            .iter()
            .find(|entry| Some(&entry.name) == name.as_ref())
        {
            None => Reply::new(404, "").with("x-repo-commit", COMMIT),
            Some(entry) if entry.is_lfs => Reply::redirect(&format!(
                "{}/storage/{}?Signature=of-{COMMIT}",
                self.storage,
                entry.sha256()
            ))
            .with("x-linked-etag", format!("\"{}\"", entry.sha256()))
            .with("x-linked-size", entry.bytes.len().to_string())
            .with("x-repo-commit", COMMIT),
            Some(entry) => entry
                .reply(asked)
                .with("etag", format!("\"{}\"", entry.git()))
                .with("x-repo-commit", COMMIT),
        }
    }

    fn tree(&self, asked: &Asked) -> Reply {
        if self.is_without_tree {
            return Reply::new(404, "");
        }
        let from = asked
            .path
            .split_once("cursor=")
            .map_or(0, |(_, cursor)| cursor.parse().unwrap());
        let page = if self.page == 0 {
            self.entries.len()
        } else {
            self.page
        };
        let entries: Vec<_> = self
            .entries
            .iter()
            .skip(from)
            .take(page)
            .map(Entry::listed)
            .collect();
        let reply = Reply::new(200, serde_json::Value::from(entries).to_string());
        if from + page >= self.entries.len() {
            return reply;
        }
        // Like a mirror that forwards the Hub's own answers.
        let next = format!(
            "<https://huggingface.co/api/x?cursor={}>; rel=\"next\"",
            from + page
        );
        reply.with("link", next)
    }
}

impl Entry {
    pub(crate) fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    pub(crate) fn git(&self) -> String {
        let hash = Sha1::new_with_prefix(format!("blob {}\0", self.bytes.len()));
        hex(&hash.chain_update(&self.bytes).finalize())
    }

    pub(crate) fn etag(&self) -> String {
        if self.is_lfs { self.sha256() } else { self.git() }
    }

    fn listed(&self) -> serde_json::Value {
        let size = self.bytes.len();
        let mut entry =
            serde_json::json!({ "type": "file", "oid": self.git(), "size": size, "path": self.name });
        if self.is_lfs {
            entry["lfs"] = serde_json::json!({ "oid": self.sha256(), "size": size, "pointerSize": 134 });
        }
        entry
    }

    fn reply(&self, asked: &Asked) -> Reply {
        let from = asked
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let size = self.bytes.len();
        match from {
            None => Reply::new(200, self.bytes.clone()),
            Some(from) if from >= size => Reply::new(416, ""),
            Some(from) => Reply::new(206, &self.bytes[from..])
                .with("content-range", format!("bytes {from}-{}/{size}", size - 1)),
        }
    }
}

pub(crate) fn decoded(name: &str) -> String {
    percent_encoding::percent_decode_str(name)
        .decode_utf8_lossy()
        .into_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
