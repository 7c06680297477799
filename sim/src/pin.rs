//! The backstop against leaks of the real world: inside a world's thread the operating system's clock stands still
//! and its random source is seeded.
//!
//! Crates that run in the simulator take time and entropy as arguments, and lints hold them to it. What lints cannot
//! see is what a dependency does: the hash keys of `std`, a clock read in a library. Defining the two C functions
//! here, in this program only, catches those too. Other threads get the real ones.

#![expect(
    unsafe_code,
    reason = "symbols of the C library can only be defined, and system calls made, in unsafe code"
)]

use std::cell::Cell;

thread_local! {
    /// State of the random source of this thread; none outside a world.
    static PINNED: Cell<Option<u64>> = const { Cell::new(None) };
    static READS: Cell<Reads> = const { Cell::new(Reads { random: 0, clock: 0 }) };
}

/// How often the world asked the operating system for chance and for the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Calls of the random source.
    pub random: u64,
    /// Calls of the clock.
    pub clock: u64,
}

/// Pins clock and random source of the calling thread, for the rest of its life.
pub fn pin_thread(seed: u64) {
    PINNED.set(Some(seed));
    READS.set(Reads::default());
}

/// What this thread has read since it was pinned.
#[must_use]
pub fn reads() -> Reads {
    READS.get()
}

/// True when the pinned functions are really the ones that this program calls.
#[must_use]
pub fn works() -> bool {
    std::thread::Builder::new()
        .spawn(|| {
            pin_thread(1);
            let _keys = std::collections::hash_map::RandomState::new();
            #[expect(
                clippy::disallowed_methods,
                reason = "reads the clock to see that it stands still"
            )]
            let (one, two) = (std::time::Instant::now(), std::time::Instant::now());
            let reads = reads();
            one == two && reads.clock >= 2 && reads.random >= 1
        })
        .is_ok_and(|thread| thread.join().unwrap_or(false))
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{PINNED, READS};

    /// The second at which a pinned clock stands; any but 0, so that subtracting from it stays possible.
    const STILL_S: libc::time_t = 1_000_000;

    /// Seeded bytes in a pinned thread, the kernel's otherwise.
    ///
    /// # Safety
    ///
    /// As getrandom(2): `buf` is valid for `len` bytes of writing.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn getrandom(
        buf: *mut libc::c_void,
        len: libc::size_t,
        flags: libc::c_uint,
    ) -> libc::ssize_t {
        let pinned = PINNED.try_with(|pinned| {
            let mut rng = crate::rng::Rng::derive(pinned.get()?, "getrandom", 0);
            pinned.set(Some(rng.next_u64()));
            READS.with(|reads| {
                let mut now = reads.get();
                now.random += 1;
                reads.set(now);
            });
            Some(rng)
        });
        if let Ok(Some(mut rng)) = pinned {
            // SAFETY: the caller vouches for `len` writable bytes at `buf`; they are initialised before the slice is made.
            let bytes = unsafe {
                std::ptr::write_bytes(buf.cast::<u8>(), 0, len);
                std::slice::from_raw_parts_mut(buf.cast::<u8>(), len)
            };
            rng.fill(bytes);
            return libc::ssize_t::try_from(len).unwrap_or(libc::ssize_t::MAX);
        }
        // SAFETY: the same arguments under the same contract, to the kernel.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, buf, len, flags) };
        libc::ssize_t::try_from(got).unwrap_or(-1)
    }

    /// A clock that stands still in a pinned thread, the kernel's otherwise.
    ///
    /// # Safety
    ///
    /// As clock_gettime(2): `time` is valid for writing.
    #[unsafe(no_mangle)]
    pub(super) unsafe extern "C" fn clock_gettime(
        clock: libc::clockid_t,
        time: *mut libc::timespec,
    ) -> libc::c_int {
        if let Ok(Some(_)) = PINNED.try_with(std::cell::Cell::get) {
            READS.with(|reads| {
                let mut now = reads.get();
                now.clock += 1;
                reads.set(now);
            });
            // SAFETY: the caller vouches for `time`; both fields are plain integers.
            unsafe {
                (*time).tv_sec = STILL_S;
                (*time).tv_nsec = 0;
            }
            return 0;
        }
        // SAFETY: the same arguments under the same contract, to the kernel.
        let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        libc::c_int::try_from(result).unwrap_or(-1)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_pinned_thread_sees_no_real_time_and_no_real_chance() {
        assert!(super::works());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn hash_keys_of_a_seed_are_the_same_in_each_thread() {
        use std::hash::BuildHasher as _;
        let hash = |seed| {
            std::thread::Builder::new()
                .spawn(move || {
                    super::pin_thread(seed);
                    std::collections::hash_map::RandomState::new().hash_one("key")
                })
                .unwrap()
                .join()
                .unwrap()
        };
        assert_eq!(hash(5), hash(5));
        assert_ne!(hash(5), hash(6));
    }
}
