//! A Hub on loopback that takes what is sent, and checks what a Hub checks: the token, digests, parts and their `ETag`s.
//! Its requests and answers are those that `huggingface_hub` sends and reads.

use super::server::{Asked, COMMIT, Entry, Reply, Repo, decoded, hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a Hub holds. Clones are the same Hub.
#[derive(Clone, Default)]
pub(crate) struct Store {
    pub(crate) state: Arc<Mutex<State>>,
    /// The token that is required; none, if it is empty.
    pub(crate) token: String,
    /// The size of the parts of large files; 0 sends them in one piece.
    pub(crate) chunk: usize,
    /// The address of the storage; empty for the Hub's own.
    pub(crate) storage: String,
    /// Whether the Hub asks for a request after a large file has arrived.
    pub(crate) verifies: bool,
}

#[derive(Default)]
pub(crate) struct State {
    repositories: BTreeMap<String, Kept>,
    /// Large files by their SHA-256 as the sender says it.
    objects: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    commits: usize,
}

#[derive(Clone, Default)]
struct Kept {
    is_private: bool,
    branches: BTreeMap<String, BTreeMap<String, Entry>>,
}

impl Store {
    pub(crate) fn new(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..Self::default()
        }
    }

    /// The files of a branch.
    pub(crate) fn files(&self, id: &str, branch: &str) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock().unwrap();
        let files = &state.repositories[id].branches[branch];
        let bytes = |(name, entry): (&String, &Entry)| (name.clone(), entry.bytes.clone());
        files.iter().map(bytes).collect()
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.state.lock().unwrap().repositories.contains_key(id)
    }

    pub(crate) fn is_private(&self, id: &str) -> bool {
        self.state.lock().unwrap().repositories[id].is_private
    }

    pub(crate) fn commits(&self) -> usize {
        self.state.lock().unwrap().commits
    }

    /// Puts a repository there, with these files.
    pub(crate) fn add(&self, id: &str, is_private: bool, files: &[(&str, &[u8])]) {
        let entries = Repo::new(files).entries.into_iter();
        let files = entries.map(|entry| (entry.name.clone(), entry)).collect();
        let kept = Kept {
            is_private,
            branches: BTreeMap::from([("main".to_owned(), files)]),
        };
        let _ = self
            .state
            .lock()
            .unwrap()
            .repositories
            .insert(id.to_owned(), kept);
    }

    pub(crate) fn reply(&self, asked: &Asked) -> Reply {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        if path.starts_with("/storage/") && asked.method == "PUT" {
            return self.put(path, &asked.body);
        }
        if path == "/api/complete_multipart" {
            return self.complete(query, &asked.json());
        }
        let bearer = format!("Bearer {}", self.token);
        let is_storage = path.starts_with("/storage/");
        if !is_storage && !self.token.is_empty() && asked.header("authorization") != Some(bearer.as_str()) {
            return error(401, "Invalid username or password.");
        }
        let parts: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("POST", ["api", "repos", "create"]) => self.create(&asked.json()),
            ("POST", ["api", "validate-yaml"]) => validate(&asked.json()),
            ("GET", ["api", "models", owner, name]) => match self.kept(owner, name) {
                Some(kept) => good(&json!({ "id": format!("{owner}/{name}"), "private": kept.is_private })),
                None => error(404, "Repository not found"),
            },
            ("POST", ["api", "models", owner, name, "branch", branch]) => self.branch(owner, name, branch),
            ("POST", ["api", "models", owner, name, "preupload", branch]) => {
                self.preupload(&self.branch_of(owner, name, branch), &asked.json())
            }
            ("POST", ["api", "models", owner, name, "commit", branch]) => {
                self.commit(&format!("{owner}/{name}"), branch, &asked.body)
            }
            ("POST", [owner, repository, "info", "lfs", "objects", "batch"]) => {
                self.batch(owner, repository, asked)
            }
            ("POST", ["verify"]) => self.verify(&asked.json()),
            ("GET" | "HEAD", _) => self.fetched(asked, &parts),
            _ => error(404, "not found"),
        }
    }

    fn kept(&self, owner: &str, name: &str) -> Option<Kept> {
        let state = self.state.lock().unwrap();
        state.repositories.get(&format!("{owner}/{name}")).cloned()
    }

    fn branch_of(&self, owner: &str, name: &str, branch: &str) -> Option<BTreeMap<String, Entry>> {
        self.kept(owner, name)?.branches.get(branch).cloned()
    }

    fn create(&self, body: &Value) -> Reply {
        let id = format!(
            "{}/{}",
            body["organization"].as_str().unwrap(),
            body["name"].as_str().unwrap()
        );
        assert_eq!(body["type"], "model");
        let url = format!("https://huggingface.co/{id}");
        if self.has(&id) {
            let text = json!({ "error": "You already created this model repo", "url": url });
            return Reply::new(409, text.to_string());
        }
        self.add(
            &id,
            body["visibility"] == "private",
            &[(".gitattributes", b"*.safetensors lfs")],
        );
        good(&json!({ "url": url }))
    }

    fn branch(&self, owner: &str, name: &str, branch: &str) -> Reply {
        let mut state = self.state.lock().unwrap();
        let branches = &mut state
            .repositories
            .get_mut(&format!("{owner}/{name}"))
            .unwrap()
            .branches;
        let files = branches["main"].clone();
        let _ = branches.insert(branch.to_owned(), files);
        good(&json!({}))
    }

    fn preupload(&self, files: &Option<BTreeMap<String, Entry>>, body: &Value) -> Reply {
        let Some(there) = files else {
            return error(404, "Repository not found");
        };
        let file = |file: &Value| {
            let name = file["path"].as_str().unwrap();
            let sample = STANDARD.decode(file["sample"].as_str().unwrap()).unwrap();
            let size = file["size"].as_u64().unwrap();
            assert!(sample.len() as u64 == size.min(512), "{file}");
            let is_large = name.ends_with(".safetensors") || size > 10 << 20;
            let mode = if is_large { "lfs" } else { "regular" };
            let oid = there.get(name).map(Entry::etag);
            json!({ "path": name, "uploadMode": mode, "shouldIgnore": false, "oid": oid })
        };
        let files: Vec<Value> = body["files"].as_array().unwrap().iter().map(file).collect();
        good(&json!({ "files": files, "commitOid": COMMIT }))
    }

    fn batch(&self, owner: &str, repository: &str, asked: &Asked) -> Reply {
        assert!(
            asked.header("accept") == Some("application/vnd.git-lfs+json"),
            "{asked:?}"
        );
        let name = repository.strip_suffix(".git").unwrap();
        if self.kept(owner, name).is_none() {
            return Reply::new(404, json!({ "message": "Repository not found" }).to_string());
        }
        let home = format!("http://{}", asked.header("host").unwrap());
        let storage = if self.storage.is_empty() {
            &home
        } else {
            &self.storage
        };
        let state = self.state.lock().unwrap();
        let object = |object: &Value| {
            let oid = object["oid"].as_str().unwrap();
            let size = usize::try_from(object["size"].as_u64().unwrap()).unwrap();
            let mut answer = json!({ "oid": oid, "size": size, "authenticated": true });
            if state.objects.contains_key(oid) {
                return answer;
            }
            let signature = "Signature=of-the-storage";
            let mut upload = json!({ "href": format!("{storage}/storage/{oid}?{signature}") });
            if self.chunk > 0 {
                let mut header = json!({ "chunk_size": self.chunk.to_string() });
                for number in 1..=size.div_ceil(self.chunk) {
                    let address = format!("{storage}/storage/part/{oid}/{number}?{signature}");
                    header[format!("{number:05}")] = address.into();
                }
                // The usual address of the Hub stands for this one.
                let href =
                    format!("https://huggingface.co/api/complete_multipart?uploadId={oid}&{signature}");
                upload = json!({ "href": href, "header": header });
            }
            answer["actions"] = json!({ "upload": upload });
            if self.verifies {
                answer["actions"]["verify"] = json!({ "href": format!("{home}/verify") });
            }
            answer
        };
        let body = asked.json();
        assert_eq!(body["operation"], "upload");
        let objects: Vec<Value> = body["objects"].as_array().unwrap().iter().map(object).collect();
        good(&json!({ "transfer": "basic", "objects": objects }))
    }

    fn put(&self, path: &str, body: &[u8]) -> Reply {
        let mut state = self.state.lock().unwrap();
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        match parts.as_slice() {
            ["part", oid, number] => {
                let key = ((*oid).to_owned(), number.parse().unwrap());
                let _ = state.parts.insert(key, body.to_vec());
            }
            [oid] => {
                let _ = state.objects.insert((*oid).to_owned(), body.to_vec());
            }
            _ => return error(404, "not found"),
        }
        Reply::new(200, "").with("etag", format!("\"{}\"", sha256(body)))
    }

    fn complete(&self, query: &str, body: &Value) -> Reply {
        let mut state = self.state.lock().unwrap();
        let oid = body["oid"].as_str().unwrap().to_owned();
        assert!(
            query.starts_with(&format!("uploadId={oid}&Signature=")),
            "{query}"
        );
        let mut bytes = vec![];
        for (index, part) in body["parts"].as_array().unwrap().iter().enumerate() {
            assert_eq!(part["partNumber"], index + 1);
            let Some(found) = state.parts.get(&(oid.clone(), index + 1)) else {
                return error(400, "a part is missing");
            };
            assert_eq!(part["etag"], format!("\"{}\"", sha256(found)));
            bytes.extend_from_slice(found);
        }
        let _ = state.objects.insert(oid, bytes);
        good(&json!({ "success": true }))
    }

    fn verify(&self, body: &Value) -> Reply {
        let state = self.state.lock().unwrap();
        let oid = body["oid"].as_str().unwrap();
        let object = state.objects.get(oid);
        if object.is_some_and(|bytes| sha256(bytes) == oid && body["size"] == bytes.len()) {
            good(&json!({}))
        } else {
            Reply::new(
                422,
                json!({ "message": "the object has another digest" }).to_string(),
            )
        }
    }

    fn commit(&self, id: &str, branch: &str, body: &[u8]) -> Reply {
        let mut state = self.state.lock().unwrap();
        let lines = str::from_utf8(body).unwrap().lines();
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["key"], "header");
        assert!(!lines[0]["value"]["summary"].as_str().unwrap().is_empty());
        let mut files = vec![];
        for line in &lines[1..] {
            let value = &line["value"];
            let (is_lfs, bytes) = match line["key"].as_str().unwrap() {
                "file" => (
                    false,
                    STANDARD.decode(value["content"].as_str().unwrap()).unwrap(),
                ),
                "lfsFile" => match state.objects.get(value["oid"].as_str().unwrap()) {
                    Some(bytes) if sha256(bytes) == value["oid"] => (true, bytes.clone()),
                    _ => return error(400, "an object is missing or has another digest"),
                },
                other => panic!("{other}"),
            };
            files.push(Entry {
                name: value["path"].as_str().unwrap().to_owned(),
                bytes,
                is_lfs,
            });
        }
        let Some(branch) = state
            .repositories
            .get_mut(id)
            .and_then(|kept| kept.branches.get_mut(branch))
        else {
            return error(404, "Repository not found");
        };
        branch.extend(files.into_iter().map(|entry| (entry.name.clone(), entry)));
        state.commits += 1;
        let url = format!("https://huggingface.co/{id}/commit/{COMMIT}");
        good(&json!({ "success": true, "commitOid": COMMIT, "commitUrl": url, "hookOutput": "" }))
    }

    /// What the downloader asks for.
    fn fetched(&self, asked: &Asked, parts: &[&str]) -> Reply {
        let (owner, name, branch) = match parts {
            ["api", "models", owner, name, "revision" | "tree", branch] => (owner, name, branch),
            [owner, name, "resolve", branch, ..] => (owner, name, branch),
            ["storage", ..] => (&"", &"", &""),
            _ => return error(404, "not found"),
        };
        let branch = if *branch == COMMIT { "main" } else { branch };
        let files = if parts[0] == "storage" {
            let state = self.state.lock().unwrap();
            let all = state
                .repositories
                .values()
                .flat_map(|kept| kept.branches.values());
            Some(all.flat_map(|files| files.values().cloned()).collect())
        } else {
            let files = self.branch_of(owner, name, branch);
            files.map(|files| files.into_values().collect())
        };
        let Some(entries) = files else {
            return error(404, "Invalid rev id").with("x-error-code", "RevisionNotFound");
        };
        let repo = Repo {
            entries,
            ..Repo::default()
        };
        let path = asked
            .path
            .replace(&format!("/resolve/{branch}/"), &format!("/resolve/{COMMIT}/"));
        repo.reply(&Asked {
            path,
            ..asked.clone()
        })
    }
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn validate(body: &Value) -> Reply {
    assert_eq!(body["repoType"], "model");
    let content = body["content"].as_str().unwrap();
    let message = |text: &str| json!({ "message": text });
    if content.contains("license: \"no-such-licence\"") {
        let errors = [message("\"license\" must be one of the listed")];
        return Reply::new(
            400,
            json!({ "error": "Invalid metadata", "errors": errors }).to_string(),
        );
    }
    let mut warnings = vec![];
    if !content.starts_with("---\n") {
        warnings.push(message("empty or missing yaml metadata in repo card"));
    }
    good(&json!({ "errors": [], "warnings": warnings }))
}

fn good(body: &Value) -> Reply {
    Reply::new(200, body.to_string())
}

fn error(status: u16, text: &str) -> Reply {
    Reply::new(status, json!({ "error": text }).to_string()).with("x-error-message", text)
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
