//! Names and paths: the network is touched for a name only.
#![cfg(feature = "hub")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn anemone(endpoint: &str, home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    let command = command.env("HF_ENDPOINT", endpoint).env("HF_HOME", home).env_remove("HF_TOKEN");
    command.env_remove("HF_HUB_CACHE").env_remove("HF_HUB_OFFLINE");
    command.args(arguments).output().unwrap()
}

fn fixture(name: &str) -> String {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    crates.join("checkpoints/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

fn home(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hub_{test}"));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn paths_touch_no_network_and_names_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let home = home("paths");
    let target = home.join("model.gguf");
    std::fs::create_dir_all(&home).unwrap();
    let generate = |model: &str| {
        let arguments = ["generate", "--model", model, "--prompt", "a", "--max-tokens", "1"];
        anemone(&endpoint, &home, &arguments)
    };
    for output in [
        generate(&fixture("llama")),
        generate(&fixture("llama.gguf")),
        anemone(&endpoint, &home, &["convert", &fixture("llama"), target.to_str().unwrap()]),
    ] {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for missing in ["nowhere", "./a/b", "/a/b"] {
        assert_eq!(generate(missing).status.code(), Some(1));
    }
    assert!(listener.accept().is_err(), "somebody called");
    assert!(!home.join("hub").exists());

    let server = std::thread::spawn(move || {
        listener.set_nonblocking(false).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
        while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let output = anemone(&endpoint, &home, &["generate", "--model", "owner/name", "--prompt", "a"]);
    server.join().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("no file or folder `owner/name`"), "{message}");
    assert!(message.contains("there is no such model, revision or file"), "{message}");
}

#[test]
fn what_is_in_the_cache_is_used_offline() {
    let home = home("offline");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = home.join("hub/models--owner--name");
    let snapshot = repository.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), commit).unwrap();
    for entry in std::fs::read_dir(fixture("llama")).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::symlink(&path, snapshot.join(path.file_name().unwrap())).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_anemone"));
    command.env("HF_HOME", &home).env_remove("HF_HUB_CACHE").env("HF_HUB_OFFLINE", "1");
    let output = command.args(["download", "owner/name"]).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(Path::new(found.trim()), snapshot);
}
