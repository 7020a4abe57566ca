//! A test LMS that answers with given bytes.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The number of the request, from 1.
    pub number: usize,
    /// Method and target as they were sent, for example `GET /x?y=z`.
    pub line: String,
    /// All headers in lowercase, one per line.
    pub head: String,
    pub body: String,
}

impl Asked {
    pub fn is_for_a_token(&self) -> bool {
        self.line.starts_with("POST ") && self.line.ends_with("/oauth2/access_token")
    }

    /// The text after `Authorization: `, or `None` without such a header.
    pub fn authorization(&self) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix("authorization: "))
    }
}

/// The reply to a request.
#[derive(Clone)]
pub enum Reply {
    /// Sends these bytes and closes the connection. No bytes make a broken connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and keeps the connection open.
    Open(Vec<u8>),
    /// Closes the connection after half of this body, although the head announces all of
    /// it.
    Half(Value),
    /// Never replies.
    Hang,
    /// Replies as soon as the barrier's number of requests is in progress.
    Meet(Arc<Barrier>, Box<Reply>),
}

impl Reply {
    pub const BROKEN: Self = Self::Bytes(Vec::new());

    /// An answer with any status, headers and body.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = body.len();
        Self::Bytes(
            format!(
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .into_bytes(),
        )
    }

    pub fn json(status: u16, body: &Value) -> Self {
        let kind = ("Content-Type", "application/json");
        Self::new(status, &[kind], &body.to_string())
    }

    pub fn html(status: u16) -> Self {
        let kind = ("Content-Type", "text/html; charset=utf-8");
        Self::new(status, &[kind], "<html>ada@example.org</html>")
    }

    /// An answer with a token that is valid for an hour.
    pub fn token(token: &str) -> Self {
        Self::json(
            200,
            &serde_json::json!({
                "access_token": token, "expires_in": 3600, "token_type": "JWT", "scope": "read",
            }),
        )
    }
}

/// The server, which stops when dropped.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    asked: Vec<Asked>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Server {
    pub async fn start(plan: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Log::default()));
        let plan = Arc::new(plan);
        let task = tokio::spawn({
            let asked = Arc::clone(&asked);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (asked, plan) = (Arc::clone(&asked), Arc::clone(&plan));
                    tokio::spawn(async move { serve(stream, &asked, &*plan).await });
                }
            }
        });
        Self { url, asked, task }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().asked.clone()
    }

    /// The numbers of requests so far: for tokens, and others.
    pub fn counts(&self) -> (usize, usize) {
        let asked = self.asked();
        let tokens = asked.iter().filter(|asked| asked.is_for_a_token()).count();
        (tokens, asked.len() - tokens)
    }

    /// The largest number of concurrent requests.
    pub fn most_at_once(&self) -> usize {
        self.asked.lock().unwrap().most_in_flight
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Log>,
    plan: &(impl Fn(&Asked) -> Reply + Send + Sync),
) -> io::Result<()> {
    let Some(mut asked) = read(&mut stream).await? else {
        return Ok(());
    };
    {
        let mut log = log.lock().unwrap();
        asked.number = log.asked.len() + 1;
        log.asked.push(asked.clone());
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
    }
    let mut reply = plan(&asked);
    if let Reply::Meet(barrier, then) = reply {
        barrier.wait().await;
        reply = *then;
    }
    log.lock().unwrap().in_flight -= 1;
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Half(body) => {
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body.as_bytes()[..body.len() / 2]).await?;
        }
        Reply::Open(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Reply::Hang | Reply::Meet(..) => std::future::pending().await,
    }
    stream.shutdown().await
}

/// Reads one request; `None` if the connection was closed before it.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let (head, mut body) = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            break (head.to_owned(), body.as_bytes().to_vec());
        }
    };
    let (line, headers) = head.split_once("\r\n").unwrap();
    let headers: Vec<_> = headers
        .split("\r\n")
        .filter_map(|header| header.split_once(": "))
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .collect();
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        stream.read_buf(&mut body).await?;
    }
    Ok(Some(Asked {
        number: 0,
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        head: headers.join("\n"),
        body: String::from_utf8(body).unwrap(),
    }))
}
