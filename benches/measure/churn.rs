//! Connections that come and go by the ten thousand: nothing of them may stay, however they end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::client::{Client, short_frame};
use crate::server::Server;
use crate::{Outcome, judge};

const CONNECTIONS: usize = 50_000;
const THREADS: usize = 2;
/// How many one thread has open at once.
const OPEN_AT_ONCE: usize = 50;
/// Loopback addresses that connections come from, so that the ports of none run out.
const SOURCES: usize = 200;
/// Connections of each kind before the baseline, so that what is allocated once is not counted.
const WARM_UP: usize = 500;
const BAR_GROWTH: f64 = 1.05;
/// How long the server may take to notice the last of them.
const SETTLE: Duration = Duration::from_secs(10);

/// How the connections end.
#[derive(Clone, Copy)]
enum Ending {
    /// A reset: in the open, with an answer unread, in the middle of a frame, behind our Close, in the middle of the request.
    Reset,
    /// A closing handshake, to the end of the stream.
    Orderly,
}

pub(crate) fn run(binary: &Path) -> Outcome {
    let server = Server::start_logging(binary)?;
    churn(&server, Ending::Reset, WARM_UP)?;
    churn(&server, Ending::Orderly, WARM_UP)?;
    let descriptors = server.descriptors()?;
    let resets = phase(&server, Ending::Reset, descriptors, "closed by reset")?;
    let orderly = phase(&server, Ending::Orderly, descriptors, "closed in order")?;
    #[expect(clippy::cast_precision_loss, reason = "sizes below 2^52")]
    let growth = orderly as f64 / resets as f64;
    judge(
        "resident memory after the second, of that after the first",
        growth,
        BAR_GROWTH,
        "",
    )?;
    let mut client = Client::connect(server.address, 1)?;
    client.exchange(&short_frame(0x82, &[7; 125]), 127)?;
    drop(client);
    wait_for(&server, descriptors)?;
    // Its own count when it stops: each task of a connection holds a place.
    let left = server.stop_and_count()?;
    println!("connections that the server counts at its end: {left}");
    if left == 0 {
        Ok(())
    } else {
        Err("tasks are left".into())
    }
}

/// Returns the resident bytes behind it.
fn phase(server: &Server, ending: Ending, descriptors: usize, name: &str) -> Outcome<u64> {
    let started = Instant::now();
    churn(server, ending, CONNECTIONS)?;
    let took = started.elapsed();
    wait_for(server, descriptors)?;
    let resident = server.resident_bytes()?;
    println!(
        "{CONNECTIONS} connections {name} in {:.1} s: {} descriptors, as before; {resident} bytes resident",
        took.as_secs_f64(),
        descriptors
    );
    Ok(resident)
}

/// Waits until the server has as many descriptors as at the baseline.
fn wait_for(server: &Server, descriptors: usize) -> Outcome {
    let until = Instant::now() + SETTLE;
    loop {
        let open = server.descriptors()?;
        if open <= descriptors {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!("{open} descriptors are open, {descriptors} were").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn churn(server: &Server, ending: Ending, connections: usize) -> Outcome {
    let next = AtomicUsize::new(0);
    let address = server.address;
    let work = || -> Result<(), String> {
        loop {
            let first = next.fetch_add(OPEN_AT_ONCE, Ordering::Relaxed);
            if first >= connections {
                return Ok(());
            }
            let numbers = first..connections.min(first + OPEN_AT_ONCE);
            let source = u8::try_from(1 + first / OPEN_AT_ONCE % SOURCES).expect("at most 200");
            let open: Result<Vec<_>, _> = numbers
                .map(|number| Ok((number, Client::connect(address, source)?)))
                .collect();
            let open = open.map_err(|error: Box<dyn std::error::Error>| error.to_string())?;
            for (number, client) in open {
                end(client, ending, number).map_err(|error| error.to_string())?;
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a client panicked")??;
        }
        Ok(())
    })
}

fn end(mut client: Client, ending: Ending, number: usize) -> Outcome {
    const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
    match ending {
        Ending::Reset => {
            match number % 4 {
                0 => {}
                1 => client.0.write_all(&short_frame(0x82, &[7; 125]))?,
                2 => client.0.write_all(&short_frame(0x82, &[7; 125])[..50])?,
                _ => client.0.write_all(&short_frame(0x88, &NORMAL))?,
            }
            SockRef::from(&client.0).set_linger(Some(Duration::ZERO))?;
        }
        Ending::Orderly => {
            client.exchange(&short_frame(0x82, &[7; 125]), 127)?;
            client.0.write_all(&short_frame(0x88, &NORMAL))?;
            let mut rest = Vec::new();
            client.0.read_to_end(&mut rest)?;
            if rest != [&[0x88, 2][..], &NORMAL].concat() {
                return Err(format!("no orderly end: {rest:x?}").into());
            }
            client.0.shutdown(Shutdown::Both)?;
        }
    }
    Ok(())
}
