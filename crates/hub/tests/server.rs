//! Downloads from a server on this machine that does all that servers do.

use hub::{Error, Event, Hub, Name, Options};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came: its path, and its headers in lower case.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn from(&self) -> usize {
        let range = self.headers.get("range").map(String::as_str).unwrap_or("bytes=0-");
        range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
    }
}

type Answer = dyn Fn(&Request, usize) -> Vec<u8> + Send + Sync;

struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with the bytes for it and for how many came to this path before, then
    /// closes the connection.
    fn new(answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let (seen, answer): (_, Arc<Answer>) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &seen, &*answer);
            }
        });
        Server { address, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line.unwrap();
        let Some((key, value)) = line.split_once(": ") else { break };
        headers.insert(key.to_ascii_lowercase(), value.to_owned());
    }
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let request = Request { path, headers };
    let before = seen.lock().unwrap().iter().filter(|r| r.path == request.path).count();
    seen.lock().unwrap().push(request.clone());
    let _ = stream.write_all(&answer(&request, before));
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn length(body: &[u8]) -> String {
    format!("content-length: {}\r\n", body.len())
}

/// A part of the content, as a server sends it that is asked for a range.
fn part(request: &Request, content: &[u8]) -> Vec<u8> {
    let from = request.from();
    let body = &content[from..];
    if from == 0 {
        return reply("200 OK", &length(body), body);
    }
    let (last, all) = (content.len() - 1, content.len());
    let range = format!("content-range: bytes {from}-{last}/{all}\r\n");
    reply("206 Partial Content", &(range + &length(body)), body)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content() -> Vec<u8> {
    (0..1_000_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

const CONFIG: &[u8] = b"{\"model_type\": \"llama\"}";

/// What the API says of a repository with a configuration and weights.
fn listing(weights: &[u8]) -> String {
    let sha256 = hexadecimal(&Sha256::digest(weights));
    let header = format!("blob {}\0", CONFIG.len()).into_bytes();
    let sha1 = hexadecimal(&Sha1::digest([&header, CONFIG].concat()));
    let (config, size) = (CONFIG.len(), weights.len());
    format!(
        r#"{{"sha": "{COMMIT}", "siblings": [
            {{"rfilename": "README.md", "size": 1, "blobId": "{COMMIT}"}},
            {{"rfilename": "config.json", "size": {config}, "blobId": "{sha1}"}},
            {{"rfilename": "model.safetensors", "size": 134, "blobId": "{COMMIT}",
              "lfs": {{"sha256": "{sha256}", "size": {size}, "pointerSize": 134}}}}]}}"#
    )
}

/// A server of that repository, with another answer for the weights.
fn repository(weights: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let listing = listing(&content());
    Server::new(move |request, before| match request.path.as_str() {
        "/api/models/a/b/revision/main?blobs=true" => {
            reply("200 OK", &length(listing.as_bytes()), listing.as_bytes())
        }
        path if path.ends_with("config.json") => reply("200 OK", &length(CONFIG), CONFIG),
        _ => weights(request, before),
    })
}

struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hub_{test}"));
        let _ = std::fs::remove_dir_all(&path);
        Place(path)
    }

    fn options(&self, endpoint: &str) -> Options {
        Options {
            endpoint: endpoint.to_owned(),
            cache: self.0.clone(),
            token: Some("secret".to_owned()),
            offline: false,
            backoff: Duration::from_millis(1),
        }
    }

    fn fetch(&self, endpoint: &str) -> Result<PathBuf, Error> {
        Hub::new(self.options(endpoint)).fetch(&Name::parse("a/b").unwrap(), &mut |_| ())
    }

    fn blobs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("models--a--b/blobs")).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn of_weights(server: &Server) -> Vec<Request> {
    let all = server.requests().into_iter();
    all.filter(|request| request.path.ends_with("model.safetensors")).collect()
}

#[test]
fn a_model_is_downloaded_once() {
    let (place, server) = (Place::new("once"), repository(|r, _| part(r, &content())));
    let (mut total, mut bytes) = (0, 0);
    let name = Name::parse("a/b").unwrap();
    let folder = Hub::new(place.options(&server.address))
        .fetch(&name, &mut |event| match event {
            Event::Total(all) => total = all,
            Event::Bytes(_, more) => bytes += more,
            other => panic!("{other:?}"),
        })
        .unwrap();
    let size = 4_000_000 + CONFIG.len() as u64;
    assert_eq!((total, bytes), (size, size));
    assert!(folder.ends_with(format!("models--a--b/snapshots/{COMMIT}")));
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == content());
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert!(!folder.join("README.md").exists());
    let link = std::fs::read_link(folder.join("model.safetensors")).unwrap();
    let sha256 = hexadecimal(&Sha256::digest(content()));
    assert_eq!(link, Path::new("../../blobs").join(sha256));
    let refs = place.0.join("models--a--b/refs/main");
    assert_eq!(std::fs::read_to_string(refs).unwrap(), COMMIT);

    assert_eq!(place.fetch(&server.address).unwrap(), folder);
    assert_eq!(of_weights(&server).len(), 1, "the second time nothing comes but the list");
    let listed = server.requests().len();
    let offline = Options { offline: true, ..place.options(&server.address) };
    assert_eq!(Hub::new(offline).fetch(&name, &mut |_| ()).unwrap(), folder);
    assert_eq!(server.requests().len(), listed, "offline nothing is asked");
    let mut notes = vec![];
    let unreachable = Hub::new(place.options("http://127.0.0.1:9"));
    let found = unreachable.fetch(&name, &mut |event| notes.push(format!("{event:?}"))).unwrap();
    assert_eq!(found, folder);
    assert!(notes[0].contains("what was downloaded before"), "{notes:?}");
}

#[test]
fn a_connection_that_breaks_is_resumed() {
    let place = Place::new("resume");
    let server = repository(|request, before| {
        let whole = part(request, &content());
        match before {
            0..3 => whole[..1_200_000].to_vec(),
            _ => whole,
        }
    });
    let folder = place.fetch(&server.address).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == content());
    let starts: Vec<usize> = of_weights(&server).iter().map(Request::from).collect();
    assert_eq!((starts.len(), starts[0]), (4, 0));
    assert!(starts.windows(2).all(|pair| pair[0] + 1_000_000 < pair[1]), "{starts:?}");
}

#[test]
fn what_another_process_left_is_resumed_and_checked() {
    for (test, left, requests) in [("left", true, 1), ("left_bad", false, 2)] {
        let (place, server) = (Place::new(test), repository(|r, _| part(r, &content())));
        let blobs = place.0.join("models--a--b/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let sha256 = hexadecimal(&Sha256::digest(content()));
        let mut begun = content()[..3_000_000].to_vec();
        begun[7] ^= u8::from(!left);
        std::fs::write(blobs.join(format!("{sha256}.incomplete")), begun).unwrap();
        let folder = place.fetch(&server.address).unwrap();
        assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == content());
        let starts: Vec<usize> = of_weights(&server).iter().map(Request::from).collect();
        assert_eq!((starts.len(), starts[0]), (requests, 3_000_000));
        assert_eq!(place.blobs().len(), 2, "nothing half-done stays");
    }
}

#[test]
fn a_server_that_ignores_ranges_begins_again() {
    let place = Place::new("no_ranges");
    let server = repository(|_, before| {
        let whole = reply("200 OK", &length(&content()), &content());
        if before == 0 { whole[..2_000_000].to_vec() } else { whole }
    });
    let folder = place.fetch(&server.address).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == content());
}

#[test]
fn another_content_is_refused_and_removed() {
    let place = Place::new("hash");
    let server = repository(|_, _| {
        let mut other = content();
        other[5] ^= 1;
        reply("200 OK", &length(&other), &other)
    });
    let error = place.fetch(&server.address).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(place.blobs().len(), 1, "only the configuration stays");
}

#[test]
fn wrong_lengths_are_refused() {
    type Case = (&'static str, fn(&Request, usize) -> Vec<u8>);
    let cases: [Case; 4] = [
        ("more", |_, _| {
            let more = [content(), vec![0; 9]].concat();
            reply("200 OK", &length(&more), &more)
        }),
        ("more_unsaid", |_, _| reply("200 OK", "", &[content(), vec![0; 9]].concat())),
        ("fewer", |_, _| reply("200 OK", &length(&content()[1..]), &content()[1..])),
        ("other_range", |request, before| {
            if before == 0 {
                return part(request, &content())[..2_000_000].to_vec();
            }
            let headers = "content-range: bytes 7-3999999/4000000\r\n";
            reply("206 Partial Content", headers, &content()[7..])
        }),
    ];
    for (test, answer) in cases {
        let (place, server) = (Place::new(test), repository(answer));
        let error = place.fetch(&server.address).unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{test}: {error}");
        assert!(error.to_string().contains("instead of") || test == "more_unsaid", "{error}");
    }
}

#[test]
fn a_busy_server_is_asked_again_but_not_for_ever() {
    let place = Place::new("busy");
    let server = repository(|request, before| match before {
        0 => reply("503 Service Unavailable", "content-length: 0\r\n", b""),
        1 => reply("429 Too Many Requests", "content-length: 0\r\nretry-after: 0\r\n", b""),
        2 => vec![],
        _ => part(request, &content()),
    });
    place.fetch(&server.address).unwrap();
    let place = Place::new("always_busy");
    let server = repository(|_, _| reply("503 Service Unavailable", "content-length: 0\r\n", b""));
    let error = place.fetch(&server.address).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(of_weights(&server).len(), 5);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let other = Server::new(|request, _| part(request, &content()));
    let to = format!("location: {}/weights\r\ncontent-length: 0\r\n", other.address);
    let server = repository(move |_, _| reply("302 Found", &to, b""));
    let place = Place::new("redirect");
    let folder = place.fetch(&server.address).unwrap();
    assert!(std::fs::read(folder.join("model.safetensors")).unwrap() == content());
    let (asked, elsewhere) = (server.requests(), other.requests());
    assert!(asked.iter().all(|r| r.headers["authorization"] == "Bearer secret"));
    assert_eq!(elsewhere.len(), 1);
    assert!(!elsewhere[0].headers.contains_key("authorization"), "{elsewhere:?}");
}

#[test]
fn redirects_end() {
    let server = Server::new(|request, _| {
        let to = format!("location: {}x\r\ncontent-length: 0\r\n", request.path);
        reply("307 Temporary Redirect", &to, b"")
    });
    let error = Place::new("loop").fetch(&server.address).unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(server.requests().len(), 8);
}

#[test]
fn refusals_say_what_to_do() {
    for (status, words) in [("401 Unauthorized", "HF_TOKEN"), ("404 Not Found", "no such model")] {
        let server = Server::new(move |_, _| reply(status, "content-length: 0\r\n", b""));
        let error = Place::new("refused").fetch(&server.address).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let place = Place::new("offline");
    let offline = Options { offline: true, ..place.options("http://127.0.0.1:9") };
    let error = Hub::new(offline).fetch(&Name::parse("a/b").unwrap(), &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "a/b is not in the cache, and HF_HUB_OFFLINE is set");
}

#[test]
fn lists_that_lead_elsewhere_are_refused() {
    let bad = listing(&content()).replace("config.json", "../../../config.json");
    let server = Server::new(move |_, _| reply("200 OK", &length(bad.as_bytes()), bad.as_bytes()));
    let place = Place::new("hostile");
    let error = place.fetch(&server.address).unwrap_err();
    assert!(error.to_string().contains("not a name for a file"), "{error}");
    assert!(!place.0.exists(), "nothing was written");
}

#[test]
fn a_snapshot_that_lacks_a_shard_is_not_taken_for_whole() {
    let (place, server) = (Place::new("partial"), repository(|r, _| part(r, &content())));
    let folder = place.fetch(&server.address).unwrap();
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let index = r#"{"weight_map": {"w": "model-00001-of-00001.safetensors"}}"#;
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    let offline = Options { offline: true, ..place.options(&server.address) };
    let error = Hub::new(offline).fetch(&Name::parse("a/b").unwrap(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("lacks `model-00001-of-00001.safetensors`"), "{error}");
}

#[test]
fn variables_say_where_and_how() {
    let options = |pairs: &[(&str, &str)]| {
        let pairs: BTreeMap<String, String> =
            pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Options::from_env(&|name| pairs.get(name).cloned())
    };
    let usual = options(&[("HOME", "/h")]).unwrap();
    assert_eq!(usual.cache, Path::new("/h/.cache/huggingface/hub"));
    assert_eq!((usual.endpoint.as_str(), usual.offline), ("https://huggingface.co", false));
    let xdg = options(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).unwrap();
    assert_eq!(xdg.cache, Path::new("/x/huggingface/hub"));
    let all = options(&[
        ("HF_HOME", "/f"),
        ("HF_ENDPOINT", "http://mirror/"),
        ("HF_TOKEN", " t\n"),
        ("HF_HUB_OFFLINE", "true"),
    ]);
    let all = all.unwrap();
    assert_eq!(all.cache, Path::new("/f/hub"));
    assert_eq!((all.endpoint.as_str(), all.offline), ("http://mirror", true));
    assert_eq!(all.token.as_deref(), Some("t"));
    assert_eq!(options(&[("HF_HUB_CACHE", "/c")]).unwrap().cache, Path::new("/c"));
    assert!(matches!(options(&[]), Err(Error::NoCache)));
}
