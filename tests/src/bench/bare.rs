//! What a bare exchange costs on this machine at this moment: one GET and its reply, by reqwest, in a process of its own.
//!
//! The child takes `COUNT GAP-US` on a line, makes as many exchanges with so long a pause between two, and answers with
//! a line of their times in microseconds.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::BenchError;

/// The argument that makes this program the child.
pub const CHILD: &str = "bare-child";
/// Before anything is measured: the connection is made, and caches are warm.
const WARM_UP: usize = 20;

/// The child.
#[derive(Debug)]
pub struct Bare {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    /// Starts the child, which is this program.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(github_url: &str) -> Result<Self, BenchError> {
        let failed = |error| BenchError::failed("start the bare exchange", error);
        let this = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(this)
            .args([CHILD, &format!("{github_url}/_sandbox/ping")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (orders, answers) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or_else(|| BenchError::Failed("the bare exchange has no pipes".to_owned()))?;
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// Has `count` exchanges made one at a time; their times in microseconds.
    ///
    /// # Errors
    /// When the child fails.
    pub fn measure(&mut self, count: usize, gap: Duration) -> Result<Vec<u64>, BenchError> {
        let failed = |error| BenchError::failed("measure the bare exchange", error);
        writeln!(self.orders, "{count} {}", gap.as_micros()).map_err(failed)?;
        self.orders.flush().map_err(failed)?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(failed)?;
        let times: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if times.len() == count {
            return Ok(times);
        }
        Err(BenchError::Failed(format!("the bare exchange made {} of {count}: see above", times.len())))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // A child that has ended by itself cannot be killed, and is all the same to us.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the child does until its orders end.
///
/// # Errors
/// When an exchange fails, or an order is none.
pub fn child(url: &str) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| BenchError::failed("start a runtime", error))?;
    runtime.block_on(serve(url))
}

async fn serve(url: &str) -> Result<(), BenchError> {
    let client = reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .build()
        .map_err(|error| BenchError::failed("make an HTTP client", error))?;
    for _ in 0..WARM_UP {
        exchange(&client, url).await?;
    }
    for order in std::io::stdin().lock().lines() {
        let order = order.map_err(|error| BenchError::failed("read an order", error))?;
        let (count, gap_us) = parse(&order).ok_or_else(|| BenchError::Usage(format!("\"{order}\" is no order")))?;
        let mut answer = String::new();
        for _ in 0..count {
            tokio::time::sleep(Duration::from_micros(gap_us)).await;
            let took = exchange(&client, url).await?;
            answer.push_str(&format!("{} ", took.as_micros()));
        }
        writeln!(std::io::stdout().lock(), "{answer}").map_err(|error| BenchError::failed("answer", error))?;
    }
    Ok(())
}

async fn exchange(client: &reqwest::Client, url: &str) -> Result<Duration, BenchError> {
    let failed = |error| BenchError::failed(&format!("get {url}"), error);
    let started = Instant::now();
    let reply = client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
    reply.bytes().await.map_err(failed)?;
    Ok(started.elapsed())
}

fn parse(order: &str) -> Option<(usize, u64)> {
    let (count, gap_us) = order.split_once(' ')?;
    Some((count.parse().ok()?, gap_us.parse().ok()?))
}
