//! A recording as a picture: the waveform of each channel over the time line.

mod font;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::{SessionReport, WavSound};

const WIDTH: usize = 1200;
/// Left and right of the time line.
const MARGIN: usize = 44;
/// Height of one channel's label and of its waveform.
const LABEL: usize = 28;
const WAVE: usize = 160;
/// Height of the time axis.
const AXIS: usize = 44;
/// Pixels for one dot of the font.
const DOT: usize = 2;

type Colour = [u8; 3];

const PAPER: Colour = [255, 255, 255];
const INK: Colour = [40, 40, 40];
const GRID: Colour = [224, 224, 224];
const WAVES: [Colour; 2] = [[31, 90, 166], [196, 86, 20]];

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The picture cannot be encoded.
    #[error("PNG: {0}")]
    Png(png::EncodingError),
}

/// Draws `recording`, the folder of a finished session or a WAV file, into the PNG file `picture`. With a folder the
/// channels carry their parties' numbers.
///
/// # Errors
/// [`PictureError`]; a WAV that is not 16-bit PCM is [`PictureError::File`].
pub fn draw(recording: &Path, picture: &Path) -> Result<(), PictureError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| PictureError::File { path, error }
    };
    let (wav, report) = if recording.is_dir() {
        let json = recording.join("session.json");
        let text = std::fs::read(&json).map_err(failed(&json))?;
        let report: SessionReport =
            serde_json::from_slice(&text).map_err(|error| failed(&json)(error.into()))?;
        (recording.join("session.wav"), report)
    } else {
        (recording.to_path_buf(), SessionReport::default())
    };
    let sound = WavSound::read(&wav).map_err(failed(&wav))?;
    let canvas = paint(&sound, &labels(sound.channels.len(), &report));
    let file = File::create(picture).map_err(failed(picture))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), WIDTH as u32, canvas.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(PictureError::Png)?;
    writer.write_image_data(&canvas.pixels).map_err(PictureError::Png)?;
    writer.finish().map_err(PictureError::Png)
}

fn labels(channels: usize, report: &SessionReport) -> Vec<String> {
    let sides: &[&str] = if channels == 2 { &["LEFT", "RIGHT"] } else { &["SOUND"] };
    let label = |index: usize| {
        let side = sides.get(index).copied().unwrap_or("FURTHER");
        let channel = [crate::Channel::Left, crate::Channel::Right].get(index).copied();
        let stream = report.streams.iter().find(|stream| channel.is_some() && stream.channel == channel);
        match stream.and_then(|stream| stream.dn.as_deref()) {
            Some(dn) => format!("{side}: {dn}"),
            None => side.to_owned(),
        }
    };
    (0..channels).map(label).collect()
}

fn paint(sound: &WavSound, labels: &[String]) -> Canvas {
    let height = sound.channels.len() * (LABEL + WAVE) + AXIS;
    let mut canvas = Canvas { height, pixels: [PAPER].concat().repeat(WIDTH * height) };
    let frames = sound.channels.first().map_or(0, Vec::len);
    let seconds = frames as f64 / f64::from(sound.rate.max(1));
    let axis = height - AXIS;
    for (x, text) in ticks(seconds) {
        canvas.column(x, 0..axis + 6, GRID);
        canvas.column(x, axis..axis + 6, INK);
        canvas.text(x.saturating_sub(text.len() * font::ADVANCE * DOT / 2), axis + 14, &text);
    }
    for (index, samples) in sound.channels.iter().enumerate() {
        let top = index * (LABEL + WAVE);
        let centre = top + LABEL + WAVE / 2;
        canvas.row(centre, GRID);
        let colour = WAVES.get(index % 2).copied().unwrap_or(INK);
        let line = WIDTH - 2 * MARGIN;
        for x in 0..line {
            let range =
                x * samples.len() / line..((x + 1) * samples.len() / line).max(x * samples.len() / line + 1);
            let Some(part) = samples.get(range) else { continue };
            let y =
                |sample: i16| (centre as i64 - i64::from(sample) * (WAVE as i64 / 2 - 2) / 32768) as usize;
            let (Some(low), Some(high)) = (part.iter().min(), part.iter().max()) else { continue };
            canvas.column(MARGIN + x, y(*high)..y(*low) + 1, colour);
        }
        if let Some(label) = labels.get(index) {
            canvas.text(MARGIN, top + 8, label);
        }
    }
    canvas.row(axis, INK);
    canvas
}

/// Places and texts of the time axis: at most 12, at round numbers of seconds.
fn ticks(seconds: f64) -> Vec<(usize, String)> {
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    let step = steps.into_iter().find(|step| seconds / step <= 11.0).unwrap_or(seconds / 11.0).max(0.1);
    let count = (seconds / step) as usize;
    let tick = |index: usize| {
        let at = index as f64 * step;
        let share = if seconds > 0.0 { at / seconds } else { 0.0 };
        let text = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
        (MARGIN + (share * (WIDTH - 2 * MARGIN - 1) as f64) as usize, text)
    };
    (0..=count).map(tick).collect()
}

struct Canvas {
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn dot(&mut self, x: usize, y: usize, colour: Colour) {
        if x < WIDTH
            && let Some(pixel) =
                self.pixels.get_mut((y * WIDTH + x) * 3..).and_then(|rest| rest.first_chunk_mut())
        {
            *pixel = colour;
        }
    }

    fn column(&mut self, x: usize, rows: std::ops::Range<usize>, colour: Colour) {
        for y in rows {
            self.dot(x, y, colour);
        }
    }

    fn row(&mut self, y: usize, colour: Colour) {
        for x in MARGIN..WIDTH - MARGIN {
            self.dot(x, y, colour);
        }
    }

    fn text(&mut self, left: usize, top: usize, text: &str) {
        for (index, character) in text.chars().enumerate() {
            for (column, bits) in font::columns(character).into_iter().enumerate() {
                for row in (0..7).filter(|row| bits >> row & 1 != 0) {
                    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                        let x = left + (index * font::ADVANCE + column) * DOT + dx;
                        self.dot(x, top + row * DOT + dy, INK);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &Path) -> (usize, usize, Vec<u8>) {
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

    /// How many pixels of this colour the part of the picture has.
    fn count(pixels: &[u8], x: std::ops::Range<usize>, y: std::ops::Range<usize>, colour: Colour) -> usize {
        y.flat_map(|y| x.clone().map(move |x| (y * WIDTH + x) * 3))
            .filter(|at| pixels[*at..at + 3] == colour)
            .count()
    }

    #[test]
    fn each_channel_is_loud_where_its_party_speaks() {
        let folder = tempfile::tempdir().unwrap();
        let mut wav = crate::files::wav::Wav::create(&folder.path().join("session.wav"), 2, 8000).unwrap();
        let tone: Vec<i16> = (0..40_000).map(|n| if n % 2 == 0 { 20_000 } else { -20_000 }).collect();
        wav.write(0, 0, &tone).unwrap();
        wav.write(1, 40_000, &tone).unwrap();
        wav.finish().unwrap();
        let report = SessionReport {
            streams: vec![crate::StreamReport {
                dn: Some("1001".into()),
                channel: Some(crate::Channel::Left),
                ..Default::default()
            }],
            ..Default::default()
        };
        std::fs::write(folder.path().join("session.json"), serde_json::to_vec(&report).unwrap()).unwrap();
        let picture = folder.path().join("a.png");
        draw(folder.path(), &picture).unwrap();
        let (width, height, pixels) = decoded(&picture);
        assert_eq!((width, height), (WIDTH, 2 * (LABEL + WAVE) + AXIS));
        let half = WIDTH / 2;
        let left = LABEL..LABEL + WAVE;
        let right = LABEL + WAVE + LABEL..2 * (LABEL + WAVE);
        assert!(count(&pixels, MARGIN..half, left.clone(), WAVES[0]) > 50_000);
        assert!(count(&pixels, half + 2..WIDTH - MARGIN, left, WAVES[0]) <= half);
        assert!(count(&pixels, MARGIN..half - 2, right.clone(), WAVES[1]) <= half);
        assert!(count(&pixels, half + 2..WIDTH - MARGIN, right, WAVES[1]) > 50_000);
        assert!(count(&pixels, MARGIN..300, 0..LABEL, INK) > 100, "the label is there");
        assert!(count(&pixels, 0..WIDTH, height - AXIS + 10..height, INK) > 100, "the time axis is there");
    }

    #[test]
    fn an_empty_recording_has_a_picture_and_a_missing_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wav = folder.path().join("a.wav");
        crate::files::wav::Wav::create(&wav, 1, 8000).unwrap();
        draw(&wav, &folder.path().join("a.png")).unwrap();
        let error = draw(folder.path(), &folder.path().join("b.png")).unwrap_err();
        assert!(error.to_string().contains("session.json"), "{error}");
    }

    #[test]
    fn the_time_axis_has_round_numbers() {
        let texts = |seconds| ticks(seconds).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(1.0).len(), 11);
        assert_eq!(
            texts(20.0),
            ["0 s", "2 s", "4 s", "6 s", "8 s", "10 s", "12 s", "14 s", "16 s", "18 s", "20 s"]
        );
        assert_eq!(texts(0.0), ["0 s"].map(|_| "0.0 s"));
        assert!(texts(100_000.0).len() <= 12);
    }
}
