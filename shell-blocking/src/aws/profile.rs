//! The shared config and credentials files of AWS's tools.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use aws_credential_types::Credentials as Keys;

use super::credentials::Environment;

const DEFAULT: &str = "default";
/// The most bytes of a file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ways to credentials that a profile may name and that this daemon does not go.
const UNSUPPORTED: [&str; 4] = ["role_arn", "credential_process", "sso_session", "sso_start_url"];

/// One profile, from both files together.
#[derive(Debug, Default)]
pub(super) struct Profile {
    name: String,
    pub(super) region: Option<String>,
    values: BTreeMap<String, String>,
}

impl Profile {
    /// The profile that the environment names; empty when there is none.
    pub(super) fn read(environment: &Environment) -> Self {
        let name = environment.variable("AWS_PROFILE").unwrap_or_else(|| DEFAULT.to_owned());
        let file = |variable: &str, beside_home: &str| {
            let at_home = || Some(format!("{}/{beside_home}", environment.variable("HOME")?));
            environment.variable(variable).or_else(at_home).map(|path| contents(&path)).unwrap_or_default()
        };
        let config = file("AWS_CONFIG_FILE", ".aws/config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        let prefixed = section(&config, &format!("profile {name}"));
        // AWS's tools leave `[default]` out where there is a `[profile default]`.
        let plain = || if name == DEFAULT { section(&config, DEFAULT) } else { None };
        let mut values = prefixed.or_else(plain).unwrap_or_default();
        values.extend(section(&credentials, &name).unwrap_or_default());
        Self { region: values.get("region").cloned(), name, values }
    }

    /// Its keys, if it has some.
    ///
    /// # Errors
    /// When it names another way to them, with keys or without: the keys may be those that the other way begins with.
    pub(super) fn keys(&self) -> Result<Option<Keys>, String> {
        if let Some(key) = UNSUPPORTED.iter().find(|key| self.values.contains_key(**key)) {
            return Err(format!(
                "profile {}: {key} is not supported by this daemon; use `poolkeeper`, or another kind of credentials",
                self.name
            ));
        }
        let value = |key: &str| self.values.get(key).cloned();
        let (id, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
        Ok(id.zip(secret).map(|(id, secret)| Keys::new(id, secret, value("aws_session_token"), None, "profile")))
    }
}

fn contents(path: &str) -> String {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => text,
        Err(_not_there) => String::new(),
    }
}

/// The keys of one section, if there is one; nested ones, which are indented, left out.
fn section(text: &str, wanted: &str) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            inside = name.0.split_whitespace().eq(wanted.split_whitespace());
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if inside
            && !line.starts_with([' ', '\t'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
            let values = found.get_or_insert_with(BTreeMap::new);
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = us-east-1\n\n[profile ci]\nregion=eu-west-1 # near\ns3 =\n  region = no\n\
                          [profile away]\nrole_arn = arn:aws:iam::1:role/x\n\
                          [profile self]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = self\n";
    const CREDENTIALS: &str = "; mine\n[default]\naws_access_key_id = A\naws_secret_access_key = B\n\
                               [ci]\naws_access_key_id=C\naws_secret_access_key=D=\naws_session_token = E\n\
                               [self]\naws_access_key_id = F\naws_secret_access_key = G\n";

    fn profile(name: Option<&str>) -> Profile {
        profile_in(CONFIG, name)
    }

    fn profile_in(config: &str, name: Option<&str>) -> Profile {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("config"), config).unwrap();
        std::fs::write(path("credentials"), CREDENTIALS).unwrap();
        let (config, credentials) = (path("config"), path("credentials"));
        let mut variables =
            vec![("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str())];
        variables.extend(name.map(|name| ("AWS_PROFILE", name)));
        Profile::read(&Environment::of(&variables))
    }

    #[test]
    fn the_default_profile_is_read_from_both_files() {
        let profile = profile(None);

        let keys = profile.keys().unwrap().unwrap();
        assert_eq!((keys.access_key_id(), keys.secret_access_key(), keys.session_token()), ("A", "B", None));
        assert_eq!(profile.region.as_deref(), Some("us-east-1"));
    }

    #[test]
    fn a_named_profile_is_read_alone() {
        let profile = profile(Some("ci"));

        let keys = profile.keys().unwrap().unwrap();
        assert_eq!((keys.access_key_id(), keys.secret_access_key(), keys.session_token()), ("C", "D=", Some("E")));
        assert_eq!(profile.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn a_profile_that_takes_on_a_role_is_told_of() {
        assert!(profile(Some("away")).keys().unwrap_err().contains("role_arn"));
        assert!(profile(Some("nowhere")).keys().unwrap().is_none());
    }

    #[test]
    fn keys_that_only_serve_to_take_on_a_role_are_not_used_themselves() {
        assert!(profile(Some("self")).keys().unwrap_err().contains("role_arn"));
    }

    #[test]
    fn the_prefixed_default_profile_replaces_the_other() {
        let config = "[profile default]\noutput = json\n[default]\nregion = us-east-1\n";

        assert_eq!(profile_in(config, None).region, None);
    }
}
