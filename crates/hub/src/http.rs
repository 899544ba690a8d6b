//! Requests, with redirects, refusals and another try.

use crate::{Error, Options};
use std::io::Read;
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// Tries in a row without a byte, before it is given up.
pub const TRIES: u32 = 5;

/// The most redirects that are followed.
const REDIRECTS: usize = 8;

/// The longest wait that a server may ask for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends requests to one server.
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    backoff: Duration,
}

/// What came of a request.
pub enum Reply {
    /// An answer with content.
    Content(Response<Body>),
    /// It may work after a wait of at least so long.
    Later(String, Duration),
    /// The range that was asked for does not exist.
    NoSuchRange,
}

impl Client {
    pub fn new(options: &Options) -> Client {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // They are followed here, so that the token goes to nobody else.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("anemone/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Client {
            agent,
            endpoint: options.endpoint.clone(),
            token: options.token.clone(),
            backoff: options.backoff,
        }
    }

    /// The address of a path at the endpoint.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }

    /// Waits before try number `attempt`, counted from 1.
    pub fn wait(&self, attempt: u32, asked: Duration) {
        let own = self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(6));
        std::thread::sleep(own.max(asked.min(PATIENCE)));
    }

    /// The text at a path, of at most so many bytes, and its address.
    pub fn text(&self, path: &str, longest: u64) -> Result<(String, String), Error> {
        let url = self.url(path);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (reason, wait) = match self.get(&url, None)? {
                Reply::Content(mut response) => {
                    let mut text = String::new();
                    let reader = response.body_mut().as_reader();
                    match reader.take(longest + 1).read_to_string(&mut text) {
                        Ok(_) if text.len() as u64 > longest => {
                            let reason = format!("the answer has more than {longest} bytes");
                            return Err(Error::Answer { url, reason });
                        }
                        Ok(_) => return Ok((url, text)),
                        Err(error) => (error.to_string(), Duration::ZERO),
                    }
                }
                Reply::Later(reason, wait) => (reason, wait),
                Reply::NoSuchRange => ("there is no such range".to_owned(), Duration::ZERO),
            };
            if attempt == TRIES {
                return Err(Error::Unreachable { url, reason });
            }
            self.wait(attempt, wait);
        }
    }

    /// Asks for what is at an address, from byte `from` on.
    pub fn get(&self, url: &str, from: Option<u64>) -> Result<Reply, Error> {
        let mut place = url.to_owned();
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&place).header("accept-encoding", "identity");
            if let Some(from) = from {
                request = request.header("range", format!("bytes={from}-"));
            }
            if let Some(token) = &self.token
                && origin(&place) == origin(&self.endpoint)
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = match request.call() {
                Ok(response) => response,
                Err(error) => return failed(url, &error),
            };
            let status = response.status().as_u16();
            match status {
                200 | 206 => return Ok(Reply::Content(response)),
                301 | 302 | 303 | 307 | 308 => {
                    let reason = "it leads to an address that is not followed";
                    let refuse =
                        || Error::Answer { url: url.to_owned(), reason: reason.to_owned() };
                    let location = header(response.headers(), "location").ok_or_else(refuse)?;
                    place = follow(&place, location).ok_or_else(refuse)?;
                }
                416 => return Ok(Reply::NoSuchRange),
                408 | 429 | 500..=599 => {
                    let wait = header(response.headers(), "retry-after")
                        .and_then(|seconds| seconds.parse().ok())
                        .unwrap_or(0);
                    let reason = format!("the server answers with status {status}");
                    return Ok(Reply::Later(reason, Duration::from_secs(wait)));
                }
                _ => return Err(self.refused(url, status)),
            }
        }
        let reason = format!("more than {REDIRECTS} redirects");
        Err(Error::Answer { url: url.to_owned(), reason })
    }

    fn refused(&self, url: &str, status: u16) -> Error {
        let advice = match (status, &self.token) {
            (401 | 403, None) => {
                "there is no such model, or it is not for everybody: accept its terms on its page, \
                 and set HF_TOKEN to a token of yours"
            }
            (401 | 403, Some(_)) => {
                "the token in HF_TOKEN may not read this: accept the model's terms on its page, and \
                 check that the token is valid"
            }
            (404, _) => "there is no such model, revision or file",
            _ => "this was not expected",
        };
        Error::Refused { url: url.to_owned(), reason: format!("status {status}: {advice}") }
    }
}

/// A request that did not get an answer: some errors pass, others do not.
fn failed(url: &str, error: &ureq::Error) -> Result<Reply, Error> {
    let reason = error.to_string();
    match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::BodyStalled => Ok(Reply::Later(reason, Duration::ZERO)),
        _ => Err(Error::Unreachable { url: url.to_owned(), reason }),
    }
}

/// A header's text.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The part of an address that says who is asked: `https://host:port`.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Where a redirect leads: to an address, or to another path of the same server; never from an
/// encrypted connection to one that is not.
fn follow(from: &str, location: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{}{location}", origin(from)));
    }
    let encrypted = location.starts_with("https://");
    let plain = location.starts_with("http://") && from.starts_with("http://");
    (encrypted || plain).then(|| location.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_addresses_that_can_be_followed() {
        let leads = |from, to| follow(from, to);
        assert_eq!(leads("https://a/x?y", "/z").as_deref(), Some("https://a/z"));
        assert_eq!(leads("https://a/x", "https://b/z").as_deref(), Some("https://b/z"));
        assert_eq!(leads("http://a:8/x", "http://b/z").as_deref(), Some("http://b/z"));
        for to in ["http://b/z", "//b/z", "file:///etc/passwd", "z", ""] {
            assert_eq!(leads("https://a/x", to), None, "{to}");
        }
    }

    #[test]
    fn the_origin_has_the_port() {
        assert_eq!(origin("https://a.b:8/c?d"), "https://a.b:8");
        assert_eq!(origin("https://a.b"), "https://a.b");
        assert_ne!(origin("https://a.b.evil/"), origin("https://a.b/"));
        assert_ne!(origin("https://a.b@evil/"), origin("https://a.b/"));
        assert_ne!(origin("http://a.b/"), origin("https://a.b/"));
    }
}
