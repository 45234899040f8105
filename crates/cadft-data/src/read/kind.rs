//! Detects files that hold no rows, from their first bytes or from the extension.

/// Number of first bytes that are inspected.
pub(super) const HEAD: usize = 512;

/// First bytes, the kind of file that they indicate, and the hint.
const MAGICS: [(&[u8], &str, &str); 16] = [
    (b"\xFD7zXZ\0", "packed with xz", "unpack it with `unxz`"),
    (b"\x04\x22\x4D\x18", "packed with LZ4", "unpack it with `unlz4`"),
    (b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive", "unpack it with `7z x`"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it with `unzip`"),
    (b"PK\x05\x06", "an empty ZIP archive", "look where it came from"),
    (b"ARROW1", "an Arrow file", TO_PARQUET),
    (b"FEA1", "a Feather file", TO_PARQUET),
    (b"\xFF\xFF\xFF\xFF", "an Arrow stream", TO_PARQUET),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS in place of the file",
        "fetch the file with `git lfs pull`",
    ),
    (
        b"SQLite format 3\0",
        "an SQLite database",
        "export a table as .csv",
    ),
    (
        b"\x89HDF\r\n\x1A\n",
        "an HDF5 file",
        "write its rows as .jsonl or .parquet",
    ),
    (
        b"\x93NUMPY",
        "a NumPy array",
        "write its rows as .jsonl or .parquet",
    ),
    (b"Obj\x01", "an Avro file", "write its rows as .jsonl or .parquet"),
    (b"%PDF-", "a PDF", "write its text as .jsonl"),
    (b"GGUF", "a model in GGUF", "name a file of rows"),
    (b"<?xml", "XML", "write its rows as .jsonl or .parquet"),
];

const TO_PARQUET: &str = "write it with `to_parquet` of `datasets` or pandas";

/// Extensions of data files in unsupported formats, with the hint.
const ENDINGS: [(&str, &str); 23] = [
    (".bz2", "unpack it with `bunzip2`"),
    (".xz", "unpack it with `unxz`"),
    (".lzma", "unpack it with `unlzma`"),
    (".lz4", "unpack it with `unlz4`"),
    (".br", "unpack it with `brotli -d`"),
    (".7z", "unpack it with `7z x`"),
    (".zip", "unpack it with `unzip`"),
    (".rar", "unpack it with `unrar`"),
    (".tar", "unpack it with `tar -x`"),
    (".tgz", "unpack it with `tar -xz`"),
    (".tar.gz", "unpack it with `tar -xz`"),
    (".tar.zst", "unpack it with `tar --zstd -x`"),
    (".arrow", TO_PARQUET),
    (".feather", TO_PARQUET),
    (".ipc", TO_PARQUET),
    (".pkl", PICKLE),
    (".pickle", PICKLE),
    (".npy", "write its rows as .jsonl or .parquet"),
    (".npz", "write its rows as .jsonl or .parquet"),
    (".avro", "write its rows as .jsonl or .parquet"),
    (".orc", "write its rows as .jsonl or .parquet"),
    (".xlsx", "save it as .csv"),
    (".xls", "save it as .csv"),
];

const PICKLE: &str = "a pickle is a program and is not run; write it with `to_parquet`";

/// The kind of file and the hint, if the first bytes indicate a file without rows.
pub(super) fn of_bytes(head: &[u8]) -> Option<String> {
    let said = |what: &str, hint: &str| Some(format!("this is {what}; {hint}"));
    if let Some((_, what, hint)) = MAGICS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return said(what, hint);
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return said("packed with bzip2", "unpack it with `bunzip2`");
    }
    if let [0x80, 2..=5, opcode, ..] = head
        && matches!(opcode, 0x95 | b'}' | b']' | b'c' | b'(' | b'q')
    {
        return said(
            "a pickle",
            "it is a program and is not run; write it with `to_parquet`",
        );
    }
    if head.get(257..262) == Some(b"ustar") {
        return said("a tar archive", "unpack it with `tar -x`");
    }
    let start: Vec<_> = head
        .trim_ascii_start()
        .iter()
        .take(14)
        .map(u8::to_ascii_lowercase)
        .collect();
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        let hint = "a download that failed leaves one, as does a link to a page rather than to a file";
        return said("an HTML page", hint);
    }
    None
}

/// The hint for an extension of an unsupported data format; `name` is in lower case.
pub(crate) fn of_name(name: &str) -> Option<&'static str> {
    ENDINGS
        .iter()
        .find(|(ending, _)| name.ends_with(ending))
        .map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_other_kind_of_file() {
        for text in [
            "{\"text\": \"a\"}",
            "[",
            "",
            "BZh,text\n",
            "PK,text",
            "<b>,text",
            "7z",
            "\u{80}",
        ] {
            assert_eq!(of_bytes(text.as_bytes()), None, "{text}");
        }
    }
}
