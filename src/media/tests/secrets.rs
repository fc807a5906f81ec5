//! Keys of SRTP leave nothing behind.

#![cfg(test)]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};

use siprec_media::srtp::{Protector, Unprotector};
use siprec_model::{SrtpKey, SrtpSuite};

const BLOCKS: usize = 1024;

thread_local! {
    /// What is looked for. None: this thread is not watched.
    static SECRETS: Cell<Option<&'static [&'static [u8]]>> = const { Cell::new(None) };
    /// Blocks that were allocated while the thread was watched, and are still there.
    static LIVE: RefCell<[(usize, usize); BLOCKS]> = const { RefCell::new([(0, 0); BLOCKS]) };
    static FREED_WITH_SECRET: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator; looks into what is freed.
struct Watching;

// SAFETY: every call goes to the system's allocator; watching neither allocates nor unwinds.
unsafe impl GlobalAlloc for Watching {
    /// Zeroed, so that every byte of a block can be read.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let block = unsafe { System.alloc_zeroed(layout) };
        if SECRETS.get().is_some() {
            replace((0, 0), (block as usize, layout.size()));
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(secrets) = SECRETS.get() {
            // SAFETY: the block is still the caller's, has this size, and was zeroed before it was written to.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if holds(bytes, secrets) {
                FREED_WITH_SECRET.set(FREED_WITH_SECRET.get() + 1);
            }
            replace((block as usize, layout.size()), (0, 0));
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn replace(old: (usize, usize), new: (usize, usize)) {
    LIVE.with_borrow_mut(|live| {
        if let Some(place) = live.iter_mut().find(|place| **place == old) {
            *place = new;
        }
    });
}

fn holds(bytes: &[u8], secrets: &[&[u8]]) -> bool {
    secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == *secret))
}

/// How many live blocks hold each secret.
fn live(secret: &'static [u8]) -> usize {
    LIVE.with_borrow(|live| {
        live.iter()
            .filter(|(block, length)| {
                // SAFETY: the block has not been freed since it was allocated, by this thread, with this size.
                *block != 0
                    && holds(unsafe { std::slice::from_raw_parts(*block as *const u8, *length) }, &[secret])
            })
            .count()
    })
}

/// Whether a key is in two schedules, as processors with AES instructions have it: others keep none as it is.
fn is_seen(key: &'static [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") {
        return live(key) == 2;
    }
    live(key) <= 2
}

/// How many blocks were freed with a secret in them.
fn freed_with(secrets: &'static [&'static [u8]], work: impl FnOnce()) -> usize {
    FREED_WITH_SECRET.set(0);
    SECRETS.set(Some(secrets));
    work();
    SECRETS.set(None);
    FREED_WITH_SECRET.get()
}

/// The master key of RFC 3711 appendix B.3.
const MASTER: [u8; 16] =
    [0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39];
const SALT: [u8; 14] = [0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6];
/// Its session keys there.
const CIPHER: [u8; 16] =
    [0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87];
const SESSION_SALT: [u8; 14] =
    [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1];
const AUTHENTICATION: [u8; 20] = [
    0xCE, 0xBE, 0x32, 0x1F, 0x6F, 0xF7, 0x71, 0x6B, 0x6F, 0xD4, 0xAB, 0x49, 0xAF, 0x25, 0x6A, 0x15, 0x6D,
    0x38, 0xBA, 0xA4,
];
/// The same with its first 12 bytes of salt for GCM (RFC 7714 §11), by `openssl enc -aes-128-ctr`.
const GCM_CIPHER: [u8; 16] =
    [0x23, 0x8C, 0x88, 0x2F, 0x36, 0xF0, 0x00, 0x30, 0x15, 0x73, 0xE6, 0x93, 0x83, 0x50, 0x2D, 0x9D];
const GCM_SESSION_SALT: [u8; 12] = [0xF2, 0xFE, 0xE0, 0x40, 0x70, 0xFC, 0x3F, 0x65, 0xD7, 0x06, 0xE2, 0xE4];

/// A protector and an unprotector that were at work.
fn work(key: &SrtpKey) -> (Protector, Unprotector) {
    let packet = [0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 5, 5, 5];
    let mut protector = Protector::new(key).unwrap();
    let mut unprotector = Unprotector::new();
    unprotector.add_key(key).unwrap();
    for sequence in 1..4 {
        let mut out = packet.to_vec();
        out[2] = sequence;
        protector.protect_rtp(&mut out, packet.len(), 1, u64::from(sequence) << 8).unwrap();
        assert_eq!(unprotector.unprotect_rtp(&mut out), Ok(packet.len()));
    }
    (protector, unprotector)
}

#[test]
fn the_watch_sees_a_secret_that_is_freed() {
    assert_eq!(freed_with(&[&CIPHER], || drop([&[1, 2, 3], &CIPHER[..]].concat())), 1);
    assert_eq!(freed_with(&[&CIPHER], || drop([&[1, 2, 3], &MASTER[..]].concat())), 0);
}

#[test]
fn keys_of_counter_mode_are_overwritten_when_they_go() {
    let freed = freed_with(&[&MASTER, &CIPHER, &SESSION_SALT, &AUTHENTICATION], || {
        let master = [&MASTER[..], &SALT].concat();
        let key = SrtpKey::new(SrtpSuite::AesCm128HmacSha1_80, &master).unwrap();
        // Not ours to overwrite.
        std::mem::forget(master);
        let ends = work(&key);
        assert!(live(&MASTER) >= 3 && live(&SESSION_SALT) == 2 && is_seen(&CIPHER));
        drop(ends);
        assert_eq!((live(&CIPHER), live(&SESSION_SALT)), (0, 0));
    });
    assert_eq!(freed, 0);
}

#[test]
fn keys_of_gcm_are_overwritten_when_they_go() {
    let freed = freed_with(&[&MASTER, &GCM_CIPHER, &GCM_SESSION_SALT], || {
        let master = [&MASTER[..], &SALT[..12]].concat();
        let key = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &master).unwrap();
        std::mem::forget(master);
        let ends = work(&key);
        assert!(live(&MASTER) >= 3 && live(&GCM_SESSION_SALT) == 2 && is_seen(&GCM_CIPHER));
        drop(ends);
        assert_eq!((live(&GCM_CIPHER), live(&GCM_SESSION_SALT)), (0, 0));
    });
    assert_eq!(freed, 0);
}

#[test]
fn what_can_be_printed_shows_no_key() {
    let key = SrtpKey::new(SrtpSuite::AesCm128HmacSha1_80, &[0xAB; 30]).unwrap();
    let (protector, unprotector) = work(&key);
    assert_eq!(format!("{protector:?}"), "Protector { key: SrtpKey { suite: AesCm128HmacSha1_80, .. }, .. }");
    assert_eq!(format!("{unprotector:?}"), "Unprotector { keys: [AesCm128HmacSha1_80], sources: 1, .. }");
}
