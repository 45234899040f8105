//! The texts of the API, and answers that are damaged.

use super::*;
use proptest::prelude::*;

proptest! {
    /// Damages answers by replacing a few bytes.
    #[test]
    fn a_damaged_answer_is_an_error_or_about_the_files_that_were_asked_about(
        at in any::<prop::sample::Index>(),
        count in 0_usize..12,
        new in r#"([\[\]{}",:0-9-]|null|chunk_size|\PC){0,4}"#,
    ) {
        let file = packed("a", 30);
        let header = json!({ "chunk_size": "10", "00001": "http://a", "00002": "http://b", "00003": "http://c" });
        let upload = json!({ "href": "http://d", "header": header });
        let object = json!({ "oid": file.sha256, "size": 30, "actions": { "upload": upload } });
        let answer = json!({ "files": [{ "path": "a", "uploadMode": "lfs" }], "objects": [object] }).to_string();
        let mut answer = answer.into_bytes();
        let at = at.index(answer.len());
        let end = (at + count).min(answer.len());
        answer.splice(at..end, new.bytes());
        if let Ok(orders) = orders(&answer, &[&file]) {
            prop_assert!(orders.keys().eq([&file.sha256]));
            if let Order::Send(Actions { parts: Some((parts, size)), .. }) = &orders[&file.sha256] {
                prop_assert_eq!(parts.len() as u64, 30_u64.div_ceil(*size));
            }
        }
        if let Ok(taken) = taken(&answer, &[&file]) {
            prop_assert!(taken.contains_key("a"));
        }
        if let Ok(commit) = committed(&answer) {
            prop_assert!(is_commit(&commit));
        }
    }
}

fn packed(name: &str, size: u64) -> Packed {
    Packed::of_bytes(name, vec![7; usize::try_from(size).unwrap()])
}

#[test]
fn what_is_asked_is_what_python_asks() {
    let file = Packed::of_bytes("config.json", b"{}".to_vec());
    assert_eq!(
        create("o/n", true).to_string(),
        r#"{"name":"n","organization":"o","type":"model","visibility":"private"}"#
    );
    assert_eq!(create("o/n", false)["visibility"], Value::Null);
    assert_eq!(
        preupload(&[&file]).to_string(),
        r#"{"files":[{"path":"config.json","sample":"e30=","size":2}]}"#
    );
    let sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(
        batch(&[&file], "main").to_string(),
        format!(
            r#"{{"operation":"upload","transfers":["basic","multipart"],"objects":[{{"oid":"{sha256}","size":2}}],"hash_algo":"sha256","ref":{{"name":"main"}}}}"#
        )
    );
    let etags = ["\"a\"".to_owned(), "b".to_owned()];
    assert_eq!(
        completion("x", &etags).to_string(),
        r#"{"oid":"x","parts":[{"partNumber":1,"etag":"\"a\""},{"partNumber":2,"etag":"b"}]}"#
    );
    let text = commit("m", &[(&file, b"{}".to_vec())], &[&file]);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        format!(
            concat!(
                r#"{{"key":"header","value":{{"summary":"m","description":""}}}}"#,
                "\n",
                r#"{{"key":"file","value":{{"content":"e30=","path":"config.json","encoding":"base64"}}}}"#,
                "\n",
                r#"{{"key":"lfsFile","value":{{"path":"config.json","algo":"sha256","oid":"{0}","size":2}}}}"#,
                "\n"
            ),
            sha256
        )
    );
}

#[test]
fn parts_are_as_many_as_the_size_takes_and_in_their_order() {
    let header = |pairs: &[(&str, Value)]| -> BTreeMap<String, Value> {
        let pairs = pairs.iter().cloned();
        pairs.map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let two = [
        ("chunk_size", "10".into()),
        ("2", "b".into()),
        ("00001", "a".into()),
        ("other", "c".into()),
    ];
    let (addresses, size) = parts(&header(&two), 11).unwrap().unwrap();
    assert_eq!((addresses, size), (vec!["a".to_owned(), "b".to_owned()], 10));
    assert_eq!(parts(&header(&[]), 11), Ok(None));
    for (size, wrong) in [
        (10, json!("10")),
        (21, json!(10)),
        (11, json!("0")),
        (11, json!("x")),
    ] {
        let mut header = header(&two);
        header.insert("chunk_size".to_owned(), wrong);
        assert!(parts(&header, size).is_err(), "{size} {header:?}");
    }
}

#[test]
fn an_answer_must_be_about_the_files_that_were_asked_about() {
    let file = packed("a", 3);
    let answer = |oid: &str, size: u64| {
        let objects = json!([{ "oid": oid, "size": size }]);
        json!({ "objects": objects }).to_string().into_bytes()
    };
    let orders_of = |body: &[u8]| orders(body, &[&file]);
    let present = orders_of(&answer(&file.sha256, 3)).unwrap();
    assert_eq!(present[&file.sha256], Order::Present);
    for body in [
        answer(&file.sha256, 4),
        answer("x", 3),
        b"{\"objects\": []}".to_vec(),
        b"[]".to_vec(),
    ] {
        assert!(orders_of(&body).is_err());
    }
    for body in [
        r#"{"files": []}"#,
        r#"{"files": [{"path": "a", "uploadMode": "xet"}]}"#,
        "{}",
    ] {
        assert!(taken(body.as_bytes(), &[&file]).is_err(), "{body}");
    }
    let empty = packed("a", 0);
    let body = br#"{"files": [{"path": "a", "uploadMode": "lfs", "shouldIgnore": false, "oid": null}]}"#;
    assert!(taken(body, &[&file]).unwrap()["a"].is_large);
    assert!(!taken(body, &[&empty]).unwrap()["a"].is_large);
}
