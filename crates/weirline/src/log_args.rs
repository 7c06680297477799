//! Flags of the log: where it is, what an acknowledgement means, and what is kept.

use std::path::PathBuf;
use std::time::Duration;

use weirline_server::{Durability, LogSettings, Retention};

/// What `dev` and `serve` take.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// What an acknowledgement means [default: durable; dev without --data-dir: memory]
    #[arg(long, value_enum, value_name = "HOW", env = "WEIRLINE_DURABILITY")]
    durability: Option<Kept>,
    /// The directory of the durable log, made if it is missing; one server at a time [default: weirline-data]
    #[arg(long, value_name = "DIR", env = "WEIRLINE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Removes messages older than this, in time that the log is open: 90s, 30m, 12h, 7d [default: never]
    #[arg(long, value_name = "AGE", value_parser = age, env = "WEIRLINE_RETENTION_AGE")]
    retention_age: Option<Duration>,
    /// Removes the oldest of a stream that takes more than this, in bytes, or with KiB, MiB, GiB, TiB [default: 1GiB; memory: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "WEIRLINE_RETENTION_BYTES")]
    retention_bytes: Option<u64>,
    /// Removes the oldest of a stream that has more messages than this [default: no limit; memory: 1000000]
    #[arg(long, value_name = "N", env = "WEIRLINE_RETENTION_COUNT")]
    retention_count: Option<u64>,
    /// Removes the oldest of all streams when they take more than this together [default: 16GiB; memory: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = size, env = "WEIRLINE_RETENTION_TOTAL_BYTES")]
    retention_total_bytes: Option<u64>,
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kept {
    /// Synced to the disk: it survives the process and a loss of power
    Durable,
    /// In memory: a restart begins with empty streams, and subscribers are told so
    Memory,
}

impl LogArgs {
    /// The settings, where `default` holds for who says nothing about the log.
    pub(crate) fn settings(&self, default: Durability) -> LogSettings {
        let durability = match self.durability {
            Some(Kept::Durable) => Durability::Durable,
            Some(Kept::Memory) => Durability::Memory,
            None if self.data_dir.is_some() => Durability::Durable,
            None => default,
        };
        let unset = LogSettings::default();
        LogSettings {
            durability,
            data_dir: self.data_dir.clone().unwrap_or(unset.data_dir),
            retention: Retention {
                age: self.retention_age,
                bytes: self.retention_bytes,
                count: self.retention_count,
                total_bytes: self.retention_total_bytes,
            },
        }
    }
}

pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    number(text, &units)
        .map(Duration::from_secs)
        .ok_or_else(|| "a whole number with s, m, h or d: 90s, 30m, 12h, 7d".into())
}

fn size(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("", 1),
    ];
    number(text, &units).ok_or_else(|| "bytes, or a whole number with KiB, MiB, GiB or TiB: 512MiB".into())
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        log: LogArgs,
    }

    fn settings(line: &str, default: Durability) -> LogSettings {
        let words = std::iter::once("weirline").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().log.settings(default)
    }

    #[test]
    fn a_directory_makes_the_log_durable() {
        use Durability::{Durable, Memory};
        for (line, default, expect, directory) in [
            ("", Durable, Durable, "weirline-data"),
            ("", Memory, Memory, "weirline-data"),
            ("--data-dir here", Memory, Durable, "here"),
            ("--durability durable", Memory, Durable, "weirline-data"),
            ("--durability memory", Durable, Memory, "weirline-data"),
        ] {
            let settings = settings(line, default);
            assert_eq!(settings.durability, expect, "{line}");
            assert_eq!(settings.data_dir.to_str(), Some(directory), "{line}");
        }
    }

    #[test]
    fn retention_is_written_with_units() {
        let line =
            "--retention-age 7d --retention-bytes 512MiB --retention-count 10 --retention-total-bytes 77";
        let expect = Retention {
            age: Some(Duration::from_secs(7 * 86_400)),
            bytes: Some(512 << 20),
            count: Some(10),
            total_bytes: Some(77),
        };
        assert_eq!(settings(line, Durability::Durable).retention, expect);
        for wrong in ["7", "d", "-1d", "1.5h", "7w", "", "99999999999999999999d"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        for wrong in ["1MB", "KiB", "-1", "", "99999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
