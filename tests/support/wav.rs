//! Reading recordings back, and the G.711 that they hold.

use std::path::Path;

use anyhow::{Result, ensure};

/// The channels of a 16-bit WAV file.
///
/// # Errors
/// When the file is no 16-bit WAV.
pub fn channels(path: &Path) -> Result<(u32, Vec<Vec<i16>>)> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    ensure!(spec.bits_per_sample == 16, "{spec:?}");
    let mut channels = vec![Vec::new(); spec.channels.into()];
    for (index, sample) in reader.samples::<i16>().enumerate() {
        if let Some(channel) = channels.get_mut(index % usize::from(spec.channels)) {
            channel.push(sample?);
        }
    }
    Ok((spec.sample_rate, channels))
}

/// One sample of G.711 µ-law (ITU-T G.711 table 2a) as 16-bit linear.
pub fn decode_ulaw(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 0x0f);
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Where `wanted` stands in `channel`, sample for sample.
pub fn find(channel: &[i16], wanted: &[i16]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    channel.windows(wanted.len()).position(|window| window == wanted)
}

/// Root mean square of some samples, 0 to 32768.
pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let squares: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (squares / samples.len() as f64).sqrt()
}
