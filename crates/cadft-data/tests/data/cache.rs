//! Cached tokenised data: the same as in memory, written once, and written again if it is damaged or anything changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cadft_data::{
    Cache, Content, DataError, Example, Mask, Mixing, Samples, Source, StoppingStrategy, TokenizeOptions,
    Tokenizer, Truncation, load_samples, read_rows,
};

use crate::fixture::Fixture;

struct Setting {
    directory: tempfile::TempDir,
    tokenizer: Tokenizer,
    options: TokenizeOptions,
}

impl Setting {
    fn new(rows: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lines: Vec<String> = (0..rows)
            .map(|i| match i % 3 {
                0 => format!(r#"{{"id":"é{i}","messages":[{{"role":"user","content":"q{i}"}},{{"role":"assistant","content":"a{i}"}}]}}"#),
                1 => format!(r#"{{"prompt":"p{i}","completion":"c{i} hello","answer":"ä{i}","weight":0.5}}"#),
                _ => format!(r#"{{"text":"{}"}}"#, "long ".repeat(i % 40 + 1)),
            })
            .collect();
        fs::write(directory.path().join("train.jsonl"), lines.join("\n")).unwrap();
        Self {
            directory,
            tokenizer: Fixture::chatml().build(),
            options: TokenizeOptions::new(100, Mask::Assistant),
        }
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source::new(
            self.directory.path().join("train.jsonl").to_string_lossy(),
        )]
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn load(&self, cache: &Cache) -> Result<Samples, DataError> {
        load_samples(
            &self.sources(),
            &Mixing::default(),
            &self.tokenizer,
            &self.options,
            cache,
        )
    }

    fn cached(&self) -> Vec<Example> {
        let samples = self.load(&Cache::Directory(self.cache())).unwrap();
        assert_eq!(samples.iter().count(), samples.len());
        samples.iter().collect()
    }

    /// The cached files, with their modification times.
    fn files(&self) -> Vec<(PathBuf, SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "tokens"))
            .map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap()))
            .collect();
        files.sort();
        files
    }
}

#[test]
fn the_cache_gives_what_memory_gives() {
    let setting = Setting::new(2000);
    let memory = setting.load(&Cache::Off).unwrap();
    let expected: Vec<Example> = memory.iter().collect();
    let made = setting.load(&Cache::Directory(setting.cache())).unwrap();
    let files = setting.files();
    let read = setting.load(&Cache::Directory(setting.cache())).unwrap();
    for samples in [&made, &read] {
        assert_eq!(samples.report(), memory.report());
        assert_eq!(samples.iter().collect::<Vec<_>>(), expected);
        samples.prefetch(&[17, 0, samples.len()]);
        assert_eq!(samples.get(17), expected[17]);
    }
    assert_eq!(files.len(), 1);
    assert_eq!(setting.files(), files, "the second run wrote nothing");
    let left: Vec<_> = fs::read_dir(setting.cache())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|e| e == "tokens" || e == "lock")),
        "{left:?}"
    );
}

#[test]
fn whatever_changes_the_tokens_changes_the_name() {
    let mut setting = Setting::new(30);
    let count = |setting: &Setting| {
        setting.cached();
        setting.files().len()
    };
    assert_eq!(count(&setting), 1);
    setting.options.max_length = 99;
    assert_eq!(count(&setting), 2);
    setting.options.mask = Mask::All;
    assert_eq!(count(&setting), 3);
    let mut variables = serde_json::Map::new();
    variables.insert("x".to_owned(), 1.into());
    setting.tokenizer = Fixture::chatml().build().with_template_variables(&variables);
    assert_eq!(count(&setting), 4);
    setting.tokenizer = Fixture::llama3().build();
    assert_eq!(count(&setting), 5);
    let path = setting.directory.path().join("train.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("q0", "Q0", 1)).unwrap();
    assert_eq!(count(&setting), 6);
}

#[test]
fn a_damaged_file_is_made_again() {
    let setting = Setting::new(50);
    let expected = setting.cached();
    let (path, _) = setting.files().remove(0);
    let whole = fs::read(&path).unwrap();
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        assert_eq!(setting.cached(), expected);
        assert_eq!(fs::read(&path).unwrap(), whole);
    };
    damage(&|bytes| bytes[40] ^= 1);
    damage(&|bytes| bytes[8] = 99);
    damage(&|bytes| bytes.truncate(bytes.len() / 2));
    damage(&|bytes| bytes.truncate(5));
    damage(&Vec::clear);
    damage(&|bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 0x80;
    });
    damage(&|bytes| bytes.extend([0; 64]));
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let setting = Setting::new(10);
    setting.cached();
    let (path, _) = setting.files().remove(0);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let left = setting.cache().join(format!(".cadft-{}.x1.tmp", &name[..40]));
    let of_another = setting.cache().join(format!(".cadft-{}.x1.tmp", "0".repeat(40)));
    for file in [&left, &of_another] {
        fs::write(file, "half").unwrap();
    }
    fs::remove_file(&path).unwrap();
    setting.cached();
    assert!(!left.exists() && path.exists());
    assert!(of_another.exists(), "another process may be writing it");
}

#[test]
fn many_at_once_make_one_file_and_agree() {
    let setting = Setting::new(500);
    let all: Vec<Vec<Example>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| setting.cached())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(setting.files().len(), 1);
}

#[test]
fn problems_of_files_and_of_rows_are_reported_and_leave_no_file() {
    let mut setting = Setting::new(5);
    let path = setting.directory.path().join("train.jsonl");
    fs::write(&path, "{\"text\": \"a\"}\nnot json\n{\"text\": 3}\n").unwrap();
    let error = setting.load(&Cache::Directory(setting.cache())).unwrap_err();
    let DataError::Invalid { problems, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(problems.len(), 2, "{error}");
    setting.tokenizer = Fixture::new("</s>", "{{ raise_exception('no') }}").build();
    fs::write(
        &path,
        "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}]}\n",
    )
    .unwrap();
    let error = setting.load(&Cache::Directory(setting.cache())).unwrap_err();
    assert!(matches!(error, DataError::Rows { .. }), "{error}");
    let left: Vec<_> = fs::read_dir(setting.cache())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(
        left.iter()
            .all(|path: &PathBuf| path.extension() == Some(Path::new("lock").as_os_str())),
        "{left:?}"
    );
}

#[test]
fn samples_know_the_row_that_they_were_made_from() {
    let mut setting = Setting::new(0);
    setting.options = TokenizeOptions {
        truncation: Truncation::Drop,
        ..TokenizeOptions::new(40, Mask::Assistant)
    };
    // Ids, lines and texts repeat across files; a different row is too long in each file, and is dropped.
    let folder = setting.directory.path().join("data");
    fs::create_dir(&folder).unwrap();
    for (file, long) in [("a.jsonl", 0), ("b.jsonl", 2), ("c.jsonl", 1)] {
        let lines: Vec<String> = (0..3)
            .map(|line| {
                let answer = "word ".repeat(if line == long { 60 } else { 1 });
                format!(r#"{{"id":"{line}","prompt":"p","completion":"{answer}"}}"#)
            })
            .collect();
        fs::write(folder.join(file), lines.join("\n")).unwrap();
    }
    let source = |name: &str, weight| Source {
        weight,
        ..Source::new(folder.join(name).to_string_lossy())
    };
    let listed = [source("[ab].jsonl", None), source("c.jsonl", None)];
    let mixed = [source("[ab].jsonl", Some(1.0)), source("c.jsonl", Some(3.0))];
    let mixing = Mixing {
        stopping_strategy: StoppingStrategy::AllExhausted,
        ..Mixing::default()
    };
    for sources in [listed, mixed] {
        let rows = read_rows(&sources, &mixing).unwrap();
        let load =
            |cache| load_samples(&sources, &mixing, &setting.tokenizer, &setting.options, &cache).unwrap();
        let cache = || Cache::Directory(setting.cache());
        for samples in [load(Cache::Off), load(cache()), load(cache())] {
            assert!(samples.len() < rows.len());
            let kept: Vec<usize> = (0..rows.len())
                .filter(|&row| match &rows[row].content {
                    Content::PromptCompletion { completion, .. } => completion.len() < 60,
                    _ => false,
                })
                .collect();
            let found: Vec<usize> = samples.iter().map(|sample| sample.origin.row).collect();
            assert_eq!(found, kept);
            for sample in samples.iter() {
                let row = &rows[sample.origin.row];
                let origin = &sample.origin;
                assert_eq!(
                    (&sample.id, &origin.path, origin.line),
                    (&row.id, &row.file, row.line)
                );
                assert_eq!(origin.source, row.source);
                assert!(Path::new(&*origin.path).is_file(), "{}", origin.path);
            }
        }
    }
}

#[test]
fn a_renamed_file_is_not_read_under_its_old_name() {
    let setting = Setting::new(9);
    let folder = setting.directory.path();
    let named = |name: &str| {
        let sources = [Source::new(folder.join("*.jsonl").to_string_lossy())];
        let cache = Cache::Directory(setting.cache());
        let samples = load_samples(
            &sources,
            &Mixing::default(),
            &setting.tokenizer,
            &setting.options,
            &cache,
        );
        let samples = samples.unwrap();
        assert!(samples.iter().all(|sample| sample.origin.path.ends_with(name)));
    };
    named("train.jsonl");
    fs::rename(folder.join("train.jsonl"), folder.join("renamed.jsonl")).unwrap();
    named("renamed.jsonl");
}
