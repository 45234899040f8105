//! The JSON of the Hub's API for sending, as of `huggingface_hub` 1.28. Nothing in an answer is trusted.
//!
//! | request | source in `huggingface_hub` |
//! |---|---|
//! | `POST /api/repos/create` | `HfApi.create_repo` |
//! | `POST /api/validate-yaml` | `HfApi._validate_yaml` |
//! | `POST /api/models/ID/branch/BRANCH` | `HfApi.create_branch` |
//! | `POST /api/models/ID/preupload/REVISION` | `_commit_api._fetch_upload_modes` |
//! | `POST /ID.git/info/lfs/objects/batch` | `lfs.post_lfs_batch_info`, and git-lfs, `docs/api/batch.md` |
//! | `PUT` to the address of an object or of its parts | `lfs._upload_single_part`, `lfs._upload_multi_part` |
//! | `POST` to the address of completion, and of verification | `lfs._get_completion_payload`, `lfs.lfs_upload` |
//! | `POST /api/models/ID/commit/REVISION` | `_commit_api._prepare_commit_payload`, `_commit_api._send_commit` |
//!
//! The transfers `basic` and `multipart` are asked for, as Python does without the package `hf_xet`.

use super::package::Packed;
use crate::name::{is_commit, is_hex};
use crate::text::Visible;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Files in one request about uploads (`UPLOAD_BATCH_MAX_NUM_FILES`).
pub(super) const MOST_FILES: usize = 256;

/// The body that creates a repository. `visibility` is absent unless it is private: the owner's default then holds.
pub(super) fn create(id: &str, is_private: bool) -> Value {
    let (owner, name) = id.split_once('/').unwrap_or(("", id));
    let mut body = json!({ "name": name, "organization": owner, "type": "model" });
    if is_private {
        body["visibility"] = "private".into();
    }
    body
}

/// The body that asks how each file is sent; `sample` holds its first 512 bytes.
pub(super) fn preupload(files: &[&Packed]) -> Value {
    let file = |file: &&Packed| {
        json!({
            "path": file.name,
            "sample": STANDARD.encode(&file.sample),
            "size": file.size,
        })
    };
    json!({ "files": files.iter().map(file).collect::<Vec<_>>() })
}

/// How the Hub takes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether it goes to the storage for large files, and not into the commit.
    pub(super) is_large: bool,
    /// Whether the `.gitignore` of the repository leaves it out.
    pub(super) is_ignored: bool,
    /// What is there under its name: the SHA-256 of a large file, else the git hash.
    pub(super) there: Option<String>,
}

/// Reads the answer to [`preupload`], by file.
pub(super) fn taken(body: &[u8], files: &[&Packed]) -> Result<BTreeMap<String, Taken>, String> {
    #[derive(Deserialize)]
    struct Answer {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        path: String,
        #[serde(rename = "uploadMode")]
        mode: Mode,
        #[serde(rename = "shouldIgnore", default)]
        is_ignored: bool,
        oid: Option<String>,
    }
    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Lfs,
        Regular,
    }
    let answer: Answer = parsed(body)?;
    let mut taken: BTreeMap<String, Taken> = (answer.files.into_iter())
        .map(|file| {
            let how = Taken {
                is_large: file.mode == Mode::Lfs,
                is_ignored: file.is_ignored,
                there: file.oid,
            };
            (file.path, how)
        })
        .collect();
    for file in files {
        match taken.get_mut(&file.name) {
            // A storage refuses an empty object; Python sends empty files within the commit too.
            Some(how) => how.is_large &= file.size > 0,
            None => return Err(format!("has nothing about the file `{}`", file.name)),
        }
    }
    Ok(taken)
}

/// The body that asks where large files are sent.
pub(super) fn batch(files: &[&Packed], revision: &str) -> Value {
    let object = |file: &&Packed| json!({ "oid": file.sha256, "size": file.size });
    json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": files.iter().map(object).collect::<Vec<_>>(),
        "hash_algo": "sha256",
        "ref": { "name": revision },
    })
}

/// What is to be done with a large file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It is there.
    Present,
    /// It is sent.
    Send(Actions),
    /// The Hub refuses it.
    Refused { code: u16, message: String },
}

/// Where a large file is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actions {
    /// The address of the file; of the completion, if it is sent in parts.
    pub(super) address: String,
    /// The addresses of the parts in their order, and the size of all parts but the last.
    pub(super) parts: Option<(Vec<String>, u64)>,
    /// Where the Hub is asked to verify it afterwards.
    pub(super) verify: Option<String>,
}

/// Reads the answer to [`batch`], by SHA-256.
pub(super) fn orders(body: &[u8], files: &[&Packed]) -> Result<BTreeMap<String, Order>, String> {
    #[derive(Deserialize)]
    struct Answer {
        objects: Vec<Object>,
    }
    #[derive(Deserialize)]
    struct Object {
        oid: String,
        size: u64,
        actions: Option<Both>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Both {
        upload: Option<Action>,
        verify: Option<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        href: String,
        header: Option<BTreeMap<String, Value>>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        code: u16,
        message: String,
    }
    let answer: Answer = parsed(body)?;
    let mut orders = BTreeMap::new();
    for object in answer.objects {
        let file = files.iter().find(|file| file.sha256 == object.oid);
        let Some(file) = file.filter(|file| file.size == object.size) else {
            return Err(format!("is about another file, `{}`", Visible(&object.oid)));
        };
        let order = match (object.error, object.actions) {
            (Some(Refusal { code, message }), _) => Order::Refused { code, message },
            (
                None,
                Some(Both {
                    upload: Some(upload),
                    verify,
                }),
            ) => Order::Send(Actions {
                parts: parts(&upload.header.unwrap_or_default(), file.size)?,
                address: upload.href,
                verify: verify.map(|action| action.href),
            }),
            (None, _) => Order::Present,
        };
        orders.insert(object.oid, order);
    }
    match files.iter().find(|file| !orders.contains_key(&file.sha256)) {
        Some(file) => Err(format!("has nothing about the file `{}`", file.name)),
        None => Ok(orders),
    }
}

/// The addresses of parts in a header: `chunk_size`, and one address under each number (`"00001"`, …).
fn parts(header: &BTreeMap<String, Value>, size: u64) -> Result<Option<(Vec<String>, u64)>, String> {
    let Some(chunk) = header.get("chunk_size") else {
        return Ok(None);
    };
    let chunk = match chunk {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    let chunk = chunk
        .filter(|chunk| *chunk > 0)
        .ok_or("has a `chunk_size` that is no size")?;
    let mut addresses = BTreeMap::new();
    for (name, address) in header {
        let is_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        if let (true, Ok(number), Value::String(address)) = (is_number, name.parse::<u32>(), address) {
            addresses.insert(number, address.clone());
        }
    }
    if addresses.len() as u64 != size.div_ceil(chunk) {
        return Err(format!(
            "has {} parts of {chunk} bytes for a file of {size} bytes",
            addresses.len()
        ));
    }
    Ok(Some((addresses.into_values().collect(), chunk)))
}

/// The body that completes a file sent in parts, by their `ETag`s in order.
pub(super) fn completion(sha256: &str, etags: &[String]) -> Value {
    let part = |(index, etag): (usize, &String)| json!({ "partNumber": index + 1, "etag": etag });
    let parts: Vec<_> = etags.iter().enumerate().map(part).collect();
    json!({ "oid": sha256, "parts": parts })
}

/// The lines of a commit: a header, the small files with their content, and the large files by their hashes.
pub(super) fn commit(message: &str, small: &[(&Packed, Vec<u8>)], large: &[&Packed]) -> Vec<u8> {
    let header = json!({ "summary": message, "description": "" });
    let mut lines = vec![json!({ "key": "header", "value": header })];
    for (file, bytes) in small {
        let value = json!({ "content": STANDARD.encode(bytes), "path": file.name, "encoding": "base64" });
        lines.push(json!({ "key": "file", "value": value }));
    }
    for file in large {
        let value = json!({ "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.size });
        lines.push(json!({ "key": "lfsFile", "value": value }));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    text.into_bytes()
}

/// The commit in the answer to [`commit`].
pub(super) fn committed(body: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "commitOid")]
        commit: String,
    }
    let Answer { commit } = parsed(body)?;
    if is_commit(&commit) {
        Ok(commit)
    } else {
        Err("has a `commitOid` that is not 40 hexadecimal digits".to_owned())
    }
}

/// Whether a repository is private.
pub(super) fn is_private(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Answer {
        private: bool,
    }
    parsed::<Answer>(body).map(|answer| answer.private)
}

/// The warnings in the answer about a card.
pub(super) fn warnings(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        warnings: Vec<Message>,
    }
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let messages = answer.warnings.into_iter().take(10);
    messages
        .map(|warning| Visible(&warning.message).to_string())
        .collect()
}

/// The address of a created repository, if the answer has one.
pub(super) fn created(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer["url"].as_str().map(str::to_owned)
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("is not what it should be: {error}"))
}

/// Whether a text is the SHA-256 or git hash of a file.
pub(super) fn is_same(there: &str, file: &Packed) -> bool {
    (is_hex(there, 64) && there == file.sha256) || (is_hex(there, 40) && there == file.git)
}

#[cfg(test)]
mod tests;
