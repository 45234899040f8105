//! Writers leave either the old or the new bytes, and touch only the files that they are asked to write.

#![cfg(unix)]

use cadft_files::{NewDirectory, NewFile};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(directory: &Path) -> Vec<String> {
    cadft_files::entries(directory).unwrap()
}

#[test]
fn a_file_that_is_not_finished_leaves_the_old_bytes_and_nothing_else() {
    let directory = directory();
    let path = directory.path().join("a");
    cadft_files::write(&path, "old").unwrap();
    let mut file = NewFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(directory.path()), ["a"]);
}

#[test]
fn a_new_file_has_the_permissions_of_any_other_and_a_replaced_one_keeps_its_own() {
    let directory = directory();
    let (plain, ours) = (directory.path().join("plain"), directory.path().join("ours"));
    fs::write(&plain, "").unwrap();
    cadft_files::write(&ours, "1").unwrap();
    assert_eq!(mode(&ours), mode(&plain));
    for kept in [0o600, 0o640, 0o444] {
        fs::set_permissions(&ours, fs::Permissions::from_mode(kept)).unwrap();
        cadft_files::write(&ours, "2").unwrap();
        assert_eq!(mode(&ours), kept);
    }
}

#[test]
fn a_file_replaces_a_link_and_does_not_touch_what_it_points_to() {
    let (directory, elsewhere) = (directory(), directory());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let link = directory.path().join("link");
    symlink(&victim, &link).unwrap();
    cadft_files::write(&link, "new").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&link).unwrap(), "new");
    assert!(!link.is_symlink());
}

#[test]
fn a_file_that_grows_is_not_reached_through_a_link() {
    let (directory, elsewhere) = (directory(), directory());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let link = directory.path().join("log");
    symlink(&victim, &link).unwrap();
    let error = cadft_files::append(&link).unwrap_err().to_string();
    assert!(error.contains("link"), "{error}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    symlink(elsewhere.path().join("absent"), directory.path().join("dangling")).unwrap();
    assert!(cadft_files::append(&directory.path().join("dangling")).is_err());
    assert!(!elsewhere.path().join("absent").exists());
}

#[test]
fn devices_pipes_and_directories_are_neither_replaced_nor_waited_for() {
    let directory = directory();
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [
        &pipe,
        Path::new("/dev/null"),
        Path::new("/dev/zero"),
        directory.path(),
    ] {
        assert!(cadft_files::check_target(path).is_err(), "{}", path.display());
        assert!(cadft_files::write(path, "x").is_err(), "{}", path.display());
        assert!(cadft_files::append(path).is_err(), "{}", path.display());
        assert!(cadft_files::open(path).is_err(), "{}", path.display());
    }
    assert_eq!(names(directory.path()), ["pipe"]);
}

#[test]
fn an_error_names_what_the_system_says_and_no_temporary_file() {
    let directory = directory();
    let error = cadft_files::write(&directory.path().join("absent/file"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(!error.to_string().contains("cadft-"), "{error}");
}

#[test]
fn a_directory_appears_whole_in_place_of_what_was_there() {
    let (parent, elsewhere) = (directory(), directory());
    fs::write(elsewhere.path().join("mine"), "precious").unwrap();
    let target = parent.path().join("a/b");
    let begin = |content: &str| {
        let new = NewDirectory::begin(&target).unwrap();
        cadft_files::write_new(&new.path().join("file"), content).unwrap();
        new
    };
    let content = || fs::read_to_string(target.join("file")).unwrap();
    begin("1").finish().unwrap();
    assert_eq!(content(), "1");
    let second = begin("2");
    assert_eq!(content(), "1", "the directory is not there yet");
    drop(second);
    assert_eq!(
        (content().as_str(), names(&parent.path().join("a"))),
        ("1", vec!["b".to_owned()])
    );
    begin("3").finish().unwrap();
    assert_eq!(
        (content().as_str(), names(&parent.path().join("a"))),
        ("3", vec!["b".to_owned()])
    );
    fs::remove_dir_all(&target).unwrap();
    symlink(elsewhere.path(), &target).unwrap();
    begin("4").finish().unwrap();
    assert_eq!(
        (content().as_str(), names(&parent.path().join("a"))),
        ("4", vec!["b".to_owned()])
    );
    assert_eq!(
        names(elsewhere.path()),
        ["mine"],
        "the target of a link is not touched"
    );
}

#[test]
fn a_new_directory_and_files_made_readable_in_it_have_the_usual_permissions() {
    let parent = directory();
    let plain = parent.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file"), "").unwrap();
    let target = parent.path().join("new");
    let new = NewDirectory::begin(&target).unwrap();
    let private = new.path().join("private");
    cadft_files::write_new(&private, "").unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    cadft_files::make_readable(&private).unwrap();
    new.finish().unwrap();
    assert_eq!(mode(&target), mode(&plain));
    assert_eq!(mode(&target.join("private")), mode(&plain.join("file")));
}

#[test]
fn only_rests_of_our_own_are_cleaned() {
    let directory = directory();
    for name in [".cadft-a1.tmp", "notes.tmp", ".cadft-notes", "cadft-x.tmp"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    cadft_files::clean(directory.path()).unwrap();
    assert_eq!(
        names(directory.path()),
        [".cadft-notes", "cadft-x.tmp", "notes.tmp"]
    );
}

#[test]
fn one_file_is_known_under_all_of_its_names() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("d")).unwrap();
    fs::write(path("d/file"), "").unwrap();
    fs::write(path("d/other"), "").unwrap();
    fs::hard_link(path("d/file"), path("hard")).unwrap();
    symlink(path("d"), path("link")).unwrap();
    for same in ["hard", "link/file", "d/../link/./file"] {
        assert!(cadft_files::is_same(&path("d/file"), &path(same)), "{same}");
    }
    for other in ["d/other", "d", "absent"] {
        assert!(!cadft_files::is_same(&path("d/file"), &path(other)), "{other}");
    }
    assert!(!cadft_files::is_same(&path("absent"), &path("absent too")));
    assert!(cadft_files::is_within(&path("link/file"), &path("d")));
    assert!(!cadft_files::is_within(&path("hard"), &path("d")));
}

#[test]
fn names_that_leave_their_directory_are_known() {
    for name in ["a", "a/b", "model-00001-of-00002.safetensors", "..a"] {
        assert!(cadft_files::stays_below(name), "{name}");
    }
    for name in ["", ".", "..", "../a", "a/../../b", "/a", "a/.."] {
        assert!(!cadft_files::stays_below(name), "{name}");
    }
}

#[test]
fn no_more_of_a_file_is_read_than_was_asked_for() {
    let directory = directory();
    let path = directory.path().join("holes");
    fs::write(&path, "abc").unwrap();
    assert_eq!(cadft_files::read_up_to(&path, 3).unwrap(), b"abc");
    let error = cadft_files::read_up_to(&path, 2).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let error = cadft_files::read_up_to(&path, 5 << 20).unwrap_err().to_string();
    assert_eq!(error, "it is larger than 5 MiB");
}

#[test]
fn a_trial_of_a_directory_leaves_nothing() {
    let directory = directory();
    for name in ["new", "absent/below/new"] {
        cadft_files::check_directory(&directory.path().join(name)).unwrap();
    }
    assert!(names(directory.path()).is_empty());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(cadft_files::check_directory(&file.join("new")).is_err());
}
