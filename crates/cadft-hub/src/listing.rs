//! The Hub's JSON: the commit of a revision, and its files. Nothing in it is trusted.

use crate::name::{is_commit, is_hex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The Hub's information about a repository at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The current commit of the revision.
    pub commit: String,
    /// The names of its files. They are not checked, and may be any text.
    pub files: Vec<String>,
}

#[derive(Deserialize)]
struct RawInfo {
    sha: String,
    #[serde(default)]
    siblings: Vec<RawSibling>,
}

#[derive(Deserialize)]
struct RawSibling {
    rfilename: String,
}

impl Info {
    /// Parses the answer to `/api/models/OWNER/NAME/revision/REVISION`.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: RawInfo =
            serde_json::from_slice(bytes).map_err(|error| format!("is not what it should be: {error}"))?;
        if !is_commit(&raw.sha) {
            return Err("has a `sha` that is not 40 hexadecimal digits".to_owned());
        }
        Ok(Self {
            commit: raw.sha,
            files: raw.siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }
}

/// The listing's entry for a file. The names of the fields are those of Python's cached listings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Size in bytes; for a file in LFS, that of the file itself.
    pub size: u64,
    /// The git hash; for a file in LFS, that of its pointer.
    pub blob_id: String,
    /// The SHA-256 of a file in LFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs_sha256: Option<String>,
    /// The size of a file in LFS, again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs_size: Option<u64>,
    /// A hash used by the Xet storage; kept for Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xet_hash: Option<String>,
}

impl Listed {
    /// The name of the content: the `ETag` that the Hub sends.
    #[must_use]
    pub fn etag(&self) -> &str {
        self.lfs_sha256.as_deref().unwrap_or(&self.blob_id)
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lfs_size.unwrap_or(self.size)
    }

    fn is_valid(&self) -> bool {
        is_hex(&self.blob_id, 40) && self.lfs_sha256.as_ref().is_none_or(|hash| is_hex(hash, 64))
    }
}

/// The files of one commit by name. The names are not checked, and may be any text.
pub type Files = BTreeMap<String, Listed>;

#[derive(Deserialize)]
struct RawEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<RawLfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct RawLfs {
    oid: String,
    size: u64,
}

/// Parses one page of `/api/models/OWNER/NAME/tree/COMMIT` into its files; directories are left out.
///
/// # Errors
/// What is wrong with the page.
pub fn parse_page(bytes: &[u8]) -> Result<Files, String> {
    let raw: Vec<RawEntry> =
        serde_json::from_slice(bytes).map_err(|error| format!("is not what it should be: {error}"))?;
    let mut files = Files::new();
    for entry in raw.into_iter().filter(|entry| entry.kind == "file") {
        let (lfs_sha256, lfs_size) = entry.lfs.map(|lfs| (lfs.oid, lfs.size)).unzip();
        let listed = Listed {
            size: entry.size,
            blob_id: entry.oid,
            lfs_sha256,
            lfs_size,
            xet_hash: entry.xet_hash.filter(|hash| is_hex(hash, 64)),
        };
        if !listed.is_valid() {
            return Err("has a hash that is not one".to_owned());
        }
        if files.insert(entry.path, listed).is_some() {
            return Err("has a file twice".to_owned());
        }
    }
    Ok(files)
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format_version: u32,
    files: T,
}

/// Parses a cached listing; `None` if it is damaged or has another version.
#[must_use]
pub fn from_cache(bytes: &[u8]) -> Option<Files> {
    let stored: Stored<Files> = serde_json::from_slice(bytes).ok()?;
    (stored.format_version == VERSION && stored.files.values().all(Listed::is_valid)).then_some(stored.files)
}

/// Serialises a listing as Python does.
pub(crate) fn for_cache(files: &Files) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let stored = Stored {
        format_version: VERSION,
        files,
    };
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, format);
    stored
        .serialize(&mut writer)
        .expect("text and numbers are always JSON");
    bytes
}

/// The files that an index of weights lists.
///
/// # Errors
/// What is wrong with the index.
pub fn shards_of(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let files: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
    if files.is_empty() {
        return Err("`weight_map` names no file".to_owned());
    }
    Ok(files.into_iter().collect())
}

/// The address of the next page, from the `Link` header.
pub(crate) fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = rest
            .split(';')
            .any(|word| matches!(word.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_commit_is_forty_digits_or_the_answer_is_refused() {
        let info = |sha: &str| {
            Info::parse(format!(r#"{{"sha": "{sha}", "siblings": [{{"rfilename": "a"}}]}}"#).as_bytes())
        };
        assert_eq!(info(HASH).unwrap().files, ["a"]);
        for sha in ["", "main", "../../x", "/abs", &HASH[1..], &HASH.to_uppercase()] {
            assert!(info(sha).is_err(), "{sha}");
        }
        for text in ["", "[]", "{}", "null", r#"{"sha": 1}"#, r#"{"sha": null}"#] {
            assert!(Info::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(1_000_000);
        assert!(Info::parse(deep.as_bytes()).is_err());
        assert!(parse_page(deep.as_bytes()).is_err());
        assert!(Info::parse(format!(r#"{{"sha": "{HASH}", "x": {deep}"#).as_bytes()).is_err());
        assert_eq!(from_cache(deep.as_bytes()), None);
        assert!(shards_of(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_page_tells_sizes_and_hashes() {
        let sha = "ab".repeat(32);
        let page = format!(
            r#"[{{"type": "directory", "oid": "{HASH}", "size": 0, "path": "data"}},
                {{"type": "file", "oid": "{HASH}", "size": 7, "path": "a.json"}},
                {{"type": "file", "oid": "{HASH}", "size": 9, "path": "w", "lfs": {{"oid": "{sha}", "size": 9, "pointerSize": 134}}, "xetHash": "{sha}"}}]"#
        );
        let files = parse_page(page.as_bytes()).unwrap();
        assert_eq!((files["a.json"].etag(), files["a.json"].bytes()), (HASH, 7));
        assert_eq!((files["w"].etag(), files["w"].bytes()), (sha.as_str(), 9));
        assert_eq!(from_cache(&for_cache(&files)), Some(files));
        for bad in [
            page.replace(HASH, "../x"),
            page.replace(&sha, "/x"),
            page.replace("\"w\"", "\"a.json\""),
            page.replace("9,", "-9,"),
        ] {
            assert!(parse_page(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_listing_is_written_as_python_writes_it() {
        let listed = Listed {
            size: 2,
            blob_id: HASH.to_owned(),
            lfs_sha256: None,
            lfs_size: None,
            xet_hash: None,
        };
        let text = String::from_utf8(for_cache(&Files::from([("a".to_owned(), listed)]))).unwrap();
        assert_eq!(
            text,
            format!(
                "{{\n \"format_version\": 1,\n \"files\": {{\n  \"a\": {{\n   \"size\": 2,\n   \"blob_id\": \"{HASH}\"\n  }}\n }}\n}}"
            )
        );
        assert_eq!(from_cache(text.replace(": 1", ": 2").as_bytes()), None);
        assert_eq!(from_cache(text.replace(HASH, "../x").as_bytes()), None);
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(
            next_page("<https://a/x?cursor=b>; rel=\"next\""),
            Some("https://a/x?cursor=b")
        );
        assert_eq!(
            next_page("<https://a/>; rel=\"prev\", <https://b/>; rel=\"next\""),
            Some("https://b/")
        );
        for none in ["", "<", "<a", "a; rel=\"next\"", "<a>; rel=\"last\""] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
