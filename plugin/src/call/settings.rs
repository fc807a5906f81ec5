//! What the user has set on the element, and the recording that it asks for.

use std::time::Duration;

use gst::glib;
use siprec_agent::{TlsConfig, TlsError, TlsPeer};
use siprec_model::{
    BranchLimits, CallUuid, RecordingId, SrtpSuite, TlsProfile, UnknownSuite, UnknownTlsVersion,
};
use siprec_session::{
    ConfigError, Party, PoolName, RecorderListError, Recorders, RecordingConfig, SecurityPolicy, Text, Timers,
};

use super::enums::{SiprecBye, SiprecDialect, SiprecKeying, SiprecPolicy, SiprecSessionMode, SiprecSrtp};
use crate::agent::SiprecAgent;

/// Stands for the recorder that the application gives before `start`, so that all else can be checked before.
const LATER: &str = "sip:recorder.invalid";

/// The properties that name recorders, each those of one copy of the recording.
const RECORDERS: [&str; 2] = ["recorder", "second-recorder"];

/// The element's properties.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) recorder: Option<String>,
    pub(super) second_recorder: Option<String>,
    pub(super) location: Option<String>,
    pub(super) recorder_tls: Option<gst::Structure>,
    pub(super) sips_call: bool,
    pub(super) dialect: SiprecDialect,
    pub(super) session_mode: SiprecSessionMode,
    pub(super) call_uuid: Option<String>,
    pub(super) recording_id: Option<String>,
    pub(super) record_dn: Option<String>,
    pub(super) extra_parameters: Option<gst::Structure>,
    pub(super) extra_headers: Option<gst::Structure>,
    pub(super) auto_start: bool,
    pub(super) pre_record: bool,
    pub(super) record_video: bool,
    pub(super) hold_is_mute: bool,
    pub(super) srtp: SiprecSrtp,
    pub(super) srtp_keying: SiprecKeying,
    pub(super) srtp_suites: Option<String>,
    pub(super) allow_downgrade: bool,
    pub(super) allow_clear_keys: bool,
    pub(super) probe_interval: gst::ClockTime,
    pub(super) recorder_bye: SiprecBye,
    pub(super) policy: SiprecPolicy,
    pub(super) hold_time: gst::ClockTime,
    pub(super) hold_bytes: u32,
    pub(super) video_hold_bytes: u32,
    pub(super) catch_up: f32,
    pub(super) drain_timeout: gst::ClockTime,
    pub(super) stop_timeout: gst::ClockTime,
    pub(super) agent: Option<SiprecAgent>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            recorder: None,
            second_recorder: None,
            location: None,
            recorder_tls: None,
            sips_call: false,
            dialect: SiprecDialect::default(),
            session_mode: SiprecSessionMode::default(),
            call_uuid: None,
            recording_id: None,
            record_dn: None,
            extra_parameters: None,
            extra_headers: None,
            auto_start: true,
            pre_record: false,
            record_video: true,
            hold_is_mute: true,
            srtp: SiprecSrtp::default(),
            srtp_keying: SiprecKeying::default(),
            srtp_suites: None,
            allow_downgrade: false,
            allow_clear_keys: false,
            probe_interval: gst::ClockTime::from_seconds(5),
            recorder_bye: SiprecBye::default(),
            policy: SiprecPolicy::default(),
            hold_time: gst::ClockTime::from_seconds(30),
            hold_bytes: 512 * 1024,
            video_hold_bytes: 8 * 1024 * 1024,
            catch_up: 2.0,
            drain_timeout: gst::ClockTime::from_seconds(10),
            stop_timeout: gst::ClockTime::from_seconds(1),
            agent: None,
        }
    }
}

impl Settings {
    /// Whether packets are held before `start`.
    pub(super) fn records_from_the_first_packet(&self) -> bool {
        self.auto_start || self.pre_record
    }

    /// The recordings that these settings ask for, one for each copy; `dns` by pad index.
    ///
    /// # Errors
    /// The first setting that no recording can have.
    pub(super) fn recordings(&self, dns: &[String]) -> Result<Vec<RecordingConfig>, SettingsError> {
        self.recordings_by(self.recorders(None)?, dns)
    }

    /// How many copies of the recording there are to be.
    pub(super) fn copies(&self) -> usize {
        1 + usize::from(self.second().is_some())
    }

    fn second(&self) -> Option<&str> {
        self.second_recorder.as_deref().filter(|text| !text.trim().is_empty())
    }

    /// The recorders of each copy, or their pool; those of the first that are not given yet are `later`.
    ///
    /// # Errors
    /// They cannot be read, or something is said of pools that is not for pools, or the other way round.
    fn recorders(&self, later: Option<&str>) -> Result<Vec<Recorders>, SettingsError> {
        let location = self.location.as_deref().filter(|label| !label.trim().is_empty());
        let first = self.recorder.as_deref().unwrap_or_default();
        let texts = std::iter::once(first).chain(self.second()).zip(RECORDERS);
        let read = |(text, property)| {
            let recorders = match (Recorders::parse(text, location), later) {
                (Err(RecorderListError::Empty), Some(later)) => Recorders::parse(later, None),
                (recorders, _) => recorders,
            };
            recorders.map_err(|error| SettingsError::Recorder { property, error })
        };
        let recorders = texts.map(read).collect::<Result<Vec<_>, _>>()?;
        let is_pool = |recorders: &Recorders| matches!(recorders, Recorders::Pool { .. });
        let is_known = later.is_none() || !first.trim().is_empty();
        if location.is_some() && is_known && !recorders.iter().any(is_pool) {
            return Err(SettingsError::LocationOfList);
        }
        if self.recorder_tls.is_some() && recorders.iter().all(is_pool) {
            return Err(SettingsError::TlsOfPool);
        }
        Ok(recorders)
    }

    /// The pools that recorders are to be chosen from, each with the property that names it.
    pub(super) fn pools(&self) -> Vec<(&'static str, PoolName)> {
        let recorders = self.recorders(None).unwrap_or_default().into_iter().zip(RECORDERS);
        let pool = |(recorders, property)| match recorders {
            Recorders::Pool { name, .. } => Some((property, name)),
            Recorders::Listed(_) => None,
        };
        recorders.filter_map(pool).collect()
    }

    fn recordings_by(
        &self,
        recorders: Vec<Recorders>,
        dns: &[String],
    ) -> Result<Vec<RecordingConfig>, SettingsError> {
        let of = |(recorders, property)| {
            self.recording_by(recorders, dns).map_err(|error| match error {
                SettingsError::Config { property: "recorder", error } => {
                    SettingsError::Config { property, error }
                }
                other => other,
            })
        };
        let mut copies: Vec<RecordingConfig> =
            recorders.into_iter().zip(RECORDERS).map(of).collect::<Result<_, _>>()?;
        let keys: Vec<_> = copies.iter().map(|config| config.key).collect();
        for config in &mut copies {
            config.other_copies = keys.iter().copied().filter(|key| *key != config.key).collect();
            // While another goes on; the recording is over with the last of them.
            config.begins_anew = !config.other_copies.is_empty();
        }
        Ok(copies)
    }

    fn recording_by(&self, recorders: Recorders, dns: &[String]) -> Result<RecordingConfig, SettingsError> {
        let mut config = RecordingConfig::new(recorders);
        if let Some(structure) = self.recorder_tls.as_deref() {
            let tls = tls_profile(structure)?;
            config.recorders.listed_mut().iter_mut().for_each(|recorder| recorder.profile.tls = tls.clone());
        }
        config.sips_call = self.sips_call;
        config.dialect = self.dialect.into();
        config.mode = self.session_mode.into();
        config.call_uuid = self.call_uuid.as_deref().map(CallUuid::new);
        config.recording_id = self.recording_id.as_deref().map(RecordingId::new);
        config.parties = dns.iter().map(|dn| Party { dn: dn.clone() }).collect();
        config.record_dn = self.record_dn.clone();
        config.extra_parameters = fields("extra-parameters", self.extra_parameters.as_deref())?;
        config.extra_headers = fields("extra-headers", self.extra_headers.as_deref())?;
        config.auto_start = self.auto_start;
        config.pre_record = self.pre_record;
        config.record_video = self.record_video;
        config.limits = BranchLimits {
            hold_time: self.hold_time.into(),
            hold_bytes: usize::try_from(self.hold_bytes).unwrap_or(usize::MAX),
            video_hold_bytes: usize::try_from(self.video_hold_bytes).unwrap_or(usize::MAX),
            catch_up: self.catch_up,
        };
        config.security = SecurityPolicy {
            srtp: self.srtp.into(),
            keying: self.srtp_keying.into(),
            suites: match self.srtp_suites.as_deref() {
                Some(list) => suites(list)?,
                None => SecurityPolicy::default().suites,
            },
            allow_downgrade: self.allow_downgrade,
            allow_clear_keys: self.allow_clear_keys,
        };
        config.recorder_bye = self.recorder_bye.into();
        config.timers = Timers {
            drain: self.drain_timeout.into(),
            probe: self.probe_interval.into(),
            ..Timers::default()
        };
        config.check()?;
        Ok(config)
    }

    /// Finds what no recording can have. A recorder may come later when the application starts the recording.
    ///
    /// # Errors
    /// The first such setting.
    pub(super) fn check(&self, dns: &[String]) -> Result<(), SettingsError> {
        let later = if self.auto_start { None } else { Some(LATER) };
        self.recordings_by(self.recorders(later)?, dns)?;
        if self.srtp == SiprecSrtp::Disable && self.srtp_keying == SiprecKeying::Dtls {
            return Err(SettingsError::NothingToKey);
        }
        self.recorder_tls.as_deref().map_or(Ok(()), |structure| readable(tls_profile(structure)?))
    }

    /// How long the end of the last element of a default agent may wait.
    pub(super) fn stop_timeout(&self) -> Duration {
        self.stop_timeout.into()
    }
}

/// A setting that no recording can have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum SettingsError {
    /// A property that names recorders.
    #[error("property \"{property}\": {error}")]
    Recorder {
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        error: RecorderListError,
    },
    /// Only pools have locations.
    #[error("property \"location\": it is for pools, and \"recorder\" names none (\"pool:NAME\")")]
    LocationOfList,
    /// Pools say more than one element can.
    #[error("property \"recorder-tls\": the file of pools says what TLS each recorder of a pool needs")]
    TlsOfPool,
    /// There is no such pool.
    #[error(
        "property \"{property}\": the agent has no pool \"{name}\"; its property \"config\" names the file of pools"
    )]
    UnknownPool {
        /// The property that names it.
        property: &'static str,
        /// Its name.
        name: PoolName,
    },
    /// A property of which no INVITE can be made.
    #[error("property \"{property}\": {error}")]
    Config {
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        error: ConfigError,
    },
    /// Something of which the text says what it is.
    #[error(transparent)]
    Unnamed(ConfigError),
    /// A field of a structure is neither text nor number.
    #[error("property \"{property}\": the field \"{field}\" is neither a text nor a number")]
    Field {
        /// The structure's property.
        property: &'static str,
        /// The field.
        field: String,
    },
    /// A field of `recorder-tls` that there is not.
    #[error(
        "property \"recorder-tls\": there is no field \"{0}\", only \"server-name\", \"ca\" and \"min-version\""
    )]
    TlsField(String),
    /// A name or a file of `recorder-tls` that cannot be used.
    #[error("property \"recorder-tls\": the field \"{field}\": {error}")]
    TlsValue {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        error: TlsError,
    },
    /// Keys are to be made for what is not to be encrypted.
    #[error("property \"srtp-keying\": dtls makes no keys with srtp=disable")]
    NothingToKey,
    /// Not a suite of SRTP.
    #[error("property \"srtp-suites\": {0}; there are {known}", known = known_suites())]
    Suite(#[from] UnknownSuite),
    /// Not a version of TLS.
    #[error("property \"recorder-tls\": {0}")]
    TlsVersion(#[from] UnknownTlsVersion),
}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        let property = match error {
            ConfigError::NoRecorder | ConfigError::Recorder { .. } => "recorder",
            ConfigError::CatchUp(_) => "catch-up",
            ConfigError::SessionMode { .. } | ConfigError::OtherSessionMode => "session-mode",
            ConfigError::RefusedParameter { .. }
            | ConfigError::BadParameterName(_)
            | ConfigError::DuplicateParameter(_) => "extra-parameters",
            ConfigError::TooLarge { length, headers } if headers * 2 < length => "extra-parameters",
            ConfigError::TooLarge { .. }
            | ConfigError::RefusedHeader(_)
            | ConfigError::BadHeaderName(_)
            | ConfigError::BadHeaderValue(_) => "extra-headers",
            ConfigError::NoSuite | ConfigError::SuiteTwice(_) => "srtp-suites",
            // The user is the agent's.
            ConfigError::Empty(_) => "recording-id",
            ConfigError::TooLong { what: Text::User, .. } => return Self::Unnamed(error),
            ConfigError::TooLong { what: Text::RecordingId, .. } => "recording-id",
            ConfigError::TooLong { what: Text::CallUuid, .. } => "call-uuid",
            ConfigError::TooLong { what: Text::RecordDn, .. } => "record-dn",
            ConfigError::TooLong { what: Text::Dn(1), .. } => "other-dn",
            ConfigError::TooLong { what: Text::Dn(_), .. } => "dn",
            ConfigError::TooLong { what: Text::Parameter(_), .. } => "extra-parameters",
            ConfigError::TooLong { what: Text::Header(_), .. } => "extra-headers",
        };
        Self::Config { property, error }
    }
}

/// Suites as a list has them, separated by white space or commas.
fn suites(list: &str) -> Result<Vec<SrtpSuite>, UnknownSuite> {
    let names = list.split(|c: char| c.is_whitespace() || c == ',').filter(|name| !name.is_empty());
    names.map(str::parse).collect()
}

fn known_suites() -> String {
    SrtpSuite::ALL.map(SrtpSuite::as_str).join(", ")
}

/// What is particular about TLS with the recorders.
fn tls_profile(structure: &gst::StructureRef) -> Result<TlsProfile, SettingsError> {
    let mut structure = structure.to_owned();
    // What the syntax of structures makes of 1.3 without quotes.
    if let Ok(number) = structure.get::<f64>("min-version") {
        structure.set("min-version", number.to_string());
    }
    let mut profile = TlsProfile::default();
    for (field, text) in fields("recorder-tls", Some(&structure))? {
        match field.as_str() {
            "server-name" => profile.server_name = Some(text),
            "ca" => profile.ca = Some(text.into()),
            "min-version" => profile.min_version = Some(text.parse()?),
            _ => return Err(SettingsError::TlsField(field)),
        }
    }
    Ok(profile)
}

/// Whether what is particular about TLS can be used. Reads the file of authorities.
fn readable(profile: TlsProfile) -> Result<(), SettingsError> {
    let wrong = |field| move |error| SettingsError::TlsValue { field, error };
    if let Some(name) = &profile.server_name {
        TlsPeer::new(name, &TlsProfile::default()).check_name().map_err(wrong("server-name"))?;
    }
    TlsConfig { ca: profile.ca, ..TlsConfig::default() }.check().map_err(wrong("ca"))
}

/// The fields of a structure as texts, in their order.
fn fields(
    property: &'static str,
    structure: Option<&gst::StructureRef>,
) -> Result<Vec<(String, String)>, SettingsError> {
    let text = |value: &glib::Value| {
        let is_number =
            [glib::Type::I32, glib::Type::U32, glib::Type::I64, glib::Type::U64].contains(&value.type_());
        let is_text = value.is::<String>();
        (is_text || is_number).then(|| value.transform::<String>().ok()?.get::<Option<String>>().ok()?)?
    };
    structure
        .into_iter()
        .flat_map(gst::StructureRef::iter)
        .map(|(name, value)| match text(value) {
            Some(text) => Ok((name.to_string(), text)),
            None => Err(SettingsError::Field { property, field: name.to_string() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(recorder: &str) -> Settings {
        gst::init().unwrap();
        Settings { recorder: Some(recorder.to_owned()), ..Settings::default() }
    }

    /// The only copy.
    fn recording(settings: &Settings, dns: &[String]) -> RecordingConfig {
        let mut configs = settings.recordings(dns).unwrap();
        assert_eq!((configs.len(), settings.copies()), (1, 1));
        configs.remove(0)
    }

    #[test]
    fn a_second_recorder_is_a_recording_of_its_own() {
        let mut two = settings("sip:a.example");
        two.second_recorder = Some("sip:b.example sip:c.example".to_owned());
        let configs = two.recordings(&[]).unwrap();
        let hosts = |config: &RecordingConfig| config.recorders.listed().len();
        assert_eq!((configs.iter().map(hosts).collect::<Vec<_>>(), two.copies()), (vec![1, 2], 2));
        assert_ne!(configs[0].key, configs[1].key);
        two.second_recorder = Some("pool:east".to_owned());
        let pools: Vec<_> = two.pools().into_iter().map(|(property, _)| property).collect();
        assert_eq!(pools, ["second-recorder"]);
        two.second_recorder = Some("http://b.example".to_owned());
        assert!(two.check(&[]).unwrap_err().to_string().starts_with("property \"second-recorder\": "));
        two.second_recorder = Some(" ".to_owned());
        assert_eq!(two.copies(), 1);
    }

    #[test]
    fn the_defaults_with_a_recorder_are_a_recording() {
        let config = recording(&settings("sip:recorder.example"), &["1001".to_owned()]);
        assert_eq!(config.recorders.listed().len(), 1);
        assert_eq!(config.dn(0), Some("1001"));
        assert_eq!(config.limits, BranchLimits::default());
        assert_eq!(config.timers, Timers::default());
    }

    #[test]
    fn a_missing_recorder_is_a_fault_unless_the_application_starts() {
        gst::init().unwrap();
        let mut settings = Settings::default();
        let error = RecorderListError::Empty;
        assert_eq!(settings.check(&[]), Err(SettingsError::Recorder { property: "recorder", error }));
        settings.auto_start = false;
        settings.check(&[]).unwrap();
        assert!(settings.recordings(&[]).is_err());
    }

    #[test]
    fn structures_keep_their_order_and_numbers_become_text() {
        let mut settings = settings("sip:recorder.example");
        let structure = gst::Structure::builder("p").field("zebra", "[T].p").field("agentid", 7i32).build();
        settings.extra_parameters = Some(structure);
        let config = recording(&settings, &[]);
        let expected = [("zebra", "[T].p"), ("agentid", "7")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(config.extra_parameters, expected);
    }

    #[test]
    fn tls_with_the_recorders_is_as_the_structure_says() {
        let mut settings = settings("sips:a.example sips:b.example");
        let text = "tls,server-name=rec.example,ca=/etc/ca.pem,min-version=1.3";
        settings.recorder_tls = Some(text.parse().unwrap());
        settings.sips_call = true;
        let config = recording(&settings, &[]);
        let expected = TlsProfile {
            server_name: Some("rec.example".to_owned()),
            ca: Some("/etc/ca.pem".into()),
            min_version: Some(siprec_model::TlsVersion::V1_3),
        };
        assert!(
            config.sips_call
                && config.recorders.listed().iter().all(|recorder| recorder.profile.tls == expected)
        );
        for (wrong, named) in [("tls,name=x", "\"name\""), ("tls,min-version=(string)1.1", "\"1.1\"")] {
            settings.recorder_tls = Some(wrong.parse().unwrap());
            assert!(settings.check(&[]).unwrap_err().to_string().contains(named));
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let mut wrong = settings("sip:recorder.example");
        wrong.extra_parameters = Some(gst::Structure::builder("p").field("tag", "1").build());
        assert!(wrong.check(&[]).unwrap_err().to_string().contains("tag"));
        let mut wrong = settings("http://recorder.example");
        assert!(wrong.check(&[]).unwrap_err().to_string().contains("http"));
        wrong = settings("sip:recorder.example");
        let nested = gst::Structure::new_empty("nested");
        wrong.extra_headers = Some(gst::Structure::builder("h").field("X-A", nested).build());
        let field = SettingsError::Field { property: "extra-headers", field: "X-A".to_owned() };
        assert_eq!(wrong.check(&[]), Err(field));
    }
}
