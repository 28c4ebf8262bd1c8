//! Charter: a load generator that checks every answer, because a benchmark of wrong answers measures nothing.
//!
//! Each connection sends its next request when the answer to the last one is complete (a closed loop). The plan is a
//! file with a request a line: path, body and a text that the answer must contain, separated by tabs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

const USAGE: &str = "loadgen --address HOST:PORT --plan FILE --connections N (--requests N | --seconds S)";

struct Item {
    request: Vec<u8>,
    expected: Vec<u8>,
}

struct Settings {
    address: String,
    items: Vec<Item>,
    connections: usize,
    requests: u64,
    until: Option<Instant>,
}

#[derive(Default)]
struct Tally {
    ok: u64,
    wrong: u64,
    refused: u64,
    broken: u64,
    first_problem: Option<String>,
    micros: Vec<u32>,
}

fn main() {
    let settings = Arc::new(match settings() {
        Ok(found) => found,
        Err(problem) => {
            eprintln!("{problem}\nusage: {USAGE}");
            std::process::exit(2);
        }
    });
    let sent = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let threads: Vec<_> = (0..settings.connections)
        .map(|number| {
            let (settings, sent) = (Arc::clone(&settings), Arc::clone(&sent));
            std::thread::spawn(move || work(&settings, &sent, number))
        })
        .collect();
    let mut total = Tally::default();
    for thread in threads {
        let tally = thread.join().expect("a connection's thread");
        total.ok += tally.ok;
        total.wrong += tally.wrong;
        total.refused += tally.refused;
        total.broken += tally.broken;
        total.first_problem = total.first_problem.or(tally.first_problem);
        total.micros.extend(tally.micros);
    }
    report(total, started.elapsed().as_secs_f64());
}

fn settings() -> Result<Settings, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.len() % 2 != 0 || arguments.is_empty() {
        return Err("options come in pairs".to_owned());
    }
    let get = |name: &str| arguments.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let number = |name: &str| -> Result<Option<f64>, String> {
        get(name).map(|text| text.parse::<f64>().map_err(|error| format!("{name} {text}: {error}"))).transpose()
    };
    let address = get("--address").ok_or("--address is missing")?;
    let plan = get("--plan").ok_or("--plan is missing")?;
    let text = std::fs::read_to_string(&plan).map_err(|error| format!("{plan}: {error}"))?;
    let items = text.lines().map(|line| item(line, &address)).collect::<Result<Vec<_>, _>>()?;
    let seconds = number("--seconds")?;
    if items.is_empty() {
        return Err(format!("{plan} has no line"));
    }
    Ok(Settings {
        address,
        items,
        connections: number("--connections")?.unwrap_or(8.0) as usize,
        requests: number("--requests")?.map_or(u64::MAX, |count| count as u64),
        until: seconds.map(|count| Instant::now() + Duration::from_secs_f64(count)),
    })
}

fn item(line: &str, address: &str) -> Result<Item, String> {
    let mut parts = line.split('\t');
    let (Some(path), Some(body), Some(expected)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("not path, body and expected text with tabs between: {line}"));
    };
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Ok(Item { request: request.into_bytes(), expected: expected.as_bytes().to_vec() })
}

fn work(settings: &Settings, sent: &AtomicU64, number: usize) -> Tally {
    let mut tally = Tally::default();
    let mut connection: Option<BufReader<TcpStream>> = None;
    let mut answer = Vec::new();
    let mut turn = number;
    while settings.until.is_none_or(|end| Instant::now() < end) && sent.fetch_add(1, Relaxed) < settings.requests {
        let item = &settings.items[turn % settings.items.len()];
        turn += 1;
        let started = Instant::now();
        match exchange(&mut connection, settings, item, &mut answer) {
            Ok(200) if contains(&answer, &item.expected) => tally.ok += 1,
            Ok(200) => {
                tally.wrong += 1;
                note(&mut tally, format!("unexpected answer: {}", String::from_utf8_lossy(&answer)));
            }
            Ok(status) => {
                tally.refused += 1;
                note(&mut tally, format!("{status}: {}", String::from_utf8_lossy(&answer)));
            }
            Err(error) => {
                connection = None;
                tally.broken += 1;
                note(&mut tally, error.to_string());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // One latency in eight is enough for percentiles, and bounds the memory of a long run.
        if turn % 8 == 0 {
            tally.micros.push(started.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        }
    }
    tally
}

fn note(tally: &mut Tally, problem: String) {
    tally.first_problem.get_or_insert(problem);
}

fn contains(answer: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || answer.windows(expected.len()).any(|window| window == expected)
}

fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    settings: &Settings,
    item: &Item,
    answer: &mut Vec<u8>,
) -> std::io::Result<u16> {
    let reader = match connection {
        Some(open) => open,
        None => {
            let stream = TcpStream::connect(&settings.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            connection.insert(BufReader::with_capacity(16 << 10, stream))
        }
    };
    reader.get_mut().write_all(&item.request)?;
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
    let mut length = 0usize;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
    }
    answer.resize(length, 0);
    reader.read_exact(answer)?;
    Ok(status)
}

fn report(mut total: Tally, seconds: f64) {
    total.micros.sort_unstable();
    let at = |share: f64| {
        let last = total.micros.len().saturating_sub(1);
        total.micros.get((last as f64 * share) as usize).copied().unwrap_or(0)
    };
    let count = total.ok + total.wrong + total.refused + total.broken;
    println!(
        "{{\"requests\": {count}, \"ok\": {}, \"wrong\": {}, \"refused\": {}, \"broken\": {}, \"seconds\": {seconds:.3}, \
         \"per_second\": {:.1}, \"p50_us\": {}, \"p99_us\": {}, \"p999_us\": {}, \"max_us\": {}, \"first_problem\": {:?}}}",
        total.ok,
        total.wrong,
        total.refused,
        total.broken,
        count as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        total.first_problem.unwrap_or_default(),
    );
}
